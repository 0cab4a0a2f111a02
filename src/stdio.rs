//! MCP over standard input and output: one message per line (MCP 2026-07-28,
//! basic/transports/stdio). Frames messages and owns the tasks; what they mean
//! is decided in `mcp`.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod lines;

#[cfg(test)]
mod tests;

use crate::broker::Broker;
use crate::broker::Receipt;
use crate::crash;
use crate::mcp::Connection;
use crate::mcp::Opening;
use crate::mcp::Outbound;
use crate::mcp::Outgoing;
use crate::mcp::Received;
use crate::mcp::batch;
use crate::mcp::unread;
use crate::principal::PrincipalId;
use crate::session::Named;
use crate::session::Rule;
use lines::Line;
use lines::Lines;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufWriter;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How many messages may wait for a client that reads slowly.
const QUEUE: usize = 64;

/// How long calls have to end once they were told to.
const GRACE: Duration = Duration::from_secs(2);

/// Who is served, and within which bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who calls.
    pub principal: PrincipalId,
    /// The handle or id of the session for requests that name none.
    pub session: Option<String>,
    /// The longest message, in bytes. A longer one is refused unread.
    pub max_line: usize,
    /// How long calls in flight may go on after the last message.
    pub drain: Duration,
}

impl Settings {
    /// The default of [`Settings::max_line`]: 4 MiB.
    pub const MAX_LINE: usize = 4 << 20;
    /// The default of [`Settings::drain`]: 30 seconds.
    pub const DRAIN: Duration = Duration::from_secs(30);

    /// The defaults for this principal.
    pub fn new(principal: PrincipalId) -> Self {
        Self {
            principal,
            session: None,
            max_line: Self::MAX_LINE,
            drain: Self::DRAIN,
        }
    }
}

/// Why serving ended early. Calls in flight have ended by then.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// Messages can no longer be read.
    #[error("cannot read the client's messages")]
    Read(#[source] io::Error),
    /// Messages can no longer be written, and not because the client closed.
    #[error("cannot write to the client")]
    Write(#[source] io::Error),
}

/// Serves one client until it closes its end or `shutdown` is cancelled. Calls
/// in flight then go on to their end, within [`Settings::drain`].
///
/// # Errors
///
/// When reading or writing fails. A client that is gone is no error.
pub async fn serve<R, W>(
    broker: Arc<Broker>,
    settings: Settings,
    reader: R,
    writer: W,
    shutdown: CancellationToken,
) -> Result<(), StdioError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (out, queue) = mpsc::channel(QUEUE);
    let mut writing = JoinSet::new();
    writing.spawn(write(writer, queue));
    let opening = Opening {
        session: settings.session.map(|text| Named::new(Rule::Option, text)),
        ..Opening::of(settings.principal)
    };
    let connection = Connection::new(broker, opening);
    let mut tasks = JoinSet::new();
    let mut lines = Lines::new(reader, settings.max_line);
    let read = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        () = out.closed() => Ok(()),
        read = read(&connection, &mut lines, &mut tasks, &out) => read,
    };
    connection.close();
    drain(&connection, &mut tasks, settings.drain).await;
    drop(out);
    // A client that stopped reading holds the writer for ever.
    let written = match timeout(GRACE, writing.join_next()).await {
        Ok(Some(Ok(written))) => written,
        Ok(Some(Err(_)) | None) | Err(_) => Ok(()),
    };
    writing.shutdown().await;
    read.map_err(StdioError::Read)?;
    match written {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(StdioError::Write(source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Takes in messages until there are no more.
async fn read<R: AsyncRead + Unpin>(
    connection: &Arc<Connection>,
    lines: &mut Lines<R>,
    tasks: &mut JoinSet<()>,
    out: &Outgoing,
) -> io::Result<()> {
    loop {
        let line = tokio::select! {
            biased;
            Some(ended) = tasks.join_next() => {
                report(ended);
                continue;
            }
            line = lines.next() => line?,
        };
        let answer = match line {
            None => return Ok(()),
            Some(Line::TooLong) => {
                let limit = lines.limit();
                unread(&format!(
                    "a message may have at most {limit} bytes: send less at once"
                ))
            }
            Some(Line::Whole(line)) => {
                if !take_line(connection, &line, tasks, out).await {
                    return Ok(());
                }
                continue;
            }
        };
        if out.send(answer).await.is_err() {
            return Ok(());
        }
    }
}

/// Takes in one line: a message, or a batch of them. False where nobody reads the
/// answers any more.
async fn take_line(
    connection: &Arc<Connection>,
    line: &[u8],
    tasks: &mut JoinSet<()>,
    out: &Outgoing,
) -> bool {
    let messages = match connection.takes_batches() {
        true => match batch(line) {
            Ok(messages) => messages,
            Err(refused) => return out.send(refused.answer()).await.is_ok(),
        },
        false => None,
    };
    let messages = messages.unwrap_or_else(|| vec![line.into()]);
    for message in messages {
        match connection.receive(&message) {
            Received::Nothing => {}
            Received::Work(work) => {
                tasks.spawn(work.run(out.clone()));
            }
            // Waiting here also stops reading: a client that does not read its
            // answers does not get to send more.
            Received::Answer(answer) => {
                if out.send(answer).await.is_err() {
                    return false;
                }
            }
        }
    }
    true
}

/// Waits for what is in flight; then takes it back; then gives it up.
async fn drain(connection: &Connection, tasks: &mut JoinSet<()>, patience: Duration) {
    if timeout(patience, ended(tasks)).await.is_err() {
        tracing::warn!(
            requests.left = tasks.len(),
            "requests were still in flight when the time to end was up; they are cancelled"
        );
        connection.cancel_all();
        let _given_up = timeout(GRACE, ended(tasks)).await;
        tasks.shutdown().await;
    }
}

async fn ended(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a request ended without an answer");
    }
}

/// Writes each message as one line. The only code that touches the writer.
async fn write<W: AsyncWrite + Unpin>(
    writer: W,
    mut queue: mpsc::Receiver<Outbound>,
) -> io::Result<()> {
    let mut writer = BufWriter::new(writer);
    let mut unflushed: Vec<Receipt> = Vec::new();
    while let Some(message) = queue.recv().await {
        let (mut line, receipt) = message.into_line();
        line.push(b'\n');
        crash::point("reply.before-write");
        receipt.hand_on();
        writer.write_all(&line).await?;
        unflushed.push(receipt);
        if queue.is_empty() {
            writer.flush().await?;
            unflushed.drain(..).for_each(Receipt::read);
        }
        crash::point("reply.after-write");
    }
    writer.flush().await?;
    unflushed.drain(..).for_each(Receipt::read);
    Ok(())
}
