//! What makes a bundle, and what stands against one.

use super::world::World;
use super::world::decide;
use super::world::facts;
use super::world::id;
use super::world::names;
use super::world::now;
use super::world::server;
use super::world::told;
use super::world::tool;
use super::world::tool_id;
use crate::policy::PolicyEffect;
use crate::principal::Attribute;
use crate::tool::ToolRules;
use serde_json::json;

const PERMIT: &str =
    r#"@id("p") permit(principal, action in Broker::Action::"tools/call", resource);"#;

fn problems(world: &World) -> Vec<String> {
    world
        .build()
        .err()
        .map(|error| error.problems().to_vec())
        .unwrap_or_default()
}

#[test]
fn shipped_policies_build_without_a_warning() {
    let bundle = World::shipped().build().unwrap();
    assert_eq!(bundle.warnings(), [] as [&str; 0]);
    assert!(bundle.quarantined().is_empty());
    let ids: Vec<_> = bundle.policies().map(|policy| policy.id).collect();
    assert!(ids.contains(&"countersign.frozen".to_owned()));
    assert!(ids.contains(&"claims.approve.limit".to_owned()));
    let limit = bundle
        .policies()
        .find(|p| p.id == "claims.approve.limit")
        .unwrap();
    assert_eq!(limit.effect, PolicyEffect::Forbid);
    assert_eq!(limit.annotations["escalate"], "Manager");
    assert_eq!((limit.file.as_str(), limit.line), ("claims.cedar", 31));
}

