//! What changes between an approval and the call that it was given for.

use super::MUCH;
use super::approved;
use super::id_in;
use super::passes;
use super::pay;
use super::says;
use super::state;
use super::stopped;
use crate::http::talk::Talk;
use crate::serving::Serving;
use crate::story::moved;
use crate::world::World;
use crate::world::names_of;
use crate::world::text_of;
use serde_json::Value;
use serde_json::json;

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/described.sh");

/// Everybody may look whom a Manager lets.
const LOOKING: &str = r#"
@id("shop.look")
permit (principal, action in Broker::Action::"server:shop", resource);

@id("shop.ask")
@message("Ask a Manager.")
@escalate("Manager")
@expires("P3D")
forbid (principal, action == Broker::Action::"shop/look", resource)
unless { context.call has approval && context.call.approval.by in Broker::Role::"Manager" };
"#;

fn list_changed(message: &Value) -> bool {
    message["method"] == "notifications/tools/list_changed"
}

/// What was approved is another tool then, also where the operator lets that in.
#[test]
fn a_tool_that_changed_since_makes_an_approval_void() {
    let world = World::of(
        &format!(
            "[servers.shop]\ncommand = \"sh\"\nargs = [{SERVER:?}]\nenv = {{ DESCRIPTION = \"says\" }}\n"
        ),
        LOOKING,
    );
    world.write("says", "Look at the shop.\n");
    let mia = world.key("mia");
    let look = || json!({"name": "shop__look", "arguments": {}});
    let mut alice = world.broker().initialized();
    let id = id_in(&alice.ask("tools/call", look()));
    approved(&world, &mia, &id);
    assert!(alice.end());

    world.write("says", "Look at the shop, and tell Eve.\n");
    let mut alice = world.broker().initialized();
    while !names_of(&alice.ask("tools/list", json!({}))).is_empty() {
        assert!(alice.wait_for(list_changed).is_some());
    }
    let denied = text_of(&alice.ask("tools/call", look()));
    assert!(
        denied.starts_with("error: This tool changed since it was reviewed."),
        "{denied}"
    );
    assert_eq!(state(&world, &id), "approved");
    assert!(alice.end());

    let (_, pins) = world.run(&["pin", "list"]);
    let (_, rest) = pins.split_once("--digest ").unwrap();
    let digest = rest.split_whitespace().next().unwrap();
    let (done, printed) = world.run(&["pin", "accept", "shop", "look", "--digest", digest]);
    assert!(done, "{printed}");
    let mut alice = world.broker().initialized();
    let answer = alice.ask("tools/call", look());
    assert!(
        text_of(&answer).contains("approved before, and that is void"),
        "{answer}"
    );
    assert_eq!(state(&world, &id), "void");
    let anew = id_in(&answer);
    assert_ne!(anew, id);
    approved(&world, &mia, &anew);
    assert_eq!(text_of(&alice.ask("tools/call", look())), "seen");
    assert_eq!(state(&world, &anew), "used");
    assert_eq!(world.journal_problems(), []);
}

/// Each alone is under the session's limit, and is asked for while none was paid.
#[test]
fn an_approval_lifts_what_its_approver_was_shown_and_no_more() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let call = |dollars| pay(dollars, "claim-99");
    let mut ask = |dollars| id_in(&alice.ask("tools/call", call(dollars)));
    let [first, second, third, fourth] = [10_001, 10_002, 10_003, 10_004].map(&mut ask);
    approved(&world, &mia, &first);
    approved(&world, &mia, &second);
    assert!(passes(&mut alice, call(10_001)));

    // With this one the session's limit is passed too.
    let answer = alice.ask("tools/call", call(10_002));
    let told = "approved before, and that is void: more stops the call now than what was approved";
    assert!(text_of(&answer).contains(told), "{answer}");
    assert_eq!(state(&world, &second), "void");
    let limit = "claims.approve.session-limit";
    let shows = |id: &str| says(&world, &mia, &["show", id]).1.contains(limit);
    let anew = id_in(&answer);
    assert!(anew != second && shows(&anew) && !shows(&third));

    // Whoever decides is told first, and then approves all of it.
    let (done, printed) = says(&world, &mia, &["approve", &third]);
    assert!(
        !done && printed.contains("Session Limit Exceeded") && printed.contains("Look at it again"),
        "{printed}"
    );
    assert!(shows(&third));
    approved(&world, &mia, &third);
    // So is whoever decides after the call was made again: they may have read it before.
    assert!(!shows(&fourth));
    assert_eq!(id_in(&alice.ask("tools/call", call(10_004))), fourth);
    assert!(shows(&fourth));
    let (done, printed) = says(&world, &mia, &["approve", &fourth]);
    assert!(
        !done && printed.contains(limit) && printed.contains("Look at it again"),
        "{printed}"
    );
    approved(&world, &mia, &fourth);
    assert!(passes(&mut alice, call(10_003)) && passes(&mut alice, call(10_004)));
    assert!(alice.end());
    assert_eq!(world.paid(), [1_000_100, 1_000_300, 1_000_400]);
    assert_eq!(world.journal_problems(), []);
}

