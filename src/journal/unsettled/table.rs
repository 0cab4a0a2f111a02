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
    let sql = "INSERT OR REPLACE INTO unsettled (session, tool, arguments, call, told)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    noted(tx, sql, (left, told))
}

/// The same, where there is no other note of such a call.
pub(super) fn unsettled_put_back(
    tx: &Tx<'_>,
    left: &LeftOpen,
    told: Option<WriterId>,
) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO unsettled (session, tool, arguments, call, told)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    noted(tx, sql, (left, told))
}

fn noted(
    tx: &Tx<'_>,
    sql: &str,
    (left, told): (&LeftOpen, Option<WriterId>),
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            sql,
            params![
                left.session.as_bytes(),
                left.tool,
                left.arguments.as_bytes(),
                left.call.as_bytes(),
                told.map(WriterId::number),
            ],
        )
        .map(|_rows| ())
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
