//! What is asked before somebody decides on the calls of others by the broker's own
//! tools.

use super::FORM;
use super::answered;
use super::question;
use super::reply;
use super::yes;
use crate::http::talk::Talk;
use crate::world::APPROVE;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use serde_json::Value;
use serde_json::json;

const DECIDE: &str = "countersign__escalation_decide";
const LIST: &str = "countersign__escalation_list";

const ASK_FIRST: &str = r#"
@id("sure")
@message("Ask the person you work for.")
@confirm("Let this call pass?")
forbid (principal, action == Broker::Action::"countersign/escalation_decide", resource)
when { context.input.decision == "approve" }
unless { context.call.confirmed };
@id("look")
@message("Ask whether you may look.")
@confirm("May it read what waits?")
forbid (principal, action == Broker::Action::"countersign/escalation_list", resource)
unless { context.call.confirmed };
"#;

fn world() -> World {
    let world = World::new();
    world.write("policies/ask.cedar", ASK_FIRST);
    world
}

/// Alice is stopped; returns who is asked.
fn stopped(world: &World) -> String {
    stopped_at(
        world,
        json!({"name": APPROVE, "arguments": payment(50_000)}),
    )
}

fn stopped_at(world: &World, call: Value) -> String {
    let mut alice = world.broker().initialized();
    let answer = alice.ask("tools/call", call);
    let decision = &answer["result"]["_meta"]["dev.countersign/decision"];
    let id = decision["escalation"].as_str().unwrap().to_owned();
    assert!(alice.end());
    id
}

/// Mia's agent, whose client can ask her.
fn mias(world: &World) -> Wire {
    of(world, "mia")
}

fn of(world: &World, who: &str) -> Wire {
    let mut broker = world.broker_with(|command| {
        command.args(["--principal", who]);
    });
    let capabilities: Value = serde_json::from_str(FORM).unwrap();
    let opening = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": capabilities,
        "clientInfo": {"name": "test", "version": "1"},
    });
    broker.ask("initialize", opening);
    broker.tell("notifications/initialized", json!({}));
    broker
}

fn approve(id: &str) -> Value {
    json!({"name": DECIDE, "arguments": {"id": id, "decision": "approve"}})
}

/// What Mia is asked when her agent makes this call, which she declines.
fn asked(mia: &mut Wire, call: Value) -> String {
    let call = mia.request("tools/call", call);
    let asked = question(mia);
    reply(mia, &asked, &json!({"action": "decline"}));
    assert!(mia.answer_to(call).is_some());
    asked["params"]["message"].as_str().unwrap().to_owned()
}

fn state(world: &World, id: &str) -> Value {
    let (_, shown) = world.run(&["--json", "escalation", "show", id]);
    serde_json::from_str::<Value>(&shown).unwrap()["state"].take()
}

#[test]
fn a_person_is_asked_before_their_agent_approves_and_their_yes_holds() {
    let world = world();
    let id = stopped(&world);
    let mut mia = mias(&world);
    let no = json!({"action": "decline"});
    let denied = text_of(&answered(&mut mia, approve(&id), &no));
    assert!(denied.contains("and declined"), "{denied}");
    assert_eq!(state(&world, &id), "pending");
    let done = answered(&mut mia, approve(&id), &yes());
    assert_eq!(text_of(&done), format!("{id} is approved."));
    assert_eq!(state(&world, &id), "approved");
    assert!(mia.end());
    assert!(world.journal_problems().is_empty());
}

/// An id among arguments is nothing that a person could tell from another.
#[test]
fn a_person_is_shown_the_call_that_their_agent_decides_on() {
    let world = world();
    let id = stopped(&world);
    let mut mia = mias(&world);
    let shown = asked(&mut mia, approve(&id));
    let begins = format!(
        "Let this call pass?\nTool: countersign/escalation_decide\nArguments:\n  decision: \"approve\"\n  id: \"{id}\"\nIt decides on this call:\n  Caller: alice\n  Tool: claims/approve_payment\n  State: pending\n  Stopped by "
    );
    assert!(shown.starts_with(&begins), "{shown}");
    let ends = "\n  Arguments:\n    amount: 50000\n    claim_id: \"99\"\n    payee: \"ACME\"";
    assert!(shown.ends_with(ends), "{shown}");
    let none = "esc-0000-0000-0000";
    let shown = asked(&mut mia, approve(none));
    assert!(shown.ends_with(&format!("\n  id: \"{none}\"")), "{shown}");
    assert!(mia.end());
}

