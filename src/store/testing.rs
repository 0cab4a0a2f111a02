//! A store for the tests of one record room.

use super::Durability;
use super::Migration;
use super::Store;
use super::StoreError;
use super::Tx;

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
