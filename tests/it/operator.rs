//! What an operator does, with the commands that he has, while brokers run.

use crate::world::APPROVE;
use crate::world::GET;
use crate::world::Wire;
use crate::world::World;
use crate::world::names_of;
use crate::world::payment;
use countersign::app;
use countersign::outcome::Outcome;
use countersign::store::Store;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_freeze_reaches_every_running_broker_at_its_next_call() {
    let world = World::new();
    let mut first = world.broker().initialized();
    let mut second = world.broker().initialized();
    let read = || json!({"claim_id": "99"});
    assert!(first.call(GET, read()).starts_with("Claim 99"));
    assert!(second.call(GET, read()).starts_with("Claim 99"));

    let (frozen, printed) = world.run(&["session", "freeze", "claim-99"]);
    assert!(frozen, "{printed}");
    for broker in [&mut first, &mut second] {
        let answer = broker.call(GET, read());
        assert!(
            answer.starts_with("error: This session is frozen."),
            "{answer}"
        );
    }
    let (thawed, printed) = world.run(&["session", "thaw", "claim-99"]);
    assert!(thawed, "{printed}");
    assert!(second.call(GET, read()).starts_with("Claim 99"));
}

#[test]
fn a_changed_policy_is_taken_and_the_client_is_told_its_list_changed() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    let before = broker.ask("tools/list", json!({}));
    assert_eq!(names_of(&before).len(), 2);

    world.edit(
        "policies/claims.cedar",
        "principal in Broker::Role::\"Senior\"",
        "principal in Broker::Role::\"Junior\"",
    );
    let told = broker.wait_for(|message| message["method"] == "notifications/tools/list_changed");
    assert!(told.is_some());
    let after = broker.ask("tools/list", json!({}));
    assert_eq!(names_of(&after).len(), 3);
}

#[test]
fn a_policy_that_is_not_valid_changes_nothing_and_the_log_says_so() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    broker.ask("tools/list", json!({}));
    world.edit(
        "policies/claims.cedar",
        "context.input.amount > principal.limit",
        "context.input.amuont > principal.limit",
    );
    world.wait_for_log("the old ones stay in force");
    let answer = broker.call(APPROVE, payment(50_000));
    assert!(answer.contains("Limit Exceeded."), "{answer}");
    let log = world.read("broker.log");
    assert!(
        log.contains("claims.approve.limit") && log.contains("amuont"),
        "{log}"
    );
}

#[test]
fn a_broker_says_that_the_configuration_changed_and_that_its_declarations_wait_for_a_restart() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    broker.ask("tools/list", json!({}));
    let (_, said) = world.run(&["doctor"]);
    assert!(!said.contains("on this store started before"), "{said}");
    let before = world.read("countersign.toml");
    let read = "access = \"read\"\n";
    let declared = format!("{read}under = {{ claim_id = \"/srv\" }}\n");
    world.edit("countersign.toml", read, &declared);
    let changed = "countersign.toml` changed since this broker started: what it says of servers, tools and settings counts after a restart";
    world.wait_for_log(changed);
    let (_, said) = world.run(&["doctor"]);
    assert!(
        said.contains("1 broker on this store started before"),
        "{said}"
    );

    world.append(
        "policies/claims.cedar",
        r#"@id("outside")
        forbid (principal, action == Broker::Action::"claims/get_claim", resource)
        unless { context.input["claim_id#under"] };"#,
    );
    let waits = "changed since this broker started: restart it, then what is declared there counts";
    world.wait_for_log(waits);
    world.edit(
        "principals.toml",
        "day = \"100000.00\"",
        "day = \"90000.00\"",
    );
    let neither =
        "principals.toml` was not taken either, as policies and principals are taken together; ";
    world.wait_for_log(neither);
    world.write("countersign.toml", &before);
    world.wait_for_log("says again what it said when this broker started");
    let log = world.read("broker.log");
    assert_eq!(log.matches(changed).count(), 1, "{log}");

    world.edit("countersign.toml", read, &declared);
    assert!(broker.end());
    let mut broker = world.broker().initialized();
    let answer = broker.call(GET, json!({"claim_id": "99"}));
    assert!(answer.starts_with("error: "), "{answer}");
}

