//! Calls that the person in front of the client is asked about first: a yes lets exactly
//! one pass, and whatever is no yes denies.

mod beside;
mod deciding;
mod elsewhere;
mod once;
mod over_http;

use crate::world::APPROVE;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use countersign::journal::CallView;
use countersign::outcome::Outcome;
use serde_json::Value;
use serde_json::json;

/// What stands in the example of confirmations in `docs/policy.md`.
fn example() -> &'static str {
    let docs = include_str!("../../docs/policy.md");
    let example = docs.split("## Confirmation").nth(1).unwrap();
    let block = example.split("```cedar\n").nth(1).unwrap();
    block.split("```").next().unwrap()
}

/// The shipped example, where payments over $1,000 are confirmed.
fn world() -> World {
    confirmed(World::new())
}

fn confirmed(world: World) -> World {
    world.write("policies/confirm.cedar", example());
    world
}

const FORM: &str = r#"{"elicitation":{"form":{}}}"#;

/// A broker with a client that opened it in the older way, with these capabilities.
fn legacy(world: &World, revision: &str, capabilities: &str) -> Wire {
    let mut broker = world.broker();
    let capabilities: Value = serde_json::from_str(capabilities).unwrap();
    let opened = broker.ask(
        "initialize",
        json!({
            "protocolVersion": revision,
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        }),
    );
    assert_eq!(opened["result"]["protocolVersion"], revision, "{opened}");
    broker.tell("notifications/initialized", json!({}));
    broker
}

/// A payment of the older clients, in the session of the connection.
fn pay(dollars: i64) -> Value {
    json!({"name": APPROVE, "arguments": payment(dollars)})
}

/// The same of a modern client with these capabilities.
fn modern_of(mut params: Value, capabilities: &str) -> Value {
    let capabilities: Value = serde_json::from_str(capabilities).unwrap();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
        "dev.countersign/session": "claim-99",
    });
    params
}

fn modern(dollars: i64) -> Value {
    modern_of(pay(dollars), FORM)
}

/// The same under an idempotency key.
fn keyed(mut request: Value) -> Value {
    request["_meta"]["dev.countersign/idempotency-key"] = json!("one");
    request
}

/// What a person says: the result of an elicitation.
fn yes() -> Value {
    json!({"action": "accept", "content": {"confirm": true}})
}

/// The question that a legacy client was sent.
fn question(broker: &mut Wire) -> Value {
    let asked = broker.wait_for(|message| message["method"] == "elicitation/create");
    asked.expect("the broker ended")
}

fn reply(broker: &mut Wire, asked: &Value, result: &Value) {
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
    assert!(broker.send_line(&reply.to_string()));
}

/// Makes a call of a legacy client, and answers the question with this.
fn answered(broker: &mut Wire, call: Value, result: &Value) -> Value {
    let call = broker.request("tools/call", call);
    let asked = question(broker);
    reply(broker, &asked, result);
    broker.answer_to(call).expect("the broker ended")
}

/// The request of a modern client that goes on from `asked` with this answer.
fn going_on(mut request: Value, asked: &Value, answer: &Value) -> Value {
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    let requests = result["inputRequests"].as_object().unwrap();
    assert_eq!(requests.len(), 1, "{asked}");
    let answers = requests.keys().map(|key| (key.clone(), answer.clone()));
    request["inputResponses"] = Value::Object(answers.collect());
    request["requestState"] = result["requestState"].clone();
    request
}

fn outcomes(world: &World) -> Vec<&'static str> {
    let calls = world.calls("claim-99");
    let outcomes = calls.iter().map(|call| call.outcome);
    outcomes
        .map(|outcome| outcome.map_or("open", Outcome::as_str))
        .collect()
}

/// What the record of a call says of a confirmation.
fn state(call: &CallView) -> &str {
    call.detail["confirmation"]["state"]
        .as_str()
        .unwrap_or("none")
}

fn states(world: &World) -> Vec<String> {
    let calls = world.calls("claim-99");
    calls.iter().map(|call| state(call).to_owned()).collect()
}

