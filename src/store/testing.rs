//! Stores for tests: one for the tests of a record room, and what somebody else
//! does to a store.

use super::Durability;
use super::Migration;
use super::Store;
use super::StoreError;
use super::Tx;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Does `work` in a new store that has these tables only.
pub(crate) async fn in_store<T: Send + 'static>(
    tables: &'static [&'static str],
    work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
) -> T {
    let folder = tempfile::tempdir().unwrap();
    let migrations = [Migration {
        number: 1,
        sql: tables,
    }];
    let store = Store::open(&folder.path().join("store.db"), &migrations).unwrap();
    let done = store.write("test", Durability::Process, work).await;
    done.unwrap().into_inner()
}

/// Runs SQL on the store's file through a connection of its own.
pub(crate) fn tamper(store: &Store, sql: &str) {
    let other = Connection::open(store.path()).unwrap();
    other.busy_timeout(super::BUSY_TIMEOUT).unwrap();
    other.execute_batch(sql).unwrap();
}

/// The one number that a query on the store's file comes to.
pub(crate) fn number(store: &Store, sql: &str) -> i64 {
    let other = Connection::open(store.path()).unwrap();
    other.busy_timeout(super::BUSY_TIMEOUT).unwrap();
    other.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// How long a store is held at most, so that a test that waits for itself fails and
/// does not hang.
const HELD_AT_MOST: Duration = Duration::from_secs(60);

/// A store that nobody can read while this is held.
pub(crate) struct Held {
    release: mpsc::Sender<()>,
    holds: JoinHandle<bool>,
}

impl Held {
    /// Holds what every reader needs first.
    pub(crate) fn readers(store: &Arc<Store>) -> Self {
        let (held, holding) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let holds = Arc::clone(store);
        let holds = std::thread::spawn(move || {
            let _readers = holds.readers.lock().unwrap();
            held.send(()).unwrap();
            released.recv_timeout(HELD_AT_MOST).is_ok()
        });
        holding.recv().unwrap();
        Self { release, holds }
    }

    /// Gives it back. Returns whether it was held until now.
    pub(crate) fn release(self) -> bool {
        let _held_too_long = self.release.send(());
        self.holds.join().unwrap()
    }
}
