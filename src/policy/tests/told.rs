//! What an operator is told of what he wrote: limits that nothing reads, paths that are
//! compared as they are written, and mistakes by the names that they are about.

use super::world::World;
use super::world::id;
use super::world::server;
use super::world::tool;
use crate::tool::ToolRules;
use serde_json::json;

const PERMIT: &str =
    r#"@id("p") permit(principal, action in Broker::Action::"tools/call", resource);"#;

fn forbid(tool: &str, condition: &str) -> String {
    format!(
        "{PERMIT}\n@id(\"x\") forbid(principal, action == Broker::Action::\"{tool}\", resource) when {{ {condition} }};"
    )
}

fn pay(condition: &str) -> String {
    forbid("claims/approve_payment", condition)
}

#[test]
fn a_limit_that_no_policy_reads_is_told_with_whose_it_is_and_what_would_read_it() {
    let unread = |policy: &str| {
        let bundle = World::bare().with(policy).build();
        let bundle = bundle.unwrap_or_else(|error| panic!("{error}"));
        bundle.unread_limits().map(|unread| {
            assert!(unread.could_limit);
            unread.told
        })
    };
    let all = unread(PERMIT).unwrap();
    let whose = "no policy reads `limits.call`, `limits.session`, `limits.day`, `named_limits.refund.limit` of alice, audrey, mallory, mia of `principals.toml`";
    assert!(all.starts_with(whose), "{all}");
    let right = "@id(\"mine.limit\") forbid (principal, action == Broker::Action::\"claims/approve_payment\", resource) when { context.input.amount > principal.limit };";
    assert!(all.contains(right), "{all}");
    let world = World::bare().with(&format!("{PERMIT}\n{right}"));
    world.build().unwrap_or_else(|error| panic!("{error}"));

    let call = "context.input.amount > principal.limit";
    let session = "context.meter.amount.sessionAfter > principal.sessionLimit";
    let day = "context.meter.amount.dayAfter > principal.dayLimit";
    let named = "principal.hasTag(\"refund.limit\") && context.input.amount > principal.getTag(\"refund.limit\")";
    let rest = unread(&pay(call)).unwrap();
    assert!(
        rest.contains("reads `limits.session`, `limits.day`, `named") && rest.contains(session),
        "{rest}"
    );
    let rest = unread(&pay(&format!("{call} || {session}"))).unwrap();
    assert!(
        rest.contains("reads `limits.day`, ") && rest.contains(day),
        "{rest}"
    );
    let three = format!("{call} || {session} || {day}");
    let rest = unread(&pay(&three)).unwrap();
    assert!(
        rest.contains("reads `named_limits.refund.limit` of alice") && rest.contains("getTag"),
        "{rest}"
    );
    assert_eq!(unread(&pay(&format!("{three} || {named}"))), None);
    // Whether there is one is not what it is.
    let asked = "principal has limit && principal.hasTag(\"refund.limit\")";
    let rest = unread(&pay(asked)).unwrap();
    assert!(
        rest.contains("`limits.call`") && rest.contains("`named_limits.refund.limit`"),
        "{rest}"
    );
    // The limit of whoever approved is one too; an argument of that name is none.
    let approver = "context.call has approval && context.call.approval.by.limit > 5";
    let policy = pay(approver).replace("@id(\"x\")", "@id(\"x\") @escalate(\"Manager\")");
    assert!(!unread(&policy).unwrap().contains("limits.call"));
    let argument = "context.input has limit && context.input.limit > 5";
    let policy = forbid("files/read-file", argument);
    assert!(unread(&policy).unwrap().contains("`limits.call`"));
}

#[test]
fn where_nothing_is_an_amount_limits_are_told_of_as_what_may_well_be() {
    let mut world = World::bare().with(PERMIT);
    world.servers.remove(0);
    let unread = world.build().unwrap().unread_limits().unwrap();
    assert!(!unread.could_limit && unread.told.contains("declared as `money`"));
    // Without a server there is nothing to tell, and what waits may read them.
    world.servers.clear();
    assert_eq!(world.build().unwrap().unread_limits(), None);
    world.servers = vec![server("claims", None)];
    let waits = world.clone().with(&pay("true").replace(PERMIT, ""));
    assert_eq!(waits.build().unwrap().unread_limits(), None);
}

