//! Sessions as things of their own: paused, ended, shared, left alone.

use crate::world::APPROVE;
use crate::world::GET;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use countersign::outcome::Outcome;
use jiff::Timestamp;
use serde_json::json;

const JOIN: &str = r#"
@id("share.claims")
permit (principal in Broker::Role::"Manager", action == Broker::Action::"session/join", resource)
when { context.owner in Broker::Role::"Junior" && context.handles.contains("claim-99") };
"#;

fn read() -> serde_json::Value {
    json!({"claim_id": "99"})
}

/// Runs a command that must succeed.
fn done(world: &World, args: &[&str]) -> String {
    let (done, printed) = world.run(args);
    assert!(done, "{printed}");
    printed
}

#[test]
fn a_paused_session_sends_nothing_until_it_is_resumed() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    assert!(broker.call(GET, read()).starts_with("Claim 99"));

    let waiting = "the insurer's answer";
    let pause = ["session", "pause", "claim-99", "--waiting-for", waiting];
    assert!(done(&world, &pause).contains("is paused"));
    let refused = broker.call(GET, read());
    let told = "It waits for \"the insurer's answer\".\nOnce that is there, the tool `countersign__session_resume` lets the session go on;";
    assert!(refused.contains("This session is paused"), "{refused}");
    assert!(
        refused.contains(told) && !refused.contains("final"),
        "{refused}"
    );
    let shown = done(&world, &["session", "show", "claim-99"]);
    assert!(
        shown.contains("waiting for the insurer's answer"),
        "{shown}"
    );

    assert!(done(&world, &["session", "resume", "claim-99"]).contains("is resumed"));
    assert!(broker.call(GET, read()).starts_with("Claim 99"));
    assert!(done(&world, &["session", "resume", "claim-99"]).contains("was not paused"));

    done(&world, &pause);
    done(&world, &["session", "pause", "claim-99"]);
    let shown = done(&world, &["session", "show", "claim-99"]);
    assert!(
        shown.contains("waiting for the insurer's answer"),
        "{shown}"
    );
    done(&world, &["session", "freeze", "claim-99"]);
    for told in [
        "is resumed, and still frozen",
        "was not paused: it is frozen",
    ] {
        let said = done(&world, &["session", "resume", "claim-99"]);
        let thaw = "`countersign session thaw claim-99`";
        assert!(said.contains(told) && said.contains(thaw), "{said}");
    }
    done(&world, &["session", "end", "claim-99"]);
    let said = done(&world, &["session", "resume", "claim-99"]);
    assert!(said.contains("it is over (ended), for good"), "{said}");
}

#[test]
fn an_ended_session_says_so_and_is_never_opened_again() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    assert!(broker.call(GET, read()).starts_with("Claim 99"));
    done(&world, &["session", "end", "claim-99"]);
    for mut broker in [broker, world.broker().initialized()] {
        let refused = broker.call(APPROVE, payment(1));
        assert!(refused.contains("This session was ended on"), "{refused}");
        assert!(refused.contains("Nothing was sent"), "{refused}");
    }
    assert!(world.paid().is_empty());
    let calls = world.calls("claim-99");
    let outcomes: Vec<_> = calls.iter().filter_map(|call| call.outcome).collect();
    assert_eq!(
        outcomes,
        [Outcome::Completed, Outcome::Denied, Outcome::Denied]
    );
    assert!(done(&world, &["session", "list"]).contains("ended"));
}

#[test]
fn a_session_that_nobody_used_is_shown_as_expired_before_a_broker_records_it() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    assert!(broker.call(GET, read()).starts_with("Claim 99"));
    assert!(broker.end());
    let listed = done(&world, &["session", "list"]);
    assert!(listed.ends_with("  open\n"), "{listed}");
    world.edit(
        "countersign.toml",
        "# expire = \"2160h\"",
        "expire = \"5m\"",
    );
    let database = rusqlite::Connection::open(world.path("countersign.db")).unwrap();
    let earlier = "UPDATE session SET used = used - 600000";
    assert_eq!(database.execute(earlier, []).unwrap(), 1);
    let listed = done(&world, &["session", "list"]);
    assert!(
        listed.ends_with("  expired (not recorded yet)\n"),
        "{listed}"
    );
}

