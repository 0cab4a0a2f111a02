//! Who is asked to lift a denial, and when nobody is.

use super::world::World;
use super::world::decide;
use super::world::facts;
use super::world::id;
use super::world::told;
use crate::policy::Verdict;
use jiff::SignedDuration;

const CLOSE: &str = r#"{"claim_id":"C-1","reason":"done"}"#;
const LIFTED: &str =
    "unless { context.call has approval && context.call.approval.by in Broker::Role";

/// A forbid on closing claims that `role` can lift.
fn stop(id: &str, role: &str, more: &str) -> String {
    format!(
        r#"@id("{id}") @escalate("{role}") {more}
        forbid(principal, action == Broker::Action::"claims/close_claim", resource)
        {LIFTED}::"{role}" && context.call.approval.by != principal }};"#
    )
}

fn closing(who: &str, policies: &[String]) -> Verdict {
    let world = World::shipped().with(&policies.join("\n"));
    let gate = world.gate("claims/close_claim");
    decide(&gate, who, CLOSE, &facts(&gate, CLOSE))
}

#[test]
fn a_role_is_asked_only_if_one_member_alone_would_turn_the_answer() {
    let both = [stop("a", "Manager", ""), stop("b", "Auditor", "")];
    // No one is both, so nobody's approval suffices.
    assert_eq!(told(&closing("mallory", &both)), r#"deny a ["a", "b"] []"#);
    let nested = [stop("a", "Manager", ""), stop("b", "Senior", "")];
    // mia is a Manager, and a Senior by the hierarchy of roles.
    assert_eq!(
        told(&closing("mallory", &nested)),
        r#"escalate a ["a", "b"] [] to ["Manager", "Senior"]"#
    );
}

#[test]
fn the_caller_is_never_asked() {
    let policies = [stop("a", "Manager", "")];
    assert_eq!(told(&closing("mia", &policies)), r#"deny a ["a"] []"#);
    // Even where the policy forgot to say so.
    let careless = format!(
        r#"@id("a") @escalate("Manager")
        forbid(principal, action == Broker::Action::"claims/close_claim", resource)
        {LIFTED}::"Manager" }};"#
    );
    assert_eq!(
        told(&closing("mia", std::slice::from_ref(&careless))),
        r#"deny a ["a"] []"#
    );
    let gate = World::shipped().with(&careless).gate("claims/close_claim");
    let mut facts = facts(&gate, CLOSE);
    facts.approval = Some(id("mia"));
    assert_eq!(
        told(&decide(&gate, "mia", CLOSE, &facts)),
        r#"deny a ["a"] []"#
    );
    assert!(told(&decide(&gate, "mallory", CLOSE, &facts)).starts_with("allow"));
}

#[test]
fn one_hard_stop_ends_it() {
    let hard =
        r#"@id("z") forbid(principal, action == Broker::Action::"claims/close_claim", resource);"#;
    let policies = [stop("a", "Manager", ""), hard.to_owned()];
    assert_eq!(
        told(&closing("mallory", &policies)),
        r#"deny a ["a", "z"] []"#
    );
}

#[test]
fn a_dead_end_is_not_offered() {
    let unliftable = r#"@id("a") @escalate("Manager")
        forbid(principal, action == Broker::Action::"claims/close_claim", resource);"#;
    assert_eq!(
        told(&closing("mallory", &[unliftable.to_owned()])),
        r#"deny a ["a"] []"#
    );
    // An approval does not replace a permit.
    let policies = [stop("a", "Manager", "")];
    assert_eq!(
        told(&closing("alice", &policies)),
        "deny not_permitted [] []"
    );
}

#[test]
fn a_role_that_nobody_holds_is_not_asked() {
    let mut world = World::shipped().with(&stop("a", "Manager", ""));
    world.principals.by_id.remove(&id("mia"));
    let gate = world.gate("claims/close_claim");
    let verdict = decide(&gate, "mallory", CLOSE, &facts(&gate, CLOSE));
    assert_eq!(told(&verdict), r#"deny a ["a"] []"#);
}

#[test]
fn the_shortest_expiry_counts_and_three_days_are_the_default() {
    for (first, second, hours) in [
        ("", "", 72),
        (r#"@expires("PT1H")"#, "", 1),
        (r#"@expires("P7D")"#, r#"@expires("P1D")"#, 24),
    ] {
        let policies = [stop("a", "Manager", first), stop("b", "Manager", second)];
        let Verdict::Escalate(_, escalation) = closing("mallory", &policies) else {
            panic!("no escalation");
        };
        assert_eq!(escalation.expires, SignedDuration::from_hours(hours));
    }
}

#[test]
fn a_denial_carries_the_operators_words() {
    let words = r#"@message("Ask first.") @reason("ask_first")"#;
    let Verdict::Escalate(denial, _) = closing("mallory", &[stop("a", "Manager", words)]) else {
        panic!("no escalation");
    };
    assert_eq!(denial.code, "ask_first");
    assert_eq!(denial.reasons[0].message.as_deref(), Some("Ask first."));
}

#[test]
fn an_approval_lifts_exactly_what_its_forbid_says() {
    let world = World::shipped().with(&stop("a", "Manager", ""));
    let gate = world.gate("claims/close_claim");
    let mut facts = facts(&gate, CLOSE);
    facts.approval = Some(id("mia"));
    assert_eq!(
        told(&decide(&gate, "mallory", CLOSE, &facts)),
        r#"allow ["claims.close"]"#
    );
    facts.session.labels.insert("untrusted-web".to_owned());
    facts.approval = Some(id("alice"));
    assert!(told(&decide(&gate, "mallory", CLOSE, &facts)).starts_with("escalate"));
}

#[test]
fn private_data_goes_to_no_sink_without_a_manager() {
    let files =
        r#"@id("files") permit(principal, action in Broker::Action::"server:files", resource);"#;
    let world = World::shipped().with(files);
    let (path, sink) = (r#"{"path": "/srv/a"}"#, world.gate("files/read-file"));
    let mut facts = facts(&sink, path);
    assert_eq!(
        told(&decide(&sink, "alice", path, &facts)),
        r#"allow ["files"]"#
    );
    facts.session.labels.insert("private-data".to_owned());
    assert_eq!(
        told(&decide(&sink, "alice", path, &facts)),
        r#"escalate private_data_to_sink ["global.private-to-sink"] [] to ["Manager"]"#
    );
    facts.approval = Some(id("mia"));
    assert_eq!(
        told(&decide(&sink, "alice", path, &facts)),
        r#"allow ["files"]"#
    );
    facts.approval = None;
    let inside = world.gate("files/write.file \"x\"");
    assert_eq!(
        told(&decide(&inside, "alice", path, &facts)),
        r#"allow ["files"]"#
    );
}
