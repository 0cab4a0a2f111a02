//! What a server offers only to clients that it can ask something.

use crate::world::Wire;
use crate::world::World;
use crate::world::names_of;
use crate::world::text_of;
use serde_json::Value;
use serde_json::json;

const POLICY: &str = r#"
@id("all")
permit (principal, action in Broker::Action::"server:own", resource);
"#;

const ALL: [&str; 1] = ["own__open"];
const ASKED: [&str; 2] = ["own__open", "own__confide"];

fn world(era: &str) -> World {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/offering.sh");
    let world = World::of("", POLICY);
    let openings = world.path("openings");
    world.append(
        "countersign.toml",
        &format!("[servers.own]\ncommand = \"sh\"\nargs = [{script:?}, {era:?}, {openings:?}]\n"),
    );
    world
}

/// A client of before 2026-07-28 with these capabilities.
fn legacy(world: &World, capabilities: Value) -> Wire {
    let mut broker = world.broker();
    broker.ask(
        "initialize",
        json!({
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        }),
    );
    broker.tell("notifications/initialized", json!({}));
    broker
}

/// The parameters of a request of a client of 2026-07-28 with these capabilities.
fn modern(capabilities: Value, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    params
}

fn names(list: &Value) -> Vec<&str> {
    let mut names = names_of(list);
    names.sort_unstable_by(|one, other| other.cmp(one));
    names
}

/// Everything of one client, which was opened as it likes.
fn sees(broker: &mut Wire, params: impl Fn(Value) -> Value, expected: &[&str]) {
    let list = broker.ask("tools/list", params(json!({})));
    assert_eq!(names(&list), expected, "{list}");
    let prompts = broker.ask("prompts/list", params(json!({})));
    let prompts = prompts["result"]["prompts"].as_array().unwrap();
    assert_eq!(prompts.len(), expected.len(), "{prompts:?}");
    let called = broker.ask("tools/call", params(json!({"name": "own__open"})));
    assert_eq!(text_of(&called), "open");
}

#[test]
fn a_tool_for_clients_that_can_be_asked_is_for_them_only() {
    for era in ["legacy", "modern"] {
        let world = world(era);
        let elicitation = || json!({"elicitation": {"form": {"x-own": 1}}, "roots": {}});
        let only = || json!({"elicitation": {}});

        let mut plain = legacy(&world, json!({}));
        sees(&mut plain, |params| params, &ALL);
        let refused = plain.ask("tools/call", json!({"name": "own__confide"}));
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
        assert!(plain.end());

        let mut asked = legacy(&world, only());
        sees(&mut asked, |params| params, &ASKED);
        assert_eq!(asked.call("own__confide", json!({})), "confide elicit");
        assert!(asked.end());

        // In one process, one beside the other.
        let mut both = world.broker();
        sees(&mut both, |params| modern(only(), params), &ASKED);
        sees(&mut both, |params| modern(json!({}), params), &ALL);
        sees(&mut both, |params| modern(elicitation(), params), &ASKED);
        let confide = json!({"name": "own__confide", "arguments": {}});
        for capabilities in [only(), elicitation()] {
            let called = both.ask("tools/call", modern(capabilities, confide.clone()));
            assert_eq!(text_of(&called), "confide elicit");
        }
        let refused = both.ask("tools/call", modern(json!({"sampling": {}}), confide));
        assert_eq!(refused["error"]["code"], -32021, "{refused}");
        let needed = &refused["error"]["data"]["requiredCapabilities"];
        assert_eq!(*needed, only());
        assert!(both.end());
        assert_eq!(world.journal_problems(), []);
    }
}

