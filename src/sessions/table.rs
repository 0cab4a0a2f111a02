//! The tables of the sessions.

use super::Change;
use super::End;
use super::Pause;
use super::Session;
use super::State;
use super::What;
use super::Why;
use crate::principal::PrincipalId;
use crate::session::Handle;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;
use std::collections::BTreeSet;

/// The tables of this room, as of version 1 of the store.
pub const SCHEMA: &str = "
CREATE TABLE session (
    id BLOB PRIMARY KEY,             -- 16 random bytes
    owner TEXT NOT NULL,             -- key of the principal
    created INTEGER NOT NULL,        -- ms since 1970 UTC
    used INTEGER NOT NULL,           -- ms, to about a minute
    frozen INTEGER,                  -- ms; null where it is not
    labels TEXT NOT NULL DEFAULT '[]' -- JSON array of strings
) STRICT, WITHOUT ROWID;
CREATE INDEX session_by_owner ON session (owner, used);
CREATE TABLE session_handle (
    owner TEXT NOT NULL,
    handle TEXT NOT NULL,
    session BLOB NOT NULL REFERENCES session (id),
    PRIMARY KEY (owner, handle)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_handle_by_session ON session_handle (session);
CREATE TABLE session_default (
    owner TEXT PRIMARY KEY,
    session BLOB NOT NULL REFERENCES session (id)
) STRICT, WITHOUT ROWID;
";

/// What version 7 of the store adds.
pub const SCHEMA_7: &str = "
ALTER TABLE session ADD COLUMN paused INTEGER;    -- ms; null where it does not wait
ALTER TABLE session ADD COLUMN waiting_for TEXT;
ALTER TABLE session ADD COLUMN ended INTEGER;     -- ms; null where it goes on
ALTER TABLE session ADD COLUMN ended_why TEXT;    -- ended, expired
CREATE INDEX session_by_use ON session (used) WHERE ended IS NULL;
CREATE TABLE session_change (        -- what became of it besides its calls
    session BLOB NOT NULL REFERENCES session (id),
    seq INTEGER NOT NULL,            -- from 1 for each session
    at INTEGER NOT NULL,             -- ms since 1970 UTC
    what TEXT NOT NULL,
    by TEXT NOT NULL,                -- principal:<key>, operator, event:<id>, time
    detail TEXT,
    PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE session_label (         -- labels that stick to whoever met them
    principal TEXT NOT NULL,
    label TEXT NOT NULL,
    until INTEGER NOT NULL,          -- ms: sessions that are opened before it have it
    PRIMARY KEY (principal, label)
) STRICT, WITHOUT ROWID;
";

/// What version 27 of the store adds, and the index that nothing is looked up by: each
/// use of a session changed two pages of it.
pub const SCHEMA_27: &str = "
DROP INDEX session_by_owner;
ALTER TABLE session_label ADD COLUMN removals INTEGER NOT NULL DEFAULT 0; -- how many there had been when it was met last
CREATE TABLE session_unlabelled (    -- labels that an operator took off
    session BLOB NOT NULL REFERENCES session (id),
    label TEXT NOT NULL,
    number INTEGER NOT NULL UNIQUE,  -- of the removal, from 1 over all sessions
    PRIMARY KEY (session, label)
) STRICT, WITHOUT ROWID;
";

const COLUMNS: &str = "SELECT id, owner, created, used, frozen, paused, waiting_for,
    ended, ended_why, (SELECT json_group_array(handle) FROM session_handle WHERE session = session.id), labels FROM session";

pub(super) fn session_insert(
    tx: &Tx<'_>,
    id: SessionId,
    owner: &PrincipalId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO session (id, owner, created, used) VALUES (?1, ?2, ?3, ?3)",
            params![id.as_bytes(), owner.to_string(), now.as_millisecond()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("open a session"))
}

pub(super) fn handle_insert(
    tx: &Tx<'_>,
    id: SessionId,
    owner: &PrincipalId,
    handle: &Handle,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO session_handle (owner, handle, session) VALUES (?1, ?2, ?3)",
            params![owner.to_string(), handle.as_str(), id.as_bytes()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("name a session"))
}

pub(super) fn session_by_handle(
    tx: &Tx<'_>,
    owner: &PrincipalId,
    handle: &Handle,
) -> Result<Option<SessionId>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT session FROM session_handle WHERE owner = ?1 AND handle = ?2")?
            .query_row(params![owner.to_string(), handle.as_str()], |row| {
                row.get(0).map(SessionId::from_bytes)
            })
            .optional()
    };
    read().map_err(StoreError::sql("find a session"))
}

pub(super) fn session(tx: &Tx<'_>, id: SessionId) -> Result<Option<Session>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?
            .query_row([id.as_bytes()], |row| Ok(read_session(row)))
            .optional()
    };
    read()
        .map_err(StoreError::sql("read a session"))?
        .transpose()
}

