//! What is said of policies beyond what is wrong with them, and of decimals what
//! would be right.

use super::world::World;
use super::world::decide;
use super::world::facts;
use super::world::id;
use super::world::names;
use super::world::server;
use super::world::told;
use super::world::tool;
use super::world::tool_id;
use crate::tool::ToolRules;
use jiff::Timestamp;
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
    let stop = r#"@id("x") @escalate("Manager") forbid(principal, action == Broker::Action::"claims/approve_payment", resource) unless { context.call has approval };"#;
    let told = |world: &World| -> Vec<String> {
        let dead = world.build().unwrap().dead_escalations("");
        dead.into_iter().map(|dead| dead.told).collect()
    };
    let shipped = World::shipped().with(stop);
    assert_eq!(told(&shipped), [] as [&str; 0]);

    let mut alone = World::bare().with(PERMIT).with(stop);
    alone.principals.by_id.retain(|who, _| *who == id("alice"));
    assert_eq!(
        told(&alone),
        [
            "own.cedar:1: policy `x`: `@escalate` names the role `Manager`, which no principal has: declare somebody who has it, or leave `@escalate` out"
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
fn an_escalation_whose_forbid_takes_no_approval_of_the_role_is_told() {
    let told = |role: &str, unless: &str| -> Vec<String> {
        let stop = format!(
            "@id(\"x\") @escalate(\"{role}\") forbid(principal, action == Broker::Action::\"claims/approve_payment\", resource) when {{ context.input.amount > 5 }} {unless};"
        );
        let bundle = World::shipped().with(&stop).build();
        let bundle = bundle.unwrap_or_else(|error| panic!("{error}"));
        let dead = bundle.dead_escalations("").into_iter();
        dead.map(|dead| dead.told).collect()
    };
    assert_eq!(
        told("Manager", ""),
        [
            "own.cedar:1: policy `x`: `@escalate` names the role `Manager`, and no approval lifts this forbid, so nobody is ever asked: add `unless { context.call has approval && context.call.approval.by in Broker::Role::\"Manager\" && context.call.approval.by != principal }`, or leave `@escalate` out"
        ]
    );
    // What it says to add is right.
    let added = told("Manager", "");
    let added = added[0].split('`').find(|part| part.starts_with("unless"));
    assert_eq!(told("Manager", added.unwrap()), [] as [&str; 0]);
    let by = "context.call.approval.by";
    for (unless, is_dead) in [
        ("by == principal", true),
        ("by == Broker::User::\"mallory\"", true),
        ("!(by in Broker::Role::\"Manager\")", true),
        (
            "by == Broker::User::\"alice\" && context.input.amount < 9",
            true,
        ),
        ("by == Broker::User::\"mia\"", false),
        ("by.limit > context.input.amount", false),
        ("(by == principal || context.input.amount < 9)", false),
    ] {
        let unless = unless.replace("by", by);
        let unless = format!("unless {{ context.call has approval && {unless} }}");
        let said = told("Manager", &unless);
        assert_eq!(said.len(), usize::from(is_dead), "{unless}: {said:?}");
        let why = "takes the approval of nobody who has it";
        assert!(said.iter().all(|said| said.contains(why)), "{said:?}");
    }
    let managers = "unless { context.call has approval && context.call.approval.by in Broker::Role::\"Manager\" }";
    assert_eq!(told("Auditor", managers).len(), 1);
    // A Manager is a Senior too.
    assert_eq!(told("Senior", managers), [] as [&str; 0]);
}

#[test]
fn an_escalation_of_deciding_that_stops_its_own_approvers_is_told() {
    let circular = |when: &str| {
        let stop = format!(
            "@id(\"x\") @escalate(\"Manager\") forbid(principal, action == Broker::Action::\"countersign/escalation_decide\", resource) {when};"
        );
        let bundle = World::shipped().with(&stop).build();
        let bundle = bundle.unwrap_or_else(|error| panic!("{error}"));
        bundle.circular_escalations(Timestamp::UNIX_EPOCH)
    };
    let approved =
        "context.call has approval && context.call.approval.by in Broker::Role::\"Manager\"";
    for when in [String::new(), format!("unless {{ {approved} }}")] {
        let told = circular(&when);
        assert_eq!(told.len(), 1, "{told:?}");
        let right =
            "own.cedar:1: policy `x`: whoever has the role `Manager` is stopped by this too";
        assert!(told[0].starts_with(right), "{told:?}");
    }
    let left_out = format!("unless {{ {approved} || principal in Broker::Role::\"Manager\" }}");
    assert_eq!(circular(&left_out), [] as [&str; 0]);
    assert_eq!(
        circular("unless { principal == Broker::User::\"mia\" }"),
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

/// The files of the example of several tools and their paths in `docs/policy.md`.
fn files_of_the_docs() -> World {
    let docs = include_str!("../../../docs/policy.md");
    let text = docs.split("`policies/files.cedar`:").nth(1).unwrap();
    let text = text.split("```cedar\n").nth(1).unwrap();
    let rules = |argument: &str| ToolRules {
        paths: names(&[argument]),
        under: [(argument.to_owned(), "/srv/documents".to_owned())].into(),
        ..ToolRules::default()
    };
    let one = json!({"properties": {"path": {"type": "string"}}, "required": ["path"]});
    let many = json!({
        "properties": {"paths": {"type": "array", "items": {"type": "string"}}},
        "required": ["paths"],
    });
    let mut world = World::bare().with(PERMIT);
    world.servers = vec![server(
        "files",
        Some(vec![
            tool("files", "read_text_file", one.clone(), rules("path")),
            tool("files", "write_file", one, rules("path")),
            tool("files", "read_multiple_files", many, rules("paths")),
        ]),
    )];
    world.add("files.cedar", text.split("```").next().unwrap());
    world
}

#[test]
fn the_rules_for_several_tools_and_their_paths_do_what_the_docs_say() {
    let bundle = files_of_the_docs().build().unwrap();
    assert_eq!(bundle.warnings(), [] as [&str; 0]);
    let stopped = |tool: &str, arguments: serde_json::Value| {
        let gate = bundle.gate(&tool_id(&format!("files/{tool}"))).unwrap();
        let arguments = arguments.to_string();
        let told = told(&decide(gate, "alice", &arguments, &facts(gate, &arguments)));
        told.split(' ').take(2).collect::<Vec<_>>().join(" ")
    };
    for tool in ["read_text_file", "write_file"] {
        let of = |path: &str| stopped(tool, json!({ "path": path }));
        assert_eq!(of("/srv/documents/a.txt"), "allow [\"p\"]");
        assert_eq!(of("/srv/documents/../secret"), "deny files.outside");
        assert_eq!(of("documents/a.txt"), "deny files.outside");
        assert_eq!(of("/srv/documents/x/../private/a"), "deny files.private");
    }
    let of = |paths: &[&str]| stopped("read_multiple_files", json!({ "paths": paths }));
    let (good, payroll) = ("/srv/documents/a.txt", "/srv/documents/x/../payroll.csv");
    assert_eq!(of(&[good]), "allow [\"p\"]");
    assert_eq!(of(&[good, "/etc/passwd"]), "deny files.outside.several");
    assert_eq!(of(&[good, payroll]), "deny files.payroll");
}

#[test]
fn every_comparison_of_decimals_in_the_docs_is_valid() {
    let docs = include_str!("../../../docs/policy.md");
    let rows = docs
        .lines()
        .filter(|line| line.starts_with("| `context.input.ratio"));
    let schema = json!({"properties": {"ratio": {"type": "number"}}, "required": ["ratio"]});
    let world = World::of_tool(schema, ToolRules::default());
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.split('`').collect();
        let of = |condition: &str| {
            let text = format!(
                "@id(\"x\") forbid(principal, action == Broker::Action::\"t/x\", resource) when {{ {condition} }};"
            );
            problems(&world.clone().with(&text))
        };
        let wrong = of(cells[1]).join("\n");
        assert!(
            wrong.contains(cells[3]) || wrong.contains("decimal(\"0.5\")"),
            "{row} {wrong}"
        );
        assert_eq!(of(cells[3]), [] as [&str; 0], "{row}");
        count += 1;
    }
    assert_eq!(count, 5);
}

#[test]
fn what_forbids_close_is_told_by_the_forbids() {
    let stopped = |forbid: &str, who: &str| -> Vec<String> {
        let bundle = World::bare().with(&format!("{PERMIT}\n{forbid}"));
        let stopped = bundle.build().unwrap().stopped(&id(who));
        let stopped = stopped
            .into_iter()
            .map(|policy| format!("{} {}", policy.id, policy.line));
        stopped.collect()
    };
    let closed = |forbid: &str| -> Vec<String> {
        let bundle = World::bare().with(&format!("{PERMIT}\n{forbid}"));
        let closed = bundle.build().unwrap().closed();
        let closed = closed.into_iter();
        closed
            .map(|(server, by)| format!("{server} {}", by[0].id))
            .collect()
    };
    let all = r#"@id("x") forbid(principal, action, resource);"#;
    assert_eq!(stopped(all, "alice"), ["x 2"]);
    assert_eq!(closed(all), ["claims x", "files x"]);
    let one = r#"@id("x") forbid(principal == Broker::User::"alice", action, resource);"#;
    assert_eq!(stopped(one, "alice"), ["x 2"]);
    assert_eq!(stopped(one, "mia"), [] as [&str; 0]);
    assert_eq!(closed(one), [] as [&str; 0]);
    let server =
        r#"@id("x") forbid(principal, action in Broker::Action::"server:claims", resource);"#;
    assert_eq!(stopped(server, "alice"), [] as [&str; 0]);
    assert_eq!(closed(server), ["claims x"]);
    let some = format!(
        "{} when {{ context.session.frozen }};",
        server.trim_end_matches(';')
    );
    assert_eq!(closed(&some), [] as [&str; 0]);
    // Where nothing is permitted, no forbid is at fault.
    let nobody = r#"@id("p") permit(principal == Broker::User::"mia", action in Broker::Action::"tools/call", resource);"#;
    let world = World::bare().with(&format!("{nobody}\n{all}"));
    assert_eq!(world.build().unwrap().stopped(&id("alice")), []);
}

#[test]
fn a_permit_of_reading_is_one_that_is_not_for_one_only() {
    let read = r#"action in Broker::Action::"read", resource);"#;
    for (permit, due) in [
        (format!(r#"@id("p") permit(principal, {read}"#), true),
        (
            format!(r#"@id("p") permit(principal == Broker::User::"alice", {read}"#),
            false,
        ),
        (PERMIT.to_owned(), false),
    ] {
        let bundle = World::bare().with(&permit).build().unwrap();
        assert_eq!(bundle.permits_reading("p"), due, "{permit}");
    }
}
