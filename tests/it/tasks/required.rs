//! Tools of a server of 2025-11-25 that must be called as a task.

use super::*;
use countersign::outcome::Outcome;

const REFUSED: &str =
    "the server `own` (MCP 2025-11-25) runs this tool as a task only, and this client";

fn work() -> Value {
    json!({"name": "own__work"})
}

/// The tools of the calls and how they ended.
fn trail(world: &World) -> Vec<String> {
    let calls = world.calls("claim-99").into_iter();
    let ended = calls.map(|call| {
        let outcome = call.outcome.map_or("open", Outcome::as_str);
        let closed = call.close_detail.unwrap_or_default();
        let code = closed["code"].as_str().unwrap_or_default();
        format!("{} {outcome} {code}", call.tool)
            .trim_end()
            .to_owned()
    });
    ended.collect()
}

#[test]
fn a_newer_client_that_knows_of_tasks_gets_one_of_its_own_revision() {
    let world = required();
    let mut broker = world.broker();
    let discovered = broker.ask("server/discover", knowing(json!({})));
    let can = &discovered["result"]["capabilities"]["extensions"];
    assert_eq!(can, &json!({TASKS: {}}), "{discovered}");
    let mut begun = broker.ask("tools/call", knowing(work()));
    let id = begun["result"]["taskId"].take();
    assert!(id.as_str().unwrap().starts_with("task-"), "{begun}");
    let expected = json!({
        "resultType": "task",
        "taskId": null,
        "status": "working",
        "ttlMs": 60000,
        "x-own": 1e2,
    });
    assert_eq!(begun["result"], expected);
    assert!(broker.end());
    // The next broker knows it too.
    let mut broker = world.broker();
    let got = broker.ask("tasks/get", knowing(json!({"taskId": id})));
    assert_eq!(got["result"]["taskId"], id, "{got}");
    assert_eq!(got["result"]["resultType"], "complete");
    assert_eq!(got["result"]["heard"]["params"]["taskId"], "7");
    let cancelled = broker.ask("tasks/cancel", knowing(json!({"taskId": id})));
    assert_eq!(cancelled["result"]["heard"]["method"], "tasks/cancel");
    // There is nothing to update: older servers ask by requests.
    let updated = json!({"taskId": id, "inputResponses": {}});
    let updated = broker.ask("tasks/update", knowing(updated));
    assert_eq!(updated["error"]["code"], -32602, "{updated}");
    assert!(broker.end());
    assert_eq!(
        trail(&world)[..3],
        [
            "own/work completed",
            "own/tasks/get completed",
            "own/tasks/cancel completed",
        ]
    );
    assert_eq!(world.journal_problems(), []);
}

#[test]
fn a_client_that_wants_no_task_reads_what_to_do_and_nothing_is_sent() {
    let world = required();
    let mut broker = world.broker();
    let refused = broker.ask("tools/call", modern(work(), json!({})));
    let error = &refused["error"];
    assert_eq!(error["code"], -32021, "{refused}");
    let said = error["message"].as_str().unwrap();
    let newer = format!("{REFUSED} (MCP 2026-07-28) did not declare tasks: declare the extension");
    assert!(said.starts_with(&newer), "{said}");
    let needs = json!({"requiredCapabilities": {"extensions": {TASKS: {}}}});
    assert_eq!(error["data"], needs);
    assert!(broker.end());
    let (mut broker, _opened) = legacy_client(&world);
    let refused = broker.ask("tools/call", work());
    // Which servers of that revision must say (2025-11-25, tasks, tool-level
    // negotiation).
    assert_eq!(refused["error"]["code"], -32601, "{refused}");
    let said = refused["error"]["message"].as_str().unwrap();
    let older = format!("{REFUSED} (MCP 2025-11-25 or before) asked for none: send `task`");
    assert!(said.starts_with(&older), "{said}");
    let mut wanted = work();
    wanted["task"] = json!({});
    let begun = broker.ask("tools/call", wanted);
    assert_eq!(begun["result"]["task"]["status"], "working", "{begun}");
    assert!(broker.end());
    let refused = "own/work failed-before-sending only_as_task";
    assert_eq!(trail(&world), [refused, refused, "own/work completed"]);
    assert_eq!(world.journal_problems(), []);
}
