//! The tables of the checkpoints, and of where chains begin.

use super::Checkpoint;
use super::Head;
use super::Signed;
use super::StoreId;
use crate::journal::signer::Signature;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::Digest;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;
use std::collections::BTreeMap;

/// What version 12 of the store adds. What was recorded before has hashes of another
/// form, which no export can be made of: its chains begin anew where they are.
pub const SCHEMA_12: &str = "
CREATE TABLE journal_id (            -- one row
    id BLOB NOT NULL,                -- 16 random bytes
    trimmed INTEGER                  -- calls of before then (ms) may be there by half
) STRICT;
INSERT INTO journal_id (id) VALUES (randomblob(16));
CREATE TABLE chain_begin (           -- what stands before a chain's first record
    writer INTEGER PRIMARY KEY REFERENCES writer (id),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    checkpoint INTEGER               -- which says so; none yet
) STRICT;
INSERT INTO chain_begin (writer, seq, hash)
    SELECT writer, max(seq), hash FROM journal GROUP BY writer;
DROP TRIGGER journal_no_delete;
CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal
WHEN OLD.seq > coalesce((SELECT seq FROM chain_begin WHERE writer = OLD.writer), 0)
BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;
CREATE TABLE checkpoint (
    number INTEGER PRIMARY KEY,      -- from 1, without gaps
    at INTEGER NOT NULL,             -- ms since 1970 UTC
    text TEXT NOT NULL,              -- what is signed
    signature BLOB NOT NULL
) STRICT;
CREATE TABLE checkpoint_head (       -- how far each chain is vouched for
    writer INTEGER NOT NULL REFERENCES writer (id),
    seq INTEGER NOT NULL,
    checkpoint INTEGER NOT NULL,
    PRIMARY KEY (writer, seq)
) STRICT, WITHOUT ROWID;
";

pub(in crate::journal) fn store_id(tx: &Tx<'_>) -> Result<StoreId, StoreError> {
    let read = tx
        .sql()
        .query_row("SELECT id FROM journal_id", [], |row| row.get(0));
    read.map(StoreId::from_bytes)
        .map_err(StoreError::sql("read the id of the journal"))
}

/// The last checkpoint, its number and its time.
pub(super) fn last(tx: &Tx<'_>) -> Result<Option<(i64, Timestamp, Signed)>, StoreError> {
    let read =
        || {
            tx.sql()
            .prepare_cached(
                "SELECT number, at, text, signature FROM checkpoint ORDER BY number DESC LIMIT 1",
            )?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?, read_signed(row, 2)?)))
            .optional()
        };
    let last: Option<(i64, i64, Signed)> =
        read().map_err(StoreError::sql("read the last checkpoint"))?;
    let last = last.map(|(number, at, signed)| {
        let at = Timestamp::from_millisecond(at).map_err(|_range| StoreError::Damaged {
            what: format!("the time of checkpoint {number}"),
        })?;
        Ok((number, at, signed))
    });
    last.transpose()
}

/// The chains that went on since they were vouched for last.
pub(super) fn moved(tx: &Tx<'_>) -> Result<Vec<Head>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT writer.id, journal.seq, journal.hash FROM writer
                 JOIN journal ON journal.writer = writer.id AND journal.seq =
                     (SELECT max(seq) FROM journal WHERE writer = writer.id)
                 WHERE journal.seq > coalesce(
                     (SELECT max(seq) FROM checkpoint_head WHERE writer = writer.id), 0)
                 ORDER BY writer.id",
            )?
            .query_map([], read_head)?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("read the ends of the chains"))
}

/// Where chains begin, as far as no checkpoint says so yet.
pub(super) fn begun(tx: &Tx<'_>) -> Result<Vec<Head>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT writer, seq, hash FROM chain_begin WHERE checkpoint IS NULL
                 ORDER BY writer",
            )?
            .query_map([], read_head)?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("read where chains begin"))
}

fn read_head(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head {
        writer: WriterId::from_number(row.get(0)?),
        seq: row.get(1)?,
        hash: Digest::from_bytes(row.get(2)?),
    })
}

