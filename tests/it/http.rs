//! MCP over HTTP as clients meet it: a process of its own, spoken to in plain
//! requests.

mod framing;
mod hearing;
mod hostile;
mod identity;
mod limits;
mod resuming;
mod streams;
mod subscriptions;
pub(crate) mod talk;

use crate::serving::Serving;
use crate::world::APPROVE;
use crate::world::GET;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use serde_json::Value;
use serde_json::json;
use talk::Answer;
use talk::Talk;

/// A world in which holders of keys may call over HTTP.
pub(crate) struct Desk {
    pub(crate) world: World,
    broker: Serving,
    key: String,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::configured("")
    }

    /// With more in `[http]`.
    fn configured(http: &str) -> Self {
        let world = World::new();
        world.append("countersign.toml", &format!("\n[http]\n{http}\n"));
        Self::on(world)
    }

    pub(crate) fn on(world: World) -> Self {
        let key = world.key("alice");
        let broker = world.serve();
        Self { world, broker, key }
    }

    /// Where it is reached.
    pub(crate) fn address(&self) -> &str {
        self.broker.address()
    }

    /// A connection of alice's.
    pub(crate) fn talk(&self) -> Talk {
        Talk::new(self.broker.address()).with("authorization", &format!("Bearer {}", self.key))
    }

    pub(crate) fn restarted(self) -> Self {
        Self {
            broker: self.world.restarted(self.broker),
            ..self
        }
    }
}

pub(crate) fn request(id: u64, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

pub(crate) fn initialize(revision: &str) -> String {
    let client = json!({"name": "t", "version": "1"});
    let params = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": client});
    request(1, "initialize", &params)
}

fn call(id: u64, tool: &str, arguments: &Value) -> String {
    request(
        id,
        "tools/call",
        &json!({"name": tool, "arguments": arguments}),
    )
}

pub(crate) fn modern_params(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

/// A modern request with the headers that go with it.
fn modern(talk: &mut Talk, method: &str, params: Value) -> Answer {
    let name = params["name"].as_str().map(str::to_owned);
    let mut headers = vec![
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
    ];
    if let Some(name) = &name {
        headers.push(("mcp-name", name));
    }
    let body = request(7, method, &modern_params(params));
    talk.post_with("/mcp", &headers, &body)
}

/// Opens a transport session and returns its id.
fn opened(talk: &mut Talk, path: &str) -> String {
    let answer = talk.post(path, &initialize("2025-11-25"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["result"]["protocolVersion"], "2025-11-25");
    answer.header("mcp-session-id").unwrap().to_owned()
}

fn said(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    text_of(&answer.json())
}

#[test]
fn a_transport_session_and_its_totals_go_on_after_the_broker_was_killed() {
    let desk = Desk::new();
    let id = opened(&mut desk.talk(), "/mcp");
    let pay = |desk: &Desk, dollars| {
        let mut talk = desk.talk().with("mcp-session-id", &id);
        said(&talk.post("/mcp", &call(2, APPROVE, &payment(dollars))))
    };
    assert!(pay(&desk, 9_000).starts_with("Paid $9000.00"));
    let desk = desk.restarted();
    assert!(pay(&desk, 9_001).starts_with("Paid $9001.00"));
    // The session is the same one: its limit is reached.
    assert!(pay(&desk, 9_002).starts_with("error: Session Limit Exceeded."));
    assert_eq!(desk.world.paid(), [900_000, 900_100]);
    assert!(desk.world.journal_problems().is_empty());
    // Ended, it is unknown.
    let mut talk = desk.talk().with("mcp-session-id", &id);
    assert_eq!(talk.send("DELETE", "/mcp", &[], "").status, 204);
    assert_eq!(
        talk.post("/mcp", &call(3, GET, &json!({"claim_id": "1"})))
            .status,
        404
    );
    assert_eq!(talk.send("DELETE", "/mcp", &[], "").status, 404);
}

#[test]
fn a_modern_request_stands_by_itself_and_its_headers_must_agree() {
    let desk = Desk::new();
    let mut talk = desk.talk();
    let discovered = modern(&mut talk, "server/discover", json!({}));
    assert_eq!(
        discovered.json()["result"]["supportedVersions"][0],
        "2026-07-28"
    );
    assert_eq!(discovered.header("mcp-session-id"), None);
    let pay = json!({"name": APPROVE, "arguments": payment(9_000)});
    let paid = modern(&mut talk, "tools/call", pay.clone());
    assert!(said(&paid).starts_with("Paid"), "{paid:?}");
    assert_eq!(paid.header("content-type"), Some("application/json"));

    let body = request(7, "tools/call", &modern_params(pay));
    let right = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", APPROVE),
    ];
    for (place, wrong) in [
        (0, Some("2025-11-25")),
        (1, Some("tools/list")),
        (1, None),
        (2, Some(GET)),
        (2, Some("=?base64?AAAA?=")),
        (2, None),
    ] {
        let mut headers = right.to_vec();
        match wrong {
            Some(wrong) => headers[place].1 = wrong,
            None => drop(headers.remove(place)),
        }
        let refused = talk.post_with("/mcp", &headers, &body);
        assert_eq!(refused.status, 400, "{headers:?}");
        assert_eq!(refused.json()["error"]["code"], -32020, "{refused:?}");
        assert_eq!(refused.json()["id"], 7);
    }
    let mut twice = right.to_vec();
    twice.push(("mcp-name", APPROVE));
    assert_eq!(talk.post_with("/mcp", &twice, &body).status, 400);
    assert_eq!(desk.world.paid(), [900_000]);

    let unknown = modern(&mut talk, "no/such", json!({}));
    assert_eq!(
        (unknown.status, unknown.json()["error"]["code"].clone()),
        (404, json!(-32601))
    );
    // The header alone makes neither an older request nor a newer one.
    let version = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "initialize"),
    ];
    let neither = talk.post_with("/mcp", &version, &initialize("2025-11-25"));
    assert_eq!(
        (neither.status, neither.json()["error"]["code"].clone()),
        (400, json!(-32602))
    );
    for verb in ["GET", "DELETE"] {
        let version = [("mcp-protocol-version", "2026-07-28")];
        assert_eq!(talk.send(verb, "/mcp", &version, "").status, 405);
    }
}

