//! The table of the calls whose answers nobody read.

use super::MOST_UNREAD;
use crate::journal::Subject;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;

/// The table as of version 14 of the store, and what was noted among the calls that
/// ended unknown before.
pub const SCHEMA: &str = "
CREATE TABLE unread_call (           -- ended, and nobody may have read its answer
    session BLOB NOT NULL,
    tool TEXT NOT NULL,
    arguments BLOB NOT NULL,         -- digest
    call BLOB NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    at INTEGER NOT NULL,             -- ms since 1970 UTC: when it was over
    given INTEGER,                   -- the writer that gives the answer now
    PRIMARY KEY (session, tool, arguments, call)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO unread_call (session, tool, arguments, call, principal, at)
    SELECT noted.session, noted.tool, noted.arguments, noted.call, first.principal, last.at
    FROM unsettled AS noted
    JOIN journal AS first ON first.call = noted.call AND first.kind = 'open'
    JOIN journal AS last ON last.call = noted.call AND last.kind = 'close'
    WHERE last.outcome IN ('completed', 'tool-failed');
DELETE FROM unsettled WHERE call IN (SELECT call FROM unread_call);
";

pub(super) fn insert(tx: &Tx<'_>, subject: &Subject, now: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR IGNORE INTO unread_call (session, tool, arguments, call, principal, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                subject.session.as_bytes(),
                subject.tool,
                subject.arguments.as_bytes(),
                subject.call.as_bytes(),
                subject.principal.to_string(),
                now.as_millisecond(),
            ],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("note an answer that nobody read"))
}

/// Takes away all but the newest of this caller in the session.
pub(super) fn trim(tx: &Tx<'_>, subject: &Subject, most: u32) -> Result<Vec<CallId>, StoreError> {
    let trim = || {
        tx.sql()
            .prepare_cached(
                "DELETE FROM unread_call WHERE call IN (
                     SELECT call FROM unread_call WHERE session = ?1 AND principal = ?2
                     ORDER BY call DESC LIMIT -1 OFFSET ?3)
                 RETURNING call",
            )?
            .query_map(
                params![
                    subject.session.as_bytes(),
                    subject.principal.to_string(),
                    most
                ],
                |row| row.get(0).map(CallId::from_bytes),
            )?
            .collect::<Result<Vec<_>, _>>()
    };
    trim().map_err(StoreError::sql("forget answers that nobody read"))
}

/// To whom an answer is given now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    ToNobody,
    ToSomebody,
}

/// The oldest call that is the same, was over since then, and is given so now.
pub(super) fn oldest(
    tx: &Tx<'_>,
    subject: &Subject,
    given: Given,
    since: Timestamp,
) -> Result<Option<CallId>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT call FROM unread_call
                 WHERE session = ?1 AND tool = ?2 AND arguments = ?3 AND principal = ?4
                     AND (given IS NOT NULL) = ?6 AND at >= ?5
                 ORDER BY call LIMIT 1",
            )?
            .query_row(
                params![
                    subject.session.as_bytes(),
                    subject.tool,
                    subject.arguments.as_bytes(),
                    subject.principal.to_string(),
                    since.as_millisecond(),
                    given == Given::ToSomebody,
                ],
                |row| row.get(0).map(CallId::from_bytes),
            )
            .optional()
    };
    read().map_err(StoreError::sql("look for an answer that nobody read"))
}

/// Whether somebody is given the answer of this call now.
pub(super) fn is_given(tx: &Tx<'_>, call: CallId) -> Result<bool, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT count(*) FROM unread_call WHERE call = ?1 AND given IS NOT NULL",
            )?
            .query_row([call.as_bytes()], |row| row.get(0))
    };
    let count: i64 = read().map_err(StoreError::sql("look who gives an answer"))?;
    Ok(count > 0)
}

pub(super) fn give(tx: &Tx<'_>, call: CallId, writer: Option<WriterId>) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE unread_call SET given = ?2 WHERE call = ?1",
            params![call.as_bytes(), writer.map(WriterId::number)],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("note who gives an answer"))
}

pub(super) fn take_back(tx: &Tx<'_>, dead: WriterId) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE unread_call SET given = NULL WHERE given = ?1",
            [dead.number()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("take back what a dead writer gave"))
}

pub(super) fn delete(tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
    tx.sql()
        .execute("DELETE FROM unread_call WHERE call = ?1", [call.as_bytes()])
        .map(|_rows| ())
        .map_err(StoreError::sql("note that an answer was read"))
}

pub(super) fn forget(tx: &Tx<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM unread_call WHERE at < ?1",
            [before.as_millisecond()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("forget answers that nobody read"))
}

pub(super) fn of(tx: &Tx<'_>, session: SessionId) -> Result<Vec<(String, Digest)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT DISTINCT tool, arguments FROM unread_call WHERE session = ?1")?
            .query_map([session.as_bytes()], |row| {
                Ok((row.get(0)?, Digest::from_bytes(row.get(1)?)))
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("list the answers that nobody read"))
}

/// The calls that a writer closed within so many milliseconds before its last record,
/// the newest of each caller in each session. Whether they changed anything is known to whoever is
/// asked to make one again.
pub(super) fn last_closed_insert(
    tx: &Tx<'_>,
    (dead, within): (WriterId, i128),
    since: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR IGNORE INTO unread_call (session, tool, arguments, call, principal, at)
             SELECT session, tool, digest, call, principal, at FROM (
                 SELECT first.session, first.tool, first.digest, first.call, first.principal,
                     last.at, row_number() OVER (
                         PARTITION BY first.session, first.principal
                         ORDER BY first.call DESC) AS place
                 FROM journal AS last
                 JOIN journal AS first ON first.call = last.call AND first.kind = 'open'
                 WHERE last.writer = ?1 AND last.kind = 'close'
                     AND last.outcome IN ('completed', 'tool-failed')
                     AND last.seq > (SELECT max(seq) FROM journal WHERE writer = ?1) - 10000
                     AND last.at >= ?3
                     AND last.at >= (SELECT at FROM journal WHERE writer = ?1
                         ORDER BY seq DESC LIMIT 1) - ?2)
             WHERE place <= ?4",
            params![
                dead.number(),
                i64::try_from(within).unwrap_or(0),
                since.as_millisecond(),
                MOST_UNREAD,
            ],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("note what a dead writer closed last"))
}
