//! Meters that the operator declared: what they count, for whom, and that no limit on
//! them is exceeded by whatever process.

use crate::world::APPROVE;
use crate::world::GET;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use serde_json::Value;
use serde_json::json;

/// A limit on the reads of claims, and nothing else that is not shipped.
pub(crate) const TWO_READS: &str = r#"
@id("reads")
@message("Enough was read.")
forbid (principal, action == Broker::Action::"claims/get_claim", resource)
when { context.meters.reads > 2 };
"#;

/// The shipped example with bob beside alice, these meters and this policy.
pub(crate) fn metered(meters: &str, policy: &str) -> World {
    let world = World::new();
    world.append("countersign.toml", meters);
    world.append(
        "principals.toml",
        "\n[[principals]]\nsubject = \"bob\"\nrole = \"Junior\"\nlimits = { call = \"10000.00\", session = \"20000.00\", day = \"60000.00\" }\n",
    );
    world.write("policies/meters.cedar", policy);
    world
}

pub(crate) fn reads(per: &str) -> String {
    format!(
        "\n[[meters]]\nname = \"reads\"\ntools = [\"claims/get_claim\"]\nper = \"{per}\"\nwindow = \"1h\"\n"
    )
}

fn of(world: &World, who: &str) -> Wire {
    let principal = ["--principal", who];
    let broker = world.broker_with(|command| {
        command.args(principal);
    });
    broker.initialized()
}

/// Another session of the same principal.
fn read_in(broker: &mut Wire, session: &str) -> String {
    let answer = broker.ask(
        "tools/call",
        json!({"name": GET, "arguments": {"claim_id": "99"},
            "_meta": {"dev.countersign/session": session}}),
    );
    text_of(&answer)
}

