//! What the fast path leaves out makes no difference, and would be noticed if it
//! did.

use super::world::World;
use super::world::id;
use super::world::now;
use super::world::tool_id;
use crate::policy::Bundle;
use crate::policy::Facts;
use crate::policy::Gate;
use crate::policy::Totals;
use crate::policy::Verdict;
use crate::policy::gate::Question;
use crate::policy::slice::Slice;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::tool::CallId;
use crate::tool::ToolRules;
use cedar_policy::Effect;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::Config;
use proptest::test_runner::TestError;
use proptest::test_runner::TestRunner;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Policies of every kind of scope, some of which fail to evaluate.
const MORE: &str = r#"
@id("x.files") permit(principal, action in [Broker::Action::"server:files", Broker::Action::"claims/close_claim"], resource);
@id("x.kind") permit(principal in Broker::Role::"Senior", action in Broker::Action::"tools/call", resource is Broker::Tool in Broker::Server::"claims");
@id("x.etc") forbid(principal, action in Broker::Action::"server:files", resource) when { context.input["path#resolved"] like "/etc*" };
@id("x.limit") forbid(principal, action in Broker::Action::"server:files", resource) when { context.input has limit && context.input.limit * 4611686018427387904 > 7 };
@id("x.overflow") forbid(principal, action == Broker::Action::"claims/approve_payment", resource) when { context.input.amount + 9223372036844775807 < 0 };
@id("x.count") forbid(principal, action == Broker::Action::"claims/approve_payment", resource) when { context.input["line_items#count"] > 1 };
@id("x.write") forbid(principal, action in Broker::Action::"write", resource in Broker::Server::"files") when { context.call.opaque.contains("extra") };
@id("x.one") forbid(principal, action in Broker::Action::"tools/call", resource == Broker::Tool::"files/read-file") when { context.session.labels.contains("pii") };
@id("x.late") forbid(principal in Broker::Role::"Auditor", action in Broker::Action::"tools/call", resource) when { context.call.now > datetime("2026-01-01") };
"#;

const TOOLS: [&str; 5] = [
    "claims/get_claim",
    "claims/approve_payment",
    "claims/close_claim",
    "files/read-file",
    "files/write.file \"x\"",
];

