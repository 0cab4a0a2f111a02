//! The table of the events.

use super::Event;
use crate::session::SessionId;
use crate::sessions::By;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

/// The tables of this room, as of version 7 of the store.
pub const SCHEMA: &str = "
CREATE TABLE event (                 -- only grows
    session BLOB NOT NULL REFERENCES session (id),
    number INTEGER NOT NULL,         -- from 1 for each session
    id TEXT NOT NULL,                -- its sender's name for it
    kind TEXT NOT NULL,
    body TEXT NOT NULL,              -- JSON, as it was sent
    by TEXT NOT NULL,                -- principal:<key>, operator
    at INTEGER NOT NULL,             -- ms since 1970 UTC
    resumed INTEGER NOT NULL,        -- whether a paused session went on with it
    PRIMARY KEY (session, number),
    UNIQUE (session, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE event_delivery (        -- to a webhook; a row for each of its targets
    session BLOB NOT NULL,
    event INTEGER NOT NULL,          -- its number
    target TEXT NOT NULL,            -- as the configuration names it
    due INTEGER,                     -- ms: when it is tried next, or taken from a
                                     -- writer that does not come back; null at its end
    writer INTEGER,                  -- who is trying
    since INTEGER,                   -- ms: when it was first tried
    tries INTEGER NOT NULL DEFAULT 0,
    ended TEXT,                      -- delivered, given-up
    PRIMARY KEY (session, event, target),
    FOREIGN KEY (session, event) REFERENCES event (session, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_delivery_by_due ON event_delivery (target, due) WHERE due IS NOT NULL;
CREATE TABLE event_try (
    session BLOB NOT NULL,
    event INTEGER NOT NULL,
    target TEXT NOT NULL,
    number INTEGER NOT NULL,         -- from 1 for each delivery
    at INTEGER NOT NULL,             -- ms
    status INTEGER,                  -- of HTTP, or of the command's exit
    problem TEXT,                    -- null where it was taken
    PRIMARY KEY (session, event, target, number)
) STRICT, WITHOUT ROWID;
";

/// What version 15 of the store has instead: an id is its sender's own. What refers to
/// the events is made anew with them.
pub const SCHEMA_15: &str = "
CREATE TABLE event_of_sender (       -- only grows
    session BLOB NOT NULL REFERENCES session (id),
    number INTEGER NOT NULL,         -- from 1 for each session
    id TEXT NOT NULL,                -- its sender's name for it
    kind TEXT NOT NULL,
    body TEXT NOT NULL,              -- JSON, as it was sent
    by TEXT NOT NULL,                -- principal:<key>, operator
    at INTEGER NOT NULL,             -- ms since 1970 UTC
    resumed INTEGER NOT NULL,        -- whether a paused session went on with it
    PRIMARY KEY (session, number),
    UNIQUE (session, by, id)
) STRICT, WITHOUT ROWID;
INSERT INTO event_of_sender (session, number, id, kind, body, by, at, resumed)
    SELECT session, number, id, kind, body, by, at, resumed FROM event;
CREATE TABLE delivery_kept AS SELECT * FROM event_delivery;
DROP TABLE event_delivery;
DROP TABLE event;
ALTER TABLE event_of_sender RENAME TO event;
CREATE TABLE event_delivery (        -- to a webhook; a row for each of its targets
    session BLOB NOT NULL,
    event INTEGER NOT NULL,          -- its number
    target TEXT NOT NULL,            -- as the configuration names it
    due INTEGER,                     -- ms: when it is tried next, or taken from a
                                     -- writer that does not come back; null at its end
    writer INTEGER,                  -- who is trying
    since INTEGER,                   -- ms: when it was first tried
    tries INTEGER NOT NULL DEFAULT 0,
    ended TEXT,                      -- delivered, given-up
    PRIMARY KEY (session, event, target),
    FOREIGN KEY (session, event) REFERENCES event (session, number)
) STRICT, WITHOUT ROWID;
INSERT INTO event_delivery (session, event, target, due, writer, since, tries, ended)
    SELECT session, event, target, due, writer, since, tries, ended FROM delivery_kept;
DROP TABLE delivery_kept;
CREATE INDEX event_delivery_by_due ON event_delivery (target, due) WHERE due IS NOT NULL;
";

/// The columns of an event, as `read` wants them.
const COLUMNS: &str = "number, id, kind, body, by, at, resumed";

pub(super) fn insert(tx: &Tx<'_>, session: SessionId, event: &Event) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO event (session, number, id, kind, body, by, at, resumed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                session.as_bytes(),
                event.number,
                event.id,
                event.kind,
                event.body,
                event.by,
                event.at.as_millisecond(),
                event.resumed
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("take an event"))
}

pub(super) fn event(
    tx: &Tx<'_>,
    session: SessionId,
    (by, id): (By<'_>, &str),
) -> Result<Option<Event>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM event WHERE session = ?1 AND by = ?2 AND id = ?3"
            ))?
            .query_row(params![session.as_bytes(), by.to_string(), id], columns)
            .optional()
    };
    let found = read().map_err(StoreError::sql("look for an event"))?;
    found.map(|found| made(found, session)).transpose()
}

pub(super) fn last(tx: &Tx<'_>, session: SessionId) -> Result<u32, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT coalesce(max(number), 0) FROM event WHERE session = ?1")?
            .query_row([session.as_bytes()], |row| row.get(0))
    };
    read().map_err(StoreError::sql("count the events of a session"))
}

pub(super) fn events(
    tx: &Tx<'_>,
    session: SessionId,
    before: u32,
    newest: u32,
) -> Result<Vec<Event>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM event
                 WHERE session = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3"
            ))?
            .query_map(params![session.as_bytes(), before, newest], columns)?
            .collect::<Result<Vec<_>, _>>()
    };
    let rows = read().map_err(StoreError::sql("read the events of a session"))?;
    let events = rows.into_iter().rev().map(|row| made(row, session));
    events.collect()
}

pub(super) fn events_of(
    tx: &Tx<'_>,
    (session, by): (SessionId, String),
    before: u32,
    newest: u32,
) -> Result<Vec<Event>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM event
                 WHERE session = ?1 AND by = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4"
            ))?
            .query_map(params![session.as_bytes(), by, before, newest], columns)?
            .collect::<Result<Vec<_>, _>>()
    };
    let rows = read().map_err(StoreError::sql("read the events of a sender"))?;
    let events = rows.into_iter().rev().map(|row| made(row, session));
    events.collect()
}

/// An event with the time as it is stored.
type Columns = (u32, String, String, String, String, i64, bool);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
    ))
}

fn made(
    (number, id, kind, body, by, at, resumed): Columns,
    session: SessionId,
) -> Result<Event, StoreError> {
    Ok(Event {
        number,
        id,
        kind,
        body,
        by,
        at: time(at, session)?,
        resumed,
    })
}

pub(super) fn time(ms: i64, session: SessionId) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(ms).map_err(|_no_time| StoreError::Damaged {
        what: format!("a time of an event in session {session}"),
    })
}
