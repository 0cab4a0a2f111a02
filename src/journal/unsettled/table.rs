//! The table of the calls that ended unknown.

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

/// What is noted of a call is what its first record says. `told` is who tells its
/// caller.
pub(super) fn unsettled_insert(
    tx: &Tx<'_>,
    call: CallId,
    told: Option<WriterId>,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR REPLACE INTO unsettled (session, tool, arguments, call, principal, told)
             SELECT session, tool, digest, call, principal, ?2 FROM journal
             WHERE call = ?1 AND kind = 'open'",
            params![call.as_bytes(), told.map(WriterId::number)],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note an unknown outcome"))
}

/// The next call to be told of that is the same and ended unknown, and who told so: the
/// oldest of which nobody was told, else the oldest.
pub(super) fn unsettled(
    tx: &Tx<'_>,
    subject: &Subject,
) -> Result<Option<(CallId, Option<WriterId>)>, StoreError> {
    let (session, tool, arguments, principal) = same_call(subject);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT call, told FROM unsettled
                 WHERE session = ?1 AND tool = ?2 AND arguments = ?3 AND principal = ?4
                 ORDER BY told IS NOT NULL, call LIMIT 1",
            )?
            .query_row(params![session, tool, arguments, principal], read_noted)
            .optional()
    };
    read().map_err(StoreError::sql("look for an unknown outcome"))
}

fn read_noted(row: &rusqlite::Row<'_>) -> rusqlite::Result<(CallId, Option<WriterId>)> {
    let told: Option<i64> = row.get(1)?;
    let call = CallId::from_bytes(row.get(0)?);
    Ok((call, told.map(WriterId::from_number)))
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

pub(super) fn unsettled_told(
    tx: &Tx<'_>,
    writer: WriterId,
    call: CallId,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE unsettled SET told = ?2 WHERE call = ?1",
            params![call.as_bytes(), writer.number()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note who was told of an unknown outcome"))
}

/// Forgets one of them. Returns who told of it, where it was noted.
pub(super) fn unsettled_take(
    tx: &Tx<'_>,
    call: CallId,
) -> Result<Option<Option<WriterId>>, StoreError> {
    let take = || {
        tx.sql()
            .prepare_cached("DELETE FROM unsettled WHERE call = ?1 RETURNING call, told")?
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
            "UPDATE unsettled SET told = NULL WHERE told = ?1",
            [dead.number()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("take back what a dead writer told"))
}

pub(super) fn unsettled_untell_of(
    tx: &Tx<'_>,
    teller: WriterId,
    call: CallId,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE unsettled SET told = NULL WHERE call = ?1 AND told = ?2",
            params![call.as_bytes(), teller.number()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql(
            "take back that somebody was told of an unknown outcome",
        ))
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
