//! From which level on a server is heard, and when it learns of it.

use super::super::Downstream;
use super::super::Instances;
use super::super::Place;
use super::super::Program;
use super::super::Settings;
use super::super::Spread;
use super::*;
use crate::tool::Level;
use std::collections::BTreeMap;

const LOGS: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"logging":{}},"serverInfo":{"name":"old","version":"1"}}"#;
const PAY: &str = r#"{"tools":[{"name":"pay","inputSchema":{}}]}"#;

/// A server that has to be opened yet, and its end of the pipe.
fn unopened() -> (Downstream, Peer) {
    let settings = Settings {
        name: "claims".parse().unwrap(),
        place: Place::Child(Program {
            command: "it is there already".to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            keeper: "no such keeper".into(),
        }),
        timeout: PATIENCE,
        start_timeout: PATIENCE,
        max_message: MAX_LINE,
        declared: Some(Declared::default()),
        spread: Spread::default(),
        instances: Instances::default(),
        keeper: None,
    };
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (from, to) = tokio::io::split(ours);
    let (news, _nobody) = mpsc::unbounded_channel();
    let server = Downstream::on(settings, news, from, to);
    let (hears, says) = tokio::io::split(theirs);
    let peer = Peer {
        hears: Lines::new(hears, 1 << 20),
        says,
        tasks: JoinSet::new(),
    };
    (server, peer)
}

/// Calls it as soon as it can be called.
fn calls_at(server: &Downstream) -> JoinHandle<Sent> {
    let server = server.clone();
    tokio::spawn(soon(async move {
        server.call(permit(), outgoing("pay"), line()).await
    }))
}

/// Whatever could run has run, and said nothing to the server.
async fn is_silent(peer: &mut Peer) {
    let idle = async {
        for _turn in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        line = peer.hears() => panic!("{line}"),
        () = idle => (),
    }
}

#[tokio::test]
async fn a_server_that_opens_is_told_before_it_takes_a_call() {
    let (server, mut peer) = unopened();
    server.log_from(Level::Warning).await;
    let call = calls_at(&server);
    let probe = peer.asked("server/discover").await;
    peer.fails(probe, r#"{"code":-32601,"message":"no"}"#).await;
    let opened = peer.asked("initialize").await;
    peer.answers(opened, LOGS).await;
    assert_eq!(peer.hears().await["method"], "notifications/initialized");
    let listed = peer.asked("tools/list").await;
    peer.answers(listed, PAY).await;
    let told = peer.hears().await;
    assert_eq!(told["method"], "logging/setLevel", "{told}");
    assert_eq!(told["params"]["level"], "warning");

    // Who comes meanwhile waits too.
    let (another, louder) = (server.clone(), server.clone());
    let another = tokio::spawn(soon(async move { another.log_from(Level::Warning).await }));
    is_silent(&mut peer).await;
    assert!(!another.is_finished());
    peer.answers(told["id"].as_u64().unwrap(), "{}").await;
    let paid = peer.asked("tools/call").await;
    peer.answers(paid, "{}").await;
    assert_eq!(call.await.unwrap(), result("{}"));
    another.await.unwrap();

    // One that is open is told at once, and of no level that it has told from already.
    let lower = tokio::spawn(soon(async move {
        louder.log_from(Level::Error).await;
        louder.log_from(Level::Debug).await;
    }));
    let told = peer.hears().await;
    assert_eq!(told["params"]["level"], "debug", "{told}");
    is_silent(&mut peer).await;
    assert!(!lower.is_finished());
    peer.answers(told["id"].as_u64().unwrap(), "{}").await;
    lower.await.unwrap();
}
