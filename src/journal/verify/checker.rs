//! What a store and an export are checked with alike: checkpoints first, then each
//! chain in its order.

use super::Problem;
use super::Trust;
use super::Verified;
use crate::journal::chain;
use crate::journal::checkpoint::Checkpoint;
use crate::journal::checkpoint::Signed;
use crate::journal::checkpoint::StoreId;
use crate::store::WriterId;
use crate::tool::Digest;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

pub(super) struct Checker<'a> {
    store: StoreId,
    trust: &'a Trust,
    found: Verified,
    /// How many checkpoints were seen.
    seen: usize,
    /// The last of them: its number and its digest.
    last: Option<(i64, Digest)>,
    /// What each checkpoint that holds vouches for, and which it is.
    vouched: BTreeMap<(WriterId, i64), (i64, Digest)>,
    /// Where checkpoints say that chains begin.
    begun: BTreeMap<WriterId, (i64, Digest)>,
    /// How far each chain is covered.
    covered: BTreeMap<WriterId, i64>,
    /// Digests of checkpoints, by their numbers.
    texts: BTreeMap<i64, Digest>,
    /// Whether a chain may end before what is vouched for.
    is_part: bool,
}

impl<'a> Checker<'a> {
    pub(super) fn new(store: StoreId, trust: &'a Trust) -> Self {
        Self {
            store,
            trust,
            found: Verified::default(),
            seen: 0,
            last: None,
            vouched: BTreeMap::new(),
            begun: BTreeMap::new(),
            covered: BTreeMap::new(),
            texts: BTreeMap::new(),
            is_part: false,
        }
    }

    /// Only a part of the journal was asked for: chains may end early, or be absent.
    pub(super) fn of_a_part(&mut self) {
        self.is_part = true;
    }

    /// The next checkpoint.
    pub(super) fn checkpoint(&mut self, signed: &Signed) {
        self.seen += 1;
        let Some(read) = self.read(signed) else {
            let place = self.seen;
            self.found.problems.push(Problem::Checkpoint { place });
            return;
        };
        let (number, key) = (read.number, read.key);
        let follows = match self.last {
            Some((last, digest)) => number == last + 1 && read.previous == Some(digest),
            // A part may begin in the middle of them.
            None => number > 1 || read.previous.is_none(),
        };
        if !follows || (self.last.is_none() && !self.is_part && number != 1) {
            self.found.problems.push(Problem::Unchained { number });
        }
        if !self.trust.keys.is_empty() && !self.trust.keys.contains(&key) {
            self.found.problems.push(Problem::Key { number, key });
            self.last = Some((number, signed.digest()));
            return;
        }
        self.last = Some((number, signed.digest()));
        self.texts.insert(number, signed.digest());
        self.found.checkpoints += 1;
        self.found.last = Some((number, read.at));
        self.found.keys.insert(key);
        for head in read.begins {
            self.begun.insert(head.writer, (head.seq, head.hash));
        }
        for head in read.heads {
            let place = (head.writer, head.seq);
            self.vouched.insert(place, (number, head.hash));
        }
    }

    /// What a checkpoint says, where it is one of this journal and signed.
    fn read(&self, signed: &Signed) -> Option<Checkpoint> {
        let read = Checkpoint::parse(&signed.text)?;
        let is_signed = read.key.signed(&signed.text, &signed.signature);
        (is_signed && read.store == self.store).then_some(read)
    }

    /// What stands before the first record of a chain.
    pub(super) fn begins(&mut self, writer: WriterId, seq: i64, hash: Digest) {
        if !self.is_part && self.begun.get(&writer) != Some(&(seq, hash)) {
            self.found.problems.push(Problem::Begins { writer, seq });
        }
        self.found.begins.insert(writer, seq);
        self.found.heads.insert(writer, (seq, hash));
        self.compare(writer, seq, &hash);
    }

    /// The next record of a chain.
    pub(super) fn record(
        &mut self,
        (writer, seq): (WriterId, i64),
        content: &Digest,
        hash: Digest,
    ) {
        let (last, before) = self
            .found
            .heads
            .get(&writer)
            .copied()
            .unwrap_or((0, Digest::from_bytes(chain::BEGINNING)));
        if seq != last + 1 {
            let seq = last + 1;
            self.found.problems.push(Problem::Gap { writer, seq });
        } else if chain::hash(&before, writer, seq, content) == hash {
            self.found.records += 1;
        } else {
            self.found.problems.push(Problem::Altered { writer, seq });
        }
        self.found.heads.insert(writer, (seq, hash));
        self.compare(writer, seq, &hash);
    }

    /// A record is shown by its digest only.
    pub(super) fn hidden(&mut self) {
        self.found.hidden += 1;
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        self.found.problems.push(problem);
    }

    fn compare(&mut self, writer: WriterId, seq: i64, hash: &Digest) {
        let Some((number, vouched)) = self.vouched.get(&(writer, seq)) else {
            return;
        };
        if vouched == hash {
            self.covered.insert(writer, seq);
        } else {
            let number = *number;
            self.found.problems.push(Problem::Departs {
                writer,
                seq,
                number,
            });
        }
    }

    /// What was found, once every chain was seen.
    pub(super) fn ended(mut self) -> Verified {
        if !self.is_part {
            self.cut();
        }
        for held in &self.trust.held {
            let number = self.read(held).map(|read| read.number);
            let here = number.and_then(|number| self.texts.get(&number));
            if here != Some(&held.digest()) {
                self.found.problems.push(Problem::Held { number });
            }
        }
        let covered = self.covered.iter().map(|(writer, seq)| {
            let begin = self.found.begins.get(writer).copied().unwrap_or(0);
            usize::try_from(seq - begin).unwrap_or(0)
        });
        self.found.covered = covered.sum::<usize>().min(self.found.records);
        self.found
    }

    /// Says which chains end too early.
    fn cut(&mut self) {
        let mut cut: BTreeMap<WriterId, (i64, i64)> = BTreeMap::new();
        for ((writer, seq), (number, _hash)) in &self.vouched {
            let end = self.found.heads.get(writer).map_or(0, |(seq, _hash)| *seq);
            if *seq > end {
                cut.insert(*writer, (*seq, *number));
            }
        }
        let writers: BTreeSet<_> = cut.into_iter().collect();
        for (writer, (seq, number)) in writers {
            self.found.problems.push(Problem::Cut {
                writer,
                seq,
                number,
            });
        }
    }
}
