//! `countersign import`: servers of a client's file, copied into ours.

use super::Form;
use super::around;
use super::one_line;
use super::print;
use super::print_json;
use super::published::Server;
use crate::clients;
use crate::clients::Client;
use crate::clients::Found;
use crate::clients::Likeness;
use crate::clients::Place;
use crate::config;
use crate::config::Config;
use crate::config::Entry;
use crate::config::Imported;
use crate::config::Reached;
use crate::tool::ServerName;
use crate::tool::ServerNameError;
use crate::visible;
use anyhow::Context;
use serde_json::Value;
use serde_json::json;
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
    let name: ServerName = name
        .parse()
        .map_err(|error: ServerNameError| error.to_string())?;
    if name.is_own() {
        return Err(format!("`{name}` is the broker's own name: choose another"));
    }
    Ok((server.to_owned(), name))
}

impl Import {
    /// Adds a section for each server that has none yet. `path` is our
    /// configuration.
    pub(super) fn run(&self, path: &Path, keeper: &Path, form: Form) -> anyhow::Result<()> {
        let found = self.found()?;
        let ours = config::plain_text(path).with_context(|| {
            format!(
                "cannot read `{}`: begin with `countersign init`",
                path.display()
            )
        })?;
        let mut taking = Taking {
            reached: Config::parse(path, &ours, keeper)?.reached,
            document: ours.parse()?,
            here: std::env::current_dir()?,
            ours: std::path::absolute(path)?
                .parent()
                .map_or_else(PathBuf::new, Path::to_owned),
            folders: Vec::new(),
            plain: Vec::new(),
            unresolved: Vec::new(),
        };
        let (servers, empty) = self.take_all(found, &mut taking)?;
        let changed = taking.document.to_string();
        // Before anything is written: what would not be read again is refused.
        let config = Config::parse(path, &changed, keeper)?;
        let wrote = match (self.dry_run, changed != ours) {
            (true, _) => Wrote::Dry,
            (false, false) => Wrote::Nothing,
            (false, true) => {
                std::fs::write(path, changed)
                    .with_context(|| format!("cannot write `{}`", path.display()))?;
                // The environment and the headers of servers may be secret.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                    .with_context(|| format!("cannot keep `{}` to yourself", path.display()))?;
                Wrote::File
            }
        };
        if form == Form::Json {
            return print_json(&json!({
                "configuration": path.to_string_lossy(),
                "written": matches!(wrote, Wrote::File),
                "servers": servers.iter().map(Server::published).collect::<Value>(),
                "plain": taking.plain,
                "unresolved": taking.unresolved,
            }));
        }
        let mut report = self.told(&servers);
        if servers.is_empty() {
            writeln!(
                report,
                "there are no servers in {}: neither `mcpServers` nor, as VS Code has it, `servers`",
                one_line(&empty.join("; "))
            )?;
        }
        let has_started = config.rules.has_started();
        for folder in &taking.folders {
            writeln!(report, "note      {folder}")?;
        }
        for unresolved in &taking.unresolved {
            writeln!(report, "WARNING   {unresolved}")?;
        }
        report.push_str(&taking.ending(path, wrote, has_started));
        print(&report)
    }

    /// Takes what there is, and says of each server what became of it, and which places
    /// have none. That a client has nothing in one of several is nothing to tell of.
    fn take_all(
        &self,
        found: Vec<Found>,
        taking: &mut Taking,
    ) -> anyhow::Result<(Vec<Server>, Vec<String>)> {
        let (mut taken, mut empty) = (Vec::new(), Vec::new());
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
                taken.push(taking.take((&place, &server))?);
                names.insert(server.name);
            }
        }
        for (name, _) in &self.renamed {
            anyhow::ensure!(
                names.contains(name),
                "`--as`: there is no server `{}`: there is {}",
                one_line(name),
                one_line(&names.into_iter().collect::<Vec<_>>().join(", "))
            );
        }
        Ok((taken, empty))
    }

    /// A line for each server.
    fn told(&self, servers: &[Server]) -> String {
        let lines = servers.iter().map(|server| {
            let name = one_line(&server.name);
            let here = server.server.as_deref().unwrap_or_default();
            let why = server.why.as_deref().unwrap_or_default();
            let line = match server.what {
                "added" => format!("added     {here}"),
                "known" => format!("known     {name}: it is `[servers.{here}]`"),
                "another" => format!(
                    "WARNING   {name} was left out: {why}. Take it over under a name of its own with `countersign import {} --as {}`",
                    visible::shell_word(&self.from),
                    visible::shell_word(&format!("{}=NAME", server.name))
                ),
                _ => format!("left out  {name}: {why}"),
            };
            format!("{line}  ({})\n", server.place)
        });
        lines.collect()
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
                let text = config::plain_text(&file).with_context(|| {
                    format!("cannot read `{}` as a client's file", file.display())
                })?;
                let place = Place::file(file);
                let servers = place.read(&text);
                Ok(vec![Found { place, servers }])
            }
        }
    }
}

/// Whether our configuration was written.
#[derive(Clone, Copy)]
enum Wrote {
    /// Nobody wanted that.
    Dry,
    /// There was nothing to add.
    Nothing,
    File,
}

