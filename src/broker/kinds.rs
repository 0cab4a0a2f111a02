//! As what kinds of clients servers are looked at, and who waits for that.

use super::Broker;
use crate::tool::Kind;
use crate::tool::ServerName;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use tokio::sync::watch;

/// Servers, each with a kind of clients that it was looked at as.
pub(super) type SeenAs = BTreeSet<(ServerName, Kind)>;

/// The looks that were had, and those that somebody waits for.
#[derive(Debug)]
pub(super) struct Kinds {
    /// Also those that another broker had at this store: what they came to is
    /// pinned.
    seen: Mutex<SeenAs>,
    awaited: watch::Sender<SeenAs>,
}

impl Kinds {
    /// With those that were had before.
    pub(super) fn of(seen: SeenAs) -> Self {
        Self {
            seen: Mutex::new(seen),
            awaited: watch::Sender::new(SeenAs::new()),
        }
    }

    /// A look came to something, or to nothing: nobody waits for it any more.
    pub(super) fn had(&self, server: &ServerName, kind: &Kind) {
        let look = (server.clone(), kind.clone());
        self.seen().insert(look.clone());
        self.awaited
            .send_if_modified(|awaited| awaited.remove(&look));
    }

    /// The server is not there: nobody waits for it.
    pub(super) fn away(&self, server: &ServerName) {
        self.awaited.send_if_modified(|awaited| {
            let before = awaited.len();
            awaited.retain(|(of, _)| of != server);
            awaited.len() < before
        });
    }

    fn seen(&self) -> MutexGuard<'_, SeenAs> {
        // Only single operations happen under the lock.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Has every server looked at as this kind of client. Waits for those that
    /// never were, once and as long as for a server that was never seen.
    pub(super) async fn seen_as(&self, kind: &Kind) {
        if kind.is_asked_nothing() {
            return;
        }
        for (server, downstream) in &self.downstreams {
            let look = (server.clone(), kind.clone());
            let is_new = !self.kinds.seen().contains(&look);
            // First this, then the look: it could be had before anybody waited.
            let awaited = is_new && self.kinds.awaited.send_if_modified(|all| all.insert(look));
            if !downstream.look_as(kind) && awaited {
                let look = (server.clone(), kind.clone());
                self.kinds.awaited.send_if_modified(|all| all.remove(&look));
            }
        }
        let mut awaited = self.kinds.awaited.subscribe();
        let had = awaited.wait_for(|all| all.iter().all(|(_, of)| of != kind));
        let _had_or_late = tokio::time::timeout(self.settings.first_sight, had).await;
    }
}
