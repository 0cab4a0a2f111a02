//! The spool of a writer: records that are safe from the end of the process and
//! not in the tables yet.
//!
//! A record is appended with one `write` on the thread that has it; what `write`
//! took survives `kill -9`. The writer thread folds what waits into the tables,
//! first in each of its transactions and soon after the first record, so that
//! what is in the tables has the order in which it happened. How far it came
//! stands in the same transaction, so each record is folded once, whoever does
//! it: this process, or after its death the one that recovers it.
//!
//! A spool is two files beside the lock file of its writer. One takes records
//! while the other is folded and then emptied. What the records mean is known to
//! the room that writes them.

#[cfg(test)]
mod tests;

use super::StoreError;
use super::Tx;
use super::room::SPOOL;
use super::thread::Committed;
use super::thread::Order;
use super::writers;
use super::writers::WriterId;
use crate::crash;
use rusqlite::OptionalExtension;
use rusqlite::params;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::mpsc;

/// The table of the spools: how far each was folded.
pub const SCHEMA_6: &str = "
CREATE TABLE IF NOT EXISTS spool (
    writer INTEGER PRIMARY KEY REFERENCES writer (id),
    folded INTEGER NOT NULL          -- number of the last record in the tables
) STRICT;
";

/// Puts records of a writer into the tables, in their order. It may be handed
/// what was cut off by a power cut at its beginning, never a record twice.
pub type Fold = fn(&Tx<'_>, WriterId, &[&[u8]]) -> Result<(), StoreError>;

/// How many records are folded at once where they come quickly. Folding takes a
/// core for as long as it has records, and calls wait with it where there is but
/// one; but each fold is a transaction, and with slices of 128 a call cost up to a
/// quarter more of the processor.
const SLICE: usize = 512;

/// Before each record: how long it is (4 bytes), its number among the writer's
/// (8), and a checksum of all of it (8).
const HEAD: usize = 20;

/// The endings of the two files.
const ENDINGS: [&str; 2] = ["spool-0", "spool-1"];

/// A record that is being written, with room for what stands before it.
#[derive(Debug)]
pub struct Record {
    bytes: Vec<u8>,
}

impl Record {
    /// An empty one, with room for about so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut record = Self {
            bytes: Vec::with_capacity(HEAD + bytes),
        };
        record.bytes.extend_from_slice(&[0; HEAD]);
        record
    }

    /// Adds bytes to it.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What was added.
    #[cfg(test)]
    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.split_at(HEAD).1
    }

    /// The record as it stands in the file; none where it is too long for one.
    fn numbered(mut self, writer: WriterId, number: u64) -> Option<Vec<u8>> {
        let (head, body) = self.bytes.split_at_mut_checked(HEAD)?;
        let long = u32::try_from(body.len()).ok()?;
        let check = check(writer, number, body);
        let parts = long.to_le_bytes().into_iter();
        let parts = parts.chain(number.to_le_bytes()).chain(check);
        for (place, byte) in head.iter_mut().zip(parts) {
            *place = byte;
        }
        Some(self.bytes)
    }
}

