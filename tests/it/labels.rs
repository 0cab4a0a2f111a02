//! Labels: what a session came in touch with is known before the next call, in every
//! broker, and stays for a while.

mod reading;

use crate::world::APPROVE;
use crate::world::GET;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use serde_json::Value;
use serde_json::json;

const READ: &str = "access = \"read\"\nrisk = \"low\"";
const TAINTED: &str = "This session has read untrusted content.";

fn claim() -> Value {
    json!({"claim_id": "99"})
}

/// Claims come from outside.
fn world() -> World {
    let world = World::new();
    let labelled = format!("{READ}\nlabels = [\"untrusted-web\"]");
    world.edit("countersign.toml", READ, &labelled);
    world
}

fn in_session(world: &World, session: &str) -> Wire {
    let broker = world.broker_with(|command| {
        command.args(["--session", session]);
    });
    broker.initialized()
}

/// Runs a command that must succeed.
fn done(world: &World, args: &[&str]) -> String {
    let (done, printed) = world.run(args);
    assert!(done, "{printed}");
    printed
}

#[test]
fn what_was_read_is_known_before_the_next_call_in_every_broker() {
    let world = world();
    let mut one = world.broker().initialized();
    let mut two = world.broker().initialized();
    let paid = two.call(APPROVE, payment(1));
    assert!(!paid.starts_with("error"), "{paid}");
    assert!(one.call(GET, claim()).starts_with("Claim 99"));
    for broker in [&mut one, &mut two] {
        let refused = broker.call(APPROVE, payment(1));
        assert!(refused.contains(TAINTED), "{refused}");
    }
    assert!(one.call(GET, claim()).starts_with("Claim 99"));
    let shown = done(&world, &["session", "show", "claim-99"]);
    assert!(shown.contains("labels    untrusted-web"), "{shown}");
    let history = one.call("countersign__session_history", json!({}));
    assert_eq!(history.matches("labelled by").count(), 1, "{history}");
    assert!(history.contains("\"untrusted-web (call "), "{history}");
    assert_eq!(world.paid(), [100]);
}

#[test]
fn a_new_session_washes_off_no_label_and_an_operator_does() {
    let world = world();
    assert!(
        world
            .broker()
            .initialized()
            .call(GET, claim())
            .starts_with("Claim 99")
    );
    let mut next = in_session(&world, "claim-100");
    assert!(next.call(APPROVE, payment(1)).contains(TAINTED));
    let remove = ["session", "label", "claim-100", "--remove", "untrusted-web"];
    assert!(done(&world, &remove).contains("has no labels"));
    let paid = next.call(APPROVE, payment(1));
    assert!(!paid.starts_with("error"), "{paid}");
    let add = [
        "session",
        "label",
        "claim-100",
        "--add",
        "untrusted-web",
        "--add",
        "x",
    ];
    assert!(done(&world, &add).contains("is labelled untrusted-web, x"));
    assert!(next.call(APPROVE, payment(1)).contains(TAINTED));
    let mut other = world.broker_with(|command| {
        command.args(["--principal", "sam", "--session", "claim-100"]);
    });
    other.initialize();
    let paid = other.call(APPROVE, payment(2));
    assert!(!paid.starts_with("error"), "{paid}");

    let (failed, printed) = world.run(&["session", "label", "claim-100"]);
    assert!(!failed && printed.contains("--add"), "{printed}");
    assert_eq!(world.paid(), [100, 200]);
}

#[test]
fn an_older_session_washes_off_no_label_and_what_was_taken_off_stays_off() {
    let world = world();
    let mut older = world.broker().initialized();
    let pay = |older: &mut Wire, dollars| older.call(APPROVE, payment(dollars));
    let paid = pay(&mut older, 1);
    assert!(!paid.starts_with("error"), "{paid}");
    let mut reading = in_session(&world, "claim-100");
    assert!(reading.call(GET, claim()).starts_with("Claim 99"));
    let refused = pay(&mut older, 1);
    assert!(refused.contains(TAINTED), "{refused}");
    let history = older.call("countersign__session_history", json!({}));
    assert!(history.contains("(from another session)"), "{history}");

    older.kill();
    let mut older = world.broker().initialized();
    assert!(pay(&mut older, 1).contains(TAINTED));
    let remove = ["session", "label", "claim-99", "--remove", "untrusted-web"];
    assert!(done(&world, &remove).contains("has no labels"));
    for dollars in [2, 3] {
        let paid = pay(&mut older, dollars);
        assert!(!paid.starts_with("error"), "{paid}");
    }
    // It is met anew.
    assert!(reading.call(GET, claim()).starts_with("Claim 99"));
    let refused = pay(&mut older, 4);
    assert!(refused.contains(TAINTED), "{refused}");
    assert_eq!(world.paid(), [100, 200, 300]);
}

