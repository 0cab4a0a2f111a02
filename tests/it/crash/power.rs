//! A cut of the power: what a process did not flush is lost.

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

    /// Puts the store back to what was flushed.
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
    }
}
