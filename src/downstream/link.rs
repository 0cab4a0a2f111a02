//! A connection to one running server, over any pair of streams.
//!
//! A link ends once and is never repaired: who waits on it is told what became
//! of the request, and the supervisor makes another link.

mod listening;
mod ticket;

use super::CallLine;
use super::ConnectionId;
use super::Era;
use super::OutgoingCall;
use super::Sent;
use super::asks;
use super::asks::Asks;
use super::lines::Line;
use super::lines::Lines;
use super::message;
use super::message::Answer;
use super::message::Message;
use super::message::Unreadable;
use super::pages::Asked;
use super::subscriptions::Ear;
use super::subscriptions::Updates;
use super::wire;
use super::wire::Awaits;
use super::wire::Control;
use super::wire::Frame;
use super::wire::Slot;
use crate::crash;
use crate::json::Object;
use crate::permit::Permit;
use crate::tool::Inquiry;
use crate::tool::ServerName;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use ticket::GivenUp;
use ticket::Ticket;
pub(super) use ticket::judge;

pub(super) const CANCELLED_UNSENT: &str = "the call was cancelled before it was sent";
pub(super) const EXPIRED_UNSENT: &str = "the deadline passed before the call could be sent";

/// Answers to a server's own requests that may wait to be written. A server
/// that asks and does not read gets no more of our memory than this.
const WAITING_REPLIES: usize = 256;
/// Once a server takes no more input, how long its last output is read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One connection.
pub(super) struct Link {
    server: ServerName,
    max_line: usize,
    pending: Mutex<HashMap<u64, Entry>>,
    outbox: Mutex<Option<mpsc::UnboundedSender<Arc<Slot>>>>,
    next_id: AtomicU64,
    replies: Arc<Semaphore>,
    era: OnceLock<Era>,
    why: OnceLock<String>,
    ended: CancellationToken,
    tools_changed: Notify,
    updates: OnceLock<Arc<Updates>>,
    connection: ConnectionId,
}

struct Entry {
    kind: Kind,
    slot: Arc<Slot>,
    answer: oneshot::Sender<Answer>,
    hears: Hears,
}

/// What is to be heard of a call while it runs.
#[derive(Default)]
struct Hears {
    progress: Option<mpsc::Sender<Box<str>>>,
    logs: Option<mpsc::Sender<Box<str>>>,
    asks: Option<Arc<Asks>>,
    ear: Option<Arc<Ear>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Call,
    /// One of the first requests of a link, which some servers answer without its id.
    Opening,
    Control,
    /// Answered only when the server ends it.
    Listen,
    /// The same, in somebody's name.
    Subscription,
}

/// The link ended; [`Link::why`] has the words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended;

impl Link {
    /// Begins to read and write. The tasks are the caller's: when they are
    /// dropped, so are the streams.
    pub(super) fn open<R, W>(
        server: ServerName,
        max_line: usize,
        from: R,
        to: W,
    ) -> (Arc<Self>, JoinSet<()>)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (outbox, queue) = mpsc::unbounded_channel();
        let link = Arc::new(Self {
            server,
            max_line,
            pending: Mutex::default(),
            outbox: Mutex::new(Some(outbox)),
            next_id: AtomicU64::new(1),
            replies: Arc::new(Semaphore::new(WAITING_REPLIES)),
            era: OnceLock::new(),
            why: OnceLock::new(),
            ended: CancellationToken::new(),
            tools_changed: Notify::new(),
            updates: OnceLock::new(),
            connection: ConnectionId::next(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&link).read(Lines::new(from, max_line)));
        tasks.spawn(Arc::clone(&link).write(to, queue));
        (link, tasks)
    }

