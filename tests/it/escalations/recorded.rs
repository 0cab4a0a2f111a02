//! Every decision is a record of the journal, in the session of the call that waits.

use super::MUCH;
use super::approved;
use super::id_in;
use super::pay;
use super::says;
use super::stopped;
use crate::http::talk::Talk;
use crate::world::World;
use serde_json::Value;
use serde_json::json;

/// The decisions of a session, as a command shows them.
fn decisions(world: &World, session: &str) -> Vec<Value> {
    let (done, shown) = world.run(&["--json", "session", "show", session]);
    assert!(done, "{shown}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown["decisions"].as_array().unwrap().clone()
}

/// Who, and what is recorded of it.
fn told(decision: &Value) -> (&str, &Value) {
    assert_eq!(decision["tool"], "claims/approve_payment");
    assert_eq!(decision["handles"], json!(["claim-99"]));
    let by = decision["principal"].as_str().unwrap();
    (by, &decision["decision"])
}

/// The id of the only key of somebody.
fn key_of(world: &World, who: &str) -> String {
    let (_, listed) = world.run(&["--json", "key", "list"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let keys = listed["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["principal"] == who).unwrap();
    key["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_decision_by_whichever_way_is_a_record_in_the_session_of_its_call() {
    let world = World::new();
    let [alice_key, mia, sam] = ["alice", "mia", "sam"].map(|name| world.key(name));
    let mut alice = world.broker().initialized();
    let mias = world.broker_with(|command| {
        command.args(["--principal", "mia", "--session", "deciding"]);
    });
    let mut mias = mias.initialized();
    let first = stopped(&mut alice);
    // Whoever may not know of it leaves nothing in it; whoever may and is not let does.
    assert!(!says(&world, &sam, &["approve", &first]).0);
    assert!(!says(&world, &alice_key, &["approve", &first]).0);
    let (done, printed) = says(&world, &mia, &["approve", &first, "--reason", "seen"]);
    assert!(done, "{printed}");
    let withdraw = "countersign__escalation_withdraw";
    assert_eq!(alice.call(withdraw, json!({"id": first})), "Withdrawn.");

    let second = stopped(&mut alice);
    let serving = world.serve();
    let mut talk = Talk::new(serving.address()).with("authorization", &format!("Bearer {mia}"));
    let refuse = format!("/api/escalations/{second}/refuse");
    let answer = talk.post(&refuse, r#"{"reason":"no invoice"}"#);
    assert_eq!(answer.status, 200, "{answer:?}");

    let third = id_in(&alice.ask("tools/call", pay(MUCH + 1, "claim-99")));
    let word = json!({"id": third, "decision": "approve"});
    let said = mias.call("countersign__escalation_decide", word);
    assert_eq!(said, format!("{third} is approved."));

    let made = decisions(&world, "claim-99");
    let call = |at: usize| made[at]["decision"]["call"].clone();
    let by_call = |at: usize| {
        let (done, shown) = world.run(&["--json", "journal", "show", call(at).as_str().unwrap()]);
        assert!(done, "{shown}");
        let shown: Value = serde_json::from_str(&shown).unwrap();
        (shown["principal"].clone(), shown["tool"].clone())
    };
    let (alice_id, mia_id) = (key_of(&world, "alice"), key_of(&world, "mia"));
    let stops = ["claims.approve.limit", "claims.approve.session-limit"];
    assert_eq!(
        made.iter().map(told).collect::<Vec<_>>(),
        [
            (
                "alice",
                &json!({"escalation": first, "decision": "approve", "code": "own_call", "way": "command", "key": alice_id})
            ),
            (
                "mia",
                &json!({"escalation": first, "decision": "approve", "state": "approved", "reason": "seen", "policies": stops, "way": "command", "key": mia_id})
            ),
            (
                "alice",
                &json!({"escalation": first, "decision": "withdraw", "state": "withdrawn", "way": "call", "call": call(2)})
            ),
            (
                "mia",
                &json!({"escalation": second, "decision": "refuse", "state": "refused", "reason": "no invoice", "policies": stops, "way": "api", "key": mia_id})
            ),
            (
                "mia",
                &json!({"escalation": third, "decision": "approve", "state": "approved", "policies": stops, "way": "call", "call": call(4)})
            ),
        ]
    );
    let tool = |name: &str| json!(format!("countersign/{name}"));
    assert_eq!(by_call(2), (json!("alice"), tool("escalation_withdraw")));
    assert_eq!(by_call(4), (json!("mia"), tool("escalation_decide")));
    is_shown_and_verified(&world, &made, &second);
}

/// What is recorded stands in the list of what happened last, and in an export.
fn is_shown_and_verified(world: &World, made: &[Value], second: &str) {
    let (_, tail) = world.run(&["--json", "journal", "tail"]);
    let tail: Value = serde_json::from_str(&tail).unwrap();
    assert_eq!(tail["decisions"].as_array().unwrap(), made);
    let (_, last) = world.run(&["journal", "tail"]);
    let line = last
        .lines()
        .find(|line| line.contains(second) && line.contains("refused"));
    assert!(
        line.is_some_and(|line| line.ends_with("mia  session claim-99")),
        "{last}"
    );
    let id = made[3]["id"].as_str().unwrap();
    let (_, shown) = world.run(&["journal", "show", id]);
    assert!(
        shown.contains("reason     no invoice") && shown.contains("way        api"),
        "{shown}"
    );
    let (_, shown) = world.run(&["session", "show", "claim-99"]);
    assert!(shown.contains("decisions 5\n"), "{shown}");

    assert_eq!(world.journal_problems(), []);
    let export = world.path("export.jsonl");
    let export = export.to_str().unwrap();
    let (done, printed) = world.run(&[
        "journal",
        "export",
        "--session",
        "claim-99",
        "--owner",
        "alice",
        "--out",
        export,
    ]);
    assert!(done, "{printed}");
    let (done, printed) = world.run(&["journal", "verify", "--export", export]);
    assert!(done, "{printed}");
    let text = world.read("export.jsonl");
    assert_eq!(text.matches(r#""kind":"decision""#).count(), 5);
    // An edit of one is found.
    world.write("export.jsonl", &text.replace("no invoice", "an invoice"));
    let (done, printed) = world.run(&["journal", "verify", "--export", export]);
    assert!(!done && printed.contains("was altered"), "{printed}");
}

#[test]
fn a_call_that_a_changed_approval_does_not_fit_records_that_it_is_void() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    approved(&world, &mia, &id);
    assert!(alice.end());
    world.edit("principals.toml", "role = \"Manager\"", "role = \"Senior\"");
    world.append(
        "principals.toml",
        "\n[[principals]]\nsubject = \"max\"\nrole = \"Manager\"\nlimits = { call = \"90000.00\", session = \"90000.00\", day = \"90000.00\" }\n",
    );
    let mut alice = world.broker().initialized();
    assert_ne!(stopped(&mut alice), id);
    let made = decisions(&world, "claim-99");
    let (by, void) = told(&made[1]);
    assert_eq!(by, "alice");
    let calls = world.calls("claim-99");
    assert_eq!(
        *void,
        json!({
            "escalation": id,
            "decision": "void",
            "state": "void",
            "reason": "with this approval policy does not allow the call any more",
            "way": "call",
            "call": calls.last().unwrap().call.to_string(),
        })
    );
    assert_eq!(made.len(), 2);
    assert_eq!(world.journal_problems(), []);
}
