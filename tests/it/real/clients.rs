//! Clients: each does the same work through the broker, in each era that it
//! knows, and each has its own way of opening, cancelling and reporting.

use super::endings;
use super::list_with;
use super::node_tool;
use super::python_tool;
use super::section;
use crate::serving::Serving;
use crate::world::APPROVE;
use crate::world::GET;
use crate::world::OWN;
use crate::world::PROGRAM;
use crate::world::World;
use crate::world::payment;
use serde_json::Value;
use serde_json::json;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

const LONG: &str = "everything__trigger-long-running-operation";

/// The claims server and a real one that can report progress. Both were seen
/// before, so that no client's first list depends on how fast they start.
fn world() -> World {
    let world = World::new();
    let everything = node_tool("mcp-server-everything");
    // What only reads may be stopped by a client that goes away.
    let reads = "[servers.everything.tools.trigger-long-running-operation]\naccess = \"read\"\n";
    let everything = section("everything", &everything, &["stdio"]);
    world.append("countersign.toml", &format!("{everything}{reads}"));
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
        // Some clients forget what they have to send when they are closed.
        {"do": "list"},
        {"do": "restart"},
        call(APPROVE, payment(9_001)),
        call(APPROVE, payment(9_002)),
    ])
}

/// How a client reaches the broker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// It starts one itself.
    Stdio,
    /// Streamable HTTP. A client goes on with the next broker as it is.
    Http,
    /// The HTTP+SSE pair of 2024-11-05.
    Sse,
    /// Over stdio by way of `mcp-remote`, which goes on over HTTP.
    McpRemote,
}

