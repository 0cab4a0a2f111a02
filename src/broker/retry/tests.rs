mod giving;
mod reading;

use super::*;
use crate::broker::Carrier;
use crate::broker::Receipt;
use crate::broker::testing::World;
use crate::broker::testing::alice;
use crate::session::SessionId;
use tokio_util::sync::CancellationToken;

impl World {
    async fn claim(&self) -> SessionId {
        let named = Carrier::Named("claim-1".to_owned());
        self.broker.session(&alice(), &named).await.unwrap()
    }

    fn calls_tool(
        &self,
        session: SessionId,
        call: (&str, &str, Option<&str>),
    ) -> (impl Future<Output = Answer> + use<>, Receipt) {
        self.calls_until(session, call, CancellationToken::new())
    }

    /// The same, taken back with this token.
    fn calls_until(
        &self,
        session: SessionId,
        call: (&str, &str, Option<&str>),
        cancelled: CancellationToken,
    ) -> (impl Future<Output = Answer> + use<>, Receipt) {
        let line = CallLine {
            progress: None,
            asks: None,
            logs: None,
            cancelled,
            gone: CancellationToken::new(),
        };
        self.calls_by(line, session, call)
    }

    /// The answer to a call, which is read.
    async fn reads(&self, session: SessionId, call: (&str, &str, Option<&str>)) -> Answer {
        let (call, receipt) = self.calls_tool(session, call);
        let answer = call.await;
        receipt.read();
        answer
    }

    /// One of `echo`, with what becomes of its answer.
    async fn echo(&self, session: SessionId, arguments: &str) -> (Answer, Receipt) {
        let (call, receipt) = self.calls_tool(session, ("echo", arguments, None));
        (call.await, receipt)
    }

    /// Waits until it is noted that so many answers were not read and are given to
    /// nobody now.
    async fn wait_until_unread(&self, count: i64) {
        let since = Instant::now();
        while self.number("SELECT count(*) FROM unread_call WHERE given IS NULL") != count {
            assert!(since.elapsed() < Duration::from_secs(60), "never noted");
            tokio::task::yield_now().await;
        }
    }
}

fn earlier(answer: &Answer) -> Option<CallId> {
    match answer {
        Answer::Replayed { earlier, .. } => Some(*earlier),
        _ => None,
    }
}

#[tokio::test]
async fn an_answer_that_is_given_and_not_read_stays_until_it_is() {
    let mut world = World::new().await;
    let session = world.claim().await;
    let (first, unread) = world.echo(session, "{}").await;
    assert_eq!(earlier(&first), None);
    drop(unread);
    for _ in 0..3 {
        world.wait_until_unread(1).await;
        let (again, unread) = world.echo(session, "{}").await;
        assert!(earlier(&again).is_some(), "{again:?}");
        drop(unread);
    }
    world.wait_until_unread(1).await;
    let (again, read) = world.echo(session, "{}").await;
    assert!(earlier(&again).is_some());
    read.read();
    world.wait_until_unread(0).await;
    let (meant, _) = world.echo(session, "{}").await;
    assert_eq!(earlier(&meant), None);
    for _ in 0..2 {
        assert_eq!(world.server.hears().await, "echo {}");
    }
    assert_eq!(world.end().await, [""; 0]);
}

#[tokio::test]
async fn calls_that_are_the_same_are_each_given_their_own_answer_the_oldest_first() {
    let world = World::new().await;
    let session = world.claim().await;
    // One is read while the other is not: whoever comes then is given the other's.
    let (_, one) = world.echo(session, "{}").await;
    let (_, two) = world.echo(session, "{}").await;
    let made: Vec<CallId> = world.calls().iter().map(|call| call.call).collect();
    drop((one, two));
    world.wait_until_unread(2).await;
    let mut given = Vec::new();
    for _ in 0..3 {
        let (answer, receipt) = world.echo(session, "{}").await;
        receipt.read();
        given.push(earlier(&answer));
    }
    assert_eq!(given, [Some(made[0]), Some(made[1]), None]);
    world.end().await;
}

