//! The table of the escalations.

use super::Decision;
use super::Escalation;
use super::EscalationId;
use super::Filter;
use super::Request;
use super::State;
use super::Stop;
use crate::journal::Subject;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::params;
use serde_json::Value;
use serde_json::json;

/// The table of this room, as of version 16 of the store.
pub const SCHEMA: &str = "
CREATE TABLE escalation (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,             -- pending, approved, used, refused, expired, withdrawn, void
    call BLOB NOT NULL,              -- the call that was stopped first
    session BLOB NOT NULL,
    principal TEXT NOT NULL,
    tool TEXT NOT NULL,              -- server/tool
    arguments BLOB NOT NULL,         -- digest of the canonical form
    definition BLOB NOT NULL,        -- digest of the tool's definition
    body TEXT,                       -- the arguments; null after the end
    roles TEXT NOT NULL,             -- JSON array of strings
    stops TEXT NOT NULL,             -- JSON array of {policy, code, message}
    asked INTEGER NOT NULL,          -- ms since 1970 UTC
    expires INTEGER NOT NULL,        -- ms
    tries INTEGER NOT NULL,          -- of the same call, the first included
    decided INTEGER,                 -- ms
    decided_by TEXT,
    reason TEXT,                     -- of the decision, in its maker's words
    used_by BLOB,                    -- the call that used it up
    ended INTEGER,                   -- ms
    ended_why TEXT
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX escalation_live ON escalation (session, principal, tool, arguments)
    WHERE state IN ('pending', 'approved');
CREATE INDEX escalation_by_call ON escalation (principal, tool, arguments, asked);
CREATE INDEX escalation_by_time ON escalation (asked);
CREATE INDEX escalation_by_caller ON escalation (principal, asked);
CREATE INDEX escalation_to_expire ON escalation (expires) WHERE state IN ('pending', 'approved');
CREATE INDEX escalation_used_by ON escalation (used_by) WHERE used_by IS NOT NULL;
";

/// What version 24 of the store adds: what was used lately still has its arguments.
pub const SCHEMA_24: &str = "
CREATE INDEX escalation_spent ON escalation (ended)
    WHERE state = 'used' AND body IS NOT NULL;
";

const COLUMNS: &str = "SELECT id, state, call, session, principal, tool, arguments, definition,
    body, roles, stops, asked, expires, tries, decided, decided_by, reason, used_by, ended,
    ended_why FROM escalation";

pub(super) fn insert(
    tx: &Tx<'_>,
    id: EscalationId,
    request: &Request<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let subject = request.subject;
    tx.sql()
        .execute(
            "INSERT INTO escalation (id, state, call, session, principal, tool, arguments,
                 definition, body, roles, stops, asked, expires, tries)
             VALUES (?1, 'pending', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 1)",
            params![
                id.to_string(),
                subject.call.as_bytes(),
                subject.session.as_bytes(),
                subject.principal.to_string(),
                subject.tool,
                subject.arguments.as_bytes(),
                request.definition.as_bytes(),
                request.body,
                json!(request.roles).to_string(),
                written(request.stops),
                now.as_millisecond(),
                request.expires.as_millisecond(),
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("store an escalation"))
}

fn written(stops: &[Stop]) -> String {
    let stops = stops
        .iter()
        .map(|stop| json!({"policy": stop.policy, "code": stop.code, "message": stop.message}));
    Value::Array(stops.collect()).to_string()
}

pub(super) fn renew(
    tx: &Tx<'_>,
    id: EscalationId,
    (stops, roles): (&[Stop], &[String]),
    expires: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE escalation SET stops = ?2, roles = ?3, expires = ?4
             WHERE id = ?1 AND state = 'pending'",
            params![
                id.to_string(),
                written(stops),
                json!(roles).to_string(),
                expires.as_millisecond(),
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note what stops an escalated call"))
}

/// How many of a principal's wait, with the bytes of their arguments, and how many were
/// asked for since.
pub(super) fn asked_by(
    tx: &Tx<'_>,
    principal: &PrincipalId,
    (since, now): (Timestamp, Timestamp),
) -> Result<(u32, i64, u32), StoreError> {
    tx.sql()
        .query_row(
            "SELECT count(*) FILTER (WHERE state = 'pending' AND expires > ?3),
                    coalesce(sum(length(body)) FILTER (WHERE state = 'pending' AND expires > ?3), 0),
                    count(*) FILTER (WHERE asked > ?2)
             FROM escalation WHERE principal = ?1",
            params![
                principal.to_string(),
                since.as_millisecond(),
                now.as_millisecond()
            ],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .map_err(StoreError::sql("count the escalations of a principal"))
}

/// The one that still says something of exactly this call: one that is live, else one
/// that was refused, in whichever session its caller asked.
pub(super) fn last_for(
    tx: &Tx<'_>,
    subject: &Subject,
    now: Timestamp,
) -> Result<Option<Escalation>, StoreError> {
    let mut found = rows(
        tx,
        "WHERE principal = ?2 AND tool = ?3 AND arguments = ?4
           AND (session = ?1 AND state IN ('pending', 'approved')
             OR state = 'refused' AND expires > ?5)
         ORDER BY state IN ('pending', 'approved') DESC, asked DESC, id LIMIT 1",
        params![
            subject.session.as_bytes(),
            subject.principal.to_string(),
            subject.tool,
            subject.arguments.as_bytes(),
            now.as_millisecond(),
        ],
    )?;
    Ok(found.pop())
}

pub(super) fn by_id(tx: &Tx<'_>, id: EscalationId) -> Result<Option<Escalation>, StoreError> {
    Ok(rows(tx, "WHERE id = ?1", params![id.to_string()])?.pop())
}

pub(super) fn used_by(tx: &Tx<'_>, call: CallId) -> Result<Option<Escalation>, StoreError> {
    Ok(rows(tx, "WHERE used_by = ?1", params![call.as_bytes()])?.pop())
}

/// Those of a filter, the oldest first.
pub(super) fn list(tx: &Tx<'_>, filter: &Filter) -> Result<Vec<Escalation>, StoreError> {
    let session = filter.session.as_ref().map(SessionId::as_bytes);
    let newest = filter.newest.map_or(-1, i64::from);
    let mut found = rows(
        tx,
        "WHERE (?1 IS NULL OR session = ?1)
           AND (NOT ?2 OR state IN ('pending', 'approved'))
         ORDER BY asked DESC, id DESC LIMIT ?3",
        params![session, filter.live, newest],
    )?;
    found.reverse();
    Ok(found)
}

pub(super) fn try_again(tx: &Tx<'_>, id: EscalationId) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE escalation SET tries = min(tries + 1, 1000000) WHERE id = ?1",
            [id.to_string()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("count a try of an escalated call"))
}

pub(super) fn decide(
    tx: &Tx<'_>,
    id: EscalationId,
    state: State,
    decision: &Decision,
) -> Result<bool, StoreError> {
    let ended = (state == State::Refused).then_some(decision.at.as_millisecond());
    tx.sql()
        .execute(
            "UPDATE escalation
             SET state = ?2, decided = ?3, decided_by = ?4, reason = ?5, ended = ?6,
                 body = iif(?6 IS NULL, body, NULL)
             WHERE id = ?1 AND state = 'pending' AND expires > ?3",
            params![
                id.to_string(),
                state.as_str(),
                decision.at.as_millisecond(),
                decision.by.to_string(),
                decision.reason,
                ended,
            ],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("decide an escalation"))
}

pub(super) fn consume(
    tx: &Tx<'_>,
    id: EscalationId,
    call: CallId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "UPDATE escalation SET state = 'used', used_by = ?2, ended = ?3
             WHERE id = ?1 AND state = 'approved' AND expires > ?3",
            params![id.to_string(), call.as_bytes(), now.as_millisecond()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("use up an approval"))
}

pub(super) fn give_back(tx: &Tx<'_>, call: CallId) -> Result<bool, StoreError> {
    // Where the same call was asked for anew meanwhile, that one is what stands.
    tx.sql()
        .execute(
            "UPDATE OR IGNORE escalation SET state = 'approved', used_by = NULL, ended = NULL
             WHERE used_by = ?1 AND state = 'used' AND ended_why IS NULL",
            [call.as_bytes()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("give an approval back"))
}

pub(super) fn carry(
    tx: &Tx<'_>,
    id: EscalationId,
    (from, to): (CallId, CallId),
) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "UPDATE escalation SET used_by = ?3, ended_why = 'several rounds'
             WHERE id = ?1 AND state = 'used' AND used_by = ?2",
            params![id.to_string(), from.as_bytes(), to.as_bytes()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("hand an approval on to the next round"))
}

pub(super) fn end(
    tx: &Tx<'_>,
    id: EscalationId,
    (state, why): (State, Option<&str>),
    now: Timestamp,
) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "UPDATE escalation SET state = ?2, ended = ?3, ended_why = ?4, body = NULL
             WHERE id = ?1 AND state IN ('pending', 'approved')",
            params![id.to_string(), state.as_str(), now.as_millisecond(), why],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("end an escalation"))
}

pub(super) fn expire(tx: &Tx<'_>, most: u32, now: Timestamp) -> Result<usize, StoreError> {
    tx.sql()
        .execute(
            "UPDATE escalation SET state = 'expired', ended = ?1, body = NULL WHERE id IN (
                 SELECT id FROM escalation
                 WHERE state IN ('pending', 'approved') AND expires <= ?1 LIMIT ?2)",
            params![now.as_millisecond(), most],
        )
        .map_err(StoreError::sql("end old escalations"))
}

