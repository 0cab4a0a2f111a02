//! Calls whose server asks something before it does the work, between clients and
//! servers of both eras.

use crate::world::Wire;
use crate::world::World;
use countersign::outcome::Outcome;
use serde_json::Value;
use serde_json::json;

const POLICY: &str = r#"
@id("all")
permit (principal, action in Broker::Action::"server:own", resource);
@id("total")
@message("Too much in all.")
forbid (principal, action == Broker::Action::"own/ask", resource)
when { context.meter has amount && context.meter.amount.sessionAfter > 1000 };
"#;

/// One server, of an era, whose tool `ask` counts its `amount`.
fn world(script: &str) -> World {
    let script = format!("{}/fixtures/servers/{script}", env!("CARGO_MANIFEST_DIR"));
    let servers = format!(
        "[servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\n[servers.own.tools.ask]\nmeter = [\"amount\"]\n"
    );
    World::of(&servers, POLICY)
}

const MODERN: &str = "asking-modern.sh";
const LEGACY: &str = "asking.sh";

/// The parameters of a modern request of a client that can be asked.
fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        "x-own": 1,
    });
    params
}

fn ask(amount: u32) -> Value {
    modern(json!({"name": "own__ask", "arguments": {"amount": amount}}))
}

/// The request that goes on from `asked`, with an answer to each question.
fn going_on(mut request: Value, asked: &Value) -> Value {
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    let questions = result["inputRequests"].as_object().unwrap();
    let answers = questions.keys().map(|key| {
        let answer = json!({"action": "accept", "content": {"name": "Ann"}, "x-own": 1});
        (key.clone(), answer)
    });
    request["inputResponses"] = Value::Object(answers.collect());
    request["requestState"] = result["requestState"].clone();
    request
}

/// A broker with a client that opened it in the older way, and can be asked.
fn legacy_client(world: &World) -> Wire {
    let mut broker = world.broker();
    broker.ask(
        "initialize",
        json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "test", "version": "1"},
        }),
    );
    broker.tell("notifications/initialized", json!({}));
    broker
}

fn outcomes(world: &World) -> Vec<&'static str> {
    let calls = world.calls("claim-99");
    let outcomes = calls.iter().map(|call| call.outcome);
    outcomes
        .map(|outcome| outcome.map_or("open", Outcome::as_str))
        .collect()
}

#[test]
fn a_modern_client_answers_a_modern_server_with_another_request() {
    let world = world(MODERN);
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", ask(600));
    let result = &asked["result"];
    let question = &result["inputRequests"]["who"];
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(result["x-own"], json!(1e2));
    let state = result["requestState"].as_str().unwrap();
    assert!(!state.contains("own"), "{state}");
    let next = going_on(ask(600), &asked);
    let answered = broker.ask("tools/call", next.clone());
    let heard = &answered["result"]["heard"]["params"];
    assert_eq!(heard["requestState"], "own \"state\" é");
    assert_eq!(heard["inputResponses"], next["inputResponses"]);
    assert_eq!(heard["arguments"], json!({"amount": 600}));
    // What was charged counts once for both rounds, and is not free the next time.
    let more = broker.ask("tools/call", ask(600));
    let said = more["result"]["content"][0]["text"].as_str().unwrap();
    assert!(said.starts_with("Too much in all."), "{said}");
    let again = broker.ask("tools/call", next);
    let said = again["result"]["content"][0]["text"].as_str().unwrap();
    assert!(said.starts_with("Too much in all."), "{said}");
    assert!(broker.end());
    assert_eq!(
        outcomes(&world),
        ["input-required", "completed", "denied", "denied"]
    );
    let calls = world.calls("claim-99");
    assert_eq!(calls[1].detail["continues"], calls[0].call.to_string());
    assert_eq!(world.journal_problems(), []);
}

#[test]
fn a_modern_client_answers_a_legacy_server_whose_call_stays_open() {
    let world = world(LEGACY);
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", ask(600));
    let question = &asked["result"]["inputRequests"]["q1"];
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(question["params"]["message"], "Your name?");
    // Without the answer it is asked again.
    let mut next = going_on(ask(600), &asked);
    let answers = next["inputResponses"].take();
    next["inputResponses"] = json!({"other": {}});
    let again = broker.ask("tools/call", next.clone());
    assert_eq!(&again["result"]["inputRequests"]["q1"], question);
    let mut next = going_on(ask(600), &again);
    next["inputResponses"] = answers.clone();
    let answered = broker.ask("tools/call", next.clone());
    let heard = &answered["result"]["heard"];
    assert_eq!(heard["id"], "q1");
    assert_eq!(heard["result"], answers["q1"]);
    assert_eq!(answered["result"]["resultType"], "complete");
    // The call is over; what it did is not known to who comes again with the state.
    let late = broker.ask("tools/call", next);
    let said = late["result"]["content"][0]["text"].as_str().unwrap();
    assert!(said.starts_with("Too much in all."), "{said}");
    assert!(broker.end());
    assert_eq!(
        outcomes(&world),
        ["input-required", "input-required", "completed", "denied"]
    );
}