#[test]
fn an_escalation_of_the_shipped_policies_is_known_as_such() {
    let shipped = include_str!("../../../policies/global.cedar");
    let mut world = World::bare().with_global();
    world.principals.by_id.retain(|who, _| *who == id("alice"));
    world.add("own.cedar", PERMIT);
    let dead = |world: &World| -> Vec<(String, bool, bool)> {
        let dead = world.build().unwrap().dead_escalations(shipped);
        let dead = dead.into_iter();
        dead.map(|dead| (dead.policy, dead.has_nobody, dead.is_shipped))
            .collect()
    };
    let of_ours = |policy: &str| (policy.to_owned(), true, true);
    let both = ["global.private-to-sink", "global.tainted-write"].map(of_ours);
    assert_eq!(dead(&world), both);
    // Changed by a word it is somebody's.
    let changed = shipped.replace("\"untrusted-web\"", "\"mail\"");
    world.files[0].text = changed;
    assert_eq!(
        dead(&world)[1],
        ("global.tainted-write".to_owned(), true, false)
    );
}

/// A tool with a path that is declared, one that its schema names, and one by its name.
fn paths() -> World {
    let text = json!({"type": "string"});
    let schema = json!({"properties": {
        "path": text, "target": {"type": "string", "format": "file-path"},
        "name": text, "source_file": {"type": "string", "format": "uri"},
        "files": {"type": "array", "items": text},
        "at": {"properties": {"folder": text}, "required": ["folder"]},
    }, "required": ["path", "target", "name", "source_file", "files", "at"]});
    let rules = ToolRules {
        paths: vec!["target".to_owned()],
        ..ToolRules::default()
    };
    let mut world = World::bare();
    world.servers = vec![server("t", Some(vec![tool("t", "x", schema, rules)]))];
    world
}

#[test]
fn a_path_that_is_compared_as_it_is_written_is_told_with_the_right_form() {
    let warned = |condition: &str, kind: &str| -> Vec<String> {
        let policy = forbid("t/x", condition).replace("when", kind);
        let bundle = paths().with(&policy).build();
        let bundle = bundle.unwrap_or_else(|error| panic!("{error}"));
        bundle.warnings().to_vec()
    };
    for (condition, right) in [
        (
            "context.input.path like \"/srv/*\"",
            "declare `path = [\"path\"]` in `[servers.t.tools.x]`, and write `context.input[\"path#resolved\"]`; for one folder and all below it, `under` and `context.input[\"path#under\"]`",
        ),
        (
            "\"/etc/passwd\" == context.input.path",
            "`path = [\"path\"]`",
        ),
        (
            "[\"/a\", \"/b\"].contains(context.input.path)",
            "`path = [\"path\"]`",
        ),
        (
            "context.input.files.contains(\"/a\")",
            "`path = [\"files\"]`",
        ),
        (
            "context.input.at.folder == \"/a\"",
            "context.input.at[\"folder#resolved\"]",
        ),
        (
            "context.input.target != \"/a\"",
            "of `t/x` as it is written, and a path can be written in other ways (`/srv/x/../private`): write `context.input[\"target#resolved\"]`",
        ),
        // It is compared as well where it stands within something.
        (
            "[context.input.path].contains(\"/a\")",
            "`path = [\"path\"]`",
        ),
        (
            "[\"/a\"].containsAny([context.input.path, context.input.name])",
            "`path = [\"path\"]`",
        ),
        (
            "{at: context.input.path, n: 1} == {at: \"/a\", n: 1}",
            "`path = [\"path\"]`",
        ),
        (
            "{at: context.input.path}.at like \"/srv/*\"",
            "`path = [\"path\"]`",
        ),
        (
            "(if principal.limit > 5 then context.input.name else context.input.path) == \"/a\"",
            "`path = [\"path\"]`",
        ),
        (
            "(if principal.limit > 5 then context.input.path else \"\") like \"/srv/*\"",
            "`path = [\"path\"]`",
        ),
        (
            "context.input.path == (if principal.limit > 5 then \"/a\" else context.input.name)",
            "`path = [\"path\"]`",
        ),
        // What is let through by a text anywhere in it can lead elsewhere.
        (
            "!(context.input.path like \"*public*\")",
            "`path = [\"path\"]`",
        ),
    ] {
        let warnings = warned(condition, "when");
        assert_eq!(warnings.len(), 1, "{condition}: {warnings:?}");
        assert!(
            warnings[0].starts_with("own.cedar:2: policy `x`: it compares `context.input")
                && warnings[0].contains(right),
            "{condition}: {warnings:?}"
        );
    }
    let anywhere = "context.input.path like \"*secret*\"";
    assert_eq!(warned(anywhere, "unless").len(), 1);
    for condition in [
        anywhere,
        "context.input[\"target#resolved\"] like \"/srv/*\"",
        "context.input.name == \"/srv\"",
        "context.input.source_file like \"https://*\"",
        "context.input.path == context.input.name",
        "[context.input.path].contains(context.input.name)",
        "(context.input has path) == true",
        "(if context.input.path == context.input.name then 1 else 2) == 1",
    ] {
        assert_eq!(warned(condition, "when"), [] as [&str; 0], "{condition}");
    }
}

