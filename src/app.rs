//! Wiring: settings into rooms, and the ways in which the program runs for long:
//! as a broker over stdio or HTTP, and as the check of a configuration.

mod advice;
mod callers;
mod check;
mod doctor;
mod following;
mod keeping;
mod notified;
mod redactions;
mod starting;

pub use callers::can_be_session;
pub use callers::declared;
pub use callers::must_be_declared;
pub use callers::unknown_principal;
pub use callers::unknown_role;
pub use check::Checked;
pub use check::catalogue;
pub use check::check;
pub use check::schema;
pub use doctor::Finding;
pub use doctor::Level;
pub use doctor::doctor;
pub use keeping::Holds;
pub use keeping::StoreFacts;
pub use keeping::back_up;
pub use keeping::bring_back;
pub use keeping::check_store;
pub use keeping::must_be_new;
pub use starting::Start;
pub use starting::Starting;
pub use starting::adding;
pub use starting::starting;

use crate::broker;
use crate::broker::Broker;
use crate::config::AsRead;
use crate::config::Config;
use crate::config::RulesAt;
use crate::downstream;
use crate::escalations;
use crate::events;
use crate::http;
use crate::journal;
use crate::keys;
use crate::memory;
use crate::meters;
use crate::outbox;
use crate::pins;
use crate::principal::PrincipalId;
use crate::retries;
use crate::sessions;
use crate::stdio;
use crate::store;
use crate::store::Migration;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::Writer;
use crate::store::WriterId;
use crate::tasks;
use anyhow::Context;
use following::Files;
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The tables of every record room, by the version of the store that brought
/// them.
pub const MIGRATIONS: [Migration; 29] = [
    Migration {
        number: 1,
        sql: &[
            journal::SCHEMA,
            meters::SCHEMA,
            sessions::SCHEMA,
            pins::SCHEMA,
        ],
    },
    Migration {
        number: 2,
        sql: &[meters::SCHEMA_2],
    },
    Migration {
        number: 3,
        sql: &[journal::SCHEMA_3],
    },
    Migration {
        number: 4,
        sql: &[sessions::SCHEMA_4, keys::SCHEMA],
    },
    Migration {
        number: 5,
        sql: &[
            sessions::SCHEMA_5,
            meters::SCHEMA_5,
            keys::SCHEMA_5,
            tasks::SCHEMA,
        ],
    },
    Migration {
        number: 6,
        sql: &[store::SCHEMA_6],
    },
    Migration {
        number: 7,
        sql: &[
            sessions::SCHEMA_7,
            memory::SCHEMA,
            events::SCHEMA,
            retries::SCHEMA,
            tasks::SCHEMA_7,
        ],
    },
    Migration {
        number: 8,
        sql: &[pins::SCHEMA_8],
    },
    Migration {
        number: 9,
        sql: &[meters::SCHEMA_9],
    },
    Migration {
        number: 10,
        sql: &[pins::SCHEMA_10],
    },
    Migration {
        number: 11,
        sql: &[sessions::SCHEMA_11, tasks::SCHEMA_11],
    },
    Migration {
        number: 12,
        sql: &[journal::SCHEMA_12],
    },
    Migration {
        number: 13,
        sql: &[sessions::SCHEMA_13],
    },
    Migration {
        number: 14,
        sql: &[journal::SCHEMA_14],
    },
    Migration {
        number: 15,
        sql: &[events::SCHEMA_15],
    },
    Migration {
        number: 16,
        sql: &[escalations::SCHEMA],
    },
    Migration {
        number: 17,
        sql: &[sessions::SCHEMA_17],
    },
    Migration {
        number: 18,
        sql: &[escalations::waiting::SCHEMA_18],
    },
    Migration {
        number: 19,
        sql: &[outbox::SCHEMA, escalations::SCHEMA_19],
    },
    Migration {
        number: 20,
        sql: &[journal::SCHEMA_20],
    },
    Migration {
        number: 21,
        sql: &[journal::SCHEMA_21],
    },
    Migration {
        number: 22,
        sql: &[sessions::SCHEMA_22],
    },
    Migration {
        number: 23,
        sql: &[escalations::confirming::SCHEMA_23],
    },
    Migration {
        number: 24,
        sql: &[escalations::SCHEMA_24],
    },
    Migration {
        number: 25,
        sql: &[escalations::confirming::SCHEMA_25],
    },
    Migration {
        number: 26,
        sql: &[journal::SCHEMA_26],
    },
    Migration {
        number: 27,
        sql: &[sessions::SCHEMA_27],
    },
    Migration {
        number: 28,
        sql: &[escalations::SCHEMA_28],
    },
    Migration {
        number: 29,
        sql: &[journal::SCHEMA_29],
    },
];

