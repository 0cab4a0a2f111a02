//! The tables of the journal.

use super::CallView;
use super::Effect;
use super::Filter;
use super::Kind;
use super::Part;
use super::Row;
use super::chain;
use crate::outcome::Outcome;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::Timestamp;
use rusqlite::CachedStatement;
use rusqlite::OptionalExtension;
use rusqlite::params;

/// The tables of this room, as of version 1 of the store.
///
/// `journal` is append-only, which the triggers hold against slips of our own
/// and of people with a shell; the chain tells of the rest.
pub const SCHEMA: &str = "
CREATE TABLE journal (
    writer INTEGER NOT NULL REFERENCES writer (id),
    seq INTEGER NOT NULL,            -- from 1 for each writer, without gaps
    kind TEXT NOT NULL CHECK (kind IN ('open', 'close', 'refused')),
    call BLOB NOT NULL,              -- 16 bytes, ordered by time
    at INTEGER NOT NULL,             -- ms since 1970 UTC
    session BLOB,                    -- of the first record of a call
    principal TEXT,
    tool TEXT,                       -- server/tool
    digest BLOB,                     -- of the arguments; of the result in a close
    policies BLOB,                   -- digest of the policy set
    outcome TEXT,
    detail TEXT NOT NULL,            -- JSON; never arguments or results
    hash BLOB NOT NULL,              -- of the record before and of this one
    PRIMARY KEY (writer, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX journal_by_call ON journal (call, kind);
CREATE INDEX journal_by_session ON journal (session, call) WHERE session IS NOT NULL;
CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal
BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal
BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;
CREATE TABLE in_flight (             -- opened, not closed
    call BLOB PRIMARY KEY,
    writer INTEGER NOT NULL REFERENCES writer (id),
    session BLOB NOT NULL,
    tool TEXT NOT NULL,
    arguments BLOB NOT NULL,         -- digest
    effect INTEGER NOT NULL          -- 1 where repeating it may do harm
) STRICT, WITHOUT ROWID;
CREATE INDEX in_flight_by_writer ON in_flight (writer);
CREATE TABLE unsettled (             -- ended unknown
    session BLOB NOT NULL,
    tool TEXT NOT NULL,
    arguments BLOB NOT NULL,         -- digest
    call BLOB NOT NULL,
    told INTEGER,                    -- the writer that told its caller so
    PRIMARY KEY (session, tool, arguments)
) STRICT, WITHOUT ROWID;
CREATE TABLE payload (               -- may be trimmed: the chain covers digests
    call BLOB NOT NULL,
    part TEXT NOT NULL,              -- arguments, result
    body TEXT NOT NULL,
    PRIMARY KEY (call, part)
) STRICT, WITHOUT ROWID;
";

/// What version 3 of the store takes away: few calls are in flight at a time, so
/// looking through them costs less than an index that each call writes twice.
pub const SCHEMA_3: &str = "DROP INDEX in_flight_by_writer;";

/// Appends one record to the chain of its writer.
pub(super) fn append(tx: &Tx<'_>, writer: WriterId, row: &Row) -> Result<(), StoreError> {
    Chain::of(tx, writer)?.append(row)
}

/// The end of a writer's chain, for as long as nobody else appends to it.
pub(super) struct Chain<'t> {
    writer: WriterId,
    last: i64,
    hash: Digest,
    insert: CachedStatement<'t>,
}

impl<'t> Chain<'t> {
    /// Where the chain of this writer ends now.
    pub(super) fn of(tx: &Tx<'t>, writer: WriterId) -> Result<Self, StoreError> {
        let read = || {
            tx.sql()
                .prepare_cached(
                    "SELECT seq, hash FROM journal WHERE writer = ?1 ORDER BY seq DESC LIMIT 1",
                )?
                .query_row([writer.number()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        };
        let last = read().map_err(StoreError::sql("read the end of the journal"))?;
        let last = match last {
            Some(last) => Some(last),
            // A chain may have lost all its records to their age.
            None => chain_begin(tx, writer)?,
        };
        let (last, hash) = last.unwrap_or((0, chain::BEGINNING));
        let insert = tx.sql().prepare_cached(
            "INSERT INTO journal (writer, seq, kind, call, at, session, principal, tool,
                 digest, policies, outcome, detail, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        );
        Ok(Self {
            writer,
            last,
            hash: Digest::from_bytes(hash),
            insert: insert.map_err(StoreError::sql("append to the journal"))?,
        })
    }

    /// Appends one record to it.
    pub(super) fn append(&mut self, row: &Row) -> Result<(), StoreError> {
        let seq = self.last + 1;
        let hash = chain::hash(&self.hash, self.writer, seq, &chain::content(row));
        let written = self.insert.execute(params![
            self.writer.number(),
            seq,
            row.kind.as_str(),
            row.call.as_bytes(),
            row.at.as_millisecond(),
            row.session.as_ref().map(SessionId::as_bytes),
            row.principal,
            row.tool,
            row.digest.as_ref().map(Digest::as_bytes),
            row.policies.as_ref().map(Digest::as_bytes),
            row.outcome.map(Outcome::as_str),
            row.detail,
            hash.as_bytes(),
        ]);
        written.map_err(StoreError::sql("append to the journal"))?;
        (self.last, self.hash) = (seq, hash);
        Ok(())
    }
}

fn chain_begin(tx: &Tx<'_>, writer: WriterId) -> Result<Option<(i64, [u8; 32])>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT seq, hash FROM chain_begin WHERE writer = ?1")?
            .query_row([writer.number()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    };
    read().map_err(StoreError::sql("read the beginning of the journal"))
}

pub(super) fn in_flight_insert(
    tx: &Tx<'_>,
    writer: WriterId,
    row: &Row,
    effect: Effect,
) -> Result<(), StoreError> {
    let write = || {
        tx.sql()
            .prepare_cached(
                "INSERT INTO in_flight (call, writer, session, tool, arguments, effect)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                row.call.as_bytes(),
                writer.number(),
                row.session.as_ref().map(SessionId::as_bytes),
                row.tool,
                row.digest.as_ref().map(Digest::as_bytes),
                effect == Effect::Possible,
            ])
    };
    write()
        .map(|_one_row| ())
        .map_err(StoreError::sql("note a call in flight"))
}

/// A call that was opened and not closed.
pub(super) struct LeftOpen {
    pub(super) call: CallId,
    pub(super) effect: Effect,
}

pub(super) fn in_flight_of(tx: &Tx<'_>, writer: WriterId) -> Result<Vec<LeftOpen>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT call, effect FROM in_flight WHERE writer = ?1 ORDER BY call")?
            .query_map([writer.number()], read_left_open)?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("list the calls in flight"))
}

/// Takes a call out of flight; none where it is not there any more.
pub(super) fn in_flight_take(tx: &Tx<'_>, call: CallId) -> Result<Option<LeftOpen>, StoreError> {
    let write = || {
        tx.sql()
            .prepare_cached("DELETE FROM in_flight WHERE call = ?1 RETURNING call, effect")?
            .query_row([call.as_bytes()], read_left_open)
            .optional()
    };
    write().map_err(StoreError::sql("take a call out of flight"))
}

fn read_left_open(row: &rusqlite::Row<'_>) -> rusqlite::Result<LeftOpen> {
    Ok(LeftOpen {
        call: CallId::from_bytes(row.get(0)?),
        effect: if row.get(1)? {
            Effect::Possible
        } else {
            Effect::None
        },
    })
}

/// Who opened a call that is in flight.
pub(super) fn in_flight_writer(tx: &Tx<'_>, call: CallId) -> Result<Option<WriterId>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT writer FROM in_flight WHERE call = ?1")?
            .query_row([call.as_bytes()], |row| {
                row.get(0).map(WriterId::from_number)
            })
            .optional()
    };
    read().map_err(StoreError::sql("look for a call in flight"))
}

/// Every call in flight with its writer.
pub(super) fn in_flight_all(tx: &Tx<'_>) -> Result<Vec<(CallId, WriterId)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT call, writer FROM in_flight ORDER BY call")?
            .query_map([], |row| {
                let writer = WriterId::from_number(row.get(1)?);
                Ok((CallId::from_bytes(row.get(0)?), writer))
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sql("list the calls in flight"))
}

/// How many calls of a session ended how, without those of this server.
pub(super) fn tally(
    tx: &Tx<'_>,
    session: SessionId,
    without: &str,
) -> Result<Vec<(Option<Outcome>, u32)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT coalesce(last.outcome, first.outcome) AS ended, count(*)
                 FROM journal AS first
                 LEFT JOIN journal AS last ON last.call = first.call AND last.kind = 'close'
                 WHERE first.session = ?1 AND first.kind IN ('open', 'refused')
                     AND substr(first.tool, 1, length(?2) + 1) <> ?2 || '/'
                 GROUP BY ended ORDER BY ended",
            )?
            .query_map(params![session.as_bytes(), without], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<Vec<(Option<String>, u32)>, _>>()
    };
    let rows = read().map_err(StoreError::sql("count the calls of a session"))?;
    let tally = rows.into_iter().map(|(outcome, count)| {
        let outcome = outcome.map(|word| word.parse()).transpose();
        let outcome = outcome.map_err(|_unknown| StoreError::Damaged {
            what: format!("an outcome in session {session}"),
        })?;
        Ok((outcome, count))
    });
    tally.collect()
}

