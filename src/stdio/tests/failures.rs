//! Calls that go wrong: what the client reads, what is recorded, what stays
//! charged.

use super::*;
use crate::session::SessionId;

fn pay(id: &str, amount: &str) -> String {
    let params = format!(r#""name":"play__pay","arguments":{{"amount":{amount}}}"#);
    modern(id, "tools/call", &params)
}

async fn session(world: &World) -> SessionId {
    world
        .broker
        .session(&alice(), &Carrier::Default)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_denied_call_is_recorded_and_never_sent() {
    let world = World::new().await;
    let mut client = Client::new(&world);
    let answer = client.ask(&pay("1", "100.01")).await;
    assert!(answer.contains("That is too much."), "{answer}");
    assert!(answer.contains(r#""isError":true"#), "{answer}");
    assert_eq!(world.trail(), ["play/pay denied"]);
    assert_eq!(world.paid(session(&world).await), 0);
    assert_eq!(world.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_default_session_that_ends_before_its_call_is_decided_is_found_anew_once() {
    let world = World::new().await;
    let mut client = Client::new(&world);
    let first = session(&world).await;
    // It goes on when it is found, and is over when the call is decided.
    world.tamper(
        "UPDATE session SET used = used - 2 * 60000;
         CREATE TRIGGER ends AFTER UPDATE OF used ON session BEGIN
             UPDATE session SET ended = new.used, ended_why = 'ended' WHERE id = new.id;
         END",
    );
    let call = modern("1", "tools/call", r#""name":"play__echo""#);
    let answer = client.ask(&call).await;
    assert!(answer.contains(r#""text":"none""#), "{answer}");
    assert_eq!(world.trail(), ["play/echo completed"]);
    assert_ne!(session(&world).await, first);

    world.tamper(
        "UPDATE session SET used = used - 2 * 60000;
         CREATE TRIGGER ends_at_once AFTER INSERT ON session BEGIN
             UPDATE session SET ended = new.used, ended_why = 'ended' WHERE id = new.id;
         END",
    );
    let answer = client.ask(&call).await;
    assert!(answer.contains("This session was ended"), "{answer}");
    assert_eq!(world.trail(), ["play/echo completed", "play/echo denied"]);
}

#[tokio::test]
async fn a_call_whose_server_is_gone_is_not_charged() {
    let world = World::new().await;
    let mut client = Client::new(&world);
    world.lose_server().await;
    let answer = client.ask(&pay("1", "100")).await;
    assert!(
        answer.contains("The server `play` cannot be reached. Nothing was sent"),
        "{answer}"
    );
    assert_eq!(world.trail(), ["play/pay failed-before-sending"]);
    assert_eq!(world.paid(session(&world).await), 0);
    assert_eq!(world.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_is_unknown_and_stays_charged() {
    let mut world = World::new().await;
    let mut client = Client::new(&world);
    client.say(&pay("1", "100")).await;
    assert_eq!(world.server.hears().await, r#"pay {"amount":100}"#);
    world.server.hangs_up();
    let answer = client.hear().await;
    assert!(
        answer.contains("nobody saw how it ended. The call may have taken effect."),
        "{answer}"
    );
    assert_eq!(world.trail(), ["play/pay unknown"]);
    assert_eq!(world.paid(session(&world).await), 10_000);
}

#[tokio::test]
async fn an_answer_after_the_deadline_changes_nothing() {
    let mut world = World::new().await;
    let mut client = Client::new(&world);
    client.say(&pay("1", "100")).await;
    assert_eq!(world.server.hears().await, r#"pay {"amount":100}"#);
    // Only the deadline is left to wait for.
    tokio::time::pause();
    let answer = client.hear().await;
    tokio::time::resume();
    assert!(
        answer.contains("The server `play` did not answer within 60 seconds."),
        "{answer}"
    );
    assert_eq!(world.server.hears().await, "cancelled");
    world.server.answers();
    let echo = client
        .ask(&modern("2", "tools/call", r#""name":"play__echo""#))
        .await;
    assert!(echo.contains(r#""id":2,"result""#), "{echo}");
    assert_eq!(world.trail(), ["play/pay timed-out", "play/echo completed"]);
    assert_eq!(world.paid(session(&world).await), 10_000);
    assert_eq!(client.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_call_that_cannot_be_recorded_is_not_sent() {
    let world = World::new().await;
    let mut client = Client::new(&world);
    let session = session(&world).await;
    world.tamper("DROP TABLE journal");
    let answer = client.ask(&pay("1", "100")).await;
    insta::assert_snapshot!(answer, @r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"the call could not be recorded, so nothing was sent; tell the operator, or call again later"}}"#);
    assert_eq!(world.paid(session), 0);
    assert_eq!(world.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_record_that_cannot_be_closed_is_closed_later() {
    let mut world = World::new().await;
    let mut client = Client::new(&world);
    client.say(&pay("1", "100")).await;
    assert_eq!(world.server.hears().await, r#"pay {"amount":100}"#);
    world.tamper(
        "CREATE TRIGGER full BEFORE INSERT ON journal
         BEGIN SELECT raise(ABORT, 'no room left'); END",
    );
    world.server.answers();
    // The effect is there, so the client reads of it whatever the store does.
    let answer = client.hear().await;
    assert!(answer.contains(r#""id":1,"result""#), "{answer}");
    assert_eq!(world.trail(), ["play/pay open"]);
    world.tamper("DROP TRIGGER full");
    assert_eq!(world.ended(1).await, ["play/pay completed"]);
    assert_eq!(world.paid(session(&world).await), 10_000);
}

fn labels(world: &World) -> Vec<String> {
    let sessions = world.sessions().into_iter();
    sessions.flat_map(|session| session.labels).collect()
}

#[tokio::test]
async fn an_answer_whose_label_cannot_be_recorded_is_withheld() {
    let mut world = World::new().await;
    let mut client = Client::new(&world);
    let call = |id| {
        modern(
            id,
            "tools/call",
            r#""name":"play__slow","arguments":{"a":1}"#,
        )
    };
    client.say(&call("1")).await;
    assert_eq!(world.server.hears().await, r#"slow {"a":1}"#);
    assert_eq!(labels(&world), Vec::<String>::new());
    world.tamper(
        "CREATE TRIGGER full BEFORE UPDATE OF labels ON session
         BEGIN SELECT raise(ABORT, 'no room left'); END",
    );
    world.server.answers();
    let answer = client.hear().await;
    assert!(answer.contains("the answer is withheld"), "{answer}");
    assert!(!answer.contains(r#"{\"a\":1}"#), "{answer}");
    assert_eq!(world.trail(), ["play/slow open"]);
    world.tamper("DROP TRIGGER full");
    assert_eq!(world.ended(1).await, ["play/slow completed"]);
    assert_eq!(labels(&world), ["untrusted-web"]);

    // Where it is there already, an answer needs no transaction.
    client.say(&call("2")).await;
    assert_eq!(world.server.hears().await, r#"slow {"a":1}"#);
    world.tamper(
        "CREATE TRIGGER full BEFORE UPDATE OF labels ON session
         BEGIN SELECT raise(ABORT, 'no room left'); END;
         CREATE TRIGGER fuller BEFORE INSERT ON session_label
         BEGIN SELECT raise(ABORT, 'no room left'); END",
    );
    world.server.answers();
    let answer = client.hear().await;
    assert!(answer.contains(r#"{\"a\":1}"#), "{answer}");
}

#[tokio::test]
async fn a_call_that_was_not_sent_brings_no_label() {
    let world = World::new().await;
    let mut client = Client::new(&world);
    world.lose_server().await;
    let call = modern("1", "tools/call", r#""name":"play__slow""#);
    let answer = client.ask(&call).await;
    assert!(answer.contains("cannot be reached"), "{answer}");
    assert_eq!(labels(&world), Vec::<String>::new());
}

#[tokio::test]
async fn a_call_that_is_heard_on_its_way_brings_its_label_before_it_is_sent() {
    let mut world = World::new().await;
    let mut client = Client::legacy(&world).await;
    client
        .say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"play__slow","_meta":{"progressToken":7}}}"#)
        .await;
    assert_eq!(world.server.hears().await, "slow none");
    assert_eq!(labels(&world), ["untrusted-web"]);
    world.server.answers();
    client.hear().await;
    assert_eq!(world.ended(1).await, ["play/slow completed"]);
}
