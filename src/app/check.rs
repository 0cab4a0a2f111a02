//! `countersign check`: everything that a start would find, without starting to
//! serve and without writing to the store.

use super::advice;
use super::advice::Nothing;
use super::callers;
use super::existing_store_apart;
use super::notified;
use super::redactions;
use crate::broker::Catalogue;
use crate::broker::Known;
use crate::broker::Rules;
use crate::cause::Chain;
use crate::config::Config;
use crate::downstream::News;
use crate::downstream::Replicas;
use crate::downstream::State;
use crate::nearest;
use crate::pins;
use crate::pins::Pin;
use crate::store::Store;
use crate::tool::Access;
use crate::tool::ServerName;
use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use tokio::sync::mpsc;

/// How many characters a line of names has at most, unless one name alone has more.
const WIDTH: usize = 96;

/// How many files are named that are no policies.
const UNREAD: usize = 8;

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// The report, for people.
    pub report: String,
    /// What must be mended before a start, or before a tool can be called.
    pub problems: Vec<String>,
    /// What an operator should know, and what stops nothing.
    pub warnings: Vec<String>,
    /// What is as it may well be.
    pub notes: Vec<String>,
    /// Why those who see no tool see none, by their names.
    pub(super) nothing: BTreeMap<String, Nothing>,
    /// The same as `report`, for programs: `servers`, `policies`, `tools`,
    /// `visible`.
    pub facts: Map<String, Value>,
}

pub(super) type Pins = BTreeMap<ServerName, Vec<Pin>>;

/// Checks configuration, servers, schema and policies, and shows which tools
/// each principal may see.
///
/// # Errors
///
/// When the report cannot be made at all.
pub async fn check(config: &Config) -> anyhow::Result<Checked> {
    let mut checked = Checked::default();
    writeln!(checked.report, "configuration  {}", config.path.display())?;
    if config.broker.servers.is_empty() {
        checked.warnings.push(no_server(config));
    }
    checked.notes.extend(unread_policies(config));
    checked.warnings.extend(config.reached.may_mean_variables());
    let rules = match config.rules.load() {
        Ok(rules) => rules,
        Err(error) => {
            checked.problems.push(Chain(&error).to_string());
            return Ok(checked);
        }
    };
    let who = callers::problems(config, &rules.principals);
    checked.problems.extend(who);
    if let Err(error) = config.http.must_keep_strangers_out() {
        checked.problems.push(Chain(&error).to_string());
    }
    if let Err(error) = config.broker.custody.must_be_held() {
        let problem = format!("`journal.checkpoints`: {}", Chain(&error));
        checked.problems.push(problem);
    }
    if let Err(error) = config.broker.custody.must_be_key() {
        let problem = format!("`journal.key`: {}", Chain(&error));
        checked.problems.push(problem);
    }
    let mut pins = match stored_pins(config, &mut checked).await {
        Ok(pins) => pins,
        Err(error) => {
            checked.problems.push(format!("{error:#}"));
            return Ok(checked);
        }
    };
    let downstreams = look_at_servers(config, &mut pins, &mut checked).await?;
    checked.problems.extend(changed_tools(&pins));
    checked
        .problems
        .extend(tools_that_are_not_there(config, &pins));
    checked.warnings.extend(redactions::astray(config, &pins));
    let shape = config.broker.shape();
    let known = Known {
        pins: &pins,
        resources: &BTreeMap::new(),
        downstreams: &downstreams,
    };
    let built = Catalogue::build(&rules, &config.broker.servers, known, shape);
    match built {
        Ok(catalogue) => report_catalogue(&catalogue, (config, &rules), &mut checked)?,
        Err(error) => checked.problems.push(error.to_string()),
    }
    notified::report(config, &rules, &mut checked)?;
    for downstream in downstreams.values() {
        downstream.stop().await;
    }
    Ok(checked)
}

