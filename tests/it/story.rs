//! The story that takes two days: an agent pauses and its process ends, everything is
//! killed, and another program finishes what it began. The clock of the brokers is
//! moved with libfaketime.

use crate::events;
use crate::http::talk::Talk;
use crate::meters;
use crate::real;
use crate::world::APPROVE;
use crate::world::GET;
use crate::world::World;
use crate::world::payment;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// The library of Debian's package `libfaketime`.
fn faketime() -> PathBuf {
    let libraries = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut found = libraries.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let found = found.find(|library| library.exists());
    found.expect("libfaketime is missing: run `tests/run`")
}

/// Lets a process see the clock moved by so much, as libfaketime writes it. What only
/// measures how long something takes is left alone.
pub(crate) fn moved(command: &mut Command, by: &str) {
    command
        .env("LD_PRELOAD", faketime())
        .env("FAKETIME", by)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// Runs the agent that comes back, and returns what it saw.
fn comes_back(url: &str, key: &str, mode: &str) -> Vec<Value> {
    let plan = json!({
        "url": url,
        "headers": {
            "authorization": format!("Bearer {key}"),
            "countersign-session": "claim-99",
        },
        "mode": mode,
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/clients/coming_back.py");
    let output = Command::new(real::python_tool("python"))
        .arg(script)
        .arg(plan.to_string())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The first day: a claim is begun, noted down and left to wait; then all is killed.
fn begins(world: &World) {
    let mut agent = world.broker().initialized();
    assert!(
        agent
            .call(GET, json!({"claim_id": "99"}))
            .starts_with("Claim 99")
    );
    let paid = agent.call(APPROVE, payment(9_000));
    assert!(paid.starts_with("Paid"), "{paid}");
    let claim = json!({"id": "99", "payee": "ACME", "left": 8_000});
    agent.call(
        "countersign__memory_put",
        json!({"key": "claim", "value": claim}),
    );
    let paused = agent.call(
        "countersign__session_pause",
        json!({"waiting_for": "the verification of the damage"}),
    );
    assert_eq!(paused, "This session is paused.");
    agent.kill();
}

fn two_days_later(mode: &str) {
    let world = World::new();
    let key = world.key("alice");
    begins(&world);

    let mut broker = world.serve_with(|command| moved(command, "+2d"));
    let event = json!({"id": "v-1", "kind": "verification", "body": {"damage": "confirmed"}});
    let sent = Talk::new(broker.address())
        .with("authorization", &format!("Bearer {key}"))
        .post("/api/sessions/claim-99/events", &event.to_string());
    assert_eq!(sent.json()["event"]["resumed"], true, "{sent:?}");
    // Whoever comes does so after one more end of everything.
    broker = world.restarted_with(broker, |command| moved(command, "+2d"));

    let saw = comes_back(&broker.url("/mcp"), &key, mode);
    let [told, memory, paid, kept] = &saw[..] else {
        panic!("{saw:#?}");
    };
    let told = told["instructions"].as_str().unwrap();
    for told_of in [
        "Session claim-99 of alice",
        "claims/approve_payment by alice: completed",
        "verification from principal:alice, id \"v-1\"",
        "#amount: 9000.00",
        "In its memory: \"claim\"",
    ] {
        assert!(told.contains(told_of), "{told_of} is not in: {told}");
    }
    let days: Vec<&str> = told
        .split_whitespace()
        .filter(|word| word.len() == 10 && word.starts_with("20"))
        .collect();
    let [first, .., last] = &days[..] else {
        panic!("no dates in: {told}");
    };
    assert_ne!(first, last, "no time went by in: {told}");
    assert_eq!(memory["memory"]["claim"]["left"], 8_000);
    assert_eq!(paid["paid"], "Paid $8000.00 to ACME on claim 99.");
    assert_eq!(kept["kept"], "Kept, as version 2.");
    assert_eq!(world.paid(), [900_000, 800_000]);
    // The limit of the session counts both days.
    let mut other = world
        .broker_with(|command| moved(command, "+2d"))
        .initialized();
    let third = other.call(APPROVE, payment(4_000));
    assert!(third.contains("Session Limit Exceeded."), "{third}");
    assert!(world.journal_problems().is_empty());
}

#[test]
#[ignore = "needs the Python SDK and libfaketime: run tests/run"]
fn two_days_later_another_client_of_the_new_era_finishes_the_claim() {
    two_days_later("auto");
}

#[test]
#[ignore = "needs the Python SDK and libfaketime: run tests/run"]
fn two_days_later_another_client_of_the_old_era_finishes_the_claim() {
    two_days_later("legacy");
}

/// One payment a day is the limit of this principal, and two reads an hour.
#[test]
#[ignore = "needs libfaketime: run tests/run"]
fn a_clock_that_is_set_back_a_day_reopens_no_window() {
    let world = meters::metered(&meters::reads("principal"), meters::TWO_READS);
    world.edit(
        "principals.toml",
        "day = \"9000000000.00\"",
        "day = \"10000.00\"",
    );
    let at = |by: &str, session: &str| {
        let mut broker = world
            .broker_with(|command| {
                moved(command, by);
                command.args(["--session", session]);
            })
            .initialized();
        let said = [
            broker.call(APPROVE, payment(9_000)),
            broker.call(GET, json!({"claim_id": "99"})),
            broker.call(GET, json!({"claim_id": "99"})),
            broker.call(GET, json!({"claim_id": "99"})),
        ];
        assert!(broker.end());
        said.map(|text| !text.starts_with("error"))
    };
    assert_eq!(at("+2d", "claim-1"), [true, true, true, false]);
    assert_eq!(at("+1d", "claim-2"), [false, false, false, false]);
    assert_eq!(at("+0d", "claim-3"), [false, false, false, false]);
    assert_eq!(at("+2d", "claim-4"), [false, false, false, false]);
    assert_eq!(at("+3d", "claim-5"), [true, true, true, false]);
    assert!(world.journal_problems().is_empty());
    let _shown = events::done(&world, &["meter", "show"]);
}
