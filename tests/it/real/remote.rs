//! Servers that are reached by HTTP, as npm and PyPI have them.

use super::endings;
use super::list_with;
use super::node_tool;
use super::python_tool;
use crate::world::PATIENCE;
use crate::world::World;
use serde_json::json;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

/// A server at a port of its own. It ends with the test.
struct Elsewhere {
    child: Child,
}

impl Elsewhere {
    fn start(mut command: Command, port: u16) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the server never listens");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A port that nobody has at this moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn everything(mode: &str, port: u16) -> Command {
    let mut command = Command::new(node_tool("mcp-server-everything"));
    command.arg(mode).env("PORT", port.to_string());
    command
}

/// Calls a tool of the everything server, one that policy forbids for its
/// argument, and a slow one that reports; and goes on with the server's next
/// process.
fn works(mode: &str, path: &str) {
    let port = free_port();
    let server = Elsewhere::start(everything(mode, port), port);
    let section = format!("\n[servers.everything]\nurl = \"http://127.0.0.1:{port}{path}\"\n");
    let policy = include_str!("../../../fixtures/real/everything.cedar");
    let world = World::of(&section, policy);
    let mut broker = world.broker().initialized();
    list_with(&mut broker, "everything__");
    let echo = |text: &str| json!({"message": text});
    assert_eq!(
        broker.call("everything__echo", echo("hello")),
        "Echo: hello"
    );
    let denied = broker.call("everything__echo", echo("it is bluebird"));
    assert!(
        denied.starts_with("error: The codename must not leave."),
        "{denied}"
    );
    let long = "everything__trigger-long-running-operation";
    let params = json!({
        "name": long,
        "arguments": {"duration": 1, "steps": 4},
        "_meta": {"progressToken": "t"},
    });
    let id = broker.request("tools/call", params);
    let told = |message: &serde_json::Value| message["params"]["progressToken"] == "t";
    assert_eq!(broker.wait_for(told).unwrap()["params"]["progress"], 1);
    assert_eq!(
        broker.answer_to(id).unwrap()["result"]["content"][0]["type"],
        "text"
    );

    drop(server);
    let _server = Elsewhere::start(everything(mode, port), port);
    // What the broker says while it finds out is honest: not sent, or unknown.
    let begun = Instant::now();
    while broker.call("everything__echo", echo("again")) != "Echo: again" {
        assert!(begun.elapsed() < PATIENCE, "it never comes back");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(broker.end());
    let endings = endings(&world);
    assert_eq!(
        endings[..3],
        [
            "completed everything/echo",
            "denied everything/echo",
            "completed everything/trigger-long-running-operation",
        ]
    );
    assert_eq!(endings.last().unwrap(), "completed everything/echo");
    assert!(world.journal_problems().is_empty());
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_everything_server_works_over_streamable_http() {
    works("streamableHttp", "/mcp");
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_everything_server_works_over_the_older_pair() {
    works("sse", "/sse");
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn a_fastmcp_server_works_over_http() {
    let port = free_port();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/servers/typed.py");
    let mut command = Command::new(python_tool("python"));
    command.arg(script).arg(port.to_string());
    let _server = Elsewhere::start(command, port);
    let section = format!("\n[servers.typed]\nurl = \"http://127.0.0.1:{port}/mcp\"\n");
    let permit =
        "@id(\"all\") permit (principal, action in Broker::Action::\"tools/call\", resource);";
    let world = World::of(&section, permit);
    let (well, said) = world.run(&["check"]);
    assert!(well && said.contains("MCP 2026-07-28"), "{said}");
    let mut broker = world.broker().initialized();
    list_with(&mut broker, "typed__");
    let rated = broker.call(
        "typed__rate",
        json!({"stars": 3, "kind": "good", "reference": 7}),
    );
    // Its `reference` has two types, so the shipped rule stops a write with it.
    assert!(
        rated.starts_with("error: Some arguments cannot be checked"),
        "{rated}"
    );
    let home = json!({"street": "s", "zip": 1});
    let bill = json!({"person": {"name": "Eva", "home": home}, "items": []});
    assert_eq!(
        broker.call("typed__bill", bill),
        "billed Eva for 0 items in EUR"
    );
    assert!(broker.end());
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn a_server_over_tls_is_trusted_by_its_certificate_only() {
    let port = free_port();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/servers/typed.py");
    let section = format!("\n[servers.typed]\nurl = \"https://127.0.0.1:{port}/mcp\"\n");
    let permit =
        "@id(\"all\") permit (principal, action in Broker::Action::\"tools/call\", resource);";
    let world = World::of(&section, permit);
    let mut command = Command::new(python_tool("python"));
    command
        .arg(script)
        .arg(port.to_string())
        .arg(world.path(""));
    let _server = Elsewhere::start(command, port);
    let check = |roots: Option<&str>| {
        let mut check = world.command(&["check"]);
        match roots {
            Some(roots) => check.env("SSL_CERT_FILE", world.path(roots)),
            None => check.env_remove("SSL_CERT_FILE"),
        };
        let done = check.output().unwrap();
        (
            done.status.success(),
            String::from_utf8(done.stdout).unwrap(),
        )
    };
    let (well, said) = check(Some("ca.pem"));
    assert!(
        well && said.contains("server         typed: typed "),
        "{said}"
    );
    let (well, said) = check(None);
    assert!(!well && said.contains("invalid peer certificate"), "{said}");
}