/// How long an orderly end waits for calls, and for servers.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves one client over stdin and stdout until it goes away or we are told
/// to end.
///
/// # Errors
///
/// When nothing could be started: the message says what to do.
pub async fn stdio(
    config: Config,
    principal: Option<PrincipalId>,
    session: Option<String>,
) -> anyhow::Result<()> {
    let principal = principal.or(config.stdio_principal).context(
        "nobody is calling: give `--principal NAME`, or set `stdio.principal` in the configuration",
    )?;
    must_be_declared(&principal, &config.rules)?;
    let session = session.or(config.stdio_session);
    if let Some(name) = &session {
        can_be_session(name, &config.rules)?;
    }
    let servers = config.servers.to_start()?.to_vec();
    let store = Arc::new(open_store(&config.store)?);
    let rules = (config.rules, config.as_read);
    let running = Running::start(store, config.broker, servers, rules).await?;
    let mut settings = stdio::Settings::new(principal);
    settings.session = session;
    let served = stdio::serve(
        Arc::clone(&running.broker),
        settings,
        tokio::io::stdin(),
        tokio::io::stdout(),
        running.shutdown.clone(),
    );
    let served = served.await;
    running.stop().await;
    served.context("the connection to the client failed")
}

/// Serves clients over HTTP until we are told to end. `listen` stands over the
/// configuration's address.
///
/// # Errors
///
/// When nothing could be started: the message says what to do.
pub async fn serve(config: Config, listen: Option<SocketAddr>) -> anyhow::Result<()> {
    let mut settings = config.http;
    settings.listen = listen.unwrap_or(settings.listen);
    if let Some(anonymous) = &settings.anonymous {
        must_be_declared(anonymous, &config.rules)?;
    }
    let servers = config.servers.to_start()?.to_vec();
    let store = Arc::new(open_store(&config.store)?);
    settings.must_let_somebody_in(&store)?;
    let rules = (config.rules, config.as_read);
    let running = Running::start(store, config.broker, servers, rules).await?;
    let (broker, store) = (Arc::clone(&running.broker), Arc::clone(&running.store));
    let mut server = match http::Server::start(settings, broker, store) {
        Ok(server) => server,
        Err(error) => {
            running.stop().await;
            return Err(error.into());
        }
    };
    tracing::info!("listening at http://{}/mcp", server.address());
    running.shutdown.cancelled().await;
    server.drain().await;
    running.stop().await;
    server.end();
    Ok(())
}

/// A broker, and the tasks that keep it up.
struct Running {
    broker: Arc<Broker>,
    store: Arc<Store>,
    /// Cancelled when we are told to end.
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    async fn start(
        store: Arc<Store>,
        settings: broker::Settings,
        servers: Vec<downstream::Settings>,
        (at, config): (RulesAt, AsRead),
    ) -> anyhow::Result<Self> {
        let seen = at.fingerprint();
        let rules = at.load()?;
        let principals = rules.principals.clone();
        let broker = Broker::start(Arc::clone(&store), settings, servers, rules).await?;
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(cancel_on_signal(shutdown.clone()));
        let files = Files::new((at, seen), principals, config);
        tasks.spawn(files.follow(Arc::clone(&broker)));
        Ok(Self {
            broker,
            store,
            shutdown,
            tasks,
        })
    }

    async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.broker.stop(PATIENCE).await;
    }
}

/// Opens the store of a configuration, for a broker.
///
/// # Errors
///
/// When it cannot be opened, or is damaged.
pub fn open_store(path: &Path) -> anyhow::Result<Store> {
    let store = Store::open(path, &MIGRATIONS)?;
    for part in store.must_be_whole(&MIGRATIONS)? {
        tracing::warn!(store.path = %path.display(), "in the store, {part}");
    }
    Ok(store)
}

/// Opens a store that must exist already, to look into it: what its writers had
/// recorded before is in the tables.
///
/// # Errors
///
/// When there is none, or it cannot be opened.
pub fn existing_store(path: &Path) -> anyhow::Result<Store> {
    let store = Store::open_existing(path, &MIGRATIONS)?;
    if !store.settle(journal::fold)? {
        tracing::warn!("a running broker is late with its journal: the last calls may be missing");
    }
    Ok(store)
}

/// Changes a store as a process of its own that ends with the change: for commands whose
/// change is recorded.
///
/// # Errors
///
/// When it cannot be made; then nothing was changed.
pub fn record_once<T: Send + 'static>(
    store: &Store,
    doing: &'static str,
    work: impl FnOnce(&Tx<'_>, WriterId) -> Result<T, StoreError> + Send + 'static,
) -> anyhow::Result<T> {
    let writer = Writer::enlist(store, Timestamp::now())?;
    let own = writer.id();
    let done = store.write_blocking(doing, move |tx| {
        let done = work(tx, own)?;
        Writer::bury(tx, own, Timestamp::now())?;
        Ok(done)
    })?;
    writer.retired();
    Ok(done)
}

/// The same where tasks run: what a dead broker left is folded by a thread that may wait.
async fn existing_store_apart(path: &Path) -> anyhow::Result<Store> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || existing_store(&path)).await?
}

/// Ends orderly on SIGTERM and SIGINT, from when this is called. Where signals cannot be
/// had, the end of stdin still ends us.
fn cancel_on_signal(shutdown: CancellationToken) -> impl Future<Output = ()> + Send {
    let told = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = told else {
            return;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to end; calls in flight come to their end first");
        shutdown.cancel();
        // Who tells us twice does not want to wait: as if we were killed, which the
        // store is made for.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("told to end again; calls in flight are given up");
        std::process::exit(130);
    }
}