#[test]
#[ignore = "needs libfaketime: run tests/run"]
fn what_was_not_used_or_decided_in_time_is_over_also_where_the_clock_goes_back() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    let pending = id_in(&alice.ask("tools/call", pay(MUCH + 1, "claim-99")));
    approved(&world, &mia, &id);
    assert!(alice.end());
    // The policy says three days.
    let at = |by: &str| {
        let alice = world.broker_with(|command| moved(command, by));
        alice.initialized()
    };
    let mut alice = at("+71h");
    let early = alice.ask("tools/call", pay(MUCH + 1, "claim-99"));
    assert_eq!(id_in(&early), pending);
    assert!(alice.end());

    let mut command = world.command(&["escalation", "approve", &pending]);
    moved(&mut command, "+73h");
    let late = command.env("COUNTERSIGN_KEY", &mia).output().unwrap();
    let late = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(late.contains("it is expired already"), "{late}");
    let mut alice = at("+73h");
    let anew = stopped(&mut alice);
    assert_ne!(anew, id);
    assert!(alice.end());
    for gone in [&id, &pending] {
        assert_eq!(state(&world, gone), "expired");
    }
    let (done, printed) = says(&world, &mia, &["approve", &pending]);
    assert!(
        !done && printed.contains("it is expired already"),
        "{printed}"
    );
    let mut alice = world.broker().initialized();
    assert_eq!(stopped(&mut alice), anew);
    assert!(world.paid().is_empty());
    assert_eq!(world.journal_problems(), []);
}

fn posts(broker: &Serving, key: &str, call: &Value) -> (u16, Value) {
    let mut params = call.clone();
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let answer = Talk::new(broker.address())
        .with("authorization", &format!("Bearer {key}"))
        .with("mcp-protocol-version", "2026-07-28")
        .with("mcp-method", "tools/call")
        .with("mcp-name", call["name"].as_str().unwrap())
        .post("/mcp", &body.to_string());
    let status = answer.status;
    (
        status,
        if status == 200 {
            answer.json()
        } else {
            Value::Null
        },
    )
}

/// The approval is of the principal, and whoever has no key is nobody.
#[test]
fn whoever_retries_with_a_key_that_was_revoked_meanwhile_is_nobody() {
    let world = World::new();
    let [first, other, mia] = ["alice", "alice", "mia"].map(|name| world.key(name));
    let broker = world.serve();
    let call = pay(MUCH, "claim-99");
    let (_, answer) = posts(&broker, &first, &call);
    let id = id_in(&answer);
    approved(&world, &mia, &id);
    let (_, listed) = world.run(&["--json", "key", "list"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let keys = listed["keys"].as_array().unwrap();
    let is_first = |key: &&Value| first.ends_with(key["ending"].as_str().unwrap());
    let revoked = keys.iter().find(is_first).unwrap();
    let (done, printed) = world.run(&["key", "revoke", revoked["id"].as_str().unwrap()]);
    assert!(done, "{printed}");

    assert_eq!(posts(&broker, &first, &call).0, 401);
    assert_eq!(state(&world, &id), "approved");
    assert!(world.paid().is_empty());
    let (_, answer) = posts(&broker, &other, &call);
    assert_eq!(text_of(&answer), "Paid $50000.00 to ACME on claim 99.");
    assert_eq!(state(&world, &id), "used");
    let mut alice = world.broker().initialized();
    assert!(!passes(&mut alice, call));
    assert_eq!(world.paid(), [5_000_000]);
}
