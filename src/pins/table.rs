//! The tables of the pins.

use super::Changed;
use super::Pin;
use super::definition;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::Digest;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;
use std::sync::Arc;

/// The tables of this room, as of version 1 of the store.
pub const SCHEMA: &str = "
CREATE TABLE pinned_server (         -- servers that answered at least once
    server TEXT PRIMARY KEY,
    first_seen INTEGER NOT NULL      -- ms since 1970 UTC
) STRICT, WITHOUT ROWID;
CREATE TABLE pin (
    server TEXT NOT NULL,
    tool TEXT NOT NULL,
    definition TEXT NOT NULL,        -- the entry of tools/list that was let in
    since INTEGER NOT NULL,          -- ms
    changed TEXT,                    -- the entry now, where it differs
    changed_digest BLOB,
    changed_seen INTEGER,            -- ms
    listed INTEGER NOT NULL,         -- 1 while the server lists it
    PRIMARY KEY (server, tool)
) STRICT, WITHOUT ROWID;
";

pub(super) fn server_seen(
    tx: &Tx<'_>,
    server: &ServerName,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR IGNORE INTO pinned_server (server, first_seen) VALUES (?1, ?2)",
            params![server.as_str(), now.as_millisecond()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("note that a server was seen"))
}

pub(super) fn server_known(tx: &Tx<'_>, server: &ServerName) -> Result<bool, StoreError> {
    tx.sql()
        .query_row(
            "SELECT 1 FROM pinned_server WHERE server = ?1",
            [server.as_str()],
            |_row| Ok(()),
        )
        .optional()
        .map(|found| found.is_some())
        .map_err(StoreError::sql("look for a server"))
}

pub(super) fn pins(tx: &Tx<'_>, server: &ServerName) -> Result<Vec<Pin>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT definition, since, changed, changed_digest, changed_seen, listed, tool
                 FROM pin WHERE server = ?1 ORDER BY tool",
            )?
            .query_map([server.as_str()], |row| Ok(read_pin(row, server)))?
            .collect::<Result<Vec<_>, _>>()
    };
    read()
        .map_err(StoreError::sql("read the pins"))?
        .into_iter()
        .collect()
}

fn read_pin(row: &rusqlite::Row<'_>, server: &ServerName) -> Result<Pin, StoreError> {
    let sql = StoreError::sql("read a pin");
    let tool: String = row.get(6).map_err(&sql)?;
    let damaged = || StoreError::Damaged {
        what: format!("the pin of `{server}/{tool}`"),
    };
    let json: String = row.get(0).map_err(&sql)?;
    let time = |ms: i64| Timestamp::from_millisecond(ms).map_err(|_range| damaged());
    let changed: Option<String> = row.get(2).map_err(&sql)?;
    let digest: Option<[u8; 32]> = row.get(3).map_err(&sql)?;
    let seen: Option<i64> = row.get(4).map_err(&sql)?;
    let changed = match (changed, digest, seen) {
        (Some(json), Some(digest), Some(seen)) => Some(Changed {
            json: json.into(),
            digest: Digest::from_bytes(digest),
            seen: time(seen)?,
        }),
        (None, None, None) => None,
        _ => return Err(damaged()),
    };
    Ok(Pin {
        definition: Arc::new(definition(server, &json).map_err(|_unreadable| damaged())?),
        since: time(row.get(1).map_err(&sql)?)?,
        changed,
        listed: row.get(5).map_err(&sql)?,
    })
}

pub(super) fn pin_insert(
    tx: &Tx<'_>,
    definition: &ToolDefinition,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO pin (server, tool, definition, since, listed) VALUES (?1, ?2, ?3, ?4, 1)",
            params![
                definition.id.server.as_str(),
                definition.id.name,
                definition.json,
                now.as_millisecond()
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("pin a tool"))
}

/// The server lists a pinned tool: as it was pinned, or as something else since
/// `changed`.
pub(super) fn pin_seen(
    tx: &Tx<'_>,
    definition: &ToolDefinition,
    changed: Option<Timestamp>,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE pin SET listed = 1, changed = ?3, changed_digest = ?4, changed_seen = ?5
             WHERE server = ?1 AND tool = ?2",
            params![
                definition.id.server.as_str(),
                definition.id.name,
                changed.map(|_| &definition.json),
                changed.map(|_| definition.digest.as_bytes()),
                changed.map(Timestamp::as_millisecond),
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note a changed tool"))
}

pub(super) fn pin_gone(tx: &Tx<'_>, server: &ServerName, tool: &str) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE pin SET listed = 0 WHERE server = ?1 AND tool = ?2",
            params![server.as_str(), tool],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note that a tool is gone"))
}

pub(super) fn pin_replace(
    tx: &Tx<'_>,
    server: &ServerName,
    tool: &str,
    (changed, now): (&Changed, Timestamp),
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE pin SET definition = ?3, since = ?4,
                 changed = NULL, changed_digest = NULL, changed_seen = NULL
             WHERE server = ?1 AND tool = ?2",
            params![server.as_str(), tool, changed.json, now.as_millisecond()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("accept a changed tool"))
}
