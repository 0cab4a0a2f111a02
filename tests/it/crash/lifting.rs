//! Killed at each step of an escalation, with and without the power cut after: no
//! approval is used twice, and none that somebody was told of is lost.

use super::power::PowerCut;
use crate::world::APPROVE;
use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::World;
use serde_json::Value;
use serde_json::json;
use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

/// What alice may not pay alone, in dollars.
const MUCH: i64 = 50_000;

/// Somebody else who may lift what mia may.
const MAX: &str = r#"
[[principals]]
subject = "max"
role = "Manager"
limits = { call = "90000.00", session = "90000.00", day = "90000.00" }
"#;

pub(super) fn pay() -> Value {
    json!({"name": APPROVE, "arguments": {"claim_id": "99", "amount": MUCH, "payee": "ACME"},
        "_meta": {"dev.countersign/session": "claim-99"}})
}

/// A world in which alice was stopped, and what of it the disk has.
pub(super) struct Stage<'a> {
    pub(super) world: World,
    mia: String,
    power: Option<&'a PowerCut>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(power: Option<&'a PowerCut>) -> Self {
        let world = World::holding();
        std::fs::remove_file(world.path("hold")).unwrap();
        let mia = world.key("mia");
        let stage = Self { world, mia, power };
        stage.settle();
        stage
    }

    /// Alice was stopped, and somebody is asked.
    fn asked(power: Option<&'a PowerCut>) -> (Self, String) {
        let stage = Self::new(power);
        let mut alice = stage.broker("alice", None);
        assert!(!passes(&mut alice));
        assert!(alice.end());
        stage.settle();
        let id = stage.one();
        (stage, id)
    }

    /// Mia has approved it.
    fn approved(power: Option<&'a PowerCut>) -> (Self, String) {
        let (stage, id) = Self::asked(power);
        assert!(stage.approves(&id, None));
        stage.settle();
        (stage, id)
    }

    /// All that was written until now is on the disk.
    pub(super) fn settle(&self) {
        if let Some(power) = self.power {
            power.settle(&self.world);
        }
    }

    /// What is not on the disk is gone.
    pub(super) fn cut(&self) {
        if let Some(power) = self.power {
            power.cut(&self.world);
        }
    }

    fn broker(&self, who: &str, point: Option<&str>) -> Wire {
        self.started(who, point).initialized()
    }

    /// One whose client opens it as it likes.
    pub(super) fn started(&self, who: &str, point: Option<&str>) -> Wire {
        self.world.broker_with(|command| {
            command.args(["--principal", who]);
            if let Some(point) = point {
                command.env("COUNTERSIGN_CRASH", point);
            }
            if let Some(power) = self.power {
                power.watch(command, &self.world);
            }
        })
    }

    /// A call that is the last of its broker.
    fn last_call(&self, who: &str, point: &str, call: Value) {
        let mut wire = self.broker(who, Some(point));
        let id = wire.request("tools/call", call);
        let answered = wire.answer_to(id).is_some();
        assert!(wire.was_killed(), "{point} was not passed");
        assert!(!answered || point.starts_with("reply.after"), "{point}");
        self.cut();
    }

    /// Mia's word by the command line: whether she read that it was taken.
    pub(super) fn approves(&self, id: &str, point: Option<&str>) -> bool {
        let mut command = self.world.command(&["escalation", "approve", id]);
        command.env("COUNTERSIGN_KEY", &self.mia);
        if let Some(point) = point {
            command.env("COUNTERSIGN_CRASH", point);
        }
        if let Some(power) = self.power {
            power.watch(&mut command, &self.world);
        }
        let output = command.output().unwrap();
        let killed = output.status.signal() == Some(9);
        assert_eq!(killed, point.is_some(), "{point:?}: {output:?}");
        self.cut();
        output.status.success()
    }

    /// Every escalation, the oldest first.
    fn all(&self) -> Vec<Value> {
        let (done, printed) = self.world.run(&["--json", "escalation", "list", "--all"]);
        assert!(done, "{printed}");
        let listed: Value = serde_json::from_str(&printed).unwrap();
        listed["escalations"].as_array().unwrap().clone()
    }

    /// The id of the only one.
    pub(super) fn one(&self) -> String {
        let all = self.all();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]["id"].as_str().unwrap().to_owned()
    }

    pub(super) fn state(&self, id: &str) -> String {
        let all = self.all();
        let one = all.iter().find(|one| one["id"] == *id);
        one.unwrap()["state"].as_str().unwrap().to_owned()
    }

    /// How many calls are recorded as sent with this approval.
    pub(super) fn sent_with(&self, id: &str) -> usize {
        let calls = self.world.calls("claim-99").into_iter();
        let with = calls.filter(|call| call.detail["approval"]["escalation"] == *id);
        with.inspect(|call| assert!(call.outcome.is_some(), "{call:?}"))
            .count()
    }

    /// Alice makes the same call again and again, and so often it takes effect in all.
    pub(super) fn comes_to(&self, effects: usize) {
        let mut alice = self.broker("alice", None);
        for _ in 0..4 {
            passes(&mut alice);
        }
        assert!(alice.end());
        assert_eq!(self.world.paid(), vec![MUCH * 100; effects]);
        let problems = self.world.journal_problems();
        assert!(problems.is_empty(), "{problems:?}");
    }

    /// The approval lets one call pass, whatever was before, and no other.
    fn is_good_for_one(&self, id: &str) {
        assert_eq!(self.state(id), "approved");
        assert!(self.world.paid().is_empty());
        self.comes_to(1);
        assert_eq!((self.state(id).as_str(), self.sent_with(id)), ("used", 1));
    }
}

