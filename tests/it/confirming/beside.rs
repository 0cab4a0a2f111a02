//! Confirmations beside what else people say to a call: approvals, and what its server
//! asks; and of what is no call of a tool.

use super::FORM;
use super::answered;
use super::going_on;
use super::is_denied;
use super::legacy;
use super::modern;
use super::modern_of;
use super::outcomes;
use super::pay;
use super::question;
use super::reply;
use super::states;
use super::world;
use super::yes;
use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::World;
use crate::world::text_of;
use countersign::outcome::Outcome;
use serde_json::Value;
use serde_json::json;
use std::time::Instant;

/// What alice may not pay alone.
const MUCH: i64 = 50_000;

/// Has mia approve what an answer says is asked.
pub(super) fn approved(world: &World, answer: &Value) -> String {
    let decision = &answer["result"]["_meta"]["dev.countersign/decision"];
    let id = decision["escalation"].as_str().unwrap().to_owned();
    let mut command = world.command(&["escalation", "approve", &id]);
    let output = command
        .env("COUNTERSIGN_KEY", world.key("mia"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    id
}

#[test]
fn an_approval_comes_first_and_is_used_with_the_yes() {
    let world = world();
    let mut broker = legacy(&world, "2025-11-25", FORM);
    let stopped = broker.ask("tools/call", pay(MUCH));
    assert!(
        text_of(&stopped).contains("Escalate to Manager."),
        "{stopped}"
    );
    approved(&world, &stopped);
    // A no leaves the approval where it is.
    let no = json!({"action": "decline"});
    is_denied(&answered(&mut broker, pay(MUCH), &no), "declined");
    let paid = answered(&mut broker, pay(MUCH), &yes());
    assert_eq!(text_of(&paid), "Paid $50000.00 to ACME on claim 99.");
    // Both are used up.
    let stopped = broker.ask("tools/call", pay(MUCH));
    assert!(
        text_of(&stopped).contains("Escalate to Manager."),
        "{stopped}"
    );
    assert!(broker.end());
    assert_eq!(world.paid(), [5_000_000]);
    let calls = world.calls("claim-99");
    let made = calls
        .iter()
        .find(|call| call.outcome == Some(Outcome::Completed))
        .unwrap();
    assert_eq!(made.detail["approval"]["by"], "mia");
    assert_eq!(made.detail["confirmation"]["state"], "confirmed");
    assert_eq!(
        states(&world),
        ["none", "asked", "declined", "asked", "confirmed", "none"]
    );
    assert!(world.journal_problems().is_empty());
}

const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A request of a modern client that takes tasks, and can be asked.
fn knowing(params: Value) -> Value {
    let capabilities = format!(r#"{{"elicitation":{{}},"extensions":{{"{TASKS}":{{}}}}}}"#);
    modern_of(params, &capabilities)
}

/// What the result of a task says, once it has ended.
fn end_of(broker: &mut Wire, task: &Value) -> String {
    let begun = Instant::now();
    loop {
        let got = broker.ask("tasks/get", knowing(json!({"taskId": task})));
        if got["result"]["status"] != "working" {
            let said = &got["result"]["result"]["content"][0]["text"];
            return said.as_str().unwrap_or_default().to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "a task never ends: {got}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn what_the_broker_would_make_for_its_client_waits_for_the_client_instead() {
    let world = world();
    world.edit(
        "countersign.toml",
        "risk = \"high\"",
        "risk = \"high\"\non_approval = \"resume\"",
    );
    let mut broker = world.broker();
    let begun = broker.ask("tools/call", knowing(pay(MUCH)));
    let task = begun["result"]["taskId"].clone();
    approved(&world, &begun);
    let said = end_of(&mut broker, &task);
    assert!(said.contains("is to be asked first"), "{said}");
    assert!(said.contains("it passes once"), "{said}");
    assert!(world.paid().is_empty());
    let asked = broker.ask("tools/call", knowing(pay(MUCH)));
    let paid = broker.ask("tools/call", going_on(knowing(pay(MUCH)), &asked, &yes()));
    assert_eq!(text_of(&paid), "Paid $50000.00 to ACME on claim 99.");
    assert!(broker.end());
    assert_eq!(world.paid(), [5_000_000]);
}

const ASKS_FOR_ALL: &str = r#"
@id("all")
permit (principal, action in Broker::Action::"server:own", resource);
@id("sure")
@confirm("Sure?")
@message("Payments over 1000.00 need a yes of the person, and all else.")
forbid (principal, action in [ASK Broker::Action::"prompts/get", Broker::Action::"resources/read", Broker::Action::"completion/complete", Broker::Action::"resources/subscribe"], resource)
unless { context.call.confirmed };
"#;

/// A scripted server, most of whose requests are confirmed.
pub(super) fn asking(script: &str) -> World {
    let script = format!("{}/fixtures/servers/{script}", env!("CARGO_MANIFEST_DIR"));
    let servers = format!(
        "[servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\nenv = {{ ERA = \"legacy\", HEARD = \"heard.txt\" }}\n"
    );
    let ask = match script.ends_with("following.sh") {
        true => "",
        false => "Broker::Action::\"own/ask\",",
    };
    World::of(&servers, &ASKS_FOR_ALL.replace("ASK", ask))
}

pub(super) fn name() -> Value {
    json!({"action": "accept", "content": {"name": "Ann"}})
}

#[test]
fn the_rounds_of_one_call_go_on_with_its_confirmation_and_no_other_does() {
    let world = asking("asking-modern.sh");
    let mut broker = world.broker();
    let ask = || {
        modern_of(
            json!({"name": "own__ask", "arguments": {"amount": 1}}),
            FORM,
        )
    };
    let sure = broker.ask("tools/call", ask());
    let theirs = broker.ask("tools/call", going_on(ask(), &sure, &yes()));
    let question = &theirs["result"]["inputRequests"]["who"]["params"];
    assert_eq!(question["message"], "Your name?", "{theirs}");
    let last = going_on(ask(), &theirs, &name());
    let mut more = last.clone();
    more["x-more"] = json!(1);
    is_denied(&broker.ask("tools/call", more), "not-asked-of-all");
    let done = broker.ask("tools/call", last.clone());
    let heard = &done["result"]["heard"]["params"];
    assert_eq!(heard["requestState"], "own \"state\" é", "{done}");
    assert_eq!(heard["inputResponses"], last["inputResponses"]);
    // The server's state may come again, the confirmation may not.
    is_denied(&broker.ask("tools/call", last), "not-asked-midway");
    assert!(broker.end());
    assert_eq!(
        states(&world),
        [
            "asked",
            "confirmed",
            "not-asked-of-all",
            "carried",
            "not-asked-midway"
        ]
    );
    assert_eq!(
        outcomes(&world),
        [
            "input-required",
            "input-required",
            "denied",
            "completed",
            "denied"
        ]
    );
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_client_that_waits_is_asked_by_both_one_after_the_other() {
    let world = asking("asking-modern.sh");
    let mut broker = legacy(&world, "2025-11-25", FORM);
    let ask = json!({"name": "own__ask", "arguments": {"amount": 1}});
    let call = broker.request("tools/call", ask);
    let sure = question(&mut broker);
    let message = sure["params"]["message"].as_str().unwrap();
    assert_eq!(message, "Sure?\nTool: own/ask\nArguments:\n  amount: 1");
    reply(&mut broker, &sure, &yes());
    let theirs = question(&mut broker);
    assert_eq!(theirs["params"]["message"], "Your name?");
    reply(&mut broker, &theirs, &name());
    let done = broker.answer_to(call).unwrap();
    assert!(done["result"]["heard"].is_object(), "{done}");
    assert!(broker.end());
    assert_eq!(states(&world), ["asked", "confirmed", "carried"]);
}

#[test]
fn a_call_that_a_legacy_server_keeps_open_goes_on_with_its_confirmation() {
    let world = asking("asking.sh");
    let mut broker = world.broker();
    let ask = || {
        modern_of(
            json!({"name": "own__ask", "arguments": {"amount": 1}}),
            FORM,
        )
    };
    let sure = broker.ask("tools/call", ask());
    let theirs = broker.ask("tools/call", going_on(ask(), &sure, &yes()));
    let done = broker.ask("tools/call", going_on(ask(), &theirs, &name()));
    assert_eq!(done["result"]["heard"]["result"], name(), "{done}");
    assert!(broker.end());
    assert_eq!(states(&world), ["asked", "confirmed", "carried"]);
}

#[test]
fn prompts_and_resources_can_be_confirmed_and_what_cannot_wait_is_denied() {
    let world = asking("asking.sh");
    let mut broker = world.broker();
    for (method, params) in [
        (
            "prompts/get",
            json!({"name": "own__greet", "arguments": {"who": "Ann"}}),
        ),
        ("resources/read", json!({"uri": "note://one"})),
    ] {
        let request = || modern_of(params.clone(), FORM);
        let sure = broker.ask(method, request());
        let done = broker.ask(method, going_on(request(), &sure, &yes()));
        assert!(done["result"]["heard"].is_object(), "{done}");
        let sure = broker.ask(method, request());
        let no = json!({"action": "cancel"});
        let denied = broker.ask(method, going_on(request(), &sure, &no));
        assert_eq!(denied["error"]["code"], 403, "{denied}");
    }
    assert!(broker.end());
    is_not_asked(
        &world,
        "completion/complete",
        json!({
            "ref": {"type": "ref/prompt", "name": "own__greet"},
            "argument": {"name": "who", "value": "A"},
        }),
    );
    let followed = json!({"uri": "note://one"});
    is_not_asked(&asking("following.sh"), "resources/subscribe", followed);
}

/// A request that cannot wait for a person is denied, and nobody is asked.
fn is_not_asked(world: &World, method: &str, params: Value) {
    let mut broker = legacy(world, "2025-11-25", FORM);
    let denied = broker.ask(method, params);
    assert_eq!(denied["error"]["code"], 403, "{denied}");
    let decision = &denied["error"]["data"]["dev.countersign/decision"];
    assert_eq!(decision["confirmation"], "not-asked", "{denied}");
    assert!(broker.end());
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_session_that_hears_no_too_often_is_frozen_like_any_that_is_denied() {
    let world = world();
    world.edit(
        "countersign.toml",
        "[session]\n",
        "[session]\nfreeze_after_denials = 2\n",
    );
    let mut broker = world.broker();
    let no = json!({"action": "decline"});
    for dollars in [2_000, 3_000] {
        let asked = broker.ask("tools/call", modern(dollars));
        is_denied(
            &broker.ask("tools/call", going_on(modern(dollars), &asked, &no)),
            "declined",
        );
    }
    let frozen = broker.ask("tools/call", modern(100));
    assert!(text_of(&frozen).contains("frozen"), "{frozen}");
    assert!(broker.end());
    assert!(world.paid().is_empty());
}
