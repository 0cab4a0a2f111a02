//! Scenarios: a list of calls as clients make them, and the trail that they
//! leave: answers, records, effects. Each file in `fixtures/scenarios` is one.

use crate::world::Wire;
use crate::world::World;
use crate::world::text_of;
use countersign::journal::CallView;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    about: String,
    steps: Vec<Step>,
}

/// A call of a tool, or a command of an operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    call: Option<String>,
    /// As the text it is: numbers must arrive with the digits they have here.
    arguments: Option<Box<RawValue>>,
    session: Option<String>,
    principal: Option<String>,
    run: Option<Vec<String>>,
}

/// What the steps did, in a text that is the same in every run.
fn trail(scenario: &Scenario) -> String {
    let world = World::new();
    let mut brokers: BTreeMap<String, Wire> = BTreeMap::new();
    let mut trail = format!("{}\n", scenario.about);
    for step in &scenario.steps {
        if let Some(run) = &step.run {
            let args: Vec<_> = run.iter().map(String::as_str).collect();
            let (done, printed) = world.run(&args);
            assert!(done, "{printed}");
            let printed = printed.trim_end();
            writeln!(trail, "\n$ countersign {}\n{printed}", run.join(" ")).unwrap();
            continue;
        }
        let principal = step.principal.as_deref().unwrap_or("alice");
        let broker = brokers.entry(principal.to_owned()).or_insert_with(|| {
            let start = |command: &mut Command| {
                command.args(["--principal", principal]);
            };
            world.broker_with(start).initialized()
        });
        let (answer, asked) = step.send(broker);
        writeln!(trail, "\n{principal}: {asked}").unwrap();
        for line in text_of(&answer).lines() {
            writeln!(trail, "  | {line}").unwrap();
        }
    }
    for (_principal, broker) in brokers {
        assert!(broker.end());
    }
    let store = world.store();
    let calls = store.read(|tx| countersign::journal::calls(tx, &Default::default()));
    trail.push_str("\njournal\n");
    for call in calls.unwrap() {
        writeln!(trail, "  {}", record(&call)).unwrap();
    }
    writeln!(trail, "ledger (cents) {:?}", world.paid()).unwrap();
    assert!(world.journal_problems().is_empty());
    trail
}

impl Step {
    /// Sends the call with the very text of its arguments.
    fn send(&self, broker: &mut Wire) -> (Value, String) {
        let name = self.call.as_deref().unwrap();
        let arguments = self.arguments.as_deref().unwrap().get();
        let meta = self.session.as_ref().map_or(
            json!({}),
            |handle| json!({"dev.countersign/session": handle}),
        );
        let params = format!(r#"{{"name":"{name}","arguments":{arguments},"_meta":{meta}}}"#);
        let answer = broker.ask_text("tools/call", &params);
        (answer, format!("{name} {arguments}"))
    }
}

fn record(call: &CallView) -> String {
    let outcome = call.outcome.expect("nothing stays open");
    let part = |name: &str| match call.detail.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(value) => format!(" {name}={value}"),
    };
    format!(
        "{:<18}{:<8}{}{}{}{}",
        outcome.as_str(),
        call.principal,
        call.tool,
        part("code"),
        part("policies"),
        part("charged"),
    )
}

#[test]
fn every_scenario_leaves_the_trail_that_was_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 6);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "(id)",
    );
    settings.add_filter("esc-[0-9a-z]{4}-[0-9a-z]{4}-[0-9a-z]{4}", "(escalation)");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        for file in files {
            let scenario: Scenario =
                serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            insta::assert_snapshot!(name, trail(&scenario));
        }
    });
}
