//! The link to a server over Streamable HTTP, of either era. It holds no
//! connection: each message is a request, and its answer comes with the response.

mod answers;
mod listening;
mod open;
mod transport;

use super::Company;
use super::Remote;
use super::exchange::Exchange;
use super::exchange::Exchanges;
use super::exchange::Redirects;
use crate::crash;
use crate::downstream::CallLine;
use crate::downstream::ConnectionId;
use crate::downstream::Era;
use crate::downstream::OutgoingCall;
use crate::downstream::Sent;
use crate::downstream::asks;
use crate::downstream::link::CANCELLED_UNSENT;
use crate::downstream::link::Ended;
use crate::downstream::link::judge;
use crate::downstream::message;
use crate::downstream::message::Answer;
use crate::downstream::pages::Asked;
use crate::downstream::subscriptions::Updates;
use crate::downstream::wire::Awaits;
use crate::downstream::wire::Control;
use crate::downstream::wire::Frame;
use crate::downstream::wire::MODERN;
use crate::json::Object;
use crate::permit::Permit;
use crate::tool::Declared;
use crate::tool::Level;
use crate::tool::ServerName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use serde_json::json as value;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use answers::Failed;
use answers::Waits;
use open::Hears;
use open::Open;

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// What is said of a call that an instance did not take which has to resume first.
const RESUMED_FIRST: &str =
    "the server had lost what it kept for this session; it is told to resume before the next call";
/// Why a link ends on which a call was answered by 404.
const LOST: &str = "the server answered 404, as where it has lost our transport session";
/// How long telling a server that nobody waits any more may take.
const PARTING: Duration = Duration::from_secs(2);
/// How long to wait before a broken stream is taken up again, where the server
/// says nothing else, and how long at most.
const RESUME: Duration = Duration::from_secs(1);
const RESUME_AT_MOST: Duration = Duration::from_secs(30);
/// How often the stream of one answer is taken up again.
const RESUMED: usize = 5;

/// The link.
pub(in crate::downstream) struct HttpLink {
    server: ServerName,
    /// What a legacy server is told that it may ask.
    declared: Declared,
    exchanges: Exchanges,
    fixed: HeaderMap,
    /// Whether another replica can take its calls.
    company: Company,
    next_id: AtomicU64,
    era: OnceLock<Era>,
    /// The transport session of a legacy server.
    session: Mutex<Option<HeaderValue>>,
    reopening: tokio::sync::Mutex<()>,
    /// How often that was lost.
    reopened: AtomicU64,
    /// Another one was opened.
    renewed: Notify,
    /// A new one takes no call before it was told which session to resume.
    is_resumed: bool,
    /// From which level on a legacy server was told to log, to tell it again.
    level: Mutex<Option<Level>>,
    /// The server said that it does not serve for now.
    down: AtomicBool,
    /// The server took no `initialize` by POST: it may have the older pair.
    suggests_pair: AtomicBool,
    why: OnceLock<String>,
    ended: CancellationToken,
    tools_changed: Notify,
    /// What is to be heard of the calls that are open, with a legacy server.
    open: Open,
    updates: OnceLock<Arc<Updates>>,
    /// Cancelled when the transport session is lost.
    session_lost: Mutex<CancellationToken>,
    /// Another one for each transport session.
    connection: Mutex<ConnectionId>,
}

impl HttpLink {
    /// A link to this server. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// Where it cannot be spoken to in safety; in words.
    pub(in crate::downstream) fn new(
        server: ServerName,
        remote: &Remote,
        max_message: usize,
        declared: Declared,
    ) -> Result<Self, String> {
        let ended = CancellationToken::new();
        Ok(Self {
            server,
            declared,
            exchanges: Exchanges::of(remote, max_message)?,
            fixed: remote.headers.clone(),
            company: remote.company,
            next_id: AtomicU64::new(1),
            era: OnceLock::new(),
            session: Mutex::default(),
            reopening: tokio::sync::Mutex::default(),
            reopened: AtomicU64::new(0),
            renewed: Notify::new(),
            is_resumed: false,
            level: Mutex::default(),
            down: AtomicBool::new(false),
            suggests_pair: AtomicBool::new(false),
            why: OnceLock::new(),
            session_lost: Mutex::new(ended.child_token()),
            ended,
            tools_changed: Notify::new(),
            open: Open::default(),
            updates: OnceLock::new(),
            connection: Mutex::new(ConnectionId::next()),
        })
    }

