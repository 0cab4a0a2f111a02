//! Whether anything was committed since: what lets a process remember what it
//! read, and still see what any other process changes at once.

use super::Store;
use super::StoreError;
use super::connect;
use rusqlite::Connection;
use rusqlite::OpenFlags;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// For how long a version counts for whoever had come when it was asked for.
pub const FRESH: Duration = Duration::from_millis(5);

/// One state of the store, as far as this process tells states apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(i64);

/// What tells whether others committed.
#[derive(Debug, Default)]
pub(super) struct Watch {
    connection: Option<Connection>,
    /// What was answered last, and when that was asked.
    last: Option<(Instant, Version)>,
}

impl Watch {
    fn ask(&mut self, path: &Path) -> Result<Version, StoreError> {
        let asked = Instant::now();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            // INVARIANT: the same connection each time, which commits nothing:
            // only then do equal numbers mean that nothing changed (SQLite
            // documentation, `PRAGMA data_version`).
            none => none.insert(connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?),
        };
        let version = || {
            connection
                .prepare_cached("PRAGMA data_version")?
                .query_row([], |row| row.get(0))
        };
        let version = version()
            .map(Version)
            .map_err(StoreError::sql("see whether it changed"))?;
        self.last = Some((asked, version));
        Ok(version)
    }
}

impl Store {
    /// The state that the store is in. It is another one after each commit, by
    /// whichever connection and process. What is read after this call is of this
    /// state or a later one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn version(&self) -> Result<Version, StoreError> {
        self.version_after(Instant::now())
    }

    /// A state that the store was in after something came, which is at most
    /// [`FRESH`] old. SQLite is asked once for all that had come by then.
    ///
    /// # Errors
    ///
    /// As for [`Store::version`].
    pub fn version_since(&self, came: Instant) -> Result<Version, StoreError> {
        let lately = Instant::now().checked_sub(FRESH);
        self.version_after(lately.map_or(came, |lately| lately.max(came)))
    }

    /// A state that the store was in at most [`FRESH`] ago.
    ///
    /// # Errors
    ///
    /// As for [`Store::version`].
    pub fn version_lately(&self) -> Result<Version, StoreError> {
        let now = Instant::now();
        self.version_after(now.checked_sub(FRESH).unwrap_or(now))
    }

    fn version_after(&self, after: Instant) -> Result<Version, StoreError> {
        // What it holds is whole whatever happened under the lock.
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        match watch.last {
            Some((asked, version)) if asked > after => Ok(version),
            _ => watch.ask(&self.path),
        }
    }
}
