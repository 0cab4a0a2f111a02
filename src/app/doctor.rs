//! `countersign doctor`: what is wrong with an installation, and what to do.

mod entries;

use super::MIGRATIONS;
use super::check::check;
use super::existing_store_apart;
use super::notified;
use crate::cause::Chain;
use crate::clients;
use crate::clients::Around;
use crate::clients::Client;
use crate::clients::Likeness;
use crate::clients::Place;
use crate::config::Config;
use crate::config::Imported;
use crate::config::Reached;
use crate::counted::Counted;
use crate::keys;
use crate::store::Store;
use crate::visible;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// How much room a store should have at least, in bytes.
const ROOM: u64 = 200 << 20;

/// What to do about a store that cannot be used.
const DAMAGED: &str = "`countersign store check` says more; bring a backup back with `countersign store restore FILE`, or name another store with `store.path`";

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Works, and not as one would want it.
    Warning,
    /// Must be mended.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do; empty where there is nothing to do.
    pub advice: String,
}

impl Finding {
    fn good(what: String) -> Self {
        let advice = String::new();
        Self {
            level: Level::Good,
            what,
            advice,
        }
    }

    fn note(what: String, advice: &str) -> Self {
        let advice = advice.to_owned();
        Self {
            level: Level::Note,
            what,
            advice,
        }
    }

    fn warning(what: String, advice: String) -> Self {
        let level = Level::Warning;
        Self {
            level,
            what,
            advice,
        }
    }

    fn problem(what: String, advice: &str) -> Self {
        let advice = advice.to_owned();
        Self {
            level: Level::Problem,
            what,
            advice,
        }
    }
}

/// Looks at everything that a start, a call and a client need. `around` says where
/// clients have their files.
pub async fn doctor(config: Result<Config, anyhow::Error>, around: Option<Around>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &config {
        Err(error) => findings.push(Finding::problem(
            Chain(error.as_ref()).to_string(),
            "mend the configuration, or begin with `countersign init`",
        )),
        Ok(config) => {
            findings.push(Finding::good(format!(
                "configuration {}",
                config.path.display()
            )));
            store(config, &mut findings).await;
            servers_and_policies(config, &mut findings).await;
        }
    }
    if let Some(around) = around {
        let reached = config.as_ref().ok().map(|config| &config.reached);
        for client in Client::ALL {
            client_files(client, (&around, reached), &mut findings);
            findings.extend(entries::of(client, &around, config.as_ref().ok()));
        }
    }
    findings
}

async fn store(config: &Config, findings: &mut Vec<Finding>) {
    let path = config.store.display();
    if !config.store.exists() {
        findings.push(Finding::good(format!(
            "the store {path} is made at the first start"
        )));
        return;
    }
    let mode = std::fs::metadata(&config.store).map(|found| found.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        findings.push(Finding::problem(
            format!("others can read the store {path}"),
            &format!(
                "chmod 600 {}",
                visible::shell_word(&config.store.to_string_lossy())
            ),
        ));
    }
    let store = match existing_store_apart(&config.store).await {
        Ok(store) => store,
        Err(error) => {
            let what = Chain(error.as_ref()).to_string();
            findings.push(Finding::problem(what, DAMAGED));
            return;
        }
    };
    looked_into((&store, &config.store), findings);
    if let Ok(room) = rustix::fs::statvfs(&config.store)
        && room.f_bavail.saturating_mul(room.f_frsize) < ROOM
    {
        findings.push(Finding::problem(
            format!("little room is left where the store {path} lies"),
            "make room: without it effects are refused",
        ));
    }
    findings.extend(started_before(&store, &config.path));
    let valid = store.read(keys::list).unwrap_or_default();
    let valid = valid.iter().filter(|key| key.revoked.is_none()).count();
    match (valid, &config.http.anonymous) {
        (0, None) => findings.push(Finding::note(
            "nobody could call over HTTP".to_owned(),
            "make a key with `countersign key new PRINCIPAL`, if you want to serve",
        )),
        (0, Some(anyone)) => findings.push(Finding::good(format!(
            "whoever calls over HTTP without a key is taken for {anyone}"
        ))),
        (keys, _) => findings.push(Finding::good(format!("{} for HTTP", Counted(keys, "key")))),
    }
}

