//! Room on the disk: the write-ahead log and the spool keep to a share of it, so that it
//! can be used to its end; that there is none is noticed, said for as long as it lasts,
//! and what is left then is for the ends of what was begun.

use super::BUSY_TIMEOUT;
use super::StoreError;
use super::beside;
use super::error::is_full;
use super::last::Last;
use super::reserve::RESERVE;
use super::reserve::Reserve;
use rusqlite::Connection;
use rusqlite::ErrorCode;
use rustix::fs::statvfs;
use std::cell::Cell;
use std::fs::OpenOptions;
use std::io;
use std::io::ErrorKind;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// How much must be left for something to be begun, in bytes: what one transaction
/// changes, in the log and in the store.
const LEAST: u64 = 128 << 10;
/// How much must be free for the reserve to be taken, in bytes.
const RESERVED_FROM: u64 = RESERVE + 2 * LEAST;

/// The log is brought into the store when it has so many pages, where there is room: a
/// checkpoint copies each page once, however often it was written, and calls wait for it.
/// At this size (64 MiB) it comes seldom.
pub(super) const LOG_PAGES: u32 = 16_000;
/// Of how many parts of the room the log may take one. The store may have to grow by as
/// much before the log can begin anew.
const LOG_SHARE: u64 = 4;
const PAGE: u64 = 4 << 10;
/// Where there is less, all keep to their share of it, in bytes.
const SMALL: u64 = LOG_SHARE * PAGE * LOG_PAGES as u64;

/// How much may wait in the spool, in bytes. What is more is recorded in a transaction,
/// which folds first: the tables set the pace then.
pub(super) const SPOOL: u64 = 64 << 20;
/// Of how many parts of the room the spool may take one. It comes into the log, with what
/// else its records change, and then into the store.
const SPOOL_SHARE: u64 = 8;

/// How often the room is looked at where there is much of it.
const LOOKED_EVERY: Duration = Duration::from_secs(1);
/// How often the log is emptied at most while there is no room.
const EMPTIED_EVERY: Duration = Duration::from_secs(1);
/// How long that waits for those who read, where nothing is begun until it is done: one
/// may begin before the other ends, and none of them reads for long.
const EMPTIED_WITHIN: Duration = Duration::from_millis(700);
/// How often it is found out at most, by writing, whether a volume takes anything.
const PROBED_EVERY: Duration = Duration::from_secs(1);

/// What the writer of a store knows of the room there is.
pub(super) struct Room {
    store: PathBuf,
    last: Arc<Last>,
    /// What is left is for ends.
    short: bool,
    /// Somebody reads for so long that the log may soon not fit into the store.
    crowded: bool,
    reserve: Reserve,
    emptied: Option<Instant>,
    /// What writing as much as a transaction came to, where one failed.
    probed: Cell<Option<(Instant, bool)>>,
    looked: Option<Instant>,
    /// What is free, and what the log takes, in bytes; up to [`SMALL`].
    room: u64,
    log_pages: u32,
}

impl Room {
    /// Around this store. `last` tells others.
    pub(super) fn of(store: &Path, last: Arc<Last>) -> Self {
        Self {
            store: store.to_owned(),
            last,
            short: false,
            crowded: false,
            reserve: Reserve::of(store),
            emptied: None,
            probed: Cell::new(None),
            looked: None,
            room: SMALL,
            log_pages: LOG_PAGES,
        }
    }

    /// Whether there was none for what was written last, or is none for what begins.
    pub(super) fn is_missing(&self) -> bool {
        self.last.is_full()
    }

