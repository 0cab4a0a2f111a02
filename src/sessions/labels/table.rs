//! Labels in the tables of the sessions.

use super::Sticks;
use crate::session::SessionId;
use crate::sessions::table;
use crate::store::StoreError;
use crate::store::Tx;
use rusqlite::OptionalExtension;
use rusqlite::params;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Whose a session is. None where there is none.
pub(super) fn owner(tx: &Tx<'_>, id: SessionId) -> Result<Option<String>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT owner FROM session WHERE id = ?1")?
            .query_row([id.as_bytes()], |row| row.get(0))
            .optional()
    };
    read().map_err(StoreError::sql("read a session"))
}

/// Returns those that the session did not have.
pub(super) fn labels_add<'a>(
    tx: &Tx<'_>,
    id: SessionId,
    labels: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, StoreError> {
    let mut labels = labels.peekable();
    if labels.peek().is_none() {
        return Ok(Vec::new());
    }
    let Some(mut all) = labels_of(tx, id)? else {
        return Ok(Vec::new());
    };
    let mut added: Vec<String> = labels.map(str::to_owned).collect();
    added.retain(|label| all.insert(label.clone()));
    if !added.is_empty() {
        labels_set(tx, id, &all)?;
    }
    Ok(added)
}

/// Returns those that the session had.
pub(super) fn labels_remove<'a>(
    tx: &Tx<'_>,
    id: SessionId,
    labels: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, StoreError> {
    let Some(mut all) = labels_of(tx, id)? else {
        return Ok(Vec::new());
    };
    let mut removed: Vec<String> = labels.map(str::to_owned).collect();
    removed.retain(|label| all.remove(label));
    if !removed.is_empty() {
        labels_set(tx, id, &all)?;
    }
    Ok(removed)
}

fn labels_of(tx: &Tx<'_>, id: SessionId) -> Result<Option<BTreeSet<String>>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT labels FROM session WHERE id = ?1")?
            .query_row([id.as_bytes()], |row| Ok(table::labels(id, row.get(0))))
            .optional()
    };
    read()
        .map_err(StoreError::sql("read the labels of a session"))?
        .transpose()
}

fn labels_set(tx: &Tx<'_>, id: SessionId, labels: &BTreeSet<String>) -> Result<(), StoreError> {
    let labels = serde_json::Value::from_iter(labels.iter().cloned());
    tx.sql()
        .execute(
            "UPDATE session SET labels = ?2 WHERE id = ?1",
            params![id.as_bytes(), labels.to_string()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("label a session"))
}

/// Never shortens it.
pub(super) fn stick(
    tx: &Tx<'_>,
    principal: &str,
    label: &str,
    sticks: Sticks,
) -> Result<(), StoreError> {
    let Sticks { until, removals } = sticks;
    let write = || {
        tx.sql()
            .prepare_cached(
                "INSERT INTO session_label (principal, label, until, removals)
                 VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET until = max(until, excluded.until),
                     removals = max(removals, excluded.removals)",
            )?
            .execute(params![principal, label, until.as_millisecond(), removals])
    };
    write()
        .map(|_one_row| ())
        .map_err(StoreError::sql("note whom a label sticks to"))
}

pub(super) fn sticking(
    tx: &Tx<'_>,
    principal: &str,
) -> Result<BTreeMap<String, Sticks>, StoreError> {
    type Columns = (String, i64, i64);
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT label, until, removals FROM session_label WHERE principal = ?1",
            )?
            .query_map([principal], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<Vec<Columns>, _>>()
    };
    let rows = read().map_err(StoreError::sql("read which labels stick to somebody"))?;
    let rows = rows.into_iter().map(|(label, until, removals)| {
        let until = table::time(until).ok_or_else(|| StoreError::Damaged {
            what: format!("the time of the label `{label}`"),
        })?;
        Ok((label, Sticks { until, removals }))
    });
    rows.collect()
}

/// The labels that were taken off a session, each with the number of its removal.
pub(super) fn removed(tx: &Tx<'_>, id: SessionId) -> Result<BTreeMap<String, i64>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT label, number FROM session_unlabelled WHERE session = ?1")?
            .query_map([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()
    };
    read().map_err(StoreError::sql(
        "read which labels were taken off a session",
    ))
}

/// The number of the last removal of a label.
pub(super) fn removals(tx: &Tx<'_>) -> Result<i64, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT coalesce(max(number), 0) FROM session_unlabelled")?
            .query_row([], |row| row.get(0))
    };
    read().map_err(StoreError::sql("count the labels that were taken off"))
}

/// Takes the place of an earlier removal, so that numbers only grow.
pub(super) fn removal_insert(tx: &Tx<'_>, id: SessionId, label: &str) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR REPLACE INTO session_unlabelled (session, label, number)
             VALUES (?1, ?2, 1 + (SELECT coalesce(max(number), 0) FROM session_unlabelled))",
            params![id.as_bytes(), label],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note that a label was taken off"))
}
