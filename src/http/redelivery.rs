//! What the streams of one transport session said, kept for a client that lost a
//! connection (MCP 2025-11-25, transports, resumability and redelivery).
//!
//! Only streams pass through here; an answer that is one JSON body does not. It
//! is all in memory: after a restart no stream is found again, and the journal
//! says how its call ended.

mod id;
mod streams;
#[cfg(test)]
mod tests;

use super::body::Parcel;
use super::body::event;
use super::post::QUEUE;
use crate::broker::Receipt;
use crate::mcp::Outbound;
use crate::mcp::Resuming;
use crate::mcp::Work;
use crate::session::TransportId;
use bytes::Bytes;
use id::EventId;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use streams::KEPT;
use streams::Next;
use streams::Place;
use streams::Stream;
use streams::Streams;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked for what is too old.
const SWEEP: Duration = Duration::from_secs(60);
/// How long a client waits before it comes back, in milliseconds.
const RETRY: u32 = 1_000;

/// The streams of one transport session.
pub(super) struct Redelivery {
    resuming: Resuming,
    /// Tells our ids from those of other sessions, and of this one before we were
    /// restarted.
    mark: TransportId,
    streams: Mutex<Streams>,
    /// Whether somebody sweeps.
    swept: AtomicBool,
}

/// Reads one stream, until it ends or another reader takes its place.
pub(super) struct Reader {
    redelivery: Arc<Redelivery>,
    stream: u64,
    place: Place,
    /// What it says before all else.
    first: Option<Bytes>,
}

/// The stream of what nobody asked for.
pub(super) enum Standing {
    /// It begins.
    New(Reader),
    /// It went on while nobody read it.
    GoesOn(Reader),
}

/// Where an event id leads.
pub(super) enum Found {
    /// To what its stream said after it, and says from now on.
    Stream(Reader),
    /// To the end of its stream.
    End,
    /// To a stream of what nobody asked for that is not kept any more.
    Standing,
    /// Nowhere.
    Nothing,
}

impl Redelivery {
    pub(super) fn new(resuming: Resuming) -> Arc<Self> {
        Arc::new(Self {
            resuming,
            mark: TransportId::random(),
            streams: Mutex::default(),
            swept: AtomicBool::new(false),
        })
    }

    /// How the client finds a stream again.
    pub(super) fn resuming(&self) -> Resuming {
        self.resuming
    }

    /// Whether the client's revision has event ids.
    pub(super) fn has_ids(&self) -> bool {
        self.resuming != Resuming::Never
    }

    /// Opens a stream that answers a request.
    pub(super) fn open(self: &Arc<Self>) -> Reader {
        let opened = self.streams().open();
        self.read(opened)
    }

    /// The one stream of what nobody asked for. None where it is being read.
    pub(super) fn stand(self: &Arc<Self>) -> Option<Standing> {
        let mut streams = self.streams();
        if let Some(number) = streams.standing
            && let Some(former) = streams.of(number)
        {
            if former.is_read() {
                return None;
            }
            let unread = former.unread;
            if !former.ended && former.has_all_from(unread) {
                let place = former.hand_over(unread);
                let mut reader = self.reader((number, place));
                // Whoever comes without an id has read nothing of it, and gets
                // what nobody was handed; from there on it has an id again.
                let read = unread.checked_sub(1);
                reader.first = read.and_then(|read| self.primes(&streams, (number, read)));
                return Some(Standing::GoesOn(reader));
            }
            // INVARIANT: a message goes to one stream only. Whoever asks for a
            // new one gives up what the former would have said.
            streams.forget(number);
        }
        let opened = streams.open();
        streams.standing = Some(opened.0);
        drop(streams);
        Some(Standing::New(self.read(opened)))
    }

    /// The reader of a new stream.
    fn read(self: &Arc<Self>, opened: (u64, Place)) -> Reader {
        let mut streams = self.streams();
        if let Some(primes) = self.primes(&streams, (opened.0, 0)) {
            streams.add(opened.0, (primes, Receipt::default()), Instant::now());
        }
        drop(streams);
        self.reader(opened)
    }

    fn reader(self: &Arc<Self>, (stream, place): (u64, Place)) -> Reader {
        Reader {
            redelivery: Arc::clone(self),
            stream,
            place,
            first: None,
        }
    }

    /// An event that says nothing but that the client has read so far.
    ///
    /// Before the revision that has it, clients take an event without a message
    /// for a broken one: the TypeScript SDK parses its empty data as JSON.
    fn primes(&self, streams: &Streams, event: (u64, u64)) -> Option<Bytes> {
        let id = self.id(streams, event);
        let text = || format!("id: {id}\nretry: {RETRY}\ndata: \n\n").into();
        (self.resuming == Resuming::Primed).then(text)
    }

