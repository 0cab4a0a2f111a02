//! The table of the questions to the people in front of clients.

use super::About;
use super::Shown;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::Timestamp;
use rusqlite::OptionalExtension as _;
use rusqlite::params;
use serde_json::json;

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

/// What version 25 of the store adds: what a yes is to. One that was asked before was
/// asked of nothing that is known.
pub const SCHEMA_25: &str = "
ALTER TABLE confirmation ADD COLUMN policies TEXT NOT NULL DEFAULT '[]'; -- JSON array of strings
ALTER TABLE confirmation ADD COLUMN asks TEXT NOT NULL DEFAULT '[]';     -- likewise
";

pub(super) fn insert(
    tx: &Tx<'_>,
    (call, state): (CallId, &str),
    (about, shown): (About<'_>, &Shown),
    expires: Timestamp,
) -> Result<(), StoreError> {
    let About {
        subject,
        definition,
    } = about;
    tx.sql()
        .execute(
            "INSERT INTO confirmation (call, state, session, principal, tool, arguments,
                 definition, expires, policies, asks)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                call.as_bytes(),
                state,
                subject.session.as_bytes(),
                subject.principal.to_string(),
                subject.tool,
                subject.arguments.as_bytes(),
                definition.as_bytes(),
                expires.as_millisecond(),
                json!(shown.policies).to_string(),
                json!(shown.asks).to_string(),
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("keep a question to the person"))
}

/// What was asked by one that is about this, of this call.
pub(super) fn find(
    tx: &Tx<'_>,
    (call, state): (CallId, &str),
    about: About<'_>,
) -> Result<Option<Shown>, StoreError> {
    let About {
        subject,
        definition,
    } = about;
    let found: Option<(String, String)> = tx
        .sql()
        .query_row(
            "SELECT policies, asks FROM confirmation
             WHERE call = ?1 AND state = ?2 AND session = ?3 AND principal = ?4 AND tool = ?5
               AND arguments = ?6 AND definition = ?7",
            params![
                call.as_bytes(),
                state,
                subject.session.as_bytes(),
                subject.principal.to_string(),
                subject.tool,
                subject.arguments.as_bytes(),
                definition.as_bytes(),
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(StoreError::sql("look for a question to the person"))?;
    found.map(|found| shown(call, &found)).transpose()
}

/// What was asked by this call, whatever it is about.
pub(super) fn of(tx: &Tx<'_>, (call, state): (CallId, &str)) -> Result<Option<Shown>, StoreError> {
    let found: Option<(String, String)> = tx
        .sql()
        .query_row(
            "SELECT policies, asks FROM confirmation WHERE call = ?1 AND state = ?2",
            params![call.as_bytes(), state],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(StoreError::sql("look for what a call was confirmed for"))?;
    found.map(|found| shown(call, &found)).transpose()
}

fn shown(call: CallId, (policies, asks): &(String, String)) -> Result<Shown, StoreError> {
    let texts = |json: &str| {
        serde_json::from_str(json).map_err(|_unread| StoreError::Damaged {
            what: format!("what the call {call} asked the person"),
        })
    };
    Ok(Shown {
        policies: texts(policies)?,
        asks: texts(asks)?,
    })
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
