//! The table of instances.

use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::ServerName;
use jiff::Timestamp;
use rusqlite::params;

/// What version 13 of the store adds.
pub const SCHEMA_13: &str = "
CREATE TABLE instance (              -- who had an instance of a server
    holder TEXT NOT NULL,            -- session:<id> or principal:<key>
    server TEXT NOT NULL,
    since INTEGER NOT NULL,          -- ms since 1970 UTC
    PRIMARY KEY (holder, server)
) STRICT, WITHOUT ROWID;
";

/// False where it is there already.
pub(super) fn instance_insert(
    tx: &Tx<'_>,
    (server, holder): (&ServerName, &str),
    now: Timestamp,
) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO instance (holder, server, since) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
            params![holder, server.as_str(), now.as_millisecond()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("note the instance of a session"))
}

pub(super) fn instances_delete(tx: &Tx<'_>, holder: &str) -> Result<(), StoreError> {
    tx.sql()
        .execute("DELETE FROM instance WHERE holder = ?1", [holder])
        .map(|_rows| ())
        .map_err(StoreError::sql("forget the instances of a session"))
}
