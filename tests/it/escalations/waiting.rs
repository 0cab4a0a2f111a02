//! Clients that wait for a decision by a task, and calls that are made for them.

use super::MUCH;
use super::approved;
use super::pay;
use super::says;
use super::state;
use crate::http::talk::Talk;
use crate::serving::Serving;
use crate::subscriptions::TAG;
use crate::world::APPROVE;
use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use serde_json::Value;
use serde_json::json;
use std::time::Instant;

const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A request of a modern client that knows tasks, in `claim-99`.
fn knowing(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
        "dev.countersign/session": "claim-99",
    });
    params
}

fn resuming() -> World {
    let world = World::new();
    world.edit(
        "countersign.toml",
        "risk = \"high\"",
        "risk = \"high\"\non_approval = \"resume\"",
    );
    world
}

/// Alice is stopped, and waits: her task, and who is asked.
fn waits(broker: &mut Wire) -> (String, String) {
    let begun = broker.ask("tools/call", knowing(pay(MUCH, "claim-99")));
    let result = &begun["result"];
    assert_eq!(
        (&result["resultType"], &result["status"]),
        (&json!("task"), &json!("working")),
        "{begun}"
    );
    let id = &result["_meta"]["dev.countersign/decision"]["escalation"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&result["taskId"]), text(id))
}

fn asked_after(broker: &mut Wire, task: &str) -> Value {
    let got = broker.ask("tasks/get", knowing(json!({"taskId": task})));
    got["result"].clone()
}

