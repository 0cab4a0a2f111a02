//! Starting and stopping, and taking an operator's new rules.

use super::Broker;
use super::Catalogue;
use super::Custody;
use super::Known;
use super::Rules;
use super::Settings;
use super::at_once::Desk;
use super::follow::Upkeep;
use super::kinds::Kinds;
use super::kinds::SeenAs;
use super::known::Known as KnownSessions;
use super::open_calls::OpenCalls;
use super::place::Places;
use super::receipt::Tellings;
use super::resources::Listing;
use super::resources::Listings;
use super::start_error::StartError;
use super::subscriptions::Subscriptions;
use super::transports;
use super::transports::Keeps;
use super::transports::Transports;
use crate::downstream;
use crate::downstream::Keeper;
use crate::downstream::Keeping;
use crate::downstream::Kept;
use crate::downstream::KeptFor;
use crate::downstream::KeptSession;
use crate::downstream::News;
use crate::downstream::Replicas;
use crate::journal;
use crate::journal::Signer;
use crate::keys;
use crate::meters;
use crate::outbox;
use crate::pins;
use crate::pins::Besides;
use crate::pins::Pin;
use crate::policy::BundleError;
use crate::store::Durability;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Writer;
use crate::tool::ServerName;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An operator's new rules, and who wants to know whether they were taken.
pub(super) struct Reload {
    pub(super) rules: Rules,
    pub(super) taken: oneshot::Sender<Result<(), StartError>>,
}

pub(super) type Pins = BTreeMap<ServerName, Vec<Pin>>;

/// A place among the writers of a store, and what was pinned when it was taken.
pub(super) struct Enlisted {
    writer: Writer,
    pins: Pins,
    kinds: SeenAs,
    besides: BTreeMap<ServerName, Besides>,
    resources: Listings,
    sealing: [u8; 32],
    /// Transport sessions with servers, to go on in.
    kept: HashMap<KeptFor, KeptSession>,
    signer: Arc<Signer>,
}

impl Enlisted {
    /// Enlists, and marks what dead writers left open as unknown.
    pub(super) async fn at(
        store: &Arc<Store>,
        servers: Vec<ServerName>,
        custody: &Custody,
    ) -> Result<Self, StartError> {
        let signer = custody.signer().await?;
        let store = Arc::clone(store);
        blocking(move || {
            let writer = Writer::enlist(&store, Timestamp::now())?;
            recover(&store, &writer)?;
            let pins = read_pins(&store, &servers)?;
            let mut kinds = SeenAs::new();
            let mut besides = BTreeMap::new();
            let mut resources = Listings::new();
            store.read(|tx| {
                for server in &servers {
                    let seen = pins::kinds(tx, server)?.into_iter();
                    kinds.extend(seen.map(|kind| (server.clone(), kind)));
                    besides.insert(server.clone(), pins::besides(tx, server)?);
                    let before = Listing::before(pins::uris(tx, server)?);
                    resources.insert(server.clone(), before);
                }
                Ok(())
            })?;
            let sealing = store.write_blocking("sealing", keys::sealing)?;
            let kept = transports::take_over(&store, &writer)?;
            Ok(Self {
                writer,
                pins,
                kinds,
                besides,
                resources,
                sealing,
                kept,
                signer,
            })
        })
        .await
    }
}

/// Servers that were started, and what is heard of them.
pub(super) struct Servers {
    pub(super) downstreams: BTreeMap<ServerName, Replicas>,
    pub(super) news: mpsc::UnboundedReceiver<News>,
    pub(super) keeping: mpsc::UnboundedReceiver<Keeping>,
}

impl Servers {
    fn start(servers: Vec<downstream::Settings>, (kept, keeping): Keeps) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        let start = |mut server: downstream::Settings| {
            server.keeper = Some(Keeper::new(&kept, &server));
            (server.name.clone(), Replicas::start(server, sender.clone()))
        };
        Self {
            downstreams: servers.into_iter().map(start).collect(),
            news,
            keeping,
        }
    }
}

impl Broker {
    /// Enlists as a writer, marks what dead writers left open as unknown, starts
    /// the servers and answers from what is pinned until they are there.
    ///
    /// # Errors
    ///
    /// When the store cannot be used, or counts money in other units, or the
    /// policies are not valid: a broker
    /// without valid policies does not start.
    pub async fn start(
        store: Arc<Store>,
        settings: Settings,
        servers: Vec<downstream::Settings>,
        rules: Rules,
    ) -> Result<Arc<Self>, StartError> {
        let configured = settings.money_scale;
        let scale = store.finish("scale", Durability::Power, move |tx| {
            meters::money_scale(tx, configured)
        });
        let stored = scale.await.map_err(StartError::Store)?.into_inner();
        if stored != configured {
            return Err(StartError::MoneyScale { stored, configured });
        }
        let names = servers.iter().map(|server| server.name.clone()).collect();
        let mut enlisted = Enlisted::at(&store, names, &settings.custody).await?;
        let kept = std::mem::take(&mut enlisted.kept);
        let servers = Servers::start(servers, Kept::new(kept));
        Self::begin(store, enlisted, settings, servers, rules).await
    }