/// With the broker, a server with resources of its own begins that takes a second
/// for it, beside one that is there at once.
#[test]
fn a_resource_of_a_server_that_is_starting_is_waited_for_as_a_call_is() {
    let policy = POLICY.replace(
        "action in Broker::Action::\"server:own\"",
        "action in [Broker::Action::\"server:own\", Broker::Action::\"server:late\"]",
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/asking.sh");
    let world = World::of(
        &format!("[servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\n"),
        &policy,
    );
    let late = std::fs::read_to_string(script)
        .unwrap()
        .replace("note:", "memo:");
    world.write("late.sh", &format!("sleep 1\n{late}"));
    let late = world.path("late.sh");
    world.append(
        "countersign.toml",
        &format!("[servers.late]\ncommand = \"sh\"\nargs = [{late:?}]\n"),
    );
    let mut broker = legacy(&world, json!({}));
    broker.ask("tools/list", json!({}));
    assert!(broker.end());
    // From now on both are known, and nobody waits for their first sight.
    for (method, params) in [
        ("resources/read", json!({"uri": "memo://one"})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/resource", "uri": "memo://{id}"}, "argument": {"name": "id", "value": "1"}}),
        ),
    ] {
        let mut broker = legacy(&world, json!({}));
        let answer = broker.ask(method, params);
        assert!(answer["result"]["heard"].is_object(), "{answer}");
        assert!(broker.end());
    }
    let mut broker = legacy(&world, json!({}));
    let nowhere = broker.ask("resources/read", json!({"uri": "else://one"}));
    assert_eq!(nowhere["error"]["code"], -32002, "{nowhere}");
    assert!(broker.end());
}

#[test]
fn what_was_offered_to_a_kind_of_clients_is_listed_at_once_after_a_restart() {
    let world = world("legacy");
    let can = || json!({"elicitation": {}});
    let mut broker = legacy(&world, can());
    sees(&mut broker, |params| params, &ASKED);
    assert!(broker.end());
    let opened = world.read("openings");
    assert_eq!(
        opened.lines().collect::<Vec<_>>()[..2],
        ["opened none", "opened elicit"]
    );

    // The server does not come back, and what is pinned stands in for it.
    world.edit(
        "countersign.toml",
        "command = \"sh\"",
        "command = \"sleep\"",
    );
    let mut broker = world.broker();
    let opened = broker.ask(
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": can(), "clientInfo": {}}),
    );
    let has = &opened["result"]["capabilities"];
    assert!(
        has["logging"].is_object() && has["prompts"].is_object(),
        "{has}"
    );
    let list = broker.ask("tools/list", json!({}));
    assert_eq!(names(&list), ASKED, "{list}");
    assert!(broker.end());
}

/// The URIs of the resources that a client sees, then those of the templates.
fn uris(broker: &mut Wire, params: &impl Fn(Value) -> Value) -> Vec<String> {
    let mut uris = Vec::new();
    for (method, member, key) in [
        ("resources/list", "resources", "uri"),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
        ),
    ] {
        let list = broker.ask(method, params(json!({})));
        let entries = list["result"][member].as_array().unwrap();
        uris.extend(
            entries
                .iter()
                .map(|one| one[key].as_str().unwrap().to_owned()),
        );
    }
    uris
}

#[test]
fn a_resource_for_clients_that_can_be_asked_is_for_them_only_also_after_a_restart() {
    for era in ["legacy", "modern"] {
        let world = world(era);
        let can = || json!({"elicitation": {}});
        let all = ["note://open", "note://{id}"];
        let more = [
            "note://open",
            "secret://confide",
            "note://{id}",
            "secret://{id}",
        ];
        // They are not remembered, so each broker has the server looked at.
        for _broker in 0..2 {
            let mut plain = legacy(&world, json!({}));
            assert_eq!(uris(&mut plain, &|params| params), all);
            assert!(plain.end());
            let mut asked = legacy(&world, can());
            assert_eq!(uris(&mut asked, &|params| params), more);
            let read = asked.ask("resources/read", json!({"uri": "secret://confide"}));
            assert_eq!(read["result"]["can"], "elicit", "{read}");
            assert!(asked.end());
            let mut both = world.broker();
            assert_eq!(uris(&mut both, &|params| modern(can(), params)), more);
            assert_eq!(uris(&mut both, &|params| modern(json!({}), params)), all);
            assert!(both.end());
        }
        assert_eq!(world.journal_problems(), []);
    }
}

/// Beside a server that is there, and has resources too.
#[test]
fn a_uri_of_a_server_that_is_down_is_known_as_its_own() {
    let world = world("legacy");
    world.edit(
        "policies/own.cedar",
        "action in Broker::Action::\"server:own\"",
        "action in [Broker::Action::\"server:own\", Broker::Action::\"server:other\"]",
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/asking.sh");
    let text = std::fs::read_to_string(script).unwrap();
    world.write("other.sh", &text.replace("note:", "memo:"));
    let other = world.path("other.sh");
    world.append(
        "countersign.toml",
        &format!("[servers.other]\ncommand = \"sh\"\nargs = [{other:?}]\n"),
    );
    let can = || json!({"elicitation": {}});
    let mut broker = legacy(&world, can());
    uris(&mut broker, &|params| params);
    assert!(broker.end());

    world.edit(
        "countersign.toml",
        "command = \"sh\"\nargs = [\"/",
        "command = \"no-such-program\"\nargs = [\"/",
    );
    let command = "[servers.other]\ncommand = \"no-such-program\"";
    world.edit(
        "countersign.toml",
        command,
        "[servers.other]\ncommand = \"sh\"",
    );
    let mut broker = legacy(&world, json!({}));
    for uri in ["note://open", "note://any", "secret://confide"] {
        let answer = broker.ask("resources/read", json!({ "uri": uri }));
        assert_eq!(answer["error"]["code"], -32603, "{answer}");
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(
            said.starts_with("The server `own` cannot be reached."),
            "{said}"
        );
    }
    let nowhere = broker.ask("resources/read", json!({"uri": "else://one"}));
    assert_eq!(nowhere["error"]["code"], -32002, "{nowhere}");
    assert_eq!(uris(&mut broker, &|params| params)[0], "memo://one");
    assert!(broker.end());
}