/// Runs a client script and checks all that it saw and left.
fn works(interpreter: &Path, script: &str, by: By, (era, revision): (&str, &str)) {
    let world = world();
    let lines = follows(&world, interpreter, script, (by, era));
    let [
        opened,
        list,
        read,
        paid,
        above,
        hidden,
        progress,
        cancelled,
        _list,
        after @ ..,
    ] = &lines[..]
    else {
        panic!("{lines:#?}");
    };
    let (again, total) = match (by, after) {
        (By::Http, [again, total]) => (again, total),
        (By::Stdio | By::Sse | By::McpRemote, [reopened, again, total]) => {
            assert_eq!(reopened["revision"], revision);
            (again, total)
        }
        _ => panic!("{lines:#?}"),
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
    // The TypeScript SDKs forget who waits for progress when the answer is in
    // the same chunk, so the last report may be lost in it.
    let reports = progress["progress"].as_array().unwrap();
    assert!(
        (3..=4).contains(&reports.len()) && reports[0] == json!([1, 4]),
        "{progress}"
    );
    assert_eq!(cancelled["cancelled"], true);
    says(again, false, "Paid $9001.00 to ACME");
    says(
        total,
        true,
        "Session Limit Exceeded. Escalate to Manager.\n",
    );

    assert_eq!(world.paid(), [900_000, 900_100]);
    let long = |how: &str| format!("{how} everything/trigger-long-running-operation");
    assert_eq!(
        endings(&world),
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

/// Runs a client script to its end and returns what it printed. Where it asks
/// for that, the broker is killed and another one takes its address.
fn follows(world: &World, interpreter: &Path, script: &str, (by, era): (By, &str)) -> Vec<Value> {
    let key = world.key("alice");
    let mut broker = (by != By::Stdio).then(|| world.serve());
    let plan = json!({
        "server": server(world, by, broker.as_ref(), &key),
        "era": era,
        "steps": steps(),
    });
    let errors = world.path("client.log");
    let mut client = Command::new(interpreter)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .arg(plan.to_string())
        // Where `mcp-remote` keeps notes.
        .env("HOME", world.path("home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(client.stdout.take().unwrap()).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if line["restart"] == true {
            world.wait_until_closed();
            broker = broker.map(|broker| world.restarted(broker));
            writeln!(stdin).unwrap();
        } else {
            lines.push(line);
        }
    }
    let ended = client.wait().unwrap();
    assert!(ended.success(), "{}", world.read("client.log"));
    lines
}

/// How the plan of a client names the broker.
fn server(world: &World, by: By, broker: Option<&Serving>, key: &str) -> Value {
    let Some(broker) = broker else {
        let config = world.path("countersign.toml");
        return json!({
            "by": "stdio",
            "program": PROGRAM,
            "args": ["--config", config, "stdio"],
        });
    };
    let bearer = format!("Bearer {key}");
    let url = |path| broker.url(&format!("/s/claim-99/{path}"));
    let mut server = match by {
        By::Sse => json!({"by": "sse", "url": url("sse")}),
        By::Stdio | By::Http => json!({"by": "http", "url": url("mcp")}),
        By::McpRemote => json!({
            "by": "stdio",
            "program": node_tool("mcp-remote"),
            "args": [url("mcp"), "--header", format!("Authorization: {bearer}")],
        }),
    };
    server["headers"] = json!({"Authorization": bearer});
    server["elsewhere"] = true.into();
    server
}

#[track_caller]
fn says(answer: &Value, is_error: bool, text: &str) {
    assert_eq!(answer["isError"], is_error, "{answer}");
    let said = answer["text"].as_str().unwrap();
    assert!(said.starts_with(text), "{said}");
}

/// The interpreter stands on `PATH`, like the node that runs the servers.
const NODE: &str = "node";

/// By `initialize`, and what comes of it.
const LEGACY: (&str, &str) = ("legacy", "2025-11-25");
/// As the client finds out by itself.
const AUTO: (&str, &str) = ("auto", "2026-07-28");
/// What a client of the HTTP+SSE pair agrees on.
const SSE: (&str, &str) = ("legacy", "2025-11-25");

const PYTHON_SDK: &str = "fixtures/clients/python_sdk.py";
const FASTMCP: &str = "fixtures/clients/fastmcp_client.py";
const TYPESCRIPT_1: &str = "fixtures/clients/typescript_sdk_v1.mjs";
const TYPESCRIPT_2: &str = "fixtures/clients/typescript_sdk_v2.mjs";

fn python() -> PathBuf {
    python_tool("python")
}

fn node() -> PathBuf {
    NODE.into()
}

/// A test for each client, way and era.
macro_rules! clients {
    ($($name:ident: $interpreter:ident $script:ident $by:ident $era:ident;)*) => {
        $(
            #[test]
            #[ignore = "needs the packages that tests/run installs"]
            fn $name() {
                works(&$interpreter(), $script, By::$by, $era);
            }
        )*
    };
}

clients! {
    the_python_sdk_works_with_initialize: python PYTHON_SDK Stdio LEGACY;
    the_python_sdk_works_with_discover: python PYTHON_SDK Stdio AUTO;
    the_python_sdk_works_over_http_with_initialize: python PYTHON_SDK Http LEGACY;
    the_python_sdk_works_over_http_with_discover: python PYTHON_SDK Http AUTO;
    the_python_sdk_works_over_sse: python PYTHON_SDK Sse SSE;
    fastmcp_works_with_initialize: python FASTMCP Stdio LEGACY;
    fastmcp_works_with_discover: python FASTMCP Stdio AUTO;
    fastmcp_works_over_http_with_initialize: python FASTMCP Http LEGACY;
    fastmcp_works_over_http_with_discover: python FASTMCP Http AUTO;
    fastmcp_works_over_sse: python FASTMCP Sse SSE;
    the_typescript_sdk_of_version_1_works: node TYPESCRIPT_1 Stdio LEGACY;
    the_typescript_sdk_of_version_1_works_over_http: node TYPESCRIPT_1 Http LEGACY;
    the_typescript_sdk_of_version_1_works_over_sse: node TYPESCRIPT_1 Sse SSE;
    mcp_remote_works: node TYPESCRIPT_1 McpRemote LEGACY;
    the_typescript_sdk_of_version_2_works_with_initialize: node TYPESCRIPT_2 Stdio LEGACY;
    the_typescript_sdk_of_version_2_works_with_discover: node TYPESCRIPT_2 Stdio AUTO;
    the_typescript_sdk_of_version_2_works_over_http_with_initialize: node TYPESCRIPT_2 Http LEGACY;
    the_typescript_sdk_of_version_2_works_over_http_with_discover: node TYPESCRIPT_2 Http AUTO;
    the_typescript_sdk_of_version_2_works_over_sse: node TYPESCRIPT_2 Sse SSE;
}

/// How the inspector is told of a broker that it starts.
fn inspected_child(world: &World) -> Vec<String> {
    let config = world.path("countersign.toml");
    let config = format!("COUNTERSIGN_CONFIG={}", config.display());
    [PROGRAM, "stdio", "-e", &config].map(str::to_owned).into()
}

/// How the inspector is told of a broker that is elsewhere.
fn inspected_url(world: &World, by: By, broker: &Serving, key: &str) -> Vec<String> {
    let server = server(world, by, Some(broker), key);
    let text = |of: &Value| of.as_str().unwrap().to_owned();
    let header = format!(
        "Authorization: {}",
        text(&server["headers"]["Authorization"])
    );
    let args = [
        text(&server["url"]),
        "--transport".into(),
        text(&server["by"]),
    ];
    args.into_iter()
        .chain(["--header".into(), header])
        .collect()
}

/// Runs the inspector's command line, and returns what it printed.
fn inspects(world: &World, server: &[String], args: &[&str]) -> Value {
    let done = Command::new(node_tool("mcp-inspector"))
        .arg("--cli")
        .args(server)
        .args(args)
        // It keeps notes there.
        .env("HOME", world.path("home"))
        .output()
        .unwrap();
    serde_json::from_slice(&done.stdout).unwrap_or_else(|_no_json| panic!("{done:?}"))
}

fn the_inspector_works(world: &World, server: &[String]) {
    let list = inspects(world, server, &["--method", "tools/list"]);
    let tools = list["tools"].as_array().unwrap().iter();
    let names = tools.map(|tool| tool["name"].as_str().unwrap());
    let names: Vec<_> = names.filter(|name| !name.starts_with(OWN)).collect();
    assert_eq!(names, [APPROVE, GET]);

    // The inspector makes a number of whatever looks like one: a claim `99`
    // would not fit the schema, which asks for a text.
    let call = |amount: &str| {
        let amount = format!("amount={amount}");
        let args = ["claim_id=A-99", &amount, "payee=ACME"];
        let call = ["--method", "tools/call", "--tool-name", APPROVE];
        let args = args.iter().flat_map(|arg| ["--tool-arg", arg]);
        inspects(
            world,
            server,
            &call.into_iter().chain(args).collect::<Vec<_>>(),
        )
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

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_inspector_lists_and_calls() {
    let world = World::new();
    the_inspector_works(&world, &inspected_child(&world));
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_inspector_lists_and_calls_over_http() {
    let world = World::new();
    let key = world.key("alice");
    let broker = world.serve();
    the_inspector_works(&world, &inspected_url(&world, By::Http, &broker, &key));
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_inspector_lists_and_calls_over_sse() {
    let world = World::new();
    let key = world.key("alice");
    let broker = world.serve();
    the_inspector_works(&world, &inspected_url(&world, By::Sse, &broker, &key));
}
