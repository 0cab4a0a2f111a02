//! Calls that are made again: under a key they are sent once, whatever happens
//! between.

use crate::world::APPROVE;
use crate::world::GET;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use countersign::outcome::Outcome;
use serde_json::Value;
use serde_json::json;

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
