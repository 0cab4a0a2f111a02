//! The deliveries, and what was tried.

use super::Attempt;
use super::Claimed;
use super::Delivery;
use super::Ended;
use super::To;
use super::Topic;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;

/// The tables of this room, as of version 19 of the store, with what waited in those of
/// the events.
pub const SCHEMA: &str = "
CREATE TABLE delivery (              -- a row for each matter and target
    topic TEXT NOT NULL,             -- event, escalation
    matter TEXT NOT NULL,            -- session/number, escalation/state
    target TEXT NOT NULL,            -- as the configuration names it
    at INTEGER NOT NULL,             -- ms since 1970 UTC: since when it is to be told
    due INTEGER,                     -- ms: when it is tried next, or taken from a
                                     -- writer that does not come back; null at its end
    writer INTEGER,                  -- who is trying
    since INTEGER,                   -- ms: when it was first tried
    tries INTEGER NOT NULL DEFAULT 0,
    ended TEXT,                      -- delivered, given-up
    PRIMARY KEY (topic, matter, target)
) STRICT, WITHOUT ROWID;
CREATE TABLE delivery_try (
    topic TEXT NOT NULL,
    matter TEXT NOT NULL,
    target TEXT NOT NULL,
    number INTEGER NOT NULL,         -- from 1 for each delivery
    at INTEGER NOT NULL,             -- ms
    status INTEGER,                  -- of HTTP, of SMTP, or of the command's exit
    problem TEXT,                    -- null where it was taken
    PRIMARY KEY (topic, matter, target, number)
) STRICT, WITHOUT ROWID;
INSERT INTO delivery (topic, matter, target, at, due, writer, since, tries, ended)
    SELECT 'event', of.id || printf('/%05d', d.event), d.target, event.at,
           d.due, d.writer, d.since, d.tries, d.ended
    FROM event_delivery AS d
    JOIN (SELECT id AS session, lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4)
               || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4)
               || '-' || substr(hex(id), 21)) AS id FROM session) AS of
      ON of.session = d.session
    JOIN event ON event.session = d.session AND event.number = d.event;
INSERT INTO delivery_try (topic, matter, target, number, at, status, problem)
    SELECT 'event', of.id || printf('/%05d', t.event), t.target, t.number, t.at,
           t.status, t.problem
    FROM event_try AS t
    JOIN (SELECT id AS session, lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4)
               || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4)
               || '-' || substr(hex(id), 21)) AS id FROM session) AS of
      ON of.session = t.session;
DROP TABLE event_try;
DROP TABLE event_delivery;
CREATE INDEX delivery_by_due ON delivery (topic, target, due) WHERE due IS NOT NULL;
CREATE INDEX delivery_by_time ON delivery (topic, at);
CREATE INDEX delivery_by_writer ON delivery (writer) WHERE writer IS NOT NULL;
";

/// What is due.
pub(super) struct Due {
    pub(super) matter: String,
    pub(super) tries: u32,
    pub(super) since: Option<Timestamp>,
}

pub(super) fn insert(
    tx: &Tx<'_>,
    to: To<'_>,
    matter: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    // Two sections of a configuration may name one target.
    tx.sql()
        .execute(
            "INSERT OR IGNORE INTO delivery (topic, matter, target, at, due)
             VALUES (?1, ?2, ?3, ?4, ?4)",
            params![to.topic.as_str(), matter, to.target, now.as_millisecond()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("have something delivered"))
}

pub(super) fn due(tx: &Tx<'_>, to: To<'_>, now: Timestamp) -> Result<Option<Due>, StoreError> {
    type Columns = (String, u32, Option<i64>);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT matter, tries, since FROM delivery
                 WHERE topic = ?1 AND target = ?2 AND due <= ?3 ORDER BY due LIMIT 1",
            )?
            .query_row(
                params![to.topic.as_str(), to.target, now.as_millisecond()],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()
    };
    let found: Option<Columns> = read().map_err(StoreError::sql("look for a delivery"))?;
    let due = found.map(|(matter, tries, since)| {
        Ok(Due {
            since: since.map(|since| time(since, &matter)).transpose()?,
            matter,
            tries,
        })
    });
    due.transpose()
}

pub(super) fn next_due(tx: &Tx<'_>, to: To<'_>) -> Result<Option<Timestamp>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT min(due) FROM delivery
                 WHERE topic = ?1 AND target = ?2 AND due IS NOT NULL",
            )?
            .query_row([to.topic.as_str(), to.target], |row| {
                row.get::<_, Option<i64>>(0)
            })
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
            "UPDATE delivery SET writer = ?4, tries = ?5, since = ?6, due = ?7
             WHERE topic = ?1 AND matter = ?2 AND target = ?3",
            params![
                claimed.topic.as_str(),
                claimed.matter,
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
            "SELECT count(*) FROM delivery
             WHERE topic = ?1 AND matter = ?2 AND target = ?3 AND writer = ?4 AND tries = ?5
               AND ended IS NULL",
            params![
                claimed.topic.as_str(),
                claimed.matter,
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
            "UPDATE delivery SET writer = NULL, due = ?4
             WHERE topic = ?1 AND matter = ?2 AND target = ?3",
            params![
                claimed.topic.as_str(),
                claimed.matter,
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
            "UPDATE delivery SET writer = NULL, due = NULL, ended = ?4
             WHERE topic = ?1 AND matter = ?2 AND target = ?3",
            params![
                claimed.topic.as_str(),
                claimed.matter,
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
            "UPDATE delivery SET writer = NULL, due = ?2
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
            "INSERT OR REPLACE INTO delivery_try
                 (topic, matter, target, number, at, status, problem)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                claimed.topic.as_str(),
                claimed.matter,
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
    (topic, beginning): (Topic, &str),
    newest: u32,
) -> Result<Vec<Delivery>, StoreError> {
    type Columns = (String, String, Option<i64>, Option<String>);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT matter, target, due, ended FROM delivery
                 WHERE topic = ?1 AND substr(matter, 1, length(?2)) = ?2
                 ORDER BY at DESC, matter DESC, target LIMIT ?3",
            )?
            .query_map(params![topic.as_str(), beginning, newest], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?
            .collect::<Result<Vec<Columns>, _>>()
    };
    let rows = read().map_err(StoreError::sql("list deliveries"))?;
    let deliveries = rows.into_iter().rev().map(|(matter, target, due, ended)| {
        Ok(Delivery {
            due: due.map(|due| time(due, &matter)).transpose()?,
            matter,
            target,
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

pub(super) fn attempts(
    tx: &Tx<'_>,
    topic: Topic,
    of: &Delivery,
) -> Result<Vec<Attempt>, StoreError> {
    type Columns = (i64, Option<i32>, Option<String>);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT at, status, problem FROM delivery_try
                 WHERE topic = ?1 AND matter = ?2 AND target = ?3 ORDER BY number",
            )?
            .query_map(params![topic.as_str(), of.matter, of.target], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<Vec<Columns>, _>>()
    };
    let rows = read().map_err(StoreError::sql("list the tries of a delivery"))?;
    let attempts = rows.into_iter().map(|(at, status, problem)| {
        Ok(Attempt {
            at: time(at, &of.matter)?,
            status,
            problem,
        })
    });
    attempts.collect()
}

fn time(ms: i64, matter: &str) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(ms).map_err(|_no_time| StoreError::Damaged {
        what: format!("a time of the delivery of {matter}"),
    })
}