/// What can be said that is no yes, with how it is recorded.
fn noes() -> [(Value, &'static str); 8] {
    [
        (json!({"action": "decline"}), "declined"),
        (json!({"action": "cancel"}), "cancelled"),
        (
            json!({"action": "accept", "content": {"confirm": false}}),
            "answered-no",
        ),
        (
            json!({"action": "accept", "content": {"confirm": "true"}}),
            "unreadable",
        ),
        (
            json!({"action": "accept", "content": {"name": true}}),
            "unreadable",
        ),
        (json!({"action": "accept"}), "unreadable"),
        (
            json!({"action": "yes", "content": {"confirm": true}}),
            "unreadable",
        ),
        (json!({}), "unreadable"),
    ]
}

/// Of a denial that nobody confirmed: the text says so, and that it is final.
fn is_denied(answer: &Value, state: &str) {
    let result = &answer["result"];
    let text = text_of(answer);
    assert!(
        text.starts_with("error: Payments over 1000.00 need a yes of the person"),
        "{answer}"
    );
    assert!(text.contains("Nothing was sent."), "{answer}");
    let decision = &result["_meta"]["dev.countersign/decision"];
    assert_eq!(decision["confirmation"], state, "{answer}");
    assert_eq!(
        (&decision["decision"], &decision["final"]),
        (&json!("deny"), &json!(true)),
        "{answer}"
    );
}

#[test]
fn a_client_that_waits_is_asked_and_a_yes_lets_exactly_one_call_pass() {
    for (revision, capabilities) in [
        ("2025-06-18", r#"{"elicitation":{}}"#),
        ("2025-11-25", r#"{"elicitation":{}}"#),
        ("2025-11-25", FORM),
    ] {
        let world = world();
        let mut broker = legacy(&world, revision, capabilities);
        // What is not stopped is not asked about.
        assert!(broker.call(APPROVE, payment(1_000)).starts_with("Paid"));
        for _ in 0..2 {
            let call = broker.request("tools/call", pay(2_000));
            let asked = question(&mut broker);
            let params = &asked["params"];
            assert_eq!(
                params["message"],
                "Pay 2000.00 on a claim?\nTool: claims/approve_payment\nArguments:\n  amount: 2000\n  claim_id: \"99\"\n  payee: \"ACME\""
            );
            let field = &params["requestedSchema"]["properties"]["confirm"];
            assert_eq!(field["type"], "boolean", "{asked}");
            assert_eq!(params.get("mode"), None);
            reply(&mut broker, &asked, &yes());
            let paid = broker.answer_to(call).unwrap();
            assert!(text_of(&paid).starts_with("Paid $2000.00"), "{paid}");
        }
        assert!(broker.end());
        assert_eq!(world.paid(), [100_000, 200_000, 200_000]);
        assert_eq!(
            states(&world),
            ["none", "asked", "confirmed", "asked", "confirmed"]
        );
        let calls = world.calls("claim-99");
        assert_eq!(outcomes(&world)[1..3], ["input-required", "completed"]);
        assert_eq!(
            calls[1].detail["policies"],
            json!(["claims.approve.confirm"])
        );
        let asked = calls[1].call.to_string();
        assert_eq!(calls[2].detail["confirmation"]["asked"], asked);
        assert_eq!(calls[2].detail["continues"], asked);
        assert!(world.journal_problems().is_empty());
    }
}

#[test]
fn a_client_that_waits_and_says_no_yes_is_denied() {
    let world = world();
    let mut broker = legacy(&world, "2025-11-25", FORM);
    for (no, word) in noes() {
        let denied = answered(&mut broker, pay(2_000), &no);
        is_denied(&denied, word);
    }
    let call = broker.request("tools/call", pay(2_000));
    let asked = question(&mut broker);
    let error = json!({"code": -32603, "message": "no"});
    let failed = json!({"jsonrpc": "2.0", "id": asked["id"], "error": error});
    assert!(broker.send_line(&failed.to_string()));
    let denied = broker.answer_to(call).unwrap();
    is_denied(&denied, "cancelled");
    assert!(broker.end());
    assert!(world.paid().is_empty());
    assert_eq!(states(&world).len(), 2 * (noes().len() + 1));
    let last = world.calls("claim-99").pop().unwrap();
    assert_eq!(last.outcome, Some(Outcome::Denied));
    assert_eq!(last.detail["policies"], json!(["claims.approve.confirm"]));
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_modern_client_answers_with_another_request() {
    let world = world();
    let mut broker = world.broker();
    for (no, word) in noes() {
        let asked = broker.ask("tools/call", modern(2_000));
        let denied = broker.ask("tools/call", going_on(modern(2_000), &asked, &no));
        is_denied(&denied, word);
    }
    let asked = broker.ask("tools/call", modern(2_000));
    let request = &asked["result"]["inputRequests"]["confirm"];
    assert_eq!(request["method"], "elicitation/create");
    let message = request["params"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Pay 2000.00 on a claim?\n"),
        "{message}"
    );
    // Without an answer there is none.
    let mut silent = modern(2_000);
    silent["requestState"] = asked["result"]["requestState"].clone();
    is_denied(&broker.ask("tools/call", silent), "unanswered");
    assert!(world.paid().is_empty());

    let asked = broker.ask("tools/call", modern(2_000));
    let paid = broker.ask("tools/call", going_on(modern(2_000), &asked, &yes()));
    assert!(text_of(&paid).starts_with("Paid $2000.00"), "{paid}");
    assert_eq!(paid["result"]["resultType"], "complete");
    assert!(broker.end());
    assert_eq!(world.paid(), [200_000]);
    assert_eq!(states(&world).last().unwrap(), "confirmed");
    assert!(world.journal_problems().is_empty());
}

#[test]
fn who_cannot_be_asked_is_denied() {
    let world = world();
    let page = r#"{"elicitation":{"url":{}}}"#;
    for (revision, capabilities) in [
        ("2024-11-05", "{}"),
        ("2025-03-26", "{}"),
        ("2025-06-18", "{}"),
        ("2025-11-25", r#"{"sampling":{}}"#),
        ("2025-11-25", page),
    ] {
        let mut broker = legacy(&world, revision, capabilities);
        let denied = broker.ask("tools/call", pay(2_000));
        is_denied(&denied, "not-asked-by-client");
        assert!(text_of(&denied).contains("did not declare `elicitation`"));
        assert!(broker.end());
    }
    let mut broker = world.broker();
    for capabilities in ["{}", page] {
        let denied = broker.ask("tools/call", modern_of(pay(2_000), capabilities));
        is_denied(&denied, "not-asked-by-client");
    }
    // What the person could not be shown is not asked about.
    let mut more = modern(2_000);
    more["x-more"] = json!(1);
    is_denied(&broker.ask("tools/call", more), "not-asked-of-all");
    let mut unasked = modern(2_000);
    unasked["inputResponses"] = json!({"confirm": yes()});
    is_denied(&broker.ask("tools/call", unasked), "not-asked-midway");
    assert!(broker.end());
    assert!(world.paid().is_empty());
    assert!(outcomes(&world).iter().all(|outcome| *outcome == "denied"));
    assert!(world.journal_problems().is_empty());
}

#[test]
fn who_does_not_answer_in_the_time_of_the_call_is_denied() {
    let world = world();
    world.edit(
        "countersign.toml",
        "risk = \"high\"",
        "risk = \"high\"\ntimeout = \"1s\"",
    );
    let mut broker = legacy(&world, "2025-11-25", FORM);
    let call = broker.request("tools/call", pay(2_000));
    let asked = question(&mut broker);
    let denied = broker.answer_to(call).unwrap();
    is_denied(&denied, "unanswered");
    assert!(text_of(&denied).contains("no answer in time"), "{denied}");
    // What comes too late is heard by nobody.
    reply(&mut broker, &asked, &yes());
    assert!(broker.end());
    assert!(world.paid().is_empty());
    assert_eq!(states(&world), ["asked", "unanswered"]);
    assert_eq!(outcomes(&world), ["input-required", "denied"]);
}

#[test]
fn nothing_is_counted_while_somebody_is_asked() {
    let world = world();
    let mut broker = world.broker();
    // The session may move $20,000.
    for _ in 0..3 {
        broker.ask("tools/call", modern(9_000));
    }
    let asked = broker.ask("tools/call", modern(9_001));
    let no = json!({"action": "decline"});
    is_denied(
        &broker.ask("tools/call", going_on(modern(9_001), &asked, &no)),
        "declined",
    );
    let both = [9_000, 9_002].map(|dollars| (dollars, broker.ask("tools/call", modern(dollars))));
    let more = broker.ask("tools/call", modern(9_003));
    for (dollars, asked) in &both {
        let paid = broker.ask("tools/call", going_on(modern(*dollars), asked, &yes()));
        assert!(text_of(&paid).starts_with("Paid"), "{paid}");
    }
    // What is true when the answer comes decides.
    let over = broker.ask("tools/call", going_on(modern(9_003), &more, &yes()));
    assert!(text_of(&over).contains("Session Limit Exceeded."), "{over}");
    assert!(broker.end());
    assert_eq!(world.paid(), [900_000, 900_200]);
    let last = world.calls("claim-99").pop().unwrap();
    assert_eq!(last.outcome, Some(Outcome::Escalated));
    assert_eq!(state(&last), "confirmed");
}
