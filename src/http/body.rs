//! What goes back: one message, a stream of them, or what a route made.

use crate::mcp::Outbound;
use bytes::Bytes;
use hyper::body::Frame;
use hyper::body::SizeHint;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio_util::sync::DropGuard;

/// How long a stream may be silent before a comment shows that it is alive.
const QUIET: Duration = Duration::from_secs(15);

/// The body of an answer.
pub(super) enum Body {
    /// All of it.
    Whole(Bytes),
    /// Server-sent events.
    Events(Box<Events>),
    /// Of another handler.
    Routed(axum::body::Body),
}

/// Something that runs while its messages are read.
pub(super) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Messages as server-sent events, as they come (HTML living standard, §9.2).
pub(super) struct Events {
    first: Option<Bytes>,
    /// What makes the messages, where nobody else runs it.
    running: Option<Running>,
    messages: mpsc::Receiver<Outbound>,
    quiet: Pin<Box<Sleep>>,
    /// Tells that nobody reads any more.
    _gone: Option<DropGuard>,
    /// Keeps a second stream of its kind away.
    _place: Option<OwnedSemaphorePermit>,
}

impl Events {
    /// The messages that come by `messages`, `first` before them.
    pub(super) fn new(first: Option<Bytes>, messages: mpsc::Receiver<Outbound>) -> Self {
        Self {
            first,
            running: None,
            messages,
            quiet: Box::pin(tokio::time::sleep(QUIET)),
            _gone: None,
            _place: None,
        }
    }

    /// Runs this while the stream is read.
    pub(super) fn running(mut self, running: Option<Running>) -> Self {
        self.running = running;
        self
    }

    /// Drops this when nobody reads any more.
    pub(super) fn guarded(mut self, gone: DropGuard) -> Self {
        self._gone = Some(gone);
        self
    }

    /// Holds this place as long as it is read.
    pub(super) fn in_place(mut self, place: OwnedSemaphorePermit) -> Self {
        self._place = Some(place);
        self
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if let Some(running) = &mut self.running
            && running.as_mut().poll(cx).is_ready()
        {
            self.running = None;
        }
        if let Poll::Ready(message) = self.messages.poll_recv(cx) {
            self.quiet.as_mut().reset(Instant::now() + QUIET);
            return Poll::Ready(message.map(event));
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

/// One message as an event.
pub(super) fn event(message: Outbound) -> Bytes {
    let line = message.into_line();
    let mut event = Vec::with_capacity(line.len() + 24);
    event.extend_from_slice(b"event: message\ndata: ");
    event.extend_from_slice(&line);
    event.extend_from_slice(b"\n\n");
    event.into()
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Events(events) => {
                let next = std::task::ready!(events.poll_next(cx));
                Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Routed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Events(_) => false,
            Self::Routed(body) => hyper::body::Body::is_end_stream(body),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) => SizeHint::default(),
            Self::Routed(body) => hyper::body::Body::size_hint(body),
        }
    }
}
