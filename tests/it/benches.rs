//! What the benchmarks are asked for, as far as it can be asked without running them.

#[path = "../../benches/large_store/asked.rs"]
mod asked;

use asked::Asked;
use asked::USAGE;
use asked::asked;

fn read(args: &[&str]) -> Result<Asked, String> {
    asked(args.iter().map(|arg| (*arg).to_owned()))
}

#[test]
fn the_benchmark_of_large_stores_begins_only_for_who_asked_for_it() {
    for (args, sessions) in [
        (&[][..], 1_000_000),
        (&["--bench"], 1_000_000),
        (&["--sessions", "100000", "--bench"], 100_000),
        (&["--sessions=1000"], 1_000),
    ] {
        assert_eq!(read(args), Ok(Asked::Sessions(sessions)), "{args:?}");
    }
    for args in [
        &["--help"][..],
        &["--bench", "-h"],
        &["--sessions", "1000", "--help"],
    ] {
        assert_eq!(read(args), Ok(Asked::Usage), "{args:?}");
    }
    for (args, told) in [
        (&["--sesions", "5"][..], "there is no `--sesions` here"),
        (&["large"], "there is no `large` here"),
        (&["--sessions"], "is followed by a number"),
        (&["--sessions", "many"], "`many` is no number"),
        (
            &["--sessions", "0"],
            "`0` is no number of sessions from 1000 on",
        ),
    ] {
        let refused = read(args).unwrap_err();
        assert!(refused.contains(told), "{args:?}: {refused}");
    }
    assert!(USAGE.contains("--sessions N") && USAGE.contains("1000000"));
}
