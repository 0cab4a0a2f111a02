//! `countersign import`: servers of a client's file, copied into ours.

use super::print;
use crate::clients::Client;
use crate::config;
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
    from: String,
    /// Only say what would be added
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    /// Adds a section for each server that has none yet. `path` is our
    /// configuration.
    pub(super) fn run(&self, path: &Path, keeper: &Path) -> anyhow::Result<()> {
        let file = self.file()?;
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read `{}`", file.display()))?;
        let imported = config::read_client(&file, &text)?;
        let ours = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read `{}`: begin with `countersign init`",
                path.display()
            )
        })?;
        let mut document: DocumentMut = ours.parse()?;
        let mut report = String::new();
        for server in &imported {
            let line = match add(&mut document, server)? {
                Ok(()) => format!("added     {}", server.server),
                Err(why) => format!("left out  {}: {why}", server.name),
            };
            writeln!(report, "{line}")?;
        }
        if imported.is_empty() {
            writeln!(report, "there are no servers in `{}`", file.display())?;
        }
        let changed = document.to_string();
        // Before anything is written: what would not be read again is refused.
        Config::parse(path, &changed, keeper)?;
        if self.dry_run {
            report.push_str("nothing was written (--dry-run)\n");
        } else if changed != ours {
            std::fs::write(path, changed)
                .with_context(|| format!("cannot write `{}`", path.display()))?;
            // The environment and the headers of servers may be secret.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                .with_context(|| format!("cannot keep `{}` to yourself", path.display()))?;
            writeln!(report, "\nwritten   {}", path.display())?;
            report.push_str(
                "Next: `countersign policy new --permissive`, then `countersign check`.\n",
            );
        }
        print(&report)
    }

    fn file(&self) -> anyhow::Result<PathBuf> {
        match Client::from_str(&self.from) {
            Ok(client) => {
                let home =
                    std::env::home_dir().context("there is no home folder: name the file")?;
                let here = std::env::current_dir()?;
                Ok(client.file(&home, &here))
            }
            Err(unknown) => {
                let file = PathBuf::from(&self.from);
                let is_path = file.exists() || self.from.contains(['/', '.']);
                if is_path {
                    Ok(file)
                } else {
                    Err(unknown.into())
                }
            }
        }
    }
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
