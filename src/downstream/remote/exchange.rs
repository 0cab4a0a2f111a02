//! One message by one request: what is sent with it, and what may be said of how
//! it went.

use super::Remote;
use super::events::Broken;
use super::events::Events;
use super::pool::Answered;
use super::pool::NoResponse;
use super::pool::Pool;
use crate::downstream::message::Answer;
use crate::downstream::message::Message;
use crate::downstream::message::Unreadable;
use crate::downstream::message::read;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::Collected;
use http_body_util::Full;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::Uri;
use hyper::header::ACCEPT;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderValue;
use hyper::header::LOCATION;
use std::sync::OnceLock;
use url::Url;

/// What is answered by, or for, a server that does not serve at the moment.
const AWAY: [StatusCode; 3] = [
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// How often a request is sent on within its server.
const MAX_REDIRECTS: usize = 3;

/// How an exchange went.
pub(super) enum Exchange {
    /// The server answers with one message, or several.
    Messages(Vec<Result<Message, Unreadable>>),
    /// The server answers with a stream.
    Stream(Events<Answered>),
    /// Taken in; no answer comes.
    Accepted,
    /// Provably not one byte of it reached the server; in words.
    NotSent(String),
    /// The server, or what stands before it, did not take the message in.
    Refused {
        /// With which status.
        status: StatusCode,
        /// What it says, where it says it as JSON-RPC.
        said: Vec<Said>,
        /// In words, what to do.
        why: String,
    },
    /// It may have been taken in, and there will be no answer; in words.
    Lost(String),
    /// The same, where the server says that it does not serve at the moment.
    Down(String),
    /// Answered, but with nothing that can be read; in words.
    Invalid(String),
}

/// An answer that comes with a status which is none of success.
pub(super) struct Said {
    /// To which request, where it says that.
    pub(super) to: Option<u64>,
    pub(super) answer: Answer,
}

/// What is done where a server sends a message on to another path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirects {
    /// It is sent there, and so is what comes later.
    Followed,
    /// Nothing. A call is sent once, whatever the server says of it.
    Refused,
}

/// What is needed to make requests of one server.
pub(super) struct Exchanges {
    pub(super) pool: Pool,
    pub(super) url: Url,
    uri: Uri,
    /// Where a redirect led that was followed.
    moved: OnceLock<Uri>,
    pub(super) max_message: usize,
}

impl Exchanges {
    /// With a server at this place.
    ///
    /// # Errors
    ///
    /// Where it cannot be spoken to in safety; in words.
    pub(super) fn of(remote: &Remote, max_message: usize) -> Result<Self, String> {
        Ok(Self {
            pool: Pool::new(remote)?,
            url: remote.url.clone(),
            uri: remote.uri.clone(),
            moved: OnceLock::new(),
            max_message,
        })
    }

    /// The same, where messages go to another path.
    pub(super) fn at(self, uri: Uri) -> Self {
        Self { uri, ..self }
    }

    fn place(&self) -> Uri {
        self.moved.get().unwrap_or(&self.uri).clone()
    }