#[test]
fn a_key_is_bound_to_a_call_that_stays_open_until_it_has_ended() {
    let world = world(LEGACY);
    let mut broker = world.broker();
    let keyed = || {
        let mut request = ask(600);
        request["_meta"]["dev.countersign/idempotency-key"] = "one".into();
        request
    };
    let asked = broker.ask("tools/call", keyed());
    for _ in 0..2 {
        let told = broker.ask("tools/call", keyed());
        let said = told["result"]["content"][0]["text"].as_str().unwrap();
        assert!(said.contains("its server asked something"), "{said}");
    }
    let mut next = going_on(keyed(), &asked);
    next["_meta"] = keyed()["_meta"].take();
    let answered = broker.ask("tools/call", next);
    assert_eq!(answered["result"]["heard"]["id"], "q1", "{answered}");
    let again = broker.ask("tools/call", keyed());
    assert_eq!(again["result"]["heard"], answered["result"]["heard"]);
    assert!(broker.end());
    assert_eq!(
        outcomes(&world),
        [
            "input-required",
            "denied",
            "denied",
            "completed",
            "replayed"
        ]
    );
    assert_eq!(world.journal_problems(), []);
}

#[test]
fn a_legacy_client_is_asked_what_a_modern_server_wants_to_know() {
    let world = world(MODERN);
    let mut broker = legacy_client(&world);
    let call = broker.request(
        "tools/call",
        json!({"name": "own__ask", "arguments": {"amount": 600}}),
    );
    let asked = broker.wait_for(|message| message["method"] == "elicitation/create");
    let asked = asked.unwrap();
    assert_eq!(asked["params"]["message"], "Your name?");
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"],
        "result": {"action": "accept", "content": {"name": "Ann"}, "x-own": 1}});
    broker.send_line(&reply.to_string());
    let answered = broker.answer_to(call).unwrap();
    let heard = &answered["result"]["heard"]["params"];
    assert_eq!(heard["requestState"], "own \"state\" é");
    assert_eq!(heard["inputResponses"], json!({"who": reply["result"]}));
    // A server that only wants to be asked again is.
    let waited = broker.ask("tools/call", json!({"name": "own__wait"}));
    let heard = &waited["result"]["heard"]["params"];
    assert_eq!(heard["requestState"], "own \"state\" é");
    assert_eq!(heard.get("inputResponses"), None);
    assert!(broker.end());
    assert_eq!(
        outcomes(&world),
        ["input-required", "completed", "input-required", "completed"]
    );
}

#[test]
fn prompts_and_resources_can_ask_too() {
    let world = world(MODERN);
    let mut broker = world.broker();
    let prompt = || modern(json!({"name": "own__greet", "arguments": {}}));
    let asked = broker.ask("prompts/get", prompt());
    let answered = broker.ask("prompts/get", going_on(prompt(), &asked));
    let heard = &answered["result"]["heard"]["params"];
    assert_eq!(heard["requestState"], "own \"state\" é");
    let read = || modern(json!({"uri": "note://one"}));
    let asked = broker.ask("resources/read", read());
    assert_eq!(asked["result"].get("cacheScope"), None, "{asked}");
    let answered = broker.ask("resources/read", going_on(read(), &asked));
    let heard = &answered["result"]["heard"]["params"];
    assert_eq!(heard["uri"], "note://one");
    assert_eq!(heard["requestState"], "own \"state\" é");
    assert!(broker.end());
}

