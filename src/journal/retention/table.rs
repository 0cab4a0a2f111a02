//! What is too old to be kept.

use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;

pub(super) fn payloads_delete(
    tx: &Tx<'_>,
    before: Timestamp,
    most: u32,
) -> Result<usize, StoreError> {
    let first = CallId::first_of(before);
    let delete = || {
        tx.sql()
            .prepare_cached(
                "DELETE FROM payload WHERE (call, part) IN
                     (SELECT call, part FROM payload WHERE call < ?1
                      AND call NOT IN (SELECT call FROM in_flight) LIMIT ?2)",
            )?
            .execute(params![first.as_bytes(), most])
    };
    delete().map_err(StoreError::sql("take away old payloads"))
}

/// The chains whose first record is of before then, each with what it begins after.
pub(super) fn older(tx: &Tx<'_>, before: Timestamp) -> Result<Vec<(WriterId, i64)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT writer.id, coalesce(
                     (SELECT seq FROM chain_begin WHERE writer = writer.id), 0)
                 FROM writer
                 WHERE (SELECT at FROM journal WHERE writer = writer.id
                        ORDER BY seq LIMIT 1) < ?1",
            )?
            .query_map([before.as_millisecond()], |row| {
                Ok((WriterId::from_number(row.get(0)?), row.get(1)?))
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("look for old records"))
}

/// How far a chain is vouched for.
pub(super) fn covered(tx: &Tx<'_>, writer: WriterId) -> Result<Option<i64>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT max(seq) FROM checkpoint_head WHERE writer = ?1")?
            .query_row([writer.number()], |row| row.get(0))
    };
    read().map_err(StoreError::sql("look for a checkpoint"))
}

/// The first record of this part of a chain that must stay.
pub(super) fn first_kept(
    tx: &Tx<'_>,
    (writer, begin, most): (WriterId, i64, i64),
    before: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT seq FROM journal
                 WHERE writer = ?1 AND seq > ?2 AND seq <= ?3
                     AND (at >= ?4 OR call IN (SELECT call FROM in_flight)
                          OR call IN (SELECT call FROM unsettled)
                          OR call IN (SELECT call FROM unread_call))
                 ORDER BY seq LIMIT 1",
            )?
            .query_row(
                params![writer.number(), begin, most, before.as_millisecond()],
                |row| row.get(0),
            )
            .optional()
    };
    read().map_err(StoreError::sql("look for what must be kept"))
}

/// Takes away the records of a chain up to this one, with what is kept beside them.
pub(super) fn records_delete(tx: &Tx<'_>, writer: WriterId, end: i64) -> Result<(), StoreError> {
    let delete = || {
        let place = params![writer.number(), end];
        // First, because a trigger holds that nothing else is taken away.
        tx.sql()
            .prepare_cached(
                "INSERT OR REPLACE INTO chain_begin (writer, seq, hash)
                 SELECT writer, seq, hash FROM journal WHERE writer = ?1 AND seq = ?2",
            )?
            .execute(place)?;
        tx.sql()
            .prepare_cached(
                "DELETE FROM payload WHERE call IN
                     (SELECT call FROM journal WHERE writer = ?1 AND seq <= ?2)",
            )?
            .execute(place)?;
        tx.sql()
            .prepare_cached("DELETE FROM journal WHERE writer = ?1 AND seq <= ?2")?
            .execute(place)
    };
    delete()
        .map(|_rows| ())
        .map_err(StoreError::sql("take away old records"))
}

/// Calls of before then may be there by half: their records are of two chains.
pub(super) fn note_trimmed(tx: &Tx<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE journal_id SET trimmed = max(coalesce(trimmed, 0), ?1)",
            [before.as_millisecond()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note how far records were taken away"))
}

/// Calls made before this one may be there by half.
pub(in crate::journal) fn trimmed_before(tx: &Tx<'_>) -> Result<Option<CallId>, StoreError> {
    let read = tx
        .sql()
        .query_row("SELECT trimmed FROM journal_id", [], |row| row.get(0));
    let trimmed: Option<i64> = read.map_err(StoreError::sql("see what was taken away"))?;
    Ok(trimmed
        .and_then(|at| Timestamp::from_millisecond(at).ok())
        .map(CallId::first_of))
}
