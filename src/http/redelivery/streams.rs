//! The streams of one transport session, and what is kept of them. Plain data
//! under somebody's lock: nothing waits here, and who waits is woken.

use crate::broker::Receipt;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Weak;
use std::task::Waker;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many events a transport session keeps.
pub(super) const EVENTS: usize = 1_000;
/// How many bytes of events it keeps.
pub(super) const BYTES: usize = 4 << 20;
/// How long it keeps an event, and a stream of what nobody asked for that nobody
/// reads.
pub(super) const KEPT: Duration = Duration::from_secs(300);

/// Held by the one reader of a stream.
pub(super) type Place = Arc<()>;

#[derive(Default)]
pub(super) struct Streams {
    kept: BTreeMap<u64, Stream>,
    opened: u64,
    /// The stream of what nobody asked for.
    pub(super) standing: Option<u64>,
    events: usize,
    bytes: usize,
}

/// What one of them said.
#[derive(Default)]
pub(super) struct Stream {
    /// What is kept of it. The last one has the number before `next`.
    events: VecDeque<Event>,
    pub(super) next: u64,
    /// The number of the first event that its reader was not handed.
    pub(super) unread: u64,
    pub(super) ended: bool,
    reader: Weak<()>,
    waits: Option<Waker>,
    forgotten: CancellationToken,
}

struct Event {
    said: Instant,
    bytes: Bytes,
    receipt: Receipt,
}

/// What there is for a reader.
pub(super) enum Next {
    Event(Bytes, Receipt),
    /// Nothing yet: the reader is woken.
    Later,
    /// Nothing ever.
    End,
}

impl Streams {
    /// Opens a stream, with its number and the place of its reader.
    pub(super) fn open(&mut self) -> (u64, Place) {
        let place = Place::default();
        let number = self.opened;
        self.opened += 1;
        let stream = Stream {
            reader: Arc::downgrade(&place),
            ..Stream::default()
        };
        self.kept.insert(number, stream);
        (number, place)
    }

    pub(super) fn of(&mut self, number: u64) -> Option<&mut Stream> {
        self.kept.get_mut(&number)
    }

    /// Whether there is one that ended.
    pub(super) fn has_ended_ones(&self) -> bool {
        self.kept.values().any(|stream| stream.ended)
    }

    /// Adds what a stream says next. Where nobody is connected to it, nobody reads that
    /// for now: a client that ended does not come back.
    pub(super) fn add(&mut self, number: u64, said: (Bytes, Receipt), now: Instant) {
        let Some(stream) = self.kept.get_mut(&number) else {
            return;
        };
        let (bytes, receipt) = said;
        let receipt = match stream.is_read() {
            true => receipt,
            false => receipt.later(),
        };
        self.events += 1;
        self.bytes += bytes.len();
        stream.events.push_back(Event {
            said: now,
            bytes,
            receipt,
        });
        stream.next += 1;
        stream.wake();
        self.trim(now);
    }

    /// Drops what is too old, and then the oldest streams' first events, until
    /// the rest is within the bounds. What a connected reader has still to read
    /// stays: that is the rest of one stream for each connection.
    pub(super) fn trim(&mut self, now: Instant) {
        for stream in self.kept.values_mut() {
            while let Some(event) = stream.spare() {
                let over = self.events > EVENTS || self.bytes > BYTES;
                if !over && now.duration_since(event.said) < KEPT {
                    break;
                }
                self.events -= 1;
                self.bytes -= event.bytes.len();
                stream.events.pop_front();
            }
        }
        self.kept
            .retain(|_, stream| stream.is_read() || !stream.ended || !stream.events.is_empty());
    }

    /// Drops a stream with all that it said.
    pub(super) fn forget(&mut self, number: u64) {
        let Some(mut stream) = self.kept.remove(&number) else {
            return;
        };
        self.events -= stream.events.len();
        for event in &stream.events {
            self.bytes -= event.bytes.len();
        }
        stream.forgotten.cancel();
        stream.wake();
    }
}

impl Stream {
    /// Whether all that it said from this event on is kept.
    pub(super) fn has_all_from(&self, event: u64) -> bool {
        (self.first()..=self.next).contains(&event)
    }

    /// Cancelled when the stream is dropped with all that it said.
    pub(super) fn forgotten(&self) -> CancellationToken {
        self.forgotten.clone()
    }

    pub(super) fn is_read(&self) -> bool {
        self.reader.strong_count() > 0
    }

    /// Gives the reader's place to another one, who gets the events from this
    /// number on.
    pub(super) fn hand_over(&mut self, from: u64) -> Place {
        let place = Place::default();
        self.reader = Arc::downgrade(&place);
        self.unread = from;
        self.wake();
        place
    }

    /// The reader at this place goes. What it was not handed is unread, until another
    /// comes for it.
    pub(super) fn leave(&mut self, place: &Place) {
        if !std::ptr::eq(self.reader.as_ptr(), Arc::as_ptr(place)) {
            return;
        }
        self.reader = Weak::new();
        for event in &mut self.events {
            event.receipt = event.receipt.later();
        }
    }

    /// The next event for the reader at this place.
    pub(super) fn next(&mut self, place: &Place, waker: &Waker) -> Next {
        if !std::ptr::eq(self.reader.as_ptr(), Arc::as_ptr(place)) {
            return Next::End;
        }
        let ahead = usize::try_from(self.unread - self.first());
        if let Some(event) = ahead.ok().and_then(|ahead| self.events.get_mut(ahead)) {
            self.unread += 1;
            // Whoever is cut off in the middle of it may come for it again.
            let later = event.receipt.later();
            let receipt = std::mem::replace(&mut event.receipt, later);
            return Next::Event(event.bytes.clone(), receipt);
        }
        if self.ended {
            return Next::End;
        }
        self.waits = Some(waker.clone());
        Next::Later
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.waits.take() {
            reader.wake();
        }
    }

    /// The number of the first event that is kept.
    fn first(&self) -> u64 {
        self.next - self.events.len() as u64
    }

    /// The first event that is kept, where no connected reader waits for it.
    fn spare(&self) -> Option<&Event> {
        let first = self.events.front()?;
        (!self.is_read() || self.first() < self.unread).then_some(first)
    }
}