/// Sam may not be told what others asked for, by whatever id his agent brings.
#[test]
fn what_somebody_may_not_know_of_is_not_in_their_question() {
    let world = World::new();
    let policy = r#"
@id("sams")
permit (principal == Broker::User::"sam", action == Broker::Action::"countersign/escalation_decide", resource);
@id("sure")
@message("Ask the person you work for.")
@confirm("Let this call pass?")
forbid (principal, action == Broker::Action::"countersign/escalation_decide", resource)
unless { context.call.confirmed };
"#;
    world.write("policies/ask.cedar", policy);
    let id = stopped(&world);
    let mut sam = of(&world, "sam");
    let shown = asked(&mut sam, approve(&id));
    assert!(shown.ends_with(&format!("\n  id: \"{id}\"")), "{shown}");
    assert!(sam.end());
}

#[test]
fn who_cannot_be_shown_all_of_the_call_is_not_asked() {
    let world = world();
    let mut call = json!({"name": APPROVE, "arguments": payment(50_000)});
    call["arguments"]["payee"] = json!("x".repeat(9_000));
    let id = stopped_at(&world, call);
    let mut mia = mias(&world);
    let answer = mia.ask("tools/call", approve(&id));
    let decision = &answer["result"]["_meta"]["dev.countersign/decision"];
    assert_eq!(decision["confirmation"], "not-asked-of-all", "{answer}");
    assert_eq!(state(&world, &id), "pending");
    assert!(mia.end());
}

#[test]
fn who_was_asked_reads_what_waits() {
    let world = world();
    let id = stopped(&world);
    let mut mia = mias(&world);
    let call = json!({"name": LIST, "arguments": {"limit": 5}});
    let seen = text_of(&answered(&mut mia, call, &yes()));
    assert!(seen.contains(&id), "{seen}");
    assert!(mia.end());
}

/// There is nobody between them and the broker.
#[test]
fn who_comes_with_a_key_of_theirs_is_not_asked() {
    let world = world();
    let mia = world.key("mia");
    let id = stopped(&world);
    let mut command = world.command(&["escalation", "approve", &id]);
    let output = command.env("COUNTERSIGN_KEY", &mia).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(state(&world, &id), "approved");

    let other = World::new();
    other.write("policies/ask.cedar", ASK_FIRST);
    let mia = other.key("mia");
    let id = stopped(&other);
    let broker = other.serve();
    let mut talk = Talk::new(broker.address()).with("authorization", &format!("Bearer {mia}"));
    let listed = talk.send("GET", "/api/escalations", &[], "").json();
    assert_eq!(listed["escalations"][0]["id"], id, "{listed}");
    let done = talk.post(&format!("/api/escalations/{id}/approve"), "{}");
    assert_eq!(done.json()["state"], "approved");
}

/// What lifts a limit of the one who decides holds within the call too.
#[test]
fn a_decision_that_itself_needs_an_approval_is_taken_with_it() {
    let world = World::new();
    world.append(
        "principals.toml",
        "\n[[principals]]\nsubject = \"max\"\nrole = \"Manager\"\nlimits = { call = \"90000.00\", session = \"90000.00\", day = \"90000.00\" }\n",
    );
    let policy = r#"
@id("two")
@message("A second Manager has to agree.")
@escalate("Manager")
forbid (principal == Broker::User::"mia", action == Broker::Action::"countersign/escalation_decide", resource)
unless { context.call has approval && context.call.approval.by in Broker::Role::"Manager" };
"#;
    world.write("policies/two.cedar", policy);
    let max = world.key("max");
    let id = stopped(&world);
    let mut mia = mias(&world);
    let stopped = mia.ask("tools/call", approve(&id));
    let decision = &stopped["result"]["_meta"]["dev.countersign/decision"];
    let second = decision["escalation"].as_str().unwrap();
    let mut command = world.command(&["escalation", "approve", second]);
    let output = command.env("COUNTERSIGN_KEY", &max).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let done = mia.ask("tools/call", approve(&id));
    assert_eq!(text_of(&done), format!("{id} is approved."));
    assert_eq!(state(&world, second), "used");
    // What is decided is asked of nobody again.
    let late = mia.ask("tools/call", approve(&id));
    let late = late["result"].to_string();
    assert!(late.contains("it is approved already"), "{late}");
    assert!(!late.contains("esc-"), "{late}");
    // Nor is what is not there.
    for none in ["esc-0000-0000-0000", "none"] {
        let vain = mia.ask("tools/call", approve(none));
        let vain = vain["result"].to_string();
        assert!(
            vain.contains("there is no such escalation for you"),
            "{vain}"
        );
    }
    let (_, all) = world.run(&["escalation", "list", "--all"]);
    assert_eq!(all.lines().count(), 2, "{all}");
    assert!(mia.end());
    assert!(world.journal_problems().is_empty());
}
