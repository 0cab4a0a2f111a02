//! What is said of policies beyond what is wrong with them, and of decimals what
//! would be right.

use super::world::World;
use super::world::id;
use crate::tool::ToolRules;
use serde_json::json;

const PERMIT: &str =
    r#"@id("p") permit(principal, action in Broker::Action::"tools/call", resource);"#;

fn problems(world: &World) -> Vec<String> {
    let refused = world.build().err();
    refused.map_or_else(Vec::new, |error| error.problems().to_vec())
}

#[test]
fn a_group_says_nothing_while_there_is_no_tool_at_all() {
    let mut world = World::shipped();
    world.files.remove(0);
    world.servers.clear();
    assert_eq!(world.build().unwrap().warnings(), [] as [&str; 0]);
}

#[test]
fn an_escalation_that_nobody_could_lift_is_told() {
    let stop = r#"@id("x") @escalate("Manager") forbid(principal, action == Broker::Action::"claims/approve_payment", resource);"#;
    let told = |world: &World| world.build().unwrap().dead_escalations();
    let shipped = World::shipped().with(stop);
    assert_eq!(told(&shipped), [] as [&str; 0]);

    let mut alone = World::bare().with(PERMIT).with(stop);
    alone.principals.by_id.retain(|who, _| *who == id("alice"));
    assert_eq!(
        told(&alone),
        [
            "own.cedar:1: policy `x`: `@escalate` names the role `Manager`, which no principal has: give the role to somebody else in the principals, or leave `@escalate` out"
        ]
    );

    let mut only = World::bare().with(PERMIT).with(stop);
    only.principals.by_id.retain(|who, _| *who == id("mia"));
    let said = told(&only);
    assert!(said[0].contains("which only `mia` has"), "{said:?}");

    // Others are there, and may not call the tool.
    let permit = r#"@id("p") permit(principal in Broker::Role::"Manager", action in Broker::Action::"tools/call", resource);"#;
    let managers = World::bare().with(permit).with(stop);
    assert!(told(&managers)[0].contains("which only `mia` has"));
    // Nobody may call it at all.
    let permit =
        r#"@id("p") permit(principal, action in Broker::Action::"server:files", resource);"#;
    assert_eq!(
        told(&World::bare().with(permit).with(stop)),
        [] as [&str; 0]
    );
}

#[test]
fn a_server_that_no_permit_covers_is_told() {
    let uncovered = |policy: &str| -> Vec<String> {
        let bundle = World::bare().with(policy).build().unwrap();
        bundle.uncovered().iter().map(ToString::to_string).collect()
    };
    assert_eq!(uncovered(PERMIT), [] as [&str; 0]);
    assert_eq!(
        uncovered(
            r#"@id("p") permit(principal, action in Broker::Action::"server:claims", resource);"#
        ),
        ["files"]
    );
    assert_eq!(
        uncovered(
            r#"@id("p") permit(principal, action == Broker::Action::"session/open", resource);"#
        ),
        ["claims", "files"]
    );
    // A forbid is no lack of a permit.
    let closed =
        r#"@id("f") forbid(principal, action in Broker::Action::"server:files", resource);"#;
    assert_eq!(uncovered(&format!("{PERMIT}{closed}")), [] as [&str; 0]);
}

#[test]
fn a_decimal_that_is_compared_like_a_whole_number_is_told_what_to_write() {
    let schema = json!({"properties": {
        "ratio": {"type": "number"},
        "deep": {"properties": {"x-y": {"type": "number"}}, "required": ["x-y"]},
        "count": {"type": "integer"},
    }, "required": ["ratio", "deep", "count"]});
    let world = World::of_tool(schema, ToolRules::default());
    for (condition, hint) in [
        (
            "context.input.ratio > 5",
            "`ratio` is a `number`, which Cedar has as a decimal: write `context.input.ratio.greaterThan(decimal(\"5.0\"))`",
        ),
        (
            "5 >= context.input.ratio",
            "write `context.input.ratio.lessThanOrEqual(decimal(\"5.0\"))`",
        ),
        (
            "context.input.deep[\"x-y\"] < 5",
            "`deep.x-y` is a `number`, which Cedar has as a decimal: write `context.input.deep[\"x-y\"].lessThan(decimal(\"5.0\"))`",
        ),
        (
            "context.input.ratio == 5",
            "write `context.input.ratio == decimal(\"5.0\")`",
        ),
        (
            "context.input.ratio.greaterThan(5)",
            "write `context.input.ratio.greaterThan(decimal(\"5.0\"))`",
        ),
        (
            "context.input.ratio > decimal(\"5.5\")",
            "write `context.input.ratio.greaterThan(decimal(\"5.5\"))`",
        ),
        (
            "context.input.ratio > 5.5",
            "write `decimal(\"5.5\")`, and compare by",
        ),
        (
            "context.input.ratio + 1 > 3",
            "does not compute with decimals",
        ),
    ] {
        let text = format!(
            "@id(\"x\") forbid(principal, action == Broker::Action::\"t/x\", resource) when {{ {condition} }};"
        );
        let problems = problems(&world.clone().with(&text));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(hint), "{condition}: {problems:?}");
    }
    let right = "context.input.ratio.greaterThan(decimal(\"5.5\")) && context.input.cuont > 1";
    let text = format!(
        "@id(\"x\") forbid(principal, action == Broker::Action::\"t/x\", resource) when {{ {right} }};"
    );
    let problems = problems(&world.with(&text));
    assert!(!problems[0].contains("a decimal"), "{problems:?}");
}

#[test]
fn an_amount_is_written_as_it_is_read() {
    for (units, scale, text) in [
        (900_000, 2, "9000.00"),
        (5, 2, "0.05"),
        (-5, 2, "-0.05"),
        (0, 2, "0.00"),
        (7, 0, "7"),
        (12_345, 4, "1.2345"),
        (i64::MIN, 2, "-92233720368547758.08"),
    ] {
        assert_eq!(crate::policy::amount(units, scale), text);
        if units >= 0 {
            assert_eq!(crate::policy::minor_units(text, scale), Some(units));
        }
    }
}
