//! `countersign pin`.

use super::Form;
use super::one_line;
use super::published;
use crate::app;
use crate::config::Config;
use crate::pins;
use crate::tool::ServerName;
use anyhow::Context;
use anyhow::ensure;
use jiff::Timestamp;
use std::fmt::Write;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the pinned tools, and what their servers say of them now
    List,
    /// Let in what a server now says of a tool. Running brokers take it within some ten seconds
    Accept {
        /// The server
        server: ServerName,
        /// The tool [default: all that changed]
        tool: Option<String>,
    },
}

impl Command {
    pub(super) fn run(self, config: &Config, form: Form) -> anyhow::Result<()> {
        let store = app::existing_store(&config.store)?;
        let mut text = String::new();
        match self {
            Self::List if form == Form::Json => {
                let mut tools = Vec::new();
                for server in config.broker.servers.keys() {
                    let pins = store.read(|tx| pins::of_server(tx, server))?;
                    tools.extend(pins.unwrap_or_default().iter().map(published::pin));
                }
                return super::print_json(&serde_json::json!({ "tools": tools }));
            }
            Self::List => {
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
                        writeln!(text, "{state:<8}{}", pin.definition.id)?;
                        if let Some(changed) = pin.changed {
                            writeln!(text, "  pinned: {}", one_line(&pin.definition.json))?;
                            writeln!(text, "  now:    {}", one_line(&changed.json))?;
                        }
                    }
                }
            }
            Self::Accept { server, tool } => {
                let known = store.read(|tx| pins::of_server(tx, &server))?;
                let known = known.with_context(|| format!("no server `{server}` was ever seen"))?;
                if let Some(tool) = &tool {
                    let mut names = known.iter().map(|pin| &*pin.definition.id.name);
                    ensure!(
                        names.any(|name| name == tool),
                        "the server `{server}` never had a tool `{tool}`"
                    );
                }
                let accepted = store.write_blocking("accept", move |tx| {
                    pins::accept(tx, &server, tool.as_deref(), Timestamp::now())
                })?;
                if accepted.is_empty() {
                    text.push_str("nothing has changed there: `countersign pin list`\n");
                }
                for tool in accepted {
                    writeln!(text, "accepted {tool}")?;
                }
            }
        }
        super::print(&text)
    }
}