pub(super) fn sessions(
    tx: &Tx<'_>,
    owner: Option<&PrincipalId>,
) -> Result<Vec<Session>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(&format!(
                "{COLUMNS} WHERE ?1 IS NULL OR owner = ?1 ORDER BY used DESC, id"
            ))?
            .query_map([owner.map(ToString::to_string)], |row| {
                Ok(read_session(row))
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    read()
        .map_err(StoreError::sql("list the sessions"))?
        .into_iter()
        .collect()
}

pub(super) fn state(tx: &Tx<'_>, id: SessionId) -> Result<Option<State>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT owner, frozen IS NOT NULL, labels, used, paused IS NOT NULL, ended, ended_why
                 FROM session WHERE id = ?1",
            )?
            .query_row([id.as_bytes()], |row| Ok(read_state(id, row)))
            .optional()
    };
    read()
        .map_err(StoreError::sql("read a session"))?
        .transpose()
}

fn read_state(id: SessionId, row: &Row<'_>) -> Result<State, StoreError> {
    let sql = StoreError::sql("read a session");
    let owner: String = row.get(0).map_err(&sql)?;
    let used = time(row.get(3).map_err(&sql)?).ok_or_else(|| damaged("time of use", id))?;
    let facts = SessionFacts {
        id,
        owner: PrincipalId::parse(&owner).map_err(|_no_key| damaged("owner", id))?,
        labels: labels(id, row.get(2))?,
        frozen: row.get(1).map_err(&sql)?,
        paused: row.get(4).map_err(&sql)?,
    };
    let ended = ended(id, row.get(5), row.get(6))?;
    Ok(State { facts, used, ended })
}

/// The end of a session as its two columns say it.
fn ended(
    id: SessionId,
    at: rusqlite::Result<Option<i64>>,
    why: rusqlite::Result<Option<String>>,
) -> Result<Option<End>, StoreError> {
    let sql = StoreError::sql("read a session");
    let (at, why) = (at.map_err(&sql)?, why.map_err(&sql)?);
    let Some(at) = at else { return Ok(None) };
    let at = time(at).ok_or_else(|| damaged("time", id))?;
    let why = match why.as_deref() {
        Some("ended") => Why::Ended,
        Some("expired") => Why::Expired,
        Some(_) | None => return Err(damaged("end", id)),
    };
    Ok(Some(End { at, why }))
}

pub(super) fn session_used(tx: &Tx<'_>, id: SessionId, now: Timestamp) -> Result<(), StoreError> {
    let write = || {
        tx.sql()
            .prepare_cached("UPDATE session SET used = max(used, ?2) WHERE id = ?1")?
            .execute(params![id.as_bytes(), now.as_millisecond()])
    };
    write()
        .map(|_one_row| ())
        .map_err(StoreError::sql("note that a session is in use"))
}

pub(super) fn session_freeze(
    tx: &Tx<'_>,
    id: SessionId,
    since: Option<Timestamp>,
) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "UPDATE session SET frozen = ?2
             WHERE id = ?1 AND (frozen IS NULL) = (?2 IS NOT NULL)",
            params![id.as_bytes(), since.map(Timestamp::as_millisecond)],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("freeze a session"))
}

pub(super) fn session_pause(
    tx: &Tx<'_>,
    id: SessionId,
    waiting_for: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "UPDATE session SET paused = coalesce(paused, ?3),
                 waiting_for = coalesce(?2, waiting_for)
             WHERE id = ?1 AND ended IS NULL",
            params![id.as_bytes(), waiting_for, now.as_millisecond()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("pause a session"))
}

pub(super) fn session_resume(tx: &Tx<'_>, id: SessionId) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "UPDATE session SET paused = NULL, waiting_for = NULL
             WHERE id = ?1 AND paused IS NOT NULL AND ended IS NULL",
            [id.as_bytes()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("resume a session"))
}

pub(super) fn session_end(tx: &Tx<'_>, id: SessionId, end: End) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "UPDATE session SET ended = ?2, ended_why = ?3, paused = NULL, waiting_for = NULL
             WHERE id = ?1 AND ended IS NULL",
            params![id.as_bytes(), end.at.as_millisecond(), end.why.as_str()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("end a session"))
}

pub(super) fn sessions_unused(
    tx: &Tx<'_>,
    since: Timestamp,
    most: u32,
) -> Result<Vec<SessionId>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT id FROM session WHERE ended IS NULL AND used < ?1 ORDER BY used LIMIT ?2",
            )?
            .query_map(params![since.as_millisecond(), most], |row| {
                row.get(0).map(SessionId::from_bytes)
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("look for unused sessions"))
}