#[test]
fn a_session_has_several_names_and_each_stays_with_it() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    assert!(broker.call(GET, read()).starts_with("Claim 99"));
    done(&world, &["session", "name", "claim-99", "claim-99b"]);
    let mut other = world.broker_with(|command| {
        command.args(["--session", "claim-99b"]);
    });
    other.initialize();
    assert!(other.call(GET, read()).starts_with("Claim 99"));
    let shown = done(&world, &["session", "show", "claim-99b"]);
    assert!(shown.contains("claim-99, claim-99b"), "{shown}");
    let (done, printed) = world.run(&["session", "name", "claim-99", "claim-99b"]);
    assert!(!done && printed.contains("already"), "{printed}");
}

#[test]
fn a_guest_is_let_in_by_policy_at_each_call_and_counts_on_the_sessions_meter() {
    let world = World::new();
    let mut alice = world.broker().initialized();
    let paid = alice.call(APPROVE, payment(900));
    assert!(!paid.starts_with("error"), "{paid}");
    let guest = |log: &str| {
        let mut command = world.command(&["stdio"]);
        command.args(["--principal", "mia", "--session", "alice/claim-99"]);
        Wire::start(command, &world.path(log)).initialized()
    };
    let mut mia = guest("before.log");
    let stranger = mia.call(APPROVE, payment(5));
    assert!(
        stranger.contains("There is no session `alice/claim-99`"),
        "{stranger}"
    );

    world.write("policies/share.cedar", JOIN);
    let mut mia = guest("mia.log");
    let answer = mia.call(APPROVE, payment(5));
    assert!(!answer.starts_with("error"), "{answer}");
    let calls = world.calls("claim-99");
    let callers: Vec<_> = calls.iter().map(|call| &*call.principal).collect();
    assert_eq!(callers, ["alice", "mia"]);
    let shown = done(&world, &["session", "show", "claim-99"]);
    assert!(
        shown.contains("claims/approve_payment#amount 905.00"),
        "{shown}"
    );

    // What let her in is asked for again at the next call.
    std::fs::remove_file(world.path("policies/share.cedar")).unwrap();
    // In the broker that she talks to: each has the rules for itself.
    world.wait_for_text("mia.log", "are in force");
    let gone = mia.call(APPROVE, payment(5));
    let unfit = mia.call(APPROVE, json!({"amount": "much"}));
    let unknown = mia.call("claims__nothing", json!({}));
    for refused in [gone, unfit, unknown] {
        assert_eq!(refused, stranger);
    }
    assert_eq!(world.calls("claim-99").len(), 2);
    assert_eq!(world.paid(), [90_000, 500]);
}

#[test]
fn a_session_is_shown_with_what_was_called_and_when_it_was_used_last() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    assert!(broker.call(GET, read()).starts_with("Claim 99"));
    broker.call("countersign__session_status", json!({}));
    assert!(broker.call(GET, read()).starts_with("Claim 99"));
    assert!(broker.end());
    let shown = done(&world, &["session", "show", "claim-99"]);
    let told = "calls     3: 2 of servers, and 1 of Countersign's own tools\n";
    assert!(shown.contains(told), "{shown}");
    let facts = done(&world, &["session", "show", "claim-99", "--json"]);
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    let time = |at: &serde_json::Value| at.as_str().unwrap().parse::<Timestamp>().unwrap();
    let calls = facts["calls"].as_array().unwrap().iter();
    let last = calls.map(|call| time(&call["decided"])).max();
    assert_eq!(Some(time(&facts["used"])), last);
}
