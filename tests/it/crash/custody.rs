//! Killed while the journal is signed, and while what is old is taken away, with and
//! without the power cut after: chains and checkpoints hold, nothing that is to be kept
//! is lost, and nothing that goes is gone by half.

use super::power::PowerCut;
use crate::world::GET;
use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::World;
use countersign::journal;
use countersign::journal::Part;
use countersign::journal::Problem;
use countersign::journal::Signer;
use countersign::journal::Subject;
use countersign::outcome::Outcome;
use countersign::principal::PrincipalId;
use countersign::session::SessionId;
use countersign::store::Writer;
use countersign::tool::CallId;
use countersign::tool::Digest;
use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;

/// How many calls were made long ago: three times what goes in one transaction.
const OLD: i64 = 2_500;
/// How many are made lately.
const LATELY: usize = 5;

/// Everything is signed soon, given away, and taken away after two days.
const CUSTODY: &str = r#"checkpoint_every = "1s"
checkpoints = "held.jsonl"
keep = "48h"
keep_payloads = "48h""#;

const SIGNING: [&str; 6] = [
    "checkpoint.written:1",
    "store.checkpoint.before-commit:1",
    "store.checkpoint.after-commit:1",
    "checkpoint.given.before-append:1",
    "checkpoint.given.torn:1",
    "checkpoint.given.after-append:1",
];

/// Payloads and records go in several transactions each.
const TRIMMING: [&str; 9] = [
    "store.trim-payloads.before-commit:1",
    "store.trim-payloads.after-commit:1",
    "store.trim-payloads.before-commit:2",
    "trim.records-gone:1",
    "trim.noted:1",
    "store.trim-records.before-commit:1",
    "store.trim-records.after-commit:1",
    "trim.records-gone:2",
    "store.trim-records.after-commit:2",
];

/// One world, and its power where that is cut.
struct Archive<'a> {
    world: World,
    power: Option<&'a PowerCut>,
}

impl<'a> Archive<'a> {
    /// With many old calls, under a checkpoint.
    fn new(power: Option<&'a PowerCut>, old: i64) -> Self {
        let world = World::new();
        world.edit("countersign.toml", "checkpoint_every = \"1m\"", CUSTODY);
        if power.is_some() {
            let (process, power) = ("durability = \"process\"", "durability = \"power\"");
            world.edit("countersign.toml", process, power);
        }
        // Makes the store.
        world.key("alice");
        let archive = Self { world, power };
        if old > 0 {
            archive.age(old);
        }
        if let Some(power) = power {
            power.settle(&archive.world);
        }
        archive
    }

    /// Records calls as of ten days ago, by a broker that has died since.
    fn age(&self, count: i64) {
        let signer = Signer::at(&self.world.config().broker.custody.key).unwrap();
        let store = self.world.store();
        let old = Timestamp::now() - SignedDuration::from_hours(240);
        let writer = Writer::enlist(&store, old).unwrap();
        let id = writer.id();
        let written = store.write_blocking("old", move |tx| {
            for number in 0..count {
                let subject = subject(number, old);
                let refused = (&subject, Outcome::Denied, &json!({}));
                journal::refuse(tx, id, refused, old)?;
                journal::keep(tx, subject.call, Part::Arguments, "{}")?;
            }
            journal::checkpoint(tx, &signer, old)
        });
        assert!(written.unwrap().is_some());
    }

    fn broker(&self, point: Option<&str>) -> Wire {
        let wire = self.world.broker_with(|command| {
            if let Some(point) = point {
                command.env("COUNTERSIGN_CRASH", point);
            }
            if let Some(power) = self.power {
                power.watch(command, &self.world);
            }
        });
        wire.initialized()
    }

    /// A broker makes calls, and ends at a point of its upkeep.
    fn dies_at(&self, point: &str) {
        let mut broker = self.broker(Some(point));
        for _ in 0..LATELY {
            let answer = broker.call(GET, json!({"claim_id": "99"}));
            assert!(answer.starts_with("Claim 99"), "{answer}");
        }
        let begun = Instant::now();
        while broker.line(PATIENCE).is_some() {
            assert!(begun.elapsed() < PATIENCE, "{point}");
        }
        assert!(broker.was_killed(), "{point} was not passed");
        if let Some(power) = self.power {
            power.cut(&self.world);
        }
    }

    /// Checks all that must hold at any time.
    fn holds(&self, point: &str) {
        let mut problems = self.world.journal_problems();
        // The next broker closes it.
        problems.retain(|problem| !matches!(problem, Problem::LeftOpen { .. }));
        assert!(problems.is_empty(), "{point}: {problems:?}");
        assert_eq!(self.world.calls("claim-99").len(), LATELY, "{point}");
        let orphans = "SELECT count(*) FROM payload WHERE call NOT IN (SELECT call FROM journal)";
        assert_eq!(self.count(orphans), 0, "{point}");
        self.held_compares(point);
    }