fn passes(wire: &mut Wire) -> bool {
    wire.ask("tools/call", pay())["result"]["isError"] != true
}

/// Goes by each point, once with the process killed there, and once with the power
/// cut too. `kept` says of a point whether what was done there must be found after.
pub(super) fn each(points: &[(&str, bool)], step: impl Fn(Option<&PowerCut>, &str, bool) + Sync) {
    let power = PowerCut::build();
    std::thread::scope(|scope| {
        for (point, kept) in points {
            let (step, power) = (&step, &power);
            scope.spawn(move || {
                for power in [None, Some(power)] {
                    step(power, point, *kept);
                }
            });
        }
    });
}

pub(super) const BEFORE: bool = false;
pub(super) const AFTER: bool = true;

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn what_was_asked_for_is_asked_for_once_whenever_the_broker_is_killed() {
    let points = [
        ("escalation.asked:1", BEFORE),
        ("store.admit.before-commit:1", BEFORE),
        ("store.admit.after-commit:1", AFTER),
        ("reply.before-write:2", AFTER),
        ("reply.after-write:2", AFTER),
    ];
    each(&points, |power, point, kept| {
        let stage = Stage::new(power);
        stage.last_call("alice", point, pay());
        assert_eq!(stage.all().len(), usize::from(kept), "{point}");
        let mut alice = stage.broker("alice", None);
        assert!(!passes(&mut alice));
        assert!(alice.end());
        let id = stage.one();
        assert!(stage.approves(&id, None));
        stage.is_good_for_one(&id);
    });
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn an_approval_by_the_command_line_is_there_or_not_and_there_once_it_was_told() {
    let points = [
        ("escalation.decided:1", BEFORE),
        ("store.decide.before-commit:1", BEFORE),
        ("store.decide.after-commit:1", AFTER),
    ];
    each(&points, |power, point, kept| {
        let (stage, id) = Stage::asked(power);
        assert!(!stage.approves(&id, Some(point)));
        let state = if kept { "approved" } else { "pending" };
        assert_eq!(stage.state(&id), state, "{point}");
        if !kept {
            // Told, and the power goes.
            assert!(stage.approves(&id, None));
        }
        stage.is_good_for_one(&id);
    });
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn an_approval_by_a_tool_is_there_or_not_and_there_once_it_was_told() {
    let points = [
        ("escalation.decided:1", BEFORE),
        ("store.own.before-commit:1", BEFORE),
        ("store.own.after-commit:1", AFTER),
        ("reply.before-write:2", AFTER),
        ("reply.after-write:2", AFTER),
    ];
    each(&points, |power, point, kept| {
        let (stage, id) = Stage::asked(power);
        let word = json!({"name": "countersign__escalation_decide",
            "arguments": {"id": id, "decision": "approve"},
            "_meta": {"dev.countersign/session": "deciding"}});
        stage.last_call("mia", point, word);
        let state = if kept { "approved" } else { "pending" };
        assert_eq!(stage.state(&id), state, "{point}");
        if !kept {
            assert!(stage.approves(&id, None));
        }
        stage.is_good_for_one(&id);
    });
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn an_approval_is_used_with_its_call_or_not_at_all_whenever_the_broker_is_killed() {
    let points = [
        ("escalation.used:1", BEFORE),
        ("store.admit.before-commit:1", BEFORE),
        ("store.admit.after-commit:1", AFTER),
        ("spool.close.after-append:1", AFTER),
        ("reply.before-write:2", AFTER),
        ("reply.after-write:2", AFTER),
    ];
    each(&points, |power, point, kept| {
        let (stage, id) = Stage::approved(power);
        stage.last_call("alice", point, pay());
        if !kept {
            return stage.is_good_for_one(&id);
        }
        assert_eq!(stage.state(&id), "used", "{point}");
        let executed = stage.world.paid().len();
        assert_eq!(executed, usize::from(!point.starts_with("store.")));
        stage.comes_to(executed);
        assert_eq!(stage.sent_with(&id), 1, "{point}");
    });
}

/// The call is with its server, which does not answer.
#[test]
fn an_approval_whose_call_was_sent_is_used_whatever_is_known_of_the_call() {
    let power = PowerCut::build();
    for power in [None, Some(&power)] {
        let (stage, id) = Stage::approved(power);
        stage.world.write("hold", "");
        let mut alice = stage.broker("alice", None);
        alice.request("tools/call", pay());
        stage.world.wait_until_paid(1);
        alice.kill();
        stage.cut();
        std::fs::remove_file(stage.world.path("hold")).unwrap();
        assert_eq!(stage.state(&id), "used");
        stage.comes_to(1);
        assert_eq!(stage.sent_with(&id), 1);
    }
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn an_approval_is_taken_back_or_not_whenever_the_broker_is_killed() {
    let points = [
        ("escalation.withdrawn:1", BEFORE),
        ("store.own.before-commit:1", BEFORE),
        ("store.own.after-commit:1", AFTER),
        ("reply.after-write:2", AFTER),
    ];
    each(&points, |power, point, kept| {
        let (stage, id) = Stage::approved(power);
        let back = json!({"name": "countersign__escalation_withdraw", "arguments": {"id": id}});
        stage.last_call("alice", point, back);
        if !kept {
            return stage.is_good_for_one(&id);
        }
        assert_eq!(stage.state(&id), "withdrawn", "{point}");
        stage.comes_to(0);
        assert_eq!(stage.state(&id), "withdrawn", "{point}");
    });
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn an_approval_that_is_not_enough_is_void_or_not_and_lets_nothing_pass() {
    let points = [
        ("escalation.voided:1", BEFORE),
        ("escalation.asked:1", BEFORE),
        ("store.admit.before-commit:1", BEFORE),
        ("store.admit.after-commit:1", AFTER),
    ];
    each(&points, |power, point, kept| {
        let (stage, id) = Stage::approved(power);
        let (manager, senior) = ("role = \"Manager\"", "role = \"Senior\"");
        stage.world.edit("principals.toml", manager, senior);
        stage.world.append("principals.toml", MAX);
        stage.last_call("alice", point, pay());
        let state = if kept { "void" } else { "approved" };
        assert_eq!(stage.state(&id), state, "{point}");
        assert_eq!(stage.all().len(), 1 + usize::from(kept), "{point}");
        stage.comes_to(0);
        assert_eq!(stage.state(&id), "void", "{point}");
        assert_eq!(stage.all().len(), 2, "{point}");
    });
}

/// Its time is over, whatever a clock says.
fn is_over(stage: &Stage<'_>, id: &str) {
    let store = rusqlite::Connection::open(stage.world.path("countersign.db")).unwrap();
    let over = "UPDATE escalation SET expires = asked + 1 WHERE id = ?1";
    assert_eq!(store.execute(over, [id]).unwrap(), 1);
    drop(store);
    stage.settle();
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn an_approval_whose_time_is_over_lets_nothing_pass_whenever_the_broker_is_killed() {
    let points = [
        ("escalation.expired:1", BEFORE),
        ("store.admit.before-commit:1", BEFORE),
        ("store.admit.after-commit:1", AFTER),
    ];
    each(&points, |power, point, kept| {
        let (stage, id) = Stage::approved(power);
        is_over(&stage, &id);
        stage.last_call("alice", point, pay());
        assert_eq!(stage.state(&id), "expired", "{point}");
        assert_eq!(stage.all().len(), 1 + usize::from(kept), "{point}");
        stage.comes_to(0);
        assert_eq!(stage.state(&id), "expired", "{point}");
    });
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn what_nobody_used_in_time_is_ended_whenever_the_broker_is_killed() {
    let points = [
        ("store.lapse.before-commit:1", BEFORE),
        ("store.lapse.after-commit:1", AFTER),
    ];
    each(&points, |power, point, _kept| {
        let (stage, id) = Stage::approved(power);
        is_over(&stage, &id);
        let mut broker = stage.broker("alice", Some(point));
        let begun = Instant::now();
        while broker.line(PATIENCE).is_some() {
            assert!(begun.elapsed() < PATIENCE, "{point}");
        }
        assert!(broker.was_killed(), "{point} was not passed");
        stage.cut();
        assert_eq!(stage.state(&id), "expired", "{point}");
        stage.comes_to(0);
    });
}