    /// Whether only writing can tell whether it can be written: what was written last
    /// could not be, or nothing is begun.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_missing() || self.last.has_failed()
    }

    /// Whether what is left is for ends.
    pub(super) fn is_short(&self) -> bool {
        self.short
    }

    /// How much may wait in the spool, in bytes.
    pub(super) fn for_spool(&self) -> u64 {
        match self.room < SMALL {
            true => (self.room / SPOOL_SHARE).min(SPOOL),
            false => SPOOL,
        }
    }

    /// Looks how much there is before something is written, and lets the log keep to its
    /// share of it. Seldom where there is much. Returns whether it looked.
    pub(super) fn look(&mut self, connection: &Connection) -> bool {
        let is_near = self.room < SMALL || self.is_missing();
        if !is_near && self.looked.is_some_and(|at| at.elapsed() < LOOKED_EVERY) {
            return false;
        }
        self.looked = Some(Instant::now());
        let Some(free) = self.free_of_readers(connection) else {
            return false;
        };
        self.room = with_log(&self.store, free).min(SMALL);
        // What the log has cannot be used while it is read.
        let has_room = self.room >= LEAST && !(self.crowded && free < LEAST);
        if !has_room {
            self.reserve.give_up();
        } else if free >= RESERVED_FROM {
            self.reserve.take();
        }
        self.short = self.room < LEAST || self.crowded || self.reserve.is_given_up();
        if self.short && !self.last.set_full(true) {
            match self.crowded {
                true => tracing::error!(
                    "somebody reads the store for long, so its log grows and may soon not fit into it: nothing is begun until they end"
                ),
                false => tracing::error!(
                    "the disk of the store is full: nothing is begun until there is room"
                ),
            }
        }
        self.keep_log_within(connection);
        true
    }

    /// What is free, in bytes. The store may have to grow by all that stands in the log:
    /// where the log has more than is free while somebody reads, it grows no further.
    fn free_of_readers(&mut self, connection: &Connection) -> Option<u64> {
        let left = free(&self.store)?;
        if log(&self.store) <= left {
            self.crowded = false;
            return Some(left);
        }
        // Where others took it, and nobody reads, what there is is in the log.
        if left < LEAST && !self.crowded {
            return Some(left);
        }
        if self.emptied.is_none_or(|at| at.elapsed() > EMPTIED_EVERY) {
            let patience = match self.crowded {
                true => EMPTIED_WITHIN,
                false => Duration::ZERO,
            };
            self.crowded = !empty_log(connection, patience);
            self.emptied = Some(Instant::now());
        }
        free(&self.store)
    }

    /// Whether an error says that there is none. SQLite does not where a quota is used
    /// up, or a page that was promised cannot be had.
    pub(super) fn is_why(&self, error: &rusqlite::Error) -> bool {
        is_full(error) || (has_failed(error) && self.takes_nothing())
    }

    fn takes_nothing(&self) -> bool {
        let known = self.probed.get();
        match known.filter(|(at, _)| at.elapsed() < PROBED_EVERY) {
            Some((_, nothing)) => nothing,
            None => {
                let nothing = takes_nothing(&self.store);
                self.probed.set(Some((Instant::now(), nothing)));
                nothing
            }
        }
    }

    /// A transaction was committed, or failed: because of that, or not.
    pub(super) fn is(&mut self, connection: &Connection, failed: Option<bool>) {
        let missing = match failed {
            None => self.short,
            Some(full) => full || self.is_missing(),
        };
        let had_failed = self.last.set_failed(failed.is_some());
        if had_failed && failed.is_none() && !self.is_missing() {
            tracing::info!("the store can be written again");
        }
        let was = self.last.set_full(missing);
        if was && !missing {
            tracing::info!("there is room for the store again");
            let _cut = empty_log(connection, Duration::ZERO);
        }
        if failed == Some(true) {
            // The log can be brought into the store only where that can grow.
            self.reserve.give_up();
            if self.emptied.is_none_or(|at| at.elapsed() > EMPTIED_EVERY) {
                self.emptied = Some(Instant::now());
                let _cut = empty_log(connection, Duration::ZERO);
            }
        }
    }

    /// Writes a page where the last one could not be: a transaction that needs none would
    /// else be taken for a sign that it can.
    pub(super) fn tries(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        if !self.is_in_doubt() {
            return Ok(());
        }
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        connection.pragma_update(None, "user_version", version)
    }

    /// Lets the log have its share, by powers of two: what is asked for is seldom another.
    fn keep_log_within(&mut self, connection: &Connection) {
        let share = self.room / LOG_SHARE / PAGE;
        let pages = match self.room < SMALL {
            true => 1 << share.checked_ilog2().unwrap_or(0),
            false => LOG_PAGES,
        };
        if pages == self.log_pages {
            return;
        }
        let kept = || {
            connection.pragma_update(None, "wal_autocheckpoint", pages)?;
            // What it had taken while there was more is cut off when it begins anew.
            let bytes = match self.room < SMALL {
                true => i64::from(pages) * PAGE.cast_signed(),
                false => -1,
            };
            connection.pragma_update(None, "journal_size_limit", bytes)
        };
        match kept() {
            Ok(()) => self.log_pages = pages,
            Err(error) => tracing::warn!(%error, "the write-ahead log cannot be kept short"),
        }
    }
}

/// Makes room to open a store where there is none left: the index of the log needs some.
pub(super) fn make_way(store: &Path) {
    if free(store).is_some_and(|free| with_log(store, free) < LEAST) {
        Reserve::of(store).give_up();
    }
}

/// Makes room where there was none to open a store, though its log has some. False where
/// there is nothing to give up.
pub(super) fn gives_way(store: &Path) -> bool {
    let reserve = Reserve::of(store);
    reserve.give_up();
    reserve.is_given_up()
}

/// The same error, or that there was no room, where that is why a store could not be
/// opened.
pub(super) fn why_not_opened(error: StoreError, store: &Path) -> StoreError {
    let is_full =
        |source: &rusqlite::Error| is_full(source) || (has_failed(source) && takes_nothing(store));
    match error {
        StoreError::Sql { source, .. } | StoreError::Open { source, .. } if is_full(&source) => {
            let path = store.to_owned();
            StoreError::NoRoom { path, source }
        }
        other => other,
    }
}

