//! Pages of the web that a server has a person open, and its word that one was dealt
//! with.

use crate::http::Desk;
use crate::http::request;
use crate::http::talk::Talk;
use crate::world::World;
use serde_json::Value;
use serde_json::json;

const POLICY: &str = r#"
@id("all")
permit (principal, action in Broker::Action::"server:own", resource);
@id("sessions")
permit (principal, action == Broker::Action::"session/open", resource);
"#;

const COMPLETE: &str = "notifications/elicitation/complete";

fn world() -> World {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/paging.sh");
    let servers = format!("[servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\n");
    World::of(&servers, POLICY)
}

fn opening() -> Value {
    json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {"url": {}}},
        "clientInfo": {"name": "test", "version": "1"},
    })
}

/// One client, with the stream by which it hears what it did not ask for.
struct Client {
    talk: Talk,
    stream: Talk,
}

impl Client {
    fn of(connect: impl Fn() -> Talk) -> Self {
        let opened = connect().post("/mcp", &request(1, "initialize", &opening()));
        let id = opened.header("mcp-session-id").unwrap().to_owned();
        let talk = || connect().with("mcp-session-id", &id);
        let mut stream = talk();
        let events = [("accept", "text/event-stream")];
        stream.write("GET", "/mcp", &events, "");
        assert_eq!(stream.head().unwrap().0, 200);
        Self {
            talk: talk(),
            stream,
        }
    }

    fn call(&mut self, tool: &str, page: &str) -> Value {
        let params = json!({"name": format!("own__{tool}"), "arguments": {"page": page}});
        self.talk
            .post("/mcp", &request(2, "tools/call", &params))
            .json()
    }

    /// Of which page it hears next.
    fn hears(&mut self) -> Value {
        loop {
            let chunk = self.stream.chunk().expect("the stream ended");
            let data = chunk.lines().find_map(|line| line.strip_prefix("data: "));
            let message: Option<Value> = data.and_then(|data| serde_json::from_str(data).ok());
            if let Some(mut message) = message.filter(|message| message["method"] == COMPLETE) {
                assert_eq!(message["params"]["x-own"], json!(1e2));
                return message["params"]["elicitationId"].take();
            }
        }
    }
}

#[test]
fn who_was_asked_to_open_a_page_hears_that_it_was_dealt_with_and_nobody_else() {
    let desk = Desk::on(world());
    let shared = || desk.talk().with("countersign-session", "claim-99");
    let (mut one, mut other) = (Client::of(shared), Client::of(shared));
    let key = format!("Bearer {}", desk.world.key("sam"));
    let mut sam = Client::of(|| Talk::new(desk.address()).with("authorization", &key));
    let asked = one.call("later", "first");
    let page = &asked["error"]["data"]["elicitations"][0];
    assert_eq!(page["elicitationId"], "first", "{asked}");
    // Sam's process has nothing to do with it, and if it says the same name it says it
    // of what sam was asked.
    sam.call("finish", "first");
    sam.call("later", "first");
    sam.call("finish", "unknown");
    sam.call("finish", "first");
    assert_eq!(sam.hears(), "first");
    // Whoever causes it, in the same session too: it is told to who was asked, once.
    other.call("finish", "first");
    other.call("finish", "first");
    assert_eq!(one.hears(), "first");
    for (client, page) in [
        (&mut other, "second"),
        (&mut one, "third"),
        (&mut sam, "last"),
    ] {
        client.call("later", page);
        client.call("finish", page);
        assert_eq!(client.hears(), page);
    }
    desk.world.wait_until_all_closed();
    assert_eq!(desk.world.journal_problems(), []);
}

#[test]
fn a_page_that_is_dealt_with_while_its_question_is_open_is_told_of_too() {
    let world = world();
    let mut broker = world.broker();
    broker.ask("initialize", opening());
    broker.tell("notifications/initialized", json!({}));
    let params = json!({"name": "own__open", "arguments": {"page": "one"}});
    let call = broker.request("tools/call", params);
    let asked = broker.wait_for(|message| message["method"] == "elicitation/create");
    let asked = asked.unwrap();
    assert_eq!(asked["params"]["elicitationId"], "one");
    let told = broker.wait_for(|message| message["method"] == COMPLETE);
    let expected = json!({"elicitationId": "one", "x-own": 1e2});
    assert_eq!(told.unwrap()["params"], expected);
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}});
    broker.send_line(&reply.to_string());
    let answered = broker.answer_to(call).unwrap();
    assert_eq!(answered["result"]["heard"]["result"], reply["result"]);
    assert!(broker.end());
    assert_eq!(world.journal_problems(), []);
}

/// There is no such message in its revision, and no ids of pages.
#[test]
fn a_client_of_the_newer_revision_hears_of_no_page() {
    let world = world();
    let mut broker = world.broker();
    let call = |tool: &str| {
        json!({
            "name": format!("own__{tool}"),
            "arguments": {"page": "one"},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}},
            },
        })
    };
    let asked = broker.ask("tools/call", call("later"));
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let done = broker.request("tools/call", call("finish"));
    let first = broker.wait_for(|_any| true).unwrap();
    assert_eq!(first["id"], done, "{first}");
    assert!(broker.end());
}
