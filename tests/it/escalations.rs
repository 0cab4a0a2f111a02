//! Calls that a person lifts a limit for: exactly one, exactly once, and only by whom
//! policy lets.

mod deciding;
mod fitting;
mod lapsing;
mod notifying;
mod recorded;
mod scripts;
mod sdk;
mod waiting;

use crate::world::APPROVE;
use crate::world::Wire;
use crate::world::World;
use crate::world::text_of;
use serde_json::Value;
use serde_json::json;

const WAIT: &str = "countersign__escalation_wait";

/// What alice may not pay alone.
const MUCH: i64 = 50_000;

fn pay(dollars: i64, session: &str) -> Value {
    json!({"name": APPROVE, "arguments": {"claim_id": "99", "amount": dollars, "payee": "ACME"},
        "_meta": {"dev.countersign/session": session}})
}

fn broker_of(world: &World, who: &str) -> Wire {
    let broker = world.broker_with(|command| {
        command.args(["--principal", who]);
    });
    broker.initialized()
}

/// The id of the escalation that an answer names.
fn id_in(answer: &Value) -> String {
    let decision = &answer["result"]["_meta"]["dev.countersign/decision"];
    let id = decision["escalation"].as_str();
    id.unwrap_or_else(|| panic!("nobody is asked: {answer}"))
        .to_owned()
}

/// Alice is stopped at a payment in `claim-99`; returns who is asked.
fn stopped(broker: &mut Wire) -> String {
    let answer = broker.ask("tools/call", pay(MUCH, "claim-99"));
    assert!(
        text_of(&answer).starts_with("error: Limit Exceeded. Escalate to Manager.\n"),
        "{answer}"
    );
    id_in(&answer)
}

/// A word by the command line, with the key of whoever says it.
fn says(world: &World, key: &str, args: &[&str]) -> (bool, String) {
    let mut command = world.command(&[&["escalation"], args].concat());
    let output = command.env("COUNTERSIGN_KEY", key).output().unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn approved(world: &World, key: &str, id: &str) {
    let (done, printed) = says(world, key, &["approve", id]);
    assert!(done, "{printed}");
}

/// How an escalation stands.
fn state(world: &World, id: &str) -> String {
    let output = world
        .command(&["--json", "escalation", "show", id])
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    shown["state"].as_str().unwrap().to_owned()
}

fn passes(broker: &mut Wire, call: Value) -> bool {
    broker.ask("tools/call", call)["result"]["isError"] != true
}