pub(super) fn insert(
    tx: &Tx<'_>,
    checkpoint: &Checkpoint,
    signed: &Signed,
) -> Result<(), StoreError> {
    let write = || {
        let number = checkpoint.number;
        tx.sql()
            .prepare_cached(
                "INSERT INTO checkpoint (number, at, text, signature) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                number,
                checkpoint.at.as_millisecond(),
                signed.text,
                signed.signature.as_bytes()
            ])?;
        let mut insert = tx.sql().prepare_cached(
            "INSERT INTO checkpoint_head (writer, seq, checkpoint) VALUES (?1, ?2, ?3)",
        )?;
        for head in &checkpoint.heads {
            insert.execute(params![head.writer.number(), head.seq, number])?;
        }
        tx.sql()
            .prepare_cached("UPDATE chain_begin SET checkpoint = ?1 WHERE checkpoint IS NULL")?
            .execute([number])?;
        Ok(())
    };
    write().map_err(StoreError::sql("write a checkpoint"))
}

/// The first place of a chain, from `seq` on, that is vouched for, and by which
/// checkpoint.
pub(in crate::journal) fn first_head(
    tx: &Tx<'_>,
    writer: WriterId,
    seq: i64,
) -> Result<Option<(i64, i64)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT seq, checkpoint FROM checkpoint_head
                 WHERE writer = ?1 AND seq >= ?2 ORDER BY seq LIMIT 1",
            )?
            .query_row([writer.number(), seq], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    };
    read().map_err(StoreError::sql("look for a checkpoint"))
}

/// Walks the checkpoints from this number on.
pub(in crate::journal) fn walk<E: From<StoreError>>(
    tx: &Tx<'_>,
    from: i64,
    mut each: impl FnMut(Signed) -> Result<(), E>,
) -> Result<(), E> {
    let doing = StoreError::sql("read the checkpoints");
    let mut statement = tx
        .sql()
        .prepare("SELECT text, signature FROM checkpoint WHERE number >= ?1 ORDER BY number")
        .map_err(&doing)?;
    let mut rows = statement.query([from]).map_err(&doing)?;
    while let Some(row) = rows.next().map_err(&doing)? {
        each(read_signed(row, 0).map_err(&doing)?)?;
    }
    Ok(())
}

/// The checkpoints of these numbers.
pub(in crate::journal) fn some(
    tx: &Tx<'_>,
    (from, to): (i64, i64),
) -> Result<Vec<Signed>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT text, signature FROM checkpoint
                 WHERE number BETWEEN ?1 AND ?2 ORDER BY number",
            )?
            .query_map([from, to], |row| read_signed(row, 0))?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("read the checkpoints"))
}

/// The number of the last checkpoint; 0 where there is none.
pub(in crate::journal) fn last_number(tx: &Tx<'_>) -> Result<i64, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT coalesce(max(number), 0) FROM checkpoint")?
            .query_row([], |row| row.get(0))
    };
    read().map_err(StoreError::sql("read the last checkpoint"))
}

/// Before which record of a chain all were taken away; 0 where none were.
pub(in crate::journal) fn begin_of(tx: &Tx<'_>, writer: WriterId) -> Result<i64, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT coalesce(max(seq), 0) FROM chain_begin WHERE writer = ?1")?
            .query_row([writer.number()], |row| row.get(0))
    };
    read().map_err(StoreError::sql("read where a chain begins"))
}

fn read_signed(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Signed> {
    Ok(Signed {
        text: row.get(first)?,
        signature: Signature::from_bytes(row.get(first + 1)?),
    })
}

/// What stands before the first record of each chain that does not begin at 1.
pub(in crate::journal) fn begins(
    tx: &Tx<'_>,
) -> Result<BTreeMap<WriterId, (i64, Digest)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT writer, seq, hash FROM chain_begin")?
            .query_map([], |row| {
                let writer = WriterId::from_number(row.get(0)?);
                Ok((writer, (row.get(1)?, Digest::from_bytes(row.get(2)?))))
            })?
            .collect::<Result<BTreeMap<_, _>, _>>()
    };
    read().map_err(StoreError::sql("read where the chains begin"))
}