/// What becomes of our configuration.
struct Taking {
    document: DocumentMut,
    reached: Reached,
    here: PathBuf,
    /// The folder of our configuration.
    ours: PathBuf,
    /// What was added of a project, and where it is started.
    folders: Vec<String>,
    /// The keys of values that may be secret and are copied as they are.
    plain: Vec<String>,
    /// What is wrong with each reference that leads nowhere here, with its key.
    unresolved: Vec<String>,
}

impl Taking {
    /// Adds one section, or says why not.
    fn take(&mut self, (place, server): (&Place, &Imported)) -> anyhow::Result<Server> {
        let name = &server.server;
        let mut taken = Server {
            name: server.name.clone(),
            server: None,
            place: place.to_string(),
            what: "left-out",
            why: None,
        };
        let asks = asks(&server.entry).then_some(
            "it asks the client for a value (`${input:…}`): put that into a variable or a file, and write `${NAME}` or `${file:path}`",
        );
        if let Some(why) = server.left_out.or(asks) {
            taken.why = Some(why.to_owned());
            return Ok(taken);
        }
        if name.is_own() {
            taken.why = Some(format!(
                "`{name}` is the broker's own name: take it over with `--as {name}=NAME`"
            ));
            return Ok(taken);
        }
        let servers = self.document.entry("servers").or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
        let servers = servers
            .as_table_mut()
            .context("`servers` must be a table in our configuration")?;
        if servers.contains_key(name.as_str()) {
            let here = (place, self.here.as_path());
            match clients::likeness(&self.reached, here, (server, name)) {
                Likeness::Other(other) => {
                    taken.what = "another";
                    taken.why = Some(other.to_string());
                }
                Likeness::Same(same) => {
                    taken.what = "known";
                    taken.server = Some(same.to_string());
                }
                Likeness::Unknown => {
                    let why = format!("there is a section `[servers.{name}]` already");
                    taken.why = Some(why);
                }
            }
            return Ok(taken);
        }
        let mut entry = server.entry.clone();
        if place.keep_folder(&mut entry, (&self.here, &self.ours)) {
            let folder = visible::one_line(entry.cwd.as_deref().unwrap_or_default(), visible::PATH);
            self.folders.push(format!(
                "`{name}` is started in {folder} (`cwd`), where the client starts it"
            ));
        }
        servers.insert(name.as_str(), Item::Table(section(&entry)));
        let secrets = clients::secrets(&entry).into_iter();
        self.plain
            .extend(secrets.map(|key| format!("servers.{name}.{}", one_line(&key))));
        let nowhere = self.reached.unresolved(&entry).into_iter();
        self.unresolved.extend(nowhere.map(|(key, problem)| {
            let told = format!("`servers.{name}.{key}`: {problem}");
            one_line(&told)
        }));
        let unbraced = config::may_mean_variables(name, std::slice::from_ref(&entry));
        self.unresolved
            .extend(unbraced.iter().map(|told| one_line(told)));
        self.reached.add(name.clone(), vec![entry]);
        taken.what = "added";
        taken.server = Some(name.to_string());
        Ok(taken)
    }

    /// What was written, and what comes next.
    fn ending(&self, path: &Path, wrote: Wrote, has_started: bool) -> String {
        let path = path.display();
        let mut text = match wrote {
            Wrote::Dry => return "nothing was written (--dry-run)\n".to_owned(),
            Wrote::Nothing => {
                format!("\nnothing was written: there was nothing to add to {path}\n")
            }
            Wrote::File => format!("\nwritten   {path}\n"),
        };
        if matches!(wrote, Wrote::File) && !self.plain.is_empty() {
            let plain = self.plain.iter().map(|key| format!("`{key}`"));
            text.push_str(&format!(
                "These stand in it as they are, and may be secret: {}. Write `${{env:NAME}}` or `${{file:path}}` in their place to keep them elsewhere.\n",
                plain.collect::<Vec<_>>().join(", ")
            ));
        }
        let next = match (has_started, wrote) {
            (false, _) => "`countersign policy new --permissive`, then `countersign check`",
            (true, Wrote::File) => {
                "`countersign policy new --permissive --add`, then `countersign check`"
            }
            (true, Wrote::Nothing | Wrote::Dry) => {
                "`countersign check`, then `countersign connect CLIENT`"
            }
        };
        text.push_str(&format!("Next: {next}.\n"));
        text
    }
}

fn asks(entry: &Entry) -> bool {
    let mut texts = entry.texts().into_iter();
    texts.any(|(_key, text)| text.contains("${input:"))
}

fn section(entry: &Entry) -> Table {
    let mut section = Table::new();
    let mut put = |key: &str, value: Option<toml_edit::Value>| {
        if let Some(value) = value {
            section.insert(key, Item::Value(value));
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(toml_edit::Value::from);
    put("command", text(&entry.command));
    let args: Array = entry.args.iter().collect();
    put(
        "args",
        (!args.is_empty()).then_some(toml_edit::Value::Array(args)),
    );
    put("cwd", text(&entry.cwd));
    put("url", text(&entry.url));
    put("type", entry.transport.map(toml_edit::Value::from));
    for (key, members) in [("env", &entry.env), ("headers", &entry.headers)] {
        let table: InlineTable = members
            .iter()
            .map(|(name, value)| (name.as_str(), toml_edit::Value::from(value.as_str())))
            .collect();
        put(
            key,
            (!table.is_empty()).then_some(toml_edit::Value::InlineTable(table)),
        );
    }
    section
}
