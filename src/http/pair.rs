//! The pair of 2024-11-05: a stream at `/sse` that names the URL of its messages,
//! and `/messages`, where they are taken in. All answers go by the stream.

use super::Core;
use super::body::Body;
use super::body::Events;
use super::post;
use super::post::Asked;
use super::post::NO_EVENTS;
use super::post::QUEUE;
use super::post::Reads;
use super::post::TOO_MANY;
use super::status;
use crate::mcp::Connection;
use crate::mcp::Opening;
use crate::mcp::Outgoing;
use crate::mcp::Received;
use crate::mcp::parse;
use crate::mcp::unread;
use crate::principal::PrincipalId;
use crate::session::Named;
use crate::session::Rule;
use crate::session::TransportId;
use bytes::Bytes;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The streams that are open.
#[derive(Default)]
pub(super) struct Streams {
    open: Mutex<HashMap<TransportId, Stream>>,
}

/// One of them.
#[derive(Clone)]
struct Stream {
    owner: PrincipalId,
    connection: Arc<Connection>,
    out: Outgoing,
    /// Cancelled when the right to read it is gone.
    over: CancellationToken,
}

impl Streams {
    /// Ends every stream.
    pub(super) fn clear(&self) {
        self.open().clear();
    }

    fn open(&self) -> MutexGuard<'_, HashMap<TransportId, Stream>> {
        // Only single operations of the map happen under the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a stream. It lives as long as its connection, and so does what the id
/// in its first event points to.
pub(super) fn open(core: Core, asked: Asked, request: &Request<Incoming>) -> Response<Body> {
    if request.method() != Method::GET {
        // Where a client tries the newer way first, this sends it on to GET.
        return status::not_allowed("GET");
    }
    if !Reads::of(request.headers()).events {
        return status::not_acceptable(NO_EVENTS);
    }
    let Some(hearing) = core.edge.listens(asked.right(None)) else {
        return status::too_many_streams(unread(TOO_MANY));
    };
    let id = TransportId::random();
    let messages_at = messages_at(request.uri().path());
    let first = format!(
        "event: endpoint\ndata: {messages_at}?sessionId={}\n\n",
        id.as_str()
    );
    let ending = core.edge.ending.child_token();
    let opened_for = asked
        .session
        .map(|named| Named::new(Rule::Opening, named.text));
    let opening = Opening {
        session: opened_for,
        closing: ending.clone(),
        // Nothing can bring an answer to the client once its stream is gone.
        gone: ending.clone(),
        ..Opening::of(asked.principal.clone())
    };
    let (out, messages) = mpsc::channel(QUEUE);
    let connection = Connection::new(Arc::clone(&core.edge.broker), opening);
    connection.is_heard_by(&hearing);
    let stream = Stream {
        owner: asked.principal,
        connection,
        out,
        over: hearing.over(),
    };
    core.edge.streams.open().insert(id.clone(), stream);
    let gone = ending.clone();
    core.tasks.clone().spawn(async move {
        gone.cancelled().await;
        core.edge.streams.open().remove(&id);
    });
    let events = Events::live(Some(Bytes::from(first)), messages);
    status::stream(events.guarded(ending.drop_guard()), hearing)
}

/// Where the messages of the stream at this path go. (A session may be called
/// `sse` too.)
fn messages_at(path: &str) -> String {
    let before = path.strip_suffix("/sse").unwrap_or_default();
    format!("{before}/messages")
}

/// Takes in one message for a stream.
pub(super) async fn post(core: Core, asked: Asked, request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::POST {
        return status::not_allowed("POST");
    }
    let id = request.uri().query().and_then(|query| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let id = pairs.find(|(key, _)| key == "sessionId")?.1;
        TransportId::read(&id)
    });
    let stream = id.and_then(|id| core.edge.streams.open().get(&id).cloned());
    // Somebody else's stream is as unknown as none.
    let Some(stream) = stream.filter(|stream| stream.owner == asked.principal) else {
        return status::no_stream();
    };
    let body = match post::read(&core, request).await {
        Ok((_head, body)) => body,
        Err(refused) => return *refused,
    };
    // The key of this message is right. Its answer is read by that of the stream.
    stream.connection.recheck().await;
    if stream.over.is_cancelled() {
        return status::no_stream();
    }
    let message = parse(&body).and_then(|message| message.in_session(asked.session.as_ref()));
    stream.connection.comes_by(asked.credential);
    match stream.connection.take(message) {
        Received::Nothing => {}
        Received::Work(work) => {
            core.tasks.spawn(work.run(stream.out.clone()));
        }
        Received::Answer(answer) => {
            // An error says that the stream has just ended.
            let _gone = stream.out.send(answer).await;
        }
    }
    status::accepted()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_to_the_session_of_their_stream_whatever_it_is_called() {
        for (path, due) in [
            ("/sse", "/messages"),
            ("/s/claim-99/sse", "/s/claim-99/messages"),
            ("/s/sse-1/sse", "/s/sse-1/messages"),
        ] {
            assert_eq!(messages_at(path), due);
        }
    }
}
