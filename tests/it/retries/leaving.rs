//! Clients that go, or read nothing, while they are told something: it counts as told
//! when it has left the broker for somebody who was there.

use super::is_replayed;
use super::pay_plain;
use super::writes_payment;
use crate::http::talk::Talk;
use crate::serving::Serving;
use crate::world::APPROVE;
use crate::world::PATIENCE;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use countersign::outcome::Outcome;
use serde_json::Value;
use serde_json::json;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

/// A payment of 900 over a connection of its own.
struct Paying {
    talk: Talk,
}

/// How a client closes.
#[derive(Clone, Copy, Debug)]
enum Closes {
    Orderly,
    /// With something unread, which resets the connection.
    AtOnce,
}

impl Paying {
    fn begun(serving: &Serving, key: &str, closes: Closes) -> Self {
        let mut talk = Talk::new(serving.address()).with("authorization", key);
        if let Closes::AtOnce = closes {
            talk.write("GET", "/livez", &[], "");
            let answered = talk.connection().peek(&mut [0]).unwrap();
            assert_eq!(answered, 1);
        }
        writes_payment(&mut talk, 900);
        Self { talk }
    }

    fn answered(serving: &Serving, key: &str) -> Value {
        let mut paying = Self::begun(serving, key, Closes::Orderly);
        paying.talk.read().json()
    }
}

impl World {
    /// Does something while nobody else can write to the store.
    fn while_held(&self, work: impl FnOnce()) {
        let store = self.store();
        let (held, holding) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let holds = std::thread::spawn(move || {
            store.write_blocking("hold", move |_tx| {
                held.send(()).unwrap();
                let _released: Result<(), _> = released.recv_timeout(PATIENCE);
                Ok(())
            })
        });
        holding.recv_timeout(PATIENCE).unwrap();
        work();
        release.send(()).unwrap();
        holds.join().unwrap().unwrap();
    }
}

#[test]
fn a_warning_to_a_client_that_has_closed_is_given_to_the_next() {
    let world = World::holding();
    let key = format!("Bearer {}", world.key("alice"));
    let mut serving = world.serve();
    let lost = Paying::begun(&serving, &key, Closes::Orderly);
    world.wait_until_paid(1);
    serving.kill();
    drop(lost);
    std::fs::remove_file(world.path("hold")).unwrap();

    let serving = world.serve();
    for closes in [Closes::Orderly, Closes::AtOnce].repeat(3) {
        // Nobody is told anything before the connection is closed.
        world.while_held(|| drop(Paying::begun(&serving, &key, closes)));
    }
    let told = text_of(&Paying::answered(&serving, &key));
    assert!(told.contains("nobody saw how it ended"), "{told}");
    assert_eq!(world.paid(), [90_000]);
    let meant = text_of(&Paying::answered(&serving, &key));
    assert!(meant.starts_with("Paid"), "{meant}");
    assert_eq!(world.paid(), [90_000; 2]);
    assert!(world.journal_problems().is_empty());
}

#[test]
fn an_answer_to_a_client_that_has_closed_is_given_to_the_next() {
    for closes in [Closes::Orderly, Closes::AtOnce] {
        let world = World::holding();
        let key = format!("Bearer {}", world.key("alice"));
        let serving = world.serve();
        let lost = Paying::begun(&serving, &key, closes);
        world.wait_until_paid(1);
        drop(lost);
        std::fs::remove_file(world.path("hold")).unwrap();
        world.wait_until_noted();
        // Whoever is given it again and closes has not read it either.
        for closes in [Closes::Orderly, Closes::AtOnce] {
            world.while_held(|| drop(Paying::begun(&serving, &key, closes)));
            world.wait_until_noted();
        }
        assert_eq!(world.paid(), [90_000], "{closes:?}");
    }
}

/// A broker whose client writes, and reads nothing.
struct Deaf {
    child: Child,
    stdin: ChildStdin,
    said: u64,
}

impl Deaf {
    fn start(world: &World) -> Self {
        let mut child = world
            .command(&["stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        Self {
            child,
            stdin,
            said: 0,
        }
    }

    fn calls(&mut self, name: &str, arguments: Value) {
        let params = json!({
            "name": name,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        });
        self.said += 1;
        let (id, method) = (self.said, "tools/call");
        let call = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        writeln!(self.stdin, "{call}").unwrap();
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl World {
    /// Waits until so many calls came to this.
    fn wait_for_outcomes(&self, outcome: Outcome, count: usize) {
        let begun = Instant::now();
        let found = || {
            let calls = self.calls("claim-99").into_iter();
            calls.filter(|call| call.outcome == Some(outcome)).count()
        };
        while found() < count {
            assert!(begun.elapsed() < PATIENCE, "never {count} {outcome}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_warning_that_stays_in_the_pipe_is_given_to_whoever_makes_the_call_elsewhere() {
    let world = World::holding();
    let mut broker = world.broker().initialized();
    broker.request(
        "tools/call",
        json!({"name": APPROVE, "arguments": payment(900)}),
    );
    world.wait_until_paid(1);
    broker.kill();
    std::fs::remove_file(world.path("hold")).unwrap();

    // More than a pipe and what lies before it hold.
    let mut deaf = Deaf::start(&world);
    let put = "countersign__memory_put";
    let value = json!({"key": "k", "value": "x".repeat(60_000)});
    deaf.calls(put, value);
    world.wait_for_outcomes(Outcome::Completed, 1);
    for _ in 0..8 {
        deaf.calls("countersign__memory_get", json!({"key": "k"}));
    }
    world.wait_for_outcomes(Outcome::Completed, 9);
    for told in 1..=2 {
        deaf.calls(APPROVE, payment(900));
        world.wait_for_outcomes(Outcome::Denied, told);
    }
    assert_eq!(world.paid(), [90_000]);

    let mut broker = world.broker().initialized();
    let told = text_of(&pay_plain(&mut broker, 900));
    assert!(told.contains("nobody saw how it ended"), "{told}");
    assert_eq!(world.paid(), [90_000]);
    let meant = pay_plain(&mut broker, 900);
    assert!(!is_replayed(&meant), "{meant}");
    assert_eq!(world.paid(), [90_000; 2]);
    drop(deaf);
    assert!(world.journal_problems().is_empty());
}
