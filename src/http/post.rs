//! Streamable HTTP: one endpoint for both eras, told apart by each request.

use super::Core;
use super::body::Body;
use super::body::Events;
use super::body::Running;
use super::body::event;
use super::legacy;
use super::modern;
use super::status;
use super::status::Era;
use crate::mcp::MODERN;
use crate::mcp::Message;
use crate::mcp::Outbound;
use crate::mcp::Work;
use crate::mcp::batch;
use crate::mcp::parse;
use crate::principal::PrincipalId;
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
use hyper::header::CONTENT_LENGTH;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderName;
use std::future::poll_fn;
use std::task::Poll;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

/// How many messages may wait for a client that reads slowly.
pub(super) const QUEUE: usize = 64;

pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Who asks, and for which session, as far as the transport says it.
pub(super) struct Asked {
    pub(super) principal: PrincipalId,
    pub(super) session: Option<String>,
}

/// What a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) json: bool,
    pub(super) events: bool,
}

impl Reads {
    /// From `Accept`; without it, everything.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut reads = Self {
            json: false,
            events: false,
        };
        let mut absent = true;
        for value in headers.get_all(ACCEPT) {
            absent = false;
            let ranges = value.to_str().unwrap_or_default().split(',');
            for range in ranges {
                let range = range.split(';').next().unwrap_or_default().trim();
                let is = |media: &str| range.eq_ignore_ascii_case(media);
                let all = range == "*/*";
                reads.json |= all || is("application/json") || is("application/*");
                reads.events |= all || is("text/event-stream") || is("text/*");
            }
        }
        match absent {
            true => Self {
                json: true,
                events: true,
            },
            false => reads,
        }
    }
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
        (&Method::GET, false) => return legacy::stream(&core, asked, &request).await,
        (&Method::DELETE, false) => return legacy::delete(&core, asked, &request).await,
        _ => return status::not_allowed("GET, POST, DELETE"),
    }
    let reads = Reads::of(request.headers());
    if !reads.json && !reads.events {
        return status::not_acceptable();
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
    let message = parse(&body).and_then(|message| message.in_session(asked.session.as_deref()));
    let modern = match &message {
        Ok(Message::Request(request)) => request.meta.modern || says_modern,
        Ok(Message::Notification(_) | Message::Response) => says_modern,
        // Which era a message would be of that cannot be read is told by the
        // header, or by the session that a legacy client names.
        Err(_) => says_modern || !head.contains_key(legacy::SESSION),
    };
    match modern {
        true => modern::answer(&core, (asked, reads), &head, message).await,
        false => legacy::answer(&core, (asked, reads), &head, message).await,
    }
}

/// The head and the whole body of a request that carries a message.
pub(super) async fn read(
    core: &Core,
    request: Request<Incoming>,
) -> Result<(HeaderMap, Bytes), Box<Response<Body>>> {
    let settings = &core.edge.settings;
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        return Err(Box::new(status::unsupported_media()));
    }
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
        Ok(Err(_)) | Err(_) => Err(Box::new(status::too_slow())),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|m| m.to_str().ok());
    let media = media.and_then(|media| media.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// Work whose answer is waited for.
pub(super) struct Waiting {
    /// What makes the messages, where nobody else runs it.
    running: Option<Running>,
    messages: mpsc::Receiver<Outbound>,
}

impl Waiting {
    /// Work that runs only while its answer is waited for.
    pub(super) fn on(work: Work) -> Self {
        let (out, messages) = mpsc::channel(QUEUE);
        Self {
            running: Some(Box::pin(work.run(out))),
            messages,
        }
    }

    /// Messages of work that runs by itself.
    pub(super) fn by(messages: mpsc::Receiver<Outbound>) -> Self {
        Self {
            running: None,
            messages,
        }
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

    /// The answer as JSON where nothing comes before it, else as a stream.
    /// `gone` is dropped when the client stops reading.
    pub(super) async fn answer(
        mut self,
        era: Era,
        reads: Reads,
        gone: Option<DropGuard>,
    ) -> Response<Body> {
        loop {
            match self.next().await {
                // Taken back: no answer is due.
                None => return status::accepted(),
                Some(Outbound::Notification(_)) if !reads.events => {}
                Some(message @ (Outbound::Answer(_) | Outbound::Refusal { .. })) if reads.json => {
                    return status::message(era, message);
                }
                Some(first) => {
                    let events = Events::new(Some(event(first)), self.messages);
                    let events = events.running(self.running);
                    return status::stream(match gone {
                        Some(gone) => events.guarded(gone),
                        None => events,
                    });
                }
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
    }
}
