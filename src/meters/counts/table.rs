//! The tables of declared meters. Their schema stands with the room's others.

use super::Place;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use rusqlite::OptionalExtension;
use rusqlite::params;

/// What one call was counted, and where.
pub(super) struct HeldRow {
    pub(super) meter: String,
    pub(super) scope: String,
    pub(super) slot: i64,
    pub(super) value: i64,
}

/// The totals of all slots from `first` on.
pub(super) fn totals(tx: &Tx<'_>, place: Place<'_>, first: i64) -> Result<Vec<i64>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT total FROM meter_count WHERE meter = ?1 AND scope = ?2 AND slot >= ?3",
            )?
            .query_map(params![place.meter, place.scope, first], |row| row.get(0))?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("read a meter"))
}

/// The totals of all scopes in all slots from `first` on, by scope.
pub(super) fn scopes(
    tx: &Tx<'_>,
    meter: &str,
    first: i64,
) -> Result<Vec<(String, i64)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT scope, total FROM meter_count WHERE meter = ?1 AND slot >= ?2 ORDER BY scope",
            )?
            .query_map(params![meter, first], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("list the meters"))
}

pub(super) fn add(
    tx: &Tx<'_>,
    place: Place<'_>,
    (slot, value): (i64, i64),
) -> Result<(), StoreError> {
    let add = || {
        tx.sql()
            .prepare_cached(
                "INSERT INTO meter_count (meter, scope, slot, total) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET total = total + excluded.total",
            )?
            .execute(params![place.meter, place.scope, slot, value])
    };
    add()
        .map(|_one_row| ())
        .map_err(StoreError::sql("change a meter"))
}

/// Takes out of a slot what was counted there. One that has left its window is not
/// there any more, and no row comes of that.
pub(super) fn take(
    tx: &Tx<'_>,
    place: Place<'_>,
    (slot, value): (i64, i64),
) -> Result<(), StoreError> {
    let take = || {
        tx.sql()
            .prepare_cached(
                "UPDATE meter_count SET total = total - ?4
                 WHERE meter = ?1 AND scope = ?2 AND slot = ?3",
            )?
            .execute(params![place.meter, place.scope, slot, value])
    };
    take()
        .map(|_rows| ())
        .map_err(StoreError::sql("change a meter"))
}

/// Takes away the slots before `first`.
pub(super) fn prune(tx: &Tx<'_>, place: Place<'_>, first: i64) -> Result<(), StoreError> {
    let prune = || {
        tx.sql()
            .prepare_cached(
                "DELETE FROM meter_count WHERE meter = ?1 AND scope = ?2 AND slot < ?3",
            )?
            .execute(params![place.meter, place.scope, first])
    };
    prune()
        .map(|_rows| ())
        .map_err(StoreError::sql("take away what a meter counted before"))
}

pub(super) fn held_insert(
    tx: &Tx<'_>,
    call: CallId,
    place: Place<'_>,
    (slot, value): (i64, i64),
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR REPLACE INTO meter_count_held (call, meter, scope, slot, value)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![call.as_bytes(), place.meter, place.scope, slot, value],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("keep what a call was counted"))
}

pub(super) fn held(tx: &Tx<'_>, call: CallId) -> Result<Vec<HeldRow>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT meter, scope, slot, value FROM meter_count_held WHERE call = ?1",
            )?
            .query_map([call.as_bytes()], |row| {
                Ok(HeldRow {
                    meter: row.get(0)?,
                    scope: row.get(1)?,
                    slot: row.get(2)?,
                    value: row.get(3)?,
                })
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("look for what a call was counted"))
}

/// The latest instant ever counted, in milliseconds since 1970.
pub(super) fn clock(tx: &Tx<'_>) -> Result<Option<i64>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT at FROM meter_clock")?
            .query_row([], |row| row.get(0))
            .optional()
    };
    read().map_err(StoreError::sql("read the clock of the meters"))
}

/// Moves the clock on. Returns the latest instant ever counted.
pub(super) fn clock_advance(tx: &Tx<'_>, at: i64) -> Result<i64, StoreError> {
    if let Some(last) = clock(tx)?.filter(|last| *last >= at) {
        return Ok(last);
    }
    let advance = || {
        tx.sql()
            .prepare_cached("INSERT OR REPLACE INTO meter_clock (only, at) VALUES (1, ?1)")?
            .execute([at])
    };
    advance()
        .map(|_one_row| at)
        .map_err(StoreError::sql("move on the clock of the meters"))
}
