//! The table of the calls that ended unknown.

use crate::journal::Subject;
use crate::journal::table::LeftOpen;
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

/// `told` is who tells its caller.
pub(super) fn unsettled_insert(
    tx: &Tx<'_>,
    left: &LeftOpen,
    told: Option<WriterId>,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR REPLACE INTO unsettled (session, tool, arguments, call, told)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                left.session.as_bytes(),
                left.tool,
                left.arguments.as_bytes(),
                left.call.as_bytes(),
                told.map(WriterId::number),
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note an unknown outcome"))
}

/// The call that ended unknown, and who told so.
pub(super) fn unsettled(
    tx: &Tx<'_>,
    subject: &Subject,
) -> Result<Option<(CallId, Option<WriterId>)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT call, told FROM unsettled
                 WHERE session = ?1 AND tool = ?2 AND arguments = ?3",
            )?
            .query_row(same_call(subject), |row| {
                let told: Option<i64> = row.get(1)?;
                let call = CallId::from_bytes(row.get(0)?);
                Ok((call, told.map(WriterId::from_number)))
            })
            .optional()
    };
    read().map_err(StoreError::sql("look for an unknown outcome"))
}

/// The tools and digests of a session's calls that ended unknown.
pub(super) fn unsettled_of(
    tx: &Tx<'_>,
    session: SessionId,
) -> Result<Vec<(String, Digest)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT tool, arguments FROM unsettled WHERE session = ?1")?
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
            .prepare_cached(
                "SELECT tool, call FROM unsettled AS noted WHERE session = ?1
                     AND NOT EXISTS (SELECT 1 FROM journal AS last
                         WHERE last.call = noted.call AND last.kind = 'close'
                             AND last.outcome IN ('completed', 'tool-failed'))
                 ORDER BY call",
            )?
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
    subject: &Subject,
) -> Result<(), StoreError> {
    let (session, tool, arguments) = same_call(subject);
    tx.sql()
        .execute(
            "UPDATE unsettled SET told = ?4
             WHERE session = ?1 AND tool = ?2 AND arguments = ?3",
            params![session, tool, arguments, writer.number()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note who was told of an unknown outcome"))
}

pub(super) fn unsettled_delete(tx: &Tx<'_>, subject: &Subject) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM unsettled WHERE session = ?1 AND tool = ?2 AND arguments = ?3",
            same_call(subject),
        )
        .map(|_one_row| ())
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

/// What makes two calls the same to this room.
fn same_call(subject: &Subject) -> (&[u8; 16], &str, &[u8; 32]) {
    (
        subject.session.as_bytes(),
        &subject.tool,
        subject.arguments.as_bytes(),
    )
}

/// Where another call that is the same is noted already, that one stands.
pub(super) fn unread_insert(tx: &Tx<'_>, subject: &Subject) -> Result<(), StoreError> {
    let (session, tool, arguments) = same_call(subject);
    tx.sql()
        .execute(
            "INSERT OR IGNORE INTO unsettled (session, tool, arguments, call, told)
             VALUES (?1, ?2, ?3, ?4, NULL)",
            params![session, tool, arguments, subject.call.as_bytes()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("note an answer that nobody read"))
}

pub(super) fn unsettled_forget(tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
    tx.sql()
        .execute("DELETE FROM unsettled WHERE call = ?1", [call.as_bytes()])
        .map(|_rows| ())
        .map_err(StoreError::sql("forget an answer that nobody read"))
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

/// Forgets the calls of which it was noted that nobody read their answers, and that
/// ended before this time.
pub(super) fn read_or_not_forget(tx: &Tx<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM unsettled WHERE call IN (
                 SELECT noted.call FROM unsettled AS noted
                 JOIN journal AS last ON last.call = noted.call AND last.kind = 'close'
                 WHERE last.outcome IN ('completed', 'tool-failed') AND last.at < ?1)",
            [before.as_millisecond()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("forget answers that nobody read"))
}

/// The calls that a writer closed within so many milliseconds before its last record.
/// Whether they changed anything is known to whoever is asked to make one again.
pub(super) fn last_closed_insert(
    tx: &Tx<'_>,
    dead: WriterId,
    within: i128,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR IGNORE INTO unsettled (session, tool, arguments, call, told)
             SELECT first.session, first.tool, first.digest, first.call, NULL
             FROM journal AS last
             JOIN journal AS first ON first.call = last.call AND first.kind = 'open'
             WHERE last.writer = ?1 AND last.kind = 'close'
                 AND last.outcome IN ('completed', 'tool-failed')
                 AND last.seq > (SELECT max(seq) FROM journal WHERE writer = ?1) - 10000
                 AND last.at >= (SELECT at FROM journal WHERE writer = ?1
                     ORDER BY seq DESC LIMIT 1) - ?2",
            params![dead.number(), i64::try_from(within).unwrap_or(0)],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("note what a dead writer closed last"))
}

pub(super) fn caller(tx: &Tx<'_>, call: CallId) -> Result<Option<String>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT principal FROM journal WHERE call = ?1 AND kind = 'open'")?
            .query_row([call.as_bytes()], |row| row.get(0))
            .optional()
    };
    read().map_err(StoreError::sql("look who made a call"))
}