/// Whether the system is why a statement failed.
fn has_failed(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen)
    )
}

/// Whether an error of the system says that there is no room.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// Whether there is no room for what one transaction changes: by what the volume tells, and
/// by writing as much, since of a quota it tells nothing.
fn takes_nothing(store: &Path) -> bool {
    let path = beside(store, &format!("-room-{}", std::process::id()));
    let write = || {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path)?;
        // Whatever happens, nothing of it stays.
        std::fs::remove_file(&path)?;
        file.write_all(&vec![1; usize::try_from(LEAST).unwrap_or(0)])?;
        // Some file systems say so no sooner.
        file.sync_data()
    };
    has_none(store) || write().is_err_and(|error| is_no_room(&error))
}

/// Brings what is in the log into the store, and cuts the log: on a small volume it may
/// be what fills it. Those who read are waited for so long. False where it was not cut.
fn empty_log(connection: &Connection, patience: Duration) -> bool {
    let empty = || {
        connection.busy_timeout(patience)?;
        let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, bool>(0)
        });
        connection.busy_timeout(BUSY_TIMEOUT)?;
        emptied
    };
    let emptied = empty();
    match &emptied {
        Ok(false) => tracing::info!("the write-ahead log was emptied to make room"),
        Ok(true) => tracing::debug!("the write-ahead log is read, and was not cut"),
        Err(error) => tracing::warn!(%error, "the write-ahead log could not be emptied"),
    }
    matches!(emptied, Ok(false))
}

fn has_none(store: &Path) -> bool {
    free(store).is_some_and(|bytes| bytes < LEAST)
}

/// What is free, and what the log takes, in bytes: it is written over again and again.
fn with_log(store: &Path, free: u64) -> u64 {
    free.saturating_add(log(store))
}

/// What the log takes, in bytes.
fn log(store: &Path) -> u64 {
    std::fs::metadata(beside(store, "-wal")).map_or(0, |log| log.len())
}

/// What is free for anybody of the volume of a store, in bytes. None where the volume does
/// not tell. What is for root besides includes blocks that a file system keeps to itself
/// (ext4), so it is left alone.
fn free(store: &Path) -> Option<u64> {
    let volume = statvfs(store).ok().filter(|volume| volume.f_blocks > 0)?;
    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Migration;
    use crate::store::Store;
    use crate::store::Writer;
    use jiff::Timestamp;

    const MIGRATIONS: [Migration; 1] = [Migration {
        number: 1,
        sql: &["CREATE TABLE t (a INTEGER) STRICT;"],
    }];

    #[test]
    fn the_log_has_its_share_of_a_small_volume_and_the_usual_of_a_large_one() {
        let connection = Connection::open_in_memory().unwrap();
        let usual = connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES);
        usual.unwrap();
        let mut room = Room::of(Path::new("store.db"), Arc::default());
        for (bytes, pages, spool) in [
            (SMALL, LOG_PAGES, SPOOL),
            (SMALL - 1, 8_192, SMALL / 8 - 1),
            (8 << 20, 512, 1 << 20),
            (LEAST, 8, LEAST / 8),
            (0, 1, 0),
            (SMALL, LOG_PAGES, SPOOL),
        ] {
            room.room = bytes;
            room.keep_log_within(&connection);
            assert_eq!(room.for_spool(), spool, "{bytes}");
            let asked = |name| connection.pragma_query_value(None, name, |row| row.get(0));
            let kept: u32 = asked("wal_autocheckpoint").unwrap();
            assert_eq!(kept, pages, "{bytes}");
        }
    }

    #[test]
    fn a_reserve_is_taken_for_writers_and_known_to_all_once_it_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let mut own = Reserve::of(&path);
        let others = Reserve::of(&path);
        own.take();
        others.give_up();
        assert!(!others.is_given_up(), "there are no writers");
        let store = Store::open(&path, &MIGRATIONS).unwrap();
        let _writer = Writer::enlist(&store, Timestamp::UNIX_EPOCH).unwrap();
        own.take();
        assert!(!own.is_given_up());
        others.give_up();
        // Where the file system promises no room, there is none to give up.
        assert_eq!(
            own.is_given_up(),
            path.with_extension("db-writers").join("reserve").exists()
        );
        own.take();
        assert!(!own.is_given_up() && !others.is_given_up());
    }

    #[test]
    fn the_log_goes_with_the_last_connection_though_something_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let log = beside(&path, "-wal");
        let store = Store::open(&path, &MIGRATIONS).unwrap();
        let _version = store.version().unwrap();
        store.read(|_tx| Ok(())).unwrap();
        let other = Store::open(&path, &MIGRATIONS).unwrap();
        drop(store);
        assert!(log.exists());
        drop(other);
        assert!(!log.exists());
    }
}