    /// Compares with what was given away. A broker that ended in the middle of a line
    /// leaves its beginning; the next line is one of its own.
    fn held_compares(&self, point: &str) {
        let path = self.world.path("held.jsonl");
        let held = std::fs::read_to_string(&path).unwrap_or_default();
        if held.is_empty() {
            return;
        }
        let verify = ["journal", "verify", "--checkpoint", path.to_str().unwrap()];
        let (holds, printed) = self.world.run(&verify);
        if !point.contains("torn") {
            assert!(holds, "{point}: {printed}");
            return;
        }
        let told = match held.ends_with('\n') {
            false => "only the beginning of a checkpoint, as a crash leaves it",
            true => "PROBLEM line 1 of `",
        };
        assert!(!holds && printed.contains(told), "{point}: {printed}");
        assert!(printed.matches("PROBLEM").count() <= 1, "{printed}");
        // What the message says to do is enough.
        let others: Vec<&str> = held.lines().skip(1).collect();
        if !others.is_empty() {
            self.world.write("others.jsonl", &others.join("\n"));
            let others = self.world.path("others.jsonl");
            let verify = [
                "journal",
                "verify",
                "--checkpoint",
                others.to_str().unwrap(),
            ];
            let (holds, printed) = self.world.run(&verify);
            assert!(holds, "{point}: {printed}");
        }
    }

    fn count(&self, query: &str) -> i64 {
        let store = rusqlite::Connection::open(self.world.path("countersign.db")).unwrap();
        store.busy_timeout(Duration::from_secs(10)).unwrap();
        store.query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// The next broker goes on where the dead one was, until this is so.
    fn goes_on(&self, query: &str, due: i64) {
        let mut broker = self.broker(None);
        let begun = Instant::now();
        while self.count(query) != due {
            assert!(begun.elapsed() < PATIENCE, "{query} is not {due}");
            // It says nothing, and so this is a pause.
            let _nothing = broker.line(Duration::from_millis(100));
        }
        assert!(broker.end());
    }
}

fn subject(number: i64, at: Timestamp) -> Subject {
    let mut call = *CallId::first_of(at).as_bytes();
    call[8..].copy_from_slice(&number.to_be_bytes());
    Subject {
        call: CallId::from_bytes(call),
        session: SessionId::from_bytes([2; 16]),
        principal: PrincipalId::parse("alice").unwrap(),
        tool: "claims/close_claim".to_owned(),
        arguments: Digest::of(b"{}"),
        policies: Digest::of(b"policies"),
        found: None,
    }
}

/// Runs each point in a world of its own, all at once, since each waits for its upkeep.
fn each(points: &[&str], run: impl Fn(Option<&PowerCut>, &str) + Sync) {
    let power = PowerCut::build();
    for power in [None, Some(&power)] {
        std::thread::scope(|scope| {
            for point in points {
                let run = &run;
                scope.spawn(move || run(power, point));
            }
        });
    }
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn a_broker_killed_while_it_signs_leaves_a_journal_that_holds() {
    each(&SIGNING, |power, point| {
        let archive = Archive::new(power, 0);
        archive.dies_at(point);
        archive.holds(point);
        // One was made if it was committed, and the next names it.
        let made = archive.count("SELECT count(*) FROM checkpoint");
        let before = point.contains("written") || point.contains("before-commit");
        assert_eq!(made, i64::from(!before), "{point}");
        let mut next = archive.broker(None);
        let elsewhere = json!({"name": GET, "arguments": {"claim_id": "99"},
            "_meta": {"dev.countersign/session": "claim-1"}});
        assert_ne!(next.ask("tools/call", elsewhere)["result"]["isError"], true);
        assert!(next.end());
        archive.holds(point);
        assert_eq!(archive.count("SELECT count(*) FROM checkpoint"), made + 1);
    });
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn a_broker_killed_while_it_takes_away_what_is_old_leaves_a_journal_that_holds() {
    let old = "SELECT count(*) FROM journal WHERE session = X'02020202020202020202020202020202'";
    each(&TRIMMING, |power, point| {
        let archive = Archive::new(power, OLD);
        archive.dies_at(point);
        archive.holds(point);
        let records = archive.count(old);
        let gone = match point {
            "store.trim-records.after-commit:1" | "trim.records-gone:2" => 1_000,
            "store.trim-records.after-commit:2" => 2_000,
            _ => 0,
        };
        assert_eq!(records, OLD - gone, "{point}");
        archive.goes_on(old, 0);
        archive.holds(point);
        let payloads = "SELECT count(*) FROM payload";
        assert!(archive.count(payloads) <= 2 * i64::try_from(LATELY).unwrap());
    });
}