    /// Sends one call and waits for how it ends. The permit is used up by it.
    pub(super) async fn call(
        &self,
        permit: Permit,
        call: &OutgoingCall,
        line: CallLine,
        deadline: Instant,
    ) -> Sent {
        let Some(era) = self.era.get() else {
            return Sent::not_sent("the server is not ready");
        };
        if line.cancelled.is_cancelled() || line.gone.is_cancelled() {
            return Sent::not_sent(CANCELLED_UNSENT);
        }
        let id = self.take_id();
        // Unique like the id, so that one number serves as both.
        let token = line.progress.is_some().then_some(id);
        let frame = match Frame::permitted(permit, id, call, Awaits::Answer(token), era) {
            Ok(frame) => frame,
            Err(why) => return Sent::NotSent { why },
        };
        let allowed = deadline.saturating_duration_since(Instant::now());
        let hears = Hears {
            progress: line.progress,
            logs: line.logs,
            asks: line.asks.clone(),
            ear: None,
        };
        let Ok(mut ticket) = self.enlist(id, Kind::Call, frame, hears) else {
            return Sent::NotSent { why: self.why() };
        };
        tokio::select! {
            biased;
            answer = &mut ticket.answer => match answer {
                Ok(answer) => judge(answer, era, call),
                Err(_) => ticket.unanswered(),
            },
            () = line.cancelled.cancelled() => ticket.give_up(GivenUp::Cancelled, (era, call)),
            () = asks::expired(deadline, allowed, line.asks.as_deref()) => {
                ticket.give_up(GivenUp::TimedOut, (era, call))
            }
        }
    }

    /// Sends a request that needs no permit, and waits for its answer.
    pub(super) async fn request(&self, control: Control<'_>) -> Result<Answer, Ended> {
        let kind = match control {
            Control::Discover | Control::Initialize { .. } => Kind::Opening,
            Control::Listen { .. } => Kind::Listen,
            _ => Kind::Control,
        };
        let id = self.take_id();
        let mut ticket = self.enlist(id, kind, Frame::control(id, control), Hears::default())?;
        (&mut ticket.answer).await.map_err(|_| Ended)
    }

    /// Sends what wants no answer. Nothing happens on a link that has ended.
    pub(super) fn notify(&self, control: Control<'_>) {
        self.post(Slot::new(Frame::control(0, control), None));
    }

    /// Sets what the rest of the connection is written in. Calls are sent only
    /// after it.
    pub(super) fn settle(&self, era: Era) {
        // The first one stays; a link is opened once.
        let _ = self.era.set(era);
    }

    /// Waits for the server to say that its tools changed, or returns at once
    /// if it has since the last time.
    pub(super) async fn tools_changed(&self) {
        self.tools_changed.notified().await;
    }

    /// Makes [`tools_changed`](Self::tools_changed) return.
    pub(super) fn note_change(&self) {
        self.tools_changed.notify_one();
    }

