//! Export: the journal as lines of JSON, which can be verified without the store.
//!
//! Each chain is written from the first record that was asked for on, up to the next
//! place that a checkpoint vouches for. What lies between and was not asked for
//! stands there as digests, by which the chain can still be followed.

mod table;

use super::chain;
use super::checkpoint;
use super::line::FORM;
use super::line::Line;
use super::signer::PublicKey;
use crate::session::SessionId;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::Digest;
use jiff::Timestamp;
use std::collections::BTreeMap;
use table::Shown;

/// What of the journal is exported; everything where nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// What was recorded then or later.
    pub since: Option<Timestamp>,
    /// What was recorded before.
    pub until: Option<Timestamp>,
    /// The calls of this session.
    pub session: Option<SessionId>,
}

impl Asked {
    fn is_everything(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.session.is_none()
    }
}

/// Why an export was not made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error("the journal cannot be read")]
    Store(#[source] StoreError),
    /// A line cannot be written.
    #[error("the export cannot be written")]
    Write(#[source] std::io::Error),
    /// What was still to be written is not there any more.
    #[error(
        "records were taken away while they were exported, because they are older than `journal.keep`: export again, to where it is written at once"
    )]
    TakenAway,
}

impl From<StoreError> for ExportError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// How much is read at once: so many records or checkpoints, or those before so many bytes
/// of what is kept beside them are reached.
const AT_ONCE: Page = Page {
    rows: 500,
    bytes: 1 << 20,
};

/// A part that is read at once.
#[derive(Clone, Copy, Debug)]
struct Page {
    rows: usize,
    bytes: usize,
}

/// Writes an export, line by line, without their ends, and returns how many records it
/// has: those that there were at its beginning. `key` is what checkpoints are signed with
/// here, where that is known.
///
/// # Errors
///
/// When the journal cannot be read, a line not be written, or records were taken away
/// meanwhile.
// INVARIANT: nothing is written while the store is read. Where the lines go may take its
// time, and whoever reads keeps the log of the store from being brought into it.
pub fn export(
    store: &Store,
    asked: &Asked,
    known: (Option<PublicKey>, Timestamp),
    write: &mut dyn FnMut(&str) -> std::io::Result<()>,
) -> Result<usize, ExportError> {
    by_pages(store, asked, (known, AT_ONCE), write)
}

fn by_pages(
    store: &Store,
    asked: &Asked,
    ((key, now), page): ((Option<PublicKey>, Timestamp), Page),
    write: &mut dyn FnMut(&str) -> std::io::Result<()>,
) -> Result<usize, ExportError> {
    let (id, ranges, last) = store.read(|tx| {
        let last = checkpoint::last_number(tx)?;
        Ok((checkpoint::store_id(tx)?, ranges(tx, asked)?, last))
    })?;
    let mut out = Out {
        write,
        records: 0,
        checkpoints: 0,
    };
    out.line(&Line::Head {
        form: FORM.to_owned(),
        store: id.to_string(),
        key: key.map(|key| key.to_string()),
        made: now.to_string(),
        since: asked.since.map(|at| at.to_string()),
        until: asked.until.map(|at| at.to_string()),
        session: asked.session.map(|id| id.to_string()),
    })?;
    let first = match asked.is_everything() {
        true => Some(1),
        false => ranges.iter().filter_map(|range| range.checkpoint).min(),
    };
    if let Some(first) = first {
        out.signed(store, (first, last), page)?;
    }
    for range in &ranges {
        out.chain(store, range, (asked, page))?;
    }
    let (records, checkpoints) = (out.records, out.checkpoints);
    out.line(&Line::End {
        records,
        checkpoints,
    })?;
    Ok(records)
}

/// What is written of one chain.
struct Range {
    writer: WriterId,
    from: i64,
    to: i64,
    /// The hash before it, where it does not begin at 1.
    before: Option<Digest>,
    /// The first checkpoint that vouches for something of it.
    checkpoint: Option<i64>,
}