    /// Sends one message. `headers` makes all but what every message has. Returns
    /// the headers of the answer too.
    pub(super) async fn post(
        &self,
        headers: impl Fn() -> HeaderMap,
        (body, redirects): (Bytes, Redirects),
    ) -> (Exchange, HeaderMap) {
        let mut uri = self.place();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers();
            let sent = request.headers_mut();
            sent.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            sent.insert(
                ACCEPT,
                HeaderValue::from_static("application/json, text/event-stream"),
            );
            let response = match self.pool.send(request).await {
                Ok(response) => response,
                Err(error) => return (self.unanswered(&error), HeaderMap::new()),
            };
            match self.redirected(&response) {
                None => {
                    if response.status().is_success() && uri != self.place() {
                        // Where two led elsewhere, the first stays.
                        let _first = self.moved.set(uri);
                    }
                    let (head, body) = response.into_parts();
                    let exchange = self.read(head.status, &head.headers, body).await;
                    return (exchange, head.headers);
                }
                Some(Ok(next)) if redirects == Redirects::Followed => uri = next,
                Some(Ok(_elsewhere)) => {
                    let status = response.status();
                    let why = format!(
                        "the server answered {status} and wants requests at another path, where the next one goes"
                    );
                    return (self.turned_away(response, why).await, HeaderMap::new());
                }
                Some(Err(why)) => {
                    return (self.turned_away(response, why).await, HeaderMap::new());
                }
            }
        }
        let why = "the server redirects again and again".to_owned();
        (Exchange::NotSent(why), HeaderMap::new())
    }

    /// Opens a stream of what the server has to say by itself.
    ///
    /// # Errors
    ///
    /// The status, where the server has no such stream, or none with words.
    pub(super) async fn get(
        &self,
        headers: HeaderMap,
    ) -> Result<Events<Answered>, (Option<StatusCode>, String)> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = self.place();
        *request.headers_mut() = headers;
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = self.pool.send(request).await;
        let response = response.map_err(|error| (None, described(&error)))?;
        let status = response.status();
        match status == StatusCode::OK && is(response.headers(), "text/event-stream") {
            true => Ok(Events::new(response.into_body(), self.max_message)),
            false => Err((Some(status), format!("the server answered {status}"))),
        }
    }

    /// A request that has no response. Only where no connection was made, or one
    /// was closed before the first byte, is it sure that nothing was sent.
    fn unanswered(&self, error: &NoResponse) -> Exchange {
        match error {
            NoResponse::Unconnected(error) => {
                let why = described(&**error);
                Exchange::NotSent(format!("no connection to {}: {why}", self.shown()))
            }
            NoResponse::Broken(error) => {
                Exchange::Lost(format!("the connection broke: {}", described(error)))
            }
        }
    }

    /// Makes sure that there is a connection.
    ///
    /// # Errors
    ///
    /// Why there can be none; in words.
    pub(super) async fn reach(&self) -> Result<(), String> {
        let reached = self.pool.reach().await;
        reached.map_err(|error| match self.unanswered(&error) {
            Exchange::NotSent(why) | Exchange::Lost(why) => why,
            _ => described(&error),
        })
    }

    fn shown(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Where a redirect leads. It is followed only where the message stays the
    /// same and at the same server: headers that are meant for one must not
    /// reach another. In words, why it is not.
    fn redirected(&self, response: &Response<Answered>) -> Option<Result<Uri, String>> {
        let status = response.status();
        if !status.is_redirection() {
            return None;
        }
        let to = response.headers().get(LOCATION);
        let to = to.and_then(|to| self.url.join(to.to_str().ok()?).ok());
        let same = to.filter(|to| keeps_message(status) && to.origin() == self.url.origin());
        if let Some(next) = same.and_then(|to| super::uri_of(&to)) {
            return Some(Ok(next));
        }
        Some(Err(format!(
            "the server answered {status} and sends requests elsewhere, which is not followed: put the right URL into the configuration"
        )))
    }

    /// What a redirect says that is not followed. One that keeps the message means by
    /// HTTP that nothing was done with it, and is taken at that only where it brings
    /// nothing else: an answer says what was done, whatever its status is. Any other
    /// redirect may be the answer to something that was done.
    async fn turned_away(&self, response: Response<Answered>, why: String) -> Exchange {
        let (head, body) = response.into_parts();
        if is(&head.headers, "text/event-stream") {
            return Exchange::Stream(Events::new(body, self.max_message));
        }
        let body = match self.whole(body).await {
            Ok(body) => body,
            Err(broken) => return broken,
        };
        match refused(head.status, &body) {
            Exchange::Messages(messages) => Exchange::Messages(messages),
            _ if keeps_message(head.status) && !calls_itself_message(&body) => {
                Exchange::NotSent(why)
            }
            _ => Exchange::Lost(why),
        }
    }

    async fn read(&self, status: StatusCode, headers: &HeaderMap, body: Answered) -> Exchange {
        let is_events = is(headers, "text/event-stream");
        let is_json = is(headers, "application/json");
        if status.is_success() && is_events {
            return Exchange::Stream(Events::new(body, self.max_message));
        }
        let body = match self.whole(body).await {
            Ok(body) => body,
            Err(broken) => return broken,
        };
        match (status.is_success(), is_json) {
            (true, _) if body.is_empty() => Exchange::Accepted,
            (true, true) => Exchange::Messages(read(&body)),
            (true, false) => {
                Exchange::Invalid("the answer is neither JSON nor a stream of events".to_owned())
            }
            (false, _) => refused(status, &body),
        }
    }

    /// The body of an answer, or what may be said where it does not come whole.
    async fn whole(&self, body: Answered) -> Result<Bytes, Exchange> {
        let limit = self.max_message;
        let read = Limited::new(body, limit).collect().await;
        read.map(Collected::to_bytes)
            .map_err(|error| match error.is::<LengthLimitError>() {
                true => Exchange::Invalid(format!("the answer has more than {limit} bytes")),
                false => Exchange::Lost(format!("the connection broke: {error}")),
            })
    }
}