#[tokio::test]
async fn an_unread_answer_that_is_too_large_is_told_and_not_made_again() {
    let mut world = World::new().await;
    let session = world.claim().await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(crate::retries::MAX_BODY));
    let (_, unread) = world.echo(session, &large).await;
    drop(unread);
    world.wait_until_unread(1).await;
    world.server.hears().await;
    let (told, read) = world.echo(session, &large).await;
    read.read();
    let why = match told {
        Answer::Refused(Refusal::EarlierUnread { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why, crate::broker::NotKept::TooLarge);
    assert_eq!(world.end().await, [""; 0]);
}

#[tokio::test]
async fn an_answer_under_a_key_that_is_too_large_is_told_and_not_made_again() {
    let mut world = World::new().await;
    let session = world.claim().await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(crate::retries::MAX_BODY));
    let call = ("echo", large.as_str(), Some("one"));
    let answered = world.calls_tool(session, call).0.await;
    assert!(matches!(answered, Answer::Result { .. }));
    world.server.hears().await;
    for _ in 0..2 {
        let told = world.calls_tool(session, call).0.await;
        assert!(
            matches!(told, Answer::Refused(Refusal::EarlierLost { .. })),
            "{told:?}"
        );
    }
    assert_eq!(world.calls()[1].detail["code"], "earlier_lost");
    assert_eq!(world.end().await, [""; 0]);
}

#[tokio::test]
async fn a_retry_that_waited_is_decided_once_more() {
    let mut world = World::new().await;
    let session = world.claim().await;
    let call = ("slow", "{}", Some("one"));
    let first = tokio::spawn(world.calls_tool(session, call).0);
    world.server.hears().await;
    let retry = tokio::spawn(world.calls_tool(session, call).0);
    let mut retry = retry;
    let early = tokio::time::timeout(Duration::from_millis(100), &mut retry).await;
    assert!(early.is_err(), "it does not wait");
    world.tamper("UPDATE session SET frozen = 1");
    world.server.answers();
    assert!(matches!(first.await.unwrap(), Answer::Result { .. }));
    let refused = retry.await.unwrap();
    assert!(
        matches!(refused, Answer::Refused(Refusal::Denied { .. })),
        "{refused:?}"
    );
    world.tamper("UPDATE session SET frozen = NULL");
    let again = world.calls_tool(session, call).0.await;
    assert!(earlier(&again).is_some(), "{again:?}");
    world.end().await;
}

#[tokio::test]
async fn a_retry_is_not_refused_because_the_first_used_up_the_limit() {
    let mut world = World::new().await;
    let session = world.claim().await;
    // Policy allows two of these in a session, and no more.
    let pays = |key| ("repay", "{\"amount\":100}", Some(key));
    for key in ["one", "two"] {
        let paid = tokio::spawn(world.calls_tool(session, pays(key)).0);
        world.server.hears().await;
        world.server.answers();
        assert!(matches!(paid.await.unwrap(), Answer::Result { .. }));
    }
    let more = world.calls_tool(session, pays("three")).0.await;
    assert!(matches!(more, Answer::Refused(Refusal::Denied { .. })));
    for key in ["one", "two"] {
        let again = world.calls_tool(session, pays(key)).0.await;
        assert!(earlier(&again).is_some(), "{again:?}");
    }
    assert_eq!(world.paid(session), 20_000);
    world.end().await;
}

