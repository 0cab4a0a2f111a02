//! What goes back: one message, a stream of them, or what a route made.

use super::redelivery::Reader;
use super::unflushed::Unflushed;
use crate::broker::Hearing;
use crate::broker::Receipt;
use crate::mcp::Outbound;
use bytes::Bytes;
use hyper::body::Frame;
use hyper::body::SizeHint;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// How long a stream may be silent before a comment shows that it is alive.
const QUIET: Duration = Duration::from_secs(15);

/// How much of what is large is handed on at once, in bytes. So much of it may still be
/// heard by whose right to the stream is over.
const PIECE: usize = 64 << 10;

/// The body of an answer.
pub(super) enum Body {
    /// All of it.
    Whole(Parcel),
    /// Server-sent events.
    Events(Box<Events>),
    /// Of another handler.
    Routed(axum::body::Body),
}

/// A body on its connection.
pub(super) struct Sent {
    body: Body,
    unflushed: Unflushed,
}

impl Body {
    /// Has those who wait for something in it learn that it has left us, by what is
    /// `unflushed` on its connection.
    pub(super) fn on(self, unflushed: Unflushed) -> Sent {
        let body = self;
        Sent { body, unflushed }
    }
}

/// What is handed on, and who waits for the last of it to be read.
#[derive(Default)]
pub(super) struct Parcel {
    left: Bytes,
    receipt: Receipt,
}

impl Parcel {
    pub(super) fn new(bytes: impl Into<Bytes>, receipt: Receipt) -> Self {
        Self {
            left: bytes.into(),
            receipt,
        }
    }

    /// The next piece. Who waits for the last goes with it to what is `unflushed`.
    pub(super) fn next(&mut self, unflushed: &Unflushed) -> Option<Bytes> {
        if self.left.len() > PIECE {
            return Some(self.left.split_to(PIECE));
        }
        unflushed.add(std::mem::take(&mut self.receipt));
        let last = std::mem::take(&mut self.left);
        (!last.is_empty()).then_some(last)
    }
}

/// Something that runs while its messages are read.
pub(super) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Messages as server-sent events, as they come (HTML living standard, §9.2).
pub(super) struct Events {
    source: Source,
    quiet: Pin<Box<Sleep>>,
    /// What was not handed on yet of the last event.
    begun: Parcel,
    /// Tells that nobody reads any more.
    _gone: Option<DropGuard>,
    heard: Option<Heard>,
}

/// By whom it is read, until they may not any more.
struct Heard {
    by: Arc<Hearing>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Where they come from.
enum Source {
    /// From what is done meanwhile. What is lost with the connection is lost.
    Live {
        first: Option<Bytes>,
        /// What makes the messages, where nobody else runs it.
        running: Option<Running>,
        messages: mpsc::Receiver<Outbound>,
    },
    /// From what is kept.
    Kept(Reader),
}

impl Events {
    /// The messages that come by `messages`, `first` before them.
    pub(super) fn live(first: Option<Bytes>, messages: mpsc::Receiver<Outbound>) -> Self {
        Self::of(Source::Live {
            first,
            running: None,
            messages,
        })
    }

    /// What this reader finds.
    pub(super) fn kept(reader: Reader) -> Self {
        Self::of(Source::Kept(reader))
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            quiet: Box::pin(tokio::time::sleep(QUIET)),
            begun: Parcel::default(),
            _gone: None,
            heard: None,
        }
    }

    /// Runs this while the stream is read.
    pub(super) fn running(mut self, work: Option<Running>) -> Self {
        if let Source::Live { running, .. } = &mut self.source {
            *running = work;
        }
        self
    }

    /// Drops this when nobody reads any more.
    pub(super) fn guarded(mut self, gone: DropGuard) -> Self {
        self._gone = Some(gone);
        self
    }

    /// Ends where this may not be read any more.
    pub(super) fn heard_by(mut self, hearing: Arc<Hearing>) -> Self {
        let over = Box::pin(hearing.over().cancelled_owned());
        self.heard = Some(Heard { by: hearing, over });
        self
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, unflushed: &Unflushed) -> Poll<Option<Bytes>> {
        // INVARIANT: before all else. What is still to be said is not for them.
        if let Some(heard) = &mut self.heard
            && heard.over.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        if let Some(piece) = self.begun.next(unflushed) {
            self.quiet.as_mut().reset(Instant::now() + QUIET);
            return Poll::Ready(Some(piece));
        }
        let over = self.heard.as_ref().map(|heard| heard.by.over());
        if let Poll::Ready(event) = self.source.poll_next(cx, over.as_ref()) {
            self.quiet.as_mut().reset(Instant::now() + QUIET);
            let begun = event.and_then(|event| {
                self.begun = event;
                self.begun.next(unflushed)
            });
            return Poll::Ready(begun);
        }
        if self.quiet.as_mut().poll(cx).is_ready() {
            self.quiet.as_mut().reset(Instant::now() + QUIET);
            // The new time must be waited for by somebody.
            cx.waker().wake_by_ref();
            return Poll::Ready(Some(Bytes::from_static(b": still here\n\n")));
        }
        Poll::Pending
    }
}