    /// Sends one call and waits for how it ends. The permit is used up by it.
    pub(in crate::downstream) async fn call(
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
        let token = line.progress.is_some().then_some(id);
        let frame = match Frame::permitted(permit, id, call, Awaits::Answer(token), era) {
            Ok(frame) => frame,
            Err(why) => return Sent::NotSent { why },
        };
        let waits = Waits {
            id,
            progress: line.progress.as_ref(),
            logs: line.logs.as_ref(),
            asks: line.asks.as_deref(),
            ear: None,
        };
        let (answer, mut elsewhere) = mpsc::unbounded_channel();
        let hears = Hears {
            asks: line.asks.clone(),
            logs: line.logs.clone(),
            answer,
        };
        let legacy = matches!(era, Era::Legacy(_));
        let _place = legacy.then(|| self.open.enter(id, hears));
        let allowed = deadline.saturating_duration_since(Instant::now());
        let reason = tokio::select! {
            biased;
            sent = self.send_call(frame, &waits, (era, call)) => return sent,
            Some(answer) = elsewhere.recv() => return judge(answer, era, call),
            () = line.cancelled.cancelled() => "the client cancelled the call",
            () = asks::expired(deadline, allowed, line.asks.as_deref()) => "the deadline of the call passed",
        };
        // A modern server takes the end of the connection for it, which has just
        // been dropped (2026-07-28, patterns/cancellation).
        if matches!(era, Era::Legacy(_)) {
            let told = Box::pin(self.notify(Control::Cancelled {
                request: id,
                reason,
            }));
            let _told_or_late = tokio::time::timeout(PARTING, told).await;
        }
        match line.cancelled.is_cancelled() {
            true => Sent::Cancelled,
            false => Sent::TimedOut,
        }
    }

    /// A call is sent once. It is sent again only where the server said that it
    /// does not know our transport session, which it says before anything else
    /// (2025-11-25, transports, session management), and said nothing of the call.
    async fn send_call(
        &self,
        frame: Frame,
        waits: &Waits<'_>,
        (era, call): (&Era, &OutgoingCall),
    ) -> Sent {
        let body = frame.bytes().clone();
        let session = self.session();
        crash::point("send.before-write");
        let headers = || self.with_session(self.headers(&frame));
        let message = || (body.clone(), Redirects::Refused);
        let (exchange, _headers) = self.exchanges.post(headers, message()).await;
        crash::point("send.after-write");
        let lost = match (&exchange, session) {
            (Exchange::Refused { status, said, .. }, Some(session))
                if *status == StatusCode::NOT_FOUND =>
            {
                match said.iter().any(|said| said.to == Some(waits.id)) {
                    false => Some(session),
                    // Whatever became of the call, this is the answer to it. Whether
                    // the transport session is there, the next link finds out.
                    true => {
                        self.end(LOST.to_owned());
                        None
                    }
                }
            }
            _ => None,
        };
        let exchange = match lost {
            None => exchange,
            // In a box, so that what rarely happens takes no room in every call.
            Some(lost) => match Box::pin(self.reopen(&lost)).await {
                Ok(()) if self.is_resumed => return Sent::not_sent(RESUMED_FIRST),
                Ok(()) => Box::pin(self.exchanges.post(headers, message())).await.0,
                Err(why) => return Sent::NotSent { why },
            },
        };
        match self.concluded(exchange, waits).await {
            Ok(answer) => {
                if speaks_of_headers(&answer) {
                    // What it wants repeated is not what it last listed.
                    self.note_change();
                }
                if let (Answer::Error(error), Some(asks)) = (&answer, waits.asks) {
                    self.note_pages(Asked::by_error(asks, error));
                }
                judge(answer, era, call)
            }
            Err(Failed::NotSent(why)) => {
                self.end(why.clone());
                Sent::NotSent { why }
            }
            Err(Failed::Refused { why, .. }) => Sent::NotSent { why },
            Err(Failed::Lost(why)) => Sent::Lost { why },
            Err(Failed::Invalid(why)) => Sent::Invalid { why },
        }
    }

    /// Sends a request that needs no permit, and waits for its answer.
    pub(in crate::downstream) async fn request(
        &self,
        control: Control<'_>,
    ) -> Result<Answer, Ended> {
        let listens = matches!(control, Control::Listen { .. });
        let opens = matches!(control, Control::Initialize { .. });
        if let Control::SetLevel { level } = control {
            *self.level.lock().unwrap_or_else(PoisonError::into_inner) = Some(level);
        }
        let id = self.take_id();
        let frame = Frame::control(id, control);
        let headers = || self.with_session(self.headers(&frame));
        let message = (frame.bytes().clone(), Redirects::Followed);
        let (exchange, answered) = self.exchanges.post(headers, message).await;
        if opens {
            self.set_session(answered.get(SESSION).cloned());
        }
        let waits = Waits::of(id);
        match self.concluded(exchange, &waits).await {
            Ok(answer) => Ok(answer),
            Err(Failed::Refused { status, why }) => {
                let older = [
                    StatusCode::BAD_REQUEST,
                    StatusCode::NOT_FOUND,
                    StatusCode::METHOD_NOT_ALLOWED,
                ];
                if opens && older.contains(&status) {
                    self.suggests_pair.store(true, Ordering::Relaxed);
                }
                let error = value!({"code": -32000, "message": why});
                Ok(Answer::Error(error.to_string().into()))
            }
            Err(Failed::Invalid(why)) => Ok(Answer::Invalid(why)),
            // A subscription ends with its connection and is taken up again.
            Err(Failed::NotSent(_) | Failed::Lost(_)) if listens => Err(Ended),
            Err(Failed::NotSent(why) | Failed::Lost(why)) => {
                self.end(why);
                Err(Ended)
            }
        }
    }