/// The totals that `meter show` prints with these arguments: meter, scope, total.
fn shown(world: &World, args: &[&str]) -> Vec<(String, String, i64)> {
    let output = world
        .command(&[&["--json", "meter", "show"], args].concat())
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let totals = shown["totals"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    totals
        .map(|one| {
            let whose = format!("{} {}", text(&one["per"]), text(&one["of"]));
            (text(&one["meter"]), whose, one["total"].as_i64().unwrap())
        })
        .collect()
}

fn one(meter: &str, whose: &str, total: i64) -> (String, String, i64) {
    (meter.to_owned(), whose.to_owned(), total)
}

#[test]
fn of_six_calls_at_once_through_two_processes_exactly_as_many_pass_as_may() {
    let world = metered(&reads("role"), TWO_READS);
    let mut first = of(&world, "alice");
    // The first one pins the tools, so that the second starts with them.
    first.ask("tools/list", json!({}));
    let mut brokers = [first, of(&world, "bob")];
    let call = json!({"name": GET, "arguments": {"claim_id": "99"}});
    let sent: Vec<(usize, u64)> = (0..6)
        .map(|place| {
            (
                place % 2,
                brokers[place % 2].request("tools/call", call.clone()),
            )
        })
        .collect();
    let answers = sent.into_iter().map(|(place, id)| {
        let answer = brokers[place].answer_to(id).expect("a broker ended");
        text_of(&answer)
    });
    let (refused, passed): (Vec<_>, Vec<_>) = answers.partition(|text| text.contains("Enough"));
    assert_eq!((passed.len(), refused.len()), (2, 4), "{passed:?}");
    assert!(
        passed.iter().all(|text| !text.starts_with("error")),
        "{passed:?}"
    );
    // Both brokers still run.
    assert_eq!(shown(&world, &[]), [one("reads", "role Junior", 2)]);
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_total_is_shared_by_those_who_are_named_and_by_nobody_else() {
    // How many of a call of alice's, one in another session, and one of bob's pass.
    for (per, passing) in [
        ("session", [true, true, true]),
        ("principal", [true, false, true]),
        ("role", [true, false, false]),
        ("tool", [true, false, false]),
    ] {
        let policy = TWO_READS.replace("> 2", "> 1");
        let world = metered(&reads(per), &policy);
        let (mut alice, mut bob) = (of(&world, "alice"), of(&world, "bob"));
        let answers = [
            read_in(&mut alice, "claim-1"),
            read_in(&mut alice, "claim-2"),
            read_in(&mut bob, "claim-1"),
        ];
        let passed = answers.clone().map(|text| !text.starts_with("error"));
        assert_eq!(passed, passing, "{per}: {answers:?}");
    }
}

#[test]
fn a_sum_over_several_tools_is_one_total_in_money() {
    let meters = "\n[[meters]]\nname = \"paid\"\ntools = [\"claims/*\"]\nper = \"principal\"\nwindow = \"24h\"\nsum = \"amount\"\n";
    let policy = r#"@id("paid") @message("Enough was paid.")
        forbid (principal, action == Broker::Action::"claims/approve_payment", resource)
        when { context.meters.paid > 150000 };"#;
    let world = metered(meters, policy);
    // Not every tool of the server has that argument.
    let (fine, text) = world.run(&["check"]);
    assert!(!fine, "{text}");
    assert!(
        text.contains("the tool `claims/close_claim`: `meters.paid.sum` names `amount`"),
        "{text}"
    );
    world.edit("countersign.toml", "claims/*", "claims/approve_payment");
    let (fine, text) = world.run(&["check"]);
    assert!(fine, "{text}");
    let mut alice = of(&world, "alice");
    assert!(!alice.call(APPROVE, payment(900)).starts_with("error"));
    assert!(
        alice
            .call(APPROVE, payment(601))
            .contains("Enough was paid.")
    );
    assert!(!alice.call(APPROVE, payment(600)).starts_with("error"));
    assert_eq!(world.paid(), [90_000, 60_000]);
    let (_, text) = world.run(&["meter", "show", "--meter", "paid"]);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(
        words,
        ["paid", "principal", "alice", "last", "24h", "1500.00"]
    );
}

#[test]
fn a_replay_under_a_key_counts_once() {
    let meters = reads("principal").replace("get_claim", "approve_payment");
    let policy = TWO_READS
        .replace("get_claim", "approve_payment")
        .replace("> 2", "> 1");
    let world = metered(&meters, &policy);
    let mut alice = of(&world, "alice");
    let keyed = json!({"name": APPROVE, "arguments": payment(900),
        "_meta": {"dev.countersign/idempotency-key": "pay-1"}});
    let first = text_of(&alice.ask("tools/call", keyed.clone()));
    let again = text_of(&alice.ask("tools/call", keyed));
    assert_eq!(first, again);
    assert_eq!(
        shown(&world, &["--meter", "reads"]),
        [one("reads", "principal alice", 1)]
    );
    assert!(alice.call(APPROVE, payment(900)).contains("Enough"));
    assert_eq!(world.paid(), [90_000]);
}

#[test]
fn a_call_that_was_not_sent_is_given_back() {
    let world = metered(&reads("tool"), TWO_READS);
    let mut alice = of(&world, "alice");
    assert!(
        !alice
            .call(GET, json!({"claim_id": "99"}))
            .starts_with("error")
    );
    assert!(alice.end());
    let program = format!("command = {:?}", crate::world::PROGRAM);
    world.edit(
        "countersign.toml",
        &program,
        "command = \"/no/such/program\"",
    );
    let mut alice = of(&world, "alice");
    for _ in 0..3 {
        let answer = alice.call(GET, json!({"claim_id": "99"}));
        assert!(
            answer.starts_with("error") && !answer.contains("Enough"),
            "{answer}"
        );
    }
    assert!(alice.end());
    let whose = "tool claims/get_claim";
    assert_eq!(shown(&world, &[]), [one("reads", whose, 1)]);
}

#[test]
fn a_call_that_was_in_flight_when_its_broker_was_killed_stays_counted() {
    for (point, counted) in [
        ("store.admit.before-commit", 0),
        ("store.admit.after-commit", 1),
        ("spool.close.before-append", 1),
    ] {
        let world = metered(&reads("principal"), TWO_READS);
        let mut alice = world.broker_with(|command| {
            command.env("COUNTERSIGN_CRASH", format!("{point}:1"));
        });
        let call = json!({"name": GET, "arguments": {"claim_id": "99"}});
        alice.initialize();
        alice.request("tools/call", call.clone());
        assert!(alice.was_killed(), "{point}");
        let mut alice = of(&world, "alice");
        let passed = (0..3).filter(|_| {
            let answer = text_of(&alice.ask("tools/call", call.clone()));
            !answer.starts_with("error")
        });
        assert_eq!(passed.count(), 2 - counted, "{point}");
        assert!(alice.end());
        assert_eq!(shown(&world, &[]), [one("reads", "principal alice", 2)]);
        assert_eq!(world.journal_problems(), []);
    }
}

/// The server of `rounds` that asks something first, and one call of its tool.
fn asking() -> World {
    let script = format!(
        "{}/fixtures/servers/asking-modern.sh",
        env!("CARGO_MANIFEST_DIR")
    );
    let servers = format!(
        "[servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\n[[meters]]\nname = \"asks\"\ntools = [\"own/ask\"]\nper = \"session\"\nwindow = \"1h\"\n"
    );
    let policy = r#"
        @id("all") permit (principal, action in Broker::Action::"server:own", resource);
        @id("asks") @message("Asked enough.")
        forbid (principal, action == Broker::Action::"own/ask", resource)
        when { context.meters.asks > 1 };"#;
    World::of(&servers, policy)
}

fn ask() -> Value {
    json!({"name": "own__ask", "arguments": {"amount": 1}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    }})
}

#[test]
fn the_rounds_of_one_call_count_once() {
    let world = asking();
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", ask());
    let mut next = ask();
    next["inputResponses"] = json!({"who": {"action": "accept", "content": {"name": "Ann"}}});
    next["requestState"] = asked["result"]["requestState"].clone();
    let answered = broker.ask("tools/call", next);
    assert_eq!(answered["result"]["resultType"], "complete", "{answered}");
    let more = text_of(&broker.ask("tools/call", ask()));
    assert!(more.contains("Asked enough."), "{more}");
    assert!(broker.end());
    let counted: Vec<Value> = world
        .calls("claim-99")
        .iter()
        .map(|call| call.detail["counted"].clone())
        .collect();
    let one = json!({"asks": 1});
    assert_eq!(counted, [one.clone(), one, Value::Null]);
    assert_eq!(world.journal_problems(), []);
}

#[test]
fn a_round_that_is_not_sent_gives_nothing_back_of_the_one_before() {
    let world = asking();
    let mut broker = world.broker();
    let asked = broker.ask("tools/call", ask());
    let mut next = ask();
    next["inputResponses"] = json!({"who": {"action": "accept", "content": {"name": "Ann"}}});
    next["requestState"] = asked["result"]["requestState"].clone();
    assert!(broker.end());
    let config = world.read("countersign.toml");
    world.edit(
        "countersign.toml",
        "command = \"sh\"",
        "command = \"/no/such/program\"",
    );
    let mut broker = world.broker();
    for _ in 0..2 {
        let unsent = text_of(&broker.ask("tools/call", next.clone()));
        assert!(unsent.contains("cannot be reached"), "{unsent}");
    }
    assert!(broker.end());
    let session = world.calls("claim-99")[0].session;
    let one_of_it = [one("asks", &format!("session {session}"), 1)];
    assert_eq!(shown(&world, &[]), one_of_it);
    world.write("countersign.toml", &config);
    let mut broker = world.broker();
    let answered = broker.ask("tools/call", next);
    assert_eq!(answered["result"]["resultType"], "complete", "{answered}");
    let more = text_of(&broker.ask("tools/call", ask()));
    assert!(more.contains("Asked enough."), "{more}");
    assert_eq!(shown(&world, &[]), one_of_it);
    assert_eq!(world.journal_problems(), []);
}

#[test]
fn a_failure_counts_unless_it_is_declared_to_be_given_back() {
    let meters = reads("session").replace("get_claim", "approve_payment");
    let policy = TWO_READS
        .replace("get_claim", "approve_payment")
        .replace("> 2", "> 1");
    for (said, passes) in [("false", false), ("true", true)] {
        let world = metered(&meters, &policy);
        let before = "refund_on_failure = false";
        world.edit(
            "countersign.toml",
            before,
            &format!("refund_on_failure = {said}"),
        );
        let mut alice = of(&world, "alice");
        let mut wrong = payment(900);
        wrong["line_items"] = json!([{"code": "a", "amount": 1}]);
        for passes in [true, passes] {
            let answer = alice.call(APPROVE, wrong.clone());
            assert_eq!(answer.contains("do not add up"), passes, "{answer}");
        }
    }
}

#[test]
fn totals_are_shown_for_whom_and_what_was_asked() {
    let meters = reads("role") + &reads("principal").replace("\"reads\"", "\"own_reads\"");
    let world = metered(&meters, TWO_READS);
    let (_, none) = world.run(&["meter", "show", "--role", "Junior"]);
    assert!(none.contains("store"), "there is none yet: {none}");
    let mut alice = of(&world, "alice");
    alice.call(GET, json!({"claim_id": "99"}));
    alice.call(APPROVE, payment(900));
    let mine = [
        one("own_reads", "principal alice", 1),
        one("claims/approve_payment#amount", "principal alice", 90_000),
    ];
    assert_eq!(shown(&world, &["--principal", "alice"]), mine);
    let juniors = [one("reads", "role Junior", 1)];
    assert_eq!(shown(&world, &["--role", "Junior"]), juniors);
    assert_eq!(shown(&world, &["--principal", "bob"]), []);
    assert_eq!(
        shown(&world, &["--principal", "alice", "--meter", "own_reads"]),
        mine[..1]
    );
    let session = world.calls("claim-99")[0].session;
    assert_eq!(
        shown(&world, &["--session", "claim-99"]),
        [one(
            "claims/approve_payment#amount",
            &format!("session {session}"),
            90_000
        )]
    );
    let (fine, text) = world.run(&["meter", "show", "--meter", "raeds"]);
    assert!(!fine);
    assert!(
        text.contains("they are `claims/approve_payment#amount`, `own_reads`, `reads`"),
        "{text}"
    );
    let (fine, text) = world.run(&["check"]);
    assert!(fine, "{text}");
    assert!(
        text.contains("warning: no policy reads the meter `own_reads`"),
        "{text}"
    );
}

/// What stands in the example of meters in `docs/policy.md`: configuration and policy.
fn example() -> (&'static str, &'static str) {
    let docs = include_str!("../../docs/policy.md");
    let example = docs.split("### Meters of your own").nth(1).unwrap();
    let block = |language: &str| {
        let block = example.split(&format!("```{language}\n")).nth(1).unwrap();
        block.split("```").next().unwrap()
    };
    (block("toml"), block("cedar"))
}

#[test]
fn the_example_of_the_docs_does_what_it_says() {
    let (meters, policy) = example();
    let world = metered(&format!("\n{meters}"), policy);
    let (fine, text) = world.run(&["check"]);
    assert!(fine, "{text}");
    assert!(!text.contains("warning"), "{text}");
    let mut alice = of(&world, "alice");
    for read in 1..=31 {
        let answer = read_in(&mut alice, "claim-1");
        assert_eq!(
            answer.contains("within a minute"),
            read > 30,
            "{read}: {answer}"
        );
    }
    assert!(!read_in(&mut alice, "claim-2").starts_with("error"));
    assert!(!alice.call(APPROVE, payment(9_000)).starts_with("error"));
    let over = alice.call(APPROVE, payment(6_001));
    assert!(
        over.contains("More than 15000.00 within an hour."),
        "{over}"
    );
    assert!(!alice.call(APPROVE, payment(6_000)).starts_with("error"));
}

#[test]
fn a_meter_goes_on_after_a_restart_and_anew_where_it_is_declared_differently() {
    let world = metered(&reads("principal"), TWO_READS);
    for total in [1, 2] {
        let mut alice = of(&world, "alice");
        alice.call(GET, json!({"claim_id": "99"}));
        assert!(alice.end());
        assert_eq!(shown(&world, &[]), [one("reads", "principal alice", total)]);
    }
    world.edit("countersign.toml", "window = \"1h\"", "window = \"60m\"");
    assert_eq!(shown(&world, &[]), [one("reads", "principal alice", 2)]);
    world.edit("countersign.toml", "window = \"60m\"", "window = \"2h\"");
    assert_eq!(shown(&world, &[]), []);
}
