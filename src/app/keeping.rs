//! The care of a store: is it whole, how is it copied, how is it brought back.

use super::MIGRATIONS;
use crate::cause::Chain;
use crate::config::Config;
use crate::journal;
use crate::journal::Signer;
use crate::journal::Trust;
use crate::journal::Verified;
use crate::store;
use crate::store::Inspection;
use crate::store::Store;
use crate::store::StoreError;
use crate::visible;
use anyhow::Context;
use jiff::Timestamp;
use std::path::Path;
use std::path::PathBuf;

/// What a look at a store found.
#[derive(Debug, Default)]
pub struct StoreFacts {
    /// Its version.
    pub version: u32,
    /// The size of its file, in bytes.
    pub bytes: u64,
    /// The size of the log beside it, in bytes: what is not in the file yet.
    pub log_bytes: u64,
    /// What it holds; none where it is damaged, and nobody looked further.
    pub holds: Option<Holds>,
    /// What is there besides what we made, and does no harm.
    pub besides: Vec<String>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// What a store holds whose file is whole.
#[derive(Debug, Default)]
pub struct Holds {
    /// Records of the journal whose hash holds; none where it cannot be read.
    pub records: Option<usize>,
    /// Brokers that run.
    pub living: usize,
    /// Brokers that did not sign off and do not run; the next start recovers them.
    pub dead: usize,
    /// How many of those have nothing here but their names, as in a copy of the store that
    /// they wrote to: whether they died there, it does not say.
    pub elsewhere: usize,
    /// All that was on its way into the file is there.
    pub settled: bool,
}

/// Looks at everything in the store of a configuration that can be checked. Nothing
/// is changed in one that is damaged.
///
/// # Errors
///
/// When there is none, it is no store of ours, or it cannot be read at all.
pub fn check_store(config: &Config) -> anyhow::Result<StoreFacts> {
    let path = &config.store;
    let looked = Inspection::of(path, &MIGRATIONS)?;
    let (bytes, log_bytes) = looked.bytes();
    let mut facts = StoreFacts {
        version: looked.version(),
        bytes,
        log_bytes,
        besides: looked.besides().to_vec(),
        problems: looked.problems()?,
        ..StoreFacts::default()
    };
    drop(looked);
    if !facts.problems.is_empty() {
        return Ok(facts);
    }
    let store = Store::open_existing(path, &MIGRATIONS)?;
    let settled = store.settle(journal::fold)?;
    let living = store.living_writers()?;
    let mut holds = Holds {
        records: None,
        living: living.len(),
        dead: store.dead_writers()?,
        elsewhere: store.writers_elsewhere()?,
        settled,
    };
    let trust = trust(config)?;
    match store.read(|tx| journal::verify(tx, &living, &trust)) {
        Ok(found) => {
            holds.records = Some(found.records);
            facts.problems.extend(of_the_journal(&found));
        }
        Err(error) => facts.problems.push(Chain(&error).to_string()),
    }
    facts.holds = Some(holds);
    Ok(facts)
}

/// A call that a dead broker left open is none of the store's faults.
fn of_the_journal(found: &Verified) -> impl Iterator<Item = String> {
    let faults = found.problems.iter();
    let faults = faults.filter(|one| !matches!(one, journal::Problem::LeftOpen { .. }));
    faults.map(ToString::to_string)
}

fn trust(config: &Config) -> anyhow::Result<Trust> {
    let own = Signer::existing(&config.broker.custody.key)?;
    Ok(Trust {
        keys: own.iter().map(Signer::public).collect(),
        held: Vec::new(),
    })
}

/// Copies the store to a new file, while brokers run, and checks the copy. Returns
/// how many records of the journal it has.
///
/// # Errors
///
/// When the file is there already, or the copy cannot be made or does not hold.
pub fn back_up(config: &Config, to: &Path) -> anyhow::Result<usize> {
    must_be_new(to)?;
    let store = Store::open_existing(&config.store, &MIGRATIONS)?;
    let _besides = store.must_be_whole(&MIGRATIONS)?;
    anyhow::ensure!(
        store.settle(journal::fold)?,
        "a running broker is late with its journal, so the copy would lack its last calls: try again"
    );
    store.copy_to(to)?;
    let held = must_hold(to, &trust(config)?);
    if held.is_err() {
        std::fs::remove_file(to)?;
    }
    held.context("the copy did not hold, and was taken away again")
}

/// Puts a backup in the place of the store. Returns how many records of the journal it
/// has, and where the store lies that was there.
///
/// # Errors
///
/// When the store is open anywhere, the backup does not hold, or files cannot be moved.
pub fn bring_back(config: &Config, from: &Path) -> anyhow::Result<(usize, Option<PathBuf>)> {
    let shown = from.display();
    anyhow::ensure!(from.is_file(), "there is no file `{shown}`: {A_BACKUP}");
    let own = config.store.canonicalize().ok();
    anyhow::ensure!(
        own.is_none() || own != from.canonicalize().ok(),
        "`{shown}` is the store itself: {A_BACKUP}"
    );
    let of_backup = |error| of_backup(error, from);
    // What is no store at all makes no lock either.
    Inspection::of(from, &MIGRATIONS).map_err(|error| of_backup(error.into()))?;
    let place = store::Place::alone(&config.store)?;
    let copied = copied(&place, from).map_err(of_backup)?;
    // What was copied, whatever becomes of the backup meanwhile.
    let records = match must_hold(copied.path(), &Trust::default()) {
        Ok(records) => records,
        Err(error) => {
            copied.discard()?;
            return Err(of_backup(error));
        }
    };
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    Ok((records, copied.put(&time)?))
}

/// Copies a backup that is whole. What is missing in the middle of its log would be
/// missing in the copy without a word.
fn copied<'a>(place: &'a store::Place, from: &Path) -> anyhow::Result<store::Copied<'a>> {
    let looked = Inspection::of(from, &MIGRATIONS)?;
    must_be_whole(&looked)?;
    Ok(place.copy(from)?)
}

