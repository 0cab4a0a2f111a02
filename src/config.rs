//! The configuration: `countersign.toml`, the policies and the principals that it
//! names, read into the settings of each room.

mod as_read;
mod doubled;
mod error;
mod file;
mod http;
mod imported;
mod journal;
mod meters;
mod notify;
mod paths;
mod plain;
mod principals;
mod reached;
mod references;
mod rules;
mod servers;
mod shape;
#[cfg(test)]
mod tests;
mod webhooks;

pub use as_read::AsRead;
pub use doubled::client_json;
pub use error::ConfigError;
pub use imported::Entry;
pub use imported::Imported;
pub use imported::as_json;
pub use imported::read as read_client;
pub use imported::read_project as read_client_project;
pub use paths::of_a_shell;
pub use plain::plain_text;
pub use principals::EXAMPLE as PRINCIPALS_EXAMPLE;
pub use reached::Known;
pub use reached::Reached;
pub use reached::may_mean_variables;
pub use rules::Fingerprint;
pub use rules::RulesAt;
pub use rules::STARTING_POLICIES;
pub use servers::Servers;
pub use shape::toml_problem;

use crate::broker;
use crate::broker::Custody;
use crate::broker::Denials;
use crate::broker::Keep;
use crate::broker::Naming;
use crate::broker::OwnTools;
use crate::broker::ServerRules;
use crate::events;
use crate::principal::PrincipalId;
use crate::store::Durability;
use crate::tool::ServerName;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// The example configuration: shipped, printed by `countersign config example`,
/// and read by a test.
pub const EXAMPLE: &str = include_str!("../fixtures/config/countersign.toml");

/// Policies that are good to have in every set.
pub const GLOBAL_POLICY: &str = include_str!("../policies/global.cedar");

/// How long a denial is of lately at most: records are kept for longer.
const MOST_LATELY: SignedDuration = SignedDuration::from_hours(24);

/// The longest time for which a call counts as made before a warning that was given.
const LONGEST_SETTLING: SignedDuration = SignedDuration::from_secs(10);

/// The shortest time after which an unused session may end or be replaced: its use is
/// noted to the minute.
const SHORTEST_UNUSED: SignedDuration = SignedDuration::from_mins(5);

/// A configuration that was read whole and holds together. Not `Debug`: the
/// environment of a server may hold secrets.
#[derive(Clone)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// What that file said.
    pub as_read: AsRead,
    /// Where the store is.
    pub store: PathBuf,
    /// What the broker is told.
    pub broker: broker::Settings,
    /// The servers to start.
    pub servers: Servers,
    /// How each of them is reached, as it is written.
    pub reached: Reached,
    /// For `countersign serve`: where and for whom.
    pub http: crate::http::Settings,
    /// For `countersign stdio`: who calls where no `--principal` says it.
    pub stdio_principal: Option<PrincipalId>,
    /// For `countersign stdio`: the session where no `--session` says it.
    pub stdio_session: Option<String>,
    /// What may be reloaded: where it lies.
    pub rules: RulesAt,
}

