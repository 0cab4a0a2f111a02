//! The tables of what is written down in sessions.

use super::Kept;
use super::Key;
use super::MAX_VALUES;
use super::Note;
use super::Pen;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;

/// The tables of this room, as of version 7 of the store.
pub const SCHEMA: &str = "
CREATE TABLE memory_value (
    session BLOB NOT NULL REFERENCES session (id),
    key TEXT NOT NULL,
    value TEXT,                      -- JSON, as it was written; null where deleted
    version INTEGER NOT NULL,        -- counts writes and deletions, from 1; the
                                     -- last 256 that were deleted are remembered
    at INTEGER NOT NULL,             -- ms since 1970 UTC
    by TEXT NOT NULL,                -- key of the principal
    PRIMARY KEY (session, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE memory_note (           -- only grows
    session BLOB NOT NULL REFERENCES session (id),
    number INTEGER NOT NULL,         -- from 1 for each session
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;
";

/// The version of a value, and whether it is there.
pub(super) struct Version {
    last: u32,
    is_there: bool,
}

impl Version {
    /// 0 where there is no value.
    pub(super) fn living(&self) -> u32 {
        if self.is_there { self.last } else { 0 }
    }

    pub(super) fn next(&self) -> u32 {
        self.last + 1
    }
}

pub(super) fn version(tx: &Tx<'_>, session: SessionId, key: &Key) -> Result<Version, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT version, value IS NOT NULL FROM memory_value
                 WHERE session = ?1 AND key = ?2",
            )?
            .query_row(params![session.as_bytes(), key.as_str()], |row| {
                Ok(Version {
                    last: row.get(0)?,
                    is_there: row.get(1)?,
                })
            })
            .optional()
    };
    let found = read().map_err(StoreError::sql("look for a value"))?;
    Ok(found.unwrap_or(Version {
        last: 0,
        is_there: false,
    }))
}

/// How many values there are besides this one, and how large they are.
pub(super) fn used(
    tx: &Tx<'_>,
    session: SessionId,
    besides: &Key,
) -> Result<(u32, u32), StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT count(value), coalesce(sum(octet_length(value)), 0) FROM memory_value
                 WHERE session = ?1 AND key <> ?2",
            )?
            .query_row(params![session.as_bytes(), besides.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
    };
    read().map_err(StoreError::sql("count the values of a session"))
}

pub(super) fn value_put(
    tx: &Tx<'_>,
    session: SessionId,
    (key, json, version): (&Key, &str, u32),
    (by, now): Pen<'_>,
) -> Result<(), StoreError> {
    let write = || {
        tx.sql()
            .prepare_cached(
                "INSERT OR REPLACE INTO memory_value (session, key, value, version, at, by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                session.as_bytes(),
                key.as_str(),
                json,
                version,
                now.as_millisecond(),
                by.to_string()
            ])
    };
    write()
        .map(|_one_row| ())
        .map_err(StoreError::sql("write a value"))
}

pub(super) fn value(
    tx: &Tx<'_>,
    session: SessionId,
    key: &Key,
) -> Result<Option<(String, u32)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT value, version FROM memory_value
                 WHERE session = ?1 AND key = ?2 AND value IS NOT NULL",
            )?
            .query_row(params![session.as_bytes(), key.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
    };
    read().map_err(StoreError::sql("read a value"))
}

pub(super) fn values(tx: &Tx<'_>, session: SessionId) -> Result<Vec<Kept>, StoreError> {
    type Columns = (String, u32, u32, i64, String);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT key, octet_length(value), version, at, by FROM memory_value
                 WHERE session = ?1 AND value IS NOT NULL ORDER BY key",
            )?
            .query_map([session.as_bytes()], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            })?
            .collect::<Result<Vec<Columns>, _>>()
    };
    let rows = read().map_err(StoreError::sql("list the values of a session"))?;
    let entries = rows.into_iter().map(|(key, bytes, version, at, by)| {
        Ok(Kept {
            key,
            bytes,
            version,
            at: time(at, session)?,
            by,
        })
    });
    entries.collect()
}

pub(super) fn value_delete(
    tx: &Tx<'_>,
    session: SessionId,
    key: &Key,
    (by, now): Pen<'_>,
) -> Result<bool, StoreError> {
    let delete = || {
        let rows = tx.sql().execute(
            "UPDATE memory_value SET value = NULL, version = version + 1, at = ?3, by = ?4
             WHERE session = ?1 AND key = ?2 AND value IS NOT NULL",
            params![
                session.as_bytes(),
                key.as_str(),
                now.as_millisecond(),
                by.to_string()
            ],
        )?;
        tx.sql().execute(
            "DELETE FROM memory_value WHERE session = ?1 AND key IN (
                 SELECT key FROM memory_value WHERE session = ?1 AND value IS NULL
                 ORDER BY at DESC, key LIMIT -1 OFFSET ?2)",
            params![session.as_bytes(), MAX_VALUES],
        )?;
        Ok(rows == 1)
    };
    delete().map_err(StoreError::sql("delete a value"))
}

pub(super) fn last_note(tx: &Tx<'_>, session: SessionId) -> Result<u32, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT coalesce(max(number), 0) FROM memory_note WHERE session = ?1")?
            .query_row([session.as_bytes()], |row| row.get(0))
    };
    read().map_err(StoreError::sql("count the notes of a session"))
}

pub(super) fn note_insert(
    tx: &Tx<'_>,
    session: SessionId,
    (number, text): (u32, &str),
    (by, now): Pen<'_>,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO memory_note (session, number, at, by, text) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                session.as_bytes(),
                number,
                now.as_millisecond(),
                by.to_string(),
                text
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("add a note"))
}

pub(super) fn notes(tx: &Tx<'_>, session: SessionId, newest: u32) -> Result<Vec<Note>, StoreError> {
    type Columns = (u32, i64, String, String);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT number, at, by, text FROM memory_note
                 WHERE session = ?1 ORDER BY number DESC LIMIT ?2",
            )?
            .query_map(params![session.as_bytes(), newest], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?
            .collect::<Result<Vec<Columns>, _>>()
    };
    let rows = read().map_err(StoreError::sql("read the notes of a session"))?;
    let notes = rows.into_iter().rev().map(|(number, at, by, text)| {
        Ok(Note {
            number,
            at: time(at, session)?,
            by,
            text,
        })
    });
    notes.collect()
}

fn time(ms: i64, session: SessionId) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(ms).map_err(|_no_time| StoreError::Damaged {
        what: format!("a time in session {session}"),
    })
}
