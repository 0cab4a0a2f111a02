//! `countersign policy`.

use super::Form;
use crate::app;
use crate::app::Start;
use crate::config::Config;
use anyhow::Context;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the Cedar schema that the policies are checked against
    Schema,
    /// Write policies to begin with, for the servers that are configured
    New(New),
}

#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// Everybody may call every tool
    #[arg(long, required_unless_present = "read_only")]
    permissive: bool,
    /// Everybody may call the tools that were declared as reading
    #[arg(long, conflicts_with = "permissive")]
    read_only: bool,
    /// Write over the file of an earlier time
    #[arg(long)]
    force: bool,
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
        let start = match self.read_only {
            true => Start::ReadOnly,
            false => Start::Permissive,
        };
        let starting = super::on_runtime(app::starting(config, start))?;
        let path = starting.path.display();
        anyhow::ensure!(
            self.force || !starting.path.exists(),
            "`{path}` is there already: change it by hand, or write over it with `--force`"
        );
        std::fs::create_dir_all(&config.rules.policies)
            .and_then(|()| std::fs::write(&starting.path, &starting.text))
            .with_context(|| format!("cannot write `{path}`"))?;
        super::print(&format!(
            "{}written   {path}\nNext: `countersign check`.\n",
            starting.notes
        ))
    }
}
