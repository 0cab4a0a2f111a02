//! The table of who is on which replica.

use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::ServerName;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;

/// What version 11 of the store adds.
pub const SCHEMA_11: &str = "
CREATE TABLE placement (             -- who is on which replica of a server
    holder TEXT NOT NULL,            -- session:<id> or principal:<key>
    server TEXT NOT NULL,
    replica TEXT NOT NULL,           -- its URL as the configuration spells it
    since INTEGER NOT NULL,          -- ms since 1970 UTC
    PRIMARY KEY (holder, server)
) STRICT, WITHOUT ROWID;
";

pub(super) fn placement(
    tx: &Tx<'_>,
    server: &ServerName,
    holder: &str,
) -> Result<Option<String>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT replica FROM placement WHERE holder = ?1 AND server = ?2")?
            .query_row(params![holder, server.as_str()], |row| row.get(0))
            .optional()
    };
    read().map_err(StoreError::sql("find the replica of a session"))
}

pub(super) fn placement_since(
    tx: &Tx<'_>,
    server: &ServerName,
    holder: &str,
) -> Result<Option<Timestamp>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT since FROM placement WHERE holder = ?1 AND server = ?2")?
            .query_row(params![holder, server.as_str()], |row| row.get(0))
            .optional()
    };
    let since: Option<i64> =
        read().map_err(StoreError::sql("see since when a session is on a replica"))?;
    Ok(since.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
}

/// Where there is a placement already, it stays.
pub(super) fn placement_insert(
    tx: &Tx<'_>,
    (server, holder): (&ServerName, &str),
    to: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let write = || {
        tx.sql()
            .prepare_cached(
                "INSERT INTO placement (holder, server, replica, since) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![holder, server.as_str(), to, now.as_millisecond()])
    };
    write()
        .map(|_row_or_none| ())
        .map_err(StoreError::sql("place a session on a replica"))
}

/// False where the holder is not where the move begins.
pub(super) fn placement_move(
    tx: &Tx<'_>,
    (server, holder): (&ServerName, &str),
    (from, to): (&str, &str),
    now: Timestamp,
) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "UPDATE placement SET replica = ?4, since = max(?5, since + 1)
             WHERE holder = ?1 AND server = ?2 AND replica = ?3",
            params![holder, server.as_str(), from, to, now.as_millisecond()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("move a session to another replica"))
}

pub(super) fn placements_delete(tx: &Tx<'_>, holder: &str) -> Result<(), StoreError> {
    tx.sql()
        .execute("DELETE FROM placement WHERE holder = ?1", [holder])
        .map(|_rows| ())
        .map_err(StoreError::sql("forget the replicas of a session"))
}
