//! Upkeep: starting, following the servers and the operator, recovering what
//! dead brokers left, stopping.

use super::Broker;
use super::Catalogue;
use super::Rules;
use super::Settings;
use crate::cause::Chain;
use crate::downstream;
use crate::downstream::Downstream;
use crate::downstream::News;
use crate::downstream::State;
use crate::journal;
use crate::meters;
use crate::pins;
use crate::pins::Pin;
use crate::policy::BundleError;
use crate::principal::PrincipalId;
use crate::store::Durability;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Writer;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often a running broker looks for others that died, and for pins that
/// somebody else moved.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why a broker did not start, or kept the policies it had.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store failed.
    #[error("the store cannot be used")]
    Store(#[source] StoreError),
    /// The store counts money in other units.
    #[error(
        "the totals in the store have {stored} digits of minor units, and `policy.money_scale` is {configured}: set it back, or begin with a new store"
    )]
    MoneyScale {
        /// What the totals are counted in.
        stored: u8,
        /// What the configuration says.
        configured: u8,
    },
    /// The policies are not valid.
    #[error("the policies are not valid")]
    Policies(#[source] BundleError),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopping,
}

/// An operator's new rules, and who wants to know whether they were taken.
pub(super) struct Reload {
    rules: Rules,
    taken: oneshot::Sender<Result<(), StartError>>,
}

type Pins = BTreeMap<ServerName, Vec<Pin>>;

/// A place among the writers of a store, and what was pinned when it was taken.
pub(super) struct Enlisted {
    writer: Writer,
    pins: Pins,
}

impl Enlisted {
    /// Enlists, and marks what dead writers left open as unknown.
    pub(super) async fn at(
        store: &Arc<Store>,
        servers: Vec<ServerName>,
    ) -> Result<Self, StartError> {
        let store = Arc::clone(store);
        blocking(move || {
            let writer = Writer::enlist(&store, Timestamp::now())?;
            recover(&store, &writer)?;
            let pins = read_pins(&store, &servers)?;
            Ok(Self { writer, pins })
        })
        .await
    }
}

/// Servers that were started, and what is heard of them.
pub(super) struct Servers {
    pub(super) downstreams: BTreeMap<ServerName, Downstream>,
    pub(super) news: mpsc::UnboundedReceiver<News>,
}

impl Servers {
    fn start(servers: Vec<downstream::Settings>) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        let start = |server: downstream::Settings| {
            (
                server.name.clone(),
                Downstream::start(server, sender.clone()),
            )
        };
        Self {
            downstreams: servers.into_iter().map(start).collect(),
            news,
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
        let scale = store.write("scale", Durability::Power, move |tx| {
            meters::money_scale(tx, configured)
        });
        let stored = scale.await.map_err(StartError::Store)?.into_inner();
        if stored != configured {
            return Err(StartError::MoneyScale { stored, configured });
        }
        let names = servers.iter().map(|server| server.name.clone()).collect();
        let enlisted = Enlisted::at(&store, names).await?;
        let servers = Servers::start(servers);
        Self::begin(store, enlisted, settings, servers, rules).await
    }

