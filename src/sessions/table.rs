//! The tables of the sessions.

use super::Session;
use super::Transport;
use crate::principal::PrincipalId;
use crate::session::Handle;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::session::TransportId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

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

/// What version 4 of the store adds.
pub const SCHEMA_4: &str = "
CREATE TABLE transport_session (     -- Mcp-Session-Id of 2025-era clients
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    named TEXT,                      -- handle or id that it was opened for
    session BLOB REFERENCES session (id),
    revision TEXT NOT NULL,
    created INTEGER NOT NULL,        -- ms since 1970 UTC
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX transport_session_by_use ON transport_session (used);
";

/// What version 5 of the store adds.
pub const SCHEMA_5: &str = "
ALTER TABLE transport_session        -- capabilities that servers may use, JSON
    ADD COLUMN declared TEXT NOT NULL DEFAULT '{}';
";

const COLUMNS: &str = "SELECT id, owner, created, used, frozen,
    (SELECT json_group_array(handle) FROM session_handle WHERE session = session.id) FROM session";

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

pub(super) fn facts(
    tx: &Tx<'_>,
    id: SessionId,
    owner: &PrincipalId,
) -> Result<Option<(SessionFacts, Timestamp)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT frozen IS NOT NULL, labels, used FROM session
                 WHERE id = ?1 AND owner = ?2",
            )?
            .query_row(params![id.as_bytes(), owner.to_string()], |row| {
                Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?))
            })
            .optional()
    };
    let Some((frozen, labels, used)) = read().map_err(StoreError::sql("read a session"))? else {
        return Ok(None);
    };
    let labels = serde_json::from_str(&labels).map_err(|_no_list| damaged("labels", id))?;
    let used = time(used).ok_or_else(|| damaged("time of use", id))?;
    let facts = SessionFacts { id, labels, frozen };
    Ok(Some((facts, used)))
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
            "UPDATE session SET frozen = ?2 WHERE id = ?1",
            params![id.as_bytes(), since.map(Timestamp::as_millisecond)],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("freeze a session"))
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

pub(super) fn transport_insert(
    tx: &Tx<'_>,
    id: &TransportId,
    transport: &Transport,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO transport_session (id, owner, named, revision, declared, created, used)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
            params![
                id.as_str(),
                transport.owner.to_string(),
                transport.named,
                transport.revision,
                transport.declared,
                now.as_millisecond()
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("open a transport session"))
}

pub(super) fn transports_forget(tx: &Tx<'_>, unused_since: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM transport_session WHERE used < ?1",
            [unused_since.as_millisecond()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("forget old transport sessions"))
}

pub(super) fn transport(tx: &Tx<'_>, id: &TransportId) -> Result<Option<Transport>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT owner, named, revision, declared FROM transport_session WHERE id = ?1",
            )?
            .query_row([id.as_str()], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                ))
            })
            .optional()
    };
    let found = read().map_err(StoreError::sql("find a transport session"))?;
    let Some((owner, named, revision, declared)) = found else {
        return Ok(None);
    };
    let owner = PrincipalId::parse(&owner).map_err(|_no_key| StoreError::Damaged {
        what: "the owner of a transport session".to_owned(),
    })?;
    Ok(Some(Transport {
        owner,
        named,
        revision,
        declared,
    }))
}

pub(super) fn transport_used(
    tx: &Tx<'_>,
    id: &TransportId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE transport_session SET used = max(used, ?2) WHERE id = ?1",
            params![id.as_str(), now.as_millisecond()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note that a transport session is in use"))
}

pub(super) fn transport_delete(
    tx: &Tx<'_>,
    id: &TransportId,
    owner: &PrincipalId,
) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM transport_session WHERE id = ?1 AND owner = ?2",
            params![id.as_str(), owner.to_string()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("end a transport session"))
}

pub(super) fn transport_session(
    tx: &Tx<'_>,
    id: &TransportId,
    owner: &PrincipalId,
) -> Result<Option<SessionId>, StoreError> {
    tx.sql()
        .query_row(
            "SELECT session FROM transport_session WHERE id = ?1 AND owner = ?2",
            params![id.as_str(), owner.to_string()],
            |row| row.get::<_, Option<[u8; 16]>>(0),
        )
        .optional()
        .map(|row| row.flatten().map(SessionId::from_bytes))
        .map_err(StoreError::sql("find the session of a transport session"))
}

pub(super) fn transport_points_to(
    tx: &Tx<'_>,
    id: &TransportId,
    session: SessionId,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE transport_session SET session = ?2 WHERE id = ?1",
            params![id.as_str(), session.as_bytes()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("bind a transport session"))
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
    let handles: String = row.get(5).map_err(&sql)?;
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
    })
}

fn time(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}

fn damaged(what: &str, id: SessionId) -> StoreError {
    StoreError::Damaged {
        what: format!("{what} of session {id}"),
    }
}
