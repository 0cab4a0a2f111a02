//! The table of the tasks.

use super::Task;
use crate::principal::PrincipalId;
use crate::session::Label;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::tool::ServerName;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;
use serde_json::Value;
use std::collections::BTreeSet;

/// The table of this room, as of version 5 of the store.
pub const SCHEMA: &str = "
CREATE TABLE task (                  -- calls that go on by themselves
    id TEXT PRIMARY KEY,             -- as the client knows it
    principal TEXT NOT NULL,
    server TEXT NOT NULL,
    native TEXT NOT NULL,            -- as the server knows it
    call BLOB NOT NULL,              -- that began it
    created INTEGER NOT NULL         -- ms since 1970 UTC
) STRICT, WITHOUT ROWID;
CREATE INDEX task_by_age ON task (created);
";

/// What version 7 of the store adds.
pub const SCHEMA_7: &str = "
ALTER TABLE task ADD COLUMN labels TEXT NOT NULL DEFAULT '[]'; -- JSON array of strings
";

/// What version 11 of the store adds.
pub const SCHEMA_11: &str = "
ALTER TABLE task ADD COLUMN replica TEXT; -- URL of where it was begun, if several
";

pub(super) fn task_insert(
    tx: &Tx<'_>,
    id: &str,
    (principal, task): (&PrincipalId, &Task),
    now: Timestamp,
) -> Result<(), StoreError> {
    let labels = task.labels.iter().map(Label::as_str);
    let labels = Value::from_iter(labels);
    tx.sql()
        .execute(
            "INSERT INTO task (id, principal, server, native, call, created, labels, replica)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                id,
                principal.to_string(),
                task.server.as_str(),
                &*task.native,
                task.call.as_bytes(),
                now.as_millisecond(),
                labels.to_string(),
                task.replica
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("keep a task"))
}

pub(super) fn task(
    tx: &Tx<'_>,
    principal: &PrincipalId,
    id: &str,
) -> Result<Option<Task>, StoreError> {
    type Columns = (String, String, [u8; 16], String, Option<Box<str>>);
    let read = || -> rusqlite::Result<Option<Columns>> {
        tx.sql()
            .prepare_cached(
                "SELECT server, native, call, labels, replica FROM task
                 WHERE id = ?1 AND principal = ?2",
            )?
            .query_row(params![id, principal.to_string()], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            })
            .optional()
    };
    let found = read().map_err(StoreError::sql("look for a task"))?;
    let Some((server, native, call, labels, replica)) = found else {
        return Ok(None);
    };
    let damaged = |what: &str| StoreError::Damaged {
        what: format!("the {what} of a task"),
    };
    let server = server.parse().map_err(|_no_name| damaged("server"))?;
    let labels: Vec<String> =
        serde_json::from_str(&labels).map_err(|_no_list| damaged("labels"))?;
    let labels = labels.iter().map(|label| label.parse::<Label>());
    Ok(Some(Task {
        server,
        native: native.into(),
        call: CallId::from_bytes(call),
        labels: labels
            .collect::<Result<_, _>>()
            .map_err(|_no_label| damaged("labels"))?,
        replica,
    }))
}

/// The ids of a principal's tasks that these servers have, the newest first, after
/// the one of this id; none where that one is not the principal's.
pub(super) fn tasks_after(
    tx: &Tx<'_>,
    (principal, servers): (&PrincipalId, &BTreeSet<ServerName>),
    after: Option<&str>,
    most: usize,
) -> Result<Vec<String>, StoreError> {
    let servers = Value::from_iter(servers.iter().map(ServerName::as_str));
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT id FROM task
                 WHERE principal = ?1
                   AND server IN (SELECT value FROM json_each(?2))
                   AND (?3 IS NULL OR (created, id) <
                        (SELECT created, id FROM task WHERE id = ?3 AND principal = ?1))
                 ORDER BY created DESC, id DESC
                 LIMIT ?4",
            )?
            .query_map(
                params![
                    principal.to_string(),
                    servers.to_string(),
                    after,
                    i64::try_from(most).unwrap_or(i64::MAX)
                ],
                |row| row.get(0),
            )?
            .collect::<Result<Vec<String>, _>>()
    };
    read().map_err(StoreError::sql("list tasks"))
}

pub(super) fn tasks_delete_before(tx: &Tx<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM task WHERE created < ?1",
            [before.as_millisecond()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("forget old tasks"))
}
