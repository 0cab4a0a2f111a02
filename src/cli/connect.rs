//! `countersign connect`: a client's file, so that it starts us.

use super::Form;
use super::around;
use super::one_line;
use super::print;
use super::print_json;
use super::published;
use crate::app;
use crate::clients;
use crate::clients::Around;
use crate::clients::Change;
use crate::clients::Changes;
use crate::clients::Client;
use crate::clients::Launch;
use crate::clients::Left;
use crate::clients::Likeness;
use crate::clients::Others;
use crate::clients::Over;
use crate::clients::Place;
use crate::clients::Scope;
use crate::config::Config;
use crate::config::plain_text;
use crate::principal::PrincipalId;
use crate::visible;
use anyhow::Context;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Debug, clap::Args)]
pub(super) struct Connect {
    /// claude-desktop, claude-code, cursor, vscode, codex, gemini or windsurf
    #[arg(value_parser = Client::from_str)]
    client: Client,
    /// Who calls [default: `stdio.principal` of the configuration]
    #[arg(long, value_name = "NAME", value_parser = PrincipalId::parse)]
    principal: Option<PrincipalId>,
    /// The session, by handle or id
    #[arg(long, value_name = "HANDLE")]
    session: Option<String>,
    /// Whose entry it is: user, project or local [default for claude-code: local,
    /// as `claude mcp add` has it; else the file that is there]
    #[arg(long, value_parser = Scope::from_str)]
    scope: Option<Scope>,
    /// The client's file, where it is not in its usual place
    #[arg(long, conflicts_with = "scope")]
    file: Option<PathBuf>,
    /// Take the client's other servers out, wherever our entry stands for them
    #[arg(long)]
    replace: bool,
    /// Take our entry out again, in every scope, and bring back what was there before
    #[arg(long, conflicts_with_all = ["principal", "session", "replace", "scope"])]
    undo: bool,
    #[command(flatten)]
    boldness: Boldness,
}

/// How far a change goes.
#[derive(Debug, clap::Args)]
struct Boldness {
    /// With `--replace`: also a server of which ours of that name is another one. With
    /// `--undo`: also where somebody else undid it since
    #[arg(long)]
    force: bool,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

/// What is said of it, to people and to programs.
#[derive(Default)]
struct Said {
    /// All of it, for people.
    text: String,
    warnings: Vec<String>,
    /// Warnings of what is so only once the changes are made.
    once_done: Vec<String>,
}

impl Said {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn warn(&mut self, what: &str) {
        self.line(&format!("WARNING: {what}"));
        self.warnings.push(what.to_owned());
    }

    fn extend(&mut self, other: Self) {
        self.text.push_str(&other.text);
        self.warnings.extend(other.warnings);
        self.once_done.extend(other.once_done);
    }
}

impl Connect {
    /// Undoing needs no configuration: it may be gone by then.
    pub(super) fn run(
        &self,
        load: impl FnOnce() -> anyhow::Result<Config>,
        form: Form,
    ) -> anyhow::Result<()> {
        let around = around()?;
        let file = self.file.as_ref().map(std::path::absolute).transpose()?;
        let mut said = Said::default();
        if self.undo {
            let over = match self.boldness.force {
                true => Over::Undone,
                false => Over::Left,
            };
            let from = (file.as_deref(), over);
            let changes = clients::disconnecting(self.client, &around, from)?;
            return self.carry_out(&changes, (said, form));
        }
        let config = load()?;
        let is_found = file.is_some() || around.has(self.client);
        let target = match file {
            Some(file) => Place::file(file),
            None => around
                .target(self.client, self.scope)
                .map_err(anyhow::Error::msg)?,
        };
        let others = match self.replace {
            true => Others::Go,
            false => Others::Stay,
        };
        let launch = self.launch(&config)?;
        let changes = clients::connecting(self.client, &around, &target, &launch, others)?;
        if !is_found {
            said.warn(&format!(
                "{} was not found on this machine: nothing of it is where it keeps its files. `{}` is made for it all the same, and counts once it is there; where it keeps its file elsewhere, name that with `--file FILE`.",
                self.client,
                one_line(&target.path.to_string_lossy())
            ));
        }
        self.replaced(&config, (&around, &changes), &mut said)?;
        said.once_done = self.beside(&config, (&around, &changes));
        self.carry_out(&changes, (said, form))
    }

