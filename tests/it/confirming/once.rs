//! A confirmation is good for one call, whatever is sent again, killed or changed.

use super::FORM;
use super::answered;
use super::confirmed;
use super::going_on;
use super::is_denied;
use super::keyed;
use super::legacy;
use super::modern;
use super::outcomes;
use super::pay;
use super::question;
use super::reply;
use super::state;
use super::states;
use super::world;
use super::yes;
use crate::world::GET;
use crate::world::PATIENCE;
use crate::world::PROGRAM;
use crate::world::Wire;
use crate::world::World;
use crate::world::text_of;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;

fn paid(answer: &Value) -> bool {
    text_of(answer).starts_with("Paid")
}

#[test]
fn an_answer_counts_once_whatever_it_was() {
    let world = world();
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", modern(2_000));
    let good = going_on(modern(2_000), &asked, &yes());
    assert!(paid(&broker.ask("tools/call", good.clone())));
    for _ in 0..2 {
        is_denied(&broker.ask("tools/call", good.clone()), "over");
    }
    // Who declined did not say yes, also where their client says so later.
    let asked = broker.ask("tools/call", modern(3_000));
    let no = json!({"action": "decline"});
    is_denied(
        &broker.ask("tools/call", going_on(modern(3_000), &asked, &no)),
        "declined",
    );
    let late = going_on(modern(3_000), &asked, &yes());
    is_denied(&broker.ask("tools/call", late), "over");
    assert!(broker.end());
    assert_eq!(world.paid(), [200_000]);
    assert!(world.journal_problems().is_empty());
}

/// Neither beside the arguments nor in what is said of the request.
#[test]
fn nothing_goes_along_with_a_yes_that_nobody_was_shown() {
    let world = world();
    let plain = format!("command = {PROGRAM:?}\nargs = [\"claims-server\"");
    let copied = format!(
        "command = \"sh\"\nargs = [\"-c\", 'tee -a sent.jsonl | \"$0\" \"$@\"', {PROGRAM:?}, \"claims-server\""
    );
    world.edit("countersign.toml", &plain, &copied);
    let mut broker = world.broker();
    let with = |dollars| {
        let mut request = modern(dollars);
        request["_meta"]["example.com/override"] = json!({"amount": 9_000});
        request["_meta"]["traceparent"] =
            json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        request
    };
    let asked = broker.ask("tools/call", with(2_000));
    assert!(paid(
        &broker.ask("tools/call", going_on(with(2_000), &asked, &yes()))
    ));
    assert!(paid(&broker.ask("tools/call", with(500))));
    assert!(broker.end());
    let sent = world.read("sent.jsonl");
    let calls = sent.lines().filter(|line| line.contains("tools/call"));
    let along: Vec<_> = calls
        .map(|line| (line.contains("override"), line.contains("traceparent")))
        .collect();
    assert_eq!(along, [(false, true), (true, true)]);
}

/// Two are asked about while neither was paid.
#[test]
fn a_yes_lifts_what_was_asked_about_and_no_more() {
    let world = world();
    let total = "@id(\"more\")\n@confirm(\"The session passes 3000. Pay all the same?\")\n\
        forbid (principal, action == Broker::Action::\"claims/approve_payment\", resource)\n\
        when { context.meter.amount.sessionAfter > 300000 } unless { context.call.confirmed };\n";
    world.write("policies/more.cedar", total);
    let mut broker = world.broker();
    let [first, second] = [2_000, 2_500].map(|dollars| {
        let asked = broker.ask("tools/call", modern(dollars));
        going_on(modern(dollars), &asked, &yes())
    });
    assert!(paid(&broker.ask("tools/call", first)));
    is_denied(&broker.ask("tools/call", second.clone()), "asked-of-less");
    // The answer was taken.
    is_denied(&broker.ask("tools/call", second), "over");
    let asked = broker.ask("tools/call", modern(2_500));
    let text = asked.to_string();
    assert!(text.contains("The session passes 3000."), "{text}");
    assert!(paid(
        &broker.ask("tools/call", going_on(modern(2_500), &asked, &yes()))
    ));
    assert!(broker.end());
    assert_eq!(world.paid(), [200_000, 250_000]);
    assert!(world.journal_problems().is_empty());
}

