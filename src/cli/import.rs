//! `countersign import`: servers of a client's file, copied into ours.

use super::around;
use super::one_line;
use super::print;
use crate::clients;
use crate::clients::Client;
use crate::clients::Found;
use crate::clients::Likeness;
use crate::clients::Place;
use crate::config::Config;
use crate::config::Entry;
use crate::config::Imported;
use crate::config::Reached;
use crate::tool::ServerName;
use crate::tool::ServerNameError;
use crate::visible;
use anyhow::Context;
use std::collections::BTreeSet;
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
    /// Take a server over under another name, where ours of its name is another one
    #[arg(long = "as", value_name = "SERVER=NAME", value_parser = renamed)]
    renamed: Vec<(String, ServerName)>,
    /// Only say what would be added
    #[arg(long)]
    dry_run: bool,
}

fn renamed(text: &str) -> Result<(String, ServerName), String> {
    let (server, name) = text.rsplit_once('=').ok_or(
        "write the client's name of the server, `=`, and its name here, like `claims=claims-2`",
    )?;
    let name = name
        .parse()
        .map_err(|error: ServerNameError| error.to_string())?;
    Ok((server.to_owned(), name))
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
        let mut taking = Taking {
            reached: Config::parse(path, &ours, keeper)?.reached,
            document: ours.parse()?,
            here: std::env::current_dir()?,
            report: String::new(),
            plain: Vec::new(),
        };
        self.take_all(found, &mut taking)?;
        let Taking {
            document,
            mut report,
            plain,
            ..
        } = taking;
        let changed = document.to_string();
        // Before anything is written: what would not be read again is refused.
        let config = Config::parse(path, &changed, keeper)?;
        if self.dry_run {
            report.push_str("nothing was written (--dry-run)\n");
            return print(&report);
        }
        let wrote = changed != ours;
        if wrote {
            std::fs::write(path, changed)
                .with_context(|| format!("cannot write `{}`", path.display()))?;
            // The environment and the headers of servers may be secret.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                .with_context(|| format!("cannot keep `{}` to yourself", path.display()))?;
            writeln!(report, "\nwritten   {}", path.display())?;
            if !plain.is_empty() {
                writeln!(
                    report,
                    "These stand in it as they are, and may be secret: {}. Write `${{env:NAME}}` or `${{file:path}}` in their place to keep them elsewhere.",
                    plain.join(", ")
                )?;
            }
        } else {
            writeln!(
                report,
                "\nnothing was written: there was nothing to add to {}",
                path.display()
            )?;
        }
        let next = match (config.rules.has_started(), wrote) {
            (false, _) => "`countersign policy new --permissive`, then `countersign check`",
            (true, true) => "`countersign policy new --permissive --add`, then `countersign check`",
            (true, false) => "`countersign check`, then `countersign connect CLIENT`",
        };
        writeln!(report, "Next: {next}.")?;
        print(&report)
    }

    fn take_all(&self, found: Vec<Found>, taking: &mut Taking) -> anyhow::Result<()> {
        let mut empty = Vec::new();
        let mut names = BTreeSet::new();
        for Found { place, servers } in found {
            let servers = servers?;
            if servers.is_empty() {
                empty.push(place.to_string());
            }
            for mut server in servers {
                let other = self.renamed.iter().find(|(name, _)| *name == server.name);
                if let Some((_, name)) = other {
                    server.server = name.clone();
                }
                let line = taking.take(self.from.as_str(), (&place, &server))?;
                writeln!(taking.report, "{line}  ({place})")?;
                names.insert(server.name);
            }
        }
        // That a client has nothing in one of its places is nothing to tell of.
        if names.is_empty() {
            writeln!(
                taking.report,
                "there are no servers in {}: neither `mcpServers` nor, as VS Code has it, `servers`",
                one_line(&empty.join("; "))
            )?;
        }
        for (name, _) in &self.renamed {
            anyhow::ensure!(
                names.contains(name),
                "`--as`: there is no server `{}`: there is {}",
                one_line(name),
                one_line(&names.into_iter().collect::<Vec<_>>().join(", "))
            );
        }
        Ok(())
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

/// What becomes of our configuration.
struct Taking {
    document: DocumentMut,
    reached: Reached,
    here: PathBuf,
    report: String,
    /// The keys of values that may be secret and are copied as they are.
    plain: Vec<String>,
}

impl Taking {
    /// Adds one section, or says why not.
    fn take(&mut self, from: &str, (place, server): (&Place, &Imported)) -> anyhow::Result<String> {
        let client = one_line(&server.name);
        let left_out = |why: &str| Ok(format!("left out  {client}: {why}"));
        if let Some(why) = server.left_out {
            return left_out(why);
        }
        if asks(&server.entry) {
            return left_out(
                "it asks the client for a value (`${input:…}`): put that into a variable or a file, and write `${NAME}` or `${file:path}`",
            );
        }
        let servers = self.document.entry("servers").or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
        let servers = servers
            .as_table_mut()
            .context("`servers` must be a table in our configuration")?;
        let name = &server.server;
        if servers.contains_key(name.as_str()) {
            let here = (place, self.here.as_path());
            return match clients::likeness(&self.reached, here, (server, name)) {
                Likeness::Other(other) => Ok(format!(
                    "WARNING   {client} was left out: {other}. Take it over under a name of its own with `countersign import {} --as {}`",
                    visible::shell_word(from),
                    visible::shell_word(&format!("{}=NAME", other.name))
                )),
                Likeness::Same(same) => Ok(format!("known     {client}: it is `[servers.{same}]`")),
                Likeness::Unknown => {
                    left_out(&format!("there is a section `[servers.{name}]` already"))
                }
            };
        }
        let mut entry = server.entry.clone();
        place.settle(&mut entry, &self.here);
        servers.insert(name.as_str(), Item::Table(section(&entry)));
        let secrets = clients::secrets(&entry).into_iter();
        self.plain
            .extend(secrets.map(|key| format!("`servers.{name}.{}`", one_line(&key))));
        self.reached.add(name.clone(), vec![entry]);
        Ok(format!("added     {name}"))
    }
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
