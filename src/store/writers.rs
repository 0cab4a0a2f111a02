//! Writers: the processes that write to one store.
//!
//! Each holds an exclusive lock (`flock`) on a file of its own for as long as it
//! lives. The kernel gives the lock back when the process ends, however it ends,
//! so a lock that can be had means a writer that is dead.

use super::Store;
use super::StoreError;
use super::Tx;
use super::beside;
use super::spool;
use super::spool::Fold;
use super::spool::Spool;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;
use rustix::fs::FlockOperation;
use rustix::fs::flock;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use uuid::Uuid;

/// How long a command waits for living writers to fold what is in their spools.
const SETTLING: Duration = Duration::from_secs(2);
const SETTLING_PAUSE: Duration = Duration::from_millis(5);

/// Names one writer of a store, in the order of their starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriterId(i64);

impl WriterId {
    /// The number that is stored.
    pub fn number(self) -> i64 {
        self.0
    }

    /// The writer of this number, as read from the store.
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }
}

impl std::fmt::Display for WriterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// This process as a writer. Its records carry the id; dropping it gives the
/// lock back.
#[derive(Debug)]
pub struct Writer {
    id: WriterId,
    lock: PathBuf,
    _held: File,
}

/// A writer that is dead. Several processes may find it so at once: whose
/// transaction buries it first recovers it.
#[derive(Debug)]
pub struct Dead {
    id: WriterId,
    lock: PathBuf,
}

impl Dead {
    /// Which writer.
    pub fn id(&self) -> WriterId {
        self.id
    }

    /// Takes its files away, once it is marked as ended and its spool folded.
    pub fn buried(self) {
        remove(&self.lock);
    }
}

impl Writer {
    /// Enlists this process. The lock is held before the writer can be seen in
    /// the store, so that nobody takes a writer that is starting for dead.
    ///
    /// # Errors
    ///
    /// When the lock file or the row cannot be made.
    pub fn enlist(store: &Store, now: Timestamp) -> Result<Self, StoreError> {
        let name = Uuid::new_v4().simple().to_string();
        let lock = lock_path(store.path(), &name);
        let held = make_lock(&lock).map_err(|source| StoreError::Lock {
            path: lock.clone(),
            source,
        })?;
        let id = store.write_blocking("enlist", move |tx| {
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
            tx.sql()
                .execute(
                    "INSERT INTO writer (lock, boot, pid, started) VALUES (?1, ?2, ?3, ?4)",
                    params![
                        name,
                        boot.unwrap_or_default().trim(),
                        std::process::id(),
                        now.as_millisecond()
                    ],
                )
                .map_err(StoreError::sql("enlist this process as a writer"))?;
            Ok(WriterId(tx.sql().last_insert_rowid()))
        })?;
        Ok(Self {
            id,
            lock,
            _held: held,
        })
    }

    /// Our id in the store.
    pub fn id(&self) -> WriterId {
        self.id
    }

    /// Gives this writer a spool. None where this process has one already.
    ///
    /// # Errors
    ///
    /// When its files cannot be made.
    pub fn spool(&self, store: &Store, fold: Fold) -> Result<Option<Arc<Spool>>, StoreError> {
        store.thread.spool(&self.lock, (self.id, fold))
    }

    /// The other writers that did not say goodbye and hold no lock, and those
    /// that are marked as ended and left a spool.
    ///
    /// # Errors
    ///
    /// When the list cannot be read.
    pub fn dead_others(&self, store: &Store) -> Result<Vec<Dead>, StoreError> {
        let left = left_spools(store.path());
        let others = store.read(|tx| {
            let mut others = unended(tx)?;
            for name in &left {
                if let Some(id) = writer_of_lock(tx, name)?
                    && !others.iter().any(|(known, _)| *known == id)
                {
                    others.push((id, name.clone()));
                }
            }
            Ok(others)
        })?;
        let dead = others
            .into_iter()
            .filter(|(id, _)| *id != self.id)
            .filter_map(|(id, name)| {
                let lock = lock_path(store.path(), &name);
                (!is_held(&lock)).then_some(Dead { id, lock })
            });
        Ok(dead.collect())
    }

    /// What a writer must know of the writers to record without a transaction.
    ///
    /// # Errors
    ///
    /// When the list cannot be read.
    pub fn company(tx: &Tx<'_>, writer: WriterId) -> Result<Company, StoreError> {
        let all = unended(tx)?;
        let others = all.iter().filter(|(id, _)| *id != writer);
        Ok(Company {
            is_alive: all.iter().any(|(id, _)| *id == writer),
            others: others
                .map(|(_, name)| lock_path(tx.store(), name))
                .collect(),
        })
    }

