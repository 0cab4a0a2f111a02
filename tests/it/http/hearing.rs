//! Who goes on hearing on a stream that is open: whoever may still, and nobody else.

use super::subscriptions::EVENTS;
use super::subscriptions::legacy;
use super::subscriptions::listen;
use super::subscriptions::own;
use super::subscriptions::talk;
use super::subscriptions::updated;
use super::*;
use crate::subscriptions::following;
use crate::world::PATIENCE;
use std::time::Instant;

/// Revokes this key.
fn revoke(world: &World, key: &str) {
    let (_, listed) = world.run(&["key", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let mut keys = listed["keys"].as_array().unwrap().iter();
    let shown = keys.find(|shown| key.ends_with(shown["ending"].as_str().unwrap()));
    let (revoked, said) = world.run(&["key", "revoke", shown.unwrap()["id"].as_str().unwrap()]);
    assert!(revoked, "{said}");
}

/// Opens the stream of the older pair, and has it hear of a resource.
fn pair(broker: &Serving, key: &str, uri: &str) -> Talk {
    let mut stream = talk(broker, key);
    stream.write("GET", "/sse", &[EVENTS], "");
    assert_eq!(stream.head().unwrap().0, 200);
    let first = stream.chunk().unwrap();
    let at = first.split_once("data: ").unwrap().1.trim().to_owned();
    let mut asks = talk(broker, key);
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let subscribe = request(2, "resources/subscribe", &json!({"uri": uri}));
    assert_eq!(asks.post(&at, &initialize("2024-11-05")).status, 202);
    assert!(stream.chunk().unwrap().contains("\"result\""));
    for message in [initialized, &*subscribe] {
        assert_eq!(asks.post(&at, message).status, 202);
    }
    assert!(stream.chunk().unwrap().contains("\"id\":2"));
    stream
}

/// The key of a message may be right where that of the stream is none any more.
#[test]
fn a_message_of_another_key_is_not_answered_on_the_stream_of_a_revoked_one() {
    let desk = Desk::new();
    let (revoked, other) = (desk.world.key("alice"), desk.world.key("alice"));
    let with =
        |key: &str| Talk::new(desk.address()).with("authorization", &format!("Bearer {key}"));
    let mut stream = with(&revoked);
    stream.write("GET", "/sse", &[EVENTS], "");
    assert_eq!(stream.head().unwrap().0, 200);
    let first = stream.chunk().unwrap();
    let at = first.split_once("data: ").unwrap().1.trim().to_owned();
    let mut asks = with(&other);
    assert_eq!(asks.post(&at, &initialize("2024-11-05")).status, 202);
    assert!(stream.chunk().unwrap().contains("\"result\""));
    revoke(&desk.world, &revoked);
    let listed = request(2, "tools/list", &json!({}));
    assert_eq!(asks.post(&at, &listed).status, 404);
    ends_silently(&mut stream);
}

/// The end of a stream on which nothing more is said.
fn ends_silently(stream: &mut Talk) {
    let begun = Instant::now();
    while let Some(chunk) = stream.chunk() {
        assert!(!chunk.contains("\"jsonrpc\""), "{chunk}");
        assert!(begun.elapsed() < PATIENCE, "the stream never ends");
    }
    assert!(begun.elapsed() < PATIENCE, "the stream never ends");
}

/// The three ways to listen, of somebody who follows the same by each.
fn streams(broker: &Serving, key: &str) -> (Talk, [Talk; 3]) {
    let uri = "note://one";
    let (mut asks, standing) = legacy(broker, key);
    let params = json!({ "uri": uri });
    let asked = asks.post("/mcp", &request(2, "resources/subscribe", &params));
    assert!(asked.json()["result"].is_object(), "{asked:?}");
    let mut listens = talk(broker, key);
    let wanted = json!({"resourceSubscriptions": [uri], "resourcesListChanged": true});
    listen(&mut listens, 5, wanted);
    (asks, [standing, listens, pair(broker, key, uri)])
}

#[test]
fn a_revoked_key_hears_nothing_more_on_any_stream() {
    let world = following("legacy");
    let (revoked, other) = (world.key("alice"), world.key("alice"));
    let broker = world.serve();
    let mut calling = talk(&broker, &other);
    let (asks, mut streams) = streams(&broker, &revoked);
    own(&mut calling, "change", "note://one");
    for stream in &mut streams {
        assert_eq!(updated(stream)["uri"], "note://one");
    }
    revoke(&world, &revoked);
    own(&mut calling, "change", "note://one");
    own(&mut calling, "grow", "");
    for stream in &mut streams {
        ends_silently(stream);
    }
    // Whoever comes for the transport session with a key that is right gets the rest.
    let mut again = talk(&broker, &other);
    let id = asks.always("mcp-session-id");
    again.write("GET", "/mcp", &[EVENTS, ("mcp-session-id", &id)], "");
    assert_eq!(again.head().unwrap().0, 200);
    assert_eq!(updated(&mut again)["uri"], "note://one");
}

#[test]
fn a_stream_on_which_nothing_is_said_ends_with_its_key_and_its_principal() {
    let world = following("modern");
    let revoked = world.key("alice");
    let broker = world.serve();
    let (_asks, mut by_key) = streams(&broker, &revoked);
    let gone = world.key("alice");
    revoke(&world, &revoked);
    for stream in &mut by_key {
        ends_silently(stream);
    }
    let (_asks, mut by_principal) = streams(&broker, &gone);
    world.edit(
        "principals.toml",
        "subject = \"alice\"",
        "subject = \"alicia\"",
    );
    for stream in &mut by_principal {
        ends_silently(stream);
    }
}

#[test]
fn a_transport_session_that_ended_in_one_broker_is_unknown_in_the_other() {
    let desk = Desk::new();
    let beside = desk.world.serve_beside();
    let key = desk.talk().always("authorization");
    let there = || Talk::new(beside.address()).with("authorization", &key);
    let id = opened(&mut desk.talk(), "/mcp");
    let named = ("mcp-session-id", &*id);
    let ping = request(2, "ping", &json!({}));
    assert_eq!(there().post_with("/mcp", &[named], &ping).status, 200);
    let mut stream = there();
    stream.write("GET", "/mcp", &[EVENTS, named], "");
    assert_eq!(stream.head().unwrap().0, 200);
    assert_eq!(desk.talk().send("DELETE", "/mcp", &[named], "").status, 204);
    // What it asked of the store some milliseconds ago counts.
    let asked = (0..10_000).map(|_| there().post_with("/mcp", &[named], &ping).status);
    assert!(asked.into_iter().any(|status| status == 404));
    assert_eq!(there().send("DELETE", "/mcp", &[named], "").status, 404);
    ends_silently(&mut stream);
}

#[test]
fn one_principal_cannot_take_every_connection_by_streams() {
    let desk = Desk::configured("max_connections = 16");
    let opens = |key: &str| {
        let mut stream = Talk::new(desk.address()).with("authorization", key);
        stream.write("GET", "/sse", &[EVENTS], "");
        let status = stream.head().unwrap().0;
        (stream, status)
    };
    let alices = desk.talk().always("authorization");
    let mut open: Vec<(Talk, u16)> = (0..8).map(|_| opens(&alices)).collect();
    assert!(open.iter().all(|(_, status)| *status == 200));
    let refused = desk.talk().send("GET", "/sse", &[EVENTS], "");
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.body.contains("max_connections"), "{refused:?}");
    let params = modern_params(json!({"notifications": {"toolsListChanged": true}}));
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
    ];
    let listens = request(7, "subscriptions/listen", &params);
    let refused = desk.talk().post_with("/mcp", &headers, &listens);
    assert_eq!((refused.status, &refused.json()["id"]), (429, &json!(7)));
    // Everything else is served, and whoever else listens.
    let called = call(2, GET, &json!({"claim_id": "1"}));
    let id = opened(&mut desk.talk(), "/mcp");
    let mut talk = desk.talk().with("mcp-session-id", &id);
    assert!(said(&talk.post("/mcp", &called)).starts_with("Claim 1"));
    let (_sams, status) = opens(&format!("Bearer {}", desk.world.key("sam")));
    assert_eq!(status, 200);
    open.pop();
    let begun = Instant::now();
    while opens(&alices).1 != 200 {
        assert!(begun.elapsed() < PATIENCE, "its place is never free again");
    }
}
