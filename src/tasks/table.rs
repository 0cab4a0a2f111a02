//! The table of the tasks.

use super::Task;
use crate::principal::PrincipalId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;

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

pub(super) fn task_insert(
    tx: &Tx<'_>,
    id: &str,
    (principal, task): (&PrincipalId, &Task),
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO task (id, principal, server, native, call, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                id,
                principal.to_string(),
                task.server.as_str(),
                &*task.native,
                task.call.as_bytes(),
                now.as_millisecond()
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
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT server, native, call FROM task WHERE id = ?1 AND principal = ?2",
            )?
            .query_row(params![id, principal.to_string()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
    };
    let found: Option<(String, String, [u8; 16])> =
        read().map_err(StoreError::sql("look for a task"))?;
    let Some((server, native, call)) = found else {
        return Ok(None);
    };
    let server = server.parse().map_err(|_no_name| StoreError::Damaged {
        what: "the server of a task".to_owned(),
    })?;
    Ok(Some(Task {
        server,
        native: native.into(),
        call: CallId::from_bytes(call),
    }))
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