/// Tells a record from what a write that was cut short left, and from one of
/// another writer: FNV-1a over words of 8 bytes. Each step can be undone, so a
/// change within one word never goes unseen; nobody is kept from forging it, who
/// may write the store.
fn check(writer: WriterId, number: u64, body: &[u8]) -> [u8; 8] {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let (words, rest) = body.as_chunks::<8>();
    let mut last = [0; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    let head = [writer.number().cast_unsigned(), number, body.len() as u64];
    let words = words
        .iter()
        .chain([&last])
        .map(|word| u64::from_le_bytes(*word));
    let check = head.into_iter().chain(words).fold(BASIS, |sum, word| {
        // The upper half comes down too, which a product alone never does.
        let sum = (sum ^ word).wrapping_mul(PRIME);
        sum ^ (sum >> 32)
    });
    check.to_le_bytes()
}

/// The spool of this process.
#[derive(Debug)]
pub struct Spool {
    writer: WriterId,
    fold: Fold,
    files: [File; 2],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Which file takes records, and how long it is.
    taking: usize,
    length: u64,
    /// How long it may be.
    most: u64,
    /// How many records it has taken.
    records: usize,
    /// The other one holds records that are not in the tables yet.
    folding: bool,
    /// The tables did not take what was folded last.
    stalled: bool,
    /// The number of the last record.
    last: u64,
    /// The writer thread waits for orders and does not know of records.
    resting: bool,
    /// None once it is sealed.
    thread: Option<mpsc::Sender<Order>>,
}

impl Spool {
    /// A new spool for a writer that has just enlisted.
    pub(super) fn create(
        lock: &Path,
        (writer, fold): (WriterId, Fold),
        thread: mpsc::Sender<Order>,
    ) -> Result<Self, StoreError> {
        let create = |path: PathBuf| {
            OpenOptions::new()
                .read(true)
                .append(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(|source| StoreError::File { path, source })
        };
        let [first, second] = paths(lock);
        Ok(Self {
            writer,
            fold,
            files: [create(first)?, create(second)?],
            state: Mutex::new(State {
                taking: 0,
                length: 0,
                most: SPOOL,
                records: 0,
                folding: false,
                stalled: false,
                last: 0,
                resting: true,
                thread: Some(thread),
            }),
        })
    }

    /// Appends a record. What it proves is made when the record survives the end
    /// of this process. None where it could not be appended, of which nothing is
    /// left then: a transaction is the other way.
    ///
    /// `doing` names the record for tests (`open`).
    pub fn append<T>(
        &self,
        doing: &'static str,
        record: Record,
        made: impl FnOnce() -> T,
    ) -> Option<Committed<T>> {
        let mut state = self.state();
        let thread = state.thread.as_ref()?;
        if state.stalled || state.length >= state.most {
            return None;
        }
        if state.resting {
            thread.send(Order::Fold).ok()?;
            state.resting = false;
        }
        let number = state.last + 1;
        let bytes = record.numbered(self.writer, number)?;
        let file = self.files.get(state.taking)?;
        crash::step("spool", doing, "before-append");
        if let Err(error) = write(file, doing, &bytes) {
            tracing::error!(%error, "a record could not be appended to the spool");
            if file.set_len(state.length).is_err() {
                // Half a record hides all that come after it.
                state.thread = None;
            }
            return None;
        }
        crash::step("spool", doing, "after-append");
        state.last = number;
        state.length += bytes.len() as u64;
        state.records += 1;
        if state.records == SLICE
            && let Some(thread) = &state.thread
        {
            // A thread that has ended has folded what there was.
            let _ended = thread.send(Order::Fold);
        }
        Some(Committed::spooled(made()))
    }

    /// Takes no records from now on. What was appended is folded.
    pub fn seal(&self) {
        self.state().thread = None;
    }

    /// Takes up to so many bytes at once from now on.
    pub(super) fn keep_within(&self, most: u64) {
        self.state().most = most;
    }

    /// Whether the writer thread may wait for orders without an end.
    pub(super) fn rests(&self) -> bool {
        let mut state = self.state();
        state.resting = !state.folding && state.length == 0;
        state.resting
    }

    /// Whether there is so much that folding must not wait for its time.
    pub(super) fn is_full(&self) -> bool {
        let state = self.state();
        state.records >= SLICE && !state.stalled
    }

    /// Puts what waits into the tables. Part of a transaction that has begun.
    pub(super) fn fold(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        let unreadable = |source| StoreError::Spool { source };
        let (older, newer) = {
            let mut state = self.state();
            // INVARIANT: the files change their parts inside a transaction only,
            // so that whoever reads them in another sees them keep still.
            let left = state.folding;
            if !left && state.length > 0 {
                state.taking = 1 - state.taking;
                state.length = 0;
                state.records = 0;
                state.folding = true;
            }
            if !state.folding {
                return Ok(());
            }
            // What a transaction before this one did not get into the tables
            // is first, and what came since goes with it.
            (1 - state.taking, left.then_some(state.taking))
        };
        let mut read = Vec::new();
        for place in [Some(older), newer].into_iter().flatten() {
            if let Some(file) = self.files.get(place) {
                read.push(contents(file).map_err(unreadable)?);
            }
        }
        fold(tx, (self.writer, self.fold), &read).map(|_count| ())
    }

    /// The transaction was not committed. As long as the tables take nothing, no
    /// call is to be begun that they would have to take.
    pub(super) fn stall(&self) {
        self.state().stalled = true;
    }

    /// Empties the file whose records are in the tables for good.
    pub(super) fn folded(&self) {
        let mut state = self.state();
        state.stalled = false;
        if !state.folding {
            return;
        }
        let emptied = self.files.get(1 - state.taking).map(|file| file.set_len(0));
        // Where it stays full, its records are known to be folded already.
        state.folding = !matches!(emptied, Some(Ok(())));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What counts is changed last, when all else went well.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds what a dead writer left. Part of the transaction that recovers it.
    /// Returns how many records there were.
    ///
    /// # Errors
    ///
    /// When its files cannot be read or its records not be written.
    pub fn replay(tx: &Tx<'_>, dead: WriterId, with: Fold) -> Result<usize, StoreError> {
        let Some(lock) = writers::lock_of(tx, dead)? else {
            return Ok(0);
        };
        let read = contents_of(&lock)?;
        fold(tx, (dead, with), &read)
    }
}

/// One call of the system for a whole record.
fn write(mut file: &File, doing: &'static str, bytes: &[u8]) -> io::Result<()> {
    if crash::strikes("spool", doing, "torn") {
        let (half, _rest) = bytes.split_at(bytes.len() / 2);
        file.write_all(half)?;
        crash::kill();
    }
    if crash::mutated("spool-nothing") {
        return Ok(());
    }
    file.write_all(bytes)
}

/// Folds the records that are not in the tables yet.
fn fold(
    tx: &Tx<'_>,
    (writer, with): (WriterId, Fold),
    read: &[Vec<u8>],
) -> Result<usize, StoreError> {
    let before = folded(tx, writer)?;
    let mut last = before;
    let mut records = Vec::new();
    let mut files: Vec<_> = read.iter().map(|bytes| parse(writer, bytes)).collect();
    files.sort_by_key(|records| records.first().map(|(number, _)| *number));
    for (number, body) in files.into_iter().flatten() {
        if number > last {
            last = number;
            records.push(body);
        }
    }
    if records.is_empty() {
        return Ok(0);
    }
    crash::step("spool", "fold", "before");
    if !crash::mutated("fold-nothing") {
        with(tx, writer, &records)?;
    }
    crash::step("spool", "fold", "halfway");
    set_folded(tx, writer, last)?;
    crash::step("spool", "fold", "after");
    Ok(records.len())
}

/// The whole records of a file, with their numbers. A write that was cut short
/// can only be the last one, so nothing after it is looked at.
fn parse(writer: WriterId, bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while let Some((long, after)) = rest.split_first_chunk::<4>()
        && let Some((number, after)) = after.split_first_chunk::<8>()
        && let Some((checked, after)) = after.split_first_chunk::<8>()
        && let Some((body, after)) = after.split_at_checked(u32::from_le_bytes(*long) as usize)
    {
        let number = u64::from_le_bytes(*number);
        if check(writer, number, body) != *checked {
            break;
        }
        records.push((number, body));
        rest = after;
    }
    records
}

fn folded(tx: &Tx<'_>, writer: WriterId) -> Result<u64, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT folded FROM spool WHERE writer = ?1")?
            .query_row([writer.number()], |row| row.get::<_, i64>(0))
            .optional()
    };
    let folded = read().map_err(StoreError::sql("see how far a spool was folded"))?;
    Ok(folded.unwrap_or(0).unsigned_abs())
}

fn set_folded(tx: &Tx<'_>, writer: WriterId, last: u64) -> Result<(), StoreError> {
    let write = || {
        tx.sql()
            .prepare_cached("INSERT OR REPLACE INTO spool (writer, folded) VALUES (?1, ?2)")?
            .execute(params![
                writer.number(),
                i64::try_from(last).unwrap_or(i64::MAX)
            ])
    };
    write()
        .map(|_one_row| ())
        .map_err(StoreError::sql("note how far a spool was folded"))
}

/// Whether all that stands in the files of a living writer now is in the tables.
pub(super) fn is_behind(tx: &Tx<'_>, writer: WriterId, up_to: u64) -> Result<bool, StoreError> {
    Ok(folded(tx, writer)? < up_to)
}

/// The number of the last record in the files of a writer.
pub(super) fn last_of(writer: WriterId, lock: &Path) -> Result<u64, StoreError> {
    let read = contents_of(lock)?;
    let last = read.iter().filter_map(|bytes| parse(writer, bytes).pop());
    Ok(last.map(|(number, _body)| number).max().unwrap_or(0))
}

/// The two files of a writer, beside its lock file.
pub(super) fn paths(lock: &Path) -> [PathBuf; 2] {
    ENDINGS.map(|ending| lock.with_extension(ending))
}

/// The name of the lock whose spool this file belongs to.
pub(super) fn owner(file: &Path) -> Option<&str> {
    let ending = file.extension()?.to_str()?;
    ENDINGS
        .contains(&ending)
        .then(|| file.file_stem()?.to_str())?
}

fn contents_of(lock: &Path) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut read = Vec::new();
    for path in paths(lock) {
        let bytes = match File::open(&path) {
            Ok(file) => contents(&file),
            Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => Err(source),
        };
        read.push(bytes.map_err(|source| StoreError::File { path, source })?);
    }
    Ok(read)
}

fn contents(file: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64) {
            // Emptied meanwhile by its owner, who has folded it.
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(source),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