    /// Takes in servers that were started, and follows them from now on.
    pub(super) async fn begin(
        store: Arc<Store>,
        Enlisted {
            writer,
            pins,
            kinds,
            besides,
            resources,
            sealing,
            kept: _taken_in_by_the_servers,
            signer,
        }: Enlisted,
        settings: Settings,
        Servers {
            downstreams,
            news,
            keeping,
        }: Servers,
        rules: Rules,
    ) -> Result<Arc<Self>, StartError> {
        let catalogue = match build(&rules, &settings, &pins, &resources, &downstreams) {
            Ok(catalogue) => catalogue,
            Err(error) => {
                stop_all(&downstreams).await;
                return Err(StartError::Policies(error));
            }
        };
        let desk = match Desk::of(&store, &writer, settings.durability) {
            Ok(desk) => desk,
            Err(error) => {
                stop_all(&downstreams).await;
                return Err(StartError::Store(error));
            }
        };
        let seen = |name: &&ServerName| !pins.contains_key(*name);
        let unseen = downstreams.keys().filter(seen).cloned().collect();
        let unlisted = downstreams.keys().cloned().collect();
        let (reloads, orders) = mpsc::channel(1);
        let broker = Arc::new(Self {
            store,
            writer,
            desk,
            settings: Arc::new(settings),
            downstreams,
            known: KnownSessions::default(),
            places: Places::default(),
            open_calls: OpenCalls::default(),
            tellings: Tellings::default(),
            sealing,
            signer,
            catalogue: ArcSwap::from_pointee(catalogue),
            changes: watch::Sender::new(0),
            subscriptions: Subscriptions::default(),
            reloads,
            unlisted: watch::Sender::new(unlisted),
            unseen: watch::Sender::new(unseen),
            kinds: Kinds::of(kinds),
            besides: Mutex::new(besides),
            transports: Transports::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        let upkeep = Upkeep {
            broker: Arc::clone(&broker),
            rules,
            pins,
            resources,
            told: BTreeSet::default(),
            told_of: BTreeMap::default(),
        };
        broker.tasks.spawn(upkeep.run(news, orders));
        broker.follow_updates();
        broker.follow_kept(keeping);
        broker.forward();
        broker.notify();
        broker.follow_own();
        broker.make_approved();
        Ok(broker)
    }

    /// Spreads what servers say of followed resources while the broker runs.
    fn follow_updates(self: &Arc<Self>) {
        let (sender, updates) = mpsc::unbounded_channel();
        for downstream in self.downstreams.values() {
            downstream.updates_to(&sender);
        }
        let broker = Arc::clone(self);
        self.tasks.spawn(async move {
            let spreading = broker.subscriptions.spread(updates);
            let _stopped = broker.stopping.run_until_cancelled(spreading).await;
        });
    }

    /// Takes an operator's new rules, or keeps the old ones.
    ///
    /// # Errors
    ///
    /// Why the new rules were not taken.
    pub async fn reload(&self, rules: Rules) -> Result<(), StartError> {
        let (taken, answer) = oneshot::channel();
        let order = Reload { rules, taken };
        let sent = self.reloads.send(order).await;
        sent.map_err(|_stopped| StartError::Stopping)?;
        answer.await.unwrap_or(Err(StartError::Stopping))
    }

    /// Ends orderly: calls that were sent come to their end first, at most for
    /// `patience`; then the servers are ended, and what is still open then is
    /// recorded as unknown.
    pub async fn stop(&self, patience: Duration) {
        self.stopping.cancel();
        self.open_calls.clear();
        self.tasks.close();
        let _ended_or_late = tokio::time::timeout(patience, self.tasks.wait()).await;
        stop_all(&self.downstreams).await;
        let _ended_or_late = tokio::time::timeout(patience, self.tasks.wait()).await;
        self.transports.end().await;
        if let Some(desk) = &self.desk {
            desk.close();
        }
        let own = self.writer.id();
        let signer = self
            .settings
            .custody
            .every
            .map(|_every| Arc::clone(&self.signer));
        let left = self.store.finish("retire", Durability::Power, move |tx| {
            let now = Timestamp::now();
            outbox::release(tx, own, now)?;
            journal::recover(tx, own, own, now)?;
            match signer {
                Some(signer) => journal::checkpoint(tx, &signer, now),
                None => Ok(None),
            }
        });
        match left.await {
            Ok(made) => {
                self.writer.retired();
                self.give_away(made.into_inner()).await;
            }
            Err(error) => tracing::warn!(
                error = %error,
                "this broker could not sign off; the next one to start does it"
            ),
        }
    }
}

async fn stop_all(downstreams: &BTreeMap<ServerName, Replicas>) {
    let mut stops = tokio::task::JoinSet::new();
    for downstream in downstreams.values() {
        let downstream = downstream.clone();
        stops.spawn(async move { downstream.stop().await });
    }
    stops.join_all().await;
}

pub(super) fn build(
    rules: &Rules,
    settings: &Settings,
    pins: &Pins,
    resources: &Listings,
    downstreams: &BTreeMap<ServerName, Replicas>,
) -> Result<Catalogue, BundleError> {
    let shape = settings.shape();
    let known = Known {
        pins,
        resources,
        downstreams,
    };
    Catalogue::build(rules, &settings.servers, known, shape)
}

pub(super) fn read_pins(store: &Store, servers: &[ServerName]) -> Result<Pins, StoreError> {
    store.read(|tx| {
        let mut known = Pins::new();
        for server in servers {
            if let Some(pins) = pins::of_server(tx, server)? {
                known.insert(server.clone(), pins);
            }
        }
        Ok(known)
    })
}

/// Closes what dead writers left open.
pub(super) fn recover(store: &Store, writer: &Writer) -> Result<(), StoreError> {
    let own = writer.id();
    for dead in writer.dead_others(store)? {
        let id = dead.id();
        let left_open = store.write_blocking("recover", move |tx| {
            outbox::release(tx, id, Timestamp::now())?;
            journal::recover(tx, own, id, Timestamp::now())
        })?;
        dead.buried();
        if left_open > 0 {
            tracing::warn!(
                writer = id.number(),
                calls = left_open,
                "a broker ended in the middle of calls; their outcome is unknown"
            );
        }
    }
    Ok(())
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(StartError::Store),
        Err(_ended) => Err(StartError::Stopping),
    }
}
