//! As what kinds of clients servers are looked at, when their lists are read again,
//! and who waits for that.

use super::Broker;
use crate::downstream::Replicas;
use crate::tool::Declared;
use crate::tool::Kind;
use crate::tool::Lists;
use crate::tool::ServerName;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::watch;

/// How long a client waits at most for a list that is over and is read again. Then
/// it gets the one that is there, and hears of the other when it has come.
const READ_AGAIN: Duration = Duration::from_secs(2);

/// Servers, each with a kind of clients that it was looked at as.
pub(super) type SeenAs = BTreeSet<(ServerName, Kind)>;

/// The looks that were had, and those that somebody waits for.
#[derive(Debug)]
pub(super) struct Kinds {
    seen: Mutex<Seen>,
    awaited: watch::Sender<SeenAs>,
}

/// The looks that were had.
#[derive(Debug, Default)]
struct Seen {
    /// Also those that another broker had at this store: what they came to is
    /// pinned.
    ever: SeenAs,
    /// Those that this one had: resources are not pinned.
    here: SeenAs,
}

impl Kinds {
    /// With those that were had before.
    pub(super) fn of(ever: SeenAs) -> Self {
        let here = SeenAs::new();
        Self {
            seen: Mutex::new(Seen { ever, here }),
            awaited: watch::Sender::new(SeenAs::new()),
        }
    }

    /// A look came to something, or to nothing: nobody waits for it any more.
    pub(super) fn had(&self, server: &ServerName, kind: &Kind) {
        let look = (server.clone(), kind.clone());
        let mut seen = self.seen();
        seen.ever.insert(look.clone());
        seen.here.insert(look.clone());
        drop(seen);
        self.waits_no_more(&look.into());
    }

    /// The server is not there: nobody waits for it.
    pub(super) fn away(&self, server: &ServerName) {
        self.awaited.send_if_modified(|awaited| {
            let before = awaited.len();
            awaited.retain(|(of, _)| of != server);
            awaited.len() < before
        });
    }

    /// Somebody waits for these looks. Returns those that nobody waited for before.
    fn waits_for(&self, looks: &SeenAs) -> Looks {
        let mut new = SeenAs::new();
        self.awaited.send_if_modified(|awaited| {
            new.extend(looks.difference(awaited).cloned());
            awaited.extend(new.iter().cloned());
            !new.is_empty()
        });
        Looks(new)
    }

    fn waits_no_more(&self, looks: &Looks) {
        self.awaited.send_if_modified(|awaited| {
            let before = awaited.len();
            awaited.retain(|look| !looks.0.contains(look));
            awaited.len() < before
        });
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Only single operations happen under the lock.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some looks.
struct Looks(SeenAs);

impl From<(ServerName, Kind)> for Looks {
    fn from(look: (ServerName, Kind)) -> Self {
        Self(SeenAs::from([look]))
    }
}

impl Broker {
    /// Has every server looked at as this kind of client. Waits for those that
    /// never were, once and as long as for a server that was never seen.
    pub(super) async fn seen_as(&self, kind: &Kind) {
        self.looked_at(kind, |seen| &seen.ever).await;
    }

    async fn looked_at(&self, kind: &Kind, had: impl Fn(&Seen) -> &SeenAs) {
        if kind.is_asked_nothing() {
            return;
        }
        for (server, downstream) in &self.downstreams {
            let look = (server.clone(), kind.clone());
            let is_new = !had(&self.kinds.seen()).contains(&look);
            // First this, then the look: it could be had before anybody waited.
            let new = is_new.then(|| self.kinds.waits_for(&[look].into()));
            if let (false, Some(new)) = (downstream.look_as(kind), new) {
                self.kinds.waits_no_more(&new);
            }
        }
        let mut awaited = self.kinds.awaited.subscribe();
        let had = awaited.wait_for(|all| all.iter().all(|(_, of)| of != kind));
        let _had_or_late = tokio::time::timeout(self.settings.first_sight, had).await;
    }

    /// Waits for what a client that asks for a list should find in it: resources of
    /// servers that are starting, because nothing stands in for them, and whatever is
    /// read again because the time of its server for it is over. Each for a moment
    /// only.
    pub async fn freshened(&self, declared: &Declared, of: Lists) {
        let kind = Kind::of(declared);
        self.first_sight().await;
        if let Lists::Resources | Lists::Templates = of {
            let here = self.resources_known();
            let _known_or_late = tokio::time::timeout(self.settings.first_sight, here).await;
            self.looked_at(&kind, |seen| &seen.here).await;
        }
        self.read_again(&kind, of).await;
    }

    async fn read_again(&self, kind: &Kind, of: Lists) {
        let mut reading = SeenAs::new();
        let may_be_over = |downstream: &Replicas| downstream.fresh_for(of).is_some();
        let servers = self.downstreams.iter();
        for (server, downstream) in servers.filter(|(_, one)| may_be_over(one)) {
            let mut looks = SeenAs::from([(server.clone(), Kind::default())]);
            if downstream.looks_again_as(kind) {
                looks.insert((server.clone(), kind.clone()));
            }
            // First this, then the question: it could be read before anybody waited.
            let new = self.kinds.waits_for(&looks);
            match downstream.reads_again(of) {
                true => reading.extend(looks),
                false => self.kinds.waits_no_more(&new),
            }
        }
        if reading.is_empty() {
            return;
        }
        let mut awaited = self.kinds.awaited.subscribe();
        let read = awaited.wait_for(|all| all.is_disjoint(&reading));
        let in_time = tokio::time::timeout(READ_AGAIN, read).await.is_ok();
        if !in_time {
            self.kinds.waits_no_more(&Looks(reading));
        }
    }

    /// How long a list of what every server has is still fresh by their own words:
    /// as long as the first of them says. None where no server says anything of it.
    pub fn fresh_for(&self, of: Lists) -> Option<Duration> {
        let said = self.downstreams.values();
        said.filter_map(|downstream| downstream.fresh_for(of)).min()
    }
}
