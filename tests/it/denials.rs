//! What is refused again and again: told shorter, known to policy, and in the end the
//! session is frozen; over restarts, and through several brokers.

use crate::world::APPROVE;
use crate::world::GET;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use serde_json::Value;
use serde_json::json;

const FINAL: &str = "This decision is final for this call.";
const OVER_THE_LIMIT: i64 = 50_000;

fn claim(id: &str) -> Value {
    json!({ "claim_id": id })
}

/// No payment is of this amount, whoever may decide on it.
fn refused(broker: &mut Wire) -> String {
    let said = broker.call(APPROVE, payment(0));
    assert!(said.contains("Amount must be positive."), "{said}");
    said
}

fn passes(broker: &mut Wire) {
    let said = broker.call(GET, claim("99"));
    assert!(said.starts_with("Claim 99"), "{said}");
}

fn done(world: &World, args: &[&str]) {
    let (done, printed) = world.run(args);
    assert!(done, "{printed}");
}

#[test]
fn a_call_that_is_refused_again_is_told_so_in_every_broker() {
    let world = World::new();
    world.write(
        "policies/own.cedar",
        r#"@id("own.secret") @message("That claim is not yours.")
        forbid(principal, action == Broker::Action::"claims/get_claim", resource)
        when { context.input.claim_id == "13" };"#,
    );
    let mut one = world.broker().initialized();
    let mut two = world.broker().initialized();
    assert!(refused(&mut one).contains(FINAL));
    let again = refused(&mut one);
    assert!(
        again.contains("Refused 2 times by now; do not repeat it."),
        "{again}"
    );
    assert!(!again.contains(FINAL), "{again}");
    assert!(refused(&mut two).contains("Refused 3 times"));
    one.kill();
    let mut one = world.broker().initialized();
    assert!(refused(&mut one).contains("Refused 4 times"));
    let other = one.call(APPROVE, payment(-1));
    assert!(other.contains(FINAL), "{other}");

    // One that moves no meter.
    assert!(one.call(GET, claim("13")).contains(FINAL));
    assert!(two.call(GET, claim("13")).contains("Refused 2 times"));
    assert!(one.call(GET, claim("13")).contains("Refused 3 times"));
    let mut elsewhere = world.broker_with(|command| {
        command.args(["--session", "claim-100"]);
    });
    elsewhere.initialize();
    assert!(elsewhere.call(GET, claim("13")).contains(FINAL));
    assert!(world.journal_problems().is_empty());
}

#[test]
fn policy_stops_a_session_that_keeps_trying_in_every_broker() {
    let world = World::new();
    world.write(
        "policies/own.cedar",
        r#"@id("own.trying") @message("Too much was refused: only stop.") @reason("keeps_trying")
        forbid(principal, action in Broker::Action::"tools/call", resource)
        when { context.call.deniedLately >= 2 };"#,
    );
    let mut one = world.broker().initialized();
    let mut two = world.broker().initialized();
    // What waits for somebody is not denied.
    for _ in 0..3 {
        let waits = one.call(APPROVE, payment(OVER_THE_LIMIT));
        assert!(waits.contains("Escalate to Manager."), "{waits}");
    }
    refused(&mut one);
    passes(&mut two);
    refused(&mut two);
    for broker in [&mut one, &mut two] {
        let stopped = broker.call(GET, claim("99"));
        assert!(stopped.contains("Too much was refused"), "{stopped}");
    }
    one.kill();
    let mut one = world.broker().initialized();
    assert!(one.call(GET, claim("99")).contains("Too much was refused"));
    let elsewhere = world.broker_with(|command| {
        command.args(["--session", "claim-100"]);
    });
    passes(&mut elsewhere.initialized());
    done(&world, &["session", "freeze", "claim-99"]);
    done(&world, &["session", "thaw", "claim-99"]);
    passes(&mut two);
}

#[test]
fn so_many_denials_freeze_their_session_until_an_operator_thaws_it() {
    let world = World::new();
    let keys = ["# freeze_after_denials = 20", "freeze_after_denials = 3"];
    world.edit("countersign.toml", keys[0], keys[1]);
    let mut one = world.broker().initialized();
    let mut two = world.broker().initialized();
    assert!(!refused(&mut one).contains("frozen"));
    assert!(!refused(&mut two).contains("frozen"));
    passes(&mut two);
    let third = refused(&mut one);
    assert!(third.contains("it is frozen now"), "{third}");
    for broker in [&mut one, &mut two] {
        let stopped = broker.call(GET, claim("99"));
        assert!(stopped.contains("This session is frozen."), "{stopped}");
    }
    done(&world, &["session", "thaw", "claim-99"]);
    passes(&mut one);
    assert!(!refused(&mut one).contains("it is frozen now"));
    passes(&mut two);
    let history = one.call("countersign__session_history", json!({}));
    assert!(history.contains("frozen by \"denials\""), "{history}");
    assert!(world.journal_problems().is_empty());
}
