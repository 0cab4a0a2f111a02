//! The task that follows the servers, the operator and other brokers while this
//! one runs.

use super::Broker;
use super::Catalogue;
use super::Rules;
use super::StartError;
use super::resources::Listings;
use super::upkeep::Pins;
use super::upkeep::Reload;
use super::upkeep::blocking;
use super::upkeep::build;
use super::upkeep::read_pins;
use super::upkeep::recover;
use crate::cause::Chain;
use crate::downstream::News;
use crate::downstream::Replicas;
use crate::downstream::Resources;
use crate::downstream::State;
use crate::pins;
use crate::pins::Besides;
use crate::pins::Uris;
use crate::store::Durability;
use crate::tool::Kind;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often a running broker looks for others that died, and for pins that
/// somebody else moved.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The task that rebuilds the catalogue. It alone does, so that two changes
/// never race.
pub(super) struct Upkeep {
    pub(super) broker: Arc<Broker>,
    pub(super) rules: Rules,
    /// What the last catalogue was made of, or would have been had the policies
    /// fitted it.
    pub(super) pins: Pins,
    /// What is known of the resources of each server.
    pub(super) resources: Listings,
    /// What the last catalogue could not offer, so that it is said once.
    pub(super) told: BTreeSet<String>,
    /// The same of what each server listed.
    pub(super) told_of: BTreeMap<(ServerName, Kind), BTreeSet<String>>,
}

/// A server as it was seen by a kind of clients.
#[derive(Clone)]
struct Seen {
    server: ServerName,
    kind: Kind,
    has: Besides,
    uris: Uris,
}