/// That there is nothing to stand in front of, and what to do.
pub(super) fn no_server(config: &Config) -> String {
    format!(
        "no server is configured, so there is nothing to call: take over those of a client with `countersign import CLIENT`, or write a section `[servers.NAME]` with its `command` or `url` into {}",
        config.path.display()
    )
}

/// That files beside the policies are none.
fn unread_policies(config: &Config) -> Option<String> {
    let folder = &config.rules.policies;
    // Whatever is there is not said to be policies where it is the folder of all.
    if config.path.parent() == Some(folder) {
        return None;
    }
    let mut unread = config.rules.unread().ok()?;
    let more = unread.len().saturating_sub(UNREAD);
    unread.truncate(UNREAD);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    (!unread.is_empty()).then(|| {
        format!(
            "not read in {}: `{}`{more}; policies are the files there whose names end in `.cedar`",
            folder.display(),
            unread.join("`, `")
        )
    })
}

pub(super) async fn stored_pins(config: &Config, checked: &mut Checked) -> anyhow::Result<Pins> {
    if !config.store.exists() {
        let path = config.store.display();
        writeln!(checked.report, "store          {path} (not there yet)")?;
        return Ok(Pins::new());
    }
    writeln!(checked.report, "store          {}", config.store.display())?;
    pins_in(config, &existing_store_apart(&config.store).await?)
}

fn pins_in(config: &Config, store: &Store) -> anyhow::Result<Pins> {
    let pins = store.read(|tx| {
        let mut known = Pins::new();
        for server in config.broker.servers.keys() {
            if let Some(pins) = pins::of_server(tx, server)? {
                known.insert(server.clone(), pins);
            }
        }
        Ok(known)
    })?;
    Ok(pins)
}

/// The policies for the tools that are pinned, without any server.
///
/// # Errors
///
/// When they cannot be read, or are not valid.
pub fn catalogue(config: &Config, store: &Store) -> anyhow::Result<Catalogue> {
    let rules = config.rules.load()?;
    let pins = pins_in(config, store)?;
    let known = Known {
        pins: &pins,
        resources: &BTreeMap::new(),
        downstreams: &BTreeMap::new(),
    };
    let shape = config.broker.shape();
    Ok(Catalogue::build(
        &rules,
        &config.broker.servers,
        known,
        shape,
    )?)
}

/// Starts each server, and puts what it lists beside what is pinned.
pub(super) async fn look_at_servers(
    config: &Config,
    pins: &mut Pins,
    checked: &mut Checked,
) -> anyhow::Result<BTreeMap<ServerName, Replicas>> {
    let (news, mut incoming) = mpsc::unbounded_channel();
    let mut downstreams = BTreeMap::new();
    for server in config.servers.to_start()? {
        let downstream = Replicas::start(server.clone(), news.clone());
        downstreams.insert(server.name.clone(), downstream);
    }
    for downstream in downstreams.values() {
        downstream.settled().await;
    }
    while let Ok(news) = incoming.try_recv() {
        if let News::Tools {
            server,
            definitions,
            refused,
            ..
        } = news
        {
            let refused = refused
                .into_iter()
                .map(|why| format!("server {server}: {why}"));
            checked.problems.extend(refused);
            let known = pins.remove(&server).unwrap_or_default();
            pins.insert(
                server,
                pins::foreseen(known, &definitions, Timestamp::now()),
            );
        }
    }
    let mut servers = Vec::new();
    for (name, downstream) in &downstreams {
        if downstream.state().is_ready() {
            for one in downstream.all() {
                if let State::Failed { why, .. } = one.server().state() {
                    let url = one.url();
                    checked
                        .warnings
                        .push(format!("server {name} at {url}: {why}"));
                }
            }
        }
        match downstream.state() {
            State::Ready { era, server } => {
                writeln!(checked.report, "server         {name}: {server}, MCP {era}")?;
                servers.push(json!({
                    "name": name.as_str(),
                    "says": server,
                    "revision": era.to_string(),
                }));
            }
            State::Failed { why, .. } => {
                checked.problems.push(format!("server {name}: {why}"));
            }
            State::Starting | State::Stopped => {
                checked
                    .problems
                    .push(format!("server {name}: it did not start"));
            }
        }
    }
    checked.facts.insert("servers".to_owned(), servers.into());
    Ok(downstreams)
}

