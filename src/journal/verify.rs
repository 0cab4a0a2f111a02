//! Verification: does the journal still say what was written?

mod checker;
mod file;
mod payload;
mod problem;

pub use file::ReadError;
pub use file::verify_export;
pub use problem::Problem;

use super::Kind;
use super::chain;
use super::checkpoint;
use super::checkpoint::Signed;
use super::retention;
use super::signer::PublicKey;
use super::table;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use crate::tool::Digest;
use checker::Checker;
use jiff::Timestamp;
use payload::Expected;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// What verification found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Records whose hash holds.
    pub records: usize,
    /// How many of them are shown as digests only.
    pub hidden: usize,
    /// The last hash of each writer.
    pub heads: BTreeMap<WriterId, (i64, Digest)>,
    /// The record before the first one of a chain, where that is not 1.
    pub begins: BTreeMap<WriterId, i64>,
    /// How many checkpoints hold.
    pub checkpoints: usize,
    /// The last of them.
    pub last: Option<(i64, Timestamp)>,
    /// The keys that signed them.
    pub keys: BTreeSet<PublicKey>,
    /// How many of the records lie under a checkpoint.
    pub covered: usize,
    /// Calls in flight of living writers.
    pub in_flight: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// What whoever verifies has from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The keys that may sign. Where there are none, checkpoints are checked against
    /// the keys that they name themselves.
    pub keys: Vec<PublicKey>,
    /// Checkpoints that were given away.
    pub held: Vec<Signed>,
}

/// Recomputes every chain, checks every checkpoint, and compares calls, payloads and
/// calls in flight.
///
/// # Errors
///
/// When the journal cannot be read at all.
pub fn verify(tx: &Tx<'_>, living: &[WriterId], trust: &Trust) -> Result<Verified, StoreError> {
    let mut checker = Checker::new(checkpoint::store_id(tx)?, trust);
    checkpoint::walk(tx, 1, |signed| {
        checker.checkpoint(&signed);
        Ok::<_, StoreError>(())
    })?;
    let begins = checkpoint::begins(tx)?;
    for (writer, (seq, hash)) in &begins {
        checker.begins(*writer, *seq, *hash);
    }
    let mut pairs = Pairs::default();
    table::walk(tx, |record| {
        let begin = begins.get(&record.writer).map_or(0, |(seq, _hash)| *seq);
        if record.seq > begin {
            let place = (record.writer, record.seq);
            checker.record(place, &chain::content(&record.row), record.hash);
        }
        pairs.take(&record);
    })?;
    let mut found = checker.ended();
    pairs.compare(tx, living, &mut found)?;
    table::payloads(tx, |call, part, body| {
        let expected = pairs.payloads.get(&(call, part));
        if !expected.is_some_and(|expected| expected.is(part, body)) {
            found.problems.push(Problem::Payload {
                call,
                part: part.to_owned(),
            });
        }
    })?;
    Ok(found)
}

/// Calls whose opening was seen and not their end, or the other way round.
#[derive(Default)]
struct Pairs {
    open: BTreeSet<CallId>,
    unpaired: BTreeSet<CallId>,
    payloads: BTreeMap<(CallId, &'static str), Expected>,
}

impl Pairs {
    fn take(&mut self, record: &table::Record) {
        let (call, kind) = (record.row.call, record.row.kind);
        let part = kind.part().as_str();
        let expected = Expected::beside(&record.row);
        self.payloads.insert((call, part), expected);
        match kind {
            Kind::Open => {
                if !self.unpaired.remove(&call) {
                    self.open.insert(call);
                }
            }
            Kind::Refused | Kind::Decision => {}
            // Another writer may have closed it, whose chain may come earlier.
            Kind::Close => {
                if !self.open.remove(&call) {
                    self.unpaired.insert(call);
                }
            }
        }
    }

    fn compare(
        &mut self,
        tx: &Tx<'_>,
        living: &[WriterId],
        found: &mut Verified,
    ) -> Result<(), StoreError> {
        for (call, writer) in table::in_flight_all(tx)? {
            if !self.open.remove(&call) {
                self.unpaired.insert(call);
            } else if living.contains(&writer) {
                found.in_flight += 1;
            } else {
                found.problems.push(Problem::LeftOpen { call, writer });
            }
        }
        let trimmed = retention::trimmed_before(tx)?;
        let is_whole = |call: &&CallId| trimmed.is_none_or(|first| **call >= first);
        let unpaired = self.unpaired.iter().chain(&self.open).filter(is_whole);
        let unpaired = unpaired.map(|call| Problem::Unpaired { call: *call });
        found.problems.extend(unpaired);
        Ok(())
    }
}
