//! Streamable HTTP: one endpoint for both eras, told apart by each request.

use super::Core;
use super::body::Body;
use super::body::Events;
use super::body::Running;
use super::body::event;
use super::guard;
use super::legacy;
use super::listening;
use super::modern;
use super::status;
use super::status::Era;
use super::transports;
use crate::broker::Hearing;
use crate::broker::Right;
use crate::mcp::MODERN;
use crate::mcp::Message;
use crate::mcp::Outbound;
use crate::mcp::Resuming;
use crate::mcp::Work;
use crate::mcp::batch;
use crate::mcp::parse;
use crate::principal::PrincipalId;
use crate::session::Named;
use crate::session::TransportId;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::ACCEPT;
use hyper::header::CONTENT_ENCODING;
use hyper::header::CONTENT_LENGTH;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderName;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

/// How many messages may wait for a client that reads slowly.
pub(super) const QUEUE: usize = 64;

/// How long a client waits for the head of an answer. Whoever waits longer may be
/// cut off by something in between; on a stream, comments show that we are there.
const SILENCE: Duration = Duration::from_secs(5);
/// The same where a stream begins with an id: whoever loses the connection then,
/// finds its answer again.
const UNPRIMED: Duration = Duration::from_millis(500);

pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// What a client accepts that accepts either form of an answer.
const BOTH: &str = "application/json, text/event-stream";

/// What a client is told that does not accept what its answer may be.
const NOT_BOTH: &str = "answers are `application/json` or `text/event-stream`: accept both";
/// What a client is told that opens a stream and does not accept one.
pub(super) const NO_EVENTS: &str = "this is a stream: accept `text/event-stream`";

/// What a client is told whose principal has its share of streams open.
pub(super) const TOO_MANY: &str = "as many streams are open for this caller as may be, half of all connections (`http.max_connections`): end one, or wait";

/// Who asks, and for which session, as far as the transport says it.
pub(super) struct Asked {
    pub(super) principal: PrincipalId,
    /// The id of the key that says so.
    pub(super) credential: Option<Arc<str>>,
    pub(super) session: Option<Named>,
}

impl Asked {
    /// By what right the client reads a stream, of this transport session where it has
    /// one.
    pub(super) fn right(&self, transport: Option<TransportId>) -> Right {
        Right {
            principal: self.principal.clone(),
            key: self.credential.clone(),
            transport,
        }
    }
}

/// What a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) json: bool,
    pub(super) events: bool,
}

impl Reads {
    /// From `Accept`; without it, everything. Of the ranges that fit, the most
    /// exact one decides (RFC 9110 §12.5.1).
    pub(super) fn of(headers: &HeaderMap) -> Self {
        // What every client of these revisions must send, and most do so.
        if guard::one(headers, &ACCEPT).is_ok_and(|value| value.is_some_and(|it| it == BOTH)) {
            return Self {
                json: true,
                events: true,
            };
        }
        // How exact the range was that decided, and what it said.
        let (mut json, mut events) = ((0, false), (0, false));
        let mut absent = true;
        for value in headers.get_all(ACCEPT) {
            absent = false;
            for range in value.to_str().unwrap_or_default().split(',') {
                let (range, parameters) = range.split_once(';').unwrap_or((range, ""));
                let wanted = !parameters.split(';').any(is_zero);
                let said = |exactness, decided: &mut (u8, bool)| {
                    if exactness > decided.0 {
                        *decided = (exactness, wanted);
                    }
                };
                match range.trim().to_ascii_lowercase().as_str() {
                    "*/*" => {
                        said(1, &mut json);
                        said(1, &mut events);
                    }
                    "application/*" => said(2, &mut json),
                    "text/*" => said(2, &mut events),
                    "application/json" => said(3, &mut json),
                    "text/event-stream" => said(3, &mut events),
                    _ => {}
                }
            }
        }
        Self {
            json: absent || json.1,
            events: absent || events.1,
        }
    }
}

/// Whether a parameter of a media range says that it is not wanted.
fn is_zero(parameter: &str) -> bool {
    let parameter = parameter.split_once('=');
    parameter.is_some_and(|(name, value)| {
        name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0)
    })
}

