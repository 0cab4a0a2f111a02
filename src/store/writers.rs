//! Writers: the processes that write to one store.
//!
//! Each holds an exclusive lock (`flock`) on a file of its own for as long as it
//! lives. The kernel gives the lock back when the process ends, however it ends,
//! so a lock that can be had means a writer that is dead.

use super::Store;
use super::StoreError;
use super::Tx;
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
use uuid::Uuid;

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

    /// Takes its lock file away, once it is marked as ended.
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

    /// The other writers that did not say goodbye and hold no lock.
    ///
    /// # Errors
    ///
    /// When the list cannot be read.
    pub fn dead_others(&self, store: &Store) -> Result<Vec<Dead>, StoreError> {
        let others = store.read(unended)?;
        let dead = others
            .into_iter()
            .filter(|(id, _)| *id != self.id)
            .filter_map(|(id, name)| {
                let lock = lock_path(store.path(), &name);
                (!is_held(&lock)).then_some(Dead { id, lock })
            });
        Ok(dead.collect())
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

    /// Whether a writer has ended, by its own word or by the loss of its lock.
    ///
    /// # Errors
    ///
    /// When the row cannot be read.
    pub fn has_ended(tx: &Tx<'_>, writer: WriterId) -> Result<bool, StoreError> {
        Ok(match lock_of_unended(tx, writer)? {
            Some(name) => !is_held(&lock_path(tx.store(), &name)),
            None => true,
        })
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

    /// Takes our lock file away, once we are marked as ended.
    pub fn retired(&self) {
        remove(&self.lock);
    }
}

impl Store {
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
}

/// A lock file that stays behind is only litter: its row says that it ended.
fn remove(lock: &Path) {
    let _stays = std::fs::remove_file(lock);
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
    let mut folder = store.as_os_str().to_owned();
    folder.push("-writers");
    PathBuf::from(folder).join(format!("{name}.lock"))
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
