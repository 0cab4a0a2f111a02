//! The table of the transport sessions.

use super::Transport;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::session::TransportId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;

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

pub(super) fn transport_exists(
    tx: &Tx<'_>,
    id: &TransportId,
    owner: &PrincipalId,
) -> Result<bool, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM transport_session WHERE id = ?1 AND owner = ?2)",
            )?
            .query_row(params![id.as_str(), owner.to_string()], |row| row.get(0))
    };
    read().map_err(StoreError::sql("see whether a transport session is there"))
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
