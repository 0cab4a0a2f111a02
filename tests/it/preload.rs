//! Libraries that stand in front of the C library, so that a test can have the system
//! behave as it seldom does.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// One of `fixtures`, built.
pub(crate) struct Preload {
    library: PathBuf,
    _folder: tempfile::TempDir,
}

impl Preload {
    /// Builds `fixtures/NAME.c`.
    pub(crate) fn build(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join(name).with_extension("so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures")
            .join(name)
            .with_extension("c");
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

    /// Puts it in front of what this command starts.
    pub(crate) fn stands_before<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", &self.library)
    }
}
