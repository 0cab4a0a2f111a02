//! Whether anything was committed since: what lets a process remember what it
//! read, and still see what any other process changes at once.

use super::Store;
use super::StoreError;
use super::connect;
use rusqlite::OpenFlags;
use std::sync::PoisonError;

/// One state of the store, as far as this process tells states apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(i64);

impl Store {
    /// The state that the store is in. It is another one after each commit, by
    /// whichever connection and process. What is read after this call is of this
    /// state or a later one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn version(&self) -> Result<Version, StoreError> {
        // The connection is whole whatever happened under the lock.
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match &mut *watch {
            Some(connection) => connection,
            // INVARIANT: the same connection each time, which commits nothing:
            // only then do equal numbers mean that nothing changed (SQLite
            // documentation, `PRAGMA data_version`).
            none => none.insert(connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?),
        };
        let version = || {
            connection
                .prepare_cached("PRAGMA data_version")?
                .query_row([], |row| row.get(0))
        };
        version()
            .map(Version)
            .map_err(StoreError::sql("see whether it changed"))
    }
}
