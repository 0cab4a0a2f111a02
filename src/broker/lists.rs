//! What a running broker shows besides calls: its lists, its servers, and when they
//! change.

use super::Broker;
use super::Catalogue;
use super::Has;
use super::Lists;
use crate::downstream::Replicas;
use crate::downstream::State;
use crate::pins::Besides;
use crate::principal::PrincipalId;
use crate::tool::Asking;
use crate::tool::Declared;
use crate::tool::Kind;
use crate::tool::Level;
use crate::tool::Mirrored;
use crate::tool::ServerName;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use tokio::sync::watch;

impl Broker {
    /// What a principal may see with a client that can be asked this: entries of a
    /// list, tools and prompts under their exposed names, in one order. Depends on
    /// nothing that a session did.
    pub async fn list(
        &self,
        principal: &PrincipalId,
        declared: &Declared,
        list: Lists,
    ) -> Vec<Arc<str>> {
        let kind = Kind::of(declared);
        self.first_sight().await;
        self.seen_as(&kind).await;
        self.catalogue.load().visible(principal, &kind, list)
    }

    /// The arguments of a tool that are repeated in headers, where the principal
    /// may know of the tool.
    pub fn mirrored(&self, principal: &PrincipalId, name: &str) -> Arc<[Mirrored]> {
        let catalogue = self.catalogue.load();
        match catalogue.route(Asking::Tool, name) {
            Some(route) if !route.mirrored.is_empty() && catalogue.shows(principal, &route) => {
                Arc::clone(&route.mirrored)
            }
            Some(_) | None => Arc::default(),
        }
    }

    /// Whether every server answered or failed once.
    pub fn is_seen(&self) -> bool {
        self.unseen.borrow().is_empty()
    }

    /// How many servers did not answer or fail yet since the start, known ones included.
    pub fn untried(&self) -> usize {
        self.unlisted.borrow().len()
    }

    /// What there is besides tools.
    pub fn has(&self) -> Has {
        // What a server had when it was last seen it will have again.
        let besides = self.besides();
        let logging = besides.values().any(|has| has.logs);
        let apps = besides.values().any(|has| has.pages);
        drop(besides);
        Has {
            logging,
            apps,
            ..self.catalogue.load().has()
        }
    }

    /// What each server has besides what is pinned.
    pub(super) fn besides(&self) -> MutexGuard<'_, BTreeMap<ServerName, Besides>> {
        // Only single operations of the map happen under the lock.
        self.besides.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client hears what servers log from this level on. Servers of before
    /// 2026-07-28 are told so once for all their clients, and each client hears
    /// what it wants of it.
    pub async fn log_from(&self, level: Level) {
        let mut told = tokio::task::JoinSet::new();
        for downstream in self.downstreams.values() {
            let downstream = downstream.clone();
            told.spawn(async move { downstream.log_from(level).await });
        }
        told.join_all().await;
    }

    /// Moves when what [`Broker::list`] returns may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What calls are answered from now.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.load())
    }

    /// The servers and how they are.
    pub fn servers(&self) -> Vec<(ServerName, State)> {
        let servers = self.downstreams.iter();
        servers
            .map(|(name, downstream)| (name.clone(), downstream.state()))
            .collect()
    }

    /// Returns when every server answered or failed once, or time is up.
    pub async fn first_sight(&self) {
        let mut unseen = self.unseen.subscribe();
        let all_seen = unseen.wait_for(BTreeSet::is_empty);
        let _seen_or_late = tokio::time::timeout(self.settings.first_sight, all_seen).await;
    }

    /// Returns when the resources of every server that may have some are known, or
    /// those that are not there had the time that they may take for a start.
    pub(super) async fn resources_known(&self) {
        let catalogue = self.catalogue();
        let may_have = |server: &ServerName| {
            self.unseen.borrow().contains(server) || catalogue.other(server, Asking::Read).is_some()
        };
        let longest = self.downstreams.values().map(Replicas::start_timeout).max();
        let mut unlisted = self.unlisted.subscribe();
        let all_known = unlisted.wait_for(|unlisted| !unlisted.iter().any(may_have));
        let _known_or_late = tokio::time::timeout(longest.unwrap_or_default(), all_known).await;
    }
}
