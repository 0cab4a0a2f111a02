//! The same over HTTP, in both eras.

use super::FORM;
use super::going_on;
use super::is_denied;
use super::modern;
use super::pay;
use super::states;
use super::world;
use super::yes;
use crate::http::Desk;
use crate::http::request;
use crate::http::talk::Talk;
use crate::world::APPROVE;
use crate::world::text_of;
use serde_json::Value;
use serde_json::json;

/// A connection in `claim-99`.
fn talk(desk: &Desk) -> Talk {
    desk.talk().with("countersign-session", "claim-99")
}

/// Opens a transport session of a client that can be asked, and returns its id.
fn opened(desk: &Desk, capabilities: &str) -> String {
    let capabilities: Value = serde_json::from_str(capabilities).unwrap();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities,
        "clientInfo": {"name": "t", "version": "1"}});
    let answer = talk(desk).post("/mcp", &request(1, "initialize", &params));
    answer.header("mcp-session-id").unwrap().to_owned()
}

/// The next message of a stream.
fn message(stream: &mut Talk) -> Value {
    loop {
        let text = stream.chunk().expect("the stream ended");
        let data = text.lines().find_map(|line| line.strip_prefix("data: "));
        if let Some(data) = data.filter(|data| !data.is_empty()) {
            return serde_json::from_str(data).unwrap();
        }
    }
}

/// Calls, answers the question on a connection of its own, and returns the answer.
fn asked(desk: &Desk, id: &str, (call, said): (u64, &Value)) -> Value {
    let mut stream = talk(desk).with("mcp-session-id", id);
    let headers = [("content-type", "application/json")];
    let body = request(call, "tools/call", &pay(2_000));
    stream.write("POST", "/mcp", &headers, &body);
    assert_eq!(stream.head().unwrap().0, 200);
    let question = message(&mut stream);
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let reply = json!({"jsonrpc": "2.0", "id": question["id"], "result": said});
    let mut beside = talk(desk).with("mcp-session-id", id);
    assert_eq!(beside.post("/mcp", &reply.to_string()).status, 202);
    message(&mut stream)
}

#[test]
fn a_legacy_client_is_asked_on_the_stream_of_its_call() {
    let desk = Desk::on(world());
    let id = opened(&desk, FORM);
    let no = json!({"action": "decline"});
    is_denied(&asked(&desk, &id, (2, &no)), "declined");
    let paid = asked(&desk, &id, (3, &yes()));
    assert!(text_of(&paid).starts_with("Paid $2000.00"), "{paid}");
    let mute = opened(&desk, "{}");
    let mut beside = talk(&desk).with("mcp-session-id", &mute);
    let denied = beside.post("/mcp", &request(4, "tools/call", &pay(2_000)));
    is_denied(&denied.json(), "not-asked-by-client");
    assert_eq!(desk.world.paid(), [200_000]);
    assert!(desk.world.journal_problems().is_empty());
}

/// A call of a modern client.
fn calls(talk: &mut Talk, params: &Value) -> Value {
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", APPROVE),
    ];
    let body = request(7, "tools/call", params);
    talk.post_with("/mcp", &headers, &body).json()
}

#[test]
fn a_modern_client_is_asked_by_its_answer_and_another_principal_cannot_say_yes() {
    let desk = Desk::on(world());
    let mut alice = talk(&desk);
    let no = json!({"action": "accept", "content": {"confirm": false}});
    let asked = calls(&mut alice, &modern(2_000));
    let denied = calls(&mut alice, &going_on(modern(2_000), &asked, &no));
    is_denied(&denied, "answered-no");

    let asked = calls(&mut alice, &modern(2_000));
    let good = going_on(modern(2_000), &asked, &yes());
    let sams = format!("Bearer {}", desk.world.key("sam"));
    let mut sam = Talk::new(desk.address()).with("authorization", &sams);
    let mut his = good.clone();
    his["_meta"]["dev.countersign/session"] = json!("claim-98");
    assert_eq!(calls(&mut sam, &his)["error"]["code"], -32602);
    // Nor does another broker's restart lose the question.
    let desk = desk.restarted();
    let mut alice = talk(&desk);
    let paid = calls(&mut alice, &good);
    assert!(text_of(&paid).starts_with("Paid $2000.00"), "{paid}");
    is_denied(&calls(&mut alice, &good), "over");
    assert_eq!(desk.world.paid(), [200_000]);
    assert_eq!(
        states(&desk.world),
        ["asked", "answered-no", "asked", "confirmed", "over"]
    );
    assert!(desk.world.journal_problems().is_empty());
}