#[test]
fn a_broker_with_no_valid_policies_does_not_start() {
    let world = World::new();
    world.write(
        "policies/claims.cedar",
        "@id(\"x\") permit (principal, action, nonsense);",
    );
    let (started, printed) = world.run(&["stdio"]);
    assert!(!started);
    assert!(printed.contains("claims.cedar"), "{printed}");
}

#[test]
fn a_session_that_cannot_be_named_so_is_refused_at_the_start() {
    let world = World::new();
    let (started, printed) = world.run(&["stdio", "--session", "a b"]);
    assert!(!started);
    assert!(printed.contains("`a b` is no session handle"), "{printed}");
}

#[test]
fn check_shows_who_may_see_what_and_names_problems() {
    let world = World::new();
    let (good, printed) = world.run(&["check"]);
    assert!(good, "{printed}");
    assert!(printed.contains("no problems"), "{printed}");
    assert!(
        !world.path("countersign.db").exists(),
        "a check writes no store"
    );

    world.edit("countersign.toml", "tools.close_claim", "tools.close_case");
    let (good, printed) = world.run(&["check"]);
    assert!(!good);
    assert!(
        printed.contains("`servers.claims.tools.close_case`: the server has no such tool (did you mean `close_claim`?); it has "),
        "{printed}"
    );

    world.edit(
        "policies/claims.cedar",
        "claims/close_claim",
        "claims/close_case",
    );
    let (good, printed) = world.run(&["check"]);
    assert!(!good);
    assert!(printed.contains("close_case"), "{printed}");
}

#[test]
fn the_schema_of_the_tools_is_printed() {
    let world = World::new();
    let (printed_it, schema) = world.run(&["policy", "schema"]);
    assert!(printed_it, "{schema}");
    assert!(schema.contains("claims/approve_payment"), "{schema}");
}

/// A claim was read and a payment approved; no broker runs.
fn after_a_payment() -> World {
    let world = World::new();
    let mut broker = world.broker().initialized();
    broker.call(GET, json!({"claim_id": "99"}));
    broker.call(APPROVE, payment(9_000));
    assert!(broker.end());
    world
}

/// A payment was executed, and the server holds its answer back.
fn in_the_middle_of_a_payment() -> (World, Wire) {
    let world = World::holding();
    let mut broker = world.broker().initialized();
    broker.request(
        "tools/call",
        json!({"name": APPROVE, "arguments": payment(9_000)}),
    );
    world.wait_until_paid(1);
    (world, broker)
}

#[test]
fn an_edit_of_a_record_is_found() {
    let world = after_a_payment();
    assert!(world.run(&["journal", "verify"]).0);

    let database = rusqlite::Connection::open(world.path("countersign.db")).unwrap();
    let edited = "UPDATE journal SET principal = 'mia' WHERE kind = 'open' AND seq = 3";
    assert!(
        database.execute(edited, []).is_err(),
        "the journal is append-only"
    );
    database
        .execute("DROP TRIGGER journal_no_update", [])
        .unwrap();
    assert_eq!(database.execute(edited, []).unwrap(), 1);
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(!holds);
    assert!(printed.contains("record 3 was altered"), "{printed}");
}

#[test]
fn a_record_that_was_taken_out_is_found() {
    let world = after_a_payment();
    let database = rusqlite::Connection::open(world.path("countersign.db")).unwrap();
    let taken = "DELETE FROM journal WHERE seq = 2";
    assert!(
        database.execute(taken, []).is_err(),
        "the journal is append-only"
    );
    database
        .execute("DROP TRIGGER journal_no_delete", [])
        .unwrap();
    assert_eq!(database.execute(taken, []).unwrap(), 1);
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(!holds);
    assert!(printed.contains("record 2 is missing"), "{printed}");
    assert!(printed.contains("do not pair"), "{printed}");
}

