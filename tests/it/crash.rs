//! Whatever is killed and whenever: the broker is killed at every named point
//! of the path, and afterwards the promise is checked. The named points are compiled
//! in with `--features crash-points` only.

mod custody;
mod lifting;
mod power;
mod resuming;

use crate::world::APPROVE;
use crate::world::CLOSE;
use crate::world::GET;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use countersign::outcome::Outcome;
use power::PowerCut;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;

/// How often each point is hit.
const HITS: u32 = 10;

/// The session limit of the shipped example, in cents.
const LIMIT: i64 = 2_000_000;

/// Points that every call passes: the n-th run kills at the n-th passage.
pub(crate) const EACH_CALL: [&str; 9] = [
    "store.admit.before-commit",
    "store.admit.after-commit",
    "send.before-write",
    "send.after-write",
    "answer.before-read",
    "answer.after-read",
    "reply.before-write",
    "reply.after-write",
    "store.session.after-commit",
];

/// The same for records that go by the spool: before and after they are appended,
/// in the middle of it, and before and after they come into the tables.
pub(crate) const EACH_RECORD: [&str; 14] = [
    "spool.open.before-append",
    "spool.open.torn",
    "spool.open.after-append",
    "spool.close.before-append",
    "spool.close.torn",
    "spool.close.after-append",
    "spool.refuse.before-append",
    "spool.refuse.torn",
    "spool.refuse.after-append",
    "spool.fold.before",
    "spool.fold.halfway",
    "spool.fold.after",
    "spool.fold.before-emptying",
    "spool.fold.after-emptying",
];

/// The same where every record must survive a power cut, and none goes by the
/// spool.
const EACH_TRANSACTION: [&str; 6] = [
    "store.refuse.before-commit",
    "store.refuse.after-commit",
    "store.admit.after-commit",
    "store.close.before-commit",
    "store.close.after-commit",
    "answer.after-read",
];

/// Points that a process passes once or seldom: each run kills at the first.
const EACH_START: [&str; 8] = [
    "store.retire.before-commit",
    "store.retire.after-commit",
    "store.enlist.before-commit",
    "store.enlist.after-commit",
    "store.pin.before-commit",
    "store.pin.after-commit",
    "store.recover.before-commit",
    "store.recover.after-commit",
];

/// Alice may close claims here, which moves no meter and is not done twice.
const MAY_CLOSE: &str = r#"
@id("crash.close")
permit (
  principal in Broker::Role::"Junior",
  action == Broker::Action::"claims/close_claim",
  resource in Broker::Server::"claims"
);
"#;

/// What a client does in one run, until the broker is gone or all is done.
fn work(wire: &mut Wire, handle: &str, amounts: &[i64]) {
    let named = json!({ "dev.countersign/session": handle });
    if wire.request_initialize().is_none() {
        return;
    }
    let read = json!({"name": GET, "arguments": {"claim_id": "99"}, "_meta": named});
    let id = wire.request("tools/call", read.clone());
    if wire.answer_to(id).is_none() {
        return;
    }
    // Several at a time, so that a commit carries more than one call. Reading goes
    // on when the limit is reached, a claim that is closed moves no meter, and a
    // tool that is not there is recorded too.
    let nowhere = json!({"name": "claims__nowhere", "arguments": {}, "_meta": named});
    for pair in amounts.chunks(2) {
        let payments = pair.iter().map(
            |dollars| json!({"name": APPROVE, "arguments": payment(*dollars), "_meta": named}),
        );
        let claim = format!("{handle}-{}", pair.first().unwrap_or(&0));
        let closed = json!({"name": CLOSE, "_meta": named,
            "arguments": {"claim_id": claim, "reason": "done"}});
        let others = [read.clone(), closed, nowhere.clone()];
        let calls: Vec<_> = payments.chain(others).collect();
        let ids: Vec<u64> = calls
            .into_iter()
            .map(|call| wire.request("tools/call", call))
            .collect();
        for id in ids {
            if wire.answer_to(id).is_none() {
                return;
            }
        }
    }
}

