//! Meters that the operator declared, as policies see them.

use super::world::World;
use super::world::decide;
use super::world::facts;
use super::world::names;
use super::world::server;
use super::world::told;
use super::world::tool;
use crate::tool::Counted;
use crate::tool::Meter;
use crate::tool::Per;
use crate::tool::ToolRules;
use crate::tool::Window;
use serde_json::json;
use std::sync::Arc;

fn meter(name: &str, tools: &[&str], sum: Option<&str>) -> Arc<Meter> {
    let counted = tools.iter().map(|text| {
        let (server, tool) = text.split_once('/').unwrap();
        Counted {
            server: server.parse().unwrap(),
            tool: (tool != "*").then(|| tool.into()),
        }
    });
    Arc::new(Meter {
        name: name.into(),
        tools: counted.collect(),
        sum: sum.map(Into::into),
        per: Per::Role,
        window: Window::Day,
    })
}

fn with(meters: Vec<Arc<Meter>>, policy: &str) -> World {
    let mut world = World::shipped().with(policy);
    world.meters = meters;
    world
}

fn problems(world: &World) -> Vec<String> {
    world.build().unwrap_err().problems().to_vec()
}

const CLOSED: &str = r#"@id("closed") forbid(principal, action == Broker::Action::"claims/close_claim", resource) when { context.meters.closed > 2 };"#;

fn closed() -> Vec<Arc<Meter>> {
    vec![meter("closed", &["claims/close_claim"], None)]
}

#[test]
fn a_policy_reads_the_total_of_a_meter() {
    let world = with(closed(), CLOSED);
    let gate = world.gate("claims/close_claim");
    let arguments = r#"{"claim_id":"1","reason":"x"}"#;
    let mut facts = facts(&gate, arguments);
    assert_eq!(facts.meters, [1]);
    let without = told(&decide(&gate, "mia", arguments, &facts));
    assert!(!without.contains("closed"), "{without}");
    facts.meters = vec![3];
    let over = told(&decide(&gate, "mia", arguments, &facts));
    assert!(over.contains("\"closed\""), "{over}");
    // Without its total a call is denied, whatever the policies say.
    facts.meters = Vec::new();
    let none = told(&decide(&gate, "mia", arguments, &facts));
    assert!(none.contains("countersign.totals"), "{none}");
}

#[test]
fn an_answer_that_a_meter_could_change_is_asked_anew() {
    let only =
        r#"@id("c") permit(principal, action, resource) when { context.meters.closed < 3 };"#;
    let mut world = World::bare();
    world.meters = vec![meter("closed", &["t/x"], None)];
    world.servers = vec![server(
        "t",
        Some(vec![tool("t", "x", json!({}), ToolRules::default())]),
    )];
    let only = only.replace("action,", "action == Broker::Action::\"t/x\",");
    world.add("c.cedar", &only);
    let gate = world.gate("t/x");
    let mut facts = facts(&gate, "{}");
    let answers = [1, 2, 3].map(|total| {
        facts.meters = vec![total];
        let told = told(&decide(&gate, "mia", "{}", &facts));
        told.split(' ').next().unwrap().to_owned()
    });
    assert_eq!(answers, ["allow", "allow", "deny"]);
}

