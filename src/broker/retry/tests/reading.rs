//! What becomes of what was told, by whether it was read.

use super::*;
use crate::tool::Digest;

impl World {
    /// Makes a call of which nobody knows how it ended, and returns the receipt of that
    /// answer.
    async fn loses(&mut self, session: SessionId, call: (&str, &str, Option<&str>)) -> Receipt {
        let (call, unread) = self.calls_tool(session, call);
        let lost = tokio::spawn(call);
        self.server.hears().await;
        self.server.spoils();
        lost.await.unwrap();
        unread
    }
}

#[tokio::test]
async fn that_a_call_ended_unknown_is_told_until_somebody_reads_it() {
    let mut world = World::new().await;
    let session = world.claim().await;
    let pay = ("pay", "{\"amount\":1}", None);
    let (call, unread) = world.calls_tool(session, pay);
    let lost = tokio::spawn(call);
    world.server.hears().await;
    world.server.spoils();
    let lost = lost.await.unwrap();
    assert!(
        matches!(lost, Answer::Refused(Refusal::InvalidAnswer { .. })),
        "{lost:?}"
    );
    let first = world.calls()[0].call;
    drop(unread);
    for _ in 0..3 {
        let (told, unread) = world.calls_tool(session, pay);
        let told = told.await;
        assert!(
            matches!(told, Answer::Refused(Refusal::EarlierUnknown { earlier, .. }) if earlier == first),
            "{told:?}"
        );
        drop(unread);
    }
    // Whoever comes for it later is told too.
    let (told, gone) = world.calls_tool(session, pay);
    assert!(matches!(told.await, Answer::Refused(_)));
    let later = gone.later();
    drop(gone);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    later.read();
    assert_eq!(world.told(session, pay).await, []);
    world.end().await;
}

#[tokio::test]
async fn whoever_came_for_an_answer_and_makes_the_call_again_means_another() {
    let mut world = World::new().await;
    let session = world.claim().await;
    for _ in 0..5 {
        let (first, gone) = world.echo(session, "{}").await;
        assert_eq!(earlier(&first), None);
        let later = gone.later();
        drop(gone);
        world.wait_until_unread(1).await;
        later.read();
        let (meant, read) = world.echo(session, "{}").await;
        assert_eq!(earlier(&meant), None);
        read.read();
    }
    for _ in 0..10 {
        assert_eq!(world.server.hears().await, "echo {}");
    }
    assert_eq!(world.end().await, [""; 0]);
}

#[tokio::test]
async fn who_makes_a_call_while_another_is_told_of_its_like_is_told_too() {
    let mut world = World::new().await;
    let session = world.claim().await;
    let pay = ("pay", "{\"amount\":1}", None);
    let unread = world.loses(session, pay).await;
    let first = world.calls()[0].call;
    // Nobody reads any of it, as where a client does not empty its pipe.
    let mut pending = vec![unread];
    for _ in 0..3 {
        // Those before are waited for once, all together.
        let like = Subject {
            call: CallId::next(),
            session,
            principal: alice(),
            tool: "play/pay".to_owned(),
            arguments: Digest::of(b"{\"amount\":1}"),
            policies: Digest::of(b""),
            found: None,
        };
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        world.broker.tellings_end(&like, &mut None).await;
        assert_eq!(begun.elapsed().as_secs(), 5);
        let (told, receipt) = world.calls_tool(session, pay);
        let told = told.await;
        tokio::time::resume();
        assert!(
            matches!(told, Answer::Refused(Refusal::EarlierUnknown { earlier, .. }) if earlier == first),
            "{told:?}"
        );
        pending.push(receipt);
    }
    // One who reads is enough, and what becomes of the others is no news.
    pending.pop().unwrap().read();
    drop(pending);
    let since = Instant::now();
    while world.number("SELECT count(*) FROM unsettled WHERE read IS NOT NULL") != 1 {
        assert!(since.elapsed() < Duration::from_secs(60), "never noted");
        tokio::task::yield_now().await;
    }
    assert_eq!(world.told(session, pay).await, []);
    assert_eq!(world.end().await, [""; 0]);
}

#[tokio::test]
async fn who_came_before_the_warning_was_read_is_told_too() {
    let mut world = World::new().await;
    let session = world.claim().await;
    let pay = ("pay", "{\"amount\":1}", None);
    let unread = world.loses(session, pay).await;
    // It waits until it is known whether the first was read.
    let (call, receipt) = world.calls_tool(session, pay);
    let other = tokio::spawn(call);
    tokio::task::yield_now().await;
    unread.read();
    let told = other.await.unwrap();
    assert!(
        matches!(told, Answer::Refused(Refusal::EarlierUnknown { .. })),
        "{told:?}"
    );
    receipt.read();
    assert_eq!(world.told(session, pay).await, []);
    assert_eq!(world.end().await, [""; 0]);
}