impl Config {
    /// Reads the configuration at `path`. `keeper` is the program that keeps
    /// child processes: this one.
    ///
    /// # Errors
    ///
    /// When it cannot be read or does not hold together.
    pub fn load(path: &Path, keeper: &Path) -> Result<Self, ConfigError> {
        let path = std::path::absolute(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        // It is read once, and may be a pipe (`--config <(…)`).
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?;
        Self::parse(&path, &text, keeper)
    }

    /// Reads the text of a configuration. Relative paths in it start at its
    /// folder.
    ///
    /// # Errors
    ///
    /// When it does not hold together.
    pub fn parse(path: &Path, text: &str, keeper: &Path) -> Result<Self, ConfigError> {
        let mut file: file::File =
            toml::from_str(text).map_err(|error| ConfigError::toml(path, text, &error))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let value = |key: &str, problem: String| ConfigError::Value {
            path: path.to_owned(),
            key: key.to_owned(),
            problem,
        };
        let within = |named: &Path, key: &str| {
            let leads = paths::within(folder, named, key);
            leads.map_err(|(key, problem)| value(key, problem))
        };
        for from in file.servers_from.paths() {
            let from = references::expanded(from, folder, "servers_from");
            let from = from.map_err(|(key, problem)| value(&key, problem))?;
            let from = within(Path::new(&from), "servers_from")?;
            let text = taken_over(&from).map_err(|problem| value("servers_from", problem))?;
            for imported in imported::read(&from, &text)? {
                if imported.left_out.is_none() {
                    let section = file.servers.entry(imported.server.to_string());
                    section
                        .or_insert_with(file::ServerSection::empty)
                        .fill(&imported.entry);
                }
            }
        }
        let (servers, reached, rules) = Servers::read(path, &file, keeper)?;
        let told = notify::told(&file, folder);
        let (webhooks, unresolved) = told.map_err(|(key, problem)| value(&key, problem))?;
        let servers = servers.once_there_is(unresolved);
        let meters = meters::meters(&file.meters, rules.keys())
            .map_err(|(key, problem)| value(&key, problem))?;
        let stdio_principal = file
            .stdio
            .principal
            .as_deref()
            .map(PrincipalId::parse)
            .transpose()
            .map_err(|error| value("stdio.principal", error.to_string()))?;
        let store = within(&file.store.path, "store.path")?;
        let custody = file.journal.custody(&store, folder);
        let custody = custody.map_err(|(key, problem)| value(key, problem))?;
        Ok(Self {
            path: path.to_owned(),
            as_read: AsRead::new(path, text),
            broker: broker::Settings {
                webhooks,
                event_labels: file
                    .session
                    .events
                    .labels()
                    .map_err(|(key, problem)| value(&key, problem))?,
                meters,
                ..broker_settings(&file, rules, custody)
                    .map_err(|(key, problem)| value(key, problem))?
            },
            store,
            servers,
            reached,
            stdio_principal,
            stdio_session: file.stdio.session.clone(),
            http: file
                .http
                .settings()
                .map_err(|(key, problem)| value(key, problem))?,
            rules: RulesAt {
                policies: within(&file.policy.folder, "policy.folder")?,
                principals: within(&file.policy.principals, "policy.principals")?,
                money_scale: file.policy.money_scale,
            },
        })
    }
}

/// The text of a client's file whose servers are taken over, or what is wrong with it.
fn taken_over(path: &Path) -> Result<String, String> {
    plain_text(path).map_err(|error| {
        let shown = path.display();
        format!(
            "cannot read `{shown}` ({error}): name a client's file with servers, or leave it out"
        )
    })
}

fn broker_settings(
    file: &file::File,
    servers: BTreeMap<ServerName, ServerRules>,
    custody: Custody,
) -> Result<broker::Settings, (&'static str, String)> {
    let zone = TimeZone::get(&file.store.time_zone).map_err(|_unknown| {
        let given = &file.store.time_zone;
        let problem =
            format!("`{given}` is no time zone: write a name like `Europe/Berlin` or `UTC`");
        ("store.time_zone", problem)
    })?;
    let longest = file.names.longest;
    if !(24..=64).contains(&longest) {
        let problem =
            format!("{longest} is out of range: names may be at most 24 to 64 characters");
        return Err(("names.longest", problem));
    }
    let naming = match file.names.prefix {
        true => Naming::Prefixed { longest },
        false if servers.len() > 1 => {
            let problem = "without prefixes there can be one server only, or nobody could say whose a name is: write `true`, or leave one server";
            return Err(("names.prefix", problem.to_owned()));
        }
        false => Naming::Plain,
    };
    if file.policy.money_scale > 4 {
        let problem = "minor units have 0 to 4 digits (2 for cents)".to_owned();
        return Err(("policy.money_scale", problem));
    }
    if file.session.idle < SHORTEST_UNUSED {
        let problem = "write a time of at least `5m`, like `8h`".to_owned();
        return Err(("session.idle", problem));
    }
    if file
        .session
        .expire
        .is_some_and(|kept| kept < SHORTEST_UNUSED)
    {
        let problem = "write a time of at least `5m`, like `2160h` (90 days), or leave it out to keep sessions for good"
            .to_owned();
        return Err(("session.expire", problem));
    }
    if file.session.labels_stick.is_negative() {
        let problem = "write a time like `1h`, or `0s` for not at all".to_owned();
        return Err(("session.labels_stick", problem));
    }
    let settles = file.session.warnings_settle;
    if settles.is_negative() || settles > LONGEST_SETTLING {
        let problem = "write a time like `100ms`, at most `10s`, or `0s` for none".to_owned();
        return Err(("session.warnings_settle", problem));
    }
    let denials = denials(&file.session)?;
    let own = own_tools(file)?;
    Ok(broker::Settings {
        durability: match file.store.durability {
            file::Survives::Process => Durability::Process,
            file::Survives::Power => Durability::Power,
        },
        zone,
        idle: file.session.idle,
        expire: file.session.expire,
        labels_stick: file.session.labels_stick,
        warnings_settle: file.session.warnings_settle,
        denials,
        keep: match file.store.keep {
            file::Kept::Nothing => Keep::Nothing,
            file::Kept::Arguments => Keep::Arguments,
            file::Kept::Everything => Keep::Everything,
        },
        money_scale: file.policy.money_scale,
        naming,
        first_sight: FIRST_SIGHT,
        servers,
        meters: Vec::new(),
        own,
        webhooks: broker::Webhooks::default(),
        event_labels: events::Labels::default(),
        custody,
    })
}

/// What is made of the denials of a session.
fn denials(session: &file::SessionSection) -> Result<Denials, (&'static str, String)> {
    let lately = session.denied_lately;
    if !lately.is_positive() || lately > MOST_LATELY {
        let problem = "write a time like `10m`, at most `24h`".to_owned();
        return Err(("session.denied_lately", problem));
    }
    let most = broker::Again::MOST;
    let freeze_after = session.freeze_after_denials;
    if freeze_after.is_some_and(|count| count == 0 || count > most) {
        let problem =
            format!("write a number from 1 to {most}, or leave it out to freeze no session");
        return Err(("session.freeze_after_denials", problem));
    }
    Ok(Denials {
        lately,
        freeze_after,
    })
}

/// What is offered of the broker's own tools. Where one server is to be seen as if
/// nothing stood before it, none.
fn own_tools(file: &file::File) -> Result<OwnTools, (&'static str, String)> {
    let tools = &file.session.tools;
    for (name, given) in &tools.names {
        let known: Vec<&str> = OwnTools::known().collect();
        if !known.contains(&name.as_str()) {
            let known = known.join(", ");
            let problem = format!("there is no tool `{name}`: they are {known}");
            return Err(("session.tools.names", problem));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !(1..=64).contains(&given.len()) || !given.chars().all(fits) {
            let problem = format!(
                "`{given}` cannot name a tool: write 1 to 64 of the characters A-Z a-z 0-9 _ -"
            );
            return Err(("session.tools.names", problem));
        }
    }
    Ok(OwnTools {
        offered: tools.offer.unwrap_or(file.names.prefix),
        names: tools.names.clone(),
    })
}

/// How long a first list waits for servers that nobody has seen yet.
const FIRST_SIGHT: Duration = Duration::from_secs(5);