/// Everything that the promise says, as a list of what does not hold.
/// `limit` is the most that a session may be charged, in cents.
pub(crate) fn broken_promises(world: &World, handles: &[String], limit: i64) -> Vec<String> {
    let mut broken = Vec::new();
    let ledger = countersign::demo::read_ledger(&world.path("ledger.jsonl")).unwrap();
    let mut executed: BTreeMap<i64, i64> = BTreeMap::new();
    let mut closed: BTreeMap<&str, i64> = BTreeMap::new();
    for line in &ledger {
        match line.tool.as_str() {
            "close_claim" => *closed.entry(&line.claim_id).or_default() += 1,
            _ => *executed.entry(line.cents).or_default() += 1,
        }
    }
    // Amounts differ between runs of one world, so a payment is known by its amount.
    let mut recorded: BTreeMap<i64, i64> = BTreeMap::new();
    for handle in handles {
        let mut charged = 0;
        for call in world.calls(handle) {
            let Some(outcome) = call.outcome else {
                broken.push(format!("{handle}: call {} stays open", call.call));
                continue;
            };
            if call.tool == "claims/close_claim" {
                let arguments: Value = serde_json::from_str(&call.arguments.unwrap()).unwrap();
                let claim = arguments["claim_id"].as_str().unwrap();
                if let Some(times) = closed.get_mut(claim) {
                    *times -= 1;
                }
            }
            let cents = call.detail["charged"]["claims/approve_payment#amount"].as_i64();
            if let Some(cents) = cents.filter(|_| outcome != Outcome::FailedBeforeSending) {
                *recorded.entry(cents).or_default() += 1;
                charged += cents;
            }
        }
        if charged > limit {
            broken.push(format!("{handle}: {charged} cents were admitted"));
        }
    }
    for (cents, times) in executed {
        let known = recorded.get(&cents).copied().unwrap_or(0);
        if times > known {
            broken.push(format!(
                "a payment of {cents} was executed {times} times and recorded {known} times"
            ));
        }
    }
    for (claim, times) in closed.into_iter().filter(|(_, times)| *times > 0) {
        broken.push(format!(
            "the claim {claim} was executed {times} times more than recorded"
        ));
    }
    let problems = world.journal_problems();
    broken.extend(problems.iter().map(ToString::to_string));
    broken
}

/// One world in which a point is hit [`HITS`] times, by one broker or with a
/// second one beside it that is not killed.
struct Trial<'a> {
    point: &'a str,
    beside: bool,
    mutation: Option<&'a str>,
    /// `process` or `power`.
    durability: &'a str,
    /// Cut the power after each kill: what was not flushed is lost.
    power_cut: Option<&'a PowerCut>,
}

impl Trial<'_> {
    fn run(&self) -> (u32, Vec<String>) {
        let world = World::new();
        let durability = format!("durability = \"{}\"", self.durability);
        world.edit("countersign.toml", "durability = \"process\"", &durability);
        world.write("policies/crash.cedar", MAY_CLOSE);
        let mut handles = Vec::new();
        let mut killed = 0;
        for run in 1..=HITS {
            let handle = format!("claim-{run}");
            let once =
                EACH_START.contains(&self.point) || self.point == "store.session.after-commit";
            let passage = if once { 1 } else { run };
            if self.point.starts_with("store.pin.") {
                forget_pins(&world);
            }
            if self.point.starts_with("store.recover.") {
                leave_a_dead_writer(&world);
            }
            let mut armed = world.broker_with(|command| {
                command.env("COUNTERSIGN_CRASH", format!("{}:{passage}", self.point));
                if let Some(mutation) = self.mutation {
                    command.env("COUNTERSIGN_MUTATE", mutation);
                }
                if let Some(power_cut) = self.power_cut {
                    power_cut.watch(command, &world);
                }
            });
            // Dollars that no other run of this world pays.
            let amounts: Vec<i64> = (0..30).map(|n| 1_000 + i64::from(run) * 30 + n).collect();
            let mut other = self.beside.then(|| world.broker());
            std::thread::scope(|scope| {
                if let Some(other) = &mut other {
                    let theirs: Vec<i64> = amounts.iter().map(|dollars| dollars + 1_000).collect();
                    let handle = &handle;
                    scope.spawn(move || work(other, handle, &theirs));
                }
                work(&mut armed, &handle, &amounts);
            });
            killed += u32::from(armed.was_killed());
            if let Some(power_cut) = self.power_cut {
                power_cut.cut(&world);
            }
            handles.push(handle);
        }
        // The next start recovers what the last one left, and the sessions go on.
        let mut last = world.broker().initialized();
        let mut broken = Vec::new();
        for handle in &handles {
            let call = json!({"name": GET, "arguments": {"claim_id": "1"},
                "_meta": {"dev.countersign/session": handle}});
            let answer = last.ask("tools/call", call);
            if answer["result"]["isError"] == true {
                broken.push(format!("{handle} does not go on: {answer}"));
            }
        }
        broken.extend(broken_promises(&world, &handles, LIMIT));
        assert!(last.end());
        (killed, broken)
    }
}

