//! What an approval fits: one call of one principal in one session, while all that it
//! was given for is so.

use super::MUCH;
use super::approved;
use super::broker_of;
use super::id_in;
use super::passes;
use super::pay;
use super::says;
use super::state;
use super::stopped;
use crate::world::APPROVE;
use crate::world::PROGRAM;
use crate::world::World;
use crate::world::text_of;
use serde_json::json;

#[test]
fn a_manager_lifts_the_limit_for_exactly_one_call() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    // The same call again asks nobody else.
    let again = alice.ask("tools/call", pay(MUCH, "claim-99"));
    assert_eq!(id_in(&again), id);
    assert!(text_of(&again).contains("asked 2 times"), "{again}");
    assert!(world.paid().is_empty());

    approved(&world, &mia, &id);
    let passed = alice.ask("tools/call", pay(MUCH, "claim-99"));
    assert_eq!(text_of(&passed), "Paid $50000.00 to ACME on claim 99.");
    assert_eq!(state(&world, &id), "used");
    let other = stopped(&mut alice);
    assert_ne!(other, id);
    assert_eq!(world.paid(), [5_000_000]);
    let calls = world.calls("claim-99");
    let paid = calls
        .iter()
        .find(|call| call.detail["approval"] != json!(null));
    let approval = &paid.unwrap().detail["approval"];
    assert_eq!(
        (&approval["escalation"], &approval["by"]),
        (&json!(id), &json!("mia"))
    );
    assert!(approval["at"].as_str().unwrap().starts_with("20"));
    assert!(alice.end());
    assert!(world.journal_problems().is_empty());
}

#[test]
fn an_approval_fits_no_other_arguments_session_or_principal() {
    let world = World::new();
    world.append(
        "principals.toml",
        "\n[[principals]]\nsubject = \"bob\"\nrole = \"Junior\"\nlimits = { call = \"10000.00\", session = \"20000.00\", day = \"60000.00\" }\n",
    );
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let mut bob = broker_of(&world, "bob");
    let id = stopped(&mut alice);
    approved(&world, &mia, &id);
    assert!(!passes(&mut alice, pay(MUCH + 1, "claim-99")));
    assert!(!passes(&mut alice, pay(MUCH, "claim-98")));
    assert!(!passes(&mut bob, pay(MUCH, "claim-99")));
    let more = json!({"name": APPROVE, "_meta": {"dev.countersign/session": "claim-99"},
        "arguments": {"claim_id": "99", "amount": MUCH, "payee": "ACME", "memo": ""}});
    assert!(!passes(&mut alice, more));
    assert!(world.paid().is_empty());
    // A number that is spelled otherwise is another one to some servers; the order of
    // keys, spaces and escapes are not.
    let spelled = |amount: &str| {
        format!(
            r#"{{"name":"claims__approve_payment","arguments":{{ "payee":"A\u0043ME", "amount":{amount},"claim_id":"99"}},"_meta":{{"dev.countersign/session":"claim-99"}}}}"#
        )
    };
    for (amount, is_same) in [("5.0e4", false), ("50000.0", false), ("50000", true)] {
        let answer = alice.ask_text("tools/call", &spelled(amount));
        assert_eq!(answer["result"]["isError"] != true, is_same, "{answer}");
    }
    assert_eq!(world.paid(), [5_000_000]);
    assert_eq!(state(&world, &id), "used");
}

#[test]
fn fifty_at_once_over_two_brokers_pass_once() {
    let world = World::new();
    let mia = world.key("mia");
    let mut brokers = [world.broker().initialized(), world.broker().initialized()];
    let id = stopped(&mut brokers[0]);
    approved(&world, &mia, &id);
    let mut sent = Vec::new();
    for place in 0..50 {
        let broker = place % 2;
        let request = brokers[broker].request("tools/call", pay(MUCH, "claim-99"));
        sent.push((broker, request));
    }
    let mut passed = 0;
    for (broker, request) in sent {
        let answer = brokers[broker].answer_to(request).unwrap();
        passed += u32::from(answer["result"]["isError"] != true);
    }
    assert_eq!(passed, 1);
    assert_eq!(world.paid(), [5_000_000]);
    // All the others stand behind one new request.
    let output = world
        .command(&["--json", "escalation", "list"])
        .output()
        .unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let waiting = listed["escalations"].as_array().unwrap();
    assert_eq!((waiting.len(), &waiting[0]["tries"]), (1, &json!(49)));
    assert!(world.journal_problems().is_empty());
}

#[test]
fn what_policy_says_at_the_call_stands_over_an_approval() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    approved(&world, &mia, &id);
    // A change that still lets it pass says nothing against it.
    world.append("policies/claims.cedar", "\n// Read again.\n");
    assert!(alice.end());
    let alice = world.broker().initialized();
    let none = "\n@id(\"late\") @message(\"Not on Sundays.\")\nforbid (principal, action == Broker::Action::\"claims/approve_payment\", resource)\nwhen { context.input.amount > 4000000 };\n";
    world.append("policies/claims.cedar", none);
    assert!(alice.end());
    let mut alice = world.broker().initialized();
    let stopped = text_of(&alice.ask("tools/call", pay(MUCH, "claim-99")));
    assert!(stopped.contains("Not on Sundays."), "{stopped}");
    assert!(stopped.contains("final"), "{stopped}");
    assert!(alice.end());
    // It was not used up by being refused.
    assert_eq!(state(&world, &id), "approved");
    world.edit("policies/claims.cedar", none, "");
    let mut alice = world.broker().initialized();
    assert!(passes(&mut alice, pay(MUCH, "claim-99")));
    assert_eq!(world.paid(), [5_000_000]);
}

