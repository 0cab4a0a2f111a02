//! Verifying an export, with nothing but the file and what was given away before.

use super::Checker;
use super::Problem;
use super::Trust;
use super::Verified;
use super::payload::Expected;
use crate::journal::Row;
use crate::journal::chain;
use crate::journal::checkpoint::StoreId;
use crate::journal::line;
use crate::journal::line::FORM;
use crate::journal::line::Line;
use crate::store::WriterId;
use crate::tool::Digest;
use std::io;
use std::io::BufRead;

/// Why an export cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("the export cannot be read")]
    Read(#[source] io::Error),
    /// It does not begin as an export does.
    #[error("it is no export of a journal: `countersign journal export --out FILE` writes one")]
    Foreign,
    /// A line is none of an export.
    #[error(
        "line {number} is no line of an export that this program knows: it was changed, or written by a newer version"
    )]
    Line {
        /// Its number, from 1.
        number: usize,
    },
}

/// Verifies an export line by line; nothing of it is held but what checkpoints say.
///
/// # Errors
///
/// When it cannot be read, or is no export.
pub fn verify_export(export: impl BufRead, trust: &Trust) -> Result<Verified, ReadError> {
    let mut lines = (1..).zip(export.lines());
    let mut next = || -> Result<Option<(usize, Line)>, ReadError> {
        let Some((number, line)) = lines.next() else {
            return Ok(None);
        };
        let line = line.map_err(ReadError::Read)?;
        let line = serde_json::from_str(&line);
        line.map(|line| Some((number, line)))
            .map_err(|_no_line| ReadError::Line { number })
    };
    let first = match next() {
        Err(ReadError::Line { .. }) => return Err(ReadError::Foreign),
        first => first?.map(|(_number, line)| line),
    };
    let first = first.as_ref().and_then(head);
    let (store, is_part) = first.ok_or(ReadError::Foreign)?;
    let mut file = File {
        checker: Checker::new(store, trust),
        before: None,
        records: 0,
        checkpoints: 0,
        ended: None,
    };
    if is_part {
        file.checker.of_a_part();
    }
    while let Some((number, line)) = next()? {
        file.take(line).ok_or(ReadError::Line { number })?;
    }
    if let Some(problem) = file.lacks() {
        file.checker.problem(problem);
    }
    Ok(file.checker.ended())
}

/// Which journal an export is of, and whether of a part of it.
fn head(line: &Line) -> Option<(StoreId, bool)> {
    match line {
        Line::Head {
            form,
            store,
            since,
            until,
            session,
            ..
        } if form == FORM => {
            let is_part = since.is_some() || until.is_some() || session.is_some();
            Some((StoreId::parse(store)?, is_part))
        }
        _ => None,
    }
}

struct File<'a> {
    checker: Checker<'a>,
    /// The record before, whose payload may follow.
    before: Option<Row>,
    records: usize,
    checkpoints: usize,
    /// How many records and checkpoints its last line counts, once that was seen:
    /// nothing may come after it.
    ended: Option<(usize, usize)>,
}

impl File<'_> {
    /// Takes a line in; none where it says nothing that can be read.
    fn take(&mut self, line: Line) -> Option<()> {
        let before = self.before.take();
        if self.ended.is_some() {
            return None;
        }
        match line {
            Line::Head { .. } => return None,
            Line::Checkpoint { text, signature } => {
                self.checkpoints += 1;
                self.checker.checkpoint(&line::signed(text, &signature)?);
            }
            Line::Begins { writer, seq, hash } => {
                let writer = WriterId::from_number(writer);
                self.checker.begins(writer, seq, Digest::parse(&hash)?);
            }
            Line::Record(record) => {
                let place = (WriterId::from_number(record.writer), record.seq);
                let row = record.row()?;
                let hash = Digest::parse(&record.hash)?;
                self.checker.record(place, &chain::content(&row), hash);
                self.records += 1;
                self.before = Some(row);
            }
            Line::Hidden {
                writer,
                seq,
                content,
                hash,
            } => {
                let place = (WriterId::from_number(writer), seq);
                let (content, hash) = (Digest::parse(&content)?, Digest::parse(&hash)?);
                self.checker.record(place, &content, hash);
                self.checker.hidden();
                self.records += 1;
            }
            Line::Payload { part, body } => self.payload(before?, part, &body),
            Line::End {
                records,
                checkpoints,
            } => {
                self.ended = Some((records, checkpoints));
            }
        }
        Some(())
    }

    /// What is wrong with the number of its lines.
    fn lacks(&self) -> Option<Problem> {
        let Some((records, checkpoints)) = self.ended else {
            return Some(Problem::Incomplete);
        };
        let whole = (records, checkpoints) == (self.records, self.checkpoints);
        (!whole).then_some(Problem::Miscounted {
            records: (records, self.records),
            checkpoints: (checkpoints, self.checkpoints),
        })
    }

    fn payload(&mut self, row: Row, part: String, body: &str) {
        let is_its_own = part == row.kind.part().as_str();
        if !is_its_own || !Expected::beside(&row).is(&part, body) {
            let call = row.call;
            self.checker.problem(Problem::Payload { call, part });
        }
    }
}
