//! What somebody else does to a store, for the tests of later rooms.

use super::Store;
use rusqlite::Connection;

/// Runs SQL on the store's file through a connection of its own.
pub(crate) fn tamper(store: &Store, sql: &str) {
    let other = Connection::open(store.path()).unwrap();
    other.busy_timeout(super::BUSY_TIMEOUT).unwrap();
    other.execute_batch(sql).unwrap();
}