/// Answers a request to the endpoint.
pub(super) async fn streamable(
    core: Core,
    asked: Asked,
    request: Request<Incoming>,
) -> Response<Body> {
    let says_modern = request
        .headers()
        .get(VERSION)
        .is_some_and(|version| version.as_bytes().trim_ascii() == MODERN.as_bytes());
    match (request.method(), says_modern) {
        (&Method::POST, _) => {}
        (&Method::GET | &Method::DELETE, true) => return status::not_allowed("POST"),
        (&Method::GET, false) => return listening::stream(&core, asked, &request).await,
        (&Method::DELETE, false) => return legacy::delete(&core, asked, &request).await,
        _ => return status::not_allowed("GET, POST, DELETE"),
    }
    // Every revision has the client accept both. One that reads no stream would
    // never hear what it is asked in the middle of a call.
    let reads = Reads::of(request.headers());
    if !reads.json || !reads.events {
        return status::not_acceptable(NOT_BOTH);
    }
    let (head, body) = match read(&core, request).await {
        Ok(read) => read,
        Err(refused) => return *refused,
    };
    match batch(&body) {
        Ok(None) => {}
        Ok(Some(messages)) => return legacy::batched(core, asked, &head, messages).await,
        Err(refused) => return status::message(Era::Legacy, refused.answer()),
    }
    let message = parse(&body).and_then(|message| message.in_session(asked.session.as_ref()));
    // It shares the buffer of its connection, which is read into again meanwhile.
    drop(body);
    let modern = match &message {
        Ok(Message::Request(request)) => request.meta.modern || says_modern,
        Ok(Message::Notification(_) | Message::Response(_)) => says_modern,
        // Which era a message would be of that cannot be read is told by the
        // header, or by the session that a legacy client names.
        Err(_) => says_modern || !head.contains_key(transports::SESSION),
    };
    match modern {
        true => modern::answer(&core, asked, head, message).await,
        false => legacy::answer(&core, asked, head, message).await,
    }
}

/// The head and the whole body of a request that carries a message.
pub(super) async fn read(
    core: &Core,
    request: Request<Incoming>,
) -> Result<(HeaderMap, Bytes), Box<Response<Body>>> {
    if !is_json(request.headers()) {
        return Err(Box::new(status::unsupported_media()));
    }
    whole(core, request).await
}

/// The whole body, whatever it is.
pub(super) async fn whole(
    core: &Core,
    request: Request<Incoming>,
) -> Result<(HeaderMap, Bytes), Box<Response<Body>>> {
    let settings = &core.edge.settings;
    let (head, body) = request.into_parts();
    let limit = settings.max_body;
    let too_large = || Box::new(status::too_large(limit));
    let told = head.headers.get(CONTENT_LENGTH);
    let told = told.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|told| told > limit as u64) {
        return Err(too_large());
    }
    let whole = Limited::new(body, limit).collect();
    match timeout(settings.body_timeout, whole).await {
        Ok(Ok(whole)) => Ok((head.headers, whole.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Box::new(status::bad(
            "the body of the request is not framed as its headers say",
        ))),
        Err(_slow) => Err(Box::new(status::too_slow())),
    }
}

/// Whether a body is JSON in UTF-8, as it stands (RFC 9110 §8.3 and §8.4).
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let media = headers.get(CONTENT_TYPE).and_then(|m| m.to_str().ok());
    if plain && media == Some("application/json") {
        return true;
    }
    let mut parts = media.unwrap_or_default().split(';');
    let json = parts
        .next()
        .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"));
    let utf8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            let value = value.trim().trim_matches('"');
            value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("us-ascii")
        }
        _ => true,
    };
    plain && json && parts.all(utf8)
}

/// Work whose answer is waited for.
pub(super) struct Waiting {
    /// What makes the messages, where nobody else runs it.
    running: Option<Running>,
    pub(super) messages: mpsc::Receiver<Outbound>,
    silence: Duration,
}

/// How an answer begins.
pub(super) enum Begun {
    /// Not at all: the request was taken back, and no answer is due.
    Never,
    /// With all of it.
    Whole(Outbound),
    /// With something else, or with nothing for so long that the client must see
    /// that we are there. What there is goes by a stream.
    Stream(Option<Outbound>, Waiting),
}

