//! What can be wrong with a journal.

use crate::journal::signer::PublicKey;
use crate::store::WriterId;
use crate::tool::CallId;
use std::fmt;

/// One thing that is wrong with the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A number is missing in a writer's chain.
    Gap {
        /// Whose chain.
        writer: WriterId,
        /// The first number that is missing.
        seq: i64,
    },
    /// A record is not what was written, or the one before it is not.
    Altered {
        /// Whose chain.
        writer: WriterId,
        /// Which record.
        seq: i64,
    },
    /// A record is not the one that a checkpoint vouches for.
    Departs {
        /// Whose chain.
        writer: WriterId,
        /// Which record.
        seq: i64,
        /// Which checkpoint.
        number: i64,
    },
    /// A chain ends before a record that a checkpoint vouches for.
    Cut {
        /// Whose chain.
        writer: WriterId,
        /// Which record.
        seq: i64,
        /// Which checkpoint.
        number: i64,
    },
    /// A chain does not begin at 1, and no checkpoint says where it begins.
    Begins {
        /// Whose chain.
        writer: WriterId,
        /// The record before the first.
        seq: i64,
    },
    /// A checkpoint is none, is of another journal, or is not signed by the key that
    /// it names.
    Checkpoint {
        /// Its place among them, from 1.
        place: usize,
    },
    /// A checkpoint does not follow the one before it.
    Unchained {
        /// Its number.
        number: i64,
    },
    /// A checkpoint is signed by a key that is not among those that may sign.
    Key {
        /// Its number.
        number: i64,
        /// Who signed it.
        key: PublicKey,
    },
    /// A checkpoint that was given away is not among those that are here.
    Held {
        /// Its number; none where it is no checkpoint of this journal.
        number: Option<i64>,
    },
    /// A line of a file of checkpoints is none.
    Line {
        /// The file, as it was named.
        file: String,
        /// Its number, from 1.
        line: usize,
    },
    /// A payload is not the one whose digest was recorded.
    Payload {
        /// Of which call.
        call: CallId,
        /// `arguments` or `result`.
        part: String,
    },
    /// A call was opened by a writer that is dead, and nobody closed it.
    LeftOpen {
        /// Which call.
        call: CallId,
        /// Whose.
        writer: WriterId,
    },
    /// A call was closed that was never opened, or is open and in flight nowhere.
    Unpaired {
        /// Which call.
        call: CallId,
    },
    /// An export has no last line.
    Incomplete,
    /// An export has another number of lines than its last one says.
    Miscounted {
        /// Records: how many the last line counts, and how many are here.
        records: (usize, usize),
        /// The same of checkpoints.
        checkpoints: (usize, usize),
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { writer, seq } => {
                write!(f, "writer {writer}: record {seq} is missing")
            }
            Self::Altered { writer, seq } => write!(
                f,
                "writer {writer}: record {seq} was altered, or the one before it"
            ),
            Self::Departs {
                writer,
                seq,
                number,
            } => write!(
                f,
                "writer {writer}: record {seq} is not the one that checkpoint {number} vouches for"
            ),
            Self::Cut {
                writer,
                seq,
                number,
            } => write!(
                f,
                "writer {writer}: records up to {seq}, for which checkpoint {number} vouches, are gone"
            ),
            Self::Begins { writer, seq } => write!(
                f,
                "writer {writer}: records up to {seq} are not here, and no checkpoint says that they were removed"
            ),
            Self::Checkpoint { place } => write!(
                f,
                "checkpoint at place {place}: it was altered, or is none of this journal"
            ),
            Self::Unchained { number } => write!(
                f,
                "checkpoint {number}: it does not follow the one before it"
            ),
            Self::Key { number, key } => write!(
                f,
                "checkpoint {number}: it is signed with another key, {key}; name it with `--key` if it was yours"
            ),
            Self::Held { number: None } => {
                f.write_str("a checkpoint that was given away is none of this journal")
            }
            Self::Held {
                number: Some(number),
            } => write!(
                f,
                "checkpoint {number} that was given away is not here: this is another history, or ends before it"
            ),
            Self::Line { file, line } => write!(
                f,
                "line {line} of `{file}` is no checkpoint; the others were compared. Take it out if a crash cut it off: the next one vouches for it too"
            ),
            Self::Payload { call, part } => {
                write!(f, "call {call}: the kept {part} are not those recorded")
            }
            Self::LeftOpen { call, writer } => write!(
                f,
                "call {call}: left open by writer {writer}, which has ended; the next start of a broker marks it unknown"
            ),
            Self::Unpaired { call } => {
                write!(
                    f,
                    "call {call}: its opening and closing records do not pair"
                )
            }
            Self::Incomplete => f.write_str("the export is not whole: its end is missing"),
            Self::Miscounted {
                records,
                checkpoints,
            } => write!(
                f,
                "the export is not as it was written: its last line counts {} records and {} checkpoints, and here are {} and {}",
                records.0, checkpoints.0, records.1, checkpoints.1
            ),
        }
    }
}