    /// Sends what wants no answer. Whether it arrives is not waited for in vain:
    /// nothing depends on it.
    pub(in crate::downstream) async fn notify(&self, control: Control<'_>) {
        self.post_alone(Frame::control(0, control)).await;
    }

    async fn post_alone(&self, frame: Frame) {
        let headers = || self.with_session(self.headers(&frame));
        let message = (frame.bytes().clone(), Redirects::Followed);
        let (exchange, _headers) = self.exchanges.post(headers, message).await;
        if let Exchange::NotSent(why)
        | Exchange::Lost(why)
        | Exchange::Down(why)
        | Exchange::Refused { why, .. } = exchange
        {
            tracing::debug!(server.name = %self.server, why, "a message to the server was not taken in");
        }
    }

    /// Sets what the rest is written in.
    pub(in crate::downstream) fn settle(&self, era: Era) {
        // The first one stays; a link is opened once.
        let _first = self.era.set(era);
    }

    /// Whether the server may have the older pair of endpoints instead.
    pub(in crate::downstream) fn suggests_pair(&self) -> bool {
        self.suggests_pair.load(Ordering::Relaxed)
    }

    /// Waits for the server to say that its tools changed.
    pub(in crate::downstream) async fn tools_changed(&self) {
        self.tools_changed.notified().await;
    }

    /// Makes [`tools_changed`](Self::tools_changed) return.
    pub(in crate::downstream) fn note_change(&self) {
        self.tools_changed.notify_one();
    }

    /// Waits for the end of the link.
    pub(in crate::downstream) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// True once nothing more can be sent.
    pub(in crate::downstream) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Whether there is a connection to the server, which is made where there is
    /// none. Where it cannot be made, the link ends.
    pub(in crate::downstream) async fn is_reached(&self) -> bool {
        match Box::pin(self.exchanges.reach()).await {
            Ok(()) => true,
            Err(why) => {
                self.end(why);
                false
            }
        }
    }

    /// Whether it ended because the server said that it does not serve for now.
    pub(in crate::downstream) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Why the link ended.
    pub(in crate::downstream) fn why(&self) -> String {
        let why = self.why.get().map(String::as_str);
        why.unwrap_or("the server is not spoken to any more")
            .to_owned()
    }

    /// Ends the link, if it has not ended yet.
    pub(in crate::downstream) fn end(&self, why: String) {
        // The first reason is the one that counts.
        let _first = self.why.set(why);
        self.ended.cancel();
        self.say_gone();
    }

    fn take_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// What goes with every request, by the era of the server.
    fn fixed_headers(&self) -> HeaderMap {
        let mut headers = self.fixed.clone();
        if let Some(Era::Legacy(revision)) = self.era.get()
            && let Ok(revision) = HeaderValue::from_str(revision)
        {
            headers.insert(VERSION, revision);
        }
        headers
    }

    /// The headers of a message. They are made from the message itself, so that
    /// both say the same (2026-07-28, transports/streamable-http, client
    /// behaviour).
    fn headers(&self, frame: &Frame) -> HeaderMap {
        let mut headers = self.fixed_headers();
        let method = frame.method().unwrap_or_default();
        if method == "initialize" {
            headers.remove(VERSION);
            return headers;
        }
        let modern = match self.era.get() {
            Some(Era::Modern(_)) => true,
            Some(Era::Legacy(_)) => false,
            None => method == "server/discover",
        };
        if modern {
            headers.insert(VERSION, HeaderValue::from_static(MODERN));
            headers.insert(METHOD, HeaderValue::from_static(method));
            if let Some(name) = frame.name() {
                headers.insert(NAME, encoded(name));
            }
            for (name, value) in frame.mirrored() {
                if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                    headers.insert(name, encoded(value));
                }
            }
        }
        headers
    }
}

/// `HeaderMismatch` (2026-07-28, transports/streamable-http, client behavior).
fn speaks_of_headers(answer: &Answer) -> bool {
    let Answer::Error(error) = answer else {
        return false;
    };
    let error = Object::parse(error).ok();
    error.and_then(|error| message::error_code(&error)) == Some(-32020)
}

/// A name as a header may carry it: as it is, or in Base64 where a header cannot
/// have it (2026-07-28, transports/streamable-http, value encoding).
fn encoded(name: &str) -> HeaderValue {
    let plain = name.bytes().all(|b| (0x20..=0x7e).contains(&b))
        && name.trim() == name
        && !name.starts_with("=?base64?");
    let text = match plain {
        true => name.to_owned(),
        false => format!("=?base64?{}?=", STANDARD.encode(name)),
    };
    // Both forms have visible characters only.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_header_can_have_is_encoded() {
        for (name, header) in [
            ("get_claim", "get_claim"),
            ("write.file \"x\"", "write.file \"x\""),
            ("é", "=?base64?w6k=?="),
            (" a", "=?base64?IGE=?="),
            ("=?base64?x", "=?base64?PT9iYXNlNjQ/eA==?="),
        ] {
            assert_eq!(encoded(name), header);
        }
    }
}
