//! An agent script is stopped, waits, and goes on once a person has approved: with real
//! clients on both sides.

use super::says;
use super::state;
use crate::real::python_tool;
use crate::serving::Serving;
use crate::world::PATIENCE;
use crate::world::World;
use crate::world::lines_of;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;

/// A script of the Python SDK that runs.
struct Script {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Script {
    /// Starts one in the session `claim-99` of whoever the key is of.
    fn start(broker: &Serving, key: &str, (mode, more): (&str, &Value)) -> Self {
        let mut plan = json!({
            "url": broker.url("/mcp"),
            "headers": {
                "authorization": format!("Bearer {key}"),
                "countersign-session": "claim-99",
            },
            "mode": mode,
        });
        let members = more.as_object().unwrap().clone();
        plan.as_object_mut().unwrap().extend(members);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/clients/escalated.py");
        let mut child = Command::new(python_tool("python"))
            .arg(script)
            .arg(plan.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(&mut child);
        Self { child, lines }
    }

    /// The next thing that it saw.
    fn saw(&self, what: &str) -> String {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        line[what]
            .as_str()
            .unwrap_or_else(|| panic!("no {what}: {line}"))
            .to_owned()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// The agent is stopped, `approves` says yes to it, and its call passes once.
fn passes_once(mode: &str, approves: impl FnOnce(&World, &Serving, &str, &str)) {
    let world = World::new();
    let [alice, mia] = ["alice", "mia"].map(|name| world.key(name));
    let broker = world.serve();
    let agent = Script::start(&broker, &alice, (mode, &json!({"who": "agent"})));
    let line = agent.lines.recv_timeout(PATIENCE).unwrap();
    let stopped: Value = serde_json::from_str(&line).unwrap();
    let said = stopped["said"].as_str().unwrap();
    assert!(
        said.starts_with("Limit Exceeded. Escalate to Manager.\n"),
        "{said}"
    );
    let id = stopped["id"].as_str().unwrap();
    assert!(world.paid().is_empty());
    approves(&world, &broker, &mia, id);
    let told = agent.saw("told");
    assert!(
        told.starts_with("Approved by mia: \"seen the invoice\". Make the same call"),
        "{told}"
    );
    assert_eq!(agent.saw("again"), "Paid $50000.00 to ACME on claim 99.");
    let once_more = agent.saw("once_more");
    assert!(
        once_more.contains("is asked: esc-") && !once_more.contains(id),
        "{once_more}"
    );
    assert_eq!(world.paid(), [5_000_000]);
    assert_eq!(state(&world, id), "used");
    assert_eq!(world.journal_problems(), []);
}

fn by_command_line(world: &World, _broker: &Serving, mia: &str, id: &str) {
    let (done, printed) = says(world, mia, &["approve", id, "--reason", "seen the invoice"]);
    assert!(done, "{printed}");
}

/// A client of her own, which does not wait for an answer of the agent's.
fn by_client(mode: &str) -> impl FnOnce(&World, &Serving, &str, &str) {
    move |_world, broker, mia, id| {
        let more = json!({"who": "manager", "id": id});
        let manager = Script::start(broker, mia, (mode, &more));
        let waits = manager.saw("waits");
        assert!(waits.contains(id) && waits.contains("50000"), "{waits}");
        assert_eq!(manager.saw("decided"), format!("{id} is approved."));
    }
}

#[test]
#[ignore = "needs the Python SDK: run tests/run"]
fn an_agent_script_passes_once_a_manager_has_approved_by_command_line() {
    for mode in ["auto", "legacy"] {
        passes_once(mode, by_command_line);
    }
}

#[test]
#[ignore = "needs the Python SDK: run tests/run"]
fn an_agent_script_passes_once_a_manager_has_approved_by_a_client_of_her_own() {
    for mode in ["auto", "legacy"] {
        passes_once(mode, by_client(mode));
    }
}
