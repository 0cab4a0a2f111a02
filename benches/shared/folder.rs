//! A folder with the shipped configuration, for what is measured.

use countersign::config;
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");
pub(crate) const CLAIMS_POLICY: &str = include_str!("../../policies/claims.cedar");
pub(crate) const GLOBAL_POLICY: &str = include_str!("../../policies/global.cedar");

/// The shipped configuration with records of this durability. Alice has totals that
/// no run reaches.
pub(crate) fn shipped(durability: &str) -> TempDir {
    // Beside the build, because `/tmp` is memory in some places.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    std::fs::create_dir(folder.path().join("policies")).unwrap();
    write("policies/claims.cedar", CLAIMS_POLICY);
    write("policies/global.cedar", GLOBAL_POLICY);
    write(
        "countersign.toml",
        &config::EXAMPLE
            .replace(
                "command = \"countersign\"",
                &format!("command = {PROGRAM:?}"),
            )
            .replace(
                "durability = \"process\"",
                &format!("durability = {durability:?}"),
            ),
    );
    write(
        "principals.toml",
        &config::PRINCIPALS_EXAMPLE
            .replace("session = \"20000.00\"", "session = \"9000000000.00\"")
            .replace("day = \"60000.00\"", "day = \"9000000000.00\""),
    );
    folder
}
