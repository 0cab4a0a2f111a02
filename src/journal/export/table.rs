//! What of the journal is exported.

use super::Asked;
use super::Page;
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

/// The number of the last record of a chain.
pub(super) fn end(tx: &Tx<'_>, writer: WriterId) -> Result<Option<i64>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT max(seq) FROM journal WHERE writer = ?1")?
            .query_row([writer.number()], |row| row.get(0))
    };
    read().map_err(StoreError::sql("look for the end of a chain"))
}

/// A record. Beside one that is asked for stands the payload that is kept with it, if any;
/// beside another none.
pub(super) type Shown = (Record, Option<Option<String>>);

/// The first records of a part of a chain, as many as are read at once.
pub(super) fn some(
    tx: &Tx<'_>,
    (writer, from, to): (WriterId, i64, i64),
    (asked, page): (&Asked, Page),
) -> Result<Vec<Shown>, StoreError> {
    let doing = StoreError::sql("read the journal");
    let mut statement = tx
        .sql()
        .prepare_cached(
            "SELECT journal.writer, seq, kind, journal.call, at, session, principal, tool, digest,
                 policies, outcome, detail, hash,
                 (?4 IS NULL OR at >= ?4) AND (?5 IS NULL OR at < ?5) AND (?6 IS NULL OR
                     EXISTS (SELECT 1 FROM journal AS other
                         WHERE other.session = ?6 AND other.call = journal.call)),
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
    let (mut read, mut bytes) = (Vec::new(), 0);
    while read.len() < page.rows
        && bytes < page.bytes
        && let Some(row) = rows.next().map_err(&doing)?
    {
        let shown: bool = row.get(13).map_err(&doing)?;
        let payload: Option<Option<String>> =
            shown.then(|| row.get(14)).transpose().map_err(&doing)?;
        let body = payload.as_ref().and_then(Option::as_ref);
        bytes += body.map_or(0, String::len);
        read.push((read_record(row)?, payload));
    }
    Ok(read)
}
