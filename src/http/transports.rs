//! The transport sessions that are at hand, and those that the store has.

use super::Core;
use super::Edge;
use super::body::Body;
use super::body::Events;
use super::guard;
use super::post::VERSION;
use super::redelivery::Redelivery;
use super::status;
use crate::broker::Right;
use crate::cause::Chain;
use crate::json::Object;
use crate::mcp::Connection;
use crate::mcp::LEGACY;
use crate::mcp::Opening;
use crate::mcp::Outbound;
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
use crate::store::Version;
use crate::tool::Declared;
use hyper::HeaderMap;
use hyper::Response;
use hyper::header::HeaderName;
use jiff::SignedDuration;
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

/// How often the store is told that one is in use. It forgets what nobody uses for
/// thirty days.
const NOTED_EVERY: SignedDuration = SignedDuration::from_hours(24);

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
    pub(super) id: TransportId,
    owner: PrincipalId,
    pub(super) connection: Arc<Connection>,
    /// What its streams said.
    pub(super) redelivery: Arc<Redelivery>,
    /// Cancelled when the transport session ends.
    closing: CancellationToken,
    seen: Mutex<Seen>,
}

/// That the store has a transport session.
#[derive(Clone, Copy)]
struct Seen {
    /// In which state of it. None where it was not asked yet.
    version: Option<Version>,
    /// When it was told last that the transport session is in use.
    noted: Timestamp,
}

impl Transport {
    /// A stream that answers a request, read by `right`: `first`, and then what comes by
    /// `messages`, whether or not anybody reads it.
    pub(super) fn tells(
        &self,
        core: &Core,
        (first, messages): (Option<Outbound>, mpsc::Receiver<Outbound>),
        right: Right,
    ) -> Response<Body> {
        let reader = self.redelivery.open();
        let stream = reader.stream();
        if let Some(first) = first {
            self.redelivery.say(stream, first);
        }
        let redelivery = Arc::clone(&self.redelivery);
        let closing = self.closing.clone();
        core.tasks.spawn(redelivery.fill(stream, messages, closing));
        status::stream(Events::kept(reader), core.edge.broker.hears(right))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transports {
    fn at_hand(&self, id: &TransportId) -> Option<Arc<Transport>> {
        self.open().get(id).map(Arc::clone)
    }

    /// Keeps a transport session at hand, or returns the one that another request
    /// brought in meanwhile. None where it was ended meanwhile.
    pub(super) fn keep(&self, transport: Transport) -> Option<Arc<Transport>> {
        // INVARIANT: the two locks in this order, and both for the whole step.
        let mut open = self.open();
        let id = transport.id.clone();
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

    pub(super) fn forget(&self, id: &TransportId) {
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

/// A transport session as it was stored just now, or is about to be.
pub(super) fn opened(
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
        id: id.clone(),
        owner: stored.owner,
        connection: Connection::new(Arc::clone(&edge.broker), opening),
        redelivery: Redelivery::new(resuming),
        closing,
        seen: Mutex::new(Seen {
            version: None,
            noted: Timestamp::now(),
        }),
    }
}

/// The transport session that a request names. One that is not the caller's is
/// as unknown as one that never was.
pub(super) async fn transport(
    edge: &Edge,
    principal: &PrincipalId,
    head: &HeaderMap,
) -> Result<Arc<Transport>, Box<Response<Body>>> {
    let known = match guard::one(head, &VERSION) {
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
        return match transport.owner == *principal && is_there(edge, &transport).await? {
            true => Ok(transport),
            false => Err(Box::new(status::no_transport())),
        };
    }
    let Some(stored) = noted(edge, &id, principal).await? else {
        return Err(Box::new(status::no_transport()));
    };
    let revision = stored.revision.clone();
    let transport = opened(edge, &id, stored, Some(revision));
    let kept = edge.transports.keep(transport);
    kept.ok_or_else(|| Box::new(status::no_transport()))
}

/// Whether one that is at hand was not ended by another broker, as far as it was known
/// a moment ago. The store is asked wherever something was committed since it was asked
/// last.
async fn is_there(edge: &Edge, transport: &Transport) -> Result<bool, Box<Response<Body>>> {
    // Before it is looked for: what is committed meanwhile is seen the next time.
    let version = edge
        .store
        .version_lately()
        .map_err(|error| failed(&error))?;
    let seen = *transport.seen();
    let now = Timestamp::now();
    let is_noted = now < seen.noted + NOTED_EVERY;
    if is_noted && seen.version == Some(version) {
        return Ok(true);
    }
    let (id, owner) = (&transport.id, &transport.owner);
    let is_there = match is_noted {
        true => {
            let found = edge.store.read(|tx| sessions::has_transport(tx, id, owner));
            found.map_err(|error| failed(&error))?
        }
        false => noted(edge, id, owner).await?.is_some(),
    };
    match is_there {
        true => {
            *transport.seen() = Seen {
                version: Some(version),
                noted: if is_noted { seen.noted } else { now },
            };
        }
        false => edge.transports.forget(id),
    }
    Ok(is_there)
}

/// The transport session that the store has, which is told that it is in use.
async fn noted(
    edge: &Edge,
    id: &TransportId,
    owner: &PrincipalId,
) -> Result<Option<sessions::Transport>, Box<Response<Body>>> {
    let (id, owner) = (id.clone(), owner.clone());
    let found = in_store(edge, move |tx| {
        sessions::transport(tx, &id, &owner, Timestamp::now())
    });
    found.await
}

/// The id that a request names.
pub(super) fn named(head: &HeaderMap) -> Result<TransportId, Box<Response<Body>>> {
    let once = guard::one(head, &SESSION);
    let Ok(Some(id)) = once else {
        return Err(Box::new(status::bad(
            "send `initialize` first, and then its `Mcp-Session-Id` with each request; or put `io.modelcontextprotocol/protocolVersion` into `params._meta`",
        )));
    };
    let id = id.to_str().ok().and_then(TransportId::read);
    id.ok_or_else(|| Box::new(status::no_transport()))
}

pub(super) async fn in_store<T: Send + 'static>(
    edge: &Edge,
    work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Box<Response<Body>>> {
    let done = edge
        .store
        .write("transport", Durability::Process, work)
        .await;
    done.map(Committed::into_inner)
        .map_err(|error| failed(&error))
}

fn failed(error: &StoreError) -> Box<Response<Body>> {
    tracing::error!(error = %Chain(error), "a transport session could not be found or kept");
    Box::new(match error.is_full() {
        true => status::no_room(),
        false => {
            status::unavailable("transport sessions cannot be kept at the moment; nothing was done")
        }
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
        let transport = |id: &TransportId| {
            let connection = Connection::new(Arc::clone(&world.broker), Opening::of(alice()));
            Transport {
                id: id.clone(),
                owner: alice(),
                connection,
                redelivery: Redelivery::new(resuming("2025-11-25")),
                closing: CancellationToken::new(),
                seen: Mutex::new(Seen {
                    version: None,
                    noted: Timestamp::now(),
                }),
            }
        };
        let transports = Transports::default();
        let (kept, ended) = (TransportId::random(), TransportId::random());
        transports.forget(&ended);
        assert!(transports.keep(transport(&ended)).is_none());
        assert!(transports.keep(transport(&kept)).is_some());
        assert!(transports.at_hand(&ended).is_none() && transports.at_hand(&kept).is_some());
        drop(transports);
        world.end().await;
    }
}
