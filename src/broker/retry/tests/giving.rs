//! An answer that nobody read is on its way to somebody when the same call is made again.

use super::*;
use tokio::task::JoinSet;

/// A call whose answer nobody read is made again: which it was, and the receipt of what
/// that is given.
async fn given_again(world: &World, session: SessionId) -> (CallId, Receipt) {
    let (_, unread) = world.echo(session, "{}").await;
    drop(unread);
    world.wait_until_unread(1).await;
    let (again, receipt) = world.echo(session, "{}").await;
    (earlier(&again).unwrap(), receipt)
}

fn is_on_its_way(answer: &Answer) -> bool {
    let why = match answer {
        Answer::Refused(Refusal::EarlierUnread { why, .. }) => Some(*why),
        _ => None,
    };
    why == Some(NotKept::BeingGiven)
}

#[tokio::test]
async fn the_same_call_by_another_broker_waits_until_it_is_known_whether_it_was_read() {
    let mut world = World::new().await;
    let mut beside = world.beside().await;
    let session = world.claim().await;
    for reads in [true, false] {
        let (first, receipt) = given_again(&world, session).await;
        let (call, read) = beside.calls_tool(session, ("echo", "{}", None));
        let mut same = tokio::spawn(call);
        let early = tokio::time::timeout(Duration::from_millis(100), &mut same).await;
        assert!(early.is_err(), "it does not wait");
        match reads {
            true => receipt.read(),
            false => drop(receipt),
        }
        let mut same = same.await.unwrap();
        read.read();
        // On a machine that takes long.
        while is_on_its_way(&same) {
            same = beside.reads(session, ("echo", "{}", None)).await;
        }
        assert_eq!(earlier(&same), (!reads).then_some(first), "{same:?}");
        world.wait_until_unread(0).await;
        assert_eq!(world.server.hears().await, "echo {}");
        if reads {
            assert_eq!(beside.server.hears().await, "echo {}");
        }
    }
    assert_eq!(beside.end().await, [""; 0]);
    assert_eq!(world.end().await, [""; 0]);
}

#[tokio::test]
async fn whoever_waits_longer_than_it_is_known_reads_so_and_uses_nothing_up() {
    let mut world = World::new().await;
    let beside = world.beside().await;
    let session = world.claim().await;
    let (first, receipt) = given_again(&world, session).await;
    for by in [&world, &beside] {
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        let (told, read) = by.echo(session, "{}").await;
        let waited = begun.elapsed();
        tokio::time::resume();
        read.read();
        let why = match told {
            Answer::Refused(Refusal::EarlierUnread { why, earlier, .. }) => (why, earlier),
            other => panic!("{other:?}"),
        };
        assert_eq!(why, (NotKept::BeingGiven, first));
        assert!(waited >= Duration::from_secs(5), "{waited:?}");
    }
    let calls = world.calls();
    assert_eq!(calls.last().unwrap().detail["code"], "earlier_given");
    drop(receipt);
    world.wait_until_unread(1).await;
    let (again, read) = beside.echo(session, "{}").await;
    assert_eq!(earlier(&again), Some(first));
    read.read();
    assert_eq!(world.server.hears().await, "echo {}");
    assert_eq!(beside.end().await, [""; 0]);
    assert_eq!(world.end().await, [""; 0]);
}

#[tokio::test]
async fn of_calls_made_at_one_instant_none_is_sent_while_none_reads_the_answer() {
    let mut world = World::new().await;
    let session = world.claim().await;
    let (first, receipt) = given_again(&world, session).await;
    drop(receipt);
    world.wait_until_unread(1).await;
    let mut at_once = JoinSet::new();
    for _ in 0..6 {
        let (call, receipt) = world.calls_tool(session, ("echo", "{}", None));
        at_once.spawn(async move {
            let answer = call.await;
            drop(receipt);
            answer
        });
    }
    for answer in at_once.join_all().await {
        let is_given = earlier(&answer) == Some(first);
        assert!(is_given || is_on_its_way(&answer), "{answer:?}");
    }
    world.wait_until_unread(1).await;
    assert_eq!(world.server.hears().await, "echo {}");
    assert_eq!(world.end().await, [""; 0]);
}

#[tokio::test]
async fn whoever_takes_a_call_back_that_waits_is_not_waited_for() {
    let mut world = World::new().await;
    let beside = world.beside().await;
    let session = world.claim().await;
    let (_first, receipt) = given_again(&world, session).await;
    let cancelled = CancellationToken::new();
    let echo = ("echo", "{}", None);
    let (call, _receipt) = beside.calls_until(session, echo, cancelled.clone());
    let mut waits = tokio::spawn(call);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut waits).await;
    assert!(early.is_err(), "it does not wait");
    cancelled.cancel();
    assert!(matches!(waits.await.unwrap(), Answer::Cancelled));
    receipt.read();
    world.wait_until_unread(0).await;
    assert_eq!(world.server.hears().await, "echo {}");
    assert_eq!(beside.end().await, [""; 0]);
    assert_eq!(world.end().await, [""; 0]);
}
