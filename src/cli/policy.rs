//! `countersign policy`.

use super::Form;
use crate::app;
use crate::app::Start;
use crate::config::Config;
use crate::config::STARTING_POLICIES;
use anyhow::Context;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the Cedar schema that the policies are checked against
    Schema,
    /// Write policies to begin with, for the servers that are configured
    New(New),
}

#[derive(Debug, clap::Args)]
pub(super) struct New {
    #[command(flatten)]
    how: How,
    /// Only for the servers that no permit covers, each in a file of its own;
    /// nothing that is there changes
    #[arg(long, conflicts_with = "force")]
    add: bool,
    /// Write over the file of an earlier time, of which a copy is kept where somebody
    /// changed it
    #[arg(long)]
    force: bool,
}

/// How much is allowed to begin with.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct How {
    /// Everybody may call every tool
    #[arg(long)]
    permissive: bool,
    /// Everybody may call the tools that were declared as reading
    #[arg(long)]
    read_only: bool,
}

impl Command {
    pub(super) fn run(self, config: &Config, form: Form) -> anyhow::Result<()> {
        match self {
            Self::Schema => {
                let schema = super::on_runtime(app::schema(config))?;
                match form {
                    Form::Json => super::print_json(&serde_json::json!({ "schema": schema })),
                    Form::Text => super::print(&schema),
                }
            }
            Self::New(new) => new.run(config),
        }
    }
}

impl New {
    fn run(&self, config: &Config) -> anyhow::Result<()> {
        let start = match self.how.read_only {
            true => Start::ReadOnly,
            false => Start::Permissive,
        };
        let there = config.rules.policies.join(STARTING_POLICIES);
        anyhow::ensure!(
            self.add || self.force || !there.exists(),
            "`{}` is there already: add what is missing for new servers with `--add`, change it by hand, or write over it with `--force`",
            there.display()
        );
        let starting = super::on_runtime(async {
            match self.add {
                true => app::adding(config, start).await,
                false => app::starting(config, start).await,
            }
        })?;
        let mut text = starting.notes;
        std::fs::create_dir_all(&config.rules.policies)
            .with_context(|| format!("cannot make `{}`", config.rules.policies.display()))?;
        for path in &starting.replaced {
            let aside = set_aside(path)?;
            std::fs::remove_file(path)
                .with_context(|| format!("cannot take `{}` away", path.display()))?;
            writeln!(text, "set aside {}", aside.display())?;
        }
        for (path, policies) in &starting.files {
            let shown = path.display();
            if self.force && is_of_somebody(path, policies, &starting.made)? {
                let aside = set_aside(path)?;
                writeln!(text, "kept      {}, as `{shown}` was", aside.display())?;
            }
            let mut options = std::fs::OpenOptions::new();
            // A file that came there since is somebody's.
            options.write(true).create(true).truncate(true);
            options.create_new(!self.force);
            options
                .open(path)
                .and_then(|mut file| file.write_all(policies.as_bytes()))
                .with_context(|| format!("cannot write `{shown}`"))?;
            writeln!(text, "written   {shown}")?;
        }
        match starting.files.is_empty() {
            true => text.push_str("nothing to add: see `countersign check`\n"),
            false => text.push_str("Next: `countersign check`.\n"),
        }
        super::print(&text)
    }
}

/// Whether there is a file that is neither what is written now nor what we make again.
fn is_of_somebody(path: &Path, policies: &str, made: &[String]) -> anyhow::Result<bool> {
    match std::fs::read(path) {
        Ok(there) => {
            let mut ours = made.iter().map(String::as_str).chain([policies]);
            Ok(!ours.any(|text| text.as_bytes() == there))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// Keeps a copy of a file beside it, under the first name that is free.
fn set_aside(path: &Path) -> anyhow::Result<PathBuf> {
    let failed = || format!("cannot keep a copy of `{}`", path.display());
    let there = std::fs::read(path).with_context(failed)?;
    let mut number = 1_u32;
    loop {
        let aside = path.with_extension(match number {
            1 => "cedar.old".to_owned(),
            number => format!("{number}.cedar.old"),
        });
        let mut options = std::fs::OpenOptions::new();
        match options.write(true).create_new(true).open(&aside) {
            Ok(mut file) => {
                file.write_all(&there).with_context(failed)?;
                file.sync_all().with_context(failed)?;
                return Ok(aside);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error).with_context(failed),
        }
    }
}