pub(super) fn payload_insert(
    tx: &Tx<'_>,
    call: CallId,
    part: Part,
    body: &str,
) -> Result<(), StoreError> {
    let write = || {
        tx.sql()
            .prepare_cached("INSERT INTO payload (call, part, body) VALUES (?1, ?2, ?3)")?
            .execute(params![call.as_bytes(), part.as_str(), body])
    };
    write()
        .map(|_one_row| ())
        .map_err(StoreError::sql("keep the payload of a call"))
}

/// One stored record, for verification.
pub(super) struct Record {
    pub(super) writer: WriterId,
    pub(super) seq: i64,
    pub(super) row: Row,
    pub(super) hash: Digest,
}

/// Walks every record, writer by writer, in the order of their chains.
pub(super) fn walk(tx: &Tx<'_>, mut each: impl FnMut(Record)) -> Result<(), StoreError> {
    let doing = StoreError::sql("read the journal");
    let mut statement = tx
        .sql()
        .prepare(
            "SELECT writer, seq, kind, call, at, session, principal, tool, digest, policies,
                 outcome, detail, hash FROM journal ORDER BY writer, seq",
        )
        .map_err(&doing)?;
    let mut rows = statement.query([]).map_err(&doing)?;
    while let Some(row) = rows.next().map_err(&doing)? {
        each(read_record(row)?);
    }
    Ok(())
}

