//! What goes on while a connection is open, and after it is gone.

use super::*;
use crate::world::PATIENCE;
use std::time::Instant;

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

#[test]
fn the_older_pair_works_for_its_owner_only() {
    let desk = Desk::new();
    let mut stream = desk.talk();
    stream.write("GET", "/s/claim-99/sse", &[EVENTS], "");
    assert_eq!(stream.head().unwrap().0, 200);
    let first = stream.chunk().unwrap();
    let at = first
        .strip_prefix("event: endpoint\ndata: ")
        .unwrap()
        .trim()
        .to_owned();
    assert!(at.starts_with("/s/claim-99/messages?sessionId="), "{at}");
    let sams = format!("Bearer {}", desk.world.key("sam"));
    let unknown = desk.talk().post("/messages?sessionId=0", "{}");
    let sams = Talk::new(desk.broker.address())
        .with("authorization", &sams)
        .post(&at, "{}");
    assert_eq!((sams.status, &sams.body), (404, &unknown.body));

    let mut talk = desk.talk();
    assert_eq!(talk.post(&at, &initialize("2024-11-05")).status, 202);
    assert!(
        stream
            .chunk()
            .unwrap()
            .contains("\"protocolVersion\":\"2024-11-05\"")
    );
    assert_eq!(talk.post(&at, &call(2, APPROVE, &payment(9))).status, 202);
    assert!(stream.chunk().unwrap().contains("Paid $9.00"));
    assert_eq!(desk.world.calls("claim-99").len(), 1);
    drop(stream);
    let begun = Instant::now();
    while talk.post(&at, "{}").status != 404 {
        assert!(begun.elapsed() < PATIENCE, "the stream never ends");
    }
}

#[test]
fn the_older_pair_can_be_switched_off() {
    let desk = Desk::configured("legacy_sse = false");
    assert_eq!(desk.talk().send("GET", "/sse", &[EVENTS], "").status, 404);
    assert_eq!(desk.talk().post("/messages?sessionId=0", "{}").status, 404);
}

#[test]
fn a_client_that_goes_away_does_not_stop_a_payment_that_was_sent() {
    let world = World::holding();
    let key = world.key("alice");
    let broker = world.serve();
    let mut talk = Talk::new(broker.address())
        .with("authorization", &format!("Bearer {key}"))
        .with("countersign-session", "claim-99");
    let headers = [
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", APPROVE),
    ];
    let pay = json!({"name": APPROVE, "arguments": payment(9_000)});
    let body = request(7, "tools/call", &modern_params(pay));
    talk.write("POST", "/mcp", &headers, &body);
    world.wait_until_paid(1);
    drop(talk);
    std::fs::remove_file(world.path("hold")).unwrap();
    world.wait_until_closed();
    let ended = &world.calls("claim-99")[0];
    assert_eq!(ended.outcome.unwrap().to_string(), "completed");
}

#[test]
fn an_orderly_end_lets_calls_end_and_refuses_new_ones() {
    let world = World::holding();
    let key = world.key("alice");
    let mut broker = world.serve();
    let talk = || {
        Talk::new(broker.address())
            .with("authorization", &format!("Bearer {key}"))
            .with("countersign-session", "claim-99")
    };
    let mut stream = talk();
    stream.write("GET", "/sse", &[EVENTS], "");
    assert_eq!(stream.head().unwrap().0, 200);
    let mut paying = talk();
    let id = opened(&mut paying, "/mcp");
    let mut paying = paying.with("mcp-session-id", &id);
    let headers = [("content-type", "application/json")];
    paying.write("POST", "/mcp", &headers, &call(2, APPROVE, &payment(9_000)));
    world.wait_until_paid(1);
    broker.terminate();
    // The stream ends at once, the payment when it is done.
    while stream.chunk().is_some() {}
    std::fs::remove_file(world.path("hold")).unwrap();
    let paid = paying.read();
    assert!(said(&paid).starts_with("Paid $9000.00"), "{paid:?}");
    assert!(broker.ended_well());
    assert_eq!(
        world.calls("claim-99")[0].outcome.unwrap().to_string(),
        "completed"
    );
    assert!(world.journal_problems().is_empty());
}

#[test]
fn the_end_of_a_connection_takes_back_what_reads_in_the_modern_era_only() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/waiting.sh");
    let servers = format!(
        "[servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\nenv = {{ NOTE = \"note\" }}\n\
         [servers.own.tools.wait]\naccess = \"read\"\n"
    );
    let policy = "@id(\"all\")\npermit (principal, action, resource);";
    let desk = Desk::on(World::of(&servers, policy));
    desk.world.write("note", "");
    let session = opened(&mut desk.talk(), "/s/claim-99/mcp");
    let older = || desk.talk().with("mcp-session-id", &session);
    let mut talk = older();
    let json = ("content-type", "application/json");
    talk.write("POST", "/mcp", &[json], &call(2, "own__wait", &json!({})));
    desk.world.wait_for_lines("note", 1);
    drop(talk);

    let mut talk = desk.talk().with("countersign-session", "claim-99");
    let headers = [
        json,
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "own__wait"),
    ];
    let wait = modern_params(json!({"name": "own__wait", "arguments": {}}));
    talk.write("POST", "/mcp", &headers, &request(7, "tools/call", &wait));
    desk.world.wait_for_lines("note", 2);
    drop(talk);
    desk.world.wait_for_lines("note", 3);
    desk.world.wait_until_closed();
    assert_eq!(desk.world.read("note"), "called\ncalled\ncancelled\n");
    let calls = desk.world.calls("claim-99");
    let ended = calls.iter().map(|call| call.outcome.unwrap().as_str());
    assert_eq!(ended.collect::<Vec<_>>(), ["completed", "cancelled"]);
}
