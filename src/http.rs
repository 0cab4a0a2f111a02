//! MCP over HTTP: Streamable HTTP of every revision, and the older pair of
//! `/sse` and `/messages`. Frames messages and says who sends them for which
//! session; what they mean is decided in `mcp`.
//!
//! ```text
//! accept ── one loop and one runtime for each core
//!   └─ guard     Host, Origin, CORS
//!       └─ target    which endpoint, for which session
//!           ├─ caller    whose key it is
//!           ├─ modern    2026-07-28: each request by itself
//!           ├─ legacy    transport sessions (2025-03-26 to 2025-11-25)
//!           │   ├─ transports   those at hand, and those in the store
//!           │   ├─ listening    their streams, opened or found again
//!           │   └─ redelivery   what those said, kept for a while
//!           └─ pair      HTTP+SSE (2024-11-05)
//!       ├─ escalations  calls that wait for a decision
//!       ├─ events    what arrives in a session from outside
//!       └─ routes    everything else
//! ```

mod accept;
mod body;
mod caller;
mod escalations;
mod events;
mod guard;
mod legacy;
mod listening;
mod modern;
mod openapi;
mod pair;
mod patience;
mod post;
mod redelivery;
mod routes;
mod seats;
mod status;
mod target;
mod transports;
mod unflushed;

pub use accept::Server;

use crate::broker::Broker;
use crate::broker::Hearing;
use crate::broker::Right;
use crate::principal::PrincipalId;
use crate::store::Store;
use axum::Router;
use body::Body;
use caller::Caller;
use hyper::HeaderMap;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use pair::Streams;
use seats::Seat;
use seats::Seats;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use target::Target;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transports::Transports;

/// Where to listen, for whom, and within which bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen. Port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Who calls without a key. Only where `listen` is a loopback address.
    pub anonymous: Option<PrincipalId>,
    /// Further names of ours that a `Host` header may have, in lower case and
    /// without a port.
    pub hosts: BTreeSet<String>,
    /// Origins of web pages that may call us: `https://app.example`.
    pub origins: BTreeSet<String>,
    /// How many threads serve, each with a loop of its own.
    pub threads: NonZeroUsize,
    /// The longest body of a request, in bytes.
    pub max_body: usize,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How long a client may take for the head of a request, the pause before it
    /// included.
    pub head_timeout: Duration,
    /// How long a client may take for the body of a request.
    pub body_timeout: Duration,
    /// How long a client may take nothing of what is written to it.
    pub write_timeout: Duration,
    /// Whether the pair of `/sse` and `/messages` is served too.
    pub legacy_sse: bool,
    /// How long requests in flight may go on once we are told to end.
    pub drain: Duration,
}

impl Settings {
    /// The default of [`Settings::listen`].
    pub const LISTEN: &str = "127.0.0.1:7420";
    /// The default of [`Settings::max_body`]: 4 MiB.
    pub const MAX_BODY: usize = 4 << 20;
    /// The default of [`Settings::max_connections`].
    pub const MAX_CONNECTIONS: usize = 1024;
    /// The default of [`Settings::head_timeout`].
    pub const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
    /// The default of [`Settings::body_timeout`].
    pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
    /// The default of [`Settings::write_timeout`].
    pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
    /// The default of [`Settings::drain`].
    pub const DRAIN: Duration = Duration::from_secs(30);
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be had.
    #[error("cannot listen at {address}: choose another with `--listen`, or end who has it")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A thread or its runtime cannot be had.
    #[error("cannot start a thread to serve with")]
    Thread(#[source] std::io::Error),
    /// Anybody who reaches the address would be taken for a principal.
    #[error(
        "`http.anonymous` lets everybody in who reaches {address}: take it away and make keys with `countersign key new`, or listen at a loopback address"
    )]
    AnonymousToAll {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// Nobody could call.
    #[error(
        "nobody could call: make a key with `countersign key new PRINCIPAL`, or, on a loopback address, set `http.anonymous`"
    )]
    Nobody,
    /// The keys cannot be read.
    #[error("cannot read the keys")]
    Keys(#[source] crate::store::StoreError),
}

