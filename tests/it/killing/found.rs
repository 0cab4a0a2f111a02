//! What runs of the killing test found.

use super::client::Ended;
use std::collections::BTreeMap;
use std::fmt;

/// What one run found, or several together.
#[derive(Default)]
pub(super) struct Found {
    /// What is not as it was promised, a line each.
    pub(super) broken: Vec<String>,
    pub(super) kills: u32,
    pub(super) executed: usize,
    pub(super) admissible: usize,
    /// Payments that were approved and made.
    pub(super) lifted: usize,
    pub(super) ends: BTreeMap<Ended, usize>,
    pub(super) points: BTreeMap<&'static str, u32>,
}

impl Found {
    /// What a run in another store found, too.
    pub(super) fn join(&mut self, other: Self) {
        self.broken.extend(other.broken);
        self.kills += other.kills;
        self.executed += other.executed;
        self.admissible += other.admissible;
        self.lifted += other.lifted;
        for (how, times) in other.ends {
            *self.ends.entry(how).or_default() += times;
        }
        for (point, hits) in other.points {
            *self.points.entry(point).or_default() += hits;
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills; executed {} of {} admissible; {} approved; ends {:?}; points {:?}",
            self.kills, self.executed, self.admissible, self.lifted, self.ends, self.points
        )
    }
}
