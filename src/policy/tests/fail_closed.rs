//! What must hold whatever else is wrong.

use super::world::World;
use super::world::decide;
use super::world::facts;
use super::world::id;
use super::world::names;
use super::world::now;
use super::world::told;
use crate::policy::ArgumentError;
use crate::policy::Gate;
use crate::policy::Totals;
use crate::policy::Verdict;
use crate::tool::CallId;
use crate::tool::ToolRules;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const PAY: &str = "claims/approve_payment";
const PAYMENT: &str = r#"{"claim_id":"C-1","amount":100,"payee":"ACME"}"#;

fn pay() -> Arc<Gate> {
    World::shipped().gate(PAY)
}

fn payment(extra: &str) -> String {
    format!(r#"{{"claim_id":"C-1","payee":"ACME",{extra}}}"#)
}

fn refusal(gate: &Gate, arguments: &str) -> String {
    gate.read(arguments).unwrap_err().to_string()
}

fn answer(gate: &Gate, arguments: &str) -> String {
    told(&decide(gate, "alice", arguments, &facts(gate, arguments)))
}

#[test]
fn json_of_a_client_never_becomes_an_entity_or_an_extension_value() {
    let gate = pay();
    for escape in [
        r#"{"__entity":{"type":"Broker::User","id":"mia"}}"#,
        r#"{"__extn":{"fn":"decimal","arg":"1.0"}}"#,
    ] {
        let arguments = format!(r#"{{"claim_id":"C-1","amount":1,"payee":{escape}}}"#);
        assert!(refusal(&gate, &arguments).contains("`payee` is an object: it must be a string"));
        let undeclared = payment(&format!(r#""amount":1,"extra":{escape}"#));
        assert!(answer(&gate, &undeclared).starts_with("deny arguments_not_checkable"));
    }
}

#[test]
fn numbers_are_read_from_their_digits_and_never_rounded() {
    let gate = pay();
    for (amount, cents) in [("10000.00", 1_000_000), ("1e4", 1_000_000), ("-5.50", -550)] {
        let reading = gate
            .read(&payment(&format!(r#""amount":{amount}"#)))
            .unwrap();
        assert_eq!(reading.amounts()[0].value, cents);
        assert_eq!(
            &*reading.amounts()[0].meter,
            "claims/approve_payment#amount"
        );
    }
    for (amount, problem) in [
        ("10000.004", "too many decimals; write at most 2 decimals"),
        ("1e-400", "too many decimals"),
        ("1e400", "too large"),
        ("9223372036854775808", "too large"),
    ] {
        let error = refusal(&gate, &payment(&format!(r#""amount":{amount}"#)));
        assert!(error.contains(problem), "{amount}: {error}");
    }
}

#[test]
fn a_number_that_does_not_fit_is_refused_only_where_it_is_read() {
    let schema = json!({"type": "object", "properties": {"lat": {"type": "number"}, "n": {"type": "integer"}}});
    let open = World::of_tool(schema.clone(), ToolRules::default());
    let unfit = r#"{"lat":52.520008,"n":1.5}"#;
    assert_eq!(answer(&open.gate("t/x"), unfit), r#"allow ["all"]"#);
    let north = r#"@id("north") forbid(principal, action == Broker::Action::"t/x", resource)
        when { context.input has lat && context.input.lat.greaterThan(decimal("80.0")) };"#;
    let gate = open.with(north).gate("t/x");
    assert!(refusal(&gate, unfit).contains("at most 4 decimals"));
    assert_eq!(
        answer(&gate, r#"{"lat":80.0001}"#),
        r#"deny north ["north"] []"#
    );
    assert_eq!(answer(&gate, r#"{"lat":80,"n":1.5}"#), r#"allow ["all"]"#);
    let metered = ToolRules {
        meters: names(&["n"]),
        ..ToolRules::default()
    };
    let gate = World::of_tool(schema, metered).gate("t/x");
    assert!(
        refusal(&gate, unfit).contains("`n` cannot be checked exactly: it is not a whole number")
    );
}

#[test]
fn null_is_absent_only_where_the_tool_allows_it() {
    let gate = pay();
    assert!(answer(&gate, &payment(r#""amount":1,"memo":null"#)).starts_with("allow"));
    assert!(refusal(&gate, &payment(r#""amount":null"#)).contains("`amount` is null"));
    assert!(refusal(&gate, &payment(r#""amount":1,"line_items":null"#)).contains("null"));
}

#[test]
fn null_for_an_optional_argument_passes_where_no_policy_reads_it() {
    let schema = json!({"type": "object", "properties": {"dry": {"type": "boolean"}}});
    let open = World::of_tool(schema.clone(), ToolRules::default());
    assert_eq!(
        answer(&open.gate("t/x"), r#"{"dry":null}"#),
        r#"allow ["all"]"#
    );
    // A server could take it for something else than nothing.
    let wet = r#"@id("wet") forbid(principal, action == Broker::Action::"t/x", resource)
        when { context.input has dry && !context.input.dry };"#;
    let gate = open.with(wet).gate("t/x");
    assert!(refusal(&gate, r#"{"dry":null}"#).contains("`dry` is null"));
}

#[test]
fn a_missing_required_argument_is_refused_at_every_level() {
    let gate = pay();
    assert!(refusal(&gate, "{}").contains("`amount` is missing: it must be an amount of money"));
    let items = payment(r#""amount":1,"line_items":[{"code":"a"}]"#);
    assert!(refusal(&gate, &items).contains("`line_items[].amount` is missing"));
}

#[test]
fn a_value_of_another_type_is_refused_even_where_no_policy_reads_it() {
    let gate = pay();
    for (extra, place) in [
        (r#""amount":"1""#, "`amount` is a string"),
        (r#""amount":1,"memo":7"#, "`memo` is a number"),
        (r#""amount":1,"line_items":{}"#, "`line_items` is an object"),
        (
            r#""amount":1,"line_items":[1]"#,
            "`line_items[]` is a number",
        ),
        (
            r#""amount":1,"line_items":[{"code":1,"amount":1}]"#,
            "`line_items[].code` is a number",
        ),
    ] {
        let error = refusal(&gate, &payment(extra));
        assert!(error.contains(place), "{error}");
    }
    for text in ["[]", "null", "7", "\"x\"", ""] {
        assert!(
            matches!(gate.read(text), Err(ArgumentError::Malformed(_))),
            "{text}"
        );
    }
}

#[test]
fn what_policy_cannot_see_is_named_and_stops_a_write() {
    let gate = pay();
    let seen = |extra: &str| {
        let reading = gate.read(&payment(extra)).unwrap();
        reading.opaque().iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(seen(r#""amount":1,"metadata":{}"#), ["metadata"]);
    assert_eq!(
        seen(r#""amount":1,"line_items":[{"code":"a","amount":1,"note":1}]"#),
        ["line_items[].note"]
    );
    assert_eq!(
        answer(&gate, &payment(r#""amount":1,"metadata":{}"#)),
        r#"deny arguments_not_checkable ["global.opaque-write"] []"#
    );
    let read = World::shipped().gate("claims/get_claim");
    assert!(answer(&read, r#"{"claim_id":"C-1","x":1}"#).starts_with("allow"));
}

#[test]
fn arrays_come_with_their_length_and_their_sum() {
    let gate = World::shipped()
        .with(
            r#"@id("many") forbid(principal, action == Broker::Action::"claims/approve_payment", resource)
                when { context.input["line_items#count"] > 2 };
            @id("mismatch") forbid(principal, action == Broker::Action::"claims/approve_payment", resource)
                when { context.input has line_items && context.input["line_items#sum(amount)"] != context.input.amount };"#,
        )
        .gate(PAY);
    let items = |list: &str| payment(&format!(r#""amount":100,"line_items":[{list}]"#));
    let fifty = r#"{"code":"a","amount":50}"#;
    assert!(answer(&gate, PAYMENT).starts_with("allow"));
    // Equal items are one member of the set, and still two items of the list.
    assert!(answer(&gate, &items(&format!("{fifty},{fifty}"))).starts_with("allow"));
    assert!(answer(&gate, &items(fifty)).starts_with("deny mismatch"));
    let three = items(&format!(r#"{fifty},{fifty},{{"code":"b","amount":0}}"#));
    assert!(answer(&gate, &three).starts_with("deny many"));
    let huge = r#"{"code":"a","amount":90000000000000000}"#;
    assert!(refusal(&gate, &items(&format!("{huge},{huge}"))).contains("too large to be checked"));
}

#[test]
fn a_key_that_stands_twice_is_refused_at_every_depth() {
    let gate = pay();
    for extra in [
        r#""amount":1,"amount":99"#,
        r#""amount":1,"line_items":[{"code":"a","amount":1,"amount":2}]"#,
        r#""amount":1,"metadata":{"a":[{"b":1,"b":2}]}"#,
    ] {
        assert!(
            refusal(&gate, &payment(extra)).contains("stands twice"),
            "{extra}"
        );
    }
}

#[test]
fn a_key_that_some_server_takes_for_a_declared_one_is_refused() {
    let gate = pay();
    for extra in [
        r#""amount":1,"Amount":99"#,
        r#""amount":1,"amount\u0000x":99"#,
        "\"amount\":1,\"ａmount\":99",
        r#""amount":1,"MEMO":"x""#,
        r#""amount":1,"line_items":[{"code":"a","amount":1,"AMOUNT":2}]"#,
    ] {
        let error = refusal(&gate, &payment(extra));
        assert!(error.contains("could be read as"), "{extra}: {error}");
    }
}

#[test]
fn a_refusal_never_repeats_a_large_input() {
    let gate = pay();
    let long = "A".repeat(100_000);
    for arguments in [
        payment(&format!(r#""amount":"{long}""#)),
        payment(&format!(r#""amount":1,"memo\u0000{long}":1"#)),
        payment(&format!(r#""amount":1{}"#, "0".repeat(100_000))),
        payment(&format!(r#""amount":1,"{long}":1,"{long}":1"#)),
    ] {
        let error = refusal(&gate, &arguments);
        assert!(error.len() < 600, "{} characters", error.len());
    }
}

#[test]
fn an_unknown_principal_is_denied() {
    let gate = pay();
    let verdict = decide(&gate, "eve", PAYMENT, &facts(&gate, PAYMENT));
    assert_eq!(told(&verdict), "deny not_permitted [] []");
    let other_issuer = decide(&gate, "https://idp|alice", PAYMENT, &facts(&gate, PAYMENT));
    assert_eq!(told(&other_issuer), "deny not_permitted [] []");
}

#[test]
fn a_policy_that_fails_to_evaluate_denies() {
    let overflow = r#"@id("overflow") forbid(principal, action == Broker::Action::"claims/approve_payment", resource)
        when { context.input.amount + 9223372036854770000 < 0 };"#;
    let gate = World::shipped().with(overflow).gate(PAY);
    assert_eq!(
        answer(&gate, PAYMENT),
        r#"deny policy_error [] ["overflow"]"#
    );
    // No role is asked to lift what nobody could judge.
    let over = payment(r#""amount":50000"#);
    assert_eq!(
        answer(&gate, &over),
        r#"deny policy_error ["claims.approve.day-limit", "claims.approve.limit", "claims.approve.session-limit"] ["overflow"]"#
    );
    assert!(answer(&gate, &payment(r#""amount":1"#)).starts_with("allow"));
}

#[test]
fn totals_that_do_not_fit_the_meters_deny() {
    let gate = pay();
    let mut facts = facts(&gate, PAYMENT);
    facts.totals.push(Totals {
        session_after: 0,
        day_after: 0,
    });
    assert_eq!(
        told(&decide(&gate, "alice", PAYMENT, &facts)),
        r#"deny policy_error [] ["countersign.totals"]"#
    );
}

#[test]
fn a_reading_of_another_bundle_is_denied() {
    let (old, new) = (pay(), pay());
    let reading = old.read(PAYMENT).unwrap();
    let facts = facts(&new, PAYMENT);
    let verdict = new.decide(
        CallId::from_bytes([1; 16]),
        &id("alice"),
        &reading,
        &facts,
        now(),
    );
    assert_eq!(
        told(&verdict),
        r#"deny policy_error [] ["countersign.stale-reading"]"#
    );
}

#[test]
fn an_approver_who_is_no_principal_any_more_approves_nothing() {
    let gate = pay();
    let over = payment(r#""amount":50000"#);
    let mut facts = facts(&gate, &over);
    facts.approval = Some(id("mia"));
    assert!(told(&decide(&gate, "alice", &over, &facts)).starts_with("allow"));
    facts.approval = Some(id("gone"));
    assert!(
        told(&decide(&gate, "alice", &over, &facts)).starts_with("escalate day_total_over_limit")
    );
}

#[test]
fn places_are_matched_where_they_lead() {
    let text = r#"@id("inside") permit(principal, action in Broker::Action::"server:files", resource)
        when { context.input["path#under"] && context.input["path#resolved"] like "/srv/*" };"#;
    let mut world = World::bare();
    world.add("files.cedar", text);
    let gate = world.gate("files/read-file");
    let path = |path: &str| answer(&gate, &json!({"path": path}).to_string());
    assert!(path("/srv/a/./b").starts_with("allow"));
    for outside in ["/srv/../etc/passwd", "srv/a", "/srv/..\\etc", "/srvx"] {
        assert_eq!(path(outside), "deny not_permitted [] []", "{outside}");
    }
}

#[test]
fn a_folder_rule_over_no_path_is_not_met() {
    let schema = json!({"type": "object", "properties": {
        "paths": {"type": "array", "items": {"type": "string"}}, "url": {"type": "string"}}});
    let rules = ToolRules {
        under: BTreeMap::from([("paths".to_owned(), "/srv/".to_owned())]),
        urls: names(&["url"]),
        ..ToolRules::default()
    };
    let stop = r#"@id("out") forbid(principal, action == Broker::Action::"t/x", resource)
            unless { context.input["paths#under"] };
        @id("host") forbid(principal, action == Broker::Action::"t/x", resource)
            when { context.input has "url#host" && context.input["url#host"] == "evil.com" };"#;
    let gate = World::of_tool(schema, rules).with(stop).gate("t/x");
    assert!(answer(&gate, r#"{"paths":["/srv/a","/srv/b/../c"]}"#).starts_with("allow"));
    for outside in ["{}", r#"{"paths":[]}"#, r#"{"paths":["/srv/a","/etc"]}"#] {
        assert!(answer(&gate, outside).starts_with("deny out"), "{outside}");
    }
    let url = |url: &str| format!(r#"{{"paths":["/srv/a"],"url":"{url}"}}"#);
    assert!(answer(&gate, &url("https://EVIL.com./x")).starts_with("deny host"));
    assert!(answer(&gate, &url("https://good.com/x")).starts_with("allow"));
    assert!(refusal(&gate, &url("https:evil.com")).contains("several ways"));
}

#[test]
fn a_tool_that_changed_since_it_was_reviewed_is_denied_and_hidden() {
    let mut world = World::shipped();
    for server in &mut world.servers {
        server
            .tools
            .iter_mut()
            .flatten()
            .for_each(|tool| tool.pinned = false);
    }
    let gate = world.gate("claims/get_claim");
    let arguments = r#"{"claim_id":"C-1"}"#;
    let verdict = decide(&gate, "alice", arguments, &facts(&gate, arguments));
    assert_eq!(
        told(&verdict),
        r#"deny tool_changed ["countersign.unpinned-tool"] []"#
    );
    assert!(!gate.lists(&id("alice")));
}

#[test]
fn a_frozen_session_is_denied_whatever_else_is_permitted() {
    let gate = pay();
    let mut facts = facts(&gate, PAYMENT);
    facts.session.frozen = true;
    assert_eq!(
        told(&decide(&gate, "mia", PAYMENT, &facts)),
        r#"deny session_frozen ["countersign.frozen"] []"#
    );
}

#[test]
fn the_answer_to_plain_calls_is_given_to_no_other_call() {
    let world = World::of_tool(json!({"type": "object"}), ToolRules::default());
    let gate = &world.with_global().gate("t/x");
    let plain = facts(gate, "{}");
    let mut tainted = plain.clone();
    tainted.session.labels.insert("untrusted-web".to_owned());
    let mut frozen = plain.clone();
    frozen.session.frozen = true;
    let answers = [
        ("{}", &plain),
        ("{}", &tainted),
        ("{}", &frozen),
        (r#"{"more":1}"#, &plain),
        ("{}", &plain),
    ]
    .map(
        |(arguments, facts)| match decide(gate, "alice", arguments, facts) {
            Verdict::Allow(_) => "allow".to_owned(),
            Verdict::Deny(denial) | Verdict::Escalate(denial, _) | Verdict::Confirm(denial, _) => {
                denial.code
            }
        },
    );
    assert_eq!(
        answers,
        [
            "allow",
            "tainted_session",
            "session_frozen",
            "arguments_not_checkable",
            "allow"
        ]
    );
}

#[test]
fn who_may_not_use_a_tool_is_not_told_its_limits() {
    let gate = pay();
    let over = payment(r#""amount":50000"#);
    let verdict = decide(&gate, "audrey", &over, &facts(&gate, &over));
    assert_eq!(told(&verdict), "deny not_permitted [] []");
}
