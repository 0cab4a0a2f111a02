//! Calls that their server makes into tasks, of both revisions that have them.

mod following;
mod required;

use crate::world::Wire;
use crate::world::World;
use serde_json::Value;
use serde_json::json;

const POLICY: &str = r#"
@id("all")
permit (principal, action in Broker::Action::"server:own", resource);
@id("no.cancel")
@message("Tasks go on to their end.")
forbid (principal, action == Broker::Action::"own/tasks/cancel", resource)
when { principal.role == "Manager" && context.input.taskId like "task-*" };
"#;

const TASKS: &str = "io.modelcontextprotocol/tasks";

fn world(era: &str) -> World {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/tasks.sh");
    let servers = format!(
        "[servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\nenv = {{ ERA = {era:?} }}\n"
    );
    World::of(&servers, POLICY)
}

/// A server of 2025-11-25 whose tool must be called as a task.
fn required() -> World {
    let world = world("legacy");
    world.edit(
        "countersign.toml",
        "ERA = \"legacy\"",
        "ERA = \"legacy\", SUPPORT = \"required\"",
    );
    world
}

fn modern(mut params: Value, extensions: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": extensions},
    });
    params
}

fn knowing(params: Value) -> Value {
    modern(params, json!({TASKS: {}}))
}

fn legacy_client(world: &World) -> (Wire, Value) {
    let mut broker = world.broker();
    let opened = broker.initialize();
    (broker, opened)
}

#[test]
fn a_task_of_a_modern_server_is_asked_after_by_an_id_of_ours() {
    let world = world("modern");
    let mut broker = world.broker();
    let discovered = broker.ask("server/discover", knowing(json!({})));
    let extensions = &discovered["result"]["capabilities"]["extensions"];
    assert_eq!(extensions, &json!({TASKS: {}}), "{discovered}");
    let begun = broker.ask("tools/call", knowing(json!({"name": "own__work"})));
    let task = &begun["result"];
    assert_eq!(task["resultType"], "task");
    assert_eq!(task["x-own"], json!(1e2));
    let id = task["taskId"].clone();
    assert!(id.as_str().unwrap().starts_with("task-"), "{id}");
    let got = broker.ask("tasks/get", knowing(json!({"taskId": id})));
    assert_eq!(got["result"]["taskId"], id);
    assert_eq!(got["result"]["resultType"], "complete");
    assert_eq!(got["result"]["heard"]["params"]["taskId"], "7");
    let answers = json!({"taskId": id, "inputResponses": {"a": {"x": 1e2}}});
    let updated = broker.ask("tasks/update", knowing(answers.clone()));
    let heard = &updated["result"]["heard"]["params"];
    assert_eq!(heard["inputResponses"], answers["inputResponses"]);
    assert!(broker.end());
    // It is known to the next broker, and taken back by it.
    let mut broker = world.broker();
    let cancelled = broker.ask("tasks/cancel", knowing(json!({"taskId": id})));
    let heard = &cancelled["result"]["heard"];
    assert_eq!(heard["method"], "tasks/cancel");
    assert_eq!(heard["params"]["taskId"], "7");
    for unknown in ["7", "task-0"] {
        let asked = broker.ask("tasks/get", knowing(json!({"taskId": unknown})));
        assert_eq!(asked["error"]["code"], -32602, "{asked}");
    }
    assert!(broker.end());
    let tools: Vec<String> = world
        .calls("claim-99")
        .into_iter()
        .map(|call| call.tool)
        .collect();
    assert_eq!(
        tools,
        [
            "own/work",
            "own/tasks/get",
            "own/tasks/update",
            "own/tasks/cancel",
            "tasks/get 7",
            "tasks/get task-0",
        ]
    );
}

#[test]
fn who_does_not_know_of_tasks_gets_none() {
    let world = world("modern");
    let mut broker = world.broker();
    let done = broker.ask(
        "tools/call",
        modern(json!({"name": "own__work"}), json!({})),
    );
    assert_eq!(done["result"]["content"][0]["text"], "done at once");
    for method in ["tasks/get", "tasks/cancel"] {
        let asked = broker.ask(method, modern(json!({"taskId": "7"}), json!({})));
        assert_eq!(asked["error"]["code"], -32021, "{asked}");
        let needs = &asked["error"]["data"]["requiredCapabilities"];
        assert_eq!(needs, &json!({"extensions": {TASKS: {}}}));
    }
    let unserved = broker.ask("tasks/list", knowing(json!({})));
    assert_eq!(unserved["error"]["code"], -32601);
    assert!(broker.end());
    let (mut broker, opened) = legacy_client(&world);
    let can = &opened["result"]["capabilities"];
    assert!(can.get("tasks").is_none() && can.get("extensions").is_none());
    // The wish of an older client means nothing to a server of this revision.
    let done = broker.ask("tools/call", json!({"name": "own__work", "task": {}}));
    assert_eq!(done["result"]["content"][0]["text"], "done at once");
    let asked = broker.ask("tasks/get", json!({"taskId": "7"}));
    assert_eq!(asked["error"]["code"], -32601);
    assert!(broker.end());
}

