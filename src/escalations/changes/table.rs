//! The table of the changes, and the triggers that fill it.

use super::Change;
use crate::escalations::EscalationId;
use crate::escalations::State;
use crate::store::StoreError;
use crate::store::Tx;
use rusqlite::params;

/// What version 19 of the store has besides.
pub const SCHEMA_19: &str = "
CREATE TABLE escalation_change (     -- until it is handed on
    number INTEGER PRIMARY KEY,
    escalation TEXT NOT NULL,
    state TEXT NOT NULL              -- what it became
) STRICT;
CREATE TRIGGER escalation_asked AFTER INSERT ON escalation BEGIN
    INSERT INTO escalation_change (escalation, state) VALUES (new.id, new.state);
END;
CREATE TRIGGER escalation_changed AFTER UPDATE OF state ON escalation
    WHEN old.state <> new.state BEGIN
    INSERT INTO escalation_change (escalation, state) VALUES (new.id, new.state);
END;
";

pub(super) fn any(tx: &Tx<'_>) -> Result<bool, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM escalation_change)")?
            .query_row([], |row| row.get(0))
    };
    read().map_err(StoreError::sql("look for changes of escalations"))
}

pub(super) fn add(tx: &Tx<'_>, id: EscalationId, state: State) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO escalation_change (escalation, state) VALUES (?1, ?2)",
            params![id.to_string(), state.as_str()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note that an escalation says more"))
}

pub(super) fn take(tx: &Tx<'_>, most: u32) -> Result<Vec<Change>, StoreError> {
    type Columns = (i64, String, String);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT number, escalation, state FROM escalation_change
                 ORDER BY number LIMIT ?1",
            )?
            .query_map([most], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<Vec<Columns>, _>>()
    };
    let found = read().map_err(StoreError::sql("read changes of escalations"))?;
    if let Some((last, _, _)) = found.last() {
        tx.sql()
            .execute(
                "DELETE FROM escalation_change WHERE number <= ?1",
                params![last],
            )
            .map_err(StoreError::sql("take changes of escalations"))?;
    }
    let changes = found.into_iter().map(|(_number, id, state)| {
        let state = State::read(&state);
        let (Ok(id), Some(state)) = (id.parse(), state) else {
            return Err(StoreError::Damaged {
                what: format!("a change of the escalation {id}"),
            });
        };
        Ok(Change { id, state })
    });
    changes.collect()
}
