//! `countersign pin`.

use super::Form;
use super::difference;
use super::difference::Difference;
use super::one_line;
use super::published;
use crate::app;
use crate::config::Config;
use crate::pins;
use crate::pins::Pin;
use crate::store::Store;
use crate::tool::ServerName;
use anyhow::Context;
use anyhow::ensure;
use jiff::Timestamp;
use serde_json::json;
use std::fmt::Write;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the pinned tools, and what differs in what their servers say of them now
    List,
    /// Show what differs in the tools that changed, and how to let it in
    Diff {
        /// The server [default: every server]
        server: Option<ServerName>,
        /// The tool [default: all that changed]
        tool: Option<String>,
    },
    /// Let in what a server now says of a tool. Running brokers take it within some ten seconds
    Accept {
        /// The server
        server: ServerName,
        /// The tool [default: all that changed]
        tool: Option<String>,
        /// Only what has this digest, as `pin diff` shows it: what was reviewed,
        /// and nothing that came since
        #[arg(long, requires = "tool", value_name = "HEX")]
        digest: Option<String>,
    },
}

impl Command {
    pub(super) fn run(self, config: &Config, form: Form) -> anyhow::Result<()> {
        let store = app::existing_store(&config.store)?;
        match self {
            Self::List => list(config, &store, form),
            Self::Diff { server, tool } => {
                diff(config, &store, (server.as_ref(), tool.as_deref()), form)
            }
            Self::Accept {
                server,
                tool,
                digest,
            } => {
                let reviewed = pins::Reviewed { tool, digest };
                accept((config, &store), server, reviewed, form)
            }
        }
    }
}

fn list(config: &Config, store: &Store, form: Form) -> anyhow::Result<()> {
    let (mut text, mut tools) = (String::new(), Vec::new());
    for server in config.broker.servers.keys() {
        let Some(pins) = store.read(|tx| pins::of_server(tx, server))? else {
            writeln!(text, "{server}: never seen")?;
            continue;
        };
        for pin in pins {
            let state = match (&pin.changed, pin.listed) {
                (Some(_), _) => "CHANGED",
                (None, true) => "pinned",
                (None, false) => "gone",
            };
            writeln!(
                text,
                "{state:<8}{}",
                one_line(&pin.definition.id.to_string())
            )?;
            text.push_str(&difference(&pin));
            tools.push(published::pin(&pin));
        }
    }
    match form {
        Form::Json => super::print_json(&json!({ "tools": tools })),
        Form::Text => super::print(&text),
    }
}

fn diff(
    config: &Config,
    store: &Store,
    (server, tool): (Option<&ServerName>, Option<&str>),
    form: Form,
) -> anyhow::Result<()> {
    let (mut text, mut tools) = (String::new(), Vec::new());
    let all: Vec<&ServerName> = config.broker.servers.keys().collect();
    for server in server.map_or(all, |server| vec![server]) {
        let pins = store.read(|tx| pins::of_server(tx, server))?;
        let pins = pins.with_context(|| never_seen(config, server))?;
        has_tool(server, tool, &pins)?;
        for pin in pins {
            let name = &*pin.definition.id.name;
            if pin.changed.is_some() && tool.is_none_or(|tool| tool == name) {
                writeln!(text, "{}", one_line(&pin.definition.id.to_string()))?;
                text.push_str(&difference(&pin));
                tools.push(published::pin(&pin));
            }
        }
    }
    if text.is_empty() {
        text.push_str("nothing has changed that a broker has seen\n");
    }
    match form {
        Form::Json => super::print_json(&json!({ "tools": tools })),
        Form::Text => super::print(&text),
    }
}

/// What differs in one tool, and how to let in exactly that.
fn difference(pin: &Pin) -> String {
    let Some(changed) = &pin.changed else {
        return String::new();
    };
    let found = difference::between(&pin.definition.json, &changed.json);
    let mut text: String = found.iter().map(Difference::shown).collect();
    let id = &pin.definition.id;
    let accept = format!(
        "  let this in, and nothing else: countersign pin accept {} {} --digest {}\n",
        id.server,
        one_line(&quoted(&id.name)),
        changed.digest
    );
    text.push_str(&accept);
    text
}

/// A name as a shell takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    match name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', "'\\''")),
    }
}

fn has_tool(server: &ServerName, tool: Option<&str>, pins: &[Pin]) -> anyhow::Result<()> {
    if let Some(tool) = tool {
        let names = pins.iter().map(|pin| &*pin.definition.id.name);
        let has = names.clone().any(|name| name == tool);
        ensure!(
            has,
            "the server `{server}` never had a tool `{}`: it has {}",
            one_line(tool),
            one_line(&names.collect::<Vec<_>>().join(", "))
        );
    }
    Ok(())
}

/// Why there is nothing pinned of a server, and what to do.
fn never_seen(config: &Config, server: &ServerName) -> String {
    let servers = &config.broker.servers;
    if servers.contains_key(server) {
        return format!(
            "the server `{server}` was never seen by a broker, so nothing of it is pinned: `countersign check` says whether it starts"
        );
    }
    let known: Vec<String> = servers.keys().map(|name| format!("`{name}`")).collect();
    match known.is_empty() {
        true => format!(
            "there is no server `{server}`: none is configured, see `countersign import --help`"
        ),
        false => format!(
            "there is no server `{server}`: there is {}",
            known.join(", ")
        ),
    }
}

fn accept(
    (config, store): (&Config, &Store),
    server: ServerName,
    reviewed: pins::Reviewed,
    form: Form,
) -> anyhow::Result<()> {
    let known = store.read(|tx| pins::of_server(tx, &server))?;
    let known = known.with_context(|| never_seen(config, &server))?;
    has_tool(&server, reviewed.tool.as_deref(), &known)?;
    let (of, which) = (server.clone(), reviewed.clone());
    let accepted = store.write_blocking("accept", move |tx| {
        pins::accept(tx, &of, &which, Timestamp::now())
    })?;
    if let (Some(tool), Some(digest), true) = (reviewed.tool, reviewed.digest, accepted.is_empty())
    {
        anyhow::bail!(
            "what `{server}` says of `{tool}` now has not the digest {digest}, so nothing was accepted: look at `countersign pin diff` again"
        );
    }
    if form == Form::Json {
        let accepted = accepted.iter().map(|(tool, digest)| {
            json!({"tool": format!("{server}/{tool}"), "digest": digest.to_string()})
        });
        return super::print_json(&json!({ "accepted": accepted.collect::<Vec<_>>() }));
    }
    let mut text = String::new();
    if accepted.is_empty() {
        text.push_str("nothing has changed there that a broker has seen: `countersign pin list`\n");
    }
    for (tool, digest) in accepted {
        writeln!(text, "accepted {tool}  {digest}")?;
    }
    super::print(&text)
}