#[test]
fn a_task_of_a_legacy_server_is_made_where_it_is_asked_for() {
    let world = world("legacy");
    let (mut broker, opened) = legacy_client(&world);
    let can = &opened["result"]["capabilities"]["tasks"];
    assert_eq!(can["requests"]["tools"]["call"], json!({}), "{opened}");
    assert_eq!(can["list"], json!({}), "{can}");
    let done = broker.call("own__work", json!({}));
    assert_eq!(done, "done at once");
    let begun = broker.ask(
        "tools/call",
        json!({"name": "own__work", "task": {"ttl": 1000}}),
    );
    let task = &begun["result"]["task"];
    assert_eq!(task["x-own"], json!(1e2), "{begun}");
    let id = task["taskId"].clone();
    assert!(id.as_str().unwrap().starts_with("task-"), "{id}");
    let got = broker.ask("tasks/get", json!({"taskId": id}));
    assert_eq!(got["result"]["taskId"], id);
    assert_eq!(got["result"]["heard"]["params"]["taskId"], "7");
    let result = broker.ask("tasks/result", json!({"taskId": id}));
    let related = &result["result"]["_meta"]["io.modelcontextprotocol/related-task"];
    assert_eq!(related["taskId"], id);
    assert!(broker.end());
    // A modern client is not offered what it could not ask after.
    let mut broker = world.broker();
    let discovered = broker.ask("server/discover", knowing(json!({})));
    let can = &discovered["result"]["capabilities"];
    assert!(can.get("extensions").is_none() && can.get("tasks").is_none());
    let done = broker.ask(
        "tools/call",
        knowing(json!({"name": "own__work", "task": {}})),
    );
    assert_eq!(done["result"]["content"][0]["text"], "done at once");
    assert!(broker.end());
}

/// Over a pipe there is a process for each session whose client can be asked
/// something, and a task is known in its own only.
#[test]
fn a_task_is_asked_after_in_the_process_that_works_on_it() {
    let world = world("legacy");
    let mut broker = world.broker();
    broker.ask(
        "initialize",
        json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "test", "version": "1"},
        }),
    );
    let here = |session: &str, mut params: Value| {
        params["_meta"] = json!({"dev.countersign/session": session});
        params
    };
    let begins = || json!({"name": "own__work", "task": {}});
    let one = broker.ask("tools/call", here("claim-1", begins()));
    let other = broker.ask("tools/call", here("claim-2", begins()));
    let (one, other) = (&one["result"], &other["result"]);
    assert!(
        one["in"].is_u64() && one["in"] != other["in"],
        "{one} {other}"
    );
    for (session, task) in [("claim-2", one), ("claim-1", other), ("claim-3", one)] {
        let id = &task["task"]["taskId"];
        let got = broker.ask("tasks/get", here(session, json!({"taskId": id})));
        assert_eq!(got["result"]["in"], task["in"], "{got}");
    }
    assert!(broker.end());
}

#[test]
fn a_task_is_of_use_to_its_principal_only_and_policy_decides_on_it() {
    let world = world("modern");
    let mut broker = world.broker();
    let begun = broker.ask("tools/call", knowing(json!({"name": "own__work"})));
    let id = begun["result"]["taskId"].clone();
    assert!(broker.end());
    let mut mia = world.broker_with(|command| {
        command.args(["--principal", "mia", "--session", "claim-98"]);
    });
    let asked = mia.ask("tasks/get", knowing(json!({"taskId": id})));
    assert_eq!(asked["error"]["code"], -32602, "{asked}");
    let own = mia.ask("tools/call", knowing(json!({"name": "own__work"})));
    let own = own["result"]["taskId"].clone();
    let denied = mia.ask("tasks/cancel", knowing(json!({"taskId": own})));
    let said = denied["error"]["message"].as_str();
    let said = said.unwrap_or_else(|| panic!("{own} {denied}"));
    assert!(said.starts_with("Tasks go on to their end."), "{said}");
    assert!(mia.end());
}

