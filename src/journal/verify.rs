//! Verification: does the journal still say what was written?

use super::Kind;
use super::Part;
use super::chain;
use super::table;
use crate::json;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use crate::tool::Digest;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

/// What verification found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Records whose hash holds.
    pub records: usize,
    /// The last hash of each writer: what to keep elsewhere, so that a cut
    /// tail can be noticed.
    pub heads: BTreeMap<WriterId, (i64, Digest)>,
    /// Calls in flight of living writers.
    pub in_flight: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

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
        }
    }
}

/// Recomputes every chain and compares calls, payloads and calls in flight.
///
/// It shows edits, and records taken out of the middle. It cannot show that the
/// end of a chain was cut off, unless its last hash is known from elsewhere.
///
/// # Errors
///
/// When the journal cannot be read at all.
pub fn verify(tx: &Tx<'_>, living: &[WriterId]) -> Result<Verified, StoreError> {
    let mut found = Verified::default();
    let mut open = BTreeSet::new();
    let mut unpaired = BTreeSet::new();
    let mut digests = BTreeMap::new();
    table::walk(tx, |record| {
        check_chain(&mut found, &record);
        let call = record.row.call;
        match record.row.kind {
            Kind::Open => {
                digests.insert((call, Part::Arguments.as_str()), record.row.digest);
                if !unpaired.remove(&call) {
                    open.insert(call);
                }
            }
            Kind::Refused => {
                digests.insert((call, Part::Arguments.as_str()), record.row.digest);
            }
            // Another writer may have closed it, whose chain may come earlier.
            Kind::Close => {
                digests.insert((call, Part::Result.as_str()), record.row.digest);
                if !open.remove(&call) {
                    unpaired.insert(call);
                }
            }
        }
    })?;
    for (call, writer) in table::in_flight_all(tx)? {
        if !open.remove(&call) {
            unpaired.insert(call);
        } else if living.contains(&writer) {
            found.in_flight += 1;
        } else {
            found.problems.push(Problem::LeftOpen { call, writer });
        }
    }
    let unpaired = unpaired.into_iter().chain(open);
    found
        .problems
        .extend(unpaired.map(|call| Problem::Unpaired { call }));
    table::payloads(tx, |call, part, body| {
        let recorded = digests.get(&(call, part)).copied().flatten();
        let held = if part == Part::Arguments.as_str() {
            json::canonical(body)
                .ok()
                .map(|text| Digest::of(text.as_bytes()))
        } else {
            Some(Digest::of(body.as_bytes()))
        };
        if recorded.is_none() || held != recorded {
            found.problems.push(Problem::Payload {
                call,
                part: part.to_owned(),
            });
        }
    })?;
    Ok(found)
}

fn check_chain(found: &mut Verified, record: &table::Record) {
    let (writer, seq) = (record.writer, record.seq);
    let (last, before) = found
        .heads
        .get(&writer)
        .copied()
        .unwrap_or((0, Digest::from_bytes(chain::BEGINNING)));
    if seq != last + 1 {
        let seq = last + 1;
        found.problems.push(Problem::Gap { writer, seq });
    } else if chain::hash(&before, writer, seq, &record.row) == record.hash {
        found.records += 1;
    } else {
        found.problems.push(Problem::Altered { writer, seq });
    }
    found.heads.insert(writer, (seq, record.hash));
}
