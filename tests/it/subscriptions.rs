//! Resources that clients follow, in both eras of clients and of servers.

use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::World;
use serde_json::Value;
use serde_json::json;
use std::time::Instant;

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/following.sh");

const POLICY: &str = r#"
@id("all")
permit (principal, action in Broker::Action::"server:own", resource);
@id("no.secret")
@message("Not this note.")
forbid (principal, action == Broker::Action::"own/resources/subscribe", resource)
when { context.input["uri#scheme"] == "note" && context.input.uri like "*secret*" };
@id("only.alice")
forbid (principal, action == Broker::Action::"own/resources/subscribe", resource)
when { context.input.uri like "note://alice*" && principal != Broker::User::"alice" };
"#;

pub(crate) const TAG: &str = "io.modelcontextprotocol/subscriptionId";

/// One server of this era.
pub(crate) fn following(era: &str) -> World {
    let world = World::of(
        &format!("[servers.own]\ncommand = \"sh\"\nargs = [{SERVER:?}]\n"),
        POLICY,
    );
    let env = format!("env = {{ ERA = \"{era}\", HEARD = \"heard\" }}\n");
    world.append("countersign.toml", &env);
    world.write("heard", "");
    world
}

/// Waits until the server has heard exactly this.
pub(crate) fn wait_until_heard(world: &World, lines: &[&str]) {
    let begun = Instant::now();
    loop {
        let heard = world.read("heard");
        if heard.lines().eq(lines.iter().copied()) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{lines:?}: {heard}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

/// How a client of one era follows resources, over stdio.
struct Client {
    wire: Wire,
    modern: bool,
    listens: u64,
}

impl Client {
    fn of(world: &World, era: &str) -> Self {
        let modern = era == "modern";
        let wire = world.broker();
        let wire = if modern { wire } else { wire.initialized() };
        Self {
            wire,
            modern,
            listens: 0,
        }
    }

    /// Follows these, and returns those that it may.
    fn follow(&mut self, uris: &[&str]) -> Vec<String> {
        if self.modern {
            let wanted = json!({"notifications": {"resourceSubscriptions": uris}});
            self.listens = self.wire.request("subscriptions/listen", modern(wanted));
            let listens = self.listens;
            let belongs = |message: &Value| message["params"]["_meta"][TAG] == listens;
            let first = self.wire.wait_for(belongs);
            let first = first.unwrap();
            assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
            let honoured = first["params"]["notifications"]["resourceSubscriptions"].as_array();
            let honoured = honoured.into_iter().flatten();
            return honoured
                .map(|uri| uri.as_str().unwrap().to_owned())
                .collect();
        }
        let mut followed = Vec::new();
        for uri in uris {
            let answer = self.wire.ask("resources/subscribe", json!({"uri": uri}));
            match answer.get("error") {
                None => followed.push((*uri).to_owned()),
                Some(error) => assert!(
                    [json!(403), json!(-32602)].contains(&error["code"]),
                    "{error}"
                ),
            }
        }
        followed
    }

    fn leave(&mut self, uri: &str) {
        if self.modern {
            let params = json!({"requestId": self.listens});
            return self.wire.tell("notifications/cancelled", params);
        }
        let left = self.wire.ask("resources/unsubscribe", json!({"uri": uri}));
        assert_eq!(left["result"], json!({}));
    }

    fn call(&mut self, tool: &str, uri: &str) {
        let params = json!({"name": format!("own__{tool}"), "arguments": {"uri": uri}});
        let params = if self.modern { modern(params) } else { params };
        let called = self.wire.ask("tools/call", params);
        assert!(called["result"]["isError"] != true, "{called}");
    }

    /// The resource that the next word is of.
    fn hears(&mut self) -> Value {
        let updated = |message: &Value| message["method"] == "notifications/resources/updated";
        let params = self.wire.wait_for(updated).unwrap()["params"].take();
        let tag = params["_meta"].get(TAG);
        assert_eq!(tag, self.modern.then(|| json!(self.listens)).as_ref());
        params
    }
}

const ERAS: [(&str, &str); 4] = [
    ("legacy", "legacy"),
    ("legacy", "modern"),
    ("modern", "legacy"),
    ("modern", "modern"),
];

#[test]
fn a_client_of_each_era_follows_a_resource_of_each_era() {
    for (client_era, server_era) in ERAS {
        let world = following(server_era);
        let mut client = Client::of(&world, client_era);
        let asked = ["note://one", "note://secret", "note://refused"];
        assert_eq!(client.follow(&asked), ["note://one"]);
        client.call("change", "note://one");
        let heard = client.hears();
        assert_eq!(heard["uri"], "note://one", "{heard}");
        assert_eq!(heard["x-own"], 100.0);
        assert_eq!(heard["_meta"]["x-own"], 100.0);
        // A part of it is told too, unless policy keeps it from the client; what
        // is no part of it is not.
        client.call("change", "note://one/part");
        assert_eq!(client.hears()["uri"], "note://one/part");
        for other in [
            "note://oneself",
            "note://one/secret",
            "note://secret",
            "note://two",
        ] {
            client.call("change", other);
            client.call("shout", other);
        }
        client.call("change", "note://one");
        assert_eq!(client.hears()["uri"], "note://one");
        client.leave("note://one");
        wait_until_heard(&world, &["follow note://one", "forget note://one"]);
        client.call("shout", "note://one");
        assert!(client.wire.end());
        let ended: Vec<String> = world
            .calls("claim-99")
            .iter()
            .filter(|call| call.tool.contains("subscribe"))
            .map(|call| call.outcome.unwrap().to_string())
            .collect();
        let mut sorted = ended.clone();
        sorted.sort();
        assert_eq!(sorted, ["completed", "denied", "tool-failed"], "{ended:?}");
        assert_eq!(world.journal_problems(), []);
    }
}

#[test]
fn a_server_that_was_started_again_gets_its_subscriptions_again() {
    for (client_era, server_era) in ERAS {
        let world = following(server_era);
        let mut client = Client::of(&world, client_era);
        assert_eq!(client.follow(&["note://one"]), ["note://one"]);
        client.call("die", "");
        // Nobody heard what changed meanwhile, so that is told first.
        assert_eq!(client.hears()["uri"], "note://one");
        client.call("change", "note://one");
        assert_eq!(client.hears()["x-own"], 100.0);
        wait_until_heard(&world, &["follow note://one"; 2]);
        assert!(client.wire.end());
        let asked = world.calls("claim-99").into_iter();
        let asked = asked.filter(|call| call.tool == "own/resources/subscribe");
        // Each time something was sent there is a record of it.
        assert_eq!(asked.count(), 2);
    }
}

#[test]
fn following_is_offered_where_a_server_can_and_asked_in_words_of_ones_era() {
    let world = following("legacy");
    let mut wire = world.broker();
    let opened = wire.initialize();
    let offered = &opened["result"]["capabilities"]["resources"];
    assert_eq!(offered, &json!({"listChanged": true, "subscribe": true}));
    let unknown = wire.ask("resources/subscribe", modern(json!({"uri": "note://one"})));
    assert_eq!(unknown["error"]["code"], -32601);
    let wrong = wire.ask("resources/subscribe", json!({"uri": ""}));
    assert_eq!(wrong["error"]["code"], -32602);
    for wrong in [json!("note://one"), json!([1]), json!([""])] {
        let wanted = json!({"notifications": {"resourceSubscriptions": wrong}});
        let wrong = wire.ask("subscriptions/listen", modern(wanted));
        assert_eq!(wrong["error"]["code"], -32602);
    }
    // Nothing is wrong with taking back what was never asked.
    let left = wire.ask("resources/unsubscribe", json!({"uri": "note://one"}));
    assert_eq!(left["result"], json!({}));
    for list in [
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
    ] {
        let page = wire.ask(list, json!({"cursor": "x"}));
        assert_eq!(page["error"]["code"], -32602, "{page}");
    }
    assert!(wire.end());
    wait_until_heard(&world, &[]);
}

#[test]
fn a_subscription_ends_when_policy_or_the_session_no_longer_allows_it() {
    for freezes in [true, false] {
        let world = following("modern");
        let mut client = Client::of(&world, "modern");
        assert_eq!(client.follow(&["note://one"]), ["note://one"]);
        match freezes {
            true => assert!(world.run(&["session", "freeze", "claim-99"]).0),
            false => world.edit("policies/own.cedar", "*secret*", "*one*"),
        }
        // It is told that it ended, so that it can ask what it may follow now.
        let ended = client.wire.answer_to(client.listens).unwrap();
        assert_eq!(ended["result"]["_meta"][TAG], client.listens);
        wait_until_heard(&world, &["follow note://one", "forget note://one"]);
        assert_eq!(client.follow(&["note://one"]), [] as [&str; 0]);
        assert!(client.wire.end());
    }
}

/// A catalogue is made with each list of a server, and with each change of a policy.
#[test]
fn a_resource_that_several_servers_list_is_told_once_and_as_what_it_is() {
    let server = |name: &str| {
        format!(
            "[servers.{name}]\ncommand = \"sh\"\nargs = [{SERVER:?}]\nenv = {{ ERA = \"legacy\", HEARD = \"heard\" }}\n"
        )
    };
    let policy =
        "@id(\"all\")\npermit (principal, action in Broker::Action::\"tools/call\", resource);\n";
    let world = World::of(&[server("one"), server("two")].concat(), policy);
    world.write("heard", "");
    let broker = world.broker().initialized();
    let told = "the resource `note://one` is listed by several servers";
    world.wait_for_log(told);
    for round in 1..=2 {
        world.append("policies/own.cedar", "// changed\n");
        let begun = Instant::now();
        let taken = "the new policies and principals are in force";
        while world.read("broker.log").matches(taken).count() < round {
            assert!(begun.elapsed() < PATIENCE, "{round}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    let log = world.read("broker.log");
    assert_eq!(log.matches(told).count(), 1, "{log}");
    assert!(!log.contains("a tool is not offered"), "{log}");
    assert!(broker.end());
}
