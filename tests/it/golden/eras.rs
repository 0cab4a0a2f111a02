//! The matrix of eras: clients and servers of both, over stdio and HTTP, with names as
//! they are and prefixed. In each cell one client does the same, and the same is decided
//! and recorded; all that Countersign says is of the form of the revision it is said in.

use super::Era;
use super::Over;
use super::PATIENCE;
use super::Pairing;
use super::client::Client;
use super::schema::Schema;
use super::server::Server;
use super::table::Table;
use crate::world::World;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/eras");

const POLICY: &str = r#"
@id("all")
permit (principal, action in Broker::Action::"server:own", resource);
@id("sessions")
permit (principal, action == Broker::Action::"session/open", resource);
@id("too.much")
@message("Too much.")
forbid (principal, action == Broker::Action::"own/pay", resource)
when { context.input has amount && context.input.amount > 10 };
"#;

/// How long one end is listened to before the other one is.
const GLANCE: Duration = Duration::from_millis(5);

/// What is in the journal of each cell: what was decided, and what became of it.
const TRAIL: [&str; 7] = [
    "own/work completed",
    "own/slow cancelled",
    "own/ask completed",
    "own/resources/read completed",
    "own/resources/subscribe completed",
    "own/pay completed",
    "own/pay denied",
];

/// One broker between a client and a server.
struct Cell {
    pairing: Pairing,
    prefix: &'static str,
    world: World,
    client: Client,
    server: Server,
    ids: u64,
    /// By which method the client asked, by id.
    asked: BTreeMap<u64, String>,
    aside: Vec<Value>,
    /// Requests at the server that wait for something: a question, a subscription, or
    /// for good.
    waits: BTreeMap<&'static str, Value>,
}