impl Waiting {
    /// Work that runs only while its answer is waited for.
    pub(super) fn on(work: Work) -> Self {
        let (out, messages) = mpsc::channel(QUEUE);
        Self {
            running: Some(Box::pin(work.run(out))),
            messages,
            silence: SILENCE,
        }
    }

    /// Messages of work that runs by itself.
    pub(super) fn by(messages: mpsc::Receiver<Outbound>) -> Self {
        Self {
            running: None,
            messages,
            silence: SILENCE,
        }
    }

    /// For a client of this kind.
    pub(super) fn resuming(mut self, resuming: Resuming) -> Self {
        if resuming == Resuming::Primed {
            self.silence = UNPRIMED;
        }
        self
    }

    async fn next(&mut self) -> Option<Outbound> {
        poll_fn(|cx| {
            if let Some(running) = &mut self.running
                && running.as_mut().poll(cx).is_ready()
            {
                self.running = None;
            }
            match self.messages.poll_recv(cx) {
                Poll::Ready(next) => Poll::Ready(next),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Waits for the first message.
    pub(super) async fn begins(mut self) -> Begun {
        match timeout(self.silence, self.next()).await {
            Ok(None) => Begun::Never,
            Ok(Some(message @ (Outbound::Answer(..) | Outbound::Refusal { .. }))) => {
                Begun::Whole(message)
            }
            Ok(Some(first @ (Outbound::Notification(_) | Outbound::Request(_)))) => {
                Begun::Stream(Some(first), self)
            }
            Err(_silent) => Begun::Stream(None, self),
        }
    }

    /// The answer as JSON where it comes first and soon, else as a stream that
    /// lives as long as its connection, and is read as `hears` says. `gone` is dropped
    /// when the client stops reading.
    pub(super) async fn answer(
        self,
        era: Era,
        gone: Option<DropGuard>,
        hears: impl FnOnce() -> Arc<Hearing>,
    ) -> Response<Body> {
        match self.begins().await {
            Begun::Never => status::accepted(),
            Begun::Whole(message) => status::message(era, message),
            Begun::Stream(first, waiting) => {
                // What answers the request begins no stream, so nobody waits for it.
                let first = first.map(|first| event(None, first).0);
                let events = Events::live(first, waiting.messages).running(waiting.running);
                let events = match gone {
                    Some(gone) => events.guarded(gone),
                    None => events,
                };
                status::stream(events, hears())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(accept: &[&str]) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        let reads = Reads::of(&headers);
        (reads.json, reads.events)
    }

    #[test]
    fn what_a_client_reads_is_what_it_accepts() {
        assert_eq!(reads(&[]), (true, true));
        assert_eq!(reads(&["*/*"]), (true, true));
        assert_eq!(
            reads(&["application/json, text/event-stream"]),
            (true, true)
        );
        assert_eq!(reads(&["Application/JSON;q=0.9"]), (true, false));
        assert_eq!(reads(&["text/html", "text/event-stream"]), (false, true));
        assert_eq!(reads(&["text/html"]), (false, false));
        assert_eq!(reads(&[""]), (false, false));
    }

    #[test]
    fn what_a_client_gives_no_weight_it_does_not_read() {
        assert_eq!(reads(&["*/*;q=0"]), (false, false));
        assert_eq!(
            reads(&["application/json; Q=0.000, text/*;q=0.001"]),
            (false, true)
        );
        // The most exact range decides, wherever it stands.
        assert_eq!(reads(&["*/*, application/json;q=0"]), (false, true));
        assert_eq!(reads(&["text/event-stream;q=0", "text/*"]), (false, false));
        assert_eq!(
            reads(&["application/json;q=0.5, */*;q=0, text/event-stream"]),
            (true, true)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_there_soon_becomes_a_stream() {
        let (out, messages) = mpsc::channel(1);
        let begun = Waiting::by(messages).begins().await;
        let Begun::Stream(None, mut waiting) = begun else {
            panic!("it began with something");
        };
        let answer = Outbound::Answer("{}".into(), Default::default());
        out.send(answer.clone()).await.unwrap();
        assert_eq!(waiting.next().await, Some(answer.clone()));
        let (out, messages) = mpsc::channel(1);
        out.send(answer.clone()).await.unwrap();
        let begun = Waiting::by(messages).begins().await;
        assert!(matches!(begun, Begun::Whole(whole) if whole == answer));
    }
}
