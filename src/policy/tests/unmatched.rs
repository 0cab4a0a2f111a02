//! Policies that no call can match, and comparisons that never come true.

use super::world::World;

/// What is warned of where this policy is added.
fn warned(policy: &str) -> Vec<String> {
    let world = World::shipped().with(&format!(r#"@id("x") {policy};"#));
    let bundle = world.build().unwrap_or_else(|error| panic!("{error}"));
    bundle.warnings().to_vec()
}

const NONE: &str = "policy `x`: it matches none of today's tools";

#[test]
fn a_server_is_no_resource_and_a_policy_on_one_is_warned_of() {
    let why = ": `resource == Broker::Server::\"claims\"` is never so: the resource of a call is its tool, and the only server that is ever one is `countersign`, where sessions are opened, joined and sent events (did you mean `resource in Broker::Server::\"claims\"`?)";
    for policy in [
        r#"forbid(principal, action, resource == Broker::Server::"claims")"#,
        r#"forbid(principal, action, resource) when { resource == Broker::Server::"claims" }"#,
        r#"forbid(principal, action, resource) unless { resource != Broker::Server::"claims" }"#,
        r#"forbid(principal, action in Broker::Action::"tools/call", resource == Broker::Server::"claims")"#,
        r#"forbid(principal, action in Broker::Action::"server:claims", resource == Broker::Server::"claims")"#,
    ] {
        assert_eq!(
            warned(policy),
            [format!("own.cedar:1: {NONE}{why}")],
            "{policy}"
        );
    }
    let files = r#"forbid(principal, action in Broker::Action::"server:claims", resource == Broker::Server::"files")"#;
    let files = warned(files);
    assert!(files[0].ends_with("and sent events"), "{files:?}");
    // It matches what is in no server, and never what the exception was for.
    let except = warned(
        r#"forbid(principal, action, resource) unless { resource == Broker::Server::"claims" }"#,
    );
    let due = format!("own.cedar:1: policy `x`{why}");
    assert_eq!(except, [due]);
}

#[test]
fn a_policy_whose_action_and_resource_never_meet_is_warned_of() {
    for policy in [
        r#"forbid(principal, action == Broker::Action::"claims/approve_payment", resource == Broker::Tool::"claims/close_claim")"#,
        r#"forbid(principal, action == Broker::Action::"claims/approve_payment", resource in Broker::Server::"files")"#,
        r#"forbid(principal, action == Broker::Action::"claims/approve_payment", resource) when { resource == Broker::Tool::"claims/close_claim" }"#,
        r#"forbid(principal, action, resource) when { resource == Broker::Tool::"claims/close_claim" && resource in [Broker::Server::"files"] }"#,
    ] {
        assert_eq!(warned(policy), [format!("own.cedar:1: {NONE}")], "{policy}");
    }
}

#[test]
fn a_policy_that_some_call_matches_is_not_warned_of() {
    for policy in [
        r#"forbid(principal, action, resource == Broker::Server::"countersign")"#,
        r#"forbid(principal, action, resource in Broker::Server::"claims")"#,
        r#"forbid(principal, action, resource == Broker::Tool::"claims/close_claim")"#,
        r#"forbid(principal, action == Broker::Action::"session/open", resource == Broker::Server::"countersign")"#,
        r#"forbid(principal, action, resource) when { resource in Broker::Server::"claims" || resource == Broker::Tool::"files/read-file" }"#,
        r#"forbid(principal, action in Broker::Action::"write", resource) when { resource.risk == "none" }"#,
    ] {
        assert_eq!(warned(policy), Vec::<String>::new(), "{policy}");
    }
}

#[test]
fn a_group_is_no_action_of_a_call() {
    for (group, due) in [
        ("write", "write `action in Broker::Action::\"write\"`"),
        (
            "server:claims",
            "write `action in Broker::Action::\"server:claims\"`",
        ),
    ] {
        let policy = format!(
            r#"@id("x") forbid(principal, action == Broker::Action::"{group}", resource);"#
        );
        let told = World::shipped().with(&policy).build().unwrap_err();
        let told = told.problems().join("\n");
        assert!(told.contains(due), "{told}");
        let is = r#"action == Broker::Action::"#;
        let warned = warned(&format!(
            r#"forbid(principal, action, resource) when {{ {is}"{group}" || {is}"claims/get_claim" }}"#
        ));
        assert!(warned.len() == 1 && warned[0].contains(due), "{warned:?}");
    }
}