impl Cell {
    fn set(table: &Table, pairing: Pairing, prefixed: bool) -> Self {
        let server = Server::start(table, pairing);
        let section = server.section();
        let reads = "[servers.own.tools.slow]\naccess = \"read\"\n";
        let names = match prefixed {
            true => "",
            false => "[names]\nprefix = false\n",
        };
        let world = World::of(&format!("{names}{section}{reads}"), POLICY);
        std::fs::remove_file(world.path("policies/global.cedar")).unwrap();
        let client = Client::start(&world, table, pairing);
        Self {
            pairing,
            prefix: if prefixed { "own__" } else { "" },
            world,
            client,
            server,
            ids: 0,
            asked: BTreeMap::new(),
            aside: Vec::new(),
            waits: BTreeMap::new(),
        }
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The client asks something, in the words of its revision.
    fn asks(&mut self, method: &str, mut params: Value) -> u64 {
        self.ids += 1;
        let id = self.ids;
        let mut meta = json!({"dev.countersign/session": "claim-99"});
        if method == "tools/call" {
            meta["progressToken"] = json!(format!("p{id}"));
        }
        if self.pairing.client.0 == Era::New {
            meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {}});
        }
        params["_meta"] = meta;
        self.asked.insert(id, method.to_owned());
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.client.say(&request.to_string());
        id
    }

    /// The result of what the client asks. Whatever it is asked itself it answers.
    fn result(&mut self, method: &str, params: Value) -> Value {
        let id = self.asks(method, params);
        let mut answer =
            self.heard(|message| message["id"] == id && message.get("method").is_none());
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let name = self.named(tool);
        let params = json!({"name": name, "arguments": arguments});
        let result = self.result("tools/call", params.clone());
        if result["resultType"] != "input_required" {
            return result;
        }
        let mut next = params;
        let asked = result["inputRequests"].as_object().unwrap();
        assert!(
            asked
                .values()
                .all(|one| one["method"] == "elicitation/create")
        );
        let answers = asked.keys().map(|key| (key.clone(), said()));
        next["inputResponses"] = Value::Object(answers.collect());
        next["requestState"] = result["requestState"].clone();
        self.result("tools/call", next)
    }

    /// What the client hears that fits; meanwhile the server does its part.
    fn heard(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.aside.iter().position(&fits) {
            return self.aside.remove(place);
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.serve();
            let Some(heard) = self.client.hear(GLANCE) else {
                continue;
            };
            let heard: Value = serde_json::from_str(&heard).unwrap();
            if heard["method"] == "elicitation/create" {
                let reply = json!({"jsonrpc": "2.0", "id": heard["id"], "result": said()});
                self.client.say(&reply.to_string());
                continue;
            }
            if fits(&heard) {
                return heard;
            }
            self.aside.push(heard);
        }
        panic!("{:?}: nothing is heard; {:?}", self.pairing, self.aside);
    }

    /// The server answers what it hears.
    fn serve(&mut self) {
        while let Some(heard) = self.server.hear(GLANCE) {
            let heard: Value = serde_json::from_str(&heard).unwrap();
            let params = &heard["params"];
            match (heard["method"].as_str(), params["name"].as_str()) {
                (Some("tools/call"), Some("slow")) => {
                    self.waits.insert("slow", heard["id"].clone());
                }
                (Some("tools/call"), Some("ask")) => self.wants_to_know(&heard),
                (Some("tools/call"), _) => {
                    let token = &params["_meta"]["progressToken"];
                    for progress in [1, 2].iter().filter(|_| !token.is_null()) {
                        let said =
                            json!({"progressToken": token, "progress": progress, "total": 2});
                        self.says("notifications/progress", said);
                    }
                    self.answers(
                        &heard["id"],
                        json!({"content": [{"type": "text", "text": "done"}]}),
                    );
                }
                (Some("resources/read"), _) => {
                    let contents = json!([{"uri": params["uri"], "text": "1"}]);
                    self.answers(&heard["id"], json!({"contents": contents}));
                }
                (Some("subscriptions/listen"), _) => {
                    let id = heard["id"].clone();
                    let tag = json!({"io.modelcontextprotocol/subscriptionId": id});
                    let said = json!({"_meta": tag, "notifications": params["notifications"]});
                    self.says("notifications/subscriptions/acknowledged", said);
                    self.waits.insert("listen", id);
                }
                (Some(_), _) if heard.get("id").is_some() => self.answers(&heard["id"], json!({})),
                (Some(_), _) => {}
                // What it wanted to know.
                (None, _) => {
                    let waits = self.waits.remove("ask").expect("nothing was asked");
                    assert_eq!(heard["result"], said(), "{heard}");
                    self.answers(
                        &waits,
                        json!({"content": [{"type": "text", "text": "Ann"}]}),
                    );
                }
            }
        }
    }

    /// The server asks the client something in the middle of a call.
    fn wants_to_know(&mut self, call: &Value) {
        let question = json!({
            "message": "Who?",
            "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}},
        });
        let id = &call["id"];
        match self.pairing.server.0 {
            Era::Old => {
                self.waits.insert("ask", id.clone());
                let asks = json!({"jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": question});
                self.server.say(&asks.to_string());
            }
            Era::New if call["params"].get("inputResponses").is_some() => {
                assert_eq!(call["params"]["inputResponses"], json!({"who": said()}));
                assert_eq!(call["params"]["requestState"], "own");
                self.answers(id, json!({"content": [{"type": "text", "text": "Ann"}]}));
            }
            Era::New => {
                let who = json!({"who": {"method": "elicitation/create", "params": question}});
                let asks = json!({"resultType": "input_required", "inputRequests": who, "requestState": "own"});
                self.server
                    .say(&json!({"jsonrpc": "2.0", "id": id, "result": asks}).to_string());
            }
        }
    }

    fn answers(&mut self, id: &Value, mut result: Value) {
        if self.pairing.server.0 == Era::New {
            result["resultType"] = json!("complete");
            if result.get("contents").is_some() {
                result["ttlMs"] = json!(1000);
                result["cacheScope"] = json!("public");
            }
        }
        self.server
            .say(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
    }

    fn says(&mut self, method: &str, params: Value) {
        self.server
            .say(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
    }

    /// The lists have what there is, by the names of this cell.
    fn lists(&mut self) {
        for (method, key, expected) in [
            ("tools/list", "tools", vec!["ask", "pay", "slow", "work"]),
            ("prompts/list", "prompts", vec!["greet"]),
        ] {
            let listed = self.result(method, json!({}));
            let entries = listed[key].as_array().unwrap().iter();
            let mut names: Vec<_> = entries.map(|one| one["name"].as_str().unwrap()).collect();
            names.sort_unstable();
            let expected: Vec<_> = expected.iter().map(|name| self.named(name)).collect();
            assert_eq!(names, expected, "{:?}", self.pairing);
        }
        let listed = self.result("resources/list", json!({}));
        assert_eq!(listed["resources"][0]["uri"], "note://one");
        let listed = self.result("resources/templates/list", json!({}));
        assert_eq!(listed["resourceTemplates"][0]["uriTemplate"], "note://{id}");
    }

    /// A call with progress, and one that is taken back.
    fn calls(&mut self) {
        let done = self.call("work", json!({}));
        assert_eq!(done["content"][0]["text"], "done");
        let token = json!(format!("p{}", self.ids));
        for progress in [1, 2] {
            let told = self.heard(|one| one["method"] == "notifications/progress");
            assert_eq!(told["params"]["progressToken"], token);
            assert_eq!(told["params"]["progress"], progress);
        }
        let slow = json!({"name": self.named("slow"), "arguments": {}});
        let id = self.asks("tools/call", slow);
        let begun = Instant::now();
        while !self.waits.contains_key("slow") {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.pairing);
            self.serve();
        }
        self.client.take_back(id);
        self.until_recorded("own/slow");
        // Its answer comes too late, and reaches nobody.
        let late = self.waits.remove("slow").unwrap();
        self.answers(&late, json!({"content": []}));
    }

    fn until_recorded(&mut self, tool: &str) {
        let begun = Instant::now();
        let ended = |cell: &Self| {
            let calls = cell.world.calls("claim-99");
            let of_tool = calls.iter().filter(|call| call.tool == tool);
            of_tool.clone().count() > 0 && of_tool.clone().all(|call| call.outcome.is_some())
        };
        while !ended(self) {
            assert!(begun.elapsed() < PATIENCE, "{:?} {tool}", self.pairing);
            self.serve();
        }
    }

    /// A resource is read and followed, and its server says that it changed.
    fn resource(&mut self) {
        let read = self.result("resources/read", json!({"uri": "note://one"}));
        assert_eq!(read["contents"][0]["text"], "1");
        match self.pairing.client.0 {
            Era::Old => {
                self.result("resources/subscribe", json!({"uri": "note://one"}));
            }
            Era::New => {
                let wanted = json!({"notifications": {"resourceSubscriptions": ["note://one"]}});
                self.asks("subscriptions/listen", wanted);
                let first = "notifications/subscriptions/acknowledged";
                let first = self.heard(|one| one["method"] == first);
                let honoured = &first["params"]["notifications"]["resourceSubscriptions"];
                assert_eq!(honoured, &json!(["note://one"]));
            }
        }
        let mut changed = json!({"uri": "note://one"});
        if let Some(listen) = self.waits.get("listen") {
            changed["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": listen});
        }
        self.says("notifications/resources/updated", changed);
        let told = self.heard(|one| one["method"] == "notifications/resources/updated");
        assert_eq!(told["params"]["uri"], "note://one");
    }

    /// What was decided and what became of it, without the rounds in which a server asks.
    fn trail(&self) -> Vec<String> {
        let calls = self.world.calls("claim-99");
        let ends = calls.iter().map(|call| {
            let outcome = call.outcome.map_or("open", |outcome| outcome.as_str());
            format!("{} {outcome}", call.tool)
        });
        ends.filter(|end| !end.ends_with("input-required"))
            .collect()
    }

    /// All that was said in this cell, each in the form of its revision.
    fn said_in_form(&self, schemas: &[(Era, Schema); 2]) {
        let of = |era| &schemas.iter().find(|(known, _)| *known == era).unwrap().1;
        let (client, server) = (of(self.pairing.client.0), of(self.pairing.server.0));
        let opened = match self.pairing.client.0 {
            Era::Old => "initialize",
            Era::New => "server/discover",
        };
        assert!(self.client.all.len() > 12 && self.server.all().len() > 10);
        for line in &self.client.all {
            let message: Value = serde_json::from_str(line).unwrap();
            let asked = message["id"].as_u64().and_then(|id| match id {
                0 => Some(opened),
                id => self.asked.get(&id).map(String::as_str),
            });
            let fits = client.check(&message, asked);
            assert_eq!(fits, Ok(()), "{:?}: the client hears {line}", self.pairing);
        }
        for line in self.server.all() {
            let message: Value = serde_json::from_str(&line).unwrap();
            // What only the other era has is asked to find out which it is.
            let fits = match message["method"].as_str() {
                Some("server/discover") => of(Era::New).check(&message, None),
                _ => server.check(&message, Some("elicitation/create")),
            };
            assert_eq!(fits, Ok(()), "{:?}: the server hears {line}", self.pairing);
        }
    }
}