/// Forgets the arguments of what was used up before.
pub(super) fn forget_spent(tx: &Tx<'_>, before: Timestamp, most: u32) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE escalation SET body = NULL WHERE id IN (
                 SELECT id FROM escalation
                 WHERE state = 'used' AND body IS NOT NULL AND ended < ?1 LIMIT ?2)",
            params![before.as_millisecond(), most],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("forget the arguments of used approvals"))
}

/// Forgets what ended before.
pub(super) fn forget(tx: &Tx<'_>, before: Timestamp, most: u32) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM escalation WHERE id IN (
                 SELECT id FROM escalation
                 WHERE asked < ?1 AND ended < ?1 ORDER BY asked LIMIT ?2)",
            params![before.as_millisecond(), most],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("forget old escalations"))
}

fn rows(
    tx: &Tx<'_>,
    which: &str,
    params: &[&dyn rusqlite::ToSql],
) -> Result<Vec<Escalation>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(&format!("{COLUMNS} {which}"))?
            .query_map(params, |row| Ok(made(row)))?
            .collect::<Result<Vec<_>, _>>()
    };
    let rows = read().map_err(StoreError::sql("read escalations"))?;
    rows.into_iter()
        .map(|row| {
            row.map_err(|what| StoreError::Damaged {
                what: format!("an escalation ({what})"),
            })
        })
        .collect()
}

