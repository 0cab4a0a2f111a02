//! Servers that are not there, beside one that is.

use crate::world::GET;
use crate::world::World;
use crate::world::names_of;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;

/// The claims server with one that ends at once, one that is not installed, and
/// one that never answers.
fn world() -> World {
    let world = World::new();
    let never = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/stubborn.sh");
    world.append(
        "countersign.toml",
        &format!(
            r#"
[servers.dead]
command = "false"

[servers.missing]
command = "no-such-program"

[servers.silent]
command = "sh"
args = [{never:?}]
env = {{ NOTE = "note" }}
start_timeout = "3s"
"#
        ),
    );
    world
}

#[test]
fn a_call_of_a_server_that_is_there_waits_for_no_other() {
    let world = world();
    world.edit("countersign.toml", "start_timeout = \"3s\"", "");
    let mut broker = world.broker().initialized();
    let begun = Instant::now();
    let answer = broker.call(GET, json!({"claim_id": "99"}));
    assert!(answer.starts_with("Claim 99"), "{answer}");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn servers_that_are_not_there_hide_nothing_of_the_others() {
    let world = world();
    let mut broker = world.broker().initialized();
    let list = broker.ask("tools/list", json!({}));
    assert_eq!(names_of(&list), ["claims__approve_payment", GET]);
    for name in ["dead", "missing", "silent"] {
        let answer = broker.call(&format!("{name}__do"), json!({}));
        assert!(answer.contains("Unknown tool"), "{answer}");
    }
    assert!(broker.end());
}

#[test]
fn check_names_each_server_that_is_not_there() {
    let (good, printed) = world().run(&["check"]);
    assert!(!good);
    let problems: Vec<_> = printed
        .lines()
        .filter(|line| line.starts_with("PROBLEM"))
        .collect();
    let [dead, missing, silent] = problems[..] else {
        panic!("{printed}");
    };
    assert!(dead.starts_with("PROBLEM server dead: "), "{dead}");
    assert!(dead.contains("exit status: 1"), "{dead}");
    assert!(
        missing.starts_with("PROBLEM server missing: `no-such-program` was not found on PATH"),
        "{missing}"
    );
    assert!(
        silent.starts_with("PROBLEM server silent: it was not ready after 3 s"),
        "{silent}"
    );
    // The status that the signal leaves would say nothing of why.
    assert!(
        !silent.contains("exit status: 143") && !silent.contains("exit status: 137"),
        "{silent}"
    );
    assert!(printed.contains("claims__approve_payment"), "{printed}");
}