    /// Finds the stream of an event again. Its former reader gets no more of it.
    pub(super) fn find(self: &Arc<Self>, id: &[u8]) -> Found {
        let Some(id) = EventId::read(id) else {
            return Found::Nothing;
        };
        let lost = match id.standing {
            true => Found::Standing,
            false => Found::Nothing,
        };
        let after = id.event.saturating_add(1);
        let mut streams = self.streams();
        streams.trim(Instant::now());
        let known =
            id.mark == self.mark.as_str() && id.standing == (streams.standing == Some(id.stream));
        match streams.of(id.stream) {
            Some(stream) if known && stream.has_all_from(after) => {
                if stream.ended && stream.next == after {
                    return Found::End;
                }
                Found::Stream(self.reader((id.stream, stream.hand_over(after))))
            }
            Some(_) | None => lost,
        }
    }

    /// Has a stream say what comes by `messages`, to its end. Also where nobody
    /// reads it: the loss of a connection is no cancellation.
    pub(super) async fn fill(
        self: Arc<Self>,
        stream: u64,
        mut messages: mpsc::Receiver<Outbound>,
        closing: CancellationToken,
    ) {
        while let Some(message) = messages.recv().await {
            self.say(stream, message);
        }
        self.end(stream);
        if !self.swept.swap(true, Ordering::AcqRel) {
            tokio::select! {
                () = closing.cancelled() => {}
                () = self.sweep() => {}
            }
        }
    }

    /// Has a stream say what follows from `work`, until that ends, or nobody has
    /// read it for long.
    pub(super) async fn follow(self: Arc<Self>, stream: u64, work: Work) {
        let (out, messages) = mpsc::channel(QUEUE);
        self.follow_from(stream, (work.run(out), messages)).await;
    }

    async fn follow_from(
        self: Arc<Self>,
        stream: u64,
        (running, mut messages): (impl Future<Output = ()>, mpsc::Receiver<Outbound>),
    ) {
        let Some(forgotten) = self.streams().of(stream).map(|stream| stream.forgotten()) else {
            return;
        };
        let mut running = std::pin::pin!(running);
        let mut looks = tokio::time::interval(SWEEP);
        let mut left = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                // At once: it would take what the stream in its place is to say.
                () = forgotten.cancelled() => return,
                Some(message) = messages.recv() => self.say(stream, message),
                () = &mut running => break,
                _at = looks.tick() => {
                    left = match self.streams().of(stream).map(|stream| stream.is_read()) {
                        Some(false) => left + SWEEP,
                        Some(true) | None => Duration::ZERO,
                    };
                    if left > KEPT {
                        self.streams().forget(stream);
                        return;
                    }
                }
            }
        }
        self.end(stream);
    }

    /// Forgets what is too old, until nothing is left that ended.
    async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let mut streams = self.streams();
            streams.trim(Instant::now());
            if !streams.has_ended_ones() {
                self.swept.store(false, Ordering::Release);
                return;
            }
        }
    }

    /// Says something on a stream.
    pub(super) fn say(&self, number: u64, message: Outbound) {
        let mut streams = self.streams();
        let Some(stream) = streams.of(number) else {
            return;
        };
        // Such messages are dropped where a queue is full, and the queue is
        // emptied here. They never had an id, so this leaves no gap.
        let behind = stream.next - stream.unread;
        if matches!(message, Outbound::Notification(_)) && behind > QUEUE as u64 {
            return;
        }
        let next = stream.next;
        let id = self
            .has_ids()
            .then(|| self.id(&streams, (number, next)).to_string());
        streams.add(number, event(id.as_deref(), message), Instant::now());
    }

    fn end(&self, number: u64) {
        if let Some(stream) = self.streams().of(number) {
            stream.end();
        }
    }

    fn id(&self, streams: &Streams, (stream, event): (u64, u64)) -> EventId<'_> {
        EventId {
            mark: self.mark.as_str(),
            standing: streams.standing == Some(stream),
            stream,
            event,
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        // Nothing waits under the lock.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut streams = self.redelivery.streams();
        if let Some(stream) = streams.of(self.stream) {
            stream.leave(&self.place);
        }
    }
}

impl Reader {
    /// Which stream it reads.
    pub(super) fn stream(&self) -> u64 {
        self.stream
    }

    /// Whether it is the stream of what nobody asked for.
    pub(super) fn is_standing(&self) -> bool {
        self.redelivery.streams().standing == Some(self.stream)
    }

    /// The next event, and none from when the right to it is `over`: what is said then
    /// stays for whoever comes for it by right.
    pub(super) fn poll_next(
        &mut self,
        cx: &Context<'_>,
        over: Option<&CancellationToken>,
    ) -> Poll<Option<Parcel>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Parcel::new(first, Receipt::default())));
        }
        let mut streams = self.redelivery.streams();
        // INVARIANT: asked under the lock under which it was said, because who said it saw
        // before whether it may be heard.
        if over.is_some_and(CancellationToken::is_cancelled) {
            return Poll::Ready(None);
        }
        let next = streams.of(self.stream);
        match next.map(|stream: &mut Stream| stream.next(&self.place, cx.waker())) {
            Some(Next::Event(event, receipt)) => Poll::Ready(Some(Parcel::new(event, receipt))),
            Some(Next::Later) => Poll::Pending,
            Some(Next::End) | None => Poll::Ready(None),
        }
    }
}
