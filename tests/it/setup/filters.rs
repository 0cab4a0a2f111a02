//! Filters and times that let nothing through, and say so.

use super::words::fails;
use super::words::set_up;

/// A filter that nothing can pass shows nothing, as if nothing had happened.
#[test]
fn a_filter_that_names_nobody_says_so() {
    let home = set_up("--permissive");
    home.does(&["key", "new", "ann"]);
    let principal = "there is no principal `eve` in the configuration: `";
    for (args, told) in [
        (&["session", "list", "--owner", "eve"][..], principal),
        (&["session", "list", "--owner", "eve", "--json"], principal),
        (&["meter", "show", "--principal", "eve"], principal),
        (
            &["meter", "show", "--role", "Boss", "--json"],
            "there is no role `Boss` in the configuration: `",
        ),
    ] {
        let done = home.command(args).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(
            done.status.success() && said.contains(told),
            "{args:?}: {said}"
        );
        let printed = String::from_utf8(done.stdout).unwrap();
        assert!(!printed.contains("there is no"), "{printed}");
    }
    let said = home.does(&["session", "list", "--owner", "ann"]);
    assert!(!said.contains("there is no"), "{said}");
    for lines in ["0", "x", "-1"] {
        let told = "write a whole number from 1 on, like `20`";
        fails(&home, &["journal", "tail", &format!("-n={lines}")], &[told]);
    }
    fails(
        &home,
        &["journal", "export", "--since", "2999-01-01"],
        &["`--since` is in the future"],
    );
    fails(
        &home,
        &[
            "journal",
            "export",
            "--since",
            "2026-01-02",
            "--until",
            "2026-01-01",
        ],
        &["`--until` is not after `--since`"],
    );
}