impl Upkeep {
    pub(super) async fn run(
        mut self,
        mut incoming: mpsc::UnboundedReceiver<News>,
        mut orders: mpsc::Receiver<Reload>,
    ) {
        let stopping = self.broker.stopping.clone();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.tick().await;
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                Some(news) = incoming.recv() => {
                    for news in newest(news, &mut incoming) {
                        self.follow(news).await;
                    }
                    self.broker.recheck().await;
                }
                Some(order) = orders.recv() => {
                    let taken = self.take(order.rules).await;
                    self.broker.recheck().await;
                    let _nobody_waits = order.taken.send(taken);
                }
                _ = look.tick() => {
                    self.recover().await;
                    self.broker.expire_sessions().await;
                    self.broker.expire_escalations().await;
                    self.broker.forget_retries().await;
                    self.broker.checkpoint().await;
                    self.broker.trim().await;
                    self.follow_pins().await;
                    self.broker.recheck().await;
                }
            }
        }
    }

    async fn follow(&mut self, news: News) {
        match news {
            News::Tools {
                server,
                kind,
                offers,
                definitions,
                refused,
                resources,
            } => {
                let of = (server.clone(), kind.clone());
                let refused: BTreeSet<String> = refused.into_iter().collect();
                let before = self.told_of.insert(of, refused.clone()).unwrap_or_default();
                for why in refused.difference(&before) {
                    tracing::warn!(server.name = %server, "not offered: {why}");
                }
                let uris = self.lists((&server, &kind), resources);
                let has = Besides {
                    logs: offers.logging,
                    pages: offers.apps,
                };
                let seen = Seen {
                    server: server.clone(),
                    kind: kind.clone(),
                    has,
                    uris,
                };
                if let Err(error) = self.observe(&seen, definitions).await {
                    tracing::error!(
                        server.name = %server,
                        error = %Chain(&error),
                        "the tools of a server could not be taken in; those known before stay"
                    );
                }
                if kind.is_asked_nothing() {
                    self.seen(&server);
                }
                self.broker.kinds.had(&server, &kind);
            }
            News::NothingNew { server, kind } => self.broker.kinds.had(&server, &kind),
            News::NotListed { server, kind, why } => {
                tracing::warn!(
                    server.name = %server,
                    client.kind = kind.text(),
                    "what a server lists to such clients cannot be had: {why}"
                );
                self.broker.kinds.had(&server, &kind);
            }
            News::State { server } => {
                let state = self.broker.downstreams.get(&server).map(Replicas::state);
                if let Some(State::Failed { why, .. }) = state {
                    tracing::warn!(server.name = %server, "a server is not there: {why}");
                    self.seen(&server);
                    self.broker.kinds.away(&server);
                }
            }
        }
    }

    /// Takes in what a server lists of its resources. Returns all that it lists.
    fn lists(&mut self, (server, kind): (&ServerName, &Kind), resources: Resources) -> Uris {
        let listing = self.resources.entry(server.clone()).or_default();
        // Most servers list the same to every kind.
        let known = listing.all.iter().chain(listing.kinds.values());
        let known = known.into_iter().find(|known| ***known == resources);
        let resources = known.map_or_else(|| Arc::new(resources), Arc::clone);
        match kind.is_asked_nothing() {
            true => listing.all = Some(resources),
            false => drop(listing.kinds.insert(kind.clone(), resources)),
        }
        listing.uris()
    }

    /// Nobody waits for the first sight of this server any more.
    fn seen(&self, server: &ServerName) {
        self.broker
            .unseen
            .send_if_modified(|unseen| unseen.remove(server));
        self.broker
            .unlisted
            .send_if_modified(|unlisted| unlisted.remove(server));
    }

    /// Pins what is new, unless the policies would not be valid with it: then the
    /// new tools stay out, because a server must not be able to keep the next
    /// broker from starting.
    async fn observe(
        &mut self,
        seen: &Seen,
        mut listed: Vec<ToolDefinition>,
    ) -> Result<(), StartError> {
        let server = &seen.server;
        let mut pins = self.read_pins().await?;
        let known = pins.remove(server);
        let before = known.clone().unwrap_or_default();
        let now = Timestamp::now();
        let foreseen = match seen.kind.is_asked_nothing() {
            true => pins::foreseen(before, &listed, now),
            false => pins::foreseen_as(before, &seen.kind, &listed, now),
        };
        pins.insert(server.clone(), foreseen);
        if let Err(error) = self.build(&self.rules, pins).await {
            let Some(known) = known else {
                return Err(error);
            };
            tracing::error!(
                server.name = %server,
                error = %Chain(&error),
                "the policies are not valid with the new tools of a server, so those stay out"
            );
            let is_known =
                |tool: &ToolDefinition| known.iter().any(|pin| pin.definition.id == tool.id);
            listed.retain(is_known);
        }
        self.broker.besides().insert(server.clone(), seen.has);
        self.pin(seen, listed).await?;
        self.rebuild(&self.rules.clone()).await
    }

    async fn pin(&self, seen: &Seen, listed: Vec<ToolDefinition>) -> Result<(), StartError> {
        let server = &seen.server;
        let seen = seen.clone();
        let observed = self
            .broker
            .store
            .write("pin", Durability::Process, move |tx| {
                let (server, kind) = (&seen.server, &seen.kind);
                let now = Timestamp::now();
                let observed = match kind.is_asked_nothing() {
                    true => pins::observe(tx, server, &listed, now)?,
                    false => pins::observe_as(tx, (server, kind), &listed, now)?,
                };
                pins::keep_besides(tx, server, seen.has)?;
                pins::keep_uris(tx, server, &seen.uris)?;
                Ok(observed)
            })
            .await
            .map_err(StartError::Store)?
            .into_inner();
        for tool in &observed.changed {
            tracing::warn!(
                server.name = %server,
                tool.name = tool.as_str(),
                "a tool is not what it was when it was pinned; it is refused until `countersign pin accept`"
            );
        }
        Ok(())
    }

    async fn take(&mut self, rules: Rules) -> Result<(), StartError> {
        self.rebuild(&rules).await?;
        self.rules = rules;
        Ok(())
    }

    /// Notices what an operator accepted, and what another broker saw.
    async fn follow_pins(&mut self) {
        let pins = match self.read_pins().await {
            Ok(pins) if pins == self.pins => return,
            Ok(pins) => pins,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the pinned tools could not be read");
                return;
            }
        };
        // Also where they cannot be taken in, so that this is said once.
        self.pins = pins.clone();
        match self.build(&self.rules, pins.clone()).await {
            Ok(catalogue) => {
                self.swap(catalogue, pins);
                tracing::info!("pinned tools were changed, and are taken in as they are now");
            }
            Err(error) => tracing::error!(
                error = %Chain(&error),
                "the pinned tools as they are now could not be taken in; those known before stay"
            ),
        }
    }

    /// Swaps the catalogue for one of these rules and the pins as they are now.
    async fn rebuild(&mut self, rules: &Rules) -> Result<(), StartError> {
        let pins = self.read_pins().await?;
        let catalogue = self.build(rules, pins.clone()).await?;
        self.swap(catalogue, pins);
        Ok(())
    }

    fn swap(&mut self, catalogue: Catalogue, pins: Pins) {
        self.pins = pins;
        // Once, until it is another: a catalogue is made with each list of a server.
        let refused: BTreeSet<String> = catalogue.refused().iter().cloned().collect();
        for why in refused.difference(&self.told) {
            tracing::warn!("{why}");
        }
        self.told = refused;
        self.broker.catalogue.store(Arc::new(catalogue));
        self.broker.changes.send_modify(|changes| *changes += 1);
    }

    async fn read_pins(&self) -> Result<Pins, StartError> {
        let broker = Arc::clone(&self.broker);
        let names: Vec<ServerName> = broker.downstreams.keys().cloned().collect();
        blocking(move || read_pins(&broker.store, &names)).await
    }

    async fn build(&self, rules: &Rules, pins: Pins) -> Result<Catalogue, StartError> {
        let broker = Arc::clone(&self.broker);
        let rules = rules.clone();
        let resources = self.resources.clone();
        let built = tokio::task::spawn_blocking(move || {
            build(
                &rules,
                &broker.settings,
                &pins,
                &resources,
                &broker.downstreams,
            )
        });
        let built = built.await.map_err(|_ended| StartError::Stopping)?;
        built.map_err(StartError::Policies)
    }

    async fn recover(&self) {
        let broker = Arc::clone(&self.broker);
        let recovered = blocking(move || recover(&broker.store, &broker.writer)).await;
        if let Err(error) = recovered {
            tracing::error!(error = %Chain(&error), "what a dead broker left could not be recovered");
        }
    }
}