/// What all connections share.
struct Edge {
    settings: Settings,
    /// What we are reached at: the answer to port 0.
    address: SocketAddr,
    /// The same, as a `Host` header has it.
    called: String,
    broker: Arc<Broker>,
    store: Arc<Store>,
    routes: Router,
    transports: Transports,
    streams: Streams,
    connections: AtomicUsize,
    seats: Seats,
    /// Cancelled when we are told to end: nothing new is begun.
    ending: CancellationToken,
}

impl Edge {
    /// A stream that a client opens to listen. None where its principal has its share of
    /// the connections open so already.
    fn listens(&self, right: Right) -> Option<Arc<Hearing>> {
        let share = self.settings.max_connections.div_ceil(2);
        self.broker.listens(right, share)
    }

    /// Whether this principal may call on a connection: on three of four, so that there is
    /// room for others, and for calls of those who listen on half of them.
    fn seats(&self, seat: &Seat, who: &PrincipalId) -> bool {
        let all = self.settings.max_connections;
        self.seats.take(seat, who, all - all / 4)
    }
}

/// One core's share in the edge, for one connection.
#[derive(Clone)]
struct Core {
    edge: Arc<Edge>,
    /// Whose the connection is.
    seat: Arc<Seat>,
    /// What runs on this core's runtime and must come to its end with it.
    tasks: TaskTracker,
}

impl Core {
    /// Answers one request.
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let edge = Arc::clone(&self.edge);
        let origin = match guard::admits(&edge, &request) {
            Ok(origin) => origin,
            Err(refused) => return *refused,
        };
        if guard::is_preflight(&request) {
            return guard::preflight(origin);
        }
        let answer = match Target::of(request.uri().path()) {
            None => self.besides(request).await,
            Some(_) if edge.ending.is_cancelled() => status::ending(),
            Some(target) => Box::pin(self.endpoint(target, request)).await,
        };
        guard::shared_with(origin, answer)
    }

    /// Whoever calls, whose the connection is from now on.
    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Box<Response<Body>>> {
        let caller = caller::by_key(&self.edge, headers)?;
        match self.edge.seats(&self.seat, &caller.principal) {
            true => Ok(caller),
            false => Err(Box::new(status::too_many_connections())),
        }
    }

    /// Answers what is asked at no endpoint of MCP.
    async fn besides(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if openapi::is_at(path) {
            return openapi::answer(&request);
        }
        let (named, asked) = (events::named(path), escalations::Asked::of(path));
        let is_ours = named.is_some() || asked.is_some();
        if is_ours && self.edge.ending.is_cancelled() {
            return status::ending();
        }
        match (named, asked) {
            (Some(named), _) => Box::pin(events::answer(self, &named, request)).await,
            (None, Some(asked)) => Box::pin(escalations::answer(self, asked, request)).await,
            (None, None) => routes::answer(&self.edge.routes, request).await,
        }
    }

    async fn endpoint(self, target: Target, request: Request<Incoming>) -> Response<Body> {
        let caller = match self.caller(request.headers()) {
            Ok(caller) => caller,
            Err(refused) => return *refused,
        };
        let session = match target.session(request.headers()) {
            Ok(session) => session,
            Err(refused) => return *refused,
        };
        let asked = post::Asked {
            principal: caller.principal,
            credential: caller.credential,
            session,
        };
        match target.endpoint {
            target::Endpoint::Mcp => post::streamable(self, asked, request).await,
            target::Endpoint::Sse if self.edge.settings.legacy_sse => {
                pair::open(self, asked, &request)
            }
            target::Endpoint::Messages if self.edge.settings.legacy_sse => {
                pair::post(self, asked, request).await
            }
            target::Endpoint::Sse | target::Endpoint::Messages => status::not_found(),
        }
    }
}