fn ranges(tx: &Tx<'_>, asked: &Asked) -> Result<Vec<Range>, StoreError> {
    let begins: BTreeMap<WriterId, (i64, Digest)> = checkpoint::begins(tx)?;
    let mut ranges = Vec::new();
    for writer in table::writers(tx)? {
        let (begin, hash) = match begins.get(&writer) {
            Some((seq, hash)) => (*seq, Some(*hash)),
            None => (0, None),
        };
        let (from, last) = match table::wanted(tx, (writer, begin), asked)? {
            Some(wanted) => wanted,
            // All of it was removed, which is to be said.
            None if asked.is_everything() && begin > 0 => (begin + 1, begin),
            None => continue,
        };
        let vouched = checkpoint::first_head(tx, writer, last)?;
        let before = match from - 1 {
            0 => None,
            seq if seq == begin => hash,
            seq => table::hash(tx, writer, seq)?,
        };
        ranges.push(Range {
            writer,
            from,
            to: match vouched {
                Some((seq, _number)) => seq,
                None => table::end(tx, writer)?.unwrap_or(last),
            },
            before,
            checkpoint: checkpoint::first_head(tx, writer, from)?.map(|(_seq, number)| number),
        });
    }
    Ok(ranges)
}

/// Where the lines go.
struct Out<'a> {
    write: &'a mut dyn FnMut(&str) -> std::io::Result<()>,
    records: usize,
    checkpoints: usize,
}

impl Out<'_> {
    fn line(&mut self, line: &Line) -> Result<(), ExportError> {
        let text = serde_json::to_string(line).map_err(|error| ExportError::Write(error.into()))?;
        (self.write)(&text).map_err(ExportError::Write)
    }

    /// The checkpoints of these numbers.
    fn signed(
        &mut self,
        store: &Store,
        (first, last): (i64, i64),
        page: Page,
    ) -> Result<(), ExportError> {
        let mut next = first;
        while next <= last {
            let to = next
                .saturating_add(i64::try_from(page.rows).unwrap_or(i64::MAX) - 1)
                .min(last);
            let read = store.read(|tx| checkpoint::some(tx, (next, to)))?;
            for signed in read {
                self.checkpoints += 1;
                self.line(&Line::checkpoint(&signed))?;
            }
            next = to + 1;
        }
        Ok(())
    }

    fn chain(
        &mut self,
        store: &Store,
        range: &Range,
        (asked, page): (&Asked, Page),
    ) -> Result<(), ExportError> {
        let writer = range.writer.number();
        if let Some(hash) = &range.before {
            self.line(&Line::Begins {
                writer,
                seq: range.from - 1,
                hash: hash.to_string(),
            })?;
        }
        let mut next = range.from;
        while next <= range.to {
            let places = (range.writer, next, range.to);
            let (begin, read) = store.read(|tx| {
                let begin = checkpoint::begin_of(tx, range.writer)?;
                Ok((begin, table::some(tx, places, (asked, page))?))
            })?;
            // What lacks otherwise is told by whoever verifies.
            if begin >= next {
                return Err(ExportError::TakenAway);
            }
            let Some((last, _)) = read.last() else {
                return Ok(());
            };
            next = last.seq + 1;
            for shown in read {
                self.record(shown)?;
            }
        }
        Ok(())
    }

    /// A record, with what is kept beside it where it is asked for.
    fn record(&mut self, (record, payload): Shown) -> Result<(), ExportError> {
        self.records += 1;
        let writer = record.writer.number();
        let Some(payload) = payload else {
            return self.line(&Line::Hidden {
                writer,
                seq: record.seq,
                content: chain::content(&record.row).to_string(),
                hash: record.hash.to_string(),
            });
        };
        let place = (&record.row, &record.hash);
        self.line(&Line::record(writer, record.seq, place))?;
        match payload {
            Some(body) => self.line(&Line::Payload {
                part: record.row.kind.part().as_str().to_owned(),
                body,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