/// How a task ended: its word, and what its result says.
fn end_of(broker: &mut Wire, task: &str) -> (String, String) {
    let begun = Instant::now();
    loop {
        let got = asked_after(broker, task);
        if got["status"] != "working" {
            let said = got["result"]["content"][0]["text"].as_str();
            let mut said = said.unwrap_or_default().to_owned();
            if got["result"]["isError"] == true {
                said.insert_str(0, "error: ");
            }
            return (got["status"].as_str().unwrap().to_owned(), said);
        }
        assert!(begun.elapsed() < PATIENCE, "a task never ends: {got}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_task_ends_with_the_decision_and_its_client_makes_the_call() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker();
    let discovered = alice.ask("server/discover", knowing(json!({})));
    let extensions = &discovered["result"]["capabilities"]["extensions"];
    assert_eq!(extensions, &json!({TASKS: {}}), "{discovered}");
    let (task, id) = waits(&mut alice);
    // The same call again waits by the same task.
    assert_eq!(waits(&mut alice), (task.clone(), id.clone()));
    let got = asked_after(&mut alice, &task);
    assert_eq!(got["taskId"], task);
    assert_eq!(got["resultType"], "complete");
    assert!(got["statusMessage"].as_str().unwrap().contains(&id));
    // To others there is none.
    let mut mias = world.broker_with(|command| {
        command.args(["--principal", "mia"]);
    });
    let others = mias.ask("tasks/get", knowing(json!({"taskId": task})));
    assert_eq!(others["error"]["code"], -32602, "{others}");

    approved(&world, &mia, &id);
    let (status, said) = end_of(&mut alice, &task);
    assert_eq!(status, "completed");
    assert!(
        said.starts_with("error: Approved by mia. Nothing was sent yet.\nMake the same call again"),
        "{said}"
    );
    assert!(world.paid().is_empty());
    let passed = alice.ask("tools/call", knowing(pay(MUCH, "claim-99")));
    assert_eq!(passed["result"]["isError"], false, "{passed}");
    // An end stays one.
    assert_eq!(end_of(&mut alice, &task).0, "completed");
    assert_eq!(world.paid(), [5_000_000]);
}

/// Follows a task by a stream of its own; returns by what it is known.
fn follows(broker: &mut Wire, task: &str) -> u64 {
    let wanted = json!({"notifications": {"taskIds": [task]}});
    let listens = broker.request("subscriptions/listen", knowing(wanted));
    let belongs = |message: &Value| message["params"]["_meta"][TAG] == listens;
    let first = broker.wait_for(belongs).unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["notifications"]["taskIds"], json!([task]));
    listens
}

/// What a client is told of its task, once that has ended.
fn told_of_end(broker: &mut Wire, listens: u64) -> Value {
    let ended = broker.wait_for(|message| {
        message["method"] == "notifications/tasks" && message["params"]["status"] != "working"
    });
    let told = ended.unwrap()["params"].take();
    assert_eq!(told["_meta"][TAG], listens, "{told}");
    assert_eq!(told["resultType"], Value::Null, "{told}");
    told
}

#[test]
fn who_follows_a_task_that_waits_for_a_decision_is_told_of_its_end() {
    for (world, said) in [
        (World::new(), "Approved by mia. Nothing was sent yet."),
        (resuming(), "Paid $50000.00 to ACME on claim 99."),
    ] {
        let mia = world.key("mia");
        let mut alice = world.broker();
        let (task, id) = waits(&mut alice);
        let listens = follows(&mut alice, &task);
        approved(&world, &mia, &id);
        let told = told_of_end(&mut alice, listens);
        assert_eq!(
            (&told["taskId"], &told["status"]),
            (&json!(task), &json!("completed"))
        );
        let text = told["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with(said), "{told}");
        // Of one that is over, whoever follows it later is told that.
        let listens = follows(&mut alice, &task);
        assert_eq!(told_of_end(&mut alice, listens)["taskId"], task);
        assert!(alice.end());
        assert_eq!(world.journal_problems(), []);
    }
}

/// Another broker on the store takes it back.
#[test]
fn who_follows_a_task_is_told_that_it_was_taken_back_elsewhere() {
    let world = World::new();
    let mut alice = world.broker();
    let (task, _) = waits(&mut alice);
    let listens = follows(&mut alice, &task);
    let mut other = world.broker();
    other.ask("tasks/cancel", knowing(json!({"taskId": task})));
    assert_eq!(told_of_end(&mut alice, listens)["status"], "cancelled");
    assert!(other.end());
    assert!(alice.end());
}

#[test]
fn a_refusal_ends_a_task_and_a_client_takes_its_own_back() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker();
    let (task, id) = waits(&mut alice);
    let cancelled = alice.ask("tasks/cancel", knowing(json!({"taskId": task})));
    assert_eq!(cancelled["result"], json!({"resultType": "complete"}));
    assert_eq!(end_of(&mut alice, &task).0, "cancelled");
    assert_eq!(state(&world, &id), "withdrawn");
    let updated = alice.ask(
        "tasks/update",
        knowing(json!({"taskId": task, "inputResponses": {}})),
    );
    assert_eq!(updated["result"], json!({"resultType": "complete"}));

    let (task, id) = waits(&mut alice);
    let (done, printed) = says(&world, &mia, &["refuse", &id, "--reason", "no invoice"]);
    assert!(done, "{printed}");
    let (status, said) = end_of(&mut alice, &task);
    assert_eq!(status, "completed");
    assert!(
        said.starts_with("error: mia refused this call: \"no invoice\"."),
        "{said}"
    );
    // What has ended is not taken back.
    alice.ask("tasks/cancel", knowing(json!({"taskId": task})));
    assert_eq!(end_of(&mut alice, &task).0, "completed");
    assert!(world.paid().is_empty());
}

#[test]
fn who_knows_no_tasks_gets_none() {
    let world = World::new();
    let mut alice = world.broker();
    let mut call = pay(MUCH, "claim-99");
    call["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    call["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let answer = alice.ask("tools/call", call);
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    let mut legacy = world.broker().initialized();
    // Nothing here makes tasks of MCP 2025-11-25, so the wish means nothing.
    let mut call = pay(MUCH, "claim-99");
    call["task"] = json!({});
    let answer = legacy.ask("tools/call", call);
    assert_eq!(answer["result"]["isError"], true, "{answer}");
}

#[test]
fn an_approved_call_is_made_once_by_one_of_two_brokers_after_a_restart() {
    let world = resuming();
    let mia = world.key("mia");
    let mut alice = world.broker();
    let (task, id) = waits(&mut alice);
    alice.kill();
    approved(&world, &mia, &id);
    let mut brokers = [world.broker(), world.broker()];
    for broker in &mut brokers {
        let (status, said) = end_of(broker, &task);
        assert_eq!(
            (&*status, &*said),
            ("completed", "Paid $50000.00 to ACME on claim 99.")
        );
    }
    assert_eq!(state(&world, &id), "used");
    assert_eq!(world.paid(), [5_000_000]);
    let calls = world.calls("claim-99");
    let made = calls
        .iter()
        .find(|call| call.detail["approval"]["by"] == "mia");
    assert!(made.is_some());
    // It is used up.
    assert_ne!(waits(&mut brokers[0]).0, task);
    assert!(world.journal_problems().is_empty());
}

#[test]
fn what_happened_to_an_approved_call_whose_broker_was_killed_is_unknown_and_it_is_not_made_again() {
    let world = World::holding();
    world.edit(
        "countersign.toml",
        "risk = \"high\"",
        "risk = \"high\"\nidempotent = true\non_approval = \"resume\"",
    );
    let mia = world.key("mia");
    let mut alice = world.broker();
    let (task, id) = waits(&mut alice);
    approved(&world, &mia, &id);
    world.wait_until_paid(1);
    alice.kill();
    std::fs::remove_file(world.path("hold")).unwrap();
    let mut alice = world.broker();
    let (status, said) = end_of(&mut alice, &task);
    assert_eq!(status, "completed");
    assert!(
        said.starts_with(
            "error: The call was sent to the server `claims`, and nobody saw how it ended."
        ),
        "{said}"
    );
    assert_eq!(world.paid(), [5_000_000]);
    assert_eq!(state(&world, &id), "used");
    assert!(world.journal_problems().is_empty());
}

#[test]
fn whoever_never_asked_for_the_task_of_a_call_that_ended_unknown_is_warned_of_it() {
    let world = World::holding();
    world.edit(
        "countersign.toml",
        "risk = \"high\"",
        "risk = \"high\"\non_approval = \"resume\"",
    );
    world.edit("countersign.toml", "timeout = \"60s\"", "timeout = \"1s\"");
    let mia = world.key("mia");
    let mut alice = world.broker();
    let (_task, id) = waits(&mut alice);
    approved(&world, &mia, &id);
    world.wait_until_paid(1);
    world.wait_until_closed();
    std::fs::remove_file(world.path("hold")).unwrap();
    let told = alice.ask("tools/call", knowing(pay(MUCH, "claim-99")));
    assert!(
        told.to_string().contains("nobody saw how it ended"),
        "{told}"
    );
    assert_eq!(world.paid(), [5_000_000]);
    assert!(world.journal_problems().is_empty());
}

/// Everything is decided again before the call is made.
#[test]
fn what_does_not_hold_any_more_is_said_and_nothing_is_sent() {
    type Change = fn(&World);
    let freeze: Change = |world| assert!(world.run(&["session", "freeze", "claim-99"]).0);
    let end: Change = |world| assert!(world.run(&["session", "end", "claim-99"]).0);
    let lower: Change = |world| {
        // The approver has the role no longer; somebody else has it.
        world.edit(
            "principals.toml",
            "subject = \"mia\"\nrole = \"Manager\"",
            "subject = \"mia\"\nrole = \"Senior\"",
        );
        world.append(
            "principals.toml",
            "\n[[principals]]\nsubject = \"max\"\nrole = \"Manager\"\nlimits = { call = \"90000.00\", session = \"90000.00\", day = \"90000.00\" }\n",
        );
    };
    let forbid: Change = |world| {
        world.append(
            "policies/claims.cedar",
            "\n@id(\"stopped\")\n@message(\"Payments are stopped.\")\nforbid (principal, action == Broker::Action::\"claims/approve_payment\", resource)\nwhen { context.input.payee == \"ACME\" };\n",
        );
    };
    for (change, why, then) in [
        (freeze, "This session is frozen.", "approved"),
        (end, "", "approved"),
        (lower, "with this approval policy does not allow", "void"),
        (forbid, "Payments are stopped.", "approved"),
    ] {
        let world = resuming();
        let mia = world.key("mia");
        let mut alice = world.broker();
        let (task, id) = waits(&mut alice);
        alice.kill();
        approved(&world, &mia, &id);
        change(&world);
        let mut alice = world.broker_with(|command| {
            command.args(["--session", "claim-1"]);
        });
        let other = |mut params: Value| {
            params = knowing(params);
            params["_meta"]["dev.countersign/session"] = json!("claim-1");
            params
        };
        let begun = Instant::now();
        let got = loop {
            let got = alice.ask("tasks/get", other(json!({"taskId": task})))["result"].take();
            if got["status"] != "working" {
                break got;
            }
            assert!(begun.elapsed() < PATIENCE, "{got}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        let said = got["result"]["content"][0]["text"].as_str().unwrap();
        assert!(
            said.starts_with("Approved by mia. The call was not sent: ") && said.contains(why),
            "{said}"
        );
        assert_eq!(got["result"]["isError"], true);
        assert_eq!(state(&world, &id), then, "{said}");
        assert!(world.paid().is_empty());
        assert!(world.journal_problems().is_empty());
    }
}

fn modern_post(broker: &Serving, key: &str, method: &str, params: Value) -> Value {
    let name = params["name"].as_str().or(params["taskId"].as_str());
    let name = name.unwrap_or_default().to_owned();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": knowing(params)});
    Talk::new(broker.address())
        .with("authorization", &format!("Bearer {key}"))
        .with("mcp-protocol-version", "2026-07-28")
        .with("mcp-method", method)
        .with("mcp-name", &name)
        .post("/mcp", &body.to_string())
        .json()
}

/// A call is made for whoever came with a key as long as that is good.
#[test]
fn a_call_whose_key_was_revoked_is_not_made() {
    let world = resuming();
    let [alice, other, mia] = ["alice", "alice", "mia"].map(|name| world.key(name));
    let mut broker = world.serve();
    let params = json!({"name": APPROVE, "arguments": payment(MUCH)});
    let begun = modern_post(&broker, &alice, "tools/call", params);
    let task = begun["result"]["taskId"].clone();
    let decision = &begun["result"]["_meta"]["dev.countersign/decision"];
    let id = decision["escalation"].as_str().unwrap();
    broker.kill();
    approved(&world, &mia, id);
    let (_, listed) = world.run(&["--json", "key", "list"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let keys = listed["keys"].as_array().unwrap();
    let is_first = |key: &&Value| alice.ends_with(key["ending"].as_str().unwrap());
    let first = keys.iter().find(is_first).unwrap();
    let (done, printed) = world.run(&["key", "revoke", first["id"].as_str().unwrap()]);
    assert!(done, "{printed}");
    let broker = world.serve();
    let begun = Instant::now();
    let got = loop {
        let got = modern_post(&broker, &other, "tasks/get", json!({"taskId": task}));
        if got["result"]["status"] != "working" {
            break got;
        }
        assert!(begun.elapsed() < PATIENCE, "{got}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let said = got["result"]["result"]["content"][0]["text"].as_str();
    let said = said.unwrap_or_else(|| panic!("{got}"));
    assert!(
        said.contains("the key that the call came with was revoked"),
        "{said}"
    );
    assert!(world.paid().is_empty());
}