#[test]
fn an_answer_is_good_for_its_own_call_only() {
    let world = world();
    let bob = "\n[[principals]]\nsubject = \"bob\"\nrole = \"Junior\"\nlimits = { call = \"10000.00\", session = \"20000.00\", day = \"60000.00\" }\n";
    world.append("principals.toml", bob);
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", modern(2_000));
    let good = going_on(modern(2_000), &asked, &yes());
    let mut other_arguments = good.clone();
    other_arguments["arguments"]["amount"] = json!(2_001);
    let mut other_session = good.clone();
    other_session["_meta"]["dev.countersign/session"] = json!("claim-98");
    let mut other_tool = good.clone();
    other_tool["name"] = json!(GET);
    let mut forged = good.clone();
    let state = good["requestState"].as_str().unwrap();
    forged["requestState"] = json!(format!("{state}A"));
    for bad in [other_arguments, other_session, other_tool, forged] {
        let refused = broker.ask("tools/call", bad);
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    let mut bobs = world.broker_with(|command| {
        command.args(["--principal", "bob"]);
    });
    let mut his = good.clone();
    his["_meta"]["dev.countersign/session"] = json!("claim-98");
    let refused = bobs.ask("tools/call", his);
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert!(bobs.end());
    // Nor does it bring along what nobody was shown; it is an answer all the same.
    let mut more = good.clone();
    more["x-more"] = json!({"amount": 9_000});
    is_denied(&broker.ask("tools/call", more), "unreadable");
    is_denied(&broker.ask("tools/call", good), "over");
    assert!(world.paid().is_empty());
    let asked = broker.ask("tools/call", modern(2_000));
    let good = going_on(modern(2_000), &asked, &yes());
    assert!(paid(&broker.ask("tools/call", good)));
    assert!(broker.end());
    assert_eq!(world.paid(), [200_000]);
}

#[test]
fn of_the_same_answer_through_two_brokers_at_once_one_counts() {
    let world = world();
    let mut brokers = [world.broker(), world.broker()];
    for dollars in [2_000, 2_001, 2_002] {
        let asked = brokers[0].ask("tools/call", modern(dollars));
        let good = going_on(modern(dollars), &asked, &yes());
        let sent: Vec<(usize, u64)> = [0, 1, 0, 1]
            .into_iter()
            .map(|at| (at, brokers[at].request("tools/call", good.clone())))
            .collect();
        let answers = sent
            .into_iter()
            .map(|(at, id)| brokers[at].answer_to(id).unwrap());
        assert_eq!(answers.filter(paid).count(), 1);
    }
    for broker in brokers {
        assert!(broker.end());
    }
    assert_eq!(world.paid(), [200_000, 200_100, 200_200]);
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_broker_that_is_killed_while_it_asks_has_closed_its_record_and_sent_nothing() {
    let world = world();
    let mut broker = legacy(&world, "2025-11-25", FORM);
    broker.request("tools/call", super::pay(2_000));
    question(&mut broker);
    broker.kill();
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", modern(3_000));
    broker.kill();
    assert_eq!(outcomes(&world), ["input-required", "input-required"]);
    assert!(world.paid().is_empty());
    assert!(world.journal_problems().is_empty());
    // Who answers with another request can do so through the next broker.
    let mut broker = world.broker();
    let good = going_on(modern(3_000), &asked, &yes());
    assert!(paid(&broker.ask("tools/call", good)));
    assert!(broker.end());
    assert_eq!(world.paid(), [300_000]);
}

#[test]
fn an_answer_that_was_taken_stays_so_when_the_broker_is_killed() {
    let world = world();
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", modern(2_000));
    assert!(broker.end());
    let good = going_on(modern(2_000), &asked, &yes());
    let mut broker = world.broker_with(|command| {
        command.env("COUNTERSIGN_CRASH", "store.admit.after-commit:1");
    });
    broker.request("tools/call", good.clone());
    assert!(broker.was_killed());
    let mut broker = world.broker();
    let told = broker.ask("tools/call", good.clone());
    assert!(text_of(&told).contains("nobody saw how it ended"), "{told}");
    is_denied(&broker.ask("tools/call", good), "over");
    assert!(broker.end());
    assert!(world.paid().is_empty());
    assert_eq!(
        outcomes(&world),
        ["input-required", "unknown", "denied", "denied"]
    );
    assert!(world.journal_problems().is_empty());
}

/// Replaces the policy that asks by one that stops these, and reading claims, and waits
/// until the broker has it.
fn replaced(world: &World, broker: &mut Wire, stopped: &str) {
    let policy = format!(
        r#"@id("stop") @message("Not today.")
        forbid (principal, action in [{stopped}Broker::Action::"claims/get_claim"], resource)
        when {{ context.input.claim_id == "99" }};"#
    );
    world.write("policies/confirm.cedar", &policy);
    let begun = Instant::now();
    while !broker
        .call(GET, json!({"claim_id": "99"}))
        .contains("Not today.")
    {
        assert!(begun.elapsed() < PATIENCE, "the policies are never read");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_policy_says_when_the_answer_comes_decides() {
    let world = world();
    let mut broker = legacy(&world, "2025-11-25", FORM);
    let call = broker.request("tools/call", super::pay(2_000));
    let asked = question(&mut broker);
    let payments = "Broker::Action::\"claims/approve_payment\", ";
    replaced(&world, &mut broker, payments);
    reply(&mut broker, &asked, &yes());
    let denied = broker.answer_to(call).unwrap();
    assert!(
        text_of(&denied).starts_with("error: Not today."),
        "{denied}"
    );
    assert!(world.paid().is_empty());
    let last = world.calls("claim-99").pop().unwrap();
    assert_eq!(state(&last), "confirmed");

    // Nor does a frozen session go on with a yes.
    let world = confirmed(World::new());
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", modern(2_000));
    let good = going_on(modern(2_000), &asked, &yes());
    let (frozen, printed) = world.run(&["session", "freeze", "claim-99"]);
    assert!(frozen, "{printed}");
    let denied = broker.ask("tools/call", good);
    assert_eq!(denied["result"]["isError"], true, "{denied}");
    assert!(broker.end());
    assert!(world.paid().is_empty());
}

#[test]
fn a_no_holds_where_policy_would_do_without_the_question_by_now() {
    let world = world();
    let mut broker = legacy(&world, "2025-11-25", FORM);
    let call = broker.request("tools/call", super::pay(2_000));
    let asked = question(&mut broker);
    replaced(&world, &mut broker, "");
    reply(&mut broker, &asked, &json!({"action": "decline"}));
    let denied = broker.answer_to(call).unwrap();
    assert!(text_of(&denied).contains("and declined"), "{denied}");
    let paid = broker.call(super::APPROVE, super::payment(2_000));
    assert!(paid.starts_with("Paid"), "{paid}");
    assert!(broker.end());
    assert_eq!(world.paid(), [200_000]);
}

#[test]
fn a_no_is_taken_whatever_an_earlier_call_came_to() {
    let world = world();
    let mut broker = world.broker();
    let [first, second] = [(); 2].map(|()| broker.ask("tools/call", keyed(modern(2_000))));
    let yes_to = |asked: &Value| going_on(modern(2_000), asked, &yes());
    assert!(paid(&broker.ask("tools/call", keyed(yes_to(&first)))));
    let no = going_on(modern(2_000), &second, &json!({"action": "decline"}));
    is_denied(&broker.ask("tools/call", keyed(no)), "declined");
    is_denied(&broker.ask("tools/call", yes_to(&second)), "over");
    assert!(broker.end());
    assert_eq!(world.paid(), [200_000]);
}

/// MCP 2025-11-25, basic/lifecycle, timeouts.
#[test]
fn a_question_is_taken_back_where_nobody_waits_for_its_answer_any_more() {
    let world = world();
    let mut broker = legacy(&world, "2025-11-25", FORM);
    let call = broker.request("tools/call", pay(2_000));
    let asked = question(&mut broker);
    broker.tell("notifications/cancelled", json!({"requestId": call}));
    let taken_back = broker.wait_for(|message| message["method"] == "notifications/cancelled");
    assert_eq!(taken_back.unwrap()["params"]["requestId"], asked["id"]);
    reply(&mut broker, &asked, &yes());
    // One that was answered is not taken back.
    let paid = answered(&mut broker, pay(3_000), &yes());
    assert!(text_of(&paid).starts_with("Paid"), "{paid}");
    assert!(broker.end());
    assert_eq!(world.paid(), [300_000]);
}

#[test]
fn a_call_under_a_key_is_given_its_answer_again_without_a_question() {
    let world = world();
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", keyed(modern(2_000)));
    let good = keyed(going_on(modern(2_000), &asked, &yes()));
    let first = broker.ask("tools/call", good.clone());
    assert!(paid(&first));
    for again in [good, keyed(modern(2_000))] {
        let given = broker.ask("tools/call", again);
        assert_eq!(text_of(&given), text_of(&first));
    }
    // Without the key it is another call.
    let asked = broker.ask("tools/call", modern(2_000));
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    assert!(broker.end());
    assert_eq!(world.paid(), [200_000]);
    assert_eq!(
        outcomes(&world),
        [
            "input-required",
            "completed",
            "replayed",
            "replayed",
            "input-required"
        ]
    );
}

#[test]
fn who_takes_the_call_back_is_not_asked_any_more() {
    let world = world();
    let mut broker = legacy(&world, "2025-11-25", FORM);
    let call = broker.request("tools/call", super::pay(2_000));
    let asked = question(&mut broker);
    broker.tell("notifications/cancelled", json!({"requestId": call}));
    reply(&mut broker, &asked, &yes());
    let next = answered(&mut broker, super::pay(3_000), &yes());
    assert!(paid(&next), "{next}");
    assert!(broker.end());
    assert_eq!(world.paid(), [300_000]);
    assert_eq!(states(&world), ["asked", "asked", "confirmed"]);
}
