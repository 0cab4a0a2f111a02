//! `countersign journal verify`.

use crate::app;
use crate::cli::Form;
use crate::cli::print;
use crate::cli::print_json;
use crate::cli::published;
use crate::config::Config;
use crate::counted::Counted;
use crate::journal;
use crate::journal::Held;
use crate::journal::Problem;
use crate::journal::PublicKey;
use crate::journal::Signer;
use crate::journal::Trust;
use crate::journal::Verified;
use anyhow::Context;
use std::fmt::Write;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

/// How many gaps in the numbers of writers are named.
const NAMED: usize = 10;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Verify {
    /// Verify this export, without store and configuration, instead of the store
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// A public key that may have signed, as `countersign journal key` printed it;
    /// may be given several times [default: that of the configuration]
    #[arg(long, value_name = "KEY")]
    key: Vec<PublicKey>,
    /// Checkpoints that were given away before (`journal.checkpoints`): each must be
    /// there
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

impl Verify {
    pub(super) fn run(
        self,
        load: impl FnOnce() -> anyhow::Result<Config>,
        form: Form,
    ) -> anyhow::Result<ExitCode> {
        let mut trust = Trust {
            keys: self.key,
            held: Vec::new(),
        };
        let (mut broken, mut notes) = (Vec::new(), Vec::new());
        for path in &self.checkpoint {
            let held = held(path)?;
            trust.held.extend(held.checkpoints);
            let file = path.display().to_string();
            if let Some(line) = held.cut_off {
                notes.push(format!(
                    "the last line of `{file}`, {line}, is cut off, as a crash leaves it; ignored"
                ));
            }
            broken.extend(held.broken.into_iter().map(|line| Problem::Line {
                file: file.clone(),
                line,
            }));
        }
        let mut found = match &self.export {
            Some(path) => {
                let file = File::open(path);
                let file = file.with_context(|| format!("cannot read `{}`", path.display()))?;
                journal::verify_export(BufReader::new(file), &trust)
                    .with_context(|| format!("`{}` cannot be verified", path.display()))?
            }
            None => {
                let config = load()?;
                let store = app::existing_store(&config.store)?;
                if let Some(own) = Signer::existing(&config.broker.custody.key)? {
                    trust.keys.push(own.public());
                }
                let living = store.living_writers()?;
                store.read(|tx| journal::verify(tx, &living, &trust))?
            }
        };
        found.problems.extend(broken);
        // As a kill leaves it until the next start: nothing is wrong with what was written.
        let is_open = |problem: &mut Problem| matches!(problem, Problem::LeftOpen { .. });
        let open = found.problems.extract_if(.., is_open);
        notes.extend(open.map(|open| open.to_string()));
        let status = match found.problems.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        };
        match form {
            Form::Json => print_json(&published::verified(&found, &notes))?,
            Form::Text => print(&said(&found, &trust, &notes)?)?,
        }
        Ok(status)
    }
}

fn held(path: &Path) -> anyhow::Result<Held> {
    let shown = path.display();
    let file = std::fs::read(path).with_context(|| format!("cannot read `{shown}`"))?;
    let held = Held::read(&file);
    if held.checkpoints.is_empty() {
        match (held.broken.first(), held.cut_off) {
            (Some(line), _) => anyhow::bail!(
                "line {line} of `{shown}` is no checkpoint: name a file that `journal.checkpoints` wrote"
            ),
            (None, Some(_line)) => anyhow::bail!(
                "in `{shown}` there is only the beginning of a checkpoint, as a crash leaves it: verify without it, or once the next was appended"
            ),
            (None, None) => anyhow::bail!("there is no checkpoint in `{shown}`"),
        }
    }
    Ok(held)
}

fn said(found: &Verified, trust: &Trust, notes: &[String]) -> anyhow::Result<String> {
    let mut text = String::new();
    for (writer, (seq, hash)) in &found.heads {
        let removed = |last: i64| match last {
            1 => "record 1 was removed".to_owned(),
            last => format!("records 1 to {last} were removed"),
        };
        write!(text, "writer {writer}: ")?;
        match found.begins.get(writer).copied() {
            Some(begin) if begin == *seq => writeln!(
                text,
                "{} as old, and none came after; the last had {hash}",
                removed(begin)
            )?,
            Some(begin) => writeln!(
                text,
                "{} of {seq}, the last {hash}; {} as old",
                Counted(seq - begin, "record"),
                removed(begin)
            )?,
            None => writeln!(text, "{}, the last {hash}", Counted(*seq, "record"))?,
        }
    }
    silent(&mut text, found)?;
    for key in &found.keys {
        let named = match trust.keys.is_empty() {
            true => {
                " (named by the journal itself: compare it with the one you were given, or name that with --key)"
            }
            false => "",
        };
        writeln!(text, "key {key}{named}")?;
    }
    for note in notes {
        writeln!(text, "note {note}")?;
    }
    for problem in &found.problems {
        writeln!(text, "PROBLEM {problem}")?;
    }
    if found.problems.is_empty() {
        proven(&mut text, found)?;
    }
    Ok(text)
}

/// The numbers between those that wrote something: gaps in them are none in the journal.
fn silent(text: &mut String, found: &Verified) -> std::fmt::Result {
    let mut gaps = Vec::new();
    let mut next = 1;
    for number in found.heads.keys().map(|writer| writer.number()) {
        match number - next {
            i64::MIN..=0 => {}
            1 => gaps.push(next.to_string()),
            _ => gaps.push(format!("{next} to {}", number - 1)),
        }
        next = number + 1;
    }
    if gaps.is_empty() {
        return Ok(());
    }
    let more = gaps.len().saturating_sub(NAMED);
    gaps.truncate(NAMED);
    if more > 0 {
        gaps.push(format!("and {more} more"));
    }
    let noun = match *gaps {
        [ref one] if !one.contains(' ') => "writer",
        _ => "writers",
    };
    writeln!(
        text,
        "no records of {noun} {}: a process gets its number when it opens the store, and may record nothing, so that alone is no fault",
        gaps.join(", ")
    )
}

/// What the verification shows, and what it cannot.
fn proven(text: &mut String, found: &Verified) -> anyhow::Result<()> {
    let Verified {
        records,
        covered,
        checkpoints,
        ..
    } = found;
    let flight = found.in_flight;
    let hold = if *records == 1 { "holds" } else { "hold" };
    writeln!(
        text,
        "{} {hold}; {} in flight.",
        Counted(*records, "record"),
        Counted(flight, "call")
    )?;
    let lie = if *covered == 1 { "lies" } else { "lie" };
    match &found.last {
        Some((number, at)) => writeln!(
            text,
            "{covered} of them {lie} under {}, the last of which is {number} of {at}.
Shown: without the key, nobody changed a record under a checkpoint or took one out.",
            Counted(*checkpoints, "checkpoint")
        )?,
        None => writeln!(
            text,
            "There is no checkpoint: whoever can write the journal could have written all of it anew."
        )?,
    }
    writeln!(
        text,
        "Not shown: that the end is whole after the last checkpoint; that who has the key did not write all anew, unless checkpoints held elsewhere are compared (--checkpoint); that a server did what it answered."
    )?;
    if found.hidden > 0 {
        let hidden = found.hidden;
        writeln!(
            text,
            "Of {} only the digest is there: whether it belongs to what was asked for cannot be seen.",
            Counted(hidden, "record")
        )?;
    }
    Ok(())
}
