//! `countersign import`: servers of a client's file, copied into ours.

use super::around;
use super::print;
use crate::clients::Client;
use crate::clients::Found;
use crate::clients::Place;
use crate::config::Config;
use crate::config::Entry;
use crate::config::Imported;
use anyhow::Context;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use toml_edit::Array;
use toml_edit::DocumentMut;
use toml_edit::InlineTable;
use toml_edit::Item;
use toml_edit::Table;
use toml_edit::Value;

#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// A client (claude-desktop, claude-code, cursor, vscode, codex, gemini,
    /// windsurf) or a file
    #[arg(value_name = "CLIENT|FILE")]
    from: String,
    /// Only say what would be added
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    /// Adds a section for each server that has none yet. `path` is our
    /// configuration.
    pub(super) fn run(&self, path: &Path, keeper: &Path) -> anyhow::Result<()> {
        let found = self.found()?;
        let ours = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read `{}`: begin with `countersign init`",
                path.display()
            )
        })?;
        let mut document: DocumentMut = ours.parse()?;
        let mut report = String::new();
        for Found { place, servers } in found {
            let mut servers = servers?;
            let folder = place.folder(&std::env::current_dir()?);
            for server in &mut servers {
                if let Some(folder) = &folder {
                    stays_in(&mut server.entry, folder);
                }
                let line = match add(&mut document, server)? {
                    Ok(()) => format!("added     {}  ({place})", server.server),
                    Err(why) => format!("left out  {}: {why}  ({place})", server.name),
                };
                writeln!(report, "{line}")?;
            }
            if servers.is_empty() {
                writeln!(
                    report,
                    "there are no servers in {place}: neither `mcpServers` nor, as VS Code has it, `servers`"
                )?;
            }
        }
        let changed = document.to_string();
        // Before anything is written: what would not be read again is refused.
        let config = Config::parse(path, &changed, keeper)?;
        if self.dry_run {
            report.push_str("nothing was written (--dry-run)\n");
        } else if changed != ours {
            std::fs::write(path, changed)
                .with_context(|| format!("cannot write `{}`", path.display()))?;
            // The environment and the headers of servers may be secret.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                .with_context(|| format!("cannot keep `{}` to yourself", path.display()))?;
            writeln!(report, "\nwritten   {}", path.display())?;
            let add = match config.rules.has_started() {
                true => " --add",
                false => "",
            };
            writeln!(
                report,
                "Next: `countersign policy new --permissive{add}`, then `countersign check`."
            )?;
        }
        print(&report)
    }

    /// What there is to import: all that a client has here, or one file.
    fn found(&self) -> anyhow::Result<Vec<Found>> {
        match Client::from_str(&self.from) {
            Ok(client) => {
                let around = around()?;
                let found = around.found(client);
                let looked = around
                    .places(client)
                    .into_iter()
                    .map(|place| place.to_string());
                anyhow::ensure!(
                    !found.is_empty(),
                    "{client} has no file with servers here, so there is nothing to import; name a file, or write `[servers.NAME]` sections by hand (looked for {})",
                    looked.collect::<Vec<_>>().join("; ")
                );
                Ok(found)
            }
            Err(unknown) => {
                let file = PathBuf::from(&self.from);
                let is_path = file.exists() || self.from.contains(['/', '.']);
                anyhow::ensure!(is_path, unknown);
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read `{}`", file.display()))?;
                let place = Place::file(file);
                let servers = place.read(&text);
                Ok(vec![Found { place, servers }])
            }
        }
    }
}

/// A server whose command or arguments name what lies in the folder of its project is
/// started there, as its client does; ours are started beside our configuration.
fn stays_in(entry: &mut Entry, folder: &Path) {
    let lies_there = |text: &&String| {
        let path = Path::new(text.as_str());
        path.is_relative() && !text.is_empty() && folder.join(path).exists()
    };
    let command = entry.command.iter().filter(|text| text.contains('/'));
    let needs_it = command.chain(&entry.args).any(|text| lies_there(&text));
    if entry.command.is_none() || !(needs_it || entry.cwd.is_some()) {
        return;
    }
    let started = match &entry.cwd {
        Some(cwd) => folder.join(cwd),
        None => folder.to_owned(),
    };
    entry.cwd = Some(started.to_string_lossy().into_owned());
}

/// Adds one section, or says why not.
fn add(document: &mut DocumentMut, server: &Imported) -> anyhow::Result<Result<(), String>> {
    if let Some(why) = server.left_out {
        return Ok(Err(why.to_owned()));
    }
    if asks(&server.entry) {
        let why = "it asks the client for a value (`${input:…}`): put that into a variable or a file, and write `${NAME}` or `${file:path}`";
        return Ok(Err(why.to_owned()));
    }
    let servers = document.entry("servers").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let servers = servers
        .as_table_mut()
        .context("`servers` must be a table in our configuration")?;
    let name = server.server.to_string();
    if servers.contains_key(&name) {
        return Ok(Err(format!(
            "there is a section `[servers.{name}]` already"
        )));
    }
    servers.insert(&name, Item::Table(section(&server.entry)));
    Ok(Ok(()))
}

fn asks(entry: &Entry) -> bool {
    let texts = entry.command.iter().chain(&entry.args).chain(&entry.url);
    let texts = texts
        .chain(entry.env.values())
        .chain(entry.headers.values());
    texts.into_iter().any(|text| text.contains("${input:"))
}

fn section(entry: &Entry) -> Table {
    let mut section = Table::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            section.insert(key, Item::Value(value));
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    put("command", text(&entry.command));
    let args: Array = entry.args.iter().collect();
    put("args", (!args.is_empty()).then_some(Value::Array(args)));
    put("cwd", text(&entry.cwd));
    put("url", text(&entry.url));
    put("type", entry.transport.map(Value::from));
    for (key, members) in [("env", &entry.env), ("headers", &entry.headers)] {
        let table: InlineTable = members
            .iter()
            .map(|(name, value)| (name.as_str(), Value::from(value.as_str())))
            .collect();
        put(
            key,
            (!table.is_empty()).then_some(Value::InlineTable(table)),
        );
    }
    section
}
