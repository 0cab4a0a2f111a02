//! Tasks that clients of 2026-07-28 follow, of servers of both eras.

use super::TASKS;
use super::knowing;
use super::modern;
use crate::subscriptions::TAG;
use crate::subscriptions::wait_until_heard;
use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::World;
use serde_json::Value;
use serde_json::json;
use std::time::Instant;

const SERVER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/fixtures/servers/task-following.sh"
);

const POLICY: &str = r#"
@id("all")
permit (principal, action in [Broker::Action::"server:own", Broker::Action::"server:old"], resource);
@id("no.questions")
forbid (principal, action == Broker::Action::"own/tasks/get", resource)
when { context.input.taskId == "task-nobody" };
"#;

const TOLD: &str = "notifications/tasks";

/// A server of each era: `own` of the newer, `old` of the older.
fn world() -> World {
    let server = |name: &str, era: &str| {
        format!(
            "[servers.{name}]\ncommand = \"sh\"\nargs = [{SERVER:?}]\nenv = {{ ERA = \"{era}\", HEARD = \"heard\", GONE = \"gone\" }}\n"
        )
    };
    let servers = server("own", "modern") + &server("old", "legacy");
    let world = World::of(&servers, POLICY);
    world.write("heard", "");
    world
}

/// A broker that knows its servers, however long they took to start.
fn knows_servers(mut wire: Wire) -> Wire {
    let begun = Instant::now();
    loop {
        let listed = wire.ask("tools/list", knowing(json!({})));
        if listed["result"]["tools"].as_array().unwrap().len() == 6 {
            return wire;
        }
        assert!(begun.elapsed() < PATIENCE, "{listed}");
    }
}

fn begins(wire: &mut Wire) -> Value {
    let begun = wire.ask("tools/call", knowing(json!({"name": "own__work"})));
    assert!(begun["result"]["taskId"].is_string(), "{begun}");
    begun["result"]["taskId"].clone()
}

/// Follows these tasks, and returns the request that does and those that it may follow.
fn follow(wire: &mut Wire, ids: &[&Value]) -> (u64, Value) {
    let wanted = json!({"notifications": {"taskIds": ids}});
    let listens = wire.request("subscriptions/listen", knowing(wanted));
    let belongs = |message: &Value| message["params"]["_meta"][TAG] == listens;
    let first = wire.wait_for(belongs).unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    (listens, first["params"]["notifications"]["taskIds"].clone())
}

fn say(wire: &mut Wire, server: &str, status: &str) {
    let arguments = json!({"status": status});
    let call = json!({"name": format!("{server}__say"), "arguments": arguments});
    let called = wire.ask("tools/call", knowing(call));
    assert!(called["result"]["isError"] != true, "{called}");
}

fn hears(wire: &mut Wire) -> Value {
    let told = wire.wait_for(|message| message["method"] == TOLD);
    told.unwrap()["params"].take()
}

fn state(id: &Value, status: &str, listens: u64) -> Value {
    json!({
        "taskId": id, "status": status, "ttlMs": null, "pollIntervalMs": 5e2, "x-own": 1e2,
        "_meta": {TAG: listens},
    })
}

#[test]
fn a_client_follows_its_own_task_to_its_end_by_the_id_that_it_knows() {
    let world = world();
    let mut wire = knows_servers(world.broker());
    let id = begins(&mut wire);
    let (listens, may) = follow(&mut wire, &[&id, &json!("task-0"), &json!("7")]);
    assert_eq!(may, json!([id]));
    say(&mut wire, "own", "working");
    assert_eq!(hears(&mut wire), state(&id, "working", listens));
    // It asks what this client did not say it can be asked; who asks after it reads so.
    say(&mut wire, "own", "input_required");
    say(&mut wire, "own", "completed");
    let mut ended = state(&id, "completed", listens);
    ended["result"] = json!({"content": [], "x": 1e2});
    assert_eq!(hears(&mut wire), ended);
    // It is over, so it is followed no more.
    wait_until_heard(&world, &["follow 7", "forget 7"]);
    assert!(wire.end());
    let mut asked: Vec<String> = world
        .calls("claim-99")
        .iter()
        .filter(|call| call.tool.contains("tasks/get"))
        .map(|call| format!("{} {}", call.tool, call.outcome.unwrap()))
        .collect();
    asked.sort();
    let unknown = ["tasks/get 7 unknown-tool", "tasks/get task-0 unknown-tool"];
    assert_eq!(asked, [&["own/tasks/get completed"], &unknown[..]].concat());
    assert_eq!(world.journal_problems(), []);
}

