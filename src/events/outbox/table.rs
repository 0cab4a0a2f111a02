//! The deliveries of events, and what was tried.

use super::Attempt;
use super::Claimed;
use super::Delivery;
use super::Ended;
use crate::events::Event;
use crate::events::table::time;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;

/// What is due.
pub(super) struct Due {
    pub(super) session: SessionId,
    pub(super) event: Event,
    pub(super) tries: u32,
    pub(super) since: Option<Timestamp>,
}

pub(super) fn insert(
    tx: &Tx<'_>,
    (session, event): (SessionId, u32),
    target: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    // Two sections of a configuration may name one target.
    tx.sql()
        .execute(
            "INSERT OR IGNORE INTO event_delivery (session, event, target, due)
             VALUES (?1, ?2, ?3, ?4)",
            params![session.as_bytes(), event, target, now.as_millisecond()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("have an event delivered"))
}

pub(super) fn due(tx: &Tx<'_>, target: &str, now: Timestamp) -> Result<Option<Due>, StoreError> {
    type Columns = (SessionId, u32, u32, Option<i64>);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT session, event, tries, since FROM event_delivery
                 WHERE target = ?1 AND due <= ?2 ORDER BY due LIMIT 1",
            )?
            .query_row(params![target, now.as_millisecond()], |row| {
                let session = row.get(0).map(SessionId::from_bytes)?;
                Ok((session, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()
    };
    let found: Option<Columns> = read().map_err(StoreError::sql("look for a delivery"))?;
    let Some((session, number, tries, since)) = found else {
        return Ok(None);
    };
    let mut event = crate::events::list(tx, session, number.checked_add(1), 1)?;
    let event = event.pop().filter(|event| event.number == number);
    let event = event.ok_or_else(|| StoreError::Damaged {
        what: format!("event {number} of session {session}"),
    })?;
    let since = since.map(|since| time(since, session)).transpose()?;
    Ok(Some(Due {
        session,
        event,
        tries,
        since,
    }))
}

pub(super) fn next_due(tx: &Tx<'_>, target: &str) -> Result<Option<Timestamp>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT min(due) FROM event_delivery WHERE target = ?1 AND due IS NOT NULL",
            )?
            .query_row([target], |row| row.get::<_, Option<i64>>(0))
    };
    let due = read().map_err(StoreError::sql("look for deliveries"))?;
    Ok(due.map(|due| Timestamp::from_millisecond(due).unwrap_or(Timestamp::MAX)))
}

pub(super) fn lease(
    tx: &Tx<'_>,
    claimed: &Claimed,
    writer: WriterId,
    (since, until): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE event_delivery SET writer = ?4, tries = ?5, since = ?6, due = ?7
             WHERE session = ?1 AND event = ?2 AND target = ?3",
            params![
                claimed.session.as_bytes(),
                claimed.event.number,
                claimed.target,
                writer.number(),
                claimed.number,
                since.as_millisecond(),
                until.as_millisecond()
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("claim a delivery"))
}

/// Whether the delivery is still claimed for this try.
pub(super) fn is_leased_to(
    tx: &Tx<'_>,
    claimed: &Claimed,
    writer: WriterId,
) -> Result<bool, StoreError> {
    tx.sql()
        .query_row(
            "SELECT count(*) FROM event_delivery
             WHERE session = ?1 AND event = ?2 AND target = ?3 AND writer = ?4 AND tries = ?5
               AND ended IS NULL",
            params![
                claimed.session.as_bytes(),
                claimed.event.number,
                claimed.target,
                writer.number(),
                claimed.number
            ],
            |row| row.get::<_, u32>(0),
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("see whose a delivery is"))
}

pub(super) fn postpone(tx: &Tx<'_>, claimed: &Claimed, due: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE event_delivery SET writer = NULL, due = ?4
             WHERE session = ?1 AND event = ?2 AND target = ?3",
            params![
                claimed.session.as_bytes(),
                claimed.event.number,
                claimed.target,
                due.as_millisecond()
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("try a delivery later"))
}

pub(super) fn end(tx: &Tx<'_>, claimed: &Claimed, ended: Ended) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE event_delivery SET writer = NULL, due = NULL, ended = ?4
             WHERE session = ?1 AND event = ?2 AND target = ?3",
            params![
                claimed.session.as_bytes(),
                claimed.event.number,
                claimed.target,
                ended.as_str()
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("end a delivery"))
}

pub(super) fn release(tx: &Tx<'_>, writer: WriterId, now: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE event_delivery SET writer = NULL, due = ?2
             WHERE writer = ?1 AND due IS NOT NULL",
            params![writer.number(), now.as_millisecond()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("give up deliveries"))
}

pub(super) fn attempt_insert(
    tx: &Tx<'_>,
    claimed: &Claimed,
    attempt: &Attempt,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR REPLACE INTO event_try (session, event, target, number, at, status, problem)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                claimed.session.as_bytes(),
                claimed.event.number,
                claimed.target,
                claimed.number,
                attempt.at.as_millisecond(),
                attempt.status,
                attempt.problem
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("record a try"))
}

pub(super) fn deliveries(
    tx: &Tx<'_>,
    session: Option<SessionId>,
    newest: u32,
) -> Result<Vec<Delivery>, StoreError> {
    type Columns = (
        SessionId,
        (u32, String, String),
        String,
        Option<i64>,
        Option<String>,
    );
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT event.session, number, id, kind, target, due, ended
                 FROM event_delivery JOIN event
                   ON event.session = event_delivery.session AND number = event
                 WHERE ?1 IS NULL OR event.session = ?1
                 ORDER BY at DESC, event.session, number DESC, target LIMIT ?2",
            )?
            .query_map(
                params![session.as_ref().map(SessionId::as_bytes), newest],
                |row| {
                    Ok((
                        row.get(0).map(SessionId::from_bytes)?,
                        (row.get(1)?, row.get(2)?, row.get(3)?),
                        row.get(4)?,
                        row.get(5)?,
                        row.get(6)?,
                    ))
                },
            )?
            .collect::<Result<Vec<Columns>, _>>()
    };
    let rows = read().map_err(StoreError::sql("list deliveries"))?;
    let deliveries = rows
        .into_iter()
        .rev()
        .map(|(session, event, target, due, ended)| {
            Ok(Delivery {
                session,
                event,
                target,
                due: due.map(|due| time(due, session)).transpose()?,
                ended: match ended.as_deref() {
                    None => None,
                    Some("delivered") => Some(Ended::Delivered),
                    Some(_) => Some(Ended::GivenUp),
                },
                tries: Vec::new(),
            })
        });
    deliveries.collect()
}

pub(super) fn attempts(tx: &Tx<'_>, of: &Delivery) -> Result<Vec<Attempt>, StoreError> {
    type Columns = (i64, Option<i32>, Option<String>);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT at, status, problem FROM event_try
                 WHERE session = ?1 AND event = ?2 AND target = ?3 ORDER BY number",
            )?
            .query_map(
                params![of.session.as_bytes(), of.event.0, of.target],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )?
            .collect::<Result<Vec<Columns>, _>>()
    };
    let rows = read().map_err(StoreError::sql("list the tries of a delivery"))?;
    let attempts = rows.into_iter().map(|(at, status, problem)| {
        Ok(Attempt {
            at: time(at, of.session)?,
            status,
            problem,
        })
    });
    attempts.collect()
}
