//! Numbered migrations. A store knows its version (`PRAGMA user_version`) and
//! that it is ours (`PRAGMA application_id`).

use super::StoreError;
use super::spool;
use rusqlite::Connection;
use rusqlite::TransactionBehavior;
use std::path::Path;

/// "CSGN": marks the file as a store of ours (`file` and SQLite tools show it).
const APPLICATION_ID: u32 = 0x4353_474e;

/// One step from the version before it to `number`.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The version after this step; steps count from 1 without gaps.
    pub number: u32,
    /// The SQL of each record room, in the order of the rooms.
    pub sql: &'static [&'static str],
}

/// The store's own table: who writes.
const WRITER_TABLE: &str = "
CREATE TABLE writer (
    id INTEGER PRIMARY KEY,          -- in the order of their starts
    lock TEXT NOT NULL UNIQUE,       -- name of the lock file while it lives
    boot TEXT NOT NULL,              -- boot of the machine, for people
    pid INTEGER NOT NULL,            -- for people
    started INTEGER NOT NULL,        -- ms since 1970 UTC
    ended INTEGER                    -- ms; set by itself or by recovery
) STRICT;
";

/// The version of a store of ours, which is not changed.
pub(super) fn version_of(
    connection: &Connection,
    path: &Path,
    migrations: &[Migration],
) -> Result<u32, StoreError> {
    let pragma = |name: &str| -> Result<u32, StoreError> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(StoreError::sql("read its version"))
    };
    if pragma("application_id")? != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    let found = pragma("user_version")?;
    let known = migrations.iter().map(|step| step.number).max().unwrap_or(0);
    match found > known {
        true => Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        }),
        false => Ok(found),
    }
}

/// A store in memory with what one of this version has.
pub(super) fn pattern(version: u32, migrations: &[Migration]) -> rusqlite::Result<Connection> {
    let pattern = Connection::open_in_memory()?;
    pattern.execute_batch(WRITER_TABLE)?;
    for step in migrations.iter().filter(|step| step.number <= version) {
        for sql in step.sql {
            pattern.execute_batch(sql)?;
        }
    }
    Ok(pattern)
}

pub(super) fn run(
    connection: &mut Connection,
    path: &Path,
    migrations: &[Migration],
) -> Result<(), StoreError> {
    let doing = StoreError::sql("bring its tables up to date");
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(&doing)?;
    let pragma = |name: &str| -> Result<u32, StoreError> {
        tx.pragma_query_value(None, name, |row| row.get(0))
            .map_err(&doing)
    };
    let tables: u32 = tx
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(&doing)?;
    let found = pragma("user_version")?;
    if tables == 0 {
        tx.execute_batch(WRITER_TABLE).map_err(&doing)?;
        tx.execute_batch(spool::SCHEMA_6).map_err(&doing)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(&doing)?;
    } else if pragma("application_id")? != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    let known = migrations.iter().map(|step| step.number).max().unwrap_or(0);
    if found > known {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for step in migrations.iter().filter(|step| step.number > found) {
        for sql in step.sql {
            tx.execute_batch(sql).map_err(&doing)?;
        }
        tx.pragma_update(None, "user_version", step.number)
            .map_err(&doing)?;
    }
    tx.commit().map_err(&doing)
}