    /// Takes in servers that were started, and follows them from now on.
    pub(super) async fn begin(
        store: Arc<Store>,
        Enlisted { writer, pins }: Enlisted,
        settings: Settings,
        Servers { downstreams, news }: Servers,
        rules: Rules,
    ) -> Result<Arc<Self>, StartError> {
        let catalogue = match build(&rules, &settings, &pins, &downstreams) {
            Ok(catalogue) => catalogue,
            Err(error) => {
                stop_all(&downstreams).await;
                return Err(StartError::Policies(error));
            }
        };
        let seen = |name: &&ServerName| !pins.contains_key(*name);
        let unseen = downstreams.keys().filter(seen).cloned().collect();
        let (reloads, orders) = mpsc::channel(1);
        let broker = Arc::new(Self {
            store,
            writer,
            settings: Arc::new(settings),
            downstreams,
            catalogue: ArcSwap::from_pointee(catalogue),
            changes: watch::Sender::new(0),
            reloads,
            unseen: watch::Sender::new(unseen),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        let upkeep = Upkeep {
            broker: Arc::clone(&broker),
            rules,
            pins,
        };
        broker.tasks.spawn(upkeep.run(news, orders));
        Ok(broker)
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

    /// The tools that a principal may see: entries of `tools/list` under their
    /// exposed names, in one order. Depends on nothing that a session did.
    pub async fn tools(&self, principal: &PrincipalId) -> Vec<Arc<str>> {
        self.first_sight().await;
        self.catalogue.load().visible(principal)
    }

    /// Moves when what [`Broker::tools`] returns may have changed.
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

    /// Ends orderly: calls that were sent come to their end first, at most for
    /// `patience`; then the servers are ended, and what is still open then is
    /// recorded as unknown.
    pub async fn stop(&self, patience: Duration) {
        self.stopping.cancel();
        self.tasks.close();
        let _ended_or_late = tokio::time::timeout(patience, self.tasks.wait()).await;
        stop_all(&self.downstreams).await;
        let _ended_or_late = tokio::time::timeout(patience, self.tasks.wait()).await;
        let own = self.writer.id();
        let left = self.store.write("retire", Durability::Power, move |tx| {
            journal::recover(tx, own, own, Timestamp::now())
        });
        match left.await {
            Ok(_left_open) => self.writer.retired(),
            Err(error) => tracing::warn!(
                error = %error,
                "this broker could not sign off; the next one to start does it"
            ),
        }
    }
}

async fn stop_all(downstreams: &BTreeMap<ServerName, Downstream>) {
    let mut stops = tokio::task::JoinSet::new();
    for downstream in downstreams.values() {
        let downstream = downstream.clone();
        stops.spawn(async move { downstream.stop().await });
    }
    stops.join_all().await;
}

/// The task that rebuilds the catalogue. It alone does, so that two changes
/// never race.
struct Upkeep {
    broker: Arc<Broker>,
    rules: Rules,
    /// What the last catalogue was made of, or would have been had the policies
    /// fitted it.
    pins: Pins,
}

impl Upkeep {
    async fn run(
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
                Some(news) = incoming.recv() => self.follow(news).await,
                Some(order) = orders.recv() => {
                    let taken = self.take(order.rules).await;
                    let _nobody_waits = order.taken.send(taken);
                }
                _ = look.tick() => {
                    self.recover().await;
                    self.follow_pins().await;
                }
            }
        }
    }

    async fn follow(&mut self, news: News) {
        match news {
            News::Tools {
                server,
                definitions,
                refused,
            } => {
                for why in refused {
                    tracing::warn!(server.name = %server, "a tool is not offered: {why}");
                }
                if let Err(error) = self.observe(&server, definitions).await {
                    tracing::error!(
                        server.name = %server,
                        error = %Chain(&error),
                        "the tools of a server could not be taken in; those known before stay"
                    );
                }
                self.seen(&server);
            }
            News::State { server } => {
                let state = self.broker.downstreams.get(&server).map(Downstream::state);
                if let Some(State::Failed { why, .. }) = state {
                    tracing::warn!(server.name = %server, "a server is not there: {why}");
                    self.seen(&server);
                }
            }
        }
    }

    /// Nobody waits for the first sight of this server any more.
    fn seen(&self, server: &ServerName) {
        self.broker
            .unseen
            .send_if_modified(|unseen| unseen.remove(server));
    }

    /// Pins what is new, unless the policies would not be valid with it: then the
    /// new tools stay out, because a server must not be able to keep the next
    /// broker from starting.
    async fn observe(
        &mut self,
        server: &ServerName,
        mut listed: Vec<ToolDefinition>,
    ) -> Result<(), StartError> {
        let mut pins = self.read_pins().await?;
        let known = pins.remove(server);
        let foreseen = pins::foreseen(known.clone().unwrap_or_default(), &listed, Timestamp::now());
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
        self.pin(server, listed).await?;
        self.rebuild(&self.rules.clone()).await
    }

    async fn pin(
        &self,
        server: &ServerName,
        listed: Vec<ToolDefinition>,
    ) -> Result<(), StartError> {
        let name = server.clone();
        let observed = self
            .broker
            .store
            .write("pin", Durability::Process, move |tx| {
                pins::observe(tx, &name, &listed, Timestamp::now())
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
        for why in catalogue.refused() {
            tracing::warn!("a tool is not offered: {why}");
        }
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
        let built = tokio::task::spawn_blocking(move || {
            build(&rules, &broker.settings, &pins, &broker.downstreams)
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

fn build(
    rules: &Rules,
    settings: &Settings,
    pins: &Pins,
    downstreams: &BTreeMap<ServerName, Downstream>,
) -> Result<Catalogue, BundleError> {
    let shape = (settings.money_scale, settings.longest_name);
    Catalogue::build(rules, &settings.servers, pins, downstreams, shape)
}

fn read_pins(store: &Store, servers: &[ServerName]) -> Result<Pins, StoreError> {
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
fn recover(store: &Store, writer: &Writer) -> Result<(), StoreError> {
    let own = writer.id();
    for dead in writer.dead_others(store)? {
        let id = dead.id();
        let left_open = store.write_blocking("recover", move |tx| {
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(StartError::Store),
        Err(_ended) => Err(StartError::Stopping),
    }
}