    /// Refuses to take out a server for which another one would answer, and warns of one
    /// for which none would.
    fn replaced(
        &self,
        config: &Config,
        (around, changes): (&Around, &Changes),
        said: &mut Said,
    ) -> anyhow::Result<()> {
        let client = self.client;
        let (mut others, mut unknown) = (Vec::new(), Vec::new());
        for (place, server) in clients::taken(client, around, changes) {
            let here = (&place, around.here.as_path());
            match clients::likeness(&config.reached, here, (&server, &server.server)) {
                Likeness::Same(_) => {}
                Likeness::Other(other) => others.push((other, place)),
                Likeness::Unknown => unknown.push(one_line(&server.name)),
            }
        }
        if !unknown.is_empty() {
            let of_file = self.of_file();
            let from = match &self.file {
                Some(file) => absolute(file),
                None => client.to_string(),
            };
            said.warn(&format!(
                "{} went, and `countersign.toml` has nothing in that place, so {client} has no such tools any more. To have them governed: `countersign connect {client} --undo{of_file}`, `countersign import {from}`, and this again.",
                unknown.join(", ")
            ));
        }
        for (other, place) in &others {
            if self.boldness.force {
                said.warn(&format!("{other} ({place})"));
            }
        }
        let Some((first, _)) = others.first().filter(|_| !self.boldness.force) else {
            return Ok(());
        };
        let all = others
            .iter()
            .map(|(other, place)| format!("{other} ({place})"));
        anyhow::bail!(
            "nothing was written, because {client} would be answered by another server than it had: {}. Take it over under a name of its own with `countersign import {client} --as {}`, or, where ours is meant to stand for it, add `--force`",
            all.collect::<Vec<_>>().join("; "),
            visible::shell_word(&format!("{}=NAME", first.name))
        )
    }

    /// Warns of what the client still reaches by itself once the changes are made.
    fn beside(&self, config: &Config, (around, changes): (&Around, &Changes)) -> Vec<String> {
        let client = self.client;
        let found = around.found(client);
        let warnings = changes.beside.iter().map(|(place, names)| {
            let known = found.iter().find(|found| found.place == *place);
            let servers = match known {
                Some(found) => found.servers.as_ref().ok().cloned(),
                None => plain_text(&place.path)
                    .ok()
                    .and_then(|text| place.read(&text).ok()),
            };
            let servers = servers.unwrap_or_default();
            let is_ours = |name: &String| {
                let here = (place, around.here.as_path());
                let mut same = servers.iter().filter(|server| server.name == *name);
                same.any(|server| {
                    let likeness =
                        clients::likeness(&config.reached, here, (server, &server.server));
                    matches!(likeness, Likeness::Same(_))
                })
            };
            let missing: Vec<String> = names
                .iter()
                .filter(|name| !is_ours(name))
                .cloned()
                .collect();
            let once = match missing.len() {
                0 => "They are in `countersign.toml`: take them out with".to_owned(),
                all if all == names.len() => {
                    "Once they are in `countersign.toml`, take them out with".to_owned()
                }
                _ => format!(
                    "Once {} are in `countersign.toml` too, take them out with",
                    one_line(&missing.join(", "))
                ),
            };
            format!(
                "{client} still reaches {} by itself, past every policy ({place}). {once} {}.",
                one_line(&names.join(", ")),
                clients::taking_out(client, place, around)
            )
        });
        warnings.collect()
    }

