//! `countersign journal export`.

use crate::app;
use crate::cli::Form;
use crate::cli::escaped;
use crate::cli::print;
use crate::cli::print_json;
use crate::cli::session;
use crate::config::Config;
use crate::counted::Counted;
use crate::journal;
use crate::journal::Asked;
use crate::journal::Signer;
use crate::principal::PrincipalId;
use crate::visible;
use anyhow::Context;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::BufWriter;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Export {
    /// From this time on: `2026-11-26T12:00:00Z`, or a day (UTC)
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Timestamp>,
    /// Up to this time, itself excluded
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// The calls of this session only, by handle or id; of others only digests
    #[arg(long)]
    session: Option<String>,
    /// Whose handle it is, where several principals have it
    #[arg(long, value_name = "NAME", requires = "session", value_parser = PrincipalId::parse)]
    owner: Option<PrincipalId>,
    /// Where to write it, which must not be there yet [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    let day = || {
        let day: Date = text.parse().ok()?;
        Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    let instant = text.parse().ok().or_else(day);
    instant.ok_or_else(|| {
        "it is no time: write one like `2026-11-26T12:00:00Z`, or a day like `2026-11-26`"
            .to_owned()
    })
}

impl Export {
    /// Whether the export itself goes to stdout.
    pub(super) fn is_printed(&self) -> bool {
        self.out.is_none()
    }

    /// Refuses times between which nothing can have happened, because an export of
    /// nothing looks like one of a time in which nothing did.
    fn can_have_something(&self, now: Timestamp) -> anyhow::Result<()> {
        if let Some(since) = self.since {
            anyhow::ensure!(
                since <= now,
                "`--since` is in the future: write a time up to now, which is {now:.0}"
            );
            anyhow::ensure!(
                self.until.is_none_or(|until| since < until),
                "`--until` is not after `--since`: write a later time"
            );
        }
        Ok(())
    }

    pub(super) fn run(self, config: &Config, form: Form) -> anyhow::Result<()> {
        if let Some(path) = &self.out {
            app::must_be_new(path)?;
        }
        self.can_have_something(Timestamp::now())?;
        let store = app::existing_store(&config.store)?;
        let named = self.session.as_deref();
        let session = named
            .map(|name| session::find(&store, name, self.owner.as_ref()))
            .transpose()?;
        let asked = Asked {
            since: self.since,
            until: self.until,
            session: session.map(|found| found.id),
        };
        let key = Signer::existing(&config.broker.custody.key)?.map(|key| key.public());
        let out: Box<dyn Write> = match &self.out {
            None => Box::new(std::io::stdout().lock()),
            Some(path) => {
                let file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path);
                Box::new(file.with_context(|| format!("cannot make `{}`", path.display()))?)
            }
        };
        let mut out = BufWriter::new(out);
        let mut write = |line: &str| writeln!(out, "{}", escaped(line));
        let known = (key, Timestamp::now());
        let records = journal::export(&store, &asked, known, &mut write)?;
        out.flush()?;
        let Some(path) = &self.out else {
            return Ok(());
        };
        match form {
            Form::Json => print_json(&json!({ "file": path, "records": records })),
            Form::Text => print(&format!(
                "{} has {}. `countersign journal verify --export {}` verifies it, without the store.\n",
                path.display(),
                Counted(records, "record"),
                visible::shell_word(&path.to_string_lossy())
            )),
        }
    }
}