    /// Waits for the end of the link.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// True once nothing more can be sent or read.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled() || self.outbox().is_none()
    }

    /// Why the link ended.
    pub(super) fn why(&self) -> String {
        let why = self.why.get().map(String::as_str);
        why.unwrap_or("the connection to the server is closed")
            .to_owned()
    }

    /// Closes the server's input once everything waiting was written. Its
    /// output is still read.
    pub(super) fn close_input(&self) {
        self.outbox().take();
    }

    /// Ends the link, if it has not ended yet.
    pub(super) fn end(&self, why: String) {
        // The first reason is the one that counts.
        let _ = self.why.set(why);
        self.close_input();
        let waiting = std::mem::take(&mut *self.pending());
        // Each waiting request learns of it by the loss of its sender.
        drop(waiting);
        self.ended.cancel();
        self.say_gone();
    }

    fn take_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outbox(&self) -> MutexGuard<'_, Option<mpsc::UnboundedSender<Arc<Slot>>>> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enlist(&self, id: u64, kind: Kind, frame: Frame, hears: Hears) -> Result<Ticket<'_>, Ended> {
        let slot = Arc::new(Slot::new(frame, None));
        let (sender, answer) = oneshot::channel();
        let entry = Entry {
            kind,
            slot: Arc::clone(&slot),
            answer: sender,
            hears,
        };
        // INVARIANT: first the entry, then the frame. The other way round a
        // quick answer, or the end of the link, could miss the entry.
        self.pending().insert(id, entry);
        let ticket = Ticket {
            link: self,
            id,
            kind,
            slot,
            answer,
        };
        match self.post_slot(Arc::clone(&ticket.slot)) {
            true => Ok(ticket),
            false => Err(Ended),
        }
    }

    fn post(&self, slot: Slot) {
        self.post_slot(Arc::new(slot));
    }

    fn post_slot(&self, slot: Arc<Slot>) -> bool {
        let outbox = self.outbox();
        outbox
            .as_ref()
            .is_some_and(|queue| queue.send(slot).is_ok())
    }

    async fn write<W: AsyncWrite + Unpin>(
        self: Arc<Self>,
        to: W,
        queue: mpsc::UnboundedReceiver<Arc<Slot>>,
    ) {
        let written = tokio::select! {
            () = self.ended.cancelled() => return,
            written = wire::write_frames(to, queue) => written,
        };
        let Err(error) = written else {
            return;
        };
        self.close_input();
        self.pending().retain(|_, entry| entry.slot.has_started());
        // It may have answered before it closed its input: read that first.
        let last_words = tokio::time::timeout(LAST_WORDS, self.ended.cancelled()).await;
        if last_words.is_err() {
            self.end(format!("the server closed its input: {error}"));
        }
    }

    async fn read<R: AsyncRead + Unpin>(self: Arc<Self>, mut lines: Lines<R>) {
        let why = loop {
            crash::point("answer.before-read");
            match lines.next().await {
                Ok(Some(Line::Whole(line))) => {
                    crash::point("answer.after-read");
                    if !line.trim_ascii().is_empty() {
                        message::read(&line).into_iter().for_each(|m| self.take(m));
                    }
                }
                Ok(Some(Line::Cut(_))) => {
                    tracing::warn!(server.name = %self.server, max_line = self.max_line, "passed over a line of the server that is too long");
                    if self.somebody_waits() {
                        // It may have been the answer, and nobody can tell to
                        // which request.
                        break format!(
                            "the server wrote a line of more than {} bytes",
                            self.max_line
                        );
                    }
                }
                Ok(None) => break "the server closed its output".to_owned(),
                Err(error) => break format!("the server's output cannot be read: {error}"),
            }
        };
        self.end(why);
    }

    fn somebody_waits(&self) -> bool {
        let pending = self.pending();
        let waits = |kind| !matches!(kind, Kind::Listen | Kind::Subscription);
        pending.values().any(|entry| waits(entry.kind))
    }

    fn take(self: &Arc<Self>, message: Result<Message, Unreadable>) {
        match message {
            Ok(Message::Answer { id, answer }) => self.take_answer(id, answer),
            Ok(Message::NamelessError(error)) => self.take_nameless(error),
            Ok(Message::Request { id, method, params }) => {
                self.take_request(id, &method, params);
            }
            Ok(Message::Notification { method, params }) => {
                self.take_notification(&method, params);
            }
            Err(reason) => {
                tracing::warn!(server.name = %self.server, reason = reason.as_str(), "dropped a line that is no message");
            }
        }
    }

    fn take_answer(&self, id: u64, answer: Answer) {
        let mut pending = self.pending();
        // A server may guess an id whose request was not written yet. Taken as
        // an answer it would close a call that is still to be sent.
        let asked = pending
            .get(&id)
            .is_some_and(|entry| entry.slot.has_started());
        let entry = if asked { pending.remove(&id) } else { None };
        drop(pending);
        if let (Answer::Error(error), Some(Some(asks))) =
            (&answer, entry.as_ref().map(|entry| &entry.hears.asks))
        {
            self.note_pages(Asked::by_error(asks, error));
        }
        match entry {
            // An error says that the waiting side just went away.
            Some(entry) => drop(entry.answer.send(answer)),
            None => {
                tracing::debug!(server.name = %self.server, request = id, "dropped an answer that nobody waits for");
            }
        }
    }

    fn take_nameless(&self, error: Box<str>) {
        let pending = self.pending();
        let opening = pending.iter().filter(|(_, e)| e.kind == Kind::Opening);
        // Servers read in order.
        let opening = opening.map(|(id, _)| *id).min();
        drop(pending);
        match opening {
            Some(id) => self.take_answer(id, Answer::Error(error)),
            None => {
                tracing::debug!(server.name = %self.server, "dropped an error that names no request");
            }
        }
    }

    fn take_request(self: &Arc<Self>, id: Box<str>, method: &str, params: Option<Box<str>>) {
        if matches!(self.era.get(), Some(Era::Modern(_))) {
            // 2026-07-28, transports/stdio: servers must not send requests, and
            // clients must not send responses.
            tracing::warn!(server.name = %self.server, "ignored a request of a server whose protocol has none");
            return;
        }
        let Ok(room) = Arc::clone(&self.replies).try_acquire_owned() else {
            tracing::debug!(server.name = %self.server, "ignored a request: too many answers wait to be read");
            return;
        };
        if let Some(inquiry) = Inquiry::of(method)
            && let Some(asks) = self.only(|hears| hears.asks.clone())
        {
            self.note_pages(Asked::by_question(&asks, (inquiry, params.as_deref())));
            let link = Arc::clone(self);
            // Ends with the answer, with the call, or with the client's patience.
            tokio::spawn(async move {
                let reply = asks.ask(inquiry, params).await;
                let reply = match &reply {
                    Some(reply) => Control::Replied { id: &id, reply },
                    None => Control::Refused { id: &id },
                };
                link.post(Slot::new(Frame::control(0, reply), Some(room)));
            });
            return;
        }
        let reply = match method {
            "ping" => Control::Pong { id: &id },
            _ => Control::Refused { id: &id },
        };
        self.post(Slot::new(Frame::control(0, reply), Some(room)));
    }

    /// What the only call in flight has to hear with. Where there are several
    /// nobody can tell of which of them a server speaks.
    fn only<T>(&self, of: impl Fn(&Hears) -> Option<T>) -> Option<T> {
        let pending = self.pending();
        let mut calls = pending.values().filter(|entry| entry.kind == Kind::Call);
        match (calls.next(), calls.next()) {
            (Some(only), None) => of(&only.hears),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    fn take_notification(&self, method: &str, params: Option<Box<str>>) {
        match (method, params) {
            ("notifications/progress", Some(params)) => self.take_progress(params),
            ("notifications/message", Some(params)) => {
                if let Some(logs) = self.only(|hears| hears.logs.clone()) {
                    // An error says that the client listens no longer.
                    let _unheard = logs.try_send(params);
                }
            }
            (method, _) if message::is_change(method) => self.note_change(),
            (method, Some(params)) if Ear::hears(method) => self.take_update(method, &params),
            (method, Some(params)) if Updates::hears(method) => self.take_unasked(method, &params),
            _ => {
                tracing::debug!(server.name = %self.server, "dropped a notification that nobody asked for");
            }
        }
    }

    fn take_progress(&self, params: Box<str>) {
        let token = Object::parse(&params)
            .ok()
            .and_then(|params| params.get("progressToken").and_then(message::whole_number));
        let pending = self.pending();
        let listener = token
            .and_then(|token| pending.get(&token))
            .and_then(|entry| entry.hears.progress.as_ref());
        if let Some(listener) = listener {
            // An error says that the client listens no longer; its call goes on.
            let _unheard = listener.try_send(params);
        }
    }
}
