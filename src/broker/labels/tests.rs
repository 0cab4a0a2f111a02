use super::*;
use crate::broker::Carrier;
use crate::broker::testing::World;
use crate::broker::testing::alice;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn what_is_heard_of_a_call_that_takes_long_sticks_from_when_it_is_heard() {
    let mut world = World::new().await;
    let named = Carrier::Named("claim-1".to_owned());
    let session = world.broker.session(&alice(), &named).await.unwrap();
    let (reports, _reported) = mpsc::channel(CallLine::ROOM);
    let line = CallLine {
        progress: Some(reports),
        asks: None,
        logs: None,
        cancelled: CancellationToken::new(),
        gone: CancellationToken::new(),
    };
    let (call, receipt) = world.calls_by(line, session, ("slow", "{}", None));
    let call = tokio::spawn(call);
    world.server.hears().await;
    let until = || world.number("SELECT until FROM session_label");
    let before = until();
    let again = i64::try_from(STICK_AGAIN.as_millis()).unwrap();
    // Half a minute goes by, for the store and for whoever waits.
    world.tamper("UPDATE session_label SET until = until - 30001");
    tokio::time::pause();
    tokio::time::advance(STICK_AGAIN).await;
    let since = Instant::now();
    while until() < before + again {
        assert!(since.elapsed() < Duration::from_secs(60), "never noted");
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    world.server.answers();
    call.await.unwrap();
    receipt.read();
    world.end().await;
}
