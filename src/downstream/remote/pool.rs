//! Connections to one server, kept open and used again. Each thread has its own:
//! a call stays on the runtime that it came in on.

mod shelf;

use super::Remote;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::Response;
use hyper::Uri;
use hyper::body::Body;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::body::SizeHint;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;
use hyper::rt::Read;
use hyper::rt::Write;
use hyper::service::Service;
use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::service::TowerToHyperService;
use shelf::Connection;
use shelf::Shelf;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::thread::ThreadId;
use std::time::Duration;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The connections to one server.
pub(super) struct Pool {
    connector: Connector,
    uri: Uri,
    /// What the header `Host` says.
    host: HeaderValue,
    by_thread: RwLock<Vec<(ThreadId, Arc<Shelf>)>>,
}

enum Connector {
    Plain(TowerToHyperService<HttpConnector>),
    Tls(TowerToHyperService<HttpsConnector<HttpConnector>>),
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoResponse {
    /// There was no connection to send it on.
    #[error("no connection")]
    Unconnected(#[source] Box<dyn Error + Send + Sync>),
    /// The connection broke; some of it may have been sent.
    #[error("no response")]
    Broken(#[source] hyper::Error),
}

impl Pool {
    /// A pool for this server.
    ///
    /// # Errors
    ///
    /// Where the system has no root certificates; in words.
    pub(super) fn new(remote: &Remote) -> Result<Self, String> {
        let connector = match remote.url.scheme() {
            "https" => Connector::Tls(TowerToHyperService::new(
                HttpsConnectorBuilder::new()
                    .with_native_roots()
                    .map_err(|error| {
                        format!("the system has no certificates to check a server with: {error}; install `ca-certificates`")
                    })?
                    .https_only()
                    .enable_http1()
                    .wrap_connector(connector()),
            )),
            _ => Connector::Plain(TowerToHyperService::new(connector())),
        };
        let host = remote.url.host_str().unwrap_or_default();
        let host = match remote.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(Self {
            connector,
            uri: remote.uri.clone(),
            host: HeaderValue::from_str(&host).map_err(|error| error.to_string())?,
            by_thread: RwLock::default(),
        })
    }

    /// Sends a request to this server. One that a connection closed before a byte
    /// of it was written is sent on another; nothing else is sent again.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Answered>, NoResponse> {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.unwrap_or(PathAndQuery::from_static("/")).into();
        request.headers_mut().insert(HOST, self.host.clone());
        let shelf = self.here();
        loop {
            let (mut connection, is_new) = match shelf.take() {
                Some(connection) => (connection, false),
                // In a box, so that it takes no room where there is a connection.
                None => (Box::pin(self.connect()).await?, true),
            };
            match connection.try_send_request(request).await {
                Ok(response) => {
                    return Ok(response.map(|body| Answered {
                        body,
                        lease: Some((connection, shelf)),
                    }));
                }
                Err(mut error) => match error.take_message() {
                    // It comes back only where nothing of it was written.
                    Some(unsent) if !is_new => request = unsent,
                    Some(_) | None => return Err(NoResponse::Broken(error.into_error())),
                },
            }
        }
    }

    /// Makes sure that there is a connection to this server, and keeps it for the
    /// next request of this thread.
    pub(super) async fn reach(&self) -> Result<(), NoResponse> {
        let shelf = self.here();
        let connection = match shelf.take() {
            Some(connection) => connection,
            None => {
                let mut connection = Box::pin(self.connect()).await?;
                let ready = connection.ready().await;
                ready.map_err(|error| NoResponse::Unconnected(error.into()))?;
                connection
            }
        };
        shelf.put(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<Connection, NoResponse> {
        let uri = self.uri.clone();
        match &self.connector {
            Connector::Plain(connector) => begin(connector.call(uri).await).await,
            Connector::Tls(connector) => begin(connector.call(uri).await).await,
        }
    }

    fn here(&self) -> Arc<Shelf> {
        let thread = std::thread::current().id();
        let known = self
            .by_thread
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|(owner, _)| *owner == thread);
        if let Some((_, shelf)) = found {
            return Arc::clone(shelf);
        }
        drop(known);
        let shelf = Arc::new(Shelf::default());
        let mut known = self
            .by_thread
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        known.push((thread, Arc::clone(&shelf)));
        shelf
    }
}

/// Begins to speak HTTP on a new stream. The task ends with the connection, which
/// ends when its last handle is dropped.
async fn begin<S, E>(stream: Result<S, E>) -> Result<Connection, NoResponse>
where
    S: Read + Write + Send + Unpin + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let stream = stream.map_err(|error| NoResponse::Unconnected(error.into()))?;
    let begun = http1::handshake(stream).await;
    let (connection, runs) = begun.map_err(|error| NoResponse::Unconnected(error.into()))?;
    tokio::spawn(async move {
        if let Err(error) = runs.await {
            tracing::debug!(%error, "a connection to a server ended early");
        }
    });
    Ok(connection)
}

/// The body of a response. Its connection is used again once it was read to its
/// end, and closed where it is not.
pub(super) struct Answered {
    body: Incoming,
    lease: Option<(Connection, Arc<Shelf>)>,
}

impl Body for Answered {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none()
            && let Some((connection, shelf)) = self.lease.take()
        {
            shelf.put(connection);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector
}
