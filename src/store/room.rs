//! Room on the disk: that there is none is noticed, said for as long as it lasts, and
//! what the write-ahead log takes of it is given back.

use super::BUSY_TIMEOUT;
use super::error::is_full;
use rusqlite::Connection;
use rusqlite::ErrorCode;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// How much must be free for a disk not to count as full, in bytes.
const LEAST: u64 = 64 << 10;
/// How often the log is emptied at most while there is no room.
const EMPTIED_EVERY: Duration = Duration::from_secs(1);

/// What the writer of a store knows of the room there is.
pub(super) struct Room {
    store: PathBuf,
    missing: Arc<AtomicBool>,
    emptied: Option<Instant>,
}

impl Room {
    /// Around this store. `missing` tells others.
    pub(super) fn of(store: &Path, missing: Arc<AtomicBool>) -> Self {
        Self {
            store: store.to_owned(),
            missing,
            emptied: None,
        }
    }

    /// Whether there was none for what was written last.
    pub(super) fn is_missing(&self) -> bool {
        self.missing.load(Ordering::Relaxed)
    }

    /// Whether an error says that there is none. Not every file system says so where a
    /// quota is used up, or a page that was promised cannot be had.
    pub(super) fn is_why(&self, error: &rusqlite::Error) -> bool {
        let failed = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        is_full(error) || (failed && has_none(&self.store))
    }

    /// A transaction was committed, or failed: because of that, or not.
    pub(super) fn is(&mut self, connection: &Connection, failed: Option<bool>) {
        let missing = match failed {
            None => false,
            Some(full) => full || self.is_missing(),
        };
        let was = self.missing.swap(missing, Ordering::Relaxed);
        if was && !missing {
            tracing::info!("there is room for the store again");
        }
        if failed == Some(true) && self.emptied.is_none_or(|at| at.elapsed() > EMPTIED_EVERY) {
            self.emptied = Some(Instant::now());
            empty_log(connection);
        }
    }

    /// Writes a page where there was no room for the last one: a transaction that needs
    /// none would else be taken for a sign that there is.
    pub(super) fn tries(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        if !self.is_missing() {
            return Ok(());
        }
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        connection.pragma_update(None, "user_version", version)
    }
}

/// Brings what is in the log into the store, and cuts the log: on a small volume it may
/// be what fills it. Nobody is waited for.
fn empty_log(connection: &Connection) {
    let empty = || {
        connection.busy_timeout(Duration::ZERO)?;
        let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, bool>(0)
        });
        connection.busy_timeout(BUSY_TIMEOUT)?;
        emptied
    };
    match empty() {
        Ok(false) => tracing::info!("the write-ahead log was emptied to make room"),
        Ok(true) => tracing::debug!("the write-ahead log is read, and was not cut"),
        Err(error) => tracing::warn!(%error, "the write-ahead log could not be emptied"),
    }
}

fn has_none(store: &Path) -> bool {
    let found = rustix::fs::statvfs(store);
    found.is_ok_and(|volume| volume.f_bavail.saturating_mul(volume.f_frsize) < LEAST)
}
