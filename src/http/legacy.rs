//! Transport sessions of the clients that open with `initialize` (2025-03-26 to
//! 2025-11-25). They are stored, so that a client goes on with its
//! `Mcp-Session-Id` after we were restarted.

use super::Core;
use super::body::Body;
use super::post::Asked;
use super::post::Begun;
use super::post::QUEUE;
use super::post::Waiting;
use super::status;
use super::status::Era;
use super::transports::SESSION;
use super::transports::in_store;
use super::transports::named;
use super::transports::opened;
use super::transports::transport;
use crate::mcp;
use crate::mcp::Message;
use crate::mcp::Outbound;
use crate::mcp::ParseError;
use crate::mcp::Received;
use crate::mcp::Work;
use crate::mcp::agreed;
use crate::mcp::parse;
use crate::session::TransportId;
use crate::sessions;
use hyper::HeaderMap;
use hyper::Request;
use hyper::Response;
use hyper::header::HeaderValue;
use jiff::Timestamp;
use tokio::sync::mpsc;

/// Answers one message.
pub(super) async fn answer(
    core: &Core,
    asked: Asked,
    head: HeaderMap,
    message: Result<Message, ParseError>,
) -> Response<Body> {
    if let Ok(Message::Request(request)) = &message
        && let mcp::Body::Initialize {
            requested,
            declared,
        } = &request.body
    {
        let opens = (agreed(requested), declared.json());
        return initialize(core, asked, opens, message).await;
    }
    let transport = match transport(&core.edge, &asked.principal, &head).await {
        Ok(transport) => transport,
        Err(refused) => return *refused,
    };
    drop(head);
    let right = asked.right(Some(transport.id.clone()));
    transport.connection.comes_by(asked.credential);
    let notification = matches!(message, Ok(Message::Notification(_)));
    match transport.connection.take(message) {
        Received::Nothing => status::accepted(),
        // What follows from having read our answer to `initialize` is the
        // stream's to tell.
        Received::Work(_follows) if notification => status::accepted(),
        Received::Answer(answer) => status::message(Era::Legacy, answer),
        Received::Work(work) => {
            let waiting = Waiting::by(run(core, [work]));
            let waiting = waiting.resuming(transport.redelivery.resuming());
            match waiting.begins().await {
                Begun::Never => status::accepted(),
                Begun::Whole(answer) => status::message(Era::Legacy, answer),
                Begun::Stream(first, waiting) => {
                    transport.tells(core, (first, waiting.messages), right)
                }
            }
        }
    }
}

/// Runs work to its end, whether or not anybody reads what comes of it: the loss
/// of a connection is no cancellation (MCP 2025-11-25, transports).
fn run(core: &Core, works: impl IntoIterator<Item = Work>) -> mpsc::Receiver<Outbound> {
    let (out, messages) = mpsc::channel(QUEUE);
    for work in works {
        // In a box, because each layer of a task moves what it is given, and this
        // is large.
        core.tasks.spawn(Box::pin(work.run(out.clone())));
    }
    messages
}

/// Answers the messages of a batch, which only one revision has.
pub(super) async fn batched(
    core: Core,
    asked: Asked,
    head: &HeaderMap,
    messages: Vec<Box<[u8]>>,
) -> Response<Body> {
    if !head.contains_key(SESSION) {
        return status::bad("batches are not served: send each message by itself");
    }
    let transport = match transport(&core.edge, &asked.principal, head).await {
        Ok(transport) => transport,
        Err(refused) => return *refused,
    };
    if !transport.connection.takes_batches() {
        return status::bad("this revision has no batches: send each message by itself");
    }
    let right = asked.right(Some(transport.id.clone()));
    transport.connection.comes_by(asked.credential);
    let (mut answers, mut works) = (Vec::new(), Vec::new());
    for message in messages {
        let message = parse(&message).and_then(|m| m.in_session(asked.session.as_ref()));
        let notification = matches!(message, Ok(Message::Notification(_)));
        match transport.connection.take(message) {
            Received::Nothing => {}
            Received::Work(_follows) if notification => {}
            Received::Work(work) => works.push(work),
            Received::Answer(answer) => answers.push(answer),
        }
    }
    if answers.is_empty() && works.is_empty() {
        return status::accepted();
    }
    let (out, messages) = mpsc::channel(QUEUE);
    let tasks = core.tasks.clone();
    core.tasks.spawn(async move {
        for answer in answers {
            // An error says that nobody reads any more.
            let _gone = out.send(answer).await;
        }
        for work in works {
            tasks.spawn(work.run(out.clone()));
        }
    });
    transport.tells(&core, (None, messages), right)
}

/// Opens a transport session.
async fn initialize(
    core: &Core,
    asked: Asked,
    (revision, declared): (&'static str, String),
    message: Result<Message, ParseError>,
) -> Response<Body> {
    let id = TransportId::random();
    let right = asked.right(None);
    let stored = sessions::Transport {
        owner: asked.principal,
        named: asked.session.map(|named| named.text.as_ref().to_owned()),
        revision: revision.to_owned(),
        declared,
    };
    let transport = opened(&core.edge, &id, stored.clone(), None);
    let mut response = match transport.connection.take(message) {
        Received::Answer(answer) => status::message(Era::Legacy, answer),
        Received::Work(work) => {
            let messages = run(core, [work]);
            let hears = || core.edge.broker.hears(right);
            Waiting::by(messages).answer(Era::Legacy, None, hears).await
        }
        Received::Nothing => return status::accepted(),
    };
    let key = id.clone();
    let written = in_store(&core.edge, move |tx| {
        sessions::open_transport(tx, &key, &stored, Timestamp::now())
    });
    if let Err(refused) = written.await {
        return *refused;
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(SESSION, value);
    }
    // Nobody else knows it yet, so nobody has ended it.
    let _kept = core.edge.transports.keep(transport);
    response
}

/// Ends a transport session. The durable session goes on.
pub(super) async fn delete<B>(core: &Core, asked: Asked, request: &Request<B>) -> Response<Body> {
    let id = match named(request.headers()) {
        Ok(id) => id,
        Err(refused) => return *refused,
    };
    let key = id.clone();
    let ended = in_store(&core.edge, move |tx| {
        sessions::end_transport(tx, &key, &asked.principal)
    });
    match ended.await {
        Ok(true) => {
            core.edge.transports.forget(&id);
            status::no_content()
        }
        Ok(false) => status::no_transport(),
        Err(refused) => *refused,
    }
}