/// What is wrong with a backup, and what to do.
fn of_backup(error: anyhow::Error, from: &Path) -> anyhow::Error {
    let shown = from.display();
    match error.downcast::<StoreError>() {
        Ok(StoreError::Foreign { .. } | StoreError::Text { .. } | StoreError::Open { .. }) => {
            anyhow::anyhow!("`{shown}` is no store: {A_BACKUP}")
        }
        Ok(StoreError::Unreadable { source, .. }) => {
            anyhow::anyhow!("`{shown}` is no store, or is damaged ({source}): {A_BACKUP}")
        }
        Ok(StoreError::Broken { what, .. }) => {
            anyhow::anyhow!(
                "`{shown}` is damaged ({what}): bring back another; nothing was changed"
            )
        }
        Ok(other) => not_brought_back(other.into(), from),
        Err(other) => not_brought_back(other, from),
    }
}

/// What to do where something else was given.
const A_BACKUP: &str = "name one that `countersign store backup FILE` made; nothing was changed";

fn not_brought_back(error: anyhow::Error, from: &Path) -> anyhow::Error {
    let shown = from.display();
    error.context(format!(
        "`{shown}` cannot be brought back, and nothing was changed"
    ))
}

/// Refuses a place for a new file where something is, or where no file can be, and says
/// what to do.
///
/// # Errors
///
/// When it is such a place.
pub fn must_be_new(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    anyhow::ensure!(
        !path.is_dir(),
        "`{shown}` is a folder: name a file in it that is not there yet"
    );
    anyhow::ensure!(
        !path.exists(),
        "`{shown}` is there already, and nothing is written over: name another file, or take that one away first"
    );
    let folder = path.parent().filter(|one| !one.as_os_str().is_empty());
    if let Some(folder) = folder {
        anyhow::ensure!(
            folder.is_dir(),
            "there is no folder `{}`: make it first, `mkdir -p {}`",
            folder.display(),
            visible::shell_word(&folder.to_string_lossy())
        );
    }
    Ok(())
}

fn must_hold(path: &Path, trust: &Trust) -> anyhow::Result<usize> {
    let looked = Inspection::of(path, &MIGRATIONS)?;
    must_be_whole(&looked)?;
    // Of an older version, the journal is verified once it is brought up to date.
    if looked.version() != MIGRATIONS.last().map_or(0, |newest| newest.number) {
        return Ok(0);
    }
    let found = looked.read(|tx| journal::verify(tx, &[], trust))?;
    let faults: Vec<String> = of_the_journal(&found).collect();
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("; "));
    Ok(found.records)
}

fn must_be_whole(looked: &Inspection) -> anyhow::Result<()> {
    let problems = looked.problems()?;
    anyhow::ensure!(
        problems.is_empty(),
        "it is damaged: {}",
        problems.join("; ")
    );
    Ok(())
}
