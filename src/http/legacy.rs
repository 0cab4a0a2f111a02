//! Transport sessions of the clients that open with `initialize` (2025-03-26 to
//! 2025-11-25). They are stored, so that a client goes on with its
//! `Mcp-Session-Id` after we were restarted.

use super::Core;
use super::Edge;
use super::body::Body;
use super::body::Events;
use super::post::Asked;
use super::post::Begun;
use super::post::QUEUE;
use super::post::VERSION;
use super::post::Waiting;
use super::redelivery::Redelivery;
use super::status;
use super::status::Era;
use crate::cause::Chain;
use crate::json::Object;
use crate::mcp;
use crate::mcp::Connection;
use crate::mcp::LEGACY;
use crate::mcp::Message;
use crate::mcp::Opening;
use crate::mcp::Outbound;
use crate::mcp::ParseError;
use crate::mcp::Received;
use crate::mcp::Work;
use crate::mcp::agreed;
use crate::mcp::parse;
use crate::mcp::resuming;
use crate::principal::PrincipalId;
use crate::session::Named;
use crate::session::Rule;
use crate::session::TransportId;
use crate::sessions;
use crate::store::Committed;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::Declared;
use hyper::HeaderMap;
use hyper::Request;
use hyper::Response;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use jiff::Timestamp;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// How many transport sessions are kept at hand. The others are in the store.
const AT_HAND: usize = 10_000;

/// How many of those that were ended are remembered.
const LATELY: usize = 1_000;

/// The transport sessions that are at hand.
#[derive(Default)]
pub(super) struct Transports {
    open: Mutex<HashMap<TransportId, Arc<Transport>>>,
    /// Those that were ended last: a request that read one of them from the store just
    /// before must not bring it back.
    ended: Mutex<VecDeque<TransportId>>,
}

/// One of them.
pub(super) struct Transport {
    owner: PrincipalId,
    pub(super) connection: Arc<Connection>,
    /// What its streams said.
    pub(super) redelivery: Arc<Redelivery>,
    /// Cancelled when the transport session ends.
    closing: CancellationToken,
}

impl Transport {
    /// A stream that answers a request: `first`, and then what comes by
    /// `messages`, whether or not anybody reads it.
    fn tells(
        &self,
        core: &Core,
        first: Option<Outbound>,
        messages: mpsc::Receiver<Outbound>,
    ) -> Events {
        let reader = self.redelivery.open();
        let stream = reader.stream();
        if let Some(first) = first {
            self.redelivery.say(stream, first);
        }
        let redelivery = Arc::clone(&self.redelivery);
        let closing = self.closing.clone();
        core.tasks.spawn(redelivery.fill(stream, messages, closing));
        Events::kept(reader)
    }
}

impl Transports {
    fn at_hand(&self, id: &TransportId) -> Option<Arc<Transport>> {
        self.open().get(id).map(Arc::clone)
    }

    /// Keeps a transport session at hand, or returns the one that another request
    /// brought in meanwhile. None where it was ended meanwhile.
    fn keep(&self, id: TransportId, transport: Transport) -> Option<Arc<Transport>> {
        // INVARIANT: the two locks in this order, and both for the whole step.
        let mut open = self.open();
        if self.ended().contains(&id) {
            return None;
        }
        if open.len() >= AT_HAND {
            // Those in use are held by their requests too.
            open.retain(|_, transport| Arc::strong_count(&transport.connection) > 1);
        }
        let kept = open.entry(id).or_insert_with(|| Arc::new(transport));
        Some(Arc::clone(kept))
    }

    fn forget(&self, id: &TransportId) {
        let mut open = self.open();
        let mut ended = self.ended();
        if ended.len() >= LATELY {
            ended.pop_front();
        }
        ended.push_back(id.clone());
        drop(ended);
        if let Some(transport) = open.remove(id) {
            transport.connection.close();
        }
    }

    fn ended(&self) -> MutexGuard<'_, VecDeque<TransportId>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<TransportId, Arc<Transport>>> {
        // Only single operations of the map happen under the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
                    status::stream(transport.tells(core, first, waiting.messages))
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
    status::stream(transport.tells(&core, None, messages))
}