pub(super) fn read_record(row: &rusqlite::Row<'_>) -> Result<Record, StoreError> {
    let doing = StoreError::sql("read a record of the journal");
    let writer = WriterId::from_number(row.get(0).map_err(&doing)?);
    let seq: i64 = row.get(1).map_err(&doing)?;
    let damaged = |what: &str| StoreError::Damaged {
        what: format!("{what} of record {seq} of writer {writer}"),
    };
    let kind: String = row.get(2).map_err(&doing)?;
    let at: i64 = row.get(4).map_err(&doing)?;
    let outcome: Option<String> = row.get(10).map_err(&doing)?;
    let outcome = outcome.map(|text| text.parse()).transpose();
    let digest = |column: usize| -> Result<Option<Digest>, StoreError> {
        let bytes: Option<[u8; 32]> = row.get(column).map_err(&doing)?;
        Ok(bytes.map(Digest::from_bytes))
    };
    Ok(Record {
        writer,
        seq,
        row: Row {
            kind: Kind::parse(&kind).ok_or_else(|| damaged("the kind"))?,
            call: CallId::from_bytes(row.get(3).map_err(&doing)?),
            at: Timestamp::from_millisecond(at).map_err(|_range| damaged("the time"))?,
            session: row
                .get::<_, Option<[u8; 16]>>(5)
                .map_err(&doing)?
                .map(SessionId::from_bytes),
            principal: row.get(6).map_err(&doing)?,
            tool: row.get(7).map_err(&doing)?,
            digest: digest(8)?,
            policies: digest(9)?,
            outcome: outcome.map_err(|_unknown| damaged("the outcome"))?,
            detail: row.get(11).map_err(&doing)?,
        },
        hash: digest(12)?.ok_or_else(|| damaged("the hash"))?,
    })
}