fn bundle() -> Bundle {
    World::shipped()
        .with(MORE)
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

#[derive(Clone, Debug)]
struct Case {
    tool: &'static str,
    principal: &'static str,
    arguments: String,
    totals: [i64; 2],
    labels: BTreeSet<String>,
    frozen: bool,
    paused: bool,
    owner: &'static str,
    approval: Option<&'static str>,
}

/// Amounts at the edges of what the policies compare with.
fn amount() -> impl Strategy<Value = i64> {
    let edges = [
        0,
        1_000_000,
        2_000_000,
        2_500_000,
        4_000_000,
        5_000_000,
        10_000_000,
        100_000_000,
    ];
    (select(edges.to_vec()), -1_i64..=1).prop_map(|(edge, by)| edge + by)
}

fn case() -> impl Strategy<Value = Case> {
    let people = ["alice", "mallory", "mia", "audrey"];
    let paths = ["/srv/a", "/srv/../etc/passwd", "a/b", "/etc", "/srv"];
    let arguments = (
        amount(),
        select(paths.to_vec()),
        prop::option::of(0_i64..4),
        0_usize..3,
        prop::option::of(Just("x")),
    );
    let facts = (
        [amount(), amount()],
        prop::collection::btree_set(
            select(
                ["untrusted-web", "pii", "private-data"]
                    .map(str::to_owned)
                    .to_vec(),
            ),
            0..2,
        ),
        prop::bool::weighted(0.2),
        (prop::bool::weighted(0.2), select(people.to_vec())),
        prop::option::of(select(people.to_vec())),
    );
    (
        select(TOOLS.to_vec()),
        select(people.to_vec()),
        arguments,
        facts,
    )
        .prop_map(
            |(tool, principal, arguments, (totals, labels, frozen, (paused, owner), approval))| {
                Case {
                    tool,
                    principal,
                    arguments: arguments_of(tool, arguments),
                    totals,
                    labels,
                    frozen,
                    paused,
                    owner,
                    approval,
                }
            },
        )
}

fn arguments_of(
    tool: &str,
    (amount, path, limit, items, extra): (i64, &str, Option<i64>, usize, Option<&str>),
) -> String {
    let mut members = match tool {
        "claims/get_claim" => r#""claim_id":"C-1""#.to_owned(),
        "claims/close_claim" => r#""claim_id":"C-1","reason":"done""#.to_owned(),
        "claims/approve_payment" => {
            let items = vec![r#"{"code":"a","amount":1}"#; items].join(",");
            format!(
                r#""claim_id":"C-1","payee":"ACME","amount":{amount}e-2,"line_items":[{items}]"#
            )
        }
        _ => {
            let limit = limit
                .map(|limit| format!(r#","limit":{limit}"#))
                .unwrap_or_default();
            format!(r#""path":"{path}"{limit}"#)
        }
    };
    if extra.is_some() {
        members.push_str(r#","extra":[]"#);
    }
    format!("{{{members}}}")
}

/// The same gate with every policy and the whole context.
fn uncut(bundle: &Bundle, gate: &Gate) -> Gate {
    let slice = Slice::uncut(gate.slice.target.clone(), &bundle.loaded);
    regate(gate, slice)
}

fn regate(gate: &Gate, slice: Slice) -> Gate {
    Gate::new(
        (gate.tool.clone(), gate.rules.clone()),
        Arc::clone(&gate.reader),
        slice,
        Arc::clone(&gate.world),
    )
}

fn facts_of(case: &Case, meters: usize) -> Facts {
    let totals = Totals {
        session_after: case.totals[0],
        day_after: case.totals[1],
    };
    Facts {
        session: SessionFacts {
            id: SessionId::from_bytes([7; 16]),
            owner: id(case.owner),
            labels: case.labels.clone(),
            frozen: case.frozen,
            paused: case.paused,
        },
        totals: vec![totals; meters],
        meters: Vec::new(),
        denied_lately: 0,
        approval: case.approval.map(id),
        confirmed: case.frozen,
    }
}

fn compare(gate: &Gate, whole: &Gate, case: &Case) -> Result<(), TestCaseError> {
    let (part, full) = (gate.read(&case.arguments), whole.read(&case.arguments));
    let (Ok(part), Ok(full)) = (part, full) else {
        return Err(TestCaseError::fail(format!("not read: {}", case.arguments)));
    };
    let facts = facts_of(case, part.amounts().len());
    let user = gate.world.users.get(&id(case.principal)).unwrap();
    let ask = |gate: &Gate, reading| {
        let question = Question {
            user,
            reading,
            facts: &facts,
            confirmed: facts.confirmed,
            now: now(),
        };
        gate.ask(&question, facts.approval.as_ref())
    };
    prop_assert_eq!(ask(gate, &part), ask(whole, &full));
    Ok(())
}

fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    TestRunner::new_with_rng(config, rng)
}

#[test]
fn a_slice_answers_as_the_full_set_does() {
    let bundle = bundle();
    let outcome = runner(4_000).run(&case(), |case| {
        let gate = bundle.gate(&tool_id(case.tool)).unwrap();
        compare(gate, &uncut(&bundle, gate), &case)
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_forbid_that_is_missing_from_a_slice_is_noticed() {
    let bundle = bundle();
    let mut tried = 0;
    // No case calls a tool of the broker's own.
    let gates = bundle.gates.values();
    for gate in gates.filter(|gate| gate.tool.server.as_str() != "countersign") {
        let whole = uncut(&bundle, gate);
        for policy in gate.slice.policies.policies() {
            let name: &str = policy.id().as_ref();
            // All tools of this world are pinned, and one is a sink: there these
            // forbids never match.
            let never = match name {
                "countersign.unpinned-tool" => true,
                "global.private-to-sink" => !gate.rules().sink,
                _ => false,
            };
            if policy.effect() == Effect::Permit || never {
                continue;
            }
            let mutilated = regate(gate, gate.slice.without(name));
            let tool = gate.tool.to_string();
            let outcome = runner(6_000).run(&case(), |case| {
                if case.tool == tool {
                    compare(&mutilated, &whole, &case)
                } else {
                    Ok(())
                }
            });
            assert!(
                matches!(outcome, Err(TestError::Fail(..))),
                "{tool} without {name}"
            );
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn a_tool_that_is_hidden_is_never_allowed() {
    let bundle = bundle();
    let outcome = runner(2_000).run(&case(), |case| {
        let tool = tool_id(case.tool);
        let gate = bundle.gate(&tool).unwrap();
        let reading = gate.read(&case.arguments).unwrap();
        let facts = facts_of(&case, reading.amounts().len());
        let call = CallId::from_bytes([1; 16]);
        let verdict = gate.decide(call, &id(case.principal), &reading, &facts, now());
        let denied = matches!(verdict, Verdict::Deny(_));
        prop_assert!(denied || bundle.lists(&id(case.principal), &tool));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// A schema with a value that fits it.
fn typed() -> impl Strategy<Value = (Value, Value)> {
    let number = select(vec![
        json!(0),
        json!(-1),
        json!(12.5),
        json!(1e14),
        json!(0.0001),
    ]);
    let leaf = prop_oneof![
        ".{0,6}".prop_map(|text| (json!({"type": "string"}), json!(text))),
        any::<bool>().prop_map(|flag| (json!({"type": "boolean"}), json!(flag))),
        any::<i64>().prop_map(|number| (json!({"type": "integer"}), json!(number))),
        number.prop_map(|number| (json!({"type": "number"}), number)),
        Just((json!({"type": ["string", "null"]}), Value::Null)),
        Just((
            json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}),
            json!(7)
        )),
        Just((json!({}), json!({"any": [1, {"thing": null}]}))),
        Just((json!({"type": ["string", "integer"]}), json!(1))),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0_usize..3).prop_map(|((schema, value), count)| {
                (
                    json!({"type": "array", "items": schema}),
                    json!(vec![value; count]),
                )
            }),
            object(inner),
        ]
    })
}

fn object(member: impl Strategy<Value = (Value, Value)>) -> impl Strategy<Value = (Value, Value)> {
    let names = [
        "a", "a#count", "b.c", "if", "__entity", "日本", "x y\"", "type", "", "#",
    ];
    let name = select(names.map(str::to_owned).to_vec());
    let presence = select(vec!["required", "optional", "absent"]);
    prop::collection::btree_map(name, (member, presence), 0..5).prop_map(|members| {
        let mut properties = Map::new();
        let mut required = Vec::new();
        let mut value = Map::new();
        for (name, ((schema, member), presence)) in members {
            properties.insert(name.clone(), schema);
            if presence == "required" {
                required.push(name.clone());
            }
            if presence != "absent" {
                value.insert(name, member);
            }
        }
        (
            json!({"type": "object", "properties": properties, "required": required}),
            Value::Object(value),
        )
    })
}

proptest! {
    #![proptest_config(Config { cases: 192, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_full_reading_is_always_valid_against_the_schema((schema, arguments) in object(typed())) {
        let bundle = World::of_tool(schema, ToolRules::default()).build().unwrap();
        let gate = uncut(&bundle, bundle.gate(&tool_id("t/x")).unwrap());
        let reading = gate.read(&arguments.to_string());
        let reading = reading.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let facts = Facts {
            session: SessionFacts {
                id: SessionId::from_bytes([7; 16]),
                owner: id("alice"),
                labels: BTreeSet::from(["pii".to_owned()]),
                frozen: false,
                paused: false,
            },
            totals: Vec::new(),
            meters: Vec::new(),
            denied_lately: 0,
            approval: Some(id("mia")),
            confirmed: true,
        };
        let user = gate.world.users.get(&id("alice")).unwrap();
        let question = Question { user, reading: &reading, facts: &facts, confirmed: true, now: now() };
        let context = gate.context(&question, facts.approval.as_ref()).unwrap();
        let valid = context.validate(&gate.world.schema, &gate.slice.target.action);
        prop_assert!(valid.is_ok(), "{:?}", valid);
        prop_assert!(bundle.schema_text().parse::<cedar_policy::Schema>().is_ok());
    }
}
