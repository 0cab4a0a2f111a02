//! The HTTP+SSE pair of 2024-11-05, made into a pipe: what the server says comes
//! by one stream, and what is said to it goes by requests (MCP 2024-11-05,
//! transports).

use super::Remote;
use super::events::Events;
use super::exchange::Exchange;
use super::exchange::Exchanges;
use super::exchange::Redirects;
use super::pool::Answered;
use bytes::Bytes;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::io::DuplexStream;
use tokio::io::duplex;
use tokio::task::JoinSet;

/// How much may wait in each direction, in bytes.
const WAITING: usize = 64 << 10;

/// The ends of the pipe, and what works for it.
pub(in crate::downstream) struct Pair {
    /// What the server says, a message a line.
    pub(in crate::downstream) from: DuplexStream,
    /// What is said to it, a message a line.
    pub(in crate::downstream) to: DuplexStream,
    /// The two tasks. When they are dropped, so is the connection.
    pub(in crate::downstream) tasks: JoinSet<()>,
}

/// Opens the stream, and waits for the server to say where messages go.
///
/// # Errors
///
/// Where there is no such stream, or it leads elsewhere; in words.
pub(in crate::downstream) async fn pair(
    remote: &Remote,
    max_message: usize,
) -> Result<Pair, String> {
    let exchanges = Exchanges::of(remote, max_message)?;
    let opened = exchanges.get(remote.headers.clone()).await;
    let mut events = opened
        .map_err(|(_status, why)| format!("{} opens no stream of events: {why}", remote.shown()))?;
    let endpoint = loop {
        match events.next().await {
            Ok(Some(event)) if event.kind == "endpoint" => break event.data,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                return Err("the server did not say where its messages go".to_owned());
            }
        }
    };
    let endpoint = String::from_utf8_lossy(&endpoint).into_owned();
    let messages_at = remote.url.join(endpoint.trim()).ok();
    // INVARIANT: our headers go to no other server than the one they are for.
    let messages_at = messages_at.filter(|url| url.origin() == remote.url.origin());
    let Some(uri) = messages_at.and_then(|url| super::uri_of(&url)) else {
        return Err(
            "the server sends messages to another server, which is not followed".to_owned(),
        );
    };
    let exchanges = exchanges.at(uri);
    let (from, said) = duplex(WAITING);
    let (to, saying) = duplex(WAITING);
    let mut tasks = JoinSet::new();
    tasks.spawn(hear(events, said));
    let headers = remote.headers.clone();
    tasks.spawn(async move {
        let mut lines = BufReader::new(saying).lines();
        // The first line opens the connection. Those after it may be calls.
        let mut redirects = Redirects::Followed;
        while let Ok(Some(line)) = lines.next_line().await {
            let message = (Bytes::from(line), redirects);
            redirects = Redirects::Refused;
            let (exchange, _headers) = exchanges.post(|| headers.clone(), message).await;
            match exchange {
                Exchange::Accepted | Exchange::Messages(_) | Exchange::Stream(_) => {}
                // Some servers say `Accepted` as plain text.
                Exchange::Invalid(_) => {}
                // Ending here closes the pipe, and with it the link.
                Exchange::NotSent(_)
                | Exchange::Refused { .. }
                | Exchange::Lost(_)
                | Exchange::Down(_) => break,
            }
        }
    });
    Ok(Pair { from, to, tasks })
}

/// Passes on what the server says, until it says no more.
async fn hear(mut events: Events<Answered>, mut said: DuplexStream) {
    while let Ok(Some(event)) = events.next().await {
        if event.kind != "message" {
            continue;
        }
        let mut line = event.data;
        for byte in &mut line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        line.push(b'\n');
        if said.write_all(&line).await.is_err() {
            return;
        }
    }
}