#[test]
fn a_session_is_named_by_path_or_header_or_meta_and_only_by_one_name() {
    let desk = Desk::new();
    let in_path = opened(&mut desk.talk(), "/s/claim-99/mcp");
    let mut talk = desk.talk().with("mcp-session-id", &in_path);
    assert!(said(&talk.post("/mcp", &call(2, APPROVE, &payment(100)))).starts_with("Paid"));
    let mut talk = desk.talk();
    let pay = json!({"name": APPROVE, "arguments": payment(200)});
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", APPROVE),
        ("countersign-session", "claim-99"),
    ];
    let body = request(7, "tools/call", &modern_params(pay.clone()));
    assert!(said(&talk.post_with("/mcp", &headers, &body)).starts_with("Paid"));
    assert_eq!(desk.world.calls("claim-99").len(), 2);

    // Two names for one request.
    let other = talk.post_with("/s/claim-98/mcp", &headers, &body);
    assert_eq!(other.status, 400, "{other:?}");
    let mut params = modern_params(pay);
    params["_meta"]["dev.countersign/session"] = json!("claim-98");
    let other = talk.post_with("/mcp", &headers, &request(7, "tools/call", &params));
    assert_eq!(other.status, 400, "{other:?}");
    assert_eq!(desk.world.paid(), [10_000, 20_000]);
}

#[test]
fn batches_are_for_the_one_revision_that_has_them() {
    let desk = Desk::new();
    let batch = format!(
        "[{},{},{}]",
        call(2, APPROVE, &payment(10)),
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        request(3, "ping", &json!({})),
    );
    let answer = desk.talk().post("/mcp", &initialize("2025-03-26"));
    assert_eq!(answer.json()["result"]["protocolVersion"], "2025-03-26");
    let id = answer.header("mcp-session-id").unwrap().to_owned();
    let mut talk = desk.talk().with("mcp-session-id", &id);
    let answers = talk.post("/mcp", &batch).events();
    let mut ids: Vec<_> = answers.iter().map(|answer| answer["id"].as_u64()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [Some(2), Some(3)]);
    assert_eq!(desk.world.paid(), [1_000]);

    let newer = opened(&mut desk.talk(), "/mcp");
    let mut talk = desk.talk().with("mcp-session-id", &newer);
    assert_eq!(talk.post("/mcp", &batch).status, 400);
    assert_eq!(desk.world.paid(), [1_000]);
}

#[test]
fn what_is_no_message_gets_a_clear_answer_and_does_nothing() {
    let desk = Desk::new();
    let mut talk = desk.talk();
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("\u{0}", 400),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, 400),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, 400),
    ] {
        let answer = talk.post("/mcp", body);
        assert_eq!(answer.status, status, "{body:?}: {answer:?}");
        assert!(answer.json()["error"]["message"].is_string());
    }
    assert_eq!(talk.send("GET", "/nothing", &[], "").status, 404);
}

#[test]
fn whether_it_is_there_needs_no_key_and_says_little() {
    let desk = Desk::new();
    let mut talk = Talk::new(desk.broker.address());
    assert_eq!(talk.send("GET", "/livez", &[], "").status, 200);
    let health = talk.send("GET", "/health", &[], "").json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
}
