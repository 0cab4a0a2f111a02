//! `countersign policy`.

use crate::app;
use crate::config::Config;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the Cedar schema that the policies are checked against
    Schema,
}

impl Command {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::Schema => {
                let schema = super::on_runtime(app::schema(config))?;
                super::print(&schema)
            }
        }
    }
}
