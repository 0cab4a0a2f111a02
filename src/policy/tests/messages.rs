//! What is put into messages, and which messages are refused.

use super::world::World;
use super::world::decide;
use super::world::facts;
use super::world::names;
use crate::policy::Verdict;
use crate::tool::ToolRules;
use serde_json::json;

const PAY: &str = r#"{"claim_id":"C-1","amount":50000.00,"payee":"x"}"#;

/// A forbid of payments over the principal's limit, with this message.
fn over_limit(message: &str, scope: &str) -> String {
    format!(
        r#"@id("own") @message("{message}") @escalate("Manager") @expires("PT8H")
        forbid(principal, {scope}, resource)
        when {{ context has input.amount && context.input.amount > principal.limit }}
        unless {{ context.call has approval && context.call.approval.by in Broker::Role::"Manager" }};"#
    )
}

const OF_PAYMENTS: &str = r#"action == Broker::Action::"claims/approve_payment""#;

fn said(world: &World, tool: &str, arguments: &str) -> Vec<String> {
    let gate = world.gate(tool);
    let denial = match decide(&gate, "alice", arguments, &facts(&gate, arguments)) {
        Verdict::Allow(_) => panic!("it is allowed"),
        Verdict::Deny(denial) | Verdict::Escalate(denial, _) | Verdict::Confirm(denial, _) => {
            denial
        }
    };
    let own = denial.reasons.into_iter();
    own.filter(|reason| reason.policy == "own")
        .filter_map(|reason| reason.message)
        .collect()
}

fn problems(world: &World) -> String {
    world.build().unwrap_err().problems().join("\n")
}

#[test]
fn a_message_says_the_amount_the_limit_the_role_and_the_time() {
    let message = "{amount} is over {limit}: ask a {role} within {expires}. {{amount}}";
    let world = World::shipped().with(&over_limit(message, OF_PAYMENTS));
    assert_eq!(
        said(&world, "claims/approve_payment", PAY),
        ["50000.00 is over 10000.00: ask a Manager within 8 hours. {amount}"]
    );
}

#[test]
fn an_amount_that_is_no_money_is_a_number_and_so_is_its_limit() {
    let schema = json!({"type": "object", "properties": {
        "amount": {"type": "integer"}, "page": {"type": "integer"}}, "required": ["amount"]});
    let rules = ToolRules {
        meters: names(&["amount"]),
        ..ToolRules::default()
    };
    let policy = over_limit(
        "{amount} over {limit}",
        r#"action == Broker::Action::"t/x""#,
    );
    let world = World::of_tool(schema, rules).with(&policy);
    let told = said(&world, "t/x", r#"{"amount":2000000}"#);
    assert_eq!(told, ["2000000 over 1000000"]);
}

#[test]
fn a_message_that_a_tool_cannot_fill_is_an_error_with_policy_file_and_tool() {
    let all = r#"action in [Broker::Action::"claims/approve_payment", Broker::Action::"claims/close_claim"]"#;
    let world = World::shipped().with(&over_limit("{amount}", all));
    let told = problems(&world);
    assert!(
        told.starts_with("own.cedar:1: policy `own`: its `@message` says an amount"),
        "{told}"
    );
    assert!(told.contains("`claims/close_claim`"), "{told}");
    // Its limit is known without an amount.
    let world = World::shipped().with(&over_limit("{limit}", all));
    assert!(world.build().is_ok());
    // Opening a session is no call, and hidden texts of two policies are two problems.
    let any = r#"@id("open") @message("{amount}") forbid(principal, action, resource);"#;
    let world = World::shipped().with(&format!("{any}{}", over_limit("{amount}", all)));
    assert_eq!(world.build().unwrap_err().problems().len(), 2);
}

#[test]
fn a_placeholder_that_is_not_known_is_an_error_with_what_is_allowed() {
    let world = World::shipped().with(&over_limit("{payee}", OF_PAYMENTS));
    let told = problems(&world);
    assert!(told.contains("own.cedar:1: policy `own`"), "{told}");
    assert!(
        told.contains("`{amount}`, `{limit}`, `{role}` and `{expires}`"),
        "{told}"
    );
}