#[test]
fn a_policy_that_is_wrong_is_told_with_its_file_its_line_and_what_is_right() {
    for (text, expected) in [
        ("permit(principal, action, resource", "own.cedar:1:"),
        (
            "\n\npermit(principal, action, resource);",
            "own.cedar:3: a policy without `@id`",
        ),
        (
            r#"@id("countersign.x") permit(principal, action, resource);"#,
            "are Countersign's own",
        ),
        (
            r#"@id("claims.read") permit(principal, action, resource);"#,
            "the id is taken by the policy at claims.cedar:8",
        ),
        (
            r#"@id("t") permit(principal == ?principal, action, resource);"#,
            "policy `t`: it is a template",
        ),
        (
            r#"@id("x") permit(principal, action == Broker::Action::"claims/approve", resource);"#,
            "its tools are `claims/approve_payment`",
        ),
        (
            r#"@id("x") forbid(principal, action == Broker::Action::"bank/pay", resource);"#,
            "the servers are `claims`, `countersign`, `files`",
        ),
        (
            r#"@id("x") forbid(principal, action == Broker::Action::"pay", resource);"#,
            "write `server/tool`",
        ),
        (
            r#"@id("x") forbid(principal, action, resource == Broker::Tool::"claims/pay");"#,
            "its tools are",
        ),
        (
            r#"@id("x") forbid(principal, action, resource in Broker::Server::"bank");"#,
            "the servers are",
        ),
        (
            r#"@id("x") forbid(principal in Broker::Role::"Junoir", action, resource);"#,
            "the roles are `Auditor`, `Junior`",
        ),
        (
            "\n@id(\"x\")\nforbid(principal, action in Broker::Action::\"write\", resource)\nwhen { context.input.amount > 1 };",
            "own.cedar:4: policy `x`:",
        ),
        (
            r#"@id("x") forbid(principal, action == Broker::Action::"claims/approve_payment", resource) when { context.input.amount > "1" };"#,
            "policy `x`: ",
        ),
        (
            r#"@id("x") forbid(principal, action == Broker::Action::"claims/approve_payment", resource) when { context.input has amont };"#,
            "policy `x`: ",
        ),
        (
            r#"@id("x") forbid(principal, action == Broker::Action::"claims/approve_payment", resource) when { context.input.memo == "x" };"#,
            "policy `x`: ",
        ),
        (
            r#"@id("x") @escalate("Boss") forbid(principal, action in Broker::Action::"write", resource);"#,
            "own.cedar:1: policy `x`: `@escalate` names the role `Boss`",
        ),
    ] {
        let problems = problems(&World::shipped().with(text));
        assert!(!problems.is_empty(), "{text}");
        let full = problems.join("\n");
        assert!(full.contains(expected), "{text}\n{full}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let mut world = World::shipped().with("permit(principal, action, resource);");
    world.add("two.cedar", "permit(principal");
    world.add(
        "three.cedar",
        r#"@id("x") @note("y") permit(principal in Broker::Role::"Boss", action, resource);"#,
    );
    let found = problems(&world);
    assert_eq!(found.len(), 4, "{found:#?}");
    let error = world.build().unwrap_err().to_string();
    assert!(error.starts_with("the policies cannot be used:\n  "));
}

#[test]
fn without_a_permit_there_is_no_start() {
    let nothing = "no policy permits anything";
    assert!(problems(&World::bare())[0].contains(nothing));
    let only_forbids = World::bare()
        .with(r#"@id("x") forbid(principal, action in Broker::Action::"write", resource);"#);
    assert!(problems(&only_forbids)[0].contains(nothing));
    assert!(problems(&World::bare().with("// nothing"))[0].contains(nothing));
}

#[test]
fn built_in_forbids_stay_whatever_the_files_say() {
    let bundle = World::bare().with(PERMIT).build().unwrap();
    let own: Vec<_> = bundle.policies().map(|policy| policy.id).collect();
    assert_eq!(
        own.join(" "),
        "countersign.own-session countersign.frozen countersign.paused countersign.unpinned-tool p"
    );
}

#[test]
fn a_group_without_tools_only_warns() {
    let mut world = World::bare().with(PERMIT).with(
        r#"@id("w") forbid(principal, action in Broker::Action::"write", resource) when { resource.risk == "high" };"#,
    );
    world.servers = vec![server(
        "t",
        Some(vec![tool(
            "t",
            "x",
            json!({}),
            ToolRules {
                access: crate::tool::Access::Read,
                ..ToolRules::default()
            },
        )]),
    )];
    let bundle = world.build().unwrap();
    assert!(
        bundle.warnings()[0].contains("policy `w`"),
        "{:?}",
        bundle.warnings()
    );
    let never = r#"@id("never") forbid(principal, action == Broker::Action::"t/x", resource) when { resource.risk == "high" && false };"#;
    assert!(problems(&world.with(never))[0].contains("`never`"));
}

#[test]
fn a_name_of_nobody_warns() {
    let bundle = World::shipped()
        .with(r#"@id("x") forbid(principal == Broker::User::"bob", action in Broker::Action::"write", resource);"#)
        .build()
        .unwrap();
    assert_eq!(
        bundle.warnings(),
        ["own.cedar:1: policy `x`: it names the user `bob`, who is no principal"]
    );
}

#[test]
fn a_bundle_serves_many_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<crate::policy::Bundle>();
}

#[test]
fn an_argument_inside_an_object_can_be_metered() {
    let rules = ToolRules {
        money: names(&["order.amount"]),
        meters: names(&["order.amount"]),
        ..ToolRules::default()
    };
    let schema = json!({"properties": {"order": {"properties": {"amount": {"type": "number"}}}}});
    let stop = r#"@id("sum") forbid(principal, action == Broker::Action::"t/x", resource)
        when { context.meter["order.amount"].sessionAfter > 500 };"#;
    let gate = World::of_tool(schema, rules).with(stop).gate("t/x");
    let answer =
        |arguments: &str| told(&decide(&gate, "alice", arguments, &facts(&gate, arguments)));
    assert_eq!(answer(r#"{"order":{"amount":5}}"#), r#"allow ["all"]"#);
    assert_eq!(
        answer(r#"{"order":{"amount":5.01}}"#),
        r#"deny sum ["sum"] []"#
    );
    let reading = gate.read("{}").unwrap();
    assert_eq!(&*reading.amounts()[0].meter, "t/x#order.amount");
    assert_eq!(reading.amounts()[0].value, 0);
    assert!(gate.read(r#"{"order":{"amount":5.001}}"#).is_err());
}

#[test]
fn policies_of_a_server_that_was_never_seen_wait_for_it() {
    let mut world = World::shipped();
    world.servers[0].tools = None;
    world = world.with(PERMIT);
    let bundle = world.build().unwrap();
    let waiting: Vec<_> = bundle
        .quarantined()
        .iter()
        .map(|waiting| waiting.id.as_str())
        .collect();
    assert_eq!(waiting.len(), 7);
    assert!(waiting.contains(&"claims.approve") && waiting.contains(&"claims.read"));
    assert!(
        bundle.quarantined()[0]
            .reason
            .contains("`claims` was never seen")
    );
    assert!(bundle.gate(&tool_id("claims/get_claim")).is_none());
    assert!(!bundle.lists(&id("alice"), &tool_id("claims/get_claim")));
    assert!(bundle.lists(&id("alice"), &tool_id("files/read-file")));
}

#[test]
fn a_waiting_forbid_closes_every_tool_that_it_could_have_stopped() {
    let both = r#"@id("both") forbid(principal, action in [Broker::Action::"claims/close_claim", Broker::Action::"files/read-file"], resource)
        when { context.session.labels.contains("pii") };"#;
    let mut world = World::shipped().with(PERMIT).with(both);
    world.servers[0].tools = None;
    let bundle = world.build().unwrap();
    let gate = bundle.gate(&tool_id("files/read-file")).unwrap();
    let arguments = r#"{"path":"/srv/a"}"#;
    let verdict = decide(gate, "alice", arguments, &facts(gate, arguments));
    assert_eq!(told(&verdict), r#"deny policy_error [] ["both"]"#);
    assert!(!bundle.lists(&id("alice"), gate.tool()));
    let other = bundle.gate(&tool_id("files/write.file \"x\"")).unwrap();
    let verdict = decide(other, "alice", arguments, &facts(other, arguments));
    assert_eq!(told(&verdict), r#"allow ["p"]"#);
}

#[test]
fn a_tool_is_hidden_only_from_those_who_can_never_call_it() {
    let bundle = World::shipped().build().unwrap();
    let table: Vec<String> = ["alice", "mallory", "mia", "audrey", "eve"]
        .into_iter()
        .map(|who| {
            let seen = |tool: &str| match bundle.lists(&id(who), &tool_id(tool)) {
                true => 'x',
                false => '-',
            };
            let tools = [
                "claims/get_claim",
                "claims/approve_payment",
                "claims/close_claim",
                "files/read-file",
            ];
            format!("{who} {}", tools.map(seen).iter().collect::<String>())
        })
        .collect();
    assert_eq!(
        table,
        [
            "alice xx--",
            "mallory xxx-",
            "mia xxx-",
            "audrey ----",
            "eve ----"
        ]
    );
    // Answered from what is remembered.
    assert!(bundle.lists(&id("alice"), &tool_id("claims/get_claim")));
}

#[test]
fn a_list_that_cannot_be_decided_hides() {
    let overflow = r#"@id("overflow") forbid(principal, action == Broker::Action::"claims/get_claim", resource)
        when { principal.limit * 9223372036854775807 < 0 };"#;
    let bundle = World::shipped().with(overflow).build().unwrap();
    assert!(!bundle.lists(&id("alice"), &tool_id("claims/get_claim")));
    assert!(bundle.lists(&id("alice"), &tool_id("claims/approve_payment")));
}

#[test]
fn opening_a_session_is_a_decision_of_its_own() {
    let bundle = World::shipped().build().unwrap();
    let handle = "claim-99".parse().unwrap();
    assert_eq!(bundle.may_open(&id("alice"), &handle, now()), Ok(()));
    for nobody in ["audrey", "eve"] {
        let denial = bundle.may_open(&id(nobody), &handle, now()).unwrap_err();
        assert_eq!(denial.code, "not_permitted");
    }
    let named = r#"@id("names") @reason("bad_handle") forbid(principal, action == Broker::Action::"session/open", resource)
        unless { context.handle like "claim-*" };"#;
    let bundle = World::shipped().with(named).build().unwrap();
    assert_eq!(bundle.may_open(&id("alice"), &handle, now()), Ok(()));
    let denial = bundle
        .may_open(&id("alice"), &"clam-99".parse().unwrap(), now())
        .unwrap_err();
    assert_eq!(denial.code, "bad_handle");
}

#[test]
fn the_digest_depends_on_what_is_said_and_not_on_its_order() {
    let world = World::shipped();
    let digest = |world: &World| world.build().unwrap().digest();
    let mut turned = world.clone();
    turned.files.reverse();
    turned.servers.reverse();
    assert_eq!(digest(&world), digest(&turned));
    let mut edits: Vec<World> = vec![world.clone(); 5];
    edits[0].add("p.cedar", PERMIT);
    edits[1]
        .principals
        .by_id
        .get_mut(&id("alice"))
        .unwrap()
        .limits
        .call += 1;
    edits[2].servers[1].trust = "external".to_owned();
    edits[3].servers[0].tools.as_mut().unwrap()[0].pinned = false;
    edits[4]
        .principals
        .roles
        .get_mut("Auditor")
        .unwrap()
        .insert("Junior".to_owned());
    for edited in &edits {
        assert_ne!(digest(edited), digest(&world));
    }
}

#[test]
fn attributes_of_principals_have_one_type() {
    let mut world = World::shipped().with(
        r#"@id("x") forbid(principal, action in Broker::Action::"write", resource)
            when { principal has region && principal.region == "EU" && principal has grade && principal.grade > 3 };
        @id("y") forbid(principal, action in Broker::Action::"write", resource)
            when { principal.hasTag("refund.limit") && principal.getTag("refund.limit") < 1 };"#,
    );
    let mut set = |who: &str, name: &str, value| {
        let principal = world.principals.by_id.get_mut(&id(who)).unwrap();
        principal.attributes.insert(name.to_owned(), value);
    };
    set("alice", "region", Attribute::Text("EU".to_owned()));
    set("mia", "grade", Attribute::Number(4));
    assert_eq!(problems(&world), [] as [&str; 0]);
    let region = world.principals.by_id.get_mut(&id("mia")).unwrap();
    region
        .attributes
        .insert("region".to_owned(), Attribute::Flag(true));
    region
        .attributes
        .insert("limit".to_owned(), Attribute::Flag(true));
    region.role = "Boss".to_owned();
    let found = problems(&world).join("\n");
    assert!(found.contains(
        "the attribute `region` is of one type for the principal `alice` and of another for `mia`"
    ));
    assert!(found.contains("attribute `limit`, which every user has anyway"));
    assert!(found.contains("the role `Boss`, which nobody declared"));
}

#[test]
fn a_rule_for_an_argument_that_is_not_there_is_told() {
    let rules = ToolRules {
        money: names(&["amont"]),
        ..ToolRules::default()
    };
    let world = World::of_tool(json!({"properties": {"amount": {"type": "number"}}}), rules);
    assert_eq!(
        problems(&world),
        [
            "the tool `t/x`: `money` names `amont`, which the tool does not have: its arguments are `amount`"
        ]
    );
}

#[test]
fn no_tool_takes_the_name_of_an_action_of_ours() {
    for (name, made) in [("tools", "call"), ("session", "open")] {
        let mut world = World::bare().with(PERMIT);
        world.servers = vec![server(
            name,
            Some(vec![tool(name, made, json!({}), ToolRules::default())]),
        )];
        assert!(problems(&world)[0].contains("rename the server"));
    }
    let mut world = World::bare().with(PERMIT);
    world.servers = vec![server("countersign", None)];
    assert!(problems(&world)[0].contains("the broker's own"));
}

#[test]
fn the_arguments_that_policy_cannot_see_are_told_with_the_reason() {
    let schema = json!({"properties": {"a": true, "b": {"properties": {"c": {"type": "array"}}}}});
    let bundle = World::of_tool(schema, ToolRules::default())
        .build()
        .unwrap();
    let unseen = bundle.opaque_arguments(&tool_id("t/x"));
    let places: Vec<_> = unseen.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, ["a", "b.c"]);
    assert!(
        bundle
            .schema_text()
            .contains("Policy cannot see `a`: it declares no type; `b.c`: ")
    );
}

#[test]
fn the_schema_is_printed_for_people_and_reads_back() {
    let bundle = World::shipped().build().unwrap();
    let text = bundle.schema_text();
    for part in [
        "\"claims/approve_payment\"",
        "\"line_items#sum(amount)\"",
        "\"session/open\"",
        "\"files/write.file \\\"x\\\"\"",
        "@doc(",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(text.parse::<cedar_policy::Schema>().is_ok());
}

/// The Cedar text of the worked example in `docs/policy.md`.
fn worked_example() -> String {
    let docs = include_str!("../../../docs/policy.md");
    let example = docs.split("`policies/bank.cedar`:").nth(1).unwrap();
    let text = example.split("```cedar\n").nth(1).unwrap();
    text.split("```").next().unwrap().to_owned()
}

fn bank() -> World {
    let mut world = World::bare();
    let rules = ToolRules {
        money: names(&["amount"]),
        ..ToolRules::default()
    };
    let schema = json!({"properties": {"amount": {"type": "number"}, "country": {"type": "string"}},
        "required": ["amount", "country"]});
    world.servers = vec![server(
        "bank",
        Some(vec![tool("bank", "transfer", schema, rules)]),
    )];
    let alice = world.principals.by_id.get_mut(&id("alice")).unwrap();
    alice.teams.insert("treasury".to_owned());
    world
}

#[test]
fn the_worked_example_of_the_docs_does_what_it_says() {
    let mut world = bank();
    world.add("bank.cedar", &worked_example());
    let bundle = world.build().unwrap();
    let gate = bundle.gate(&tool_id("bank/transfer")).unwrap();
    let told =
        |who: &str, arguments: &str| told(&decide(gate, who, arguments, &facts(gate, arguments)));
    let abroad = r#"{"amount":500.01,"country":"DE"}"#;
    assert!(told("alice", abroad).starts_with("allow"));
    assert!(told("mallory", abroad).starts_with("escalate abroad_over_limit"));
    assert!(told("mallory", r#"{"amount":500,"country":"DE"}"#).starts_with("allow"));
    assert!(told("mallory", r#"{"amount":50000,"country":"CH"}"#).starts_with("allow"));
}

#[test]
fn the_mistake_in_the_docs_is_told_as_the_docs_say() {
    let mut world = bank();
    world.add(
        "bank.cedar",
        &worked_example().replace("input.country", "input.contry"),
    );
    let docs = include_str!("../../../docs/policy.md");
    let found = problems(&world);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(docs.contains(&found[0]), "{found:?}");
}