fn changed_tools(pins: &Pins) -> impl Iterator<Item = String> {
    let changed = pins.values().flatten().filter(|pin| pin.changed.is_some());
    changed.map(|pin| {
        let tool = &pin.definition.id;
        let digest = pin.changed.as_ref().map(|changed| changed.digest);
        format!(
            "tool {tool} changed since it was pinned, and is refused: read `countersign pin diff`, then let in what you read with `countersign pin accept {} {} --digest {}`",
            tool.server,
            tool.name,
            digest.map_or_else(String::new, |digest| digest.to_string())
        )
    })
}

/// What the configuration says of tools that their server does not have: a slip
/// of the pen would lose it without a word.
fn tools_that_are_not_there(config: &Config, pins: &Pins) -> Vec<String> {
    let mut problems = Vec::new();
    for (server, rules) in &config.broker.servers {
        let Some(pins) = pins.get(server) else {
            continue;
        };
        let names: Vec<&str> = pins.iter().map(|pin| &*pin.definition.id.name).collect();
        let absent = rules
            .tools
            .keys()
            .filter(|tool| !names.contains(&tool.as_str()));
        problems.extend(absent.map(|tool| {
            format!(
                "`servers.{server}.tools.{tool}`: the server has no such tool{}; it has {}",
                nearest::meant(tool, names.iter().copied()),
                names.join(", ")
            )
        }));
    }
    problems
}

fn report_catalogue(
    catalogue: &Catalogue,
    (config, rules): (&Config, &Rules),
    checked: &mut Checked,
) -> anyhow::Result<()> {
    let bundle = catalogue.bundle();
    publish(catalogue, rules, &mut checked.facts);
    let report = &mut checked.report;
    writeln!(report, "policy set     {}", bundle.digest())?;
    for policy in bundle.policies() {
        writeln!(
            report,
            "  {:<7}{:<34}{}:{}",
            policy.effect.as_str(),
            policy.id,
            policy.file,
            policy.line
        )?;
    }
    let (warnings, notes) = advice::of(catalogue, config);
    checked.warnings.extend(warnings);
    checked.notes.extend(notes);
    for waiting in bundle.quarantined() {
        let why = &waiting.reason;
        checked.problems.push(format!(
            "policy `{}` ({}) is not in force: {why}",
            waiting.id, waiting.file
        ));
    }
    checked.problems.extend(catalogue.refused().iter().cloned());
    writeln!(report, "tools")?;
    for (name, tool) in catalogue.names() {
        let rules = bundle.gate(tool).map(|gate| gate.rules());
        let (access, risk) = rules.map_or(("", ""), |rules| {
            let access = match rules.access {
                Access::Read => "read",
                Access::Write => "write",
            };
            (access, rules.risk.as_str())
        });
        writeln!(report, "  {name:<46}  {access:<6}{risk:<14}{tool}")?;
        for (argument, why) in bundle.opaque_arguments(tool) {
            writeln!(report, "    policy cannot see `{argument}`: {why}")?;
        }
    }
    writeln!(report, "who may see which tool")?;
    for Seen {
        tools,
        nothing,
        who,
    } in visible(catalogue, rules)
    {
        wrapped(report, "  ", (who.as_slice(), ":"))?;
        match &nothing {
            Some(nothing) => writeln!(report, "    nothing: {}", nothing.why)?,
            None => wrapped(report, "    ", (tools.as_slice(), ""))?,
        }
        let none = nothing.into_iter();
        let none = none.flat_map(|none| who.iter().map(move |who| (who.clone(), none.clone())));
        checked.nothing.extend(none);
    }
    Ok(())
}

/// What some people see, all the same.
struct Seen {
    tools: Vec<String>,
    /// Why there is no tool.
    nothing: Option<Nothing>,
    who: Vec<String>,
}