/// Opens a transport session.
async fn initialize(
    core: &Core,
    asked: Asked,
    (revision, declared): (&'static str, String),
    message: Result<Message, ParseError>,
) -> Response<Body> {
    let id = TransportId::random();
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
            Waiting::by(messages).answer(Era::Legacy, None).await
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
    let _kept = core.edge.transports.keep(id, transport);
    response
}

fn opened(
    edge: &Edge,
    id: &TransportId,
    stored: sessions::Transport,
    revision: Option<String>,
) -> Transport {
    let declared = Object::parse(&stored.declared).ok();
    let extensions = declared
        .as_ref()
        .and_then(|declared| declared.get("extensions"))
        .and_then(|extensions| Object::parse(extensions).ok());
    let resuming = resuming(&stored.revision);
    let closing = edge.ending.child_token();
    let opening = Opening {
        declared: Declared::read(
            |name| declared.as_ref()?.get(name),
            |id| extensions.as_ref()?.get(id),
        )
        .into(),
        session: stored.named.map(|text| Named::new(Rule::Opening, text)),
        transport: Some(id.clone()),
        revision,
        closing: closing.clone(),
        ..Opening::of(stored.owner.clone())
    };
    Transport {
        owner: stored.owner,
        connection: Connection::new(Arc::clone(&edge.broker), opening),
        redelivery: Redelivery::new(resuming),
        closing,
    }
}

/// The transport session that a request names. One that is not the caller's is
/// as unknown as one that never was.
pub(super) async fn transport(
    edge: &Edge,
    principal: &PrincipalId,
    head: &HeaderMap,
) -> Result<Arc<Transport>, Box<Response<Body>>> {
    let known = match super::guard::one(head, &VERSION) {
        Ok(Some(version)) => LEGACY
            .iter()
            .any(|known| version.as_bytes() == known.as_bytes()),
        // What the session agreed on is known.
        Ok(None) => true,
        Err(()) => false,
    };
    if !known {
        return Err(Box::new(status::bad(
            "`MCP-Protocol-Version` names no revision that is served",
        )));
    }
    let id = named(head)?;
    if let Some(transport) = edge.transports.at_hand(&id) {
        return match transport.owner == *principal {
            true => Ok(transport),
            false => Err(Box::new(status::no_transport())),
        };
    }
    let (key, owner) = (id.clone(), principal.clone());
    let found = in_store(edge, move |tx| {
        sessions::transport(tx, &key, &owner, Timestamp::now())
    });
    let Some(stored) = found.await? else {
        return Err(Box::new(status::no_transport()));
    };
    let revision = stored.revision.clone();
    let transport = opened(edge, &id, stored, Some(revision));
    let kept = edge.transports.keep(id, transport);
    kept.ok_or_else(|| Box::new(status::no_transport()))
}

/// The id that a request names.
fn named(head: &HeaderMap) -> Result<TransportId, Box<Response<Body>>> {
    let once = super::guard::one(head, &SESSION);
    let Ok(Some(id)) = once else {
        return Err(Box::new(status::bad(
            "send `initialize` first, and then its `Mcp-Session-Id` with each request; or put `io.modelcontextprotocol/protocolVersion` into `params._meta`",
        )));
    };
    let id = id.to_str().ok().and_then(TransportId::read);
    id.ok_or_else(|| Box::new(status::no_transport()))
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

async fn in_store<T: Send + 'static>(
    edge: &Edge,
    work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Box<Response<Body>>> {
    let done = edge
        .store
        .write("transport", Durability::Process, work)
        .await;
    done.map(Committed::into_inner).map_err(|error| {
        tracing::error!(error = %Chain(&error), "a transport session could not be found or kept");
        Box::new(status::unavailable(
            "transport sessions cannot be kept at the moment; nothing was done",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::World;
    use crate::broker::testing::alice;

    #[tokio::test]
    async fn a_transport_session_that_ended_while_it_was_read_is_not_brought_back() {
        let world = World::new().await;
        let transport = || {
            let connection = Connection::new(Arc::clone(&world.broker), Opening::of(alice()));
            Transport {
                owner: alice(),
                connection,
                redelivery: Redelivery::new(resuming("2025-11-25")),
                closing: CancellationToken::new(),
            }
        };
        let transports = Transports::default();
        let (kept, ended) = (TransportId::random(), TransportId::random());
        transports.forget(&ended);
        assert!(transports.keep(ended.clone(), transport()).is_none());
        assert!(transports.keep(kept.clone(), transport()).is_some());
        assert!(transports.at_hand(&ended).is_none() && transports.at_hand(&kept).is_some());
        drop(transports);
        world.end().await;
    }
}