    /// Makes the changes where that is asked for, and shows them.
    fn carry_out(&self, changes: &Changes, (warnings, form): (Said, Form)) -> anyhow::Result<()> {
        let mut said = Said::default();
        for change in &changes.files {
            said.line(&format!("{}", change.path.display()));
            said.text.push_str(&change.shown());
            if change.is_none() {
                said.line("nothing changes");
            }
        }
        let mut backups = Vec::new();
        if self.boldness.dry_run {
            said.extend(warnings);
            said.line("nothing was written (--dry-run)");
        } else {
            for change in &changes.files {
                backups.push(change.apply()?);
            }
            match self.undo {
                true => self.undone(changes, &mut said),
                false => self.applied((changes, &backups), warnings, &mut said),
            }
        }
        match form {
            Form::Text => print(&said.text),
            Form::Json => {
                let did = published::Connected {
                    client: self.client,
                    is_undone: self.undo,
                    is_written: !self.boldness.dry_run,
                    changes,
                    backups: &backups,
                    warnings: &said.warnings,
                };
                print_json(&did.published())
            }
        }
    }

    fn undone(&self, changes: &Changes, said: &mut Said) {
        for change in &changes.files {
            let file = change.path.display();
            if let Some(Left { backup, names, .. }) = &change.left {
                said.warn(&format!(
                    "`{file}` is not as `connect` left it: what it did there was undone by somebody else, so {} did not come back. They are kept in `{}`: `--undo --force` puts them in where nothing of that name is there.",
                    one_line(&names.join(", ")),
                    backup.display()
                ));
            }
            if change.is_bare {
                said.warn(&format!(
                    "there is no backup of `{file}`: our entry went, and nothing else came back."
                ));
            }
        }
        let client = self.client;
        said.line(&match changes.files.iter().all(Change::is_none) {
            true => "it was undone before.".to_owned(),
            false => format!("undone. Start {client} again."),
        });
    }

    fn applied(
        &self,
        (changes, backups): (&Changes, &[Option<PathBuf>]),
        warnings: Said,
        said: &mut Said,
    ) {
        let client = self.client;
        for (change, backup) in changes.files.iter().zip(backups) {
            match (backup, change.is_new()) {
                (Some(_), _) if change.is_none() => {}
                (Some(_), true) => said.line("written; there was no such file before"),
                (Some(backup), false) => said.line(&format!(
                    "written; what was there before is in `{}`",
                    backup.display()
                )),
                (None, _) => {}
            }
            if let Some(aside) = change.set_aside() {
                said.line(&format!(
                    "an older backup, whose change somebody else undid, is now `{}`: remove it when you need nothing of it",
                    aside.display()
                ));
            }
        }
        said.extend(warnings);
        for warning in std::mem::take(&mut said.once_done) {
            said.warn(&warning);
        }
        if changes.files.iter().all(Change::is_none) {
            return;
        }
        let does = match changes.files.iter().all(Change::is_new) {
            true => "takes that away again",
            false => "brings back what was there",
        };
        said.line(&format!(
            "`countersign connect {client} --undo{}` {does}. Start {client} again to use it.",
            self.of_file()
        ));
    }

    /// What a command needs besides, to be about the file that was named here.
    fn of_file(&self) -> String {
        let named = self.file.as_ref();
        let named = named.map(|file| format!(" --file {}", absolute(file)));
        named.unwrap_or_default()
    }

    /// How the client starts us.
    fn launch(&self, config: &Config) -> anyhow::Result<Launch> {
        let principal = self.principal.as_ref().or(config.stdio_principal.as_ref());
        let principal = principal.context(
            "nobody would be calling: give `--principal NAME`, or set `stdio.principal` in the configuration",
        )?;
        app::must_be_declared(principal, &config.rules)?;
        if let Some(session) = &self.session {
            app::can_be_session(session, &config.rules)?;
        }
        let program = std::env::current_exe().context("cannot find our own program")?;
        let mut args = vec![
            "--config".to_owned(),
            shown(&config.path),
            "stdio".to_owned(),
            "--principal".to_owned(),
            principal.to_string(),
        ];
        if let Some(session) = &self.session {
            args.extend(["--session".to_owned(), session.clone()]);
        }
        Ok(Launch {
            program: shown(&program),
            args,
        })
    }
}

/// A file, as a word of a command that may be run in any folder.
fn absolute(file: &Path) -> String {
    match std::path::absolute(file) {
        Ok(file) => visible::shell_word(&shown(&file)),
        Err(_no_folder) => visible::shell_word(&shown(file)),
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