#[test]
fn a_state_is_good_for_its_own_request_only() {
    let world = world(MODERN);
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", ask(1));
    let good = going_on(ask(1), &asked);
    let mut other_session = good.clone();
    other_session["_meta"]["dev.countersign/session"] = json!("claim-98");
    let mut other_arguments = good.clone();
    other_arguments["arguments"]["amount"] = json!(2);
    let mut other_tool = good.clone();
    other_tool["name"] = json!("own__wait");
    let mut forged = good.clone();
    forged["requestState"] = json!("own \"state\" é");
    for bad in [other_session, other_arguments, other_tool, forged] {
        let refused = broker.ask("tools/call", bad);
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    // As good as before, also through another broker: the key is the store's.
    assert!(broker.end());
    let mut broker = world.broker();
    let answered = broker.ask("tools/call", good);
    assert!(answered["result"]["heard"].is_object(), "{answered}");
    assert!(broker.end());
    assert_eq!(outcomes(&world), ["input-required", "completed"]);
}

#[test]
fn a_call_that_was_open_in_a_broker_that_is_gone_is_unknown_and_not_repeated() {
    let world = world(LEGACY);
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", ask(600));
    broker.kill();
    let mut broker = world.broker();
    let answered = broker.ask("tools/call", going_on(ask(600), &asked));
    let said = answered["result"]["content"][0]["text"].as_str().unwrap();
    assert!(said.contains("may have taken effect"), "{said}");
    assert_eq!(answered["result"]["isError"], true);
    // It stays charged.
    let more = broker.ask("tools/call", ask(600));
    let said = more["result"]["content"][0]["text"].as_str().unwrap();
    assert!(!said.contains("may have taken effect"), "{said}");
    assert!(said.starts_with("Too much in all."), "{said}");
    assert!(broker.end());
    assert_eq!(outcomes(&world), ["input-required", "unknown", "denied"]);
}

#[test]
fn a_call_that_may_still_go_on_is_not_sent_again_unasked() {
    let world = world(LEGACY);
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", ask(1));
    // Its server may do it without an answer, so the same call is not a new one.
    let same = broker.ask("tools/call", ask(1));
    let said = same["result"]["content"][0]["text"].as_str().unwrap();
    assert!(said.contains("nobody saw how it ended"), "{said}");
    let answered = broker.ask("tools/call", going_on(ask(1), &asked));
    assert!(answered["result"]["heard"].is_object(), "{answered}");
    // Now it has ended, and the same call is another one.
    let next = broker.ask("tools/call", ask(1));
    assert_eq!(next["result"]["resultType"], "input_required", "{next}");
    assert!(broker.end());
    assert_eq!(
        outcomes(&world),
        ["input-required", "denied", "completed", "input-required"]
    );
}

#[test]
fn a_frozen_session_goes_on_with_nothing() {
    for script in [MODERN, LEGACY] {
        let world = world(script);
        let mut broker = world.broker();
        let asked = broker.ask("tools/call", ask(600));
        let (frozen, printed) = world.run(&["session", "freeze", "claim-99"]);
        assert!(frozen, "{printed}");
        let refused = broker.ask("tools/call", going_on(ask(600), &asked));
        assert_eq!(refused["result"]["isError"], true, "{refused}");
        assert!(refused["result"].get("heard").is_none());
        let (thawed, printed) = world.run(&["session", "thaw", "claim-99"]);
        assert!(thawed, "{printed}");
        let answered = broker.ask("tools/call", going_on(ask(600), &asked));
        assert!(answered["result"]["heard"].is_object(), "{answered}");
        assert!(broker.end());
        assert_eq!(outcomes(&world), ["input-required", "denied", "completed"]);
    }
}

#[test]
fn nobody_is_asked_what_he_did_not_say_he_can_be_asked() {
    let world = world(MODERN);
    let mut broker = world.broker();
    let pried = broker.ask("tools/call", modern(json!({"name": "own__pry"})));
    let said = pried["result"]["content"][0]["text"].as_str().unwrap();
    assert!(
        said.contains("did not declare that it can be asked"),
        "{said}"
    );
    let mut silent = ask(1);
    silent["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let refused = broker.ask("tools/call", silent);
    assert_eq!(refused["error"]["code"], -32021);
    let needs = &refused["error"]["data"]["requiredCapabilities"];
    assert_eq!(needs, &json!({"elicitation": {}}));
    let with_answers = json!({"name": "own__ask", "inputResponses": {}});
    let mut legacy = legacy_client(&world);
    let refused = legacy.ask("tools/call", with_answers);
    assert_eq!(refused["error"]["code"], -32602);
    assert!(legacy.end());
    assert!(broker.end());
    assert_eq!(outcomes(&world), ["unknown", "tool-failed"]);
}

/// We give a state with each question, so without one nothing of ours is answered.
#[test]
fn answers_to_what_was_never_asked_are_refused_for_a_server_that_takes_none() {
    for (script, ends) in [
        (LEGACY, "failed-before-sending"),
        (MODERN, "input-required"),
    ] {
        let world = world(script);
        let mut broker = world.broker();
        let mut unasked = ask(1);
        unasked["inputResponses"] = json!({"who": {"action": "accept", "content": {}}});
        let answer = broker.ask("tools/call", unasked);
        match script {
            LEGACY => {
                assert_eq!(answer["error"]["code"], -32602, "{answer}");
                let said = answer["error"]["message"].as_str().unwrap();
                assert!(said.contains("nothing was sent"), "{said}");
            }
            // A newer server may know what it means.
            _ => assert_eq!(answer["result"]["resultType"], "input_required", "{answer}"),
        }
        assert!(broker.end());
        assert_eq!(outcomes(&world), [ends]);
    }
}
