//! The accept loops: one thread, one runtime and one listener for each core, so
//! that a connection and its calls stay where they are.

use super::Core;
use super::Edge;
use super::HttpError;
use super::Settings;
use super::pair::Streams;
use super::patience::Patience;
use super::patience::is_closed;
use super::routes;
use super::seats::Seats;
use super::transports::Transports;
use super::unflushed::Unflushed;
use crate::broker::Broker;
use crate::keys;
use crate::store::Store;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How many steps of tasks make a turn, after which the sockets are asked again. A
/// call is about eleven: with fewer, asking costs each call more.
const TURN: u32 = 256;
/// How long to wait where the system has no more sockets for us.
const NO_SOCKETS: Duration = Duration::from_millis(100);
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// What a client gets that would be one too many.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Retry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// The threads that serve.
pub struct Server {
    address: SocketAddr,
    edge: Arc<Edge>,
    threads: Vec<JoinHandle<()>>,
    /// Open as long as a thread still has connections.
    busy: mpsc::Receiver<Infallible>,
    /// Cancelled when the runtimes may go.
    over: CancellationToken,
}

impl Server {
    /// Listens, and starts the threads.
    ///
    /// # Errors
    ///
    /// When the address or a thread cannot be had, or nobody could call, or
    /// everybody could.
    pub fn start(
        settings: Settings,
        broker: Arc<Broker>,
        store: Arc<Store>,
    ) -> Result<Self, HttpError> {
        settings.must_let_somebody_in(&store)?;
        let count = settings.threads.get();
        let (address, listeners) = listeners(settings.listen, count)?;
        let ending = CancellationToken::new();
        let edge = Arc::new(Edge {
            routes: routes::router(&broker, &store, &ending),
            settings,
            address,
            called: address.to_string(),
            broker,
            store,
            transports: Transports::default(),
            streams: Streams::default(),
            connections: AtomicUsize::new(0),
            seats: Seats::default(),
            ending,
        });
        let over = CancellationToken::new();
        let (working, busy) = mpsc::channel(1);
        let mut threads = Vec::with_capacity(count);
        for (number, listener) in listeners.into_iter().enumerate() {
            let thread = Thread {
                core: Core {
                    edge: Arc::clone(&edge),
                    seat: Arc::default(),
                    tasks: TaskTracker::new(),
                },
                listener,
                working: working.clone(),
                over: over.clone(),
            };
            threads.push(thread.start(number).map_err(HttpError::Thread)?);
        }
        Ok(Self {
            address,
            edge,
            threads,
            busy,
            over,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, ends the streams, and waits for the requests in flight,
    /// at most for [`Settings::drain`].
    pub async fn drain(&mut self) {
        self.edge.ending.cancel();
        self.edge.streams.clear();
        let ended = timeout(self.edge.settings.drain, self.busy.recv()).await;
        if ended.is_err() {
            tracing::warn!("requests were still in flight when the time to end was up");
        }
    }

    /// Ends the threads. Calls run on their runtimes, so the broker must have
    /// stopped before.
    pub fn end(self) {
        self.over.cancel();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread that served ended by a fault of ours");
            }
        }
    }
}

impl Settings {
    /// Makes sure that somebody could call, and not everybody.
    ///
    /// # Errors
    ///
    /// When there is neither a key nor an anonymous principal, or when strangers
    /// on other machines could be that principal.
    pub fn must_let_somebody_in(&self, store: &Store) -> Result<(), HttpError> {
        self.must_keep_strangers_out()?;
        if self.anonymous.is_some() {
            return Ok(());
        }
        let keys = store.read(keys::list).map_err(HttpError::Keys)?;
        match keys.iter().any(|key| key.revoked.is_none()) {
            true => Ok(()),
            false => Err(HttpError::Nobody),
        }
    }