    /// The other writers that are dead and not recovered yet.
    ///
    /// # Errors
    ///
    /// When the list cannot be read.
    pub fn unrecovered(tx: &Tx<'_>, writer: WriterId) -> Result<Vec<WriterId>, StoreError> {
        let others = unended(tx)?.into_iter();
        let dead =
            others.filter(|(id, name)| *id != writer && !is_held(&lock_path(tx.store(), name)));
        Ok(dead.map(|(id, _)| id).collect())
    }

    /// Writes down that a dead writer was recovered. Part of the transaction
    /// that recovers it; false where another process did it before.
    ///
    /// # Errors
    ///
    /// When the row cannot be changed.
    pub fn bury(tx: &Tx<'_>, dead: WriterId, now: Timestamp) -> Result<bool, StoreError> {
        tx.sql()
            .execute(
                "UPDATE writer SET ended = ?2 WHERE id = ?1 AND ended IS NULL",
                params![dead.0, now.as_millisecond()],
            )
            .map(|rows| rows == 1)
            .map_err(StoreError::sql("mark a writer as ended"))
    }

    /// Makes sure that nobody took this writer for dead: what it opened from
    /// then on, nobody would recover. It can only happen where its lock file was
    /// taken away.
    ///
    /// # Errors
    ///
    /// [`StoreError::Buried`], or when the row cannot be read.
    pub fn must_live(tx: &Tx<'_>, writer: WriterId) -> Result<(), StoreError> {
        match lock_of_unended(tx, writer)? {
            Some(_lock) => Ok(()),
            None => Err(StoreError::Buried),
        }
    }

    /// Takes our files away, once we are marked as ended.
    pub fn retired(&self) {
        remove(&self.lock);
    }
}

/// The writers beside one, as they were when they were listed.
#[derive(Debug)]
pub struct Company {
    is_alive: bool,
    others: Vec<PathBuf>,
}

impl Company {
    /// Whether nobody took the writer itself for dead.
    pub fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// Whether one of the others has died since: it may have left something that
    /// the next call must be told of.
    pub fn has_lost_one(&self) -> bool {
        self.others.iter().any(|lock| !is_held(lock))
    }
}

impl Store {
    /// Folds what dead writers left in their spools, and waits until the living
    /// ones have folded what is in theirs now: for commands that read. False
    /// where one of them did not within two seconds.
    ///
    /// # Errors
    ///
    /// When a spool cannot be read, or the store not be read or written.
    pub fn settle(&self, fold: Fold) -> Result<bool, StoreError> {
        let begun = Instant::now();
        for name in left_spools(&self.path) {
            let Some(writer) = self.read(|tx| writer_of_lock(tx, &name))? else {
                continue;
            };
            let lock = lock_path(&self.path, &name);
            let last = spool::last_of(writer, &lock)?;
            while self.read(|tx| spool::is_behind(tx, writer, last))? {
                if !is_held(&lock) {
                    let replay = move |tx: &Tx<'_>| Spool::replay(tx, writer, fold);
                    self.write_blocking("settle", replay)?;
                    break;
                }
                if begun.elapsed() > SETTLING {
                    return Ok(false);
                }
                std::thread::sleep(SETTLING_PAUSE);
            }
        }
        Ok(true)
    }

    /// How many writers died and are not recovered yet.
    ///
    /// # Errors
    ///
    /// When the list cannot be read.
    pub fn dead_writers(&self) -> Result<usize, StoreError> {
        Ok(self.read(unended)?.len() - self.living_writers()?.len())
    }

    /// How many of those left nothing here but their names: they wrote to the store that
    /// this one is a copy of, unless somebody took their files away.
    ///
    /// # Errors
    ///
    /// When the list cannot be read.
    pub fn writers_elsewhere(&self) -> Result<usize, StoreError> {
        let mut unended = self.read(unended)?;
        unended.retain(|(_id, name)| !lock_path(&self.path, name).exists());
        Ok(unended.len())
    }

    /// The writers that are alive now, seen from outside: their lock is held.
    ///
    /// # Errors
    ///
    /// When the list cannot be read.
    pub fn living_writers(&self) -> Result<Vec<WriterId>, StoreError> {
        let open = self.read(unended)?;
        let living = open
            .into_iter()
            .filter_map(|(id, name)| is_held(&lock_path(&self.path, &name)).then_some(id));
        Ok(living.collect())
    }

