//! Killed at each step of making an approved call for a client that waits by a task,
//! with and without the power cut after: it is made once at most, and the task ends.

use super::lifting::AFTER;
use super::lifting::BEFORE;
use super::lifting::Stage;
use super::lifting::each;
use super::lifting::pay;
use super::power::PowerCut;
use crate::world::PATIENCE;
use crate::world::Wire;
use serde_json::Value;
use serde_json::json;
use std::time::Instant;

/// A request of a client that knows tasks, in this session.
fn knowing(mut params: Value, session: &str) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities":
            {"extensions": {"io.modelcontextprotocol/tasks": {}}},
        "dev.countersign/session": session,
    });
    params
}

/// Alice waits by a task for what mia has approved, and no broker runs.
fn approved<'a>(power: Option<&'a PowerCut>) -> (Stage<'a>, String, Value) {
    let stage = Stage::new(power);
    stage.world.edit(
        "countersign.toml",
        "risk = \"high\"",
        "risk = \"high\"\non_approval = \"resume\"",
    );
    let mut alice = stage.started("alice", None);
    let begun = alice.ask("tools/call", knowing(pay(), "claim-99"));
    let task = begun["result"]["taskId"].clone();
    assert!(task.is_string(), "{begun}");
    assert!(alice.end());
    stage.settle();
    let id = stage.one();
    assert!(stage.approves(&id, None));
    stage.settle();
    (stage, id, task)
}

/// A broker that makes the call by itself, and is killed there.
fn is_killed(stage: &Stage<'_>, point: &str) {
    let mut broker = stage.started("alice", Some(point));
    let begun = Instant::now();
    while broker.line(PATIENCE).is_some() {
        assert!(begun.elapsed() < PATIENCE, "{point}");
    }
    assert!(broker.was_killed(), "{point} was not passed");
    stage.cut();
}

/// What the task came to, asked in a session of its own.
fn end_of(alice: &mut Wire, task: &Value) -> String {
    let begun = Instant::now();
    loop {
        let got = alice.ask("tasks/get", knowing(json!({"taskId": task}), "claim-1"));
        let got = &got["result"];
        if got["status"] == "completed" {
            return got["result"]["content"][0]["text"]
                .as_str()
                .unwrap()
                .to_owned();
        }
        assert_eq!(got["status"], "working", "{got}");
        assert!(begun.elapsed() < PATIENCE, "a task never ends");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn an_approved_call_is_made_for_its_client_once_whenever_the_broker_is_killed() {
    let points = [
        ("escalation.used:1", BEFORE),
        ("store.admit.before-commit:1", BEFORE),
        ("store.admit.after-commit:1", AFTER),
        ("store.close.before-commit:1", AFTER),
        ("store.close.after-commit:1", AFTER),
    ];
    each(&points, |power, point, used| {
        let (stage, id, task) = approved(power);
        is_killed(&stage, point);
        let state = if used { "used" } else { "approved" };
        assert_eq!(stage.state(&id), state, "{point}");
        let mut alice = stage.started("alice", None);
        let said = end_of(&mut alice, &task);
        assert!(alice.end());
        let made = said == "Paid $50000.00 to ACME on claim 99.";
        let unknown = said.contains("nobody saw how it ended");
        let executed = stage.world.paid().len();
        match (point, power.is_some()) {
            _ if !used => assert!(made, "{point}: {said}"),
            // The end is on the disk with the next flush.
            ("store.close.after-commit:1", true) => assert!(made || unknown, "{said}"),
            ("store.close.after-commit:1", false) => assert!(made, "{said}"),
            _ => assert!(unknown, "{point}: {said}"),
        }
        let sent = point != "store.admit.after-commit:1";
        assert_eq!(executed, usize::from(sent), "{point}");
        assert_eq!(
            (stage.state(&id).as_str(), stage.sent_with(&id)),
            ("used", 1)
        );
        stage.comes_to(executed);
    });
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn why_no_call_is_made_is_told_whenever_the_broker_is_killed() {
    let points = [
        ("store.admit.before-commit:1", BEFORE),
        ("store.admit.after-commit:1", AFTER),
        ("store.not made.before-commit:1", AFTER),
        ("store.not made.after-commit:1", AFTER),
    ];
    each(&points, |power, point, _recorded| {
        let (stage, id, task) = approved(power);
        assert!(stage.world.run(&["session", "freeze", "claim-99"]).0);
        stage.settle();
        is_killed(&stage, point);
        let mut alice = stage.started("alice", None);
        let said = end_of(&mut alice, &task);
        assert!(
            said.starts_with("Approved by mia. The call was not sent: ")
                && said.contains("This session is frozen."),
            "{point}: {said}"
        );
        assert!(alice.end());
        assert_eq!(stage.state(&id), "approved", "{point}");
        assert!(stage.world.paid().is_empty());
        assert_eq!(stage.world.journal_problems(), []);
    });
}
