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
use super::table::Record;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::Digest;
use jiff::Timestamp;
use std::collections::BTreeMap;

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
}

impl From<StoreError> for ExportError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Writes an export, line by line, without their ends, and returns how many records it
/// has. `key` is what checkpoints are signed with here, where that is known.
///
/// # Errors
///
/// When the journal cannot be read, or a line not be written.
pub fn export(
    tx: &Tx<'_>,
    asked: &Asked,
    (key, now): (Option<PublicKey>, Timestamp),
    write: &mut dyn FnMut(&str) -> std::io::Result<()>,
) -> Result<usize, ExportError> {
    let mut out = Out {
        write,
        records: 0,
        checkpoints: 0,
    };
    out.line(&Line::Head {
        form: FORM.to_owned(),
        store: checkpoint::store_id(tx)?.to_string(),
        key: key.map(|key| key.to_string()),
        made: now.to_string(),
        since: asked.since.map(|at| at.to_string()),
        until: asked.until.map(|at| at.to_string()),
        session: asked.session.map(|id| id.to_string()),
    })?;
    let ranges = ranges(tx, asked)?;
    let first = match asked.is_everything() {
        true => Some(1),
        false => ranges.iter().filter_map(|range| range.checkpoint).min(),
    };
    if let Some(first) = first {
        checkpoint::walk(tx, first, |signed| {
            out.checkpoints += 1;
            out.line(&Line::checkpoint(&signed))
        })?;
    }
    for range in &ranges {
        out.chain(tx, range, asked)?;
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
            to: vouched.map_or(i64::MAX, |(seq, _number)| seq),
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

    fn chain(&mut self, tx: &Tx<'_>, range: &Range, asked: &Asked) -> Result<(), ExportError> {
        let writer = range.writer.number();
        if let Some(hash) = &range.before {
            self.line(&Line::Begins {
                writer,
                seq: range.from - 1,
                hash: hash.to_string(),
            })?;
        }
        let places = (range.writer, range.from, range.to);
        table::walk(tx, places, asked, |record, shown| {
            self.records += 1;
            match shown {
                Some(payload) => self.shown(&record, payload),
                None => self.line(&Line::Hidden {
                    writer,
                    seq: record.seq,
                    content: chain::content(&record.row).to_string(),
                    hash: record.hash.to_string(),
                }),
            }
        })
    }

    fn shown(&mut self, record: &Record, payload: Option<String>) -> Result<(), ExportError> {
        let writer = record.writer.number();
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