/// One row, or what of it cannot be read.
fn made(row: &Row<'_>) -> Result<Escalation, String> {
    let column = |error: rusqlite::Error| error.to_string();
    let text = |at: usize| row.get::<_, String>(at).map_err(column);
    let bytes = |at: usize| row.get::<_, [u8; 16]>(at).map_err(column);
    let digest = |at: usize| row.get(at).map(Digest::from_bytes).map_err(column);
    let time = |at: usize| -> Result<Option<Timestamp>, String> {
        let ms: Option<i64> = row.get(at).map_err(column)?;
        let time = ms.map(Timestamp::from_millisecond).transpose();
        time.map_err(|_no_time| "a time".to_owned())
    };
    let due = |at: usize| time(at)?.ok_or_else(|| "a time is missing".to_owned());
    let principal = |text: &str| PrincipalId::parse(text).map_err(|error| error.to_string());
    let state = text(1)?;
    let by: Option<String> = row.get(15).map_err(column)?;
    let decision = match (by, time(14)?) {
        (Some(by), Some(at)) => Some(Decision {
            by: principal(&by)?,
            at,
            reason: row.get(16).map_err(column)?,
        }),
        _ => None,
    };
    let used_by: Option<[u8; 16]> = row.get(17).map_err(column)?;
    let state = State::read(&state).ok_or(state)?;
    let body: Option<String> = row.get(8).map_err(column)?;
    let why: Option<String> = row.get(19).map_err(column)?;
    Ok(Escalation {
        id: text(0)?.parse().map_err(|_no_id| "its id".to_owned())?,
        state,
        call: CallId::from_bytes(bytes(2)?),
        session: SessionId::from_bytes(bytes(3)?),
        principal: principal(&text(4)?)?,
        tool: text(5)?,
        arguments: digest(6)?,
        definition: digest(7)?,
        body: body.filter(|_| state.is_live()).map(Into::into),
        roles: serde_json::from_str(&text(9)?).map_err(|_unread| "its roles".to_owned())?,
        stops: stops(&text(10)?).ok_or_else(|| "what stopped it".to_owned())?,
        asked: due(11)?,
        expires: due(12)?,
        tries: row.get(13).map_err(column)?,
        decision,
        used_by: used_by.map(CallId::from_bytes),
        ended: time(18)?.map(|at| (at, why)),
    })
}

fn stops(text: &str) -> Option<Vec<Stop>> {
    let stops: Vec<Value> = serde_json::from_str(text).ok()?;
    let text = |stop: &Value, key: &str| stop[key].as_str().map(str::to_owned);
    let stops = stops.iter().map(|stop| {
        Some(Stop {
            policy: text(stop, "policy")?,
            code: text(stop, "code")?,
            message: text(stop, "message"),
        })
    });
    stops.collect()
}