#[test]
fn a_mistake_names_the_argument_and_what_the_tool_has() {
    let problem = |tool: &str, condition: &str| {
        let refused = World::bare().with(&forbid(tool, condition)).build();
        let problems = refused.unwrap_err().problems().to_vec();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].clone()
    };
    for (condition, told) in [
        (
            "context.input.amout > 5",
            "own.cedar:2: policy `x`: `context.input.amout`: the tool `claims/approve_payment` has no argument `amout`; policy sees `amount`, `claim_id`, `line_items`, `line_items#count`, `line_items#sum(amount)`, `memo`, `payee` (did you mean `amount`?)",
        ),
        (
            "context.arguments.amount > 5",
            "there is no `context.arguments`",
        ),
        (
            "context.input[\"payee#resolved\"] == \"x\"",
            "`payee#resolved` is there once `path = [\"payee\"]` is declared in `[servers.claims.tools.approve_payment]`",
        ),
        (
            "context.input.payee > 5",
            "`context.input.payee`, an argument of `claims/approve_payment`: unexpected type: expected Long but saw String",
        ),
        (
            "context.input.payee == 5",
            "`context.input.payee == 5`: the types Long and String are not compatible",
        ),
        (
            "context.meter.amont.dayAfter > 5",
            "has no such meter: `meter = [\"amont\"]`",
        ),
        (
            "context.meters.paid > 5",
            "no `[[meters]]` with `name = \"paid\"` counts",
        ),
        ("principal.lmit > 5", "did you mean `limit`?"),
    ] {
        let problem = problem("claims/approve_payment", condition);
        assert!(problem.contains(told), "{condition}: {problem}");
    }
    // Of a group each tool is told of by itself.
    let group = format!(
        "{PERMIT}\n@id(\"x\") forbid(principal, action in Broker::Action::\"server:claims\", resource) when {{ context.input.amount > 5 }};"
    );
    let refused = World::bare().with(&group).build().unwrap_err();
    let problems = refused.problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("the tool `claims/close_claim` has no argument `amount`"));
}

#[test]
fn a_derived_attribute_without_quotes_is_told_how_it_is_written() {
    for (condition, right) in [
        (
            "!context.input.path#under",
            "write `context.input[\"path#under\"]`",
        ),
        (
            "context.input.path.like == \"a#b\" && context.input.at.url#host == \"x\"",
            "write `context.input.at[\"url#host\"]`",
        ),
        (
            "context.input has path#resolved",
            "write `\"path#resolved\"`",
        ),
        (
            "context.input.items#sum(amount) > 5",
            "write `context.input[\"items#sum(amount)\"]`",
        ),
    ] {
        let refused = World::bare().with(&pay(condition)).build().unwrap_err();
        let problems = refused.problems();
        assert!(problems[0].starts_with("own.cedar:2: "), "{problems:?}");
        assert!(problems[0].contains(right), "{condition}: {problems:?}");
    }
    let other = World::bare().with(&pay("context.input.amount >> 5 // a#b"));
    let problems = other.build().unwrap_err().problems().to_vec();
    assert!(!problems[0].contains("in quotes"), "{problems:?}");
}
