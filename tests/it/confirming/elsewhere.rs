//! Answers that come by way of a broker that does not have the call: they use nothing up.

use super::FORM;
use super::beside::approved;
use super::beside::asking;
use super::beside::name;
use super::going_on;
use super::modern_of;
use super::outcomes;
use super::states;
use super::yes;
use crate::world::text_of;
use serde_json::Value;
use serde_json::json;

fn ask() -> Value {
    let call = json!({"name": "own__ask", "arguments": {"amount": 1}});
    modern_of(call, FORM)
}

#[test]
fn an_answer_by_way_of_another_broker_uses_nothing_up_and_reaches_the_call_after_all() {
    let world = asking("asking.sh");
    let (mut first, mut second) = (world.broker(), world.broker());
    let sure = first.ask("tools/call", ask());
    let theirs = first.ask("tools/call", going_on(ask(), &sure, &yes()));
    let answer = going_on(ask(), &theirs, &name());
    for _ in 0..2 {
        let told = text_of(&second.ask("tools/call", answer.clone()));
        assert!(told.contains("another process of the broker"), "{told}");
        assert!(told.contains("nothing was used up"), "{told}");
    }
    let done = first.ask("tools/call", answer);
    assert_eq!(done["result"]["heard"]["result"], name(), "{done}");
    assert!(first.end());
    assert!(second.end());
    assert_eq!(
        outcomes(&world),
        [
            "input-required",
            "input-required",
            "denied",
            "denied",
            "completed"
        ]
    );
    assert_eq!(
        states(&world),
        ["asked", "confirmed", "none", "none", "carried"]
    );
    assert!(world.journal_problems().is_empty());
}

#[test]
fn an_approval_goes_on_with_the_call_that_has_it_and_with_no_answer_elsewhere() {
    let world = asking("asking.sh");
    let policy = r#"
@id("all")
permit (principal, action in Broker::Action::"server:own", resource);
@id("ask") @message("Ask a Manager.") @escalate("Manager")
forbid (principal, action == Broker::Action::"own/ask", resource)
unless { context.call has approval && context.call.approval.by in Broker::Role::"Manager" };
"#;
    world.write("policies/own.cedar", policy);
    let (mut first, mut second) = (world.broker(), world.broker());
    let stopped = first.ask("tools/call", ask());
    approved(&world, &stopped);
    let theirs = first.ask("tools/call", ask());
    let answer = going_on(ask(), &theirs, &name());
    let told = text_of(&second.ask("tools/call", answer.clone()));
    assert!(told.contains("nothing was used up"), "{told}");
    let done = first.ask("tools/call", answer);
    assert_eq!(done["result"]["heard"]["result"], name(), "{done}");
    assert!(first.end());
    assert!(second.end());
    assert_eq!(
        outcomes(&world),
        ["escalated", "input-required", "denied", "completed"]
    );
    assert!(world.journal_problems().is_empty());
}
