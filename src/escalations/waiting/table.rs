//! The table of the tasks that stand for requests.

use super::Came;
use super::Waiting;
use super::Wish;
use crate::escalations::EscalationId;
use crate::retries::Form;
use crate::retries::IdempotencyKey;
use crate::retries::Kept;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::tool::OnApproval;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

/// What version 18 of the store adds.
pub const SCHEMA_18: &str = "
CREATE TABLE escalation_task (
    escalation TEXT PRIMARY KEY,
    task TEXT NOT NULL,              -- as its client knows it
    begun INTEGER NOT NULL,          -- ms since 1970 UTC
    on_approval TEXT NOT NULL,       -- retry, resume
    key TEXT,                        -- what its client calls the call
    credential TEXT,                 -- id of the API key that it came with
    call BLOB,                       -- that was made for it
    not_made INTEGER,                -- ms: since then none will be
    not_made_why TEXT,
    form TEXT,                       -- of the answer: result, error, task, too-large
    era TEXT,
    answer TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX escalation_task_by_age ON escalation_task (begun);
CREATE INDEX escalation_task_by_call ON escalation_task (call) WHERE call IS NOT NULL;
CREATE INDEX escalation_task_to_make ON escalation_task (escalation)
    WHERE on_approval = 'resume' AND call IS NULL AND not_made IS NULL;
";

const TOO_LARGE: &str = "too-large";

/// What is still to be made.
const DUE: &str = "escalation_task AS t JOIN escalation AS e ON e.id = t.escalation
    WHERE t.on_approval = 'resume' AND t.call IS NULL AND t.not_made IS NULL
      AND e.state = 'approved'";

pub(super) fn insert(
    tx: &Tx<'_>,
    (id, task): (EscalationId, &str),
    wish: &Wish,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO escalation_task (escalation, task, begun, on_approval, key, credential)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                id.to_string(),
                task,
                now.as_millisecond(),
                wish.on_approval.as_str(),
                wish.key.as_ref().map(IdempotencyKey::as_str),
                wish.credential,
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("keep a task that waits for a decision"))
}

pub(super) fn delete_before(tx: &Tx<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM escalation_task WHERE begun < ?1",
            [before.as_millisecond()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("forget old tasks that waited"))
}

pub(super) fn waiting(tx: &Tx<'_>, id: EscalationId) -> Result<Option<Waiting>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT task, begun, on_approval, key, credential, call, not_made, not_made_why,
                        form, era, answer
                 FROM escalation_task WHERE escalation = ?1",
            )?
            .query_row([id.to_string()], |row| Ok(made_of(row)))
            .optional()
    };
    let found = read().map_err(StoreError::sql("look for a task that waits"))?;
    let damaged = |what: String| StoreError::Damaged {
        what: format!("a task that waits for a decision ({what})"),
    };
    found.transpose().map_err(damaged)
}

/// One row, or what of it cannot be read.
fn made_of(row: &Row<'_>) -> Result<Waiting, String> {
    let column = |error: rusqlite::Error| error.to_string();
    let text = |at: usize| row.get::<_, Option<String>>(at).map_err(column);
    let time = |ms: i64| Timestamp::from_millisecond(ms).map_err(|_range| "a time".to_owned());
    let on_approval = text(2)?.unwrap_or_default();
    let key = text(3)?.map(|key| IdempotencyKey::read(&key)).transpose();
    let call: Option<[u8; 16]> = row.get(5).map_err(column)?;
    let not_made: Option<i64> = row.get(6).map_err(column)?;
    let not_made = not_made.map(time).transpose()?;
    Ok(Waiting {
        task: text(0)?.unwrap_or_default(),
        begun: time(row.get(1).map_err(column)?)?,
        wish: Wish {
            on_approval: OnApproval::read(&on_approval).ok_or(on_approval)?,
            key: key.map_err(|error| error.to_string())?,
            credential: text(4)?,
        },
        call: call.map(CallId::from_bytes),
        came: came(text(8)?, text(9)?, text(10)?)?,
        not_made: not_made.zip(text(7)?),
    })
}

fn came(
    form: Option<String>,
    era: Option<String>,
    answer: Option<String>,
) -> Result<Option<Came>, String> {
    let Some(form) = form else { return Ok(None) };
    if form == TOO_LARGE {
        return Ok(Some(Came::TooLarge));
    }
    Ok(Some(Came::Answered(Kept {
        form: Form::read(&form).ok_or(form)?,
        era: era.unwrap_or_default(),
        body: answer.unwrap_or_default().into(),
    })))
}

pub(super) fn due(tx: &Tx<'_>, most: u32, now: Timestamp) -> Result<Vec<EscalationId>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(&format!(
                "SELECT t.escalation FROM {DUE} AND e.expires > ?1 ORDER BY e.decided, e.id LIMIT ?2"
            ))?
            .query_map(params![now.as_millisecond(), most], |row| {
                row.get::<_, String>(0)
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    let ids = read().map_err(StoreError::sql("look for approved calls to make"))?;
    let id = |id: String| {
        id.parse().map_err(|_no_id| StoreError::Damaged {
            what: "the id of an escalation".to_owned(),
        })
    };
    ids.into_iter().map(id).collect()
}

pub(super) fn is_due(tx: &Tx<'_>, id: EscalationId, now: Timestamp) -> Result<bool, StoreError> {
    tx.sql()
        .query_row(
            &format!(
                "SELECT EXISTS (SELECT 1 FROM {DUE} AND e.expires > ?1 AND t.escalation = ?2)"
            ),
            params![now.as_millisecond(), id.to_string()],
            |row| row.get(0),
        )
        .map_err(StoreError::sql(
            "ask whether an approved call is to be made",
        ))
}

pub(super) fn made(tx: &Tx<'_>, id: EscalationId, call: CallId) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "UPDATE escalation_task SET call = ?2
             WHERE escalation = ?1 AND call IS NULL AND not_made IS NULL",
            params![id.to_string(), call.as_bytes()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("note the call of a task"))
}

pub(super) fn not_made(
    tx: &Tx<'_>,
    id: EscalationId,
    why: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE escalation_task SET not_made = ?2, not_made_why = ?3
             WHERE escalation = ?1 AND call IS NULL AND not_made IS NULL",
            params![id.to_string(), now.as_millisecond(), why],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("note that an approved call is not made"))
}

pub(super) fn answered(tx: &Tx<'_>, call: CallId, kept: Option<&Kept>) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE escalation_task SET form = ?2, era = ?3, answer = ?4 WHERE call = ?1",
            params![
                call.as_bytes(),
                kept.map_or(TOO_LARGE, |kept| kept.form.as_str()),
                kept.map(|kept| &kept.era),
                kept.map(|kept| &kept.body),
            ],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("keep the answer of a task"))
}