impl Source {
    /// The next event, and none from when the right to it is `over`.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        over: Option<&CancellationToken>,
    ) -> Poll<Option<Parcel>> {
        match self {
            Self::Kept(reader) => reader.poll_next(cx, over),
            Self::Live {
                first,
                running,
                messages,
            } => {
                if let Some(first) = first.take() {
                    return Poll::Ready(Some(Parcel::new(first, Receipt::default())));
                }
                if let Some(work) = running
                    && work.as_mut().poll(cx).is_ready()
                {
                    *running = None;
                }
                let message = std::task::ready!(messages.poll_recv(cx));
                // INVARIANT: asked after the message was made, because who made it saw
                // whether it may be heard.
                let message =
                    message.filter(|_| !over.is_some_and(CancellationToken::is_cancelled));
                Poll::Ready(message.map(|message| {
                    let (event, receipt) = event(None, message);
                    Parcel::new(event, receipt)
                }))
            }
        }
    }
}

/// One message as an event, with an id by which it is found again, and who waits for
/// it to be read.
pub(super) fn event(id: Option<&str>, message: Outbound) -> (Bytes, Receipt) {
    let (line, receipt) = message.into_line();
    let mut event = Vec::with_capacity(line.len() + 24 + id.map_or(0, |id| id.len() + 5));
    event.extend_from_slice(b"event: message\n");
    if let Some(id) = id {
        event.extend_from_slice(b"id: ");
        event.extend_from_slice(id.as_bytes());
        event.push(b'\n');
    }
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(&line);
    event.extend_from_slice(b"\n\n");
    (event.into(), receipt)
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, unflushed } = &mut *self;
        let piece = match body {
            Body::Whole(whole) => whole.next(unflushed),
            Body::Events(events) => std::task::ready!(events.poll_next(cx, unflushed)),
            Body::Routed(body) => return Pin::new(body).poll_frame(cx),
        };
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Body::Whole(whole) => whole.left.is_empty(),
            Body::Events(_) => false,
            Body::Routed(body) => hyper::body::Body::is_end_stream(body),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Body::Whole(whole) => SizeHint::with_exact(whole.left.len() as u64),
            Body::Events(_) => SizeHint::default(),
            Body::Routed(body) => hyper::body::Body::size_hint(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_shows_that_it_is_alive() {
        let (out, messages) = mpsc::channel(1);
        let body = Body::Events(Box::new(Events::live(None, messages)));
        let mut body = body.on(Unflushed::default());
        let begun = Instant::now();
        for quiet in 1..=2 {
            let comment = body.frame().await.unwrap().unwrap();
            assert_eq!(*comment.into_data().unwrap(), *b": still here\n\n");
            assert_eq!(begun.elapsed().as_secs(), QUIET.as_secs() * quiet);
        }
        out.send(Outbound::Answer("{}".into(), Receipt::default()))
            .await
            .unwrap();
        let event = body.frame().await.unwrap().unwrap();
        assert_eq!(
            *event.into_data().unwrap(),
            *b"event: message\ndata: {}\n\n"
        );
        drop(out);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn what_is_said_by_whom_sees_the_right_go_is_not_heard() {
        let over = CancellationToken::new();
        let (out, messages) = mpsc::channel(1);
        let sees = over.clone();
        let mut source = Source::Live {
            first: None,
            running: Some(Box::pin(async move {
                sees.cancel();
                let said = Outbound::Answer("{}".into(), Receipt::default());
                out.send(said).await.unwrap();
            })),
            messages,
        };
        let next = poll_fn(|cx| source.poll_next(cx, Some(&over))).await;
        assert!(next.is_none());
    }

    #[tokio::test]
    async fn what_is_large_is_handed_on_with_the_last_of_it() {
        let text = "x".repeat(3 * PIECE);
        for streamed in [false, true] {
            for all in [false, true] {
                let (receipt, awaited) = Receipt::new();
                awaited.begin();
                let body = if streamed {
                    let (out, messages) = mpsc::channel(1);
                    let answer = Outbound::Answer(text.as_str().into(), receipt);
                    out.send(answer).await.unwrap();
                    Body::Events(Box::new(Events::live(None, messages)))
                } else {
                    Body::Whole(Parcel::new(text.clone(), receipt))
                };
                let unflushed = Unflushed::default();
                let mut body = body.on(unflushed.clone());
                let mut taken = 0;
                while taken < 2 * PIECE || all {
                    let Some(frame) = body.frame().await else {
                        break;
                    };
                    let piece = frame.unwrap().into_data().unwrap();
                    assert!(piece.len() <= PIECE);
                    taken += piece.len();
                }
                drop(body);
                assert_eq!((taken >= text.len(), unflushed.is_empty()), (all, !all));
                unflushed.all_read();
                assert_eq!(awaited.is_read().await, all);
            }
        }
    }
}