/// What waits, without the lists that a newer one of the same server follows: a
/// server may list more often than a catalogue can be built.
fn newest(first: News, incoming: &mut mpsc::UnboundedReceiver<News>) -> Vec<News> {
    let mut waiting = vec![first];
    while let Ok(news) = incoming.try_recv() {
        if let News::Tools {
            server: lists,
            kind: to,
            ..
        } = &news
        {
            let is_older = |older: &News| matches!(older, News::Tools { server, kind, .. } if server == lists && kind == to);
            waiting.retain(|older| !is_older(older));
        }
        waiting.push(news);
    }
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_lists_that_wait_only_the_newest_of_each_server_is_read() {
        let (sender, mut incoming) = mpsc::unbounded_channel();
        let lists = |server: &str, why: &str| News::Tools {
            server: server.parse().unwrap(),
            kind: Kind::default(),
            offers: crate::downstream::Offers::default(),
            definitions: Vec::new(),
            refused: vec![why.to_owned()],
            resources: crate::downstream::Resources::default(),
        };
        for (server, why) in [("a", "2"), ("b", "1"), ("a", "3")] {
            sender.send(lists(server, why)).unwrap();
        }
        let left = newest(lists("a", "1"), &mut incoming);
        let left: Vec<String> = left.iter().map(|news| format!("{news:?}")).collect();
        let expected = [lists("b", "1"), lists("a", "3")];
        assert_eq!(left, expected.map(|news| format!("{news:?}")));
    }
}