    /// How many of the writers that are alive now started before `then`.
    ///
    /// # Errors
    ///
    /// When the list cannot be read.
    pub fn living_since_before(&self, then: Timestamp) -> Result<usize, StoreError> {
        let living = self.living_writers()?;
        let earlier = self.read(|tx| {
            let list = || {
                let mut rows = tx
                    .sql()
                    .prepare_cached("SELECT id FROM writer WHERE ended IS NULL AND started < ?1")?;
                rows.query_map([then.as_millisecond()], |row| Ok(WriterId(row.get(0)?)))?
                    .collect::<Result<Vec<_>, _>>()
            };
            list().map_err(StoreError::sql("list the writers"))
        })?;
        let earlier = earlier.iter().filter(|writer| living.contains(writer));
        Ok(earlier.count())
    }
}

/// Whether a writer of the store at this path lives, whatever the store says.
pub(super) fn any_lives(store: &Path) -> bool {
    let folder = lock_path(store, "").parent().map(std::fs::read_dir);
    let files = folder.and_then(Result::ok).into_iter().flatten().flatten();
    let mut locks = files.map(|file| file.path());
    locks.any(|path| path.extension().is_some_and(|ending| ending == "lock") && is_held(&path))
}

/// Whether a spool beside the store at this path holds anything, be it in the tables
/// or not.
pub(super) fn leave_records(store: &Path) -> bool {
    let spools = left_spools(store).into_iter();
    let mut files = spools.flat_map(|name| spool::paths(&lock_path(store, &name)));
    files.any(|file| file.metadata().is_ok_and(|file| file.len() > 0))
}

/// Files that stay behind are only litter: the row says that their writer ended,
/// and the store how far its spool was folded. The lock goes last: a spool without
/// one would pass for left.
fn remove(lock: &Path) {
    for spool in spool::paths(lock) {
        let _stays = std::fs::remove_file(spool);
    }
    let _stays = std::fs::remove_file(lock);
}

/// The names of the locks beside which there is a spool.
fn left_spools(store: &Path) -> Vec<String> {
    let folder = lock_path(store, "").parent().map(std::fs::read_dir);
    // Without the folder there never was a writer.
    let files = folder.and_then(Result::ok).into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .filter_map(|file| spool::owner(&file.path()).map(str::to_owned))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn writer_of_lock(tx: &Tx<'_>, name: &str) -> Result<Option<WriterId>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT id FROM writer WHERE lock = ?1")?
            .query_row([name], |row| row.get(0).map(WriterId))
            .optional()
    };
    read().map_err(StoreError::sql("look for the writer of a spool"))
}

/// The lock file of a writer, ended or not.
pub(super) fn lock_of(tx: &Tx<'_>, writer: WriterId) -> Result<Option<PathBuf>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT lock FROM writer WHERE id = ?1")?
            .query_row([writer.0], |row| row.get::<_, String>(0))
            .optional()
    };
    let name = read().map_err(StoreError::sql("look for a writer"))?;
    Ok(name.map(|name| lock_path(tx.store(), &name)))
}

fn unended(tx: &Tx<'_>) -> Result<Vec<(WriterId, String)>, StoreError> {
    let list = || {
        let mut rows = tx
            .sql()
            .prepare_cached("SELECT id, lock FROM writer WHERE ended IS NULL ORDER BY id")?;
        rows.query_map([], |row| Ok((WriterId(row.get(0)?), row.get(1)?)))?
            .collect::<Result<Vec<_>, _>>()
    };
    list().map_err(StoreError::sql("list the writers"))
}

fn lock_of_unended(tx: &Tx<'_>, writer: WriterId) -> Result<Option<String>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT lock FROM writer WHERE id = ?1 AND ended IS NULL")?
            .query_row([writer.0], |row| row.get(0))
            .optional()
    };
    read().map_err(StoreError::sql("look for a writer"))
}

fn lock_path(store: &Path, name: &str) -> PathBuf {
    folder_of(store).join(format!("{name}.lock"))
}

/// The folder of the writers of a store.
pub(super) fn folder_of(store: &Path) -> PathBuf {
    beside(store, "-writers")
}

fn make_lock(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Whether the writer of a lock file is alive. The lock is shared for the moment
/// that it is looked at: of two who look at once, both must see a dead one dead.
fn is_held(path: &Path) -> bool {
    match File::open(path) {
        // Whatever else is wrong with the lock, its writer is not provably dead.
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
        Err(source) => source.kind() != io::ErrorKind::NotFound,
    }
}