/// The tools that somebody sees, with all who see the same, in the order of their names.
fn visible(catalogue: &Catalogue, rules: &Rules) -> Vec<Seen> {
    let names = catalogue.names();
    let mut groups: Vec<Seen> = Vec::new();
    for principal in rules.principals.by_id.keys() {
        let seen = names.iter();
        let seen = seen.filter(|(_, tool)| catalogue.bundle().lists(principal, tool));
        let tools: Vec<String> = seen.map(|(name, _)| name.to_string()).collect();
        let nothing = tools.is_empty();
        let nothing = nothing.then(|| Nothing::of(catalogue, principal));
        let mut known = groups.iter_mut();
        let same = known.find(|known| known.tools == tools && known.nothing == nothing);
        match same {
            Some(group) => group.who.push(principal.to_string()),
            None => groups.push(Seen {
                tools,
                nothing,
                who: vec![principal.to_string()],
            }),
        }
    }
    groups
}

/// Names, as many on a line as are easily read, and what ends the last.
fn wrapped(report: &mut String, indent: &str, (names, end): (&[String], &str)) -> std::fmt::Result {
    let mut line = indent.to_owned();
    for (place, name) in names.iter().enumerate() {
        let is_last = place + 1 == names.len();
        let name = format!("{name}{}", if is_last { end } else { "," });
        let is_first = line.len() == indent.len();
        if !is_first && line.chars().count() + name.chars().count() >= WIDTH {
            writeln!(report, "{line}")?;
            line = indent.to_owned();
        } else if !is_first {
            line.push(' ');
        }
        line.push_str(&name);
    }
    writeln!(report, "{line}")
}

/// What the report says, for programs.
fn publish(catalogue: &Catalogue, rules: &Rules, facts: &mut Map<String, Value>) {
    let bundle = catalogue.bundle();
    let policies = bundle.policies().map(|policy| {
        json!({
            "id": policy.id,
            "effect": policy.effect.as_str(),
            "file": policy.file,
            "line": policy.line,
        })
    });
    facts.insert("policies".to_owned(), policies.collect());
    let tools = catalogue.names().into_iter().map(|(name, tool)| {
        let opaque = bundle.opaque_arguments(tool).into_iter();
        let opaque = opaque.map(|(argument, why)| json!({"argument": argument, "why": why}));
        let rules = bundle.gate(tool).map(|gate| gate.rules());
        json!({
            "name": name,
            "tool": tool.to_string(),
            "access": rules.map(|rules| match rules.access {
                Access::Read => "read",
                Access::Write => "write",
            }),
            "risk": rules.map(|rules| rules.risk.as_str()),
            "opaque": opaque.collect::<Value>(),
        })
    });
    facts.insert("tools".to_owned(), tools.collect());
    let visible: Map<String, Value> = rules
        .principals
        .by_id
        .keys()
        .map(|principal| {
            let seen = catalogue.names().into_iter();
            let seen = seen.filter(|(_, tool)| bundle.lists(principal, tool));
            let seen = seen.map(|(name, _)| name.to_string()).collect();
            (principal.to_string(), seen)
        })
        .collect();
    facts.insert("visible".to_owned(), visible.into());
}

/// The Cedar schema of the configured servers, as far as they can be seen.
///
/// # Errors
///
/// When the configuration or the principals cannot be read.
pub async fn schema(config: &Config) -> anyhow::Result<String> {
    let mut checked = Checked::default();
    let mut pins = stored_pins(config, &mut checked).await?;
    let downstreams = look_at_servers(config, &mut pins, &mut checked).await?;
    for downstream in downstreams.values() {
        downstream.stop().await;
    }
    let rules = Rules {
        files: Vec::new(),
        principals: config.rules.principals()?,
    };
    for problem in checked.problems {
        tracing::warn!("{problem}");
    }
    Ok(Catalogue::schema(
        &rules,
        &config.broker.servers,
        &pins,
        config.broker.shape(),
    )?)
}