/// Kept payloads with their digests: call, part, body.
pub(super) fn payloads(
    tx: &Tx<'_>,
    mut each: impl FnMut(CallId, &str, &str),
) -> Result<(), StoreError> {
    let doing = StoreError::sql("read the payloads");
    let mut statement = tx
        .sql()
        .prepare("SELECT call, part, body FROM payload ORDER BY call, part")
        .map_err(&doing)?;
    let mut rows = statement.query([]).map_err(&doing)?;
    while let Some(row) = rows.next().map_err(&doing)? {
        let call = CallId::from_bytes(row.get(0).map_err(&doing)?);
        let part: String = row.get(1).map_err(&doing)?;
        let body: String = row.get(2).map_err(&doing)?;
        each(call, &part, &body);
    }
    Ok(())
}

pub(super) fn calls(tx: &Tx<'_>, filter: &Filter<'_>) -> Result<Vec<CallView>, StoreError> {
    let doing = StoreError::sql("list the calls");
    let mut statement = tx
        .sql()
        .prepare_cached(
            "SELECT first.call, first.at, first.writer, first.session, first.principal,
                 first.tool, coalesce(last.outcome, first.outcome), coalesce(last.at, iif(first.kind = 'refused', first.at, NULL)),
                 first.detail, last.detail, payload.body
             FROM journal AS first
             LEFT JOIN journal AS last ON last.call = first.call AND last.kind = 'close'
             LEFT JOIN payload ON payload.call = first.call AND payload.part = 'arguments'
             WHERE first.kind IN ('open', 'refused')
                 AND (?1 IS NULL OR first.session = ?1)
                 AND (?2 IS NULL OR first.call = ?2)
                 AND (?4 IS NULL OR substr(first.tool, 1, length(?4) + 1) <> ?4 || '/')
             ORDER BY first.call DESC LIMIT ?3",
        )
        .map_err(&doing)?;
    let mut rows = statement
        .query(params![
            filter.session.as_ref().map(SessionId::as_bytes),
            filter.call.as_ref().map(CallId::as_bytes),
            filter.newest.map_or(-1, i64::from),
            filter.without,
        ])
        .map_err(&doing)?;
    let mut calls = Vec::new();
    while let Some(row) = rows.next().map_err(&doing)? {
        calls.push(read_call(row)?);
    }
    calls.reverse();
    Ok(calls)
}

pub(super) fn session_of(tx: &Tx<'_>, call: CallId) -> Result<Option<SessionId>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT session FROM journal WHERE call = ?1 AND session IS NOT NULL LIMIT 1",
            )?
            .query_row([call.as_bytes()], |row| {
                row.get(0).map(SessionId::from_bytes)
            })
            .optional()
    };
    read().map_err(StoreError::sql("find the session of a call"))
}

fn read_call(row: &rusqlite::Row<'_>) -> Result<CallView, StoreError> {
    let doing = StoreError::sql("read a call");
    let call = CallId::from_bytes(row.get(0).map_err(&doing)?);
    let damaged = |what: &str| StoreError::Damaged {
        what: format!("{what} of call {call}"),
    };
    let time = |ms: i64| Timestamp::from_millisecond(ms).map_err(|_range| damaged("the time"));
    let outcome: Option<String> = row.get(6).map_err(&doing)?;
    let ended: Option<i64> = row.get(7).map_err(&doing)?;
    let detail: String = row.get(8).map_err(&doing)?;
    let close_detail: Option<String> = row.get(9).map_err(&doing)?;
    let json = |text: String| serde_json::from_str(&text).map_err(|_no_json| damaged("the detail"));
    Ok(CallView {
        call,
        at: time(row.get(1).map_err(&doing)?)?,
        writer: WriterId::from_number(row.get(2).map_err(&doing)?),
        session: SessionId::from_bytes(row.get(3).map_err(&doing)?),
        principal: row.get(4).map_err(&doing)?,
        tool: row.get(5).map_err(&doing)?,
        outcome: outcome
            .map(|text| text.parse())
            .transpose()
            .map_err(|_unknown| damaged("the outcome"))?,
        ended: ended.map(time).transpose()?,
        detail: json(detail)?,
        close_detail: close_detail.map(json).transpose()?,
        arguments: row.get(10).map_err(&doing)?,
    })
}
