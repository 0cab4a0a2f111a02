//! Connections to one server, kept open and used again. Each thread has its own:
//! a call stays on the runtime that it came in on.

use super::Remote;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::ResponseFuture;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioTimer;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::thread::ThreadId;
use std::time::Duration;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection is kept that nobody uses. Node closes its own after
/// five seconds, and a request that meets the closing may be lost.
const IDLE: Duration = Duration::from_secs(4);

/// The connections to one server.
pub(super) struct Pool {
    kind: Kind,
    by_thread: RwLock<Vec<(ThreadId, Clients)>>,
}

enum Kind {
    Plain,
    Tls(HttpsConnector<HttpConnector>),
}

#[derive(Clone)]
enum Clients {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Pool {
    /// A pool for this server.
    ///
    /// # Errors
    ///
    /// Where the system has no root certificates; in words.
    pub(super) fn new(remote: &Remote) -> Result<Self, String> {
        let kind = match remote.url.scheme() {
            "https" => Kind::Tls(
                HttpsConnectorBuilder::new()
                    .with_native_roots()
                    .map_err(|error| {
                        format!("the system has no certificates to check a server with: {error}; install `ca-certificates`")
                    })?
                    .https_only()
                    .enable_http1()
                    .wrap_connector(connector()),
            ),
            _ => Kind::Plain,
        };
        Ok(Self {
            kind,
            by_thread: RwLock::default(),
        })
    }

    /// Sends a request. One that a connection closed before a byte of it was
    /// written is sent on another; nothing else is sent again.
    pub(super) fn send(&self, request: Request<Full<Bytes>>) -> ResponseFuture {
        match self.here() {
            Clients::Plain(client) => client.request(request),
            Clients::Tls(client) => client.request(request),
        }
    }

    fn here(&self) -> Clients {
        let thread = std::thread::current().id();
        let of = |clients: &[(ThreadId, Clients)]| {
            let found = clients.iter().find(|(owner, _)| *owner == thread);
            found.map(|(_, clients)| clients.clone())
        };
        let known = self
            .by_thread
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(clients) = of(&known) {
            return clients;
        }
        drop(known);
        let clients = self.clients();
        let mut known = self
            .by_thread
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        known.push((thread, clients.clone()));
        clients
    }

    fn clients(&self) -> Clients {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE);
        match &self.kind {
            Kind::Plain => Clients::Plain(builder.build(connector())),
            Kind::Tls(connector) => Clients::Tls(builder.build(connector.clone())),
        }
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector
}
