//! When the person in front of the client is asked, and when nobody is.

use super::world::World;
use super::world::decide;
use super::world::facts;
use super::world::id;
use super::world::told;
use crate::policy::Facts;
use crate::policy::Verdict;

const CLOSE: &str = r#"{"claim_id":"C-1","reason":"done"}"#;

/// A forbid on closing claims that a confirmation lifts.
fn confirm(id: &str, asks: &str, more: &str) -> String {
    format!(
        r#"@id("{id}") @confirm("{asks}")
        forbid(principal, action == Broker::Action::"claims/close_claim", resource) {more}
        unless {{ context.call.confirmed }};"#
    )
}

/// One that a Manager lifts.
const ESCALATE: &str = r#"@id("e") @escalate("Manager") @expires("PT1H")
    forbid(principal, action == Broker::Action::"claims/close_claim", resource)
    unless { context.call has approval && context.call.approval.by in Broker::Role::"Manager" };"#;

/// One that nobody lifts.
const HARD: &str =
    r#"@id("z") forbid(principal, action == Broker::Action::"claims/close_claim", resource);"#;

fn closing(who: &str, policies: &[&str], with: impl FnOnce(&mut Facts)) -> Verdict {
    let world = World::shipped().with(&policies.join("\n"));
    let gate = world.gate("claims/close_claim");
    let mut facts = facts(&gate, CLOSE);
    with(&mut facts);
    decide(&gate, who, CLOSE, &facts)
}

#[test]
fn the_person_is_asked_what_each_forbid_asks_and_a_yes_lifts_them() {
    let policies = [
        confirm("b", "Close it?", ""),
        confirm("a", "Sure?", ""),
        confirm("c", "Sure?", ""),
    ];
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    assert_eq!(
        told(&closing("mallory", &policies, |_facts| ())),
        r#"confirm a ["a", "b", "c"] [] by ["Sure?", "Close it?"]"#
    );
    assert_eq!(
        told(&closing("mallory", &policies, |facts| facts.confirmed = true)),
        r#"allow ["claims.close"]"#
    );
}

#[test]
fn nobody_is_asked_what_a_yes_would_not_change() {
    let plain = confirm("a", "Sure?", "");
    // A forbid that nobody lifts.
    assert_eq!(
        told(&closing("mallory", &[&plain, HARD], |_facts| ())),
        r#"deny a ["a", "z"] []"#
    );
    // A yes does not replace a permit, and is asked of nobody who has none.
    for confirmed in [false, true] {
        assert_eq!(
            told(&closing("alice", &[&plain], |facts| facts.confirmed = confirmed)),
            "deny not_permitted [] []"
        );
    }
    // One that matches in spite of a yes.
    let stubborn = confirm("a", "Sure?", "when { !context.call.confirmed || true }")
        .replace("unless { context.call.confirmed }", "");
    assert_eq!(
        told(&closing("mallory", &[&stubborn], |_facts| ())),
        r#"deny a ["a"] []"#
    );
    // One that matches because of it.
    let contrary = r#"@id("b") @confirm("And?")
        forbid(principal, action == Broker::Action::"claims/close_claim", resource)
        when { context.call.confirmed };"#;
    assert_eq!(
        told(&closing("mallory", &[&plain, contrary], |_facts| ())),
        r#"deny a ["a"] []"#
    );
    // What fails with a yes only denies, as anything that fails.
    let failing = confirm(
        "b",
        "And?",
        "when { context.call.confirmed && 9223372036854775807 + 1 > 0 }",
    )
    .replace("unless { context.call.confirmed }", "");
    assert_eq!(
        told(&closing("mallory", &[&plain, &failing], |_facts| ())),
        r#"deny a ["a"] []"#
    );
}

#[test]
fn an_approval_comes_first_and_the_yes_is_asked_for_when_the_call_is_made() {
    let plain = confirm("a", "Sure?", "");
    let both = [&*plain, ESCALATE];
    let Verdict::Escalate(denial, escalation) = closing("mallory", &both, |_facts| ()) else {
        panic!("nobody can approve it");
    };
    assert_eq!(denial.reasons.len(), 2);
    assert_eq!(escalation.roles, ["Manager"]);
    // A forbid that is confirmed has no time of its own.
    assert_eq!(escalation.expires.as_hours(), 1);
    let approved = |facts: &mut Facts| facts.approval = Some(id("mia"));
    assert_eq!(
        told(&closing("mallory", &both, approved)),
        r#"confirm a ["a"] [] by ["Sure?"]"#
    );
    let confirmed = |facts: &mut Facts| facts.confirmed = true;
    assert!(told(&closing("mallory", &both, confirmed)).starts_with("escalate e"));
    assert_eq!(
        told(&closing("mallory", &both, |facts| {
            approved(facts);
            confirmed(facts);
        })),
        r#"allow ["claims.close"]"#
    );
    // The caller's own is none.
    let own = |facts: &mut Facts| facts.approval = Some(id("mallory"));
    assert!(told(&closing("mallory", &both, own)).starts_with("escalate"));
    let all = [&*plain, ESCALATE, HARD];
    assert!(told(&closing("mallory", &all, |_facts| ())).starts_with("deny"));
}

#[test]
fn a_question_says_the_amount_and_the_limit() {
    let pay = r#"{"claim_id":"C-1","amount":5000.00,"payee":"x"}"#;
    let policy = r#"@id("own") @confirm("Pay {amount} of {limit}?")
        forbid(principal, action == Broker::Action::"claims/approve_payment", resource)
        when { context.input.amount <= principal.limit }
        unless { context.call.confirmed };"#;
    let gate = World::shipped().with(policy).gate("claims/approve_payment");
    assert_eq!(
        told(&decide(&gate, "alice", pay, &facts(&gate, pay))),
        r#"confirm own ["own"] [] by ["Pay 5000.00 of 10000.00?"]"#
    );
    let unsaid = policy.replace("claims/approve_payment", "claims/close_claim");
    let unsaid = unsaid.replace("when { context.input.amount <= principal.limit }", "");
    let unsaid = unsaid.replace(" of {limit}", "");
    let problems = World::shipped().with(&unsaid).build().unwrap_err();
    let problems = problems.problems().join("\n");
    assert!(problems.contains("`@confirm` says an amount"), "{problems}");
}
