//! A scripted server on a pipe, and what the link makes of it.

mod calls;
mod level;
mod opening;
mod peer;
mod process;

use super::CallLine;
use super::Era;
use super::OutgoingCall;
use super::Sent;
use super::handshake;
use super::handshake::Greeting;
use super::handshake::Opening;
use super::lines::Line;
use super::lines::Lines;
use super::link::Link;
use super::reach::Reach;
use crate::json::Object;
use crate::permit::Permit;
use crate::permit::testing::countersigned;
use crate::pins;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::Declared;
use crate::tool::Digest;
use serde_json::Value;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::io::DuplexStream;
use tokio::io::ReadHalf;
use tokio::io::WriteHalf;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what another task or process does before it fails.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_LINE: usize = 4096;
const TOO_LONG: usize = 2 * MAX_LINE;

/// The server's end of a pipe.
struct Peer {
    hears: Lines<ReadHalf<DuplexStream>>,
    says: WriteHalf<DuplexStream>,
    tasks: JoinSet<()>,
}

/// A link and its peer, on a pipe that holds so many bytes.
fn pipe(bytes: usize) -> (Arc<Link>, Peer) {
    let (ours, theirs) = tokio::io::duplex(bytes);
    let (from, to) = tokio::io::split(ours);
    let (link, tasks) = Link::open("claims".parse().unwrap(), MAX_LINE, from, to);
    let (hears, says) = tokio::io::split(theirs);
    let peer = Peer {
        hears: Lines::new(hears, 1 << 20),
        says,
        tasks,
    };
    (link, peer)
}

/// A link whose era is settled, so that it takes calls.
fn legacy(bytes: usize) -> (Arc<Link>, Peer) {
    let (link, peer) = pipe(bytes);
    link.settle(Era::Legacy("2025-11-25".to_owned()));
    (link, peer)
}

fn modern() -> (Arc<Link>, Peer) {
    let (link, peer) = pipe(1 << 16);
    link.settle(Era::Modern("2026-07-28".to_owned()));
    (link, peer)
}

/// What another task or process does soon, if it has not failed: then this test
/// fails too, and does not hang. Real time, also where that of the runtime is paused.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    let (given_up, gives_up) = oneshot::channel();
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        // It ends at once where `done` is dropped.
        if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _nobody_waits = given_up.send(());
        }
    });
    let ended = tokio::select! {
        biased;
        ended = what => ended,
        Ok(()) = gives_up => panic!("what was waited for did not happen"),
    };
    drop(done);
    ended
}

impl Peer {
    /// The server is gone. What is left is the link's own work.
    fn ends(self) -> JoinSet<()> {
        self.tasks
    }

    async fn hears_text(&mut self) -> Option<String> {
        match soon(self.hears.next()).await.unwrap()? {
            Line::Whole(line) | Line::Cut(line) => Some(String::from_utf8(line.to_vec()).unwrap()),
        }
    }

    async fn hears(&mut self) -> Value {
        serde_json::from_str(&self.hears_text().await.unwrap()).unwrap()
    }

    /// Hears a request of this method and returns its id.
    async fn asked(&mut self, method: &str) -> u64 {
        let request = self.hears().await;
        assert_eq!(request["method"], method, "{request}");
        request["id"].as_u64().unwrap()
    }

    async fn says(&mut self, line: &str) {
        soon(self.says.write_all(line.as_bytes())).await.unwrap();
        soon(self.says.write_all(b"\n")).await.unwrap();
    }

    async fn answers(&mut self, id: u64, result: &str) {
        self.says(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
        ))
        .await;
    }

    async fn fails(&mut self, id: u64, error: &str) {
        self.says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
            .await;
    }
}

fn permit() -> Permit {
    countersigned(CallId::from_bytes([7; 16]))
}

/// What the scripted servers say of a tool.
fn defined(name: &str) -> Digest {
    let entry = format!(r#"{{"name":"{name}","inputSchema":{{}}}}"#);
    let definition = pins::definition(&"claims".parse().unwrap(), &entry);
    definition.unwrap().digest
}

fn outgoing(name: &str) -> OutgoingCall {
    OutgoingCall {
        asking: Asking::Tool,
        pinned: name.into(),
        rest: Vec::new(),
        answers: None,
        task: None,
        caller: crate::principal::PrincipalId::parse("alice").unwrap(),
        session: crate::session::SessionId::from_bytes([0; 16]),
        task_of: None,
        declared: Arc::default(),
        log: None,
        name: name.into(),
        definition: defined(name),
        mirrored: Arc::default(),
        arguments: Some("{}".into()),
        meta: None,
        deadline: None,
    }
}

fn line() -> CallLine {
    CallLine {
        progress: None,
        asks: None,
        logs: None,
        cancelled: CancellationToken::new(),
        gone: CancellationToken::new(),
    }
}

fn calls_on(link: &Arc<Link>, line: CallLine, allowed: Duration) -> JoinHandle<Sent> {
    let link = Arc::clone(link);
    let deadline = Instant::now() + allowed;
    let calls = async move { link.call(permit(), &outgoing("pay"), line, deadline).await };
    tokio::spawn(soon(calls))
}

/// A call that nothing hurries.
fn calls(link: &Arc<Link>) -> JoinHandle<Sent> {
    calls_on(link, line(), Duration::from_secs(600))
}

fn opens(link: &Arc<Link>) -> JoinHandle<Result<Greeting, handshake::Refusal>> {
    let link = Arc::clone(link);
    tokio::spawn(soon(async move {
        let asked = (Duration::from_secs(10), &Declared::default());
        handshake::open(&Reach::Pipe(link), Opening::Probe, asked).await
    }))
}

fn result(json: &str) -> Sent {
    Sent::Result {
        json: json.into(),
        era: Era::Legacy("2025-11-25".to_owned()),
        failed: Object::parse(json).unwrap().get("isError") == Some("true"),
    }
}
