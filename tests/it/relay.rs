//! What there is besides tools, and what a server asks in the middle of a call.

use crate::world::Wire;
use crate::world::World;
use serde_json::Value;
use serde_json::json;

const POLICY: &str = r#"
@id("all")
permit (principal, action in Broker::Action::"server:own", resource);
@id("no.secret")
@message("Not this note.")
forbid (principal, action == Broker::Action::"own/resources/read", resource)
when { context.input["uri#scheme"] == "note" && context.input.uri like "*secret*" };
@id("no.mallory")
@message("Nobody greets Mallory.")
forbid (principal, action == Broker::Action::"own/prompts/greet", resource)
when { context.input.who == "Mallory" };
"#;

/// A folder with the server that asks.
pub(crate) fn world() -> World {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/asking.sh");
    let servers = format!("[servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\n");
    World::of(&servers, POLICY)
}

fn can_be_asked(broker: &mut Wire) -> Value {
    let opened = broker.ask(
        "initialize",
        json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "test", "version": "1"},
        }),
    );
    broker.tell("notifications/initialized", json!({}));
    opened
}

#[test]
fn prompts_resources_and_completion_go_through_and_policy_decides_them() {
    let world = world();
    let mut broker = world.broker();
    let opened = can_be_asked(&mut broker);
    let has = &opened["result"]["capabilities"];
    for capability in ["tools", "prompts", "resources", "completions", "logging"] {
        assert!(has[capability].is_object(), "{has}");
    }
    let prompts = broker.ask("prompts/list", json!({}));
    assert_eq!(prompts["result"]["prompts"][0]["name"], "own__greet");
    assert!(prompts.to_string().contains("\"x-own\":100"), "{prompts}");
    let resources = broker.ask("resources/list", json!({}));
    assert_eq!(resources["result"]["resources"][0]["uri"], "note://one");
    let templates = broker.ask("resources/templates/list", json!({}));
    assert_eq!(
        templates["result"]["resourceTemplates"][0]["uriTemplate"],
        "note://{id}"
    );

    let greeted = json!({"name": "own__greet", "arguments": {"who": "Ann"}, "x-own": {"a": 1}});
    let greeted = broker.ask("prompts/get", greeted);
    let heard = &greeted["result"]["heard"];
    assert_eq!(heard["params"]["name"], "greet");
    assert_eq!(heard["params"]["x-own"], json!({"a": 1}));
    let read = broker.ask("resources/read", json!({"uri": "note://two"}));
    assert_eq!(
        read["result"]["heard"]["params"],
        json!({"uri": "note://two"})
    );
    let completed = json!({
        "ref": {"type": "ref/prompt", "name": "own__greet"},
        "argument": {"name": "who", "value": "A"},
    });
    let completed = broker.ask("completion/complete", completed);
    let reference = &completed["result"]["heard"]["params"]["ref"];
    assert_eq!(reference, &json!({"type": "ref/prompt", "name": "greet"}));

    let mallory = json!({"name": "own__greet", "arguments": {"who": "Mallory"}});
    let denied = broker.ask("prompts/get", mallory);
    assert_eq!(denied["error"]["code"], 403);
    let secret = json!({"uri": "note://secret"});
    let hidden = broker.ask("resources/read", secret);
    assert_eq!(hidden["error"]["code"], 403);
    for (denied, message) in [(denied, "Nobody greets"), (hidden, "Not this note.")] {
        let said = denied["error"]["message"].as_str().unwrap();
        assert!(said.starts_with(message), "{said}");
    }
    let unknown = broker.ask("prompts/get", json!({"name": "greet"}));
    assert_eq!(unknown["error"]["code"], -32602);
    assert!(broker.end());
    let calls = world.calls("claim-99");
    let ended: Vec<String> = calls
        .iter()
        .map(|call| {
            let outcome = call.outcome.map_or("open", |outcome| outcome.as_str());
            format!("{} {outcome}", call.tool)
        })
        .collect();
    assert_eq!(
        ended,
        [
            "own/prompts/greet completed",
            "own/resources/read completed",
            "own/completion/complete completed",
            "own/prompts/greet denied",
            "own/resources/read denied",
            "prompts/get greet unknown-tool",
        ]
    );
    assert_eq!(world.journal_problems(), []);
}

#[test]
fn a_server_asks_the_client_in_the_middle_of_a_call() {
    let world = world();
    let mut broker = world.broker();
    can_be_asked(&mut broker);
    let told = broker.ask("logging/setLevel", json!({"level": "info"}));
    assert_eq!(told["result"], json!({}));
    let call = broker.request("tools/call", json!({"name": "own__ask", "arguments": {}}));
    let logged = broker.wait_for(|message| message["method"] == "notifications/message");
    assert_eq!(logged.unwrap()["params"]["data"], "asking");
    let asked = broker.wait_for(|message| message["method"] == "elicitation/create");
    let asked = asked.unwrap();
    assert_eq!(asked["params"]["message"], "Your name?");
    // An answer to a question that nobody asked changes nothing.
    broker.send_line(r#"{"jsonrpc":"2.0","id":"q1","result":{"action":"decline"}}"#);
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"],
        "result": {"action": "accept", "content": {"name": "Ann"}, "x-own": 1}});
    broker.send_line(&reply.to_string());
    let answered = broker.answer_to(call).unwrap();
    let heard = &answered["result"]["heard"];
    assert_eq!(heard["id"], "q1");
    assert_eq!(heard["result"], reply["result"]);
    assert!(broker.end());
}

#[test]
fn a_server_is_told_only_what_its_client_can_be_asked() {
    let world = world();
    let mut broker = world.broker().initialized();
    assert_eq!(broker.call("own__ask", json!({})), "nobody to ask");
    assert!(broker.end());
}

#[test]
fn a_call_that_is_taken_back_while_its_server_asks_is_not_answered() {
    let world = world();
    let mut broker = world.broker();
    can_be_asked(&mut broker);
    let call = broker.request("tools/call", json!({"name": "own__ask", "arguments": {}}));
    let asked = broker.wait_for(|message| message["method"] == "elicitation/create");
    broker.tell("notifications/cancelled", json!({"requestId": call}));
    world.wait_until_closed();
    let id = &asked.unwrap()["id"];
    broker.send_line(&json!({"jsonrpc": "2.0", "id": id, "result": {}}).to_string());
    // The broker goes on, and so does the server.
    let prompts = broker.ask("prompts/list", json!({}));
    assert_eq!(prompts["result"]["prompts"][0]["name"], "own__greet");
    assert!(broker.end());
    let calls = world.calls("claim-99");
    assert_eq!(
        calls[0].outcome.map(countersign::outcome::Outcome::as_str),
        Some("cancelled")
    );
}
