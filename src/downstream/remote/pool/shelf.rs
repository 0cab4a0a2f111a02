//! The connections of one thread that nobody uses at the moment.

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;
use tokio::time::Instant;

/// How long a connection is kept that nobody uses. Node closes its own after
/// five seconds, and a request that meets the closing may be lost.
const IDLE: Duration = Duration::from_secs(4);

/// A connection that takes one request at a time.
pub(super) type Connection = SendRequest<Full<Bytes>>;

/// The shelf.
#[derive(Default)]
pub(super) struct Shelf {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// With the time since which nobody uses it; the longest comes first.
    connections: Vec<(Instant, Connection)>,
    /// A task closes what is kept too long.
    is_swept: bool,
}

impl Shelf {
    /// The connection that was used last, if it can be used again.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut kept = self.kept();
        while let Some((since, connection)) = kept.connections.pop() {
            // One that is not ready has not come to the end of its last answer.
            if since.elapsed() < IDLE && connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let mut kept = self.kept();
        kept.connections.push((Instant::now(), connection));
        if !kept.is_swept {
            kept.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what is kept too long. False where nothing is left.
    fn sweep(&self) -> bool {
        let mut kept = self.kept();
        kept.connections
            .retain(|(since, connection)| since.elapsed() < IDLE && !connection.is_closed());
        kept.is_swept = !kept.connections.is_empty();
        kept.is_swept
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Only single operations happen under the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when nothing is kept, or the shelf is gone.
async fn sweep(shelf: Weak<Shelf>) {
    loop {
        tokio::time::sleep(IDLE / 4).await;
        let left = shelf.upgrade().is_some_and(|shelf| shelf.sweep());
        if !left {
            return;
        }
    }
}