#[test]
fn who_lost_the_role_has_approved_nothing() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    approved(&world, &mia, &id);
    assert!(alice.end());
    let principals = world.read("principals.toml");
    world.edit("principals.toml", "role = \"Manager\"", "role = \"Senior\"");
    let lost = world.read("principals.toml");
    // Somebody else has the role, so it is worth asking.
    world.append(
        "principals.toml",
        "\n[[principals]]\nsubject = \"max\"\nrole = \"Manager\"\nlimits = { call = \"90000.00\", session = \"90000.00\", day = \"90000.00\" }\n",
    );
    assert_ne!(principals, lost);
    let mut alice = world.broker().initialized();
    let answer = alice.ask("tools/call", pay(MUCH, "claim-99"));
    assert!(
        text_of(&answer).contains("approved before, and that is void"),
        "{answer}"
    );
    assert_ne!(id_in(&answer), id);
    assert_eq!(state(&world, &id), "void");
    assert!(world.paid().is_empty());
}

#[test]
fn a_session_that_is_frozen_or_over_sends_nothing_however_it_was_approved() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    assert!(world.run(&["session", "freeze", "claim-99"]).0);
    let (done, printed) = says(&world, &mia, &["approve", &id]);
    assert!(
        !done && printed.contains("This session is frozen."),
        "{printed}"
    );
    assert!(world.run(&["session", "thaw", "claim-99"]).0);
    approved(&world, &mia, &id);
    assert!(world.run(&["session", "end", "claim-99"]).0);
    assert!(!passes(&mut alice, pay(MUCH, "claim-99")));
    assert!(world.paid().is_empty());
}

#[test]
fn a_call_under_a_key_that_passed_by_an_approval_is_answered_again() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let keyed = |key: &str| {
        let mut call = pay(MUCH, "claim-99");
        call["_meta"]["dev.countersign/idempotency-key"] = key.into();
        call
    };
    let id = id_in(&alice.ask("tools/call", keyed("k-1")));
    approved(&world, &mia, &id);
    let first = alice.ask("tools/call", keyed("k-1"));
    assert_eq!(text_of(&first), "Paid $50000.00 to ACME on claim 99.");
    let again = alice.ask("tools/call", keyed("k-1"));
    assert_eq!(text_of(&again), "Paid $50000.00 to ACME on claim 99.");
    assert!(!passes(&mut alice, keyed("k-2")));
    assert_eq!(world.paid(), [5_000_000]);
}

/// Whoever takes a call back, or ends its broker, must not have it twice.
#[test]
fn an_approved_call_that_ended_unknown_is_not_sent_again_even_where_its_tool_may_be() {
    let world = World::holding();
    world.edit(
        "countersign.toml",
        "risk = \"high\"",
        "risk = \"high\"\nidempotent = true",
    );
    let mia = world.key("mia");
    let keyed = || {
        let mut call = pay(MUCH, "claim-99");
        call["_meta"]["dev.countersign/idempotency-key"] = "k-1".into();
        call
    };
    let mut alice = world.broker().initialized();
    let id = id_in(&alice.ask("tools/call", keyed()));
    approved(&world, &mia, &id);
    alice.request("tools/call", keyed());
    world.wait_until_paid(1);
    alice.kill();
    std::fs::remove_file(world.path("hold")).unwrap();
    let mut again = world.broker().initialized();
    let answer = again.ask("tools/call", keyed());
    assert!(!text_of(&answer).starts_with("Paid"), "{answer}");
    assert_eq!(world.paid(), [5_000_000]);
    assert_eq!(state(&world, &id), "used");
}

#[test]
fn what_nobody_is_shown_is_not_asked_for() {
    let world = World::new();
    let mut alice = world.broker().initialized();
    let mut more = pay(MUCH, "claim-99");
    more["amountOverride"] = json!(1);
    let answer = text_of(&alice.ask("tools/call", more));
    assert!(answer.contains("This decision is final"), "{answer}");
    assert!(!answer.contains("esc-"), "{answer}");
}

/// What provably was not sent has used no approval.
#[test]
fn an_approval_is_given_back_where_nothing_was_sent() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    approved(&world, &mia, &id);
    assert!(alice.end());
    let config = world.read("countersign.toml");
    let gone = format!("command = {PROGRAM:?}");
    world.edit("countersign.toml", &gone, "command = \"/nowhere/at/all\"");
    let mut alice = world.broker().initialized();
    let answer = alice.ask("tools/call", pay(MUCH, "claim-99"));
    assert!(text_of(&answer).contains("Nothing was sent"), "{answer}");
    assert_eq!(state(&world, &id), "approved");
    assert!(alice.end());
    world.write("countersign.toml", &config);
    let mut alice = world.broker().initialized();
    assert!(passes(&mut alice, pay(MUCH, "claim-99")));
    assert!(!passes(&mut alice, pay(MUCH, "claim-99")));
    assert_eq!(state(&world, &id), "used");
    assert_eq!(world.paid(), [5_000_000]);
    assert!(world.journal_problems().is_empty());
}