#[tokio::test]
async fn a_tool_that_may_be_repeated_is_sent_again_and_charged_once() {
    let mut world = World::new().await;
    let session = world.claim().await;
    let pays = |tool| (tool, "{\"amount\":100}", Some(tool));
    // The other ended unknown too, and nobody said that it may be repeated.
    for tool in ["repay", "pay"] {
        let lost = tokio::spawn(world.calls_tool(session, pays(tool)).0);
        world.server.hears().await;
        world.server.spoils();
        let lost = lost.await.unwrap();
        assert!(
            matches!(lost, Answer::Refused(Refusal::InvalidAnswer { .. })),
            "{lost:?}"
        );
    }
    assert_eq!(world.paid(session), 20_000);
    let told = world.calls_tool(session, pays("pay")).0.await;
    assert!(matches!(
        told,
        Answer::Refused(Refusal::EarlierUnknown { .. })
    ));
    let again = tokio::spawn(world.calls_tool(session, pays("repay")).0);
    assert_eq!(world.server.hears().await, "repay {\"amount\":100}");
    world.server.answers();
    let again = again.await.unwrap();
    assert!(matches!(again, Answer::Result { .. }), "{again:?}");
    assert_eq!(world.paid(session), 20_000);
    let replayed = world.calls_tool(session, pays("repay")).0.await;
    let made = world.calls();
    let repeats = &made[3];
    assert_eq!(repeats.detail["repeats"], made[0].call.to_string());
    assert_eq!(repeats.detail["charged"], made[0].detail["charged"]);
    assert_eq!(earlier(&replayed), Some(repeats.call));
    assert_eq!(world.number("SELECT count(*) FROM meter_held"), 0);
    world.end().await;
}

/// A payment that may be repeated, under this key.
fn repays(key: &str) -> (&'static str, &'static str, Option<&str>) {
    ("repay", "{\"amount\":100}", Some(key))
}

impl World {
    /// A call under this key that its client takes back after it was sent.
    async fn taken_back(&mut self, session: SessionId, key: &str) {
        let (lost, cancelled) = self.sent(session, repays(key)).await;
        cancelled.cancel();
        assert!(matches!(lost.await.unwrap(), Answer::Cancelled));
        assert_eq!(self.server.hears().await, "cancelled");
    }

    /// A call that has reached the server, and what takes it back.
    async fn sent(
        &mut self,
        session: SessionId,
        call: (&str, &str, Option<&str>),
    ) -> (tokio::task::JoinHandle<Answer>, CancellationToken) {
        let cancelled = CancellationToken::new();
        let (call, receipt) = self.calls_until(session, call, cancelled.clone());
        let sent = tokio::spawn(async move {
            let answer = call.await;
            receipt.read();
            answer
        });
        self.server.hears().await;
        (sent, cancelled)
    }

    /// Of which earlier call the next one is told that is the same, until one is sent.
    async fn told(&mut self, session: SessionId, call: (&str, &str, Option<&str>)) -> Vec<CallId> {
        let mut told = Vec::new();
        loop {
            let (next, receipt) = self.calls_tool(session, call);
            let mut next = tokio::spawn(next);
            tokio::select! {
                biased;
                answer = &mut next => match answer.unwrap() {
                    Answer::Refused(Refusal::EarlierUnknown { earlier, .. }) => {
                        receipt.read();
                        told.push(earlier);
                    }
                    other => panic!("{other:?}"),
                },
                _heard = self.server.hears() => {
                    self.server.answers();
                    assert!(matches!(next.await.unwrap(), Answer::Result { .. }));
                    receipt.read();
                    return told;
                }
            }
        }
    }

    /// The number of the calls, from 1, that have a key, charges that are kept, or a
    /// note.
    fn holders(&self) -> [i64; 3] {
        ["attempt", "meter_held", "unsettled"].map(|table| {
            self.number(&format!(
                "SELECT coalesce((SELECT count(*) FROM journal WHERE kind <> 'close'
                 AND call <= (SELECT call FROM {table})), 0)"
            ))
        })
    }
}