#[test]
fn a_call_that_a_killed_broker_left_open_is_shown_as_unknown_and_named_by_verify() {
    let (world, mut broker) = in_the_middle_of_a_payment();
    let (_, shown) = world.run(&["session", "show", "claim-99"]);
    assert!(shown.contains("running"), "{shown}");
    broker.kill();
    let (_, shown) = world.run(&["session", "show", "claim-99"]);
    assert!(shown.contains("unknown (not recovered) claims/"), "{shown}");
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(holds && printed.contains("note call "), "{printed}");
    for said in ["left open by writer", "; 0 calls in flight."] {
        assert!(printed.contains(said), "{printed}");
    }
    let (holds, printed) = world.run(&["journal", "verify", "--json"]);
    assert!(holds && printed.contains("\"problems\":[]"), "{printed}");
    // The next start recovers it.
    assert!(world.broker().initialized().end());
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(holds, "{printed}");
    let (_, shown) = world.run(&["session", "show", "claim-99"]);
    assert!(
        shown.contains("unknown") && !shown.contains("not recovered"),
        "{shown}"
    );
}

#[test]
fn after_a_crash_the_same_call_is_told_of_it_and_not_sent() {
    let (world, mut broker) = in_the_middle_of_a_payment();
    broker.kill();
    std::fs::remove_file(world.path("hold")).unwrap();

    // A broker that tells it and dies may have told nobody: it is told again.
    for _ in 0..2 {
        let mut broker = world.broker().initialized();
        let answer = broker.call(APPROVE, payment(9_000));
        assert!(answer.contains("nobody saw how it ended"), "{answer}");
        broker.kill();
    }
    let mut broker = world.broker().initialized();
    let answer = broker.call(APPROVE, payment(9_000));
    assert!(answer.contains("nobody saw how it ended"), "{answer}");
    assert_eq!(world.paid(), [900_000]);
    // Who was told and sends it all the same means a new call.
    let answer = broker.call(APPROVE, payment(9_000));
    assert!(answer.starts_with("Paid"), "{answer}");
    assert_eq!(world.paid(), [900_000, 900_000]);
    // The unknown one stays charged: a third does not fit the session.
    let answer = broker.call(APPROVE, payment(9_000));
    assert!(answer.contains("Session Limit Exceeded."), "{answer}");
}

#[test]
fn logs_carry_no_arguments_and_no_results() {
    let world = World::new();
    let loud = |command: &mut std::process::Command| {
        command.env("COUNTERSIGN_LOG", "trace");
    };
    let mut broker = world.broker_with(loud).initialized();
    let secret = json!({"claim_id": "xyzzy-4711", "amount": 7_331, "payee": "plugh"});
    assert!(broker.call(APPROVE, secret).contains("plugh"));
    let denied = json!({"claim_id": "xyzzy-4711", "amount": 99_999, "payee": "plugh"});
    broker.call(APPROVE, denied);
    broker.call("claims__xyzzy", json!({"plugh": "xyzzy-4711"}));
    assert!(broker.end());
    let log = world.read("broker.log");
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    for word in ["xyzzy-4711", "plugh"] {
        assert!(!log.contains(word), "{word} is in the log:\n{log}");
    }
}

#[test]
fn kept_arguments_that_were_edited_are_found() {
    let world = after_a_payment();
    let database = rusqlite::Connection::open(world.path("countersign.db")).unwrap();
    let edited = "UPDATE payload SET body = replace(body, '9000', '900') WHERE body LIKE '%9000%'";
    assert_eq!(database.execute(edited, []).unwrap(), 1);
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(!holds);
    assert!(
        printed.contains("arguments are not those recorded"),
        "{printed}"
    );
}