fn forget_pins(world: &World) {
    for file in ["countersign.db", "countersign.db-wal", "countersign.db-shm"] {
        let _not_there = std::fs::remove_file(world.path(file));
    }
    let _not_there = std::fs::remove_dir_all(world.path("countersign.db-writers"));
    let _not_there = std::fs::remove_file(world.path("ledger.jsonl"));
}

fn leave_a_dead_writer(world: &World) {
    let mut wire = world.broker().initialized();
    wire.ask("tools/list", json!({}));
    wire.kill();
}

fn check(points: &[&str], beside: bool) {
    check_with(points, beside, "process");
}

fn check_with(points: &[&str], beside: bool, durability: &str) {
    for point in points {
        let trial = Trial {
            point,
            beside,
            mutation: None,
            durability,
            power_cut: None,
        };
        let (killed, broken) = trial.run();
        assert_eq!(killed, HITS, "{point} was not passed in every run");
        assert!(broken.is_empty(), "{point}:\n{}", broken.join("\n"));
    }
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn one_broker_killed_at_any_point_of_a_call_keeps_the_promise() {
    check(&EACH_CALL, false);
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn one_broker_killed_at_any_point_of_its_start_keeps_the_promise() {
    check(&EACH_START, false);
}

/// Recovery is left out: whichever of the two comes first does it.
#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn two_brokers_on_one_store_one_of_them_killed_at_its_start_or_end_keep_the_promise() {
    let both_pass = |point: &&str| !point.starts_with("store.recover.");
    let points: Vec<&str> = EACH_START.into_iter().filter(both_pass).collect();
    check(&points, true);
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn two_brokers_on_one_store_one_of_them_killed_keep_the_promise() {
    check(&EACH_CALL, true);
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn one_broker_killed_at_any_point_of_a_record_keeps_the_promise() {
    check(&EACH_RECORD, false);
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn two_brokers_on_one_store_one_of_them_killed_at_a_record_keep_the_promise() {
    let points = [
        "spool.open.after-append",
        "spool.close.torn",
        "spool.fold.halfway",
        "spool.fold.before-emptying",
    ];
    check(&points, true);
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn one_broker_killed_at_any_point_of_a_transaction_keeps_the_promise() {
    check_with(&EACH_TRANSACTION, false, "power");
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn sending_without_a_record_in_the_spool_would_be_noticed() {
    unnoticed("spool-nothing");
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn records_that_never_come_into_the_tables_would_be_noticed() {
    unnoticed("fold-nothing");
}

/// Fails unless a call is missed that this mutation lost.
fn unnoticed(mutation: &str) {
    let trial = Trial {
        point: "reply.after-write",
        beside: false,
        mutation: Some(mutation),
        durability: "process",
        power_cut: None,
    };
    let (_killed, broken) = trial.run();
    let missed = |line: &String| line.starts_with("the claim ") && line.contains("was executed");
    assert!(
        broken.iter().any(missed),
        "a claim that was closed without a record went unnoticed: {broken:?}"
    );
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn a_call_in_the_spool_of_a_broker_that_died_is_told_of_by_another_at_once() {
    let world = World::new();
    world.write("policies/crash.cedar", MAY_CLOSE);
    let mut other = world.broker().initialized();
    let mut armed = world
        .broker_with(|command| {
            command.env("COUNTERSIGN_CRASH", "spool.open.after-append:1");
        })
        .initialized();
    let call = json!({"name": CLOSE, "arguments": {"claim_id": "7", "reason": "done"},
        "_meta": {"dev.countersign/session": "claim-7"}});
    let before = other.ask("tools/call", call.clone());
    assert_ne!(before["result"]["isError"], true, "{before}");
    let id = armed.request("tools/call", call.clone());
    assert!(armed.answer_to(id).is_none());
    assert!(armed.was_killed());
    let told = other.ask("tools/call", call.clone()).to_string();
    assert!(told.contains("nobody saw how it ended"), "{told}");
    let meant = other.ask("tools/call", call);
    assert_ne!(meant["result"]["isError"], true, "{meant}");
    assert!(other.end());
    assert!(world.journal_problems().is_empty());
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn sending_before_the_commit_would_be_noticed() {
    let trial = Trial {
        point: "answer.after-read",
        beside: false,
        mutation: Some("ack-before-commit"),
        durability: "process",
        power_cut: None,
    };
    let (_killed, broken) = trial.run();
    let unrecorded = broken.iter().any(|line| line.contains("was executed"));
    assert!(
        unrecorded,
        "an executed call without a record went unnoticed: {broken:?}"
    );
}