#[tokio::test]
async fn a_repeat_that_is_not_sent_leaves_everything_with_the_first() {
    let mut world = World::new().await;
    let session = world.claim().await;
    world.taken_back(session, "one").await;
    assert_eq!(world.holders(), [1; 3]);
    world.lose_server().await;
    for _ in 0..2 {
        let unsent = world.calls_tool(session, repays("one")).0.await;
        assert!(
            matches!(unsent, Answer::Refused(Refusal::RepeatUnsent { .. })),
            "{unsent:?}"
        );
        assert_eq!(world.paid(session), 10_000);
        assert_eq!(world.holders(), [1; 3]);
    }
    // Under another key it is another call, whose caller is told of the first.
    let told = world.reads(session, repays("two")).await;
    assert!(
        matches!(told, Answer::Refused(Refusal::EarlierUnknown { .. })),
        "{told:?}"
    );
    // What was never sent is given back, with its key.
    let unsent = world.calls_tool(session, repays("two")).0.await;
    assert!(
        matches!(unsent, Answer::Refused(Refusal::ServerUnavailable { .. })),
        "{unsent:?}"
    );
    assert_eq!(world.paid(session), 10_000);
    assert_eq!(world.holders(), [1, 1, 0]);
    world.end().await;
}

#[tokio::test]
async fn a_repeat_that_fails_leaves_the_first_charged_and_to_be_told_of() {
    let mut world = World::new().await;
    let session = world.claim().await;
    world.taken_back(session, "one").await;
    let failed = tokio::spawn(world.calls_tool(session, repays("one")).0);
    world.server.hears().await;
    world.server.fails();
    assert!(matches!(failed.await.unwrap(), Answer::Result { .. }));
    assert_eq!(world.paid(session), 10_000);
    // Its key has an answer now, so nobody takes over what was charged.
    assert_eq!(world.holders(), [2, 0, 1]);
    let told = world.reads(session, repays("two")).await;
    assert!(
        matches!(told, Answer::Refused(Refusal::EarlierUnknown { .. })),
        "{told:?}"
    );
    // What failed by itself is given back.
    let failed = tokio::spawn(world.calls_tool(session, repays("two")).0);
    world.server.hears().await;
    assert_eq!(world.paid(session), 20_000);
    world.server.fails();
    assert!(matches!(failed.await.unwrap(), Answer::Result { .. }));
    assert_eq!(world.paid(session), 10_000);
    world.end().await;
}

#[tokio::test]
async fn of_calls_that_are_the_same_and_ended_unknown_each_is_told() {
    let mut world = World::new().await;
    let session = world.claim().await;
    let pay = ("pay", "{\"amount\":1}", None);
    // Both were meant: none had ended when the other was made.
    let (one, take_one) = world.sent(session, pay).await;
    let (two, take_two) = world.sent(session, pay).await;
    for (lost, take) in [(two, take_two), (one, take_one)] {
        take.cancel();
        assert!(matches!(lost.await.unwrap(), Answer::Cancelled));
        world.server.hears().await;
    }
    let made: Vec<CallId> = world.calls().iter().map(|call| call.call).collect();
    assert_eq!(world.told(session, pay).await, made);
    assert_eq!(world.told(session, pay).await, []);
    assert_eq!(world.number("SELECT count(*) FROM unsettled"), 0);
    world.end().await;
}

#[tokio::test]
async fn a_call_whose_caller_reads_that_it_is_unknown_hides_no_other() {
    let mut world = World::new().await;
    let session = world.claim().await;
    let pay = ("pay", "{\"amount\":1}", None);
    let (untold, take) = world.sent(session, pay).await;
    let (told, _goes_on) = world.sent(session, pay).await;
    take.cancel();
    assert!(matches!(untold.await.unwrap(), Answer::Cancelled));
    world.server.hears().await;
    world.server.spoils();
    let told = told.await.unwrap();
    assert!(
        matches!(told, Answer::Refused(Refusal::InvalidAnswer { .. })),
        "{told:?}"
    );
    let first = world.calls()[0].call;
    assert_eq!(world.told(session, pay).await, [first]);
    world.end().await;
}