#[test]
fn the_store_can_be_read_by_its_owner_only() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    broker.call(GET, json!({"claim_id": "99"}));
    for file in ["countersign.db", "countersign.db-wal", "countersign.db-shm"] {
        let mode = std::fs::metadata(world.path(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_store_of_a_newer_version_and_a_foreign_database_are_refused() {
    let world = World::new();
    drop(app::open_store(&world.path("countersign.db")).unwrap());
    let database = rusqlite::Connection::open(world.path("countersign.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    let (done, printed) = world.run(&["session", "list"]);
    assert!(!done);
    assert!(
        printed.contains("version 99") && printed.contains("newer countersign"),
        "{printed}"
    );

    let foreign = world.path("foreign.db");
    let database = rusqlite::Connection::open(&foreign).unwrap();
    database.execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = Store::open(&foreign, &app::MIGRATIONS).unwrap_err();
    assert!(
        error.to_string().contains("no store of countersign"),
        "{error}"
    );
}

#[test]
fn commands_show_the_session_and_its_calls() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    broker.call(GET, json!({"claim_id": "99"}));
    broker.call(APPROVE, payment(50_000));
    assert!(broker.end());
    let (done, shown) = world.run(&["session", "show", "claim-99"]);
    assert!(done, "{shown}");
    for part in [
        "owner     alice",
        "completed",
        "escalated",
        "amount_over_limit",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (done, listed) = world.run(&["session", "list"]);
    assert!(done && listed.contains("claim-99"), "{listed}");
    let (done, tail) = world.run(&["journal", "tail", "-n", "1"]);
    assert!(done && tail.lines().count() == 1, "{tail}");
    assert!(tail.ends_with("  alice  session claim-99\n"), "{tail}");
    let call = world.calls("claim-99").pop().unwrap();
    assert_eq!(call.outcome, Some(Outcome::Escalated));
    let (done, shown) = world.run(&["journal", "show", &call.call.to_string()]);
    assert!(done && shown.contains("\"amount\":50000"), "{shown}");
    assert!(shown.contains("session    claim-99 ("), "{shown}");
    let (done, said) = world.run(&["journal", "show", "zzz"]);
    let told = "`zzz` is no id of a call: `countersign journal tail` shows the last ones";
    assert!(!done && said.contains(told), "{said}");
}

#[test]
fn totals_of_money_are_shown_as_money_and_times_with_their_zone() {
    let world = after_a_payment();
    let (_, shown) = world.run(&["session", "show", "claim-99"]);
    assert!(
        shown.contains("total     claims/approve_payment#amount 9000.00\n"),
        "{shown}"
    );
    let shown = world.run(&["session", "show", "claim-99", "--json"]).1;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["totals"][0]["total"], 900_000);
    let (made, _) = world.run(&["key", "new", "alice"]);
    assert!(made);
    for list in [
        &["session", "list"][..],
        &["session", "show", "claim-99"],
        &["journal", "tail"],
        &["key", "list"],
    ] {
        let (_, printed) = world.run(list);
        let times = printed
            .split_whitespace()
            .filter(|word| word.matches(':').count() >= 1);
        let times: Vec<&str> = times
            .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            .map(|word| word.trim_end_matches([',', '.']))
            .collect();
        assert!(
            !times.is_empty() && times.iter().all(|time| time.ends_with('Z')),
            "{printed}"
        );
    }
}

#[test]
fn what_commands_tell_people_they_tell_programs_as_json() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    broker.call(GET, json!({"claim_id": "9\u{202e}9"}));
    assert!(broker.end());
    let json = |args: &[&str]| -> Value {
        let done = world.command(args).output().unwrap();
        assert!(done.status.success(), "{args:?} {done:?}");
        let text = String::from_utf8(done.stdout).unwrap();
        assert!(!text.contains('\u{202e}'));
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(
        json(&["--json", "session", "list"])["sessions"][0]["handles"][0],
        "claim-99"
    );
    let shown = json(&["session", "show", "claim-99", "--json"]);
    let call = shown["calls"][0]["id"].as_str().unwrap();
    let tail = json(&["journal", "tail", "--json"]);
    assert_eq!(tail["calls"][0]["id"], *call);
    assert_eq!(tail["calls"][0]["session"], shown["id"]);
    assert_eq!(tail["calls"][0]["handles"], json!(["claim-99"]));
    assert_eq!(
        json(&["journal", "show", call, "--json"])["arguments"],
        "{\"claim_id\":\"9\u{202e}9\"}"
    );
    assert_eq!(
        json(&["journal", "verify", "--json"])["problems"],
        json!([])
    );
    assert_eq!(
        json(&["pin", "list", "--json"])["tools"][0]["state"],
        "pinned"
    );
    assert!(
        json(&["policy", "schema", "--json"])["schema"]
            .as_str()
            .unwrap()
            .contains("claims/get_claim")
    );
    let checked = json(&["check", "--json"]);
    assert_eq!(checked["problems"], json!([]));
    assert_eq!(checked["servers"][0]["name"], "claims");
    assert!(
        checked["tools"]
            .as_array()
            .unwrap()
            .iter()
            .any(|tool| tool["access"] == "read")
    );
    assert!(
        checked["visible"]["alice"]
            .as_array()
            .unwrap()
            .contains(&json!(GET))
    );
}