#[test]
fn a_task_that_waits_for_a_decision_is_in_the_list_of_its_caller() {
    let world = world("legacy");
    let ask = "@id(\"ask\")\n@message(\"Ask a Manager.\")\n@escalate(\"Manager\")\n@expires(\"P3D\")\n\
        forbid (principal, action == Broker::Action::\"own/work\", resource)\n\
        unless { context.call has approval && context.call.approval.by in Broker::Role::\"Manager\" };\n";
    world.write("policies/ask.cedar", ask);
    // The tools of the broker's own are what a decision is waited for with.
    world.edit("countersign.toml", "offer = false", "offer = true");
    let (mut broker, _opened) = legacy_client(&world);
    let call = json!({"name": "own__work", "task": {}});
    let begun = broker.ask("tools/call", call);
    let id = &begun["result"]["task"]["taskId"];
    assert!(id.is_string(), "{begun}");
    let listed = broker.ask("tasks/list", json!({}));
    let tasks = listed["result"]["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 1, "{listed}");
    assert_eq!(
        (&tasks[0]["taskId"], &tasks[0]["status"]),
        (id, &json!("working"))
    );
    assert!(broker.end());
}

/// The server has a list too, of the tasks of everybody who shares its connection.
#[test]
fn a_list_of_tasks_is_of_the_callers_own_and_each_is_asked_after() {
    let world = world("legacy");
    let (mut broker, _opened) = legacy_client(&world);
    let mut begun: Vec<Value> = (0..22)
        .map(|_| {
            let begins = json!({"name": "own__work", "task": {}});
            broker.ask("tools/call", begins)["result"]["task"]["taskId"].take()
        })
        .collect();
    assert!(broker.end());
    let mut mia = world
        .broker_with(|command| {
            command.args(["--principal", "mia", "--session", "claim-98"]);
        })
        .initialized();
    let none = mia.ask("tasks/list", json!({}));
    assert_eq!(none["result"], json!({"tasks": []}), "{none}");
    assert!(mia.end());

    let (mut broker, _opened) = legacy_client(&world);
    let before = world.calls("claim-99").len();
    let first = broker.ask("tasks/list", json!({}))["result"].take();
    let next = broker.ask("tasks/list", json!({"cursor": first["nextCursor"]}))["result"].take();
    assert!(next.get("nextCursor").is_none(), "{next}");
    let pages = [&first, &next].map(|page| page["tasks"].as_array().unwrap());
    assert_eq!(pages.map(Vec::len), [20, 2]);
    let mut listed: Vec<Value> = Vec::new();
    for task in pages.into_iter().flatten() {
        assert_eq!(task["status"], "working");
        assert_eq!(task["heard"]["params"]["taskId"], "7");
        listed.push(task["taskId"].clone());
    }
    let sort = |ids: &mut Vec<Value>| ids.sort_by_key(ToString::to_string);
    sort(&mut listed);
    sort(&mut begun);
    assert_eq!(listed, begun);
    for wrong in [json!("7"), json!(7)] {
        let wrong = broker.ask("tasks/list", json!({"cursor": wrong}));
        assert_eq!(wrong["error"]["code"], -32602, "{wrong}");
    }
    assert!(broker.end());
    let calls = world.calls("claim-99");
    let asked = calls[before..]
        .iter()
        .filter(|call| call.tool == "own/tasks/get");
    assert_eq!(asked.count(), 22);
    assert_eq!(world.journal_problems(), []);
}

/// Each session of a client that can be asked something has a process of its own, and
/// both call their tasks the same.
#[test]
fn who_began_a_task_hears_of_its_state_under_the_id_that_he_knows() {
    let world = world("legacy");
    let mut broker = world.broker();
    broker.ask(
        "initialize",
        json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "test", "version": "1"},
        }),
    );
    broker.tell("notifications/initialized", json!({}));
    let here = |session: &str, mut params: Value| {
        params["_meta"] = json!({"dev.countersign/session": session});
        params
    };
    let begun = ["claim-1", "claim-2"].map(|session| {
        let begins = here(session, json!({"name": "own__work", "task": {}}));
        broker.ask("tools/call", begins)["result"]["task"]["taskId"].take()
    });
    for id in &begun {
        broker.ask("tasks/cancel", here("claim-3", json!({"taskId": id})));
        let status = "notifications/tasks/status";
        let told = broker
            .wait_for(|message| message["method"] == status)
            .unwrap();
        let expected = json!({"taskId": id, "status": "cancelled", "x-own": 1e2});
        assert_eq!(told["params"], expected);
    }
    // It is over, so nothing more is said of it.
    broker.ask("tasks/cancel", here("claim-3", json!({"taskId": begun[0]})));
    broker.ask("ping", json!({}));
    assert!(broker.end());
    assert_eq!(world.journal_problems(), []);
}
