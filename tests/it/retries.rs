//! Calls that are made again: under a key they are sent once, whatever happens
//! between.

mod leaving;
mod settling;

use crate::http::talk::Talk;
use crate::world::APPROVE;
use crate::world::GET;
use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use countersign::journal;
use countersign::meters;
use countersign::outcome::Outcome;
use serde_json::Value;
use serde_json::json;

impl World {
    /// Waits until it is noted that nobody read an answer.
    pub(crate) fn wait_until_noted(&self) {
        self.wait_until_noted_are(1);
    }

    /// Waits until it is noted of so many calls that nobody read their answers.
    pub(crate) fn wait_until_noted_are(&self, count: usize) {
        let begun = std::time::Instant::now();
        let noted = || {
            let store = self.store();
            let session = self.calls("claim-99").first()?.session;
            let noted = store.read(|tx| journal::unsettled_of(tx, session));
            Some(noted.unwrap().len())
        };
        while noted() != Some(count) {
            assert!(begun.elapsed() < PATIENCE, "it is never noted");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

const REPLAYED: &str = "dev.countersign/replayed";

fn keyed(tool: &str, arguments: Value, key: &str) -> Value {
    json!({
        "name": tool,
        "arguments": arguments,
        "_meta": {"dev.countersign/idempotency-key": key},
    })
}

fn pay(broker: &mut Wire, dollars: i64, key: &str) -> Value {
    broker.ask("tools/call", keyed(APPROVE, payment(dollars), key))
}

const HEADERS: [(&str, &str); 5] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
    ("mcp-protocol-version", "2026-07-28"),
    ("mcp-method", "tools/call"),
    ("mcp-name", APPROVE),
];

/// Writes a payment to a connection, and does not wait for what comes of it.
fn writes_payment(talk: &mut Talk, dollars: i64) {
    let params = json!({
        "name": APPROVE,
        "arguments": payment(dollars),
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    talk.write("POST", "/s/claim-99/mcp", &HEADERS, &body.to_string());
}

fn is_replayed(answer: &Value) -> bool {
    answer["result"]["_meta"].get(REPLAYED).is_some()
}

#[test]
fn a_key_is_sent_once_and_answered_alike_by_every_broker() {
    let world = World::new();
    let mut one = world.broker().initialized();
    let mut two = world.broker().initialized();
    let first = pay(&mut one, 900, "pay-1");
    assert!(!is_replayed(&first), "{first}");
    for broker in [&mut one, &mut two] {
        let again = pay(broker, 900, "pay-1");
        assert!(is_replayed(&again), "{again}");
        assert_eq!(text_of(&again), text_of(&first));
    }
    let other = text_of(&pay(&mut one, 901, "pay-1"));
    assert!(other.contains("was used for another call"), "{other}");
    let tool = one.ask("tools/call", keyed(GET, json!({"claim_id": "99"}), "pay-1"));
    assert!(text_of(&tool).contains("was used for another call"));
    assert_eq!(world.paid(), [90_000]);

    // Both were meant.
    assert!(!is_replayed(&pay(&mut one, 900, "pay-2")));
    one.call(APPROVE, payment(900));
    two.call(APPROVE, payment(900));
    assert_eq!(world.paid(), [90_000; 4]);
    let replayed = world.calls("claim-99").into_iter();
    let replayed = replayed.filter(|call| call.outcome == Some(Outcome::Replayed));
    assert_eq!(replayed.count(), 2);
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_retry_waits_for_the_first_and_is_given_the_same() {
    let world = World::holding();
    let mut one = world.broker().initialized();
    let mut two = world.broker().initialized();
    let call = keyed(APPROVE, payment(900), "pay-1");
    let first = one.request("tools/call", call.clone());
    world.wait_until_paid(1);
    let others: Vec<u64> = (0..3)
        .map(|_| two.request("tools/call", call.clone()))
        .collect();
    let same = one.request("tools/call", call);
    std::fs::remove_file(world.path("hold")).unwrap();
    let first = one.answer_to(first).unwrap();
    assert!(!is_replayed(&first), "{first}");
    let same = one.answer_to(same).unwrap();
    assert!(is_replayed(&same), "{same}");
    for other in others {
        let other = two.answer_to(other).unwrap();
        assert!(is_replayed(&other), "{other}");
        assert_eq!(text_of(&other), text_of(&first));
    }
    assert_eq!(world.paid(), [90_000]);
}

#[test]
fn a_key_whose_call_ended_unknown_is_told_so_and_never_sent_again() {
    let world = World::holding();
    let mut broker = world.broker().initialized();
    broker.request("tools/call", keyed(APPROVE, payment(900), "pay-1"));
    world.wait_until_paid(1);
    broker.kill();
    std::fs::remove_file(world.path("hold")).unwrap();
    let mut broker = world.broker().initialized();
    for _ in 0..3 {
        let told = text_of(&pay(&mut broker, 900, "pay-1"));
        assert!(told.contains("nobody saw how it ended"), "{told}");
    }
    assert_eq!(world.paid(), [90_000]);
    // A new key is a new call; what the session was told of it counts.
    assert!(!text_of(&pay(&mut broker, 900, "pay-2")).is_empty());
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_call_that_may_be_repeated_is_sent_again_under_its_key_and_charged_once() {
    let world = World::holding();
    world.edit(
        "countersign.toml",
        "refund_on_failure = false",
        "idempotent = true\nrefund_on_failure = false",
    );
    let mut broker = world.broker().initialized();
    broker.request("tools/call", keyed(APPROVE, payment(9_000), "pay-1"));
    world.wait_until_paid(1);
    broker.kill();
    std::fs::remove_file(world.path("hold")).unwrap();
    let mut broker = world.broker().initialized();
    let again = pay(&mut broker, 9_000, "pay-1");
    assert!(!is_replayed(&again) && again["result"]["isError"] != true);
    assert!(is_replayed(&pay(&mut broker, 9_000, "pay-1")));
    assert_eq!(world.paid(), [900_000; 2]);
    let calls = world.calls("claim-99");
    assert_eq!(calls[1].detail["repeats"], calls[0].call.to_string());
    // The session has room for one more of these, and would have none had it been
    // charged twice.
    let more = pay(&mut broker, 9_001, "pay-2");
    assert!(more["result"]["isError"] != true, "{more}");
    assert!(world.journal_problems().is_empty());
}

/// What the journal says that a session was charged for payments, and what its total
/// is, after a payment of 9,000 under a key was lost with its broker, and was made again
/// three times while its server was down. With the broker's server as it was.
fn lost_and_repeated_in_vain(mutation: Option<&str>) -> (World, i64) {
    let world = World::holding();
    world.edit(
        "countersign.toml",
        "refund_on_failure = false",
        "idempotent = true\nrefund_on_failure = false",
    );
    let mut broker = world.broker().initialized();
    broker.request("tools/call", keyed(APPROVE, payment(9_000), "pay-1"));
    world.wait_until_paid(1);
    broker.kill();
    std::fs::remove_file(world.path("hold")).unwrap();
    let config = world.read("countersign.toml");
    let program = format!("command = {:?}", crate::world::PROGRAM);
    world.edit(
        "countersign.toml",
        &program,
        "command = \"/no/such/program\"",
    );
    let mut broker = world
        .broker_with(|command| {
            command.envs(mutation.map(|mutation| ("COUNTERSIGN_MUTATE", mutation)));
        })
        .initialized();
    for _ in 0..3 {
        let unsent = text_of(&pay(&mut broker, 9_000, "pay-1"));
        assert!(unsent.contains("cannot be reached"), "{unsent}");
        let is_told = unsent.contains("may have taken effect");
        assert!(is_told || mutation.is_some(), "{unsent}");
    }
    assert!(broker.end());
    world.write("countersign.toml", &config);
    let session = world.calls("claim-99")[0].session;
    let totals = world.store().read(|tx| meters::of_session(tx, session));
    let total = totals.unwrap().iter().map(|total| total.total).sum();
    (world, total)
}

#[test]
fn a_repeat_that_is_not_sent_gives_nothing_back_of_the_first() {
    let (world, total) = lost_and_repeated_in_vain(None);
    assert_eq!(total, 900_000);
    let mut broker = world.broker().initialized();
    let again = pay(&mut broker, 9_000, "pay-1");
    assert!(!is_replayed(&again) && again["result"]["isError"] != true);
    assert!(is_replayed(&pay(&mut broker, 9_000, "pay-1")));
    assert_eq!(world.paid(), [900_000; 2]);
    // It counts once, so there is room for one more of these and not for two.
    let more = pay(&mut broker, 9_001, "pay-2");
    assert!(more["result"]["isError"] != true, "{more}");
    let over = pay(&mut broker, 9_002, "pay-3");
    assert!(over["result"]["isError"] == true, "{over}");
    assert_eq!(world.paid(), [900_000, 900_000, 900_100]);
    assert!(world.journal_problems().is_empty());
}

#[test]
#[cfg(feature = "crash-points")]
fn a_refund_by_a_repeat_would_be_noticed() {
    let (world, total) = lost_and_repeated_in_vain(Some("refund-repeats"));
    assert_eq!((total, world.paid()), (0, vec![900_000]));
}

#[test]
fn a_refused_call_keeps_no_key() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    for _ in 0..2 {
        let refused = text_of(&pay(&mut broker, 50_000, "pay-1"));
        assert!(refused.contains("Escalate to Manager"), "{refused}");
    }
    let paid = pay(&mut broker, 5, "pay-1");
    assert!(!is_replayed(&paid), "{paid}");
    assert_eq!(world.paid(), [500]);
    let bad = broker.ask("tools/call", keyed(GET, json!({"claim_id": "99"}), ""));
    assert_eq!(bad["error"]["code"], -32602, "{bad}");
}

#[test]
#[cfg(feature = "crash-points")]
fn an_answer_that_was_lost_with_the_broker_is_given_again() {
    // The second answer: the first belongs to the handshake.
    for point in ["store.close.after-commit:1", "reply.before-write:2"] {
        let world = World::new();
        let mut broker = world.broker_with(|command| {
            command.env("COUNTERSIGN_CRASH", point);
        });
        assert!(broker.request_initialize().is_some(), "{point}");
        broker.request("tools/call", keyed(APPROVE, payment(900), "pay-1"));
        assert!(broker.was_killed(), "{point}");
        let mut broker = world.broker().initialized();
        let again = pay(&mut broker, 900, "pay-1");
        assert!(is_replayed(&again), "{point}: {again}");
        assert_eq!(world.paid(), [90_000], "{point}");
    }
}

/// A payment without a key.
fn pay_plain(broker: &mut Wire, dollars: i64) -> Value {
    let call = json!({"name": APPROVE, "arguments": payment(dollars)});
    broker.ask("tools/call", call)
}

#[test]
fn an_answer_that_nobody_read_is_given_to_the_same_call_once() {
    let world = World::holding();
    let key = format!("Bearer {}", world.key("alice"));
    let serving = world.serve();
    let body = |dollars: i64| {
        let params = json!({
            "name": APPROVE,
            "arguments": payment(dollars),
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        });
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
    };
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", APPROVE),
    ];
    let open = || Talk::new(serving.address()).with("authorization", &key);
    let mut lost = open();
    lost.write("POST", "/s/claim-99/mcp", &headers, &body(900));
    world.wait_until_paid(1);
    // An effect that was begun is seen to its end, and its client is gone by then.
    drop(lost);
    std::fs::remove_file(world.path("hold")).unwrap();
    world.wait_until_noted();

    let mut talk = open();
    let mut pay = |dollars: i64| {
        let answer = talk.send("POST", "/s/claim-99/mcp", &headers, &body(dollars));
        answer.json()
    };
    let other = pay(901);
    assert!(!is_replayed(&other), "{other}");
    let again = pay(900);
    assert!(is_replayed(&again), "{again}");
    assert_eq!(world.paid(), [90_000, 90_100]);
    // Whoever makes it once more means another.
    let meant = pay(900);
    assert!(!is_replayed(&meant), "{meant}");
    assert_eq!(world.paid(), [90_000, 90_100, 90_000]);
    assert!(world.journal_problems().is_empty());
}

#[test]
fn an_answer_that_was_read_is_given_to_nobody_else() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    for _ in 0..2 {
        let paid = pay_plain(&mut broker, 900);
        assert!(!is_replayed(&paid), "{paid}");
    }
    assert!(broker.end());
    let mut broker = world.broker().initialized();
    let paid = pay_plain(&mut broker, 900);
    assert!(!is_replayed(&paid), "{paid}");
    assert_eq!(world.paid(), [90_000; 3]);
}

#[test]
#[cfg(feature = "crash-points")]
fn what_a_broker_closed_just_before_it_died_is_told_to_the_same_call() {
    let world = World::new();
    let mut broker = world.broker_with(|command| {
        command.env("COUNTERSIGN_CRASH", "reply.before-write:2");
    });
    assert!(broker.request_initialize().is_some());
    broker.request(
        "tools/call",
        json!({"name": APPROVE, "arguments": payment(900)}),
    );
    assert!(broker.was_killed());
    // What a broker told just before it died may have reached nobody either.
    let mut teller = world.broker_with(|command| {
        command.env("COUNTERSIGN_CRASH", "reply.before-write:2");
    });
    assert!(teller.request_initialize().is_some());
    teller.request(
        "tools/call",
        json!({"name": APPROVE, "arguments": payment(900)}),
    );
    assert!(teller.was_killed());
    let mut broker = world.broker().initialized();
    let told = text_of(&pay_plain(&mut broker, 900));
    assert!(told.contains("made a moment ago"), "{told}");
    assert_eq!(world.paid(), [90_000]);
    let meant = text_of(&pay_plain(&mut broker, 900));
    assert!(!meant.starts_with("error"), "{meant}");
    assert_eq!(world.paid(), [90_000; 2]);
}

#[test]
fn nothing_is_answered_again_in_a_frozen_session() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    assert!(!is_replayed(&pay(&mut broker, 900, "pay-1")));
    let (frozen, printed) = world.run(&["session", "freeze", "claim-99"]);
    assert!(frozen, "{printed}");
    let refused = pay(&mut broker, 900, "pay-1");
    assert!(!is_replayed(&refused), "{refused}");
    assert!(text_of(&refused).contains("This session is frozen"));
    let (thawed, printed) = world.run(&["session", "thaw", "claim-99"]);
    assert!(thawed, "{printed}");
    assert!(is_replayed(&pay(&mut broker, 900, "pay-1")));
    assert_eq!(world.paid(), [90_000]);
}

#[test]
#[cfg(feature = "crash-points")]
fn a_guest_is_told_nothing_of_an_answer_that_its_caller_did_not_read() {
    let world = World::new();
    world.write(
        "policies/share.cedar",
        "@id(\"share\") permit (principal, action == Broker::Action::\"session/join\", resource);",
    );
    let mut broker = world.broker_with(|command| {
        command.env("COUNTERSIGN_CRASH", "reply.before-write:2");
    });
    assert!(broker.request_initialize().is_some());
    broker.request(
        "tools/call",
        json!({"name": APPROVE, "arguments": payment(900)}),
    );
    assert!(broker.was_killed());
    let mut guest = world.broker_with(|command| {
        command.args(["--principal", "mia", "--session", "alice/claim-99"]);
    });
    guest.initialize();
    let own = text_of(&pay_plain(&mut guest, 900));
    assert!(!own.starts_with("error"), "{own}");
    let mut broker = world.broker().initialized();
    let told = text_of(&pay_plain(&mut broker, 900));
    assert!(told.contains("made a moment ago"), "{told}");
    assert_eq!(world.paid(), [90_000; 2]);
}

#[test]
fn of_calls_that_are_the_same_and_were_lost_with_their_broker_each_is_told() {
    let world = World::holding();
    let mut broker = world.broker().initialized();
    let call = json!({"name": APPROVE, "arguments": payment(900)});
    for count in [1, 2] {
        broker.request("tools/call", call.clone());
        world.wait_until_paid(count);
    }
    broker.kill();
    std::fs::remove_file(world.path("hold")).unwrap();
    let mut broker = world.broker().initialized();
    for call in world.calls("claim-99") {
        let told = text_of(&pay_plain(&mut broker, 900));
        assert!(told.contains(&call.call.to_string()), "{told}");
    }
    assert_eq!(world.paid(), [90_000; 2]);
    for count in [3, 4] {
        let meant = text_of(&pay_plain(&mut broker, 900));
        assert!(!meant.starts_with("error"), "{meant}");
        assert_eq!(world.paid().len(), count);
    }
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_guest_is_not_told_of_a_call_that_its_caller_does_not_know_the_end_of() {
    let world = World::holding();
    world.write(
        "policies/share.cedar",
        "@id(\"share\") permit (principal, action == Broker::Action::\"session/join\", resource);",
    );
    let mut broker = world.broker().initialized();
    let call = json!({"name": APPROVE, "arguments": payment(900)});
    broker.request("tools/call", call);
    world.wait_until_paid(1);
    broker.kill();
    std::fs::remove_file(world.path("hold")).unwrap();
    let mut guest = world.broker_with(|command| {
        command.args(["--principal", "mia", "--session", "alice/claim-99"]);
    });
    guest.initialize();
    for _ in 0..2 {
        let own = text_of(&pay_plain(&mut guest, 900));
        assert!(!own.starts_with("error"), "{own}");
    }
    let mut broker = world.broker().initialized();
    let told = text_of(&pay_plain(&mut broker, 900));
    assert!(told.contains("nobody saw how it ended"), "{told}");
    assert_eq!(world.paid(), [90_000; 3]);
    let meant = text_of(&pay_plain(&mut broker, 900));
    assert!(!meant.starts_with("error"), "{meant}");
    assert_eq!(world.paid(), [90_000; 4]);
}

#[test]
#[cfg(feature = "crash-points")]
fn a_key_that_is_forgotten_would_be_noticed() {
    let world = World::new();
    let mut broker = world
        .broker_with(|command| {
            command.env("COUNTERSIGN_MUTATE", "forget-keys");
        })
        .initialized();
    pay(&mut broker, 900, "pay-1");
    pay(&mut broker, 900, "pay-1");
    assert_eq!(world.paid(), [90_000; 2]);
}
