//! Who decides, by which way, and what the caller hears of it.

use super::MUCH;
use super::WAIT;
use super::approved;
use super::broker_of;
use super::id_in;
use super::passes;
use super::pay;
use super::says;
use super::state;
use super::stopped;
use crate::http::talk::Talk;
use crate::world::APPROVE;
use crate::world::World;
use crate::world::text_of;
use serde_json::json;

#[test]
fn only_whom_policy_lets_decides_and_nobody_on_their_own_call() {
    let world = World::new();
    world.append(
        "principals.toml",
        "\n[[principals]]\nsubject = \"max\"\nrole = \"Manager\"\nlimits = { call = \"20000.00\", session = \"20000.00\", day = \"20000.00\" }\n",
    );
    let [alice_key, mia, sam, max] = ["alice", "mia", "sam", "max"].map(|name| world.key(name));
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    let refused = |key: &str, why: &str| {
        let (done, printed) = says(&world, key, &["approve", &id]);
        assert!(!done && printed.contains(why), "{printed}");
    };
    refused(&alice_key, "nobody decides on their own call");
    refused(&sam, "there is no such escalation for you");
    refused("csk_0", "of nobody here, or was revoked");
    // A Manager whose own limit is below the payment.
    refused(
        &max,
        "your approval would not let this call pass: Limit Exceeded.",
    );
    let (done, printed) = says(&world, &mia, &["approve", "esc-0000-0000-0000"]);
    assert!(!done && printed.contains("no such escalation"), "{printed}");
    assert_eq!(state(&world, &id), "pending");

    let (done, printed) = says(&world, &max, &["refuse", &id, "--reason", "no invoice"]);
    assert!(done, "{printed}");
    let told = text_of(&alice.ask("tools/call", pay(MUCH, "claim-99")));
    assert!(
        told.starts_with("error: max refused this call: \"no invoice\"."),
        "{told}"
    );
    // What was decided stays so.
    let (done, printed) = says(&world, &mia, &["approve", &id]);
    assert!(!done && printed.contains("refused already"), "{printed}");
    assert!(world.paid().is_empty());
    assert!(world.journal_problems().is_empty());
}

#[test]
fn what_key_new_printed_is_a_key_file_as_it_is() {
    let world = World::new();
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    let (made, mia) = world.run(&["key", "new", "mia"]);
    assert!(made, "{mia}");
    let (_, other) = world.run(&["key", "new", "mia"]);
    let decides = |text: &str| {
        world.write("key.txt", text);
        let file = world.path("key.txt");
        let file = file.to_str().unwrap();
        world.run(&["escalation", "approve", &id, "--key-file", file])
    };
    for none in ["", "mia\n", "csk_\n", &format!("{mia}\n{other}")] {
        let (done, printed) = decides(none);
        let told = "does not hold one key: a word that begins with `csk_`";
        assert!(!done && printed.contains(told), "{none}: {printed}");
    }
    let (done, printed) = decides(&mia);
    assert!(done, "{printed}");
}

#[test]
fn of_two_who_decide_at_once_one_does() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    let words = std::thread::scope(|scope| {
        let words = ["approve", "refuse", "approve", "refuse"].map(|word| {
            let (world, mia, id) = (&world, &mia, &id);
            scope.spawn(move || says(world, mia, &[word, id]).0)
        });
        words.map(|word| word.join().unwrap())
    });
    assert_eq!(
        words.into_iter().filter(|done| *done).count(),
        1,
        "{words:?}"
    );
    let passed = passes(&mut alice, pay(MUCH, "claim-99"));
    assert_eq!(passed, state(&world, &id) == "used");
    assert_eq!(world.paid().len(), usize::from(passed));
}

#[test]
fn an_agent_waits_and_is_told_and_a_second_client_decides() {
    let world = World::new();
    let mut alice = world.broker().initialized();
    let mut mia = broker_of(&world, "mia");
    let listed = alice.ask("tools/list", json!({})).to_string();
    assert!(
        listed.contains(WAIT) && !listed.contains("escalation_decide"),
        "{listed}"
    );
    let listed = mia.ask("tools/list", json!({})).to_string();
    assert!(
        listed.contains("countersign__escalation_decide"),
        "{listed}"
    );

    let id = stopped(&mut alice);
    let now = alice.call(WAIT, json!({"id": id, "seconds": 0}));
    assert!(now.starts_with("Still pending."), "{now}");
    let others = mia.call(WAIT, json!({"id": id, "seconds": 0}));
    assert!(others.starts_with("error: there is no such"), "{others}");
    let waiting = alice.request(
        "tools/call",
        json!({"name": WAIT, "arguments": {"id": id, "seconds": 50}}),
    );
    let seen = mia.call("countersign__escalation_list", json!({}));
    assert!(seen.contains(&id) && seen.contains("50000"), "{seen}");
    let word = json!({"id": id, "decision": "approve", "reason": "seen \u{202e}the invoice"});
    let unfit = mia.call("countersign__escalation_decide", word);
    assert!(unfit.contains("characters that cannot be seen"), "{unfit}");
    let word = json!({"id": id, "decision": "approve", "reason": "seen the invoice"});
    let decided = mia.call("countersign__escalation_decide", word);
    assert_eq!(decided, format!("{id} is approved."));
    let told = text_of(&alice.answer_to(waiting).unwrap());
    assert!(
        told.starts_with("Approved by mia: \"seen the invoice\". Make the same call of claims/approve_payment again"),
        "{told}"
    );
    let status = alice.call("countersign__session_status", json!({}));
    assert!(
        status.contains("Approved by mia: \"seen the invoice\", open until"),
        "{status}"
    );
    assert!(passes(&mut alice, pay(MUCH, "claim-99")));
    assert_eq!(world.paid(), [5_000_000]);
}

