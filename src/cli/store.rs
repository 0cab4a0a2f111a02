//! `countersign store`.

use super::Form;
use super::one_line;
use super::published;
use crate::app;
use crate::app::Holds;
use crate::config::Config;
use crate::counted::Counted;
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check the file, the journal in it, and who writes to it
    Check,
    /// Copy the store to a new file, while brokers run, and check the copy
    Backup {
        /// Where to, which must not be there yet
        file: PathBuf,
    },
    /// Put a backup in the place of the store, which is kept beside it
    Restore {
        /// The backup
        file: PathBuf,
    },
}

impl Command {
    pub(super) fn run(self, config: &Config, form: Form) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check => return check(config, form),
            Self::Backup { file } => {
                let records = app::back_up(config, &file)?;
                if form == Form::Json {
                    super::print_json(&json!({ "file": file, "records": records }))?;
                } else {
                    let shown = file.display();
                    super::print(&format!(
                        "{shown} has the store as it is now, and {} of the journal; it was checked. The key of the journal is not in it.\n",
                        Counted(records, "record")
                    ))?;
                }
            }
            Self::Restore { file } => {
                let (records, old) = app::bring_back(config, &file)?;
                if form == Form::Json {
                    super::print_json(&json!({ "records": records, "old": old }))?;
                } else {
                    let mut text = restored(records);
                    if let Some(old) = old {
                        writeln!(text, "The store that was there is now {}.", old.display())?;
                    }
                    super::print(&text)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn restored(records: usize) -> String {
    format!(
        "The store is as it was at the backup, with {} of the journal.
What came later is forgotten: totals are what they were, so what was used of a limit since can be used again; so can keys of calls, and what was approved and used since. Sessions, keys of clients and pins are those of then; a key that was revoked since is valid again. Calls in flight at the backup are recorded as unknown by the next start.
",
        Counted(records, "record")
    )
}

/// Who writes to the store, and of whom it is not known whether they still do elsewhere.
fn brokers(holds: &Holds) -> String {
    let Holds { living, dead, .. } = holds;
    let found = format!("{living} running, {dead} to be recovered at the next start");
    let elsewhere = "ran when this store was copied, as far as it says";
    match (dead.saturating_sub(holds.elsewhere), holds.elsewhere) {
        (0, 0) => found,
        (_, 0) => format!("{found}, because they died"),
        (0, _) => format!("{found}: they {elsewhere}"),
        (died, others) => format!("{found}: {died} died, and {others} {elsewhere}"),
    }
}

fn check(config: &Config, form: Form) -> anyhow::Result<ExitCode> {
    let facts = app::check_store(config)?;
    let status = match facts.problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    if form == Form::Json {
        super::print_json(&published::store(&facts))?;
        return Ok(status);
    }
    let mut text = String::new();
    let path = config.store.display();
    writeln!(
        text,
        "store    {path}, version {}, {}, and {} in the log beside it",
        facts.version,
        Counted(facts.bytes, "byte"),
        facts.log_bytes
    )?;
    if let (Some(holds), true) = (&facts.holds, facts.problems.is_empty()) {
        let records = holds.records.unwrap_or(0);
        let hold = if records == 1 { "holds" } else { "hold" };
        writeln!(text, "journal  {} {hold}", Counted(records, "record"))?;
        writeln!(text, "brokers  {}", brokers(holds))?;
        if !holds.settled {
            writeln!(text, "spool    a running broker is late with it")?;
        }
        writeln!(text, "no problems")?;
    }
    for part in &facts.besides {
        writeln!(text, "NOTE    {}", one_line(part))?;
    }
    for problem in &facts.problems {
        writeln!(text, "PROBLEM {}", one_line(problem))?;
    }
    if !facts.problems.is_empty() {
        writeln!(
            text,
            "Bring a backup back with `countersign store restore FILE`; the store that is there is kept beside it."
        )?;
    }
    super::print(&text)?;
    Ok(status)
}