#[test]
fn a_default_session_gets_what_was_met_elsewhere() {
    let world = world();
    world.edit("countersign.toml", "session = \"claim-99\"", "# session");
    let mut broker = world.broker();
    let mut call = |name: &str, arguments: Value, session: Option<&str>| {
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        if let Some(session) = session {
            meta["dev.countersign/session"] = json!(session);
        }
        let params = json!({"name": name, "arguments": arguments, "_meta": meta});
        broker.ask("tools/call", params)["result"].to_string()
    };
    let paid = call(APPROVE, payment(1), None);
    assert!(paid.contains("\"isError\":false"), "{paid}");
    assert!(call(GET, claim(), Some("claim-7")).contains("Claim 99"));
    for _ in 0..2 {
        let refused = call(APPROVE, payment(1), None);
        assert!(refused.contains(TAINTED), "{refused}");
    }
    assert_eq!(world.paid(), [100]);
}

#[test]
fn labels_that_stick_not_at_all_stay_in_their_session() {
    let world = world();
    world.edit(
        "countersign.toml",
        "labels_stick = \"1h\"",
        "labels_stick = \"0s\"",
    );
    let mut first = world.broker().initialized();
    assert!(first.call(GET, claim()).starts_with("Claim 99"));
    assert!(first.call(APPROVE, payment(1)).contains(TAINTED));
    let paid = in_session(&world, "claim-100").call(APPROVE, payment(1));
    assert!(!paid.starts_with("error"), "{paid}");
}

#[test]
fn a_labelled_session_is_labelled_after_its_broker_was_killed() {
    let world = world();
    let mut first = world.broker().initialized();
    assert!(first.call(GET, claim()).starts_with("Claim 99"));
    first.kill();
    let mut second = world.broker().initialized();
    assert!(second.call(APPROVE, payment(1)).contains(TAINTED));
    assert!(world.paid().is_empty());
}

#[test]
fn private_data_goes_to_no_tool_that_is_a_sink() {
    let world = World::new();
    let labelled = format!("{READ}\nlabels = [\"private-data\"]");
    world.edit("countersign.toml", READ, &labelled);
    let pays = "access = \"write\"\nrisk = \"high\"";
    world.edit("countersign.toml", pays, &format!("{pays}\nsink = true"));
    let mut broker = world.broker().initialized();
    let paid = broker.call(APPROVE, payment(1));
    assert!(!paid.starts_with("error"), "{paid}");
    assert!(broker.call(GET, claim()).starts_with("Claim 99"));
    let refused = broker.call(APPROVE, payment(1));
    assert!(refused.contains("would take it outside"), "{refused}");
    assert_eq!(world.paid(), [100]);
}

#[test]
fn the_result_of_a_task_brings_what_its_tool_would_have() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/tasks.sh");
    let servers = format!(
        "[servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\nenv = {{ ERA = \"modern\" }}\n\
         [servers.own.tools.work]\nlabels = [\"pii\"]\n"
    );
    let policy =
        r#"@id("all") permit (principal, action in Broker::Action::"server:own", resource);"#;
    let world = World::of(&servers, policy);
    world.edit(
        "countersign.toml",
        "[session]\n",
        "[session]\nlabels_stick = \"0s\"\n",
    );
    let mut broker = world.broker();
    let knowing = |session: &str, mut params: Value| {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities":
                {"extensions": {"io.modelcontextprotocol/tasks": {}}},
            "dev.countersign/session": session,
        });
        params
    };
    let begun = broker.ask(
        "tools/call",
        knowing("claim-99", json!({"name": "own__work"})),
    );
    let id = begun["result"]["taskId"].clone();
    let labels = |session| {
        let shown = done(&world, &["session", "show", session]);
        shown.contains("labels    pii")
    };
    assert!(labels("claim-99"));
    broker.ask("tasks/get", knowing("claim-7", json!({"taskId": id})));
    assert!(labels("claim-7"));
}

#[test]
fn an_answer_that_is_given_again_brings_its_label_unless_an_operator_took_that_off() {
    let world = World::new();
    let pay = || {
        let mut broker = world.broker().initialized();
        let params = json!({"name": APPROVE, "arguments": payment(1),
            "_meta": {"dev.countersign/idempotency-key": "one"}});
        broker.ask("tools/call", params)["result"].clone()
    };
    let first = pay();
    assert_eq!(first["isError"], json!(false), "{first}");
    let pays = "access = \"write\"\nrisk = \"high\"";
    let labelled = format!("{pays}\nlabels = [\"receipts\"]");
    world.edit("countersign.toml", pays, &labelled);
    let labels = || done(&world, &["session", "show", "claim-99"]);
    assert_eq!(pay()["content"], first["content"]);
    assert!(labels().contains("labels    receipts"), "{}", labels());
    let remove = ["session", "label", "claim-99", "--remove", "receipts"];
    assert!(done(&world, &remove).contains("has no labels"));
    assert_eq!(pay()["content"], first["content"]);
    assert!(!labels().contains("labels    receipts"), "{}", labels());
    assert_eq!(world.paid(), [100]);
}