    /// Makes sure that not everybody could call.
    ///
    /// # Errors
    ///
    /// When strangers on other machines could be the anonymous principal.
    pub fn must_keep_strangers_out(&self) -> Result<(), HttpError> {
        let address = self.listen;
        match self.anonymous.is_some() && !address.ip().is_loopback() {
            true => Err(HttpError::AnonymousToAll { address }),
            false => Ok(()),
        }
    }
}

/// As many listeners at one address; the system deals connections out to them.
fn listeners(
    wanted: SocketAddr,
    count: usize,
) -> Result<(SocketAddr, Vec<TcpListener>), HttpError> {
    let mut address = wanted;
    let mut listeners = Vec::with_capacity(count);
    if count > 1 {
        // Our own threads share the address, and the kernel would share it with
        // another broker of this user just so. Alone it tells whether it is free.
        let alone = listen(address, false);
        drop(alone.map_err(|source| HttpError::Listen { address, source })?);
    }
    for _ in 0..count {
        let listener = listen(address, count > 1).map_err(|source| HttpError::Listen {
            address: wanted,
            source,
        })?;
        listeners.push(listener);
        if let Some(first) = listeners.first()
            && let Ok(taken) = first.local_addr()
        {
            address = taken;
        }
    }
    Ok((address, listeners))
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    // Shared only with our own threads: with one of them, a second program at
    // the same address is refused, as users expect.
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    if shared {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?.into_std()?;
    Ok(listener)
}

struct Thread {
    core: Core,
    listener: TcpListener,
    working: mpsc::Sender<Infallible>,
    over: CancellationToken,
}

impl Thread {
    fn start(self, number: usize) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(TURN)
            .build()?;
        std::thread::Builder::new()
            .name(format!("http-{number}"))
            .spawn(move || runtime.block_on(self.run()))
    }

    async fn run(self) {
        match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => accept(&self.core, &listener).await,
            Err(error) => tracing::error!(%error, "a listener cannot be used"),
        }
        self.core.tasks.close();
        tokio::select! {
            () = self.core.tasks.wait() => {}
            // A client that reads nothing would hold us for ever.
            () = self.over.cancelled() => {}
        }
        drop(self.working);
        // INVARIANT: calls that were begun here run on this runtime until the
        // broker has seen them to their end.
        self.over.cancelled().await;
    }
}

async fn accept(core: &Core, listener: &tokio::net::TcpListener) {
    let edge = &core.edge;
    loop {
        let accepted = tokio::select! {
            biased;
            () = edge.ending.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _from)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(NO_SOCKETS).await;
                continue;
            }
        };
        let open = edge.connections.fetch_add(1, Ordering::Relaxed);
        if open >= edge.settings.max_connections {
            edge.connections.fetch_sub(1, Ordering::Relaxed);
            core.tasks.spawn(turn_away(stream));
            continue;
        }
        let seat = Arc::default();
        let core = Core {
            seat: Arc::clone(&seat),
            ..core.clone()
        };
        core.tasks.clone().spawn(async move {
            let edge = Arc::clone(&core.edge);
            serve(core, stream).await;
            edge.seats.leave(&seat);
            edge.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn turn_away(mut stream: TcpStream) {
    // Who does not even read this is not waited for.
    let _unread = timeout(NO_SOCKETS, async {
        stream.write_all(TOO_MANY).await?;
        stream.shutdown().await
    })
    .await;
}

/// Serves one connection to its end.
async fn serve(core: Core, stream: TcpStream) {
    // Answers are written whole; waiting for more would only delay them.
    let _slower = stream.set_nodelay(true);
    let edge = Arc::clone(&core.edge);
    let unflushed = Unflushed::default();
    let handed = unflushed.clone();
    let service = service_fn(move |request| {
        let (core, unflushed) = (core.clone(), handed.clone());
        async move {
            let answer = core.answer(request).await;
            Ok::<_, Infallible>(answer.map(|body| body.on(unflushed)))
        }
    });
    // Who reads nothing holds the connection, and what is to be read, for no longer.
    let stream = Patience::of(stream, edge.settings.write_timeout, (unflushed, is_closed));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(edge.settings.head_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = edge.ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients go away in the middle all the time.
        tracing::debug!(%error, "a connection ended early");
    }
}
