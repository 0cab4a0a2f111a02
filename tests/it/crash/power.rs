//! A cut of the power: what a process did not flush is lost.

use super::HITS;
use super::Trial;
use crate::preload::Preload;
use crate::world::World;
use std::process::Command;

/// A library in front of the C library that notes what each `fsync` made
/// durable, so that a test can take back everything else.
pub(super) struct PowerCut(Preload);

impl PowerCut {
    pub(super) fn build() -> Self {
        Self(Preload::build("powercut"))
    }

    /// Lets the library see what this process flushes. The claims server must
    /// not be seen: its ledger is the truth that survives.
    pub(super) fn watch(&self, command: &mut Command, world: &World) {
        self.0
            .stands_before(command)
            .env("POWERCUT_STORE", world.path("countersign.db"));
    }

    /// Takes what there is now for flushed. No process may have the store open.
    pub(super) fn settle(&self, world: &World) {
        for file in ["countersign.db", "countersign.db-wal"] {
            let flushed = world.path(&format!("{file}.flushed"));
            let file = world.path(file);
            if file.exists() {
                std::fs::copy(&file, &flushed).unwrap();
            } else {
                let _not_there = std::fs::remove_file(&flushed);
            }
        }
    }

    /// Puts the store back to what was flushed. Of the spools, which are flushed by
    /// nobody, nothing is left.
    pub(super) fn cut(&self, world: &World) {
        for file in ["countersign.db", "countersign.db-wal"] {
            let flushed = world.path(&format!("{file}.flushed"));
            let file = world.path(file);
            if flushed.exists() {
                std::fs::copy(&flushed, &file).unwrap();
            } else {
                let _not_there = std::fs::remove_file(&file);
            }
        }
        let _not_there = std::fs::remove_file(world.path("countersign.db-shm"));
        let beside = std::fs::read_dir(world.path("countersign.db-writers")).unwrap();
        for file in beside.flatten() {
            if file.file_name().to_string_lossy().contains(".spool-") {
                std::fs::write(file.path(), "").unwrap();
            }
        }
    }
}

/// Points after each of which the power is cut.
const POWER_CUTS: [&str; 6] = [
    "store.admit.after-commit",
    "send.after-write",
    "answer.after-read",
    "store.close.after-commit",
    "reply.after-write",
    "store.recover.after-commit",
];

/// What is broken after the power was cut at each of these points.
fn after_power_cuts(points: &[&str], durability: &str) -> Vec<String> {
    let power_cut = PowerCut::build();
    let mut all = Vec::new();
    for point in points {
        let trial = Trial {
            point,
            beside: false,
            mutation: None,
            durability,
            power_cut: Some(&power_cut),
        };
        let (killed, broken) = trial.run();
        assert_eq!(killed, HITS, "{point} was not passed in every run");
        all.extend(broken.into_iter().map(|line| format!("{point}: {line}")));
    }
    all
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn a_power_cut_at_any_point_forgets_nothing_where_every_record_waits_for_the_disk() {
    let broken = after_power_cuts(&POWER_CUTS, "power");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Here the last moments may be lost, but never of what a limit depends on.
#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn a_power_cut_at_any_point_forgets_no_payment_that_a_limit_depends_on() {
    // With this durability a close is no transaction that others must hear of.
    let points: Vec<&str> = POWER_CUTS
        .into_iter()
        .filter(|point| !point.starts_with("store.close."))
        .collect();
    let broken = after_power_cuts(&points, "process");
    let may_be_lost = |line: &&String| line.contains(": the claim ");
    let broken: Vec<String> = broken
        .iter()
        .filter(|line| !may_be_lost(line))
        .cloned()
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn a_commit_without_a_flush_would_be_noticed() {
    let power_cut = PowerCut::build();
    let trial = Trial {
        point: "answer.after-read",
        beside: false,
        mutation: Some("no-fsync"),
        durability: "power",
        power_cut: Some(&power_cut),
    };
    let (_killed, broken) = trial.run();
    let unrecorded = broken.iter().any(|line| line.contains("was executed"));
    assert!(
        unrecorded,
        "a payment whose record was lost went unnoticed: {broken:?}"
    );
}