#[test]
fn a_sum_is_what_the_argument_is_and_nothing_where_it_is_absent() {
    let numbers = json!({"properties": {"n": {"type": "integer"}, "m": {"type": "number"}}});
    let rules = ToolRules {
        money: names(&["m"]),
        meters: names(&["n"]),
        ..ToolRules::default()
    };
    let mut world = World::of_tool(numbers, rules);
    world.meters = vec![
        meter("calls", &["t/*"], None),
        meter("ns", &["t/x"], Some("n")),
        meter("ms", &["t/x"], Some("m")),
        meter("more", &["t/x"], Some("n")),
        meter("other", &["files/*"], None),
    ];
    world.servers.push(server("files", Some(Vec::new())));
    let gate = world.gate("t/x");
    let counts = |arguments: &str| -> Vec<(String, i64)> {
        let reading = gate.read(arguments).unwrap();
        let counts = reading.counts();
        counts
            .map(|(meter, value)| (meter.name.to_string(), value))
            .collect()
    };
    let of = |values: [i64; 4]| -> Vec<(String, i64)> {
        let names = ["calls", "ns", "ms", "more"].map(str::to_owned);
        names.into_iter().zip(values).collect()
    };
    assert_eq!(counts(r#"{"n":3,"m":1.5}"#), of([1, 3, 150, 3]));
    assert_eq!(counts("{}"), of([1, 0, 0, 0]));
    // What counts must be exact, whether a policy reads it or not.
    assert!(gate.read(r#"{"m":0.001}"#).is_err());
    assert!(gate.read(r#"{"m":null}"#).is_err());
}

#[test]
fn a_meter_is_there_for_the_tools_that_it_counts_and_typed() {
    let misspelt = CLOSED.replace("meters.closed", "meters.close");
    let elsewhere = CLOSED.replace("close_claim", "get_claim");
    let mistyped = CLOSED.replace("> 2", "== \"2\"");
    let all = CLOSED.replace(
        "== Broker::Action::\"claims/close_claim\"",
        "in Broker::Action::\"tools/call\"",
    );
    for (policy, says) in [
        (
            misspelt,
            "no `[[meters]]` with `name = \"close\"` counts the tool",
        ),
        (elsewhere, "counts the tool `claims/get_claim`"),
        (mistyped, "own.cedar:1: policy `closed`"),
        (all, "counts the tool `claims/get_claim`"),
    ] {
        let found = problems(&with(closed(), &policy));
        assert!(found.iter().any(|line| line.contains(says)), "{found:?}");
    }
    let asks = CLOSED
        .replace(
            "== Broker::Action::\"claims/close_claim\"",
            "in Broker::Action::\"tools/call\"",
        )
        .replace(
            "context.meters",
            "context has meters.closed && context.meters",
        );
    with(closed(), &asks).build().unwrap();
}

#[test]
fn a_meter_that_does_not_fit_its_tools_says_which_and_what_would() {
    for (meter, says) in [
        (
            meter("m", &["claims/close_claim"], Some("amount")),
            "the tool `claims/close_claim`: `meters.m.sum` names `amount`, which the tool does not have: its arguments are `claim_id`, `reason`",
        ),
        (
            meter("m", &["claims/close_claim"], Some("reason")),
            "the tool `claims/close_claim`: `meters.m.sum` names `reason`, which is a string: it must be a whole number, or declared as `money`",
        ),
        (
            meter(
                "m",
                &["claims/approve_payment"],
                Some("line_items[].amount"),
            ),
            "in an array",
        ),
        (
            meter("m", &["claims/pay"], None),
            "`meters.m.tools` names `claims/pay`, which the server does not have: its tools are `claims/approve_payment`",
        ),
        (
            meter("m", &["clams/pay"], None),
            "the server `clams` is not configured",
        ),
    ] {
        let found = problems(&with(vec![meter], ""));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(says), "{found:?}");
    }
    let mut mixed = with(vec![meter("m", &["a/x", "a/y"], Some("n"))], "");
    let number = json!({"properties": {"n": {"type": "integer"}}});
    let money = ToolRules {
        money: names(&["n"]),
        ..ToolRules::default()
    };
    let tools = [("x", ToolRules::default()), ("y", money)];
    let tools = tools.map(|(name, rules)| tool("a", name, number.clone(), rules));
    mixed.servers.push(server("a", Some(tools.into())));
    let found = problems(&mixed);
    assert!(found[0].contains("money in some of its tools"), "{found:?}");
}

#[test]
fn a_meter_of_a_server_that_was_never_seen_waits_for_it() {
    let meters = vec![meter("m", &["later/pay"], Some("amount"))];
    let policy = r#"@id("m") forbid(principal, action == Broker::Action::"later/pay", resource) when { context.meters.m > 2 };"#;
    let mut world = with(meters, policy);
    world.servers.push(server("later", None));
    let bundle = world.build().unwrap();
    assert_eq!(bundle.quarantined()[0].id, "m");
    assert_eq!(bundle.warnings(), [""; 0]);
}

#[test]
fn a_meter_that_nothing_reads_warns_and_limits_nothing() {
    let bundle = with(closed(), "").build().unwrap();
    assert_eq!(
        bundle.warnings(),
        [
            "no policy reads the meter `closed`, so it counts and limits nothing: write a `forbid` on `context.meters.closed`"
        ]
    );
    assert!(!bundle.reads(&closed()[0]));
    let bundle = with(closed(), CLOSED).build().unwrap();
    assert_eq!(bundle.warnings(), [""; 0]);
    assert!(bundle.reads(&closed()[0]));
}

#[test]
fn the_digest_of_the_policies_covers_the_meters() {
    let digest = |meters| with(meters, "").build().unwrap().digest();
    let longer = Meter {
        window: Window::Always,
        ..(*closed()[0]).clone()
    };
    assert_ne!(digest(closed()), digest(vec![Arc::new(longer)]));
    assert_ne!(digest(closed()), digest(Vec::new()));
}
