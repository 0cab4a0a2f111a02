//! A cut of the power: what a process did not flush is lost.

use crate::world::World;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// A library in front of the C library that notes what each `fsync` made
/// durable, so that a test can take back everything else.
pub(super) struct PowerCut {
    library: PathBuf,
    _folder: tempfile::TempDir,
}

impl PowerCut {
    pub(super) fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("powercut.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/powercut.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .status()
            .unwrap();
        assert!(built.success());
        Self {
            library,
            _folder: folder,
        }
    }

    /// Lets the library see what this process flushes. The claims server must
    /// not be seen: its ledger is the truth that survives.
    pub(super) fn watch(&self, command: &mut Command, world: &World) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("POWERCUT_STORE", world.path("countersign.db"));
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
