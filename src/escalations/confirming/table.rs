//! The table of the questions to the people in front of clients.

use super::About;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::Timestamp;
use rusqlite::params;

/// What version 23 of the store adds.
pub const SCHEMA_23: &str = "
CREATE TABLE confirmation (
    call BLOB PRIMARY KEY,           -- that asked; after the yes the one that has it
    state TEXT NOT NULL,             -- open, had
    session BLOB NOT NULL,
    principal TEXT NOT NULL,
    tool TEXT NOT NULL,              -- server/tool
    arguments BLOB NOT NULL,         -- digest of the canonical form
    definition BLOB NOT NULL,        -- digest of the tool's definition
    expires INTEGER NOT NULL         -- ms since 1970 UTC
) STRICT, WITHOUT ROWID;
CREATE INDEX confirmation_by_age ON confirmation (expires);
";

/// One that is about this, of this call, and not too old.
const FITS: &str = "call = ?1 AND state = ?2 AND session = ?3 AND principal = ?4 AND tool = ?5
    AND arguments = ?6 AND definition = ?7 AND expires > ?8";

pub(super) fn insert(
    tx: &Tx<'_>,
    (call, state): (CallId, &str),
    about: About<'_>,
    expires: Timestamp,
) -> Result<(), StoreError> {
    let About {
        subject,
        definition,
    } = about;
    tx.sql()
        .execute(
            "INSERT INTO confirmation (call, state, session, principal, tool, arguments,
                 definition, expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                call.as_bytes(),
                state,
                subject.session.as_bytes(),
                subject.principal.to_string(),
                subject.tool,
                subject.arguments.as_bytes(),
                definition.as_bytes(),
                expires.as_millisecond(),
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("keep a question to the person"))
}

pub(super) fn is_there(
    tx: &Tx<'_>,
    (call, state): (CallId, &str),
    about: About<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let About {
        subject,
        definition,
    } = about;
    tx.sql()
        .query_row(
            &format!("SELECT EXISTS (SELECT 1 FROM confirmation WHERE {FITS})"),
            params![
                call.as_bytes(),
                state,
                subject.session.as_bytes(),
                subject.principal.to_string(),
                subject.tool,
                subject.arguments.as_bytes(),
                definition.as_bytes(),
                now.as_millisecond(),
            ],
            |row| row.get(0),
        )
        .map_err(StoreError::sql("look for a question to the person"))
}

pub(super) fn delete(tx: &Tx<'_>, call: CallId) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM confirmation WHERE call = ?1",
            [call.as_bytes()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("end a question to the person"))
}

pub(super) fn delete_before(tx: &Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM confirmation WHERE expires <= ?1",
            [now.as_millisecond()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("forget old questions to the person"))
}
