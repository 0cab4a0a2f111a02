//! The tables of the meters.

use super::Total;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::civil::Date;
use rusqlite::OptionalExtension;
use rusqlite::params;
use std::sync::Arc;

/// The tables of this room, as of version 1 of the store.
pub const SCHEMA: &str = "
CREATE TABLE meter (
    scope TEXT NOT NULL,             -- session:<id> or principal:<key>
    window TEXT NOT NULL,            -- '' for all time, or a day: 2026-11-22
    meter TEXT NOT NULL,             -- server/tool#argument
    total INTEGER NOT NULL,          -- in the meter's units, cents for money
    PRIMARY KEY (scope, window, meter)
) STRICT, WITHOUT ROWID;
CREATE TABLE meter_day (             -- one row: the latest day ever counted
    only INTEGER PRIMARY KEY CHECK (only = 1),
    day TEXT NOT NULL
) STRICT;
";

/// The tables of this room that came with version 2 of the store.
pub const SCHEMA_2: &str = "
CREATE TABLE meter_scale (           -- one row: in what money is counted
    only INTEGER PRIMARY KEY CHECK (only = 1),
    digits INTEGER NOT NULL          -- of minor units, 2 for cents
) STRICT;
";

/// What version 5 of the store adds.
pub const SCHEMA_5: &str = "
CREATE TABLE meter_held (            -- charges of calls that asked for more
    call BLOB NOT NULL,
    meter TEXT NOT NULL,
    day TEXT NOT NULL,               -- on which it was charged
    value INTEGER NOT NULL,
    PRIMARY KEY (call, meter)
) STRICT, WITHOUT ROWID;
";

/// What version 9 of the store adds: the meters that the operator declares.
pub const SCHEMA_9: &str = "
CREATE TABLE meter_count (
    meter TEXT NOT NULL,             -- its name, and how it was declared
    scope TEXT NOT NULL,             -- session:<id>, principal:<key>, role:<name> or tool:<server/tool>
    slot INTEGER NOT NULL,           -- 0 for all time, a day as 20261122, or the number of a part of a sliding window
    total INTEGER NOT NULL,          -- calls, or the units of what is summed, cents for money
    PRIMARY KEY (meter, scope, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE meter_clock (           -- one row: the latest instant ever counted
    only INTEGER PRIMARY KEY CHECK (only = 1),
    at INTEGER NOT NULL              -- in milliseconds since 1970
) STRICT;
CREATE TABLE meter_count_held (      -- what calls that asked for more were counted
    call BLOB NOT NULL,
    meter TEXT NOT NULL,
    scope TEXT NOT NULL,
    slot INTEGER NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (call, meter)
) STRICT, WITHOUT ROWID;
";

/// Notes the scale where none was noted, and returns the one that was.
pub(super) fn scale(tx: &Tx<'_>, digits: u8) -> Result<u8, StoreError> {
    let note = || {
        tx.sql().execute(
            "INSERT OR IGNORE INTO meter_scale (only, digits) VALUES (1, ?1)",
            [digits],
        )?;
        tx.sql()
            .query_row("SELECT digits FROM meter_scale", [], |row| row.get(0))
    };
    note().map_err(StoreError::sql("read in what money is counted"))
}

pub(super) fn total(
    tx: &Tx<'_>,
    scope: &str,
    window: &str,
    meter: &str,
) -> Result<i64, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT total FROM meter WHERE scope = ?1 AND window = ?2 AND meter = ?3",
            )?
            .query_row(params![scope, window, meter], |row| row.get(0))
            .optional()
    };
    let total: Option<i64> = read().map_err(StoreError::sql("read a meter"))?;
    Ok(total.unwrap_or(0))
}

pub(super) fn total_add(
    tx: &Tx<'_>,
    scope: &str,
    window: &str,
    (meter, value): (&str, i64),
) -> Result<(), StoreError> {
    let add = || {
        tx.sql()
            .prepare_cached(
                "INSERT INTO meter (scope, window, meter, total) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET total = total + excluded.total",
            )?
            .execute(params![scope, window, meter, value])
    };
    add()
        .map(|_one_row| ())
        .map_err(StoreError::sql("change a meter"))
}

