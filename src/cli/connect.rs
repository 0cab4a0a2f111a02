//! `countersign connect`: a client's file, so that it starts us.

use super::print;
use crate::clients;
use crate::clients::Change;
use crate::clients::Client;
use crate::clients::Launch;
use crate::clients::Others;
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
    /// The client's file, where it is not in its usual place
    #[arg(long)]
    file: Option<PathBuf>,
    /// Take the client's other servers out of its file
    #[arg(long)]
    replace: bool,
    /// Take our entry out again, and bring back what was there before
    #[arg(long, conflicts_with_all = ["principal", "session", "replace"])]
    undo: bool,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

impl Connect {
    pub(super) fn run(&self, config: &Config) -> anyhow::Result<()> {
        let file = self.file()?;
        let change = match self.undo {
            true => clients::disconnecting(self.client, &file)?,
            false => {
                let others = match self.replace {
                    true => Others::Go,
                    false => Others::Stay,
                };
                clients::connecting(self.client, &file, &self.launch(config)?, others)?
            }
        };
        let mut text = format!("{}\n{}", change.path.display(), change.shown());
        if change.is_none() {
            text.push_str("nothing changes\n");
        } else if self.dry_run {
            text.push_str("nothing was written (--dry-run)\n");
        } else {
            text.push_str(&self.applied(&change)?);
        }
        print(&text)
    }

    fn applied(&self, change: &Change) -> anyhow::Result<String> {
        let backup = change.apply()?;
        let mut text = String::new();
        if self.undo {
            writeln!(text, "undone. Start {} again.", self.client)?;
            return Ok(text);
        }
        if let Some(backup) = backup {
            writeln!(
                text,
                "written; what was there before is in `{}`, and `countersign connect {} --undo` brings it back.",
                backup.display(),
                self.client
            )?;
        }
        if !change.beside.is_empty() {
            writeln!(
                text,
                "WARNING: {} still reaches these servers by itself, past every policy: {}. Take them out with `--replace` once they are in `countersign.toml`.",
                self.client,
                change.beside.join(", ")
            )?;
        }
        writeln!(text, "Start {} again to use it.", self.client)?;
        Ok(text)
    }

    fn file(&self) -> anyhow::Result<PathBuf> {
        if let Some(file) = &self.file {
            return Ok(std::path::absolute(file)?);
        }
        let home = std::env::home_dir().context("there is no home folder: say `--file FILE`")?;
        Ok(self.client.file(&home, &std::env::current_dir()?))
    }

    /// How the client starts us.
    fn launch(&self, config: &Config) -> anyhow::Result<Launch> {
        let principal = self.principal.as_ref().or(config.stdio_principal.as_ref());
        let principal = principal.context(
            "nobody would be calling: give `--principal NAME`, or set `stdio.principal` in the configuration",
        )?;
        anyhow::ensure!(
            config.rules.principals()?.by_id.contains_key(principal),
            "`{principal}` is not in `{}`",
            config.rules.principals.display()
        );
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