/// What is in a store and beside it.
fn looked_into((store, path): (&Store, &Path), findings: &mut Vec<Finding>) {
    let path = path.display();
    match store.must_be_whole(&MIGRATIONS) {
        Ok(besides) => {
            findings.push(Finding::good(format!("the store {path} can be used")));
            findings.extend(besides.into_iter().map(|part| {
                let advice = "take it out, unless you know what it is for".to_owned();
                Finding::warning(format!("in the store {path}, {part}"), advice)
            }));
        }
        Err(error) => findings.push(Finding::problem(Chain(&error).to_string(), DAMAGED)),
    }
    if let Some(other) = store.in_place_of_reserve() {
        findings.push(Finding::warning(
            format!(
                "{} is no file that the broker may write, so nothing is reserved for a full disk",
                other.display()
            ),
            "move it away: a running broker takes its reserve again by itself".to_owned(),
        ));
    }
}

/// That a broker runs by an earlier configuration.
fn started_before(store: &Store, config: &Path) -> Option<Finding> {
    let changed = std::fs::metadata(config).and_then(|found| found.modified());
    let changed = Timestamp::try_from(changed.ok()?).ok()?;
    let earlier = store.living_since_before(changed).ok()?;
    (earlier > 0).then(|| {
        Finding::warning(
            format!(
                "{} on this store started before {} last changed",
                Counted(earlier, "broker"),
                config.display()
            ),
            "restart what should go by it: servers, tools and settings are read at the start"
                .to_owned(),
        )
    })
}

async fn servers_and_policies(config: &Config, findings: &mut Vec<Finding>) {
    let checked = match check(config).await {
        Ok(checked) => checked,
        Err(error) => {
            let what = Chain(error.as_ref()).to_string();
            findings.push(Finding::problem(what, "run `countersign check`"));
            return;
        }
    };
    let fact = |name: &str| checked.facts.get(name).cloned().unwrap_or_default();
    for server in fact("servers").as_array().into_iter().flatten() {
        let text = |key: &str| server.get(key).and_then(Value::as_str).unwrap_or_default();
        let what = format!(
            "server {} ({}, MCP {})",
            text("name"),
            text("says"),
            text("revision")
        );
        findings.push(Finding::good(what));
    }
    findings.extend(checked.nothing.iter().map(|(principal, nothing)| {
        let what = format!("{principal} may call nothing: {}", nothing.why);
        Finding::note(what, nothing.advice)
    }));
    for problem in notified::unreachable(config).await {
        let advice =
            "see `[escalations]` in the configuration; what is to be told is tried again for a day"
                .to_owned();
        findings.push(Finding::warning(problem, advice));
    }
    for warning in checked.warnings {
        let advice = "see `countersign check`".to_owned();
        findings.push(Finding::warning(warning, advice));
    }
    for problem in checked.problems.iter().flat_map(|problem| apart(problem)) {
        findings.push(Finding::problem(problem, "see `countersign check`"));
    }
}

/// Each by itself, where a problem is a list of them, one a line.
fn apart(problem: &str) -> Vec<String> {
    let Some((what, list)) = problem.split_once(":\n  ") else {
        return vec![problem.to_owned()];
    };
    let list = list.split("\n  ").map(|one| format!("{what}: {one}"));
    list.collect()
}

