//! What of the journal is exported.

use super::Asked;
use crate::journal::table::Record;
use crate::journal::table::read_record;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::Digest;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;

/// The writers, in the order of their starts.
pub(super) fn writers(tx: &Tx<'_>) -> Result<Vec<WriterId>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT id FROM writer ORDER BY id")?
            .query_map([], |row| row.get(0).map(WriterId::from_number))?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("list the writers"))
}

/// The first and the last record after `begin` that is asked for.
pub(super) fn wanted(
    tx: &Tx<'_>,
    (writer, begin): (WriterId, i64),
    asked: &Asked,
) -> Result<Option<(i64, i64)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT min(seq), max(seq) FROM journal
                 WHERE writer = ?1 AND seq > ?5
                     AND (?2 IS NULL OR at >= ?2) AND (?3 IS NULL OR at < ?3)
                     AND (?4 IS NULL OR call IN
                         (SELECT call FROM journal WHERE session = ?4))",
            )?
            .query_row(
                params![
                    writer.number(),
                    asked.since.map(Timestamp::as_millisecond),
                    asked.until.map(Timestamp::as_millisecond),
                    asked.session.as_ref().map(SessionId::as_bytes),
                    begin,
                ],
                |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get(1)?)),
            )
    };
    read().map_err(StoreError::sql("look for what is to be exported"))
}

/// The hash of one record.
pub(super) fn hash(tx: &Tx<'_>, writer: WriterId, seq: i64) -> Result<Option<Digest>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT hash FROM journal WHERE writer = ?1 AND seq = ?2")?
            .query_row([writer.number(), seq], |row| {
                row.get(0).map(Digest::from_bytes)
            })
            .optional()
    };
    read().map_err(StoreError::sql("read a hash of the journal"))
}

/// Walks the records of a part of a chain. Beside each that is asked for stands the
/// payload that is kept with it, if any; beside another none.
pub(super) fn walk<E: From<StoreError>>(
    tx: &Tx<'_>,
    (writer, from, to): (WriterId, i64, i64),
    asked: &Asked,
    mut each: impl FnMut(Record, Option<Option<String>>) -> Result<(), E>,
) -> Result<(), E> {
    let doing = StoreError::sql("read the journal");
    let mut statement = tx
        .sql()
        .prepare_cached(
            "SELECT journal.writer, seq, kind, journal.call, at, session, principal, tool, digest,
                 policies, outcome, detail, hash,
                 (?4 IS NULL OR at >= ?4) AND (?5 IS NULL OR at < ?5) AND (?6 IS NULL OR
                     journal.call IN (SELECT call FROM journal WHERE session = ?6)),
                 payload.body
             FROM journal
             LEFT JOIN payload ON payload.call = journal.call
                 AND payload.part = iif(kind = 'close', 'result', 'arguments')
             WHERE journal.writer = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq",
        )
        .map_err(&doing)?;
    let mut rows = statement
        .query(params![
            writer.number(),
            from,
            to,
            asked.since.map(Timestamp::as_millisecond),
            asked.until.map(Timestamp::as_millisecond),
            asked.session.as_ref().map(SessionId::as_bytes),
        ])
        .map_err(&doing)?;
    while let Some(row) = rows.next().map_err(&doing)? {
        let shown: bool = row.get(13).map_err(&doing)?;
        let payload = shown.then(|| row.get(14)).transpose().map_err(&doing)?;
        each(read_record(row)?, payload)?;
    }
    Ok(())
}
