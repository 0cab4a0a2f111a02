//! `countersign connect`: a client's file, so that it starts us.

use super::around;
use super::print;
use crate::app;
use crate::clients;
use crate::clients::Change;
use crate::clients::Changes;
use crate::clients::Client;
use crate::clients::Launch;
use crate::clients::Others;
use crate::clients::Place;
use crate::clients::Scope;
use crate::config::Config;
use crate::principal::PrincipalId;
use anyhow::Context;
use std::fmt::Write;
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
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

impl Connect {
    pub(super) fn run(&self, config: &Config) -> anyhow::Result<()> {
        let around = around()?;
        let file = self.file.as_ref().map(std::path::absolute).transpose()?;
        let changes = match (self.undo, file) {
            (true, file) => clients::disconnecting(self.client, &around, file.as_deref())?,
            (false, file) => {
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
                let launch = self.launch(config)?;
                clients::connecting(self.client, &around, &target, &launch, others)?
            }
        };
        let mut text = String::new();
        for change in &changes.files {
            write!(text, "{}\n{}", change.path.display(), change.shown())?;
            if change.is_none() {
                text.push_str("nothing changes\n");
            }
        }
        if self.dry_run {
            text.push_str("nothing was written (--dry-run)\n");
        } else {
            text.push_str(&self.applied(&changes)?);
        }
        print(&text)
    }

    fn applied(&self, changes: &Changes) -> anyhow::Result<String> {
        let client = self.client;
        let mut text = String::new();
        for change in &changes.files {
            let backup = change.apply()?;
            if let (false, false, Some(backup)) = (self.undo, change.is_none(), backup) {
                writeln!(
                    text,
                    "written; what was there before is in `{}`",
                    backup.display()
                )?;
            }
        }
        if self.undo {
            writeln!(text, "undone. Start {client} again.")?;
            return Ok(text);
        }
        for (place, names) in &changes.beside {
            writeln!(
                text,
                "WARNING: {client} still reaches {} by itself, past every policy ({place}). Once they are in `countersign.toml`, take them out with {}.",
                names.join(", "),
                clients::taking_out(client, place, &around()?)
            )?;
        }
        if !changes.files.iter().all(Change::is_none) {
            writeln!(
                text,
                "`countersign connect {client} --undo` brings back what was there. Start {client} again to use it."
            )?;
        }
        Ok(text)
    }

    /// How the client starts us.
    fn launch(&self, config: &Config) -> anyhow::Result<Launch> {
        let principal = self.principal.as_ref().or(config.stdio_principal.as_ref());
        let principal = principal.context(
            "nobody would be calling: give `--principal NAME`, or set `stdio.principal` in the configuration",
        )?;
        app::must_be_declared(principal, &config.rules)?;
        if let Some(session) = &self.session {
            app::can_be_session(session)?;
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

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