/// What a client's files say of us, and of servers that it reaches past us.
fn client_files(
    client: Client,
    (around, ours): (&Around, Option<&Reached>),
    findings: &mut Vec<Finding>,
) {
    let mut found: Vec<(Place, Vec<Imported>)> = Vec::new();
    let mut beside = BTreeSet::new();
    for place in around.places(client) {
        beside.extend(clients::beside(&place.path));
    }
    findings.extend(beside.into_iter().map(|backup| {
        let what = format!(
            "an earlier version left a backup of {client}'s file in {}, which may hold secrets",
            backup.display()
        );
        let advice = format!("`countersign connect {client}` again moves it to where only you look, and `--undo` uses it up");
        Finding::warning(what, advice)
    }));
    for place in around.found(client) {
        match place.servers {
            Ok(servers) => found.push((place.place, servers)),
            Err(error) => {
                let what = format!("{client}: {}", Chain(&error));
                findings.push(Finding::note(what, "the client may not read it either"));
            }
        }
    }
    let is_ours = |server: &&Imported| server.name == clients::OURS;
    let mut starts_us = false;
    for (place, servers) in &found {
        let Some(ours) = servers.iter().find(is_ours) else {
            continue;
        };
        starts_us = true;
        let program = ours.entry.command.clone().unwrap_or_default();
        findings.push(match Path::new(&program).is_file() {
            true => Finding::good(format!("{client} starts {program} ({place})")),
            false => Finding::problem(
                format!("{client} starts `{program}`, which is not there ({place})"),
                &format!("countersign connect {client}{}", clients::scoped(place)),
            ),
        });
    }
    let reached = |server: &&Imported| server.left_out.is_none() && !is_ours(server);
    if let Some(ours) = ours {
        for (place, servers) in &found {
            let others = servers.iter().filter(reached);
            findings
                .extend(others.filter_map(|server| another(client, around, (ours, place, server))));
        }
    }
    // Whom nobody connected is not expected to go by us.
    if !starts_us {
        if around.has(client) {
            let found = found.iter().map(|(place, servers)| {
                let servers: Vec<&Imported> = servers.iter().filter(reached).collect();
                (place, servers)
            });
            findings.push(not_connected(client, (around, ours), found.collect()));
        }
        return;
    }
    for (place, servers) in &found {
        let servers: Vec<&Imported> = servers.iter().filter(reached).collect();
        if !servers.is_empty() {
            findings.push(Finding::warning(
                format!(
                    "calls to {} are not governed: {client} reaches them past every policy, and no record is kept ({place})",
                    names(&servers)
                ),
                to_govern(client, (around, ours), &[(place, servers)]),
            ));
        }
    }
}

/// That a client's server is another one than ours of its name.
fn another(
    client: Client,
    around: &Around,
    (ours, place, server): (&Reached, &Place, &Imported),
) -> Option<Finding> {
    let here = (place, around.here.as_path());
    let Likeness::Other(other) = clients::likeness(ours, here, (server, &server.server)) else {
        return None;
    };
    let name = visible::shell_word(&format!("{}=NAME", other.name));
    Some(Finding::warning(
        format!("{client}: {other} ({place})"),
        format!(
            "before ours stands for it, take it over under a name of its own: `countersign import {client} --as {name}`"
        ),
    ))
}

/// That a client of this machine does not start us, and how it would.
fn not_connected(
    client: Client,
    by: (&Around, Option<&Reached>),
    mut found: Vec<(&Place, Vec<&Imported>)>,
) -> Finding {
    found.retain(|(_, servers)| !servers.is_empty());
    if found.is_empty() {
        return Finding::note(
            format!("{client} is on this machine, and does not start Countersign"),
            &format!("`countersign connect {client}`, if it should"),
        );
    }
    let reached = found
        .iter()
        .map(|(place, servers)| format!("{} ({place})", names(servers)));
    Finding::note(
        format!(
            "{client} does not start Countersign, and reaches by itself {}",
            reached.collect::<Vec<_>>().join(", ")
        ),
        &format!(
            "{}, if its calls should be governed",
            to_govern(client, by, &found)
        ),
    )
}

fn names(servers: &[&Imported]) -> String {
    let names = servers.iter().map(|server| server.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// What has the calls to a client's servers go by us: taking over those that are none of
/// ours yet, and then taking them out of the client's files.
fn to_govern(
    client: Client,
    (around, ours): (&Around, Option<&Reached>),
    found: &[(&Place, Vec<&Imported>)],
) -> String {
    let is_ours = |place: &Place, server: &Imported| {
        let here = (place, around.here.as_path());
        ours.is_some_and(|ours| {
            let likeness = clients::likeness(ours, here, (server, &server.server));
            matches!(likeness, Likeness::Same(_))
        })
    };
    let mut all = found
        .iter()
        .flat_map(|(place, servers)| servers.iter().map(move |server| (*place, *server)));
    let import = match all.all(|(place, server)| is_ours(place, server)) {
        true => String::new(),
        false => format!("`countersign import {client}`, then "),
    };
    let mut out: Vec<String> = Vec::new();
    for (place, _) in found {
        let command = clients::taking_out(client, place, around);
        if !out.contains(&command) {
            out.push(command);
        }
    }
    format!("{import}{}", out.join(" and "))
}