#[test]
fn nobody_follows_the_task_of_another_or_without_knowing_of_tasks() {
    let world = world();
    let mut wire = knows_servers(world.broker());
    let id = begins(&mut wire);
    let wanted = json!({"notifications": {"taskIds": [id]}});
    let refused = wire.ask("subscriptions/listen", modern(wanted, json!({})));
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
    let needs = &refused["error"]["data"]["requiredCapabilities"];
    assert_eq!(needs, &json!({"extensions": {TASKS: {}}}));
    for wrong in [json!("7"), json!([7]), json!([""])] {
        let wanted = json!({"notifications": {"taskIds": wrong}});
        let wrong = wire.ask("subscriptions/listen", knowing(wanted));
        assert_eq!(wrong["error"]["code"], -32602, "{wrong}");
    }
    assert!(wire.end());
    let mia = world.broker_with(|command| {
        command.args(["--principal", "mia", "--session", "claim-98"]);
    });
    let mut mia = knows_servers(mia);
    let (_, may) = follow(&mut mia, &[&id]);
    assert_eq!(may, Value::Null);
    assert!(mia.end());
    wait_until_heard(&world, &[]);
    let asked = world.calls("claim-98");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].outcome.unwrap().to_string(), "unknown-tool");
}

#[test]
fn who_may_ask_after_a_task_no_longer_hears_of_it_no_longer() {
    for freezes in [true, false] {
        let world = world();
        let mut wire = knows_servers(world.broker());
        let id = begins(&mut wire);
        let (listens, may) = follow(&mut wire, &[&id]);
        assert_eq!(may, json!([id]));
        match freezes {
            true => assert!(world.run(&["session", "freeze", "claim-99"]).0),
            false => world.edit("policies/own.cedar", "== \"task-nobody\"", "!= \"\""),
        }
        let ended = wire.answer_to(listens).unwrap();
        assert_eq!(ended["result"]["_meta"][TAG], listens);
        wait_until_heard(&world, &["follow 7", "forget 7"]);
        let (_, may) = follow(&mut wire, &[&id]);
        assert_eq!(may, Value::Null);
        assert!(wire.end());
    }
}

#[test]
fn a_task_is_followed_again_after_its_server_was_started_again() {
    let world = world();
    let mut wire = knows_servers(world.broker());
    let id = begins(&mut wire);
    let (listens, _) = follow(&mut wire, &[&id]);
    let dies = || knowing(json!({"name": "own__die"}));
    wire.ask("tools/call", dies());
    // Nobody heard what was said meanwhile, so how it stands is asked and told.
    let mut asked = state(&id, "working", listens);
    asked["asked"] = json!(true);
    assert_eq!(hears(&mut wire), asked);
    say(&mut wire, "own", "working");
    assert_eq!(hears(&mut wire), state(&id, "working", listens));
    wait_until_heard(&world, &["follow 7"; 2]);
    // One that its server does not know any more is lost.
    world.write("gone", "");
    wire.ask("tools/call", dies());
    let ended = wire.answer_to(listens).unwrap();
    assert_eq!(ended["result"]["_meta"][TAG], listens);
    assert!(wire.end());
    assert_eq!(world.journal_problems(), []);
}

#[test]
fn a_task_of_an_older_server_is_followed_in_the_words_of_the_newer_revision() {
    for (status, became) in [("completed", "completed"), ("failed", "completed")] {
        let world = world();
        let mut wire = knows_servers(world.broker().initialized());
        let begun = wire.ask("tools/call", json!({"name": "old__work", "task": {}}));
        let id = begun["result"]["task"]["taskId"].clone();
        let got = wire.ask("tasks/get", knowing(json!({"taskId": id})));
        assert_eq!(got["result"]["ttlMs"], Value::Null, "{got}");
        assert!(got["result"].get("ttl").is_none(), "{got}");
        let (listens, may) = follow(&mut wire, &[&id]);
        assert_eq!(may, json!([id]));
        say(&mut wire, "old", "working");
        assert_eq!(hears(&mut wire), state(&id, "working", listens));
        say(&mut wire, "old", status);
        let mut ended = state(&id, became, listens);
        ended["result"] = json!({
            "content": [], "x": 1e2,
            "_meta": {"io.modelcontextprotocol/related-task": {"taskId": id}},
        });
        assert_eq!(hears(&mut wire), ended);
        assert!(wire.end());
        assert_eq!(world.journal_problems(), []);
    }
}

#[test]
fn a_task_of_an_older_server_is_lost_with_the_connection_that_it_was_begun_on() {
    let world = world();
    let mut wire = knows_servers(world.broker().initialized());
    let begun = wire.ask("tools/call", json!({"name": "old__work", "task": {}}));
    let id = begun["result"]["task"]["taskId"].clone();
    let (listens, _) = follow(&mut wire, &[&id]);
    world.write("gone", "");
    wire.ask("tools/call", json!({"name": "old__die"}));
    let ended = wire.answer_to(listens).unwrap();
    assert_eq!(ended["result"]["_meta"][TAG], listens);
    // Nobody speaks of it any more.
    let (_, may) = follow(&mut wire, &[&id]);
    assert_eq!(may, Value::Null);
    assert!(wire.end());
}