#[test]
fn a_request_is_taken_back_by_its_caller_only() {
    let world = World::new();
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    approved(&world, &mia, &id);
    let mut mias = broker_of(&world, "mia");
    let withdraw = "countersign__escalation_withdraw";
    let others = mias.call(withdraw, json!({"id": id}));
    assert!(others.starts_with("error: there is no such"), "{others}");
    assert_eq!(alice.call(withdraw, json!({"id": id})), "Withdrawn.");
    let again = alice.call(withdraw, json!({"id": id}));
    assert!(again.contains("withdrawn already"), "{again}");
    assert!(!passes(&mut alice, pay(MUCH, "claim-99")));
    assert!(world.paid().is_empty());
}

#[test]
fn programs_decide_over_http() {
    let world = World::new();
    let [alice, mia] = ["alice", "mia"].map(|name| world.key(name));
    let mut agent = world.broker().initialized();
    let id = stopped(&mut agent);
    let broker = world.serve();
    let talk =
        |key: &str| Talk::new(broker.address()).with("authorization", &format!("Bearer {key}"));
    let path = format!("/api/escalations/{id}");
    let (mut alices, mut mias) = (talk(&alice), talk(&mia));
    let listed = mias.send("GET", "/api/escalations", &[], "").json();
    let [one] = &listed["escalations"].as_array().unwrap()[..] else {
        panic!("{listed}");
    };
    assert_eq!((&one["id"], &one["state"]), (&json!(id), &json!("pending")));
    let whole = mias.send("GET", &path, &[], "").json();
    assert_eq!(whole["arguments"]["amount"], MUCH);
    // Its caller sees it and does not decide.
    assert_eq!(alices.send("GET", &path, &[], "").status, 200);
    let own = alices.post(&format!("{path}/approve"), "{}");
    assert_eq!(
        (own.status, &own.json()["error"]["code"]),
        (403, &json!("own_call"))
    );
    for (verb, body, status) in [
        ("approve", r#"{"why":1}"#, 400),
        ("approve", r#"{"reason":1}"#, 400),
        ("approve", "[", 400),
        ("other", "{}", 404),
    ] {
        let answer = mias.post(&format!("{path}/{verb}"), body);
        assert_eq!(answer.status, status, "{verb} {body}: {answer:?}");
    }
    let done = mias
        .post(&format!("{path}/approve"), r#"{"reason":"seen"}"#)
        .json();
    assert_eq!(done["state"], "approved");
    assert_eq!(done["decision"]["by"], "mia");
    let again = mias.post(&format!("{path}/refuse"), "{}");
    assert_eq!(again.status, 409, "{again:?}");
    assert!(again.body.contains("session freeze"), "{again:?}");
    let wrong = mias.post(&format!("{path}/aprove"), "{}");
    assert!(
        wrong.status == 404 && wrong.body.contains("the path is wrong"),
        "{wrong:?}"
    );
    let wrong = mias.send("GET", "/api/escalation", &[], "");
    assert!(
        wrong.status == 404 && wrong.body.contains("`/api/escalations`"),
        "{wrong:?}"
    );
    assert!(passes(&mut agent, pay(MUCH, "claim-99")));
    let unknown = mias.send("GET", "/api/escalations/esc-0000-0000-0000", &[], "");
    assert_eq!(unknown.status, 404);
    let nobody = Talk::new(broker.address()).send("GET", "/api/escalations", &[], "");
    assert_eq!(nobody.status, 401);
    assert_eq!(world.paid(), [5_000_000]);
}

#[test]
fn a_decision_needs_no_body_and_no_reason() {
    let world = World::new();
    let mia = world.key("mia");
    let mut agent = world.broker().initialized();
    let id = stopped(&mut agent);
    let broker = world.serve();
    let head = format!(
        "POST /api/escalations/{id}/refuse HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {mia}\r\n",
        broker.address()
    );
    for (rest, status) in [
        ("\r\n", 200),
        ("transfer-encoding: chunked\r\n\r\n0\r\n\r\n", 409),
        ("content-length: 2\r\n\r\n{}", 415),
    ] {
        let mut talk = Talk::new(broker.address());
        talk.raw(format!("{head}{rest}").as_bytes());
        let answer = talk.read();
        assert_eq!(answer.status, status, "{rest}: {answer:?}");
    }
    let (done, shown) = world.run(&["escalation", "show", &id]);
    assert!(done && shown.contains(" by mia\n"), "{shown}");
}

/// What an agent wrote moves no cursor and hides nothing.
#[test]
fn hostile_arguments_are_harmless_in_a_terminal() {
    let world = World::new();
    let mut alice = world.broker().initialized();
    let payee = "ACME\u{1b}[2J\u{1b}]0;x\u{7}\r\u{202e}evil\u{200b}";
    let call = json!({"name": APPROVE, "_meta": {"dev.countersign/session": "claim-99"},
        "arguments": {"claim_id": "99", "amount": MUCH, "payee": payee, "memo": "m".repeat(1 << 20)}});
    let id = id_in(&alice.ask("tools/call", call));
    for args in [
        &["escalation", "show", &id][..],
        &["escalation", "list"],
        &["--json", "escalation", "show", &id],
    ] {
        let (done, printed) = world.run(args);
        assert!(done, "{printed}");
        let hidden = printed
            .chars()
            .find(|c| *c != '\n' && (c.is_control() || "\u{202e}\u{200b}".contains(*c)));
        assert_eq!(hidden, None);
    }
}

/// Who decides must see the number that is sent, and nothing that looks like less.
#[test]
fn what_is_decided_on_is_shown_as_it_is_sent() {
    let world = World::new();
    world.write(
        "policies/mine.cedar",
        r#"
@id("mine.limit")
@message("Too much.")
@escalate("Manager")
forbid (principal, action == Broker::Action::"claims/approve_payment", resource)
when { context.input.amount > 3000000 }
unless { context.call has approval };
"#,
    );
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let params = format!(
        "{{\"name\":\"{APPROVE}\",\"_meta\":{{\"dev.countersign/session\":\"claim-99\"}},\"arguments\":{{ \"payee\":\"\\u0041CME\u{a0}\u{2800}e\u{20d2}\", \"amount\":50000.00,\"claim_id\":\"99\"}}}}"
    );
    let id = id_in(&alice.ask_text("tools/call", &params));
    let arguments =
        r#""arguments":{"amount":50000.00,"claim_id":"99","payee":"ACME\u00a0\u2800e\u20d2"}"#;
    for args in [&["show", &id][..], &["list"]] {
        let (done, printed) = world.run(&[&["--json", "escalation"], args].concat());
        assert!(done && printed.contains(arguments), "{printed}");
        assert!(serde_json::from_str::<serde_json::Value>(&printed).is_ok());
    }
    let (done, shown) = world.run(&["escalation", "show", &id]);
    let lines = "arguments  amount: 50000.00\n           claim_id: \"99\"\n           payee: \"ACME\\u{a0}\\u{2800}e\\u{20d2}\"\n";
    assert!(done && shown.contains(lines), "{shown}");
    assert!(
        shown.contains("\nstopped by mine.limit: Too much.\n"),
        "{shown}"
    );
    let (done, printed) = says(&world, &mia, &["approve", &id, "--json"]);
    assert!(done && printed.contains(arguments), "{printed}");
}

/// Whichever way a decision comes, policy is asked the same.
#[test]
fn what_policy_says_of_deciding_holds_for_every_way() {
    let world = World::new();
    world.write(
        "policies/deciding.cedar",
        r#"
@id("with-reason")
@message("Say why.")
forbid (principal, action == Broker::Action::"countersign/escalation_decide", resource)
when { context.input.decision == "approve" }
unless { context.input has reason };
"#,
    );
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    let (done, printed) = says(&world, &mia, &["approve", &id]);
    assert!(!done && printed.contains("Say why."), "{printed}");
    let broker = world.serve();
    let mut talk = Talk::new(broker.address()).with("authorization", &format!("Bearer {mia}"));
    let path = format!("/api/escalations/{id}/approve");
    let refused = talk.post(&path, "{}");
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.body.contains("Say why."), "{refused:?}");
    let mut mias = broker_of(&world, "mia");
    let word = json!({"id": id, "decision": "approve"});
    let refused = mias.call("countersign__escalation_decide", word);
    assert!(refused.contains("Say why."), "{refused}");
    assert_eq!(state(&world, &id), "pending");
    let (done, printed) = says(&world, &mia, &["approve", &id, "--reason", "seen"]);
    assert!(done, "{printed}");
    assert!(passes(&mut alice, pay(MUCH, "claim-99")));
}

/// Who has a role follows from no tool, so it needs none that was seen.
#[test]
fn what_waits_is_listed_by_a_broker_that_never_saw_the_tool() {
    let world = World::new();
    let mia = world.key("mia");
    world.edit("countersign.toml", "\"claims-server\"", "\"no-server\"");
    let there = world.serve();
    world.edit("countersign.toml", "\"no-server\"", "\"claims-server\"");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    let mut talk = Talk::new(there.address()).with("authorization", &format!("Bearer {mia}"));
    let listed = talk.send("GET", "/api/escalations", &[], "");
    assert!(listed.body.contains(&id), "{listed:?}");
}
