//! The broker's own resources, followed across processes.

use super::done;
use super::read;
use crate::subscriptions::TAG;
use crate::world::GET;
use crate::world::Wire;
use crate::world::World;
use serde_json::Value;
use serde_json::json;

const PUT: &str = "countersign__memory_put";

fn updated(message: &Value) -> bool {
    message["method"] == "notifications/resources/updated"
}

fn hears(wire: &mut Wire) -> String {
    let told = wire.wait_for(updated).unwrap();
    told["params"]["uri"].as_str().unwrap().to_owned()
}

/// A client of this session, of the older era.
fn in_session(world: &World, session: &str) -> Wire {
    let mut broker = world.broker_with(|command| {
        command.args(["--session", session]);
    });
    broker.initialize();
    broker
}

fn follow(wire: &mut Wire, uri: &str) -> Value {
    wire.ask("resources/subscribe", json!({ "uri": uri }))
}

fn modern(session: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "dev.countersign/session": session,
    });
    params
}

fn text(answer: &Value) -> &str {
    let text = &answer["result"]["contents"][0]["text"];
    text.as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn a_session_can_be_read_and_followed_whoever_changes_it() {
    let world = World::new();
    let mut one = in_session(&world, "claim-1");
    one.call(GET, read());
    let mut two = in_session(&world, "claim-2");
    two.call(GET, read());
    for uri in ["session://events", "session://memory/a%2Fb"] {
        assert_eq!(follow(&mut one, uri)["result"], json!({}), "{uri}");
    }
    assert_eq!(follow(&mut two, "session://status")["result"], json!({}));
    let nothing = follow(&mut one, "session://other");
    assert_eq!(nothing["error"]["code"], -32002, "{nothing}");

    // A modern client, of another process and the same session.
    let mut listens = world.broker();
    let uris = ["session://status", "session://notes", "session://nothing"];
    let wanted = json!({"notifications": {"resourceSubscriptions": uris}});
    let id = listens.request("subscriptions/listen", modern("claim-1", wanted));
    let acknowledged = "notifications/subscriptions/acknowledged";
    let first = listens.wait_for(|message| message["method"] == acknowledged);
    let honoured = first.unwrap()["params"]["notifications"]["resourceSubscriptions"].take();
    assert_eq!(honoured, json!(["session://status", "session://notes"]));

    // By the command line.
    let send = [
        "session", "event", "claim-1", "--kind", "go", "--body", "now",
    ];
    done(&world, &send);
    assert_eq!(hears(&mut one), "session://events");
    let told = listens.wait_for(updated).unwrap();
    assert_eq!(told["params"]["uri"], "session://status");
    assert_eq!(told["params"]["_meta"][TAG], id);
    // By another broker. What nobody follows, nobody hears.
    let mut other = in_session(&world, "claim-1");
    other.call(PUT, json!({"key": "else", "value": 1}));
    other.call(PUT, json!({"key": "a/b", "value": {"x": 1}}));
    assert_eq!(hears(&mut one), "session://memory/a%2Fb");
    done(&world, &["session", "pause", "claim-2"]);
    assert_eq!(hears(&mut two), "session://status");

    let mut get = |uri: &str| one.ask("resources/read", json!({ "uri": uri }));
    assert_eq!(text(&get("session://memory/a%2Fb")), r#"{"x":1}"#);
    assert!(text(&get("session://events")).contains(r#""body":"now""#));
    assert!(text(&get("session://status")).starts_with("Session claim-1 of alice"));
    assert!(text(&get("session://memory")).contains(r#""key":"a/b""#));
    assert_eq!(text(&get("session://notes")), r#"{"notes":[]}"#);
    for none in [
        "session://memory/none",
        "session://memory/a/b",
        "session://x",
    ] {
        assert_eq!(get(none)["error"]["code"], -32002, "{none}");
    }
    let listed = one.ask("resources/list", json!({}));
    assert!(listed.to_string().contains("session://events"), "{listed}");
    let listed = one.ask("resources/templates/list", json!({}));
    assert!(
        listed.to_string().contains("session://memory/{key}"),
        "{listed}"
    );
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_session_hears_nothing_of_another_in_the_same_process() {
    let world = World::new();
    let mut broker = world.broker();
    let mut listen = |session: &str, uri: &str| {
        let call = json!({"name": GET, "arguments": read()});
        broker.ask("tools/call", modern(session, call));
        let uris = json!({"resourceSubscriptions": ["session://notes", uri]});
        let wanted = modern(session, json!({ "notifications": uris }));
        let id = broker.request("subscriptions/listen", wanted);
        let belongs = |message: &Value| message["params"]["_meta"][TAG] == id;
        let first = broker.wait_for(belongs).unwrap();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        id
    };
    let (one, two) = (
        listen("claim-1", "session://memory"),
        listen("claim-2", "session://events"),
    );
    let mut hears = |id: u64| {
        let told = broker.wait_for(|told| updated(told) && told["params"]["_meta"][TAG] == id);
        told.unwrap()["params"]["uri"].take()
    };
    let mut other = in_session(&world, "claim-1");
    other.call("countersign__note_add", json!({"text": "only here"}));
    assert_eq!(hears(one), "session://notes");
    done(&world, &["session", "event", "claim-2", "--kind", "go"]);
    // The first that it hears.
    assert_eq!(hears(two), "session://events");
}

#[test]
fn policy_applies_to_our_own_resources() {
    let world = World::new();
    world.append(
        "policies/global.cedar",
        r#"
@id("no.notes")
@message("Not the notes.")
forbid (
  principal,
  action in [
    Broker::Action::"countersign/resources/read",
    Broker::Action::"countersign/resources/subscribe"
  ],
  resource
)
when { context.input.uri == "session://notes" };
"#,
    );
    let mut broker = in_session(&world, "claim-1");
    broker.call(GET, read());
    let params = json!({"uri": "session://notes"});
    for method in ["resources/read", "resources/subscribe"] {
        let refused = broker.ask(method, params.clone());
        assert!(refused.to_string().contains("Not the notes."), "{refused}");
    }
    let status = broker.ask("resources/read", json!({"uri": "session://status"}));
    assert!(text(&status).contains("claim-1"));
    // A paused session can be looked at; a frozen one cannot, nor heard of.
    done(&world, &["session", "pause", "claim-1"]);
    let status = broker.ask("resources/read", json!({"uri": "session://status"}));
    assert!(text(&status).contains("It is paused"), "{status}");
    done(&world, &["session", "freeze", "claim-1"]);
    let frozen = broker.ask("resources/read", json!({"uri": "session://status"}));
    assert!(
        frozen.to_string().contains("This session is frozen"),
        "{frozen}"
    );
}
