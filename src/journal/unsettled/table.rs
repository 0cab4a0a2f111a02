//! The table of the calls that ended unknown.

use super::Told;
use crate::journal::Subject;
use crate::outcome::Outcome;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;

/// The table as of version 26 of the store: each call is a row, which is its caller's.
/// Before, one took the place of another that was the same.
pub const SCHEMA_26: &str = "
ALTER TABLE unsettled RENAME TO unsettled_before;
CREATE TABLE unsettled (             -- ended unknown
    session BLOB NOT NULL,
    tool TEXT NOT NULL,
    arguments BLOB NOT NULL,         -- digest
    call BLOB NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    told INTEGER,                    -- the writer that told its caller so
    PRIMARY KEY (session, tool, arguments, call)
) STRICT, WITHOUT ROWID;
INSERT INTO unsettled (session, tool, arguments, call, principal, told)
    SELECT noted.session, noted.tool, noted.arguments, noted.call, first.principal, noted.told
    FROM unsettled_before AS noted
    JOIN journal AS first ON first.call = noted.call AND first.kind = 'open';
DROP TABLE unsettled_before;
";

/// What is new in it with version 29 of the store: when somebody read what they were
/// told. Of what was told before nobody knows.
pub const SCHEMA_29: &str = "
ALTER TABLE unsettled ADD COLUMN read INTEGER;  -- when that was read first: µs since 1970 UTC
";

/// What is noted of a call is what its first record says.
pub(super) fn unsettled_insert(
    tx: &Tx<'_>,
    call: CallId,
    told: Option<Told>,
) -> Result<(), StoreError> {
    let by = told.map(|told| told.by.number());
    let read = told.and_then(|told| told.read);
    let read = read.map(Timestamp::as_microsecond);
    tx.sql()
        .execute(
            "INSERT OR REPLACE INTO unsettled
                 (session, tool, arguments, call, principal, told, read)
             SELECT session, tool, digest, call, principal, ?2, ?3 FROM journal
             WHERE call = ?1 AND kind = 'open'",
            params![call.as_bytes(), by, read],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note an unknown outcome"))
}

/// The next call to be told of that is the same and ended unknown: the oldest of which
/// nobody was told, else the oldest of which nobody read that, else the one of which
/// somebody read it last, so that whoever knows of it knows of all.
pub(super) fn unsettled(
    tx: &Tx<'_>,
    subject: &Subject,
) -> Result<Option<(CallId, Option<Told>)>, StoreError> {
    let (session, tool, arguments, principal) = same_call(subject);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT call, told, read FROM unsettled
                 WHERE session = ?1 AND tool = ?2 AND arguments = ?3 AND principal = ?4
                 ORDER BY told IS NOT NULL, read IS NOT NULL, read DESC, call LIMIT 1",
            )?
            .query_row(params![session, tool, arguments, principal], read_noted)
            .optional()
    };
    read().map_err(StoreError::sql("look for an unknown outcome"))
}

fn read_noted(row: &rusqlite::Row<'_>) -> rusqlite::Result<(CallId, Option<Told>)> {
    let by: Option<i64> = row.get(1)?;
    let read: Option<i64> = row.get(2)?;
    // One that is no time was read after all that came, and is told again.
    let read = read.map(|at| Timestamp::from_microsecond(at).unwrap_or(Timestamp::MAX));
    let told = by.map(WriterId::from_number).map(|by| Told { by, read });
    Ok((CallId::from_bytes(row.get(0)?), told))
}

/// Whether a call is noted.
pub(super) fn is_unsettled(tx: &Tx<'_>, call: CallId) -> Result<bool, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT count(*) FROM unsettled WHERE call = ?1")?
            .query_row([call.as_bytes()], |row| row.get(0))
    };
    let count: i64 = read().map_err(StoreError::sql("look for an unknown outcome"))?;
    Ok(count > 0)
}

/// Who opened a call, as far as its record is in the tables.
pub(super) fn opened_by(tx: &Tx<'_>, call: CallId) -> Result<Option<WriterId>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT writer FROM journal WHERE call = ?1 AND kind = 'open'")?
            .query_row([call.as_bytes()], |row| {
                row.get(0).map(WriterId::from_number)
            })
            .optional()
    };
    read().map_err(StoreError::sql("look for who opened a call"))
}