/// What the client says when it is asked.
fn said() -> Value {
    json!({"action": "accept", "content": {"name": "Ann"}})
}

/// Plays the same in each cell.
fn each_cell(looks: impl Fn(&Cell)) {
    let tables = Table::all(Path::new(FOLDER));
    let [table] = &*tables else {
        panic!("one table");
    };
    let eras = [Era::Old, Era::New];
    let mut played = 0;
    for (client, server) in eras.iter().flat_map(|one| eras.map(|other| (*one, other))) {
        for over in [Over::Stdio, Over::Http] {
            for prefixed in [true, false] {
                let pairing = Pairing {
                    client: (client, over),
                    server: (server, over),
                };
                let mut cell = Cell::set(table, pairing, prefixed);
                cell.lists();
                cell.calls();
                let known = cell.call("ask", json!({}));
                assert_eq!(known["content"][0]["text"], "Ann", "{pairing:?}");
                cell.resource();
                let paid = cell.call("pay", json!({"amount": 10}));
                assert_eq!(paid["content"][0]["text"], "done", "{pairing:?}");
                let denied = cell.call("pay", json!({"amount": 11}));
                let told = denied["content"][0]["text"].as_str().unwrap();
                assert!(told.starts_with("Too much."), "{pairing:?} {told}");
                cell.until_recorded("own/pay");
                assert_eq!(cell.trail(), TRAIL, "{pairing:?} {prefixed}");
                looks(&cell);
                played += 1;
            }
        }
    }
    assert_eq!(played, 16);
}

#[test]
fn between_all_eras_ways_and_names_the_same_is_decided_and_done() {
    each_cell(|_cell| ());
}

#[test]
#[ignore = "needs the JSON schemas of the revisions, in ../shared/mcp-schema"]
fn all_that_is_said_has_the_form_of_the_revision_that_it_is_said_in() {
    let schemas = [Era::Old, Era::New].map(|era| (era, Schema::of(era)));
    each_cell(|cell| cell.said_in_form(&schemas));
}