/// Whether a redirect asks for the same message elsewhere.
fn keeps_message(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    )
}

/// Whether a text that is read as no message may have been meant as one.
fn calls_itself_message(body: &[u8]) -> bool {
    body.windows(b"jsonrpc".len())
        .any(|part| part == b"jsonrpc")
}

/// What an answer that is no success says of the message. A server that answers
/// 5xx may have begun; of the others only those count as refusals that HTTP and
/// MCP define to come before any effect.
fn refused(status: StatusCode, body: &[u8]) -> Exchange {
    let said = read(body).into_iter().filter_map(|message| match message {
        Ok(Message::Answer { id, answer }) => Some(Said {
            to: Some(id),
            answer,
        }),
        Ok(Message::NamelessError(error)) => Some(Said {
            to: None,
            answer: Answer::Error(error),
        }),
        Ok(Message::Request { .. } | Message::Notification { .. }) | Err(_) => None,
    });
    let said: Vec<Said> = said.collect();
    let advice = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ": check the credentials in `headers` of the server's section"
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            ": check the path of `url` in the server's section"
        }
        StatusCode::TOO_MANY_REQUESTS => ": it wants fewer calls, so wait before the next",
        _ => "",
    };
    let why = format!("the server answered {status}{advice}");
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::NOT_ACCEPTABLE
        | StatusCode::LENGTH_REQUIRED
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::MISDIRECTED_REQUEST
        | StatusCode::UPGRADE_REQUIRED
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Exchange::Refused { status, said, why },
        _ if !said.is_empty() => Exchange::Messages(read(body)),
        _ if AWAY.contains(&status) => Exchange::Down(why),
        _ => Exchange::Lost(why),
    }
}

fn is(headers: &HeaderMap, media: &str) -> bool {
    let found = headers.get(CONTENT_TYPE).and_then(|m| m.to_str().ok());
    if found == Some(media) {
        return true;
    }
    let found = found.and_then(|found| found.split(';').next());
    found.is_some_and(|found| found.trim().eq_ignore_ascii_case(media))
}

/// An error with its causes. None of them has a header or a URL in it.
fn described(error: &(dyn std::error::Error + 'static)) -> String {
    crate::cause::Chain(error).to_string()
}

/// Why a stream of events ended, in words.
pub(super) fn broken(broken: &Broken) -> String {
    match broken {
        Broken::Connection(why) => format!("the stream of the answer broke: {why}"),
        Broken::TooLong => "an event of the answer is longer than `max_message`".to_owned(),
    }
}
