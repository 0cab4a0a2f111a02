//! Clients: each does the same work through the broker, in each era that it
//! knows, and each has its own way of opening, cancelling and reporting.

use super::endings;
use super::list_with;
use super::node_tool;
use super::python_tool;
use super::section;
use crate::world::APPROVE;
use crate::world::GET;
use crate::world::PROGRAM;
use crate::world::World;
use crate::world::payment;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::process::Command;

const LONG: &str = "everything__trigger-long-running-operation";

/// The claims server and a real one that can report progress. Both were seen
/// before, so that no client's first list depends on how fast they start.
fn world() -> World {
    let world = World::new();
    let everything = node_tool("mcp-server-everything");
    world.append(
        "countersign.toml",
        &section("everything", &everything, &["stdio"]),
    );
    world.write(
        "policies/everything.cedar",
        include_str!("../../../fixtures/real/everything.cedar"),
    );
    let mut broker = world.broker().initialized();
    list_with(&mut broker, "everything__");
    list_with(&mut broker, "claims__");
    assert!(broker.end());
    world
}

/// What every client does: the path of a claim, with a restart of the broker in
/// the middle of a session.
fn steps() -> Value {
    let call =
        |tool: &str, arguments: Value| json!({"do": "call", "tool": tool, "arguments": arguments});
    let long = |how: &str, seconds: u32, steps: u32| json!({"do": how, "tool": LONG, "arguments": {"duration": seconds, "steps": steps}});
    json!([
        {"do": "list"},
        call(GET, json!({"claim_id": "99"})),
        call(APPROVE, payment(9_000)),
        call(APPROVE, payment(50_000)),
        call("claims__close_claim", json!({"claim_id": "99", "reason": "done"})),
        long("progress", 1, 4),
        long("cancel", 60, 240),
        {"do": "restart"},
        call(APPROVE, payment(9_001)),
        call(APPROVE, payment(9_002)),
    ])
}

/// Runs a client script and checks all that it saw and left.
fn works(world: &World, interpreter: &Path, script: &str, (era, revision): (&str, &str)) {
    let config = world.path("countersign.toml");
    let plan = json!({
        "program": PROGRAM,
        "args": ["--config", config, "stdio"],
        "era": era,
        "steps": steps(),
    });
    let done = Command::new(interpreter)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .arg(plan.to_string())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    let lines: Vec<Value> = String::from_utf8(done.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [
        opened,
        list,
        read,
        paid,
        above,
        hidden,
        progress,
        cancelled,
        reopened,
        again,
        total,
    ] = &lines[..]
    else {
        panic!("{lines:#?}\n{errors}");
    };
    assert_eq!(opened["revision"], revision);
    let tools = list["tools"].as_array().unwrap();
    assert!(tools.contains(&GET.into()) && tools.contains(&LONG.into()));
    assert!(!tools.contains(&"claims__close_claim".into()));
    says(read, false, "Claim 99: ");
    says(paid, false, "Paid $9000.00 to ACME");
    says(above, true, "Limit Exceeded. Escalate to Manager.\n");
    assert_eq!(hidden["code"], -32602, "{hidden}");
    assert!(hidden["message"].to_string().contains("Unknown tool"));
    says(progress, false, "Long running operation completed.");
    // The TypeScript SDK 1.x forgets who waits for progress when the answer is
    // in the same chunk, so the last report may be lost in it.
    let reports = progress["progress"].as_array().unwrap();
    assert!(
        (3..=4).contains(&reports.len()) && reports[0] == json!([1, 4]),
        "{progress}"
    );
    assert_eq!(cancelled["cancelled"], true);
    assert_eq!(reopened["revision"], revision);
    says(again, false, "Paid $9001.00 to ACME");
    says(
        total,
        true,
        "Session Limit Exceeded. Escalate to Manager.\n",
    );

    assert_eq!(world.paid(), [900_000, 900_100]);
    let long = |how: &str| format!("{how} everything/trigger-long-running-operation");
    assert_eq!(
        endings(world),
        [
            "completed claims/get_claim",
            "completed claims/approve_payment",
            "escalated claims/approve_payment",
            "unknown-tool claims/close_claim",
            &long("completed"),
            &long("cancelled"),
            "completed claims/approve_payment",
            "escalated claims/approve_payment",
        ]
    );
    assert!(world.journal_problems().is_empty());
    let sent = world.read(super::SENT);
    assert!(sent.contains("notifications/cancelled"), "{sent}");
}

#[track_caller]
fn says(answer: &Value, is_error: bool, text: &str) {
    assert_eq!(answer["isError"], is_error, "{answer}");
    let said = answer["text"].as_str().unwrap();
    assert!(said.starts_with(text), "{said}");
}

/// The interpreter stands on `PATH`, like the node that runs the servers.
const NODE: &str = "node";

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_python_sdk_works_with_initialize() {
    let python = python_tool("python");
    let script = "fixtures/clients/python_sdk.py";
    works(&world(), &python, script, ("legacy", "2025-11-25"));
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_python_sdk_works_with_discover() {
    let python = python_tool("python");
    let script = "fixtures/clients/python_sdk.py";
    works(&world(), &python, script, ("auto", "2026-07-28"));
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_typescript_sdk_of_version_1_works() {
    let script = "fixtures/clients/typescript_sdk_v1.mjs";
    works(&world(), Path::new(NODE), script, ("legacy", "2025-11-25"));
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_typescript_sdk_of_version_2_works_with_initialize() {
    let script = "fixtures/clients/typescript_sdk_v2.mjs";
    works(&world(), Path::new(NODE), script, ("legacy", "2025-11-25"));
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_typescript_sdk_of_version_2_works_with_discover() {
    let script = "fixtures/clients/typescript_sdk_v2.mjs";
    works(&world(), Path::new(NODE), script, ("auto", "2026-07-28"));
}

/// Runs the inspector's command line, and returns what it printed.
fn inspects(world: &World, args: &[&str]) -> Value {
    let config = world.path("countersign.toml");
    let done = Command::new(node_tool("mcp-inspector"))
        .args(["--cli", PROGRAM, "stdio", "-e"])
        .arg(format!("COUNTERSIGN_CONFIG={}", config.display()))
        .args(args)
        // It keeps notes there.
        .env("HOME", world.path("home"))
        .output()
        .unwrap();
    serde_json::from_slice(&done.stdout).unwrap_or_else(|_no_json| panic!("{done:?}"))
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_inspector_lists_and_calls() {
    let world = World::new();
    let list = inspects(&world, &["--method", "tools/list"]);
    let tools = list["tools"].as_array().unwrap().iter();
    let names: Vec<_> = tools.map(|tool| &tool["name"]).collect();
    assert_eq!(names, [APPROVE, GET]);

    // The inspector makes a number of whatever looks like one: a claim `99`
    // would not fit the schema, which asks for a text.
    let call = |amount: &str| {
        let amount = format!("amount={amount}");
        let args = ["claim_id=A-99", &amount, "payee=ACME"];
        let call = ["--method", "tools/call", "--tool-name", APPROVE];
        let args = args.iter().flat_map(|arg| ["--tool-arg", arg]);
        inspects(&world, &call.into_iter().chain(args).collect::<Vec<_>>())
    };
    let paid = call("9000");
    assert_eq!(
        paid["content"][0]["text"],
        "Paid $9000.00 to ACME on claim A-99."
    );
    let denied = call("50000");
    assert_eq!(denied["isError"], true);
    let text = denied["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("Limit Exceeded."), "{text}");
    assert_eq!(world.paid(), [900_000]);
}