pub(super) fn change_insert(
    tx: &Tx<'_>,
    session: SessionId,
    (what, detail): (What, Option<&str>),
    by: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let write = || {
        tx.sql()
            .prepare_cached(
                "INSERT INTO session_change (session, seq, at, what, by, detail)
                 VALUES (?1, (SELECT 1 + coalesce(max(seq), 0) FROM session_change
                     WHERE session = ?1), ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                session.as_bytes(),
                now.as_millisecond(),
                what.as_str(),
                by,
                detail
            ])
    };
    write()
        .map(|_one_row| ())
        .map_err(StoreError::sql("note what became of a session"))
}

pub(super) fn changes(
    tx: &Tx<'_>,
    session: SessionId,
    newest: u32,
) -> Result<Vec<Change>, StoreError> {
    type Columns = (i64, String, String, Option<String>);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT at, what, by, detail FROM session_change
                 WHERE session = ?1 ORDER BY seq DESC LIMIT ?2",
            )?
            .query_map(params![session.as_bytes(), newest], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?
            .collect::<Result<Vec<Columns>, _>>()
    };
    let rows = read().map_err(StoreError::sql("read the history of a session"))?;
    let changes = rows.into_iter().rev().map(|(at, what, by, detail)| {
        Ok(Change {
            at: time(at).ok_or_else(|| damaged("history", session))?,
            what: What::read(&what).ok_or_else(|| damaged("history", session))?,
            by,
            detail,
        })
    });
    changes.collect()
}

pub(super) fn changes_of(tx: &Tx<'_>, session: SessionId, what: What) -> Result<u32, StoreError> {
    tx.sql()
        .query_row(
            "SELECT count(*) FROM session_change WHERE session = ?1 AND what = ?2",
            params![session.as_bytes(), what.as_str()],
            |row| row.get(0),
        )
        .map_err(StoreError::sql("read the history of a session"))
}

pub(super) fn change_last(
    tx: &Tx<'_>,
    session: SessionId,
    what: What,
) -> Result<Option<Timestamp>, StoreError> {
    let at: Option<i64> = tx
        .sql()
        .query_row(
            "SELECT max(at) FROM session_change WHERE session = ?1 AND what = ?2",
            params![session.as_bytes(), what.as_str()],
            |row| row.get(0),
        )
        .map_err(StoreError::sql("read the history of a session"))?;
    Ok(at.and_then(|at| Timestamp::from_millisecond(at).ok()))
}

pub(super) fn default_session(
    tx: &Tx<'_>,
    owner: &PrincipalId,
) -> Result<Option<SessionId>, StoreError> {
    tx.sql()
        .query_row(
            "SELECT session FROM session_default WHERE owner = ?1",
            [owner.to_string()],
            |row| row.get(0).map(SessionId::from_bytes),
        )
        .optional()
        .map_err(StoreError::sql("find a default session"))
}

pub(super) fn default_set(
    tx: &Tx<'_>,
    owner: &PrincipalId,
    id: SessionId,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR REPLACE INTO session_default (owner, session) VALUES (?1, ?2)",
            params![owner.to_string(), id.as_bytes()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("set a default session"))
}

fn read_session(row: &Row<'_>) -> Result<Session, StoreError> {
    let sql = StoreError::sql("read a session");
    let id = SessionId::from_bytes(row.get(0).map_err(&sql)?);
    let moment = |column: usize| -> Result<Option<Timestamp>, StoreError> {
        let ms: Option<i64> = row.get(column).map_err(&sql)?;
        ms.map(|ms| time(ms).ok_or_else(|| damaged("time", id)))
            .transpose()
    };
    let owner: String = row.get(1).map_err(&sql)?;
    let handles: String = row.get(9).map_err(&sql)?;
    let mut handles: Vec<String> =
        serde_json::from_str(&handles).map_err(|_no_list| damaged("handles", id))?;
    handles.sort_unstable();
    Ok(Session {
        id,
        owner: PrincipalId::parse(&owner).map_err(|_no_key| damaged("owner", id))?,
        handles,
        created: moment(2)?.ok_or_else(|| damaged("time", id))?,
        used: moment(3)?.ok_or_else(|| damaged("time", id))?,
        frozen: moment(4)?,
        paused: moment(5)?
            .map(|since| {
                let waiting_for = row.get(6).map_err(&sql)?;
                Ok(Pause { since, waiting_for })
            })
            .transpose()?,
        ended: ended(id, row.get(7), row.get(8))?,
        labels: labels(id, row.get(10))?,
    })
}

/// The labels of a session as their column has them.
pub(super) fn labels(
    id: SessionId,
    column: rusqlite::Result<String>,
) -> Result<BTreeSet<String>, StoreError> {
    let text = column.map_err(StoreError::sql("read a session"))?;
    serde_json::from_str(&text).map_err(|_no_list| damaged("labels", id))
}

pub(super) fn time(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}

fn damaged(what: &str, id: SessionId) -> StoreError {
    StoreError::Damaged {
        what: format!("{what} of session {id}"),
    }
}