/// The tools and digests of a session's calls that ended unknown.
pub(super) fn unsettled_of(
    tx: &Tx<'_>,
    session: SessionId,
) -> Result<Vec<(String, Digest)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT DISTINCT tool, arguments FROM unsettled WHERE session = ?1")?
            .query_map([session.as_bytes()], |row| {
                Ok((row.get(0)?, Digest::from_bytes(row.get(1)?)))
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("list the unknown outcomes"))
}

/// The tools and ids of a session's calls that ended unknown.
pub(super) fn unsettled_calls(
    tx: &Tx<'_>,
    session: SessionId,
) -> Result<Vec<(String, CallId)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT tool, call FROM unsettled WHERE session = ?1 ORDER BY call")?
            .query_map([session.as_bytes()], |row| {
                Ok((row.get(0)?, CallId::from_bytes(row.get(1)?)))
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("list the unknown outcomes"))
}

/// Notes who tells of a call now.
pub(super) fn unsettled_tell(tx: &Tx<'_>, call: CallId, by: WriterId) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE unsettled SET told = ?2 WHERE call = ?1",
            params![call.as_bytes(), by.number()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note who tells of an unknown outcome"))
}

/// Notes when it was read first, whoever tells it, where somebody does.
pub(super) fn unsettled_read(tx: &Tx<'_>, call: CallId, at: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE unsettled SET read = min(coalesce(read, ?2), ?2)
             WHERE call = ?1 AND told IS NOT NULL",
            params![call.as_bytes(), at.as_microsecond()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql(
            "note that an unknown outcome is known to be one",
        ))
}

/// Forgets one of them. Returns whether it was told, where it was noted.
pub(super) fn unsettled_take(
    tx: &Tx<'_>,
    call: CallId,
) -> Result<Option<Option<Told>>, StoreError> {
    let take = || {
        tx.sql()
            .prepare_cached("DELETE FROM unsettled WHERE call = ?1 RETURNING call, told, read")?
            .query_row([call.as_bytes()], read_noted)
            .optional()
    };
    let taken = take().map_err(StoreError::sql("forget an unknown outcome"))?;
    Ok(taken.map(|(_call, told)| told))
}

/// Forgets all that are the same.
pub(super) fn unsettled_delete(tx: &Tx<'_>, subject: &Subject) -> Result<(), StoreError> {
    let (session, tool, arguments, principal) = same_call(subject);
    tx.sql()
        .execute(
            "DELETE FROM unsettled
             WHERE session = ?1 AND tool = ?2 AND arguments = ?3 AND principal = ?4",
            params![session, tool, arguments, principal],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("forget an unknown outcome"))
}

pub(super) fn unsettled_untell(tx: &Tx<'_>, dead: WriterId) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE unsettled SET told = NULL, read = NULL WHERE told = ?1",
            [dead.number()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("take back what a dead writer told"))
}

/// What makes two calls the same to this room.
fn same_call(subject: &Subject) -> (&[u8; 16], &str, &[u8; 32], String) {
    (
        subject.session.as_bytes(),
        &subject.tool,
        subject.arguments.as_bytes(),
        subject.principal.to_string(),
    )
}

pub(super) fn ending(
    tx: &Tx<'_>,
    call: CallId,
) -> Result<Option<(Outcome, Timestamp)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT outcome, at FROM journal WHERE call = ?1 AND kind = 'close'")?
            .query_row([call.as_bytes()], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?))
            })
            .optional()
    };
    let Some((outcome, at)) = read().map_err(StoreError::sql("look how a call ended"))? else {
        return Ok(None);
    };
    let damaged = || StoreError::Damaged {
        what: format!("the end of call {call}"),
    };
    let outcome = outcome.parse().map_err(|_unknown| damaged())?;
    let at = Timestamp::from_millisecond(at).map_err(|_range| damaged())?;
    Ok(Some((outcome, at)))
}
