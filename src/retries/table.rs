//! The table of calls that their clients gave a key.

use super::Attempt;
use super::Form;
use super::IdempotencyKey;
use super::Kept;
use super::Unread;
use crate::journal::Subject;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;

/// The table of this room, as of version 7 of the store.
pub const SCHEMA: &str = "
CREATE TABLE attempt (               -- the call that was sent under a key
    session BLOB NOT NULL,
    principal TEXT NOT NULL,
    key TEXT NOT NULL,
    tool TEXT NOT NULL,
    arguments BLOB NOT NULL,         -- digest
    call BLOB NOT NULL UNIQUE,
    at INTEGER NOT NULL,             -- ms since 1970 UTC
    form TEXT,                       -- result, error, task; lost where too large
    era TEXT,
    body TEXT,
    PRIMARY KEY (session, principal, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempt_by_time ON attempt (at);
CREATE TABLE unread (                -- answers that nobody read, for a few minutes
    call BLOB PRIMARY KEY,
    at INTEGER NOT NULL,
    form TEXT NOT NULL,
    era TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The word for an answer that was too large to keep.
const LOST: &str = "lost";

pub(super) fn attempts_forget(tx: &Tx<'_>, before: Timestamp) -> Result<Vec<CallId>, StoreError> {
    let forget = || {
        tx.sql()
            .prepare_cached("DELETE FROM attempt WHERE at < ?1 RETURNING call")?
            .query_map([before.as_millisecond()], |row| {
                row.get(0).map(CallId::from_bytes)
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    forget().map_err(StoreError::sql("forget old keys of calls"))
}

pub(super) fn attempt(
    tx: &Tx<'_>,
    subject: &Subject,
    key: &IdempotencyKey,
    since: Timestamp,
) -> Result<Option<(CallId, String, Digest)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT call, tool, arguments FROM attempt
                 WHERE session = ?1 AND principal = ?2 AND key = ?3 AND at >= ?4",
            )?
            .query_row(
                params![
                    subject.session.as_bytes(),
                    subject.principal.to_string(),
                    key.as_str(),
                    since.as_millisecond(),
                ],
                |row| {
                    let call = CallId::from_bytes(row.get(0)?);
                    Ok((call, row.get(1)?, Digest::from_bytes(row.get(2)?)))
                },
            )
            .optional()
    };
    read().map_err(StoreError::sql("look for the key of a call"))
}

pub(super) fn attempt_put(
    tx: &Tx<'_>,
    subject: &Subject,
    key: &IdempotencyKey,
    now: Timestamp,
) -> Result<(), StoreError> {
    let write = || {
        tx.sql()
            .prepare_cached(
                "INSERT OR REPLACE INTO attempt (session, principal, key, tool, arguments, call, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                subject.session.as_bytes(),
                subject.principal.to_string(),
                key.as_str(),
                subject.tool,
                subject.arguments.as_bytes(),
                subject.call.as_bytes(),
                now.as_millisecond(),
            ])
    };
    write()
        .map(|_one_row| ())
        .map_err(StoreError::sql("bind the key of a call"))
}

pub(super) fn attempt_free(tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
    tx.sql()
        .execute("DELETE FROM attempt WHERE call = ?1", [call.as_bytes()])
        .map(|_rows| ())
        .map_err(StoreError::sql("free the key of a call"))
}

/// The key is the earlier call's again.
pub(super) fn attempt_back(tx: &Tx<'_>, call: CallId, earlier: CallId) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE attempt SET call = ?2 WHERE call = ?1",
            [call.as_bytes(), earlier.as_bytes()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("give the key of a call back"))
}

pub(super) fn attempt_end(
    tx: &Tx<'_>,
    call: CallId,
    kept: Option<&Kept>,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE attempt SET form = ?2, era = ?3, body = ?4 WHERE call = ?1",
            params![
                call.as_bytes(),
                kept.map_or(LOST, |kept| kept.form.as_str()),
                kept.map(|kept| &kept.era),
                kept.map(|kept| &*kept.body),
            ],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("keep the answer of a call"))
}

/// None where it is too large.
pub(super) fn unread_put(
    tx: &Tx<'_>,
    call: CallId,
    kept: Option<&Kept>,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR REPLACE INTO unread (call, at, form, era, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                call.as_bytes(),
                now.as_millisecond(),
                kept.map_or(LOST, |kept| kept.form.as_str()),
                kept.map_or("", |kept| &kept.era),
                kept.map_or("", |kept| &*kept.body),
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("keep an answer that nobody read"))
}

pub(super) fn unread(tx: &Tx<'_>, call: CallId) -> Result<Unread, StoreError> {
    type Columns = (String, String, String);
    let read = || {
        tx.sql()
            .prepare_cached("SELECT form, era, body FROM unread WHERE call = ?1")?
            .query_row([call.as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
    };
    let found: Option<Columns> = read().map_err(StoreError::sql("read an unread answer"))?;
    Ok(match found {
        None => Unread::Nothing,
        Some((form, ..)) if form == LOST => Unread::TooLarge,
        Some((form, era, body)) => Unread::Kept(kept(call, (&form, era, body))?),
    })
}

fn kept(call: CallId, (form, era, body): (&str, String, String)) -> Result<Kept, StoreError> {
    let form = Form::read(form).ok_or_else(|| StoreError::Damaged {
        what: format!("the answer of call {call}"),
    })?;
    let body = body.into();
    Ok(Kept { form, era, body })
}

pub(super) fn unread_delete(tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
    tx.sql()
        .execute("DELETE FROM unread WHERE call = ?1", [call.as_bytes()])
        .map(|_rows| ())
        .map_err(StoreError::sql("drop an answer"))
}

pub(super) fn unread_forget(tx: &Tx<'_>, before: Timestamp) -> Result<(), StoreError> {
    let forget = || {
        tx.sql()
            .prepare_cached("DELETE FROM unread WHERE at < ?1")?
            .execute([before.as_millisecond()])
    };
    forget()
        .map(|_rows| ())
        .map_err(StoreError::sql("forget answers that nobody read"))
}

pub(super) fn attempt_of(tx: &Tx<'_>, call: CallId) -> Result<Attempt, StoreError> {
    type Columns = (Option<String>, Option<String>, Option<String>);
    let read = || {
        tx.sql()
            .prepare_cached("SELECT form, era, body FROM attempt WHERE call = ?1")?
            .query_row([call.as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
    };
    let found: Option<Columns> = read().map_err(StoreError::sql("read the answer of a call"))?;
    Ok(match found {
        None => Attempt::Free,
        Some((None, ..)) => Attempt::Open,
        Some((Some(form), Some(era), Some(body))) => {
            Attempt::Ended(Some(kept(call, (&form, era, body))?))
        }
        Some((Some(_lost), ..)) => Attempt::Ended(None),
    })
}