pub(super) fn held_insert(
    tx: &Tx<'_>,
    call: CallId,
    day: Date,
    (meter, value): &(Arc<str>, i64),
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR REPLACE INTO meter_held (call, meter, day, value) VALUES (?1, ?2, ?3, ?4)",
            params![call.as_bytes(), &**meter, day.to_string(), value],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("keep the charges of a call"))
}

/// By meter.
pub(super) fn held(tx: &Tx<'_>, call: CallId) -> Result<Vec<(Date, String, i64)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT day, meter, value FROM meter_held WHERE call = ?1 ORDER BY meter",
            )?
            .query_map([call.as_bytes()], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    let held = read().map_err(StoreError::sql("look for charges that were kept"))?;
    let day = |(day, meter, value): (String, String, i64)| match day.parse() {
        Ok(day) => Ok((day, meter, value)),
        Err(_no_date) => Err(StoreError::Damaged {
            what: format!("the day `{day}`"),
        }),
    };
    held.into_iter().map(day).collect()
}

pub(super) fn held_delete(tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
    let delete = || {
        let call = [call.as_bytes()];
        tx.sql()
            .execute("DELETE FROM meter_held WHERE call = ?1", call)?;
        tx.sql()
            .execute("DELETE FROM meter_count_held WHERE call = ?1", call)
    };
    delete()
        .map(|_rows| ())
        .map_err(StoreError::sql("hand on the charges of a call"))
}

pub(super) fn totals(tx: &Tx<'_>, scope: &str, window: &str) -> Result<Vec<Total>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT meter, total FROM meter WHERE scope = ?1 AND window = ?2 ORDER BY meter",
            )?
            .query_map(params![scope, window], |row| {
                Ok(Total {
                    meter: row.get(0)?,
                    total: row.get(1)?,
                })
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("list the meters"))
}

/// Days are compared as texts: ISO 8601 dates of four-digit years sort by time.
pub(super) fn day_advance(tx: &Tx<'_>, day: Date) -> Result<Date, StoreError> {
    let text = day.to_string();
    let advance = || {
        let last: Option<String> = tx
            .sql()
            .prepare_cached("SELECT day FROM meter_day")?
            .query_row([], |row| row.get(0))
            .optional()?;
        if let Some(last) = last.filter(|last| *last >= text) {
            return Ok(last);
        }
        tx.sql()
            .prepare_cached("INSERT OR REPLACE INTO meter_day (only, day) VALUES (1, ?1)")?
            .execute([&text])?;
        Ok(text)
    };
    let counted = advance().map_err(StoreError::sql("read the day of the meters"))?;
    counted.parse().map_err(|_no_date| StoreError::Damaged {
        what: format!("the day `{counted}`"),
    })
}

/// The last day that was counted.
pub(super) fn day(tx: &Tx<'_>) -> Result<Option<Date>, StoreError> {
    let read = || {
        tx.sql()
            .query_row("SELECT day FROM meter_day", [], |row| {
                row.get::<_, String>(0)
            })
            .optional()
    };
    let day = read().map_err(StoreError::sql("read the day of the meters"))?;
    let parsed = day.map(|day| {
        day.parse().map_err(|_no_date| StoreError::Damaged {
            what: format!("the day `{day}`"),
        })
    });
    parsed.transpose()
}

/// The totals of principals on one day: scope and total.
pub(super) fn totals_of_day(tx: &Tx<'_>, day: Date) -> Result<Vec<(String, Total)>, StoreError> {
    scoped(tx, &day.to_string())
}

/// The totals of sessions: scope and total.
pub(super) fn totals_of_sessions(tx: &Tx<'_>) -> Result<Vec<(String, Total)>, StoreError> {
    scoped(tx, "")
}

fn scoped(tx: &Tx<'_>, window: &str) -> Result<Vec<(String, Total)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT scope, meter, total FROM meter WHERE window = ?1 ORDER BY meter, scope",
            )?
            .query_map([window], |row| {
                let total = Total {
                    meter: row.get(1)?,
                    total: row.get(2)?,
                };
                Ok((row.get(0)?, total))
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("list the meters"))
}
