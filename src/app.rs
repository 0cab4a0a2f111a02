//! Wiring: settings into rooms, and the two ways in which the program runs for
//! long: as a broker over stdio, and as the check of a configuration.

mod check;

pub use check::Checked;
pub use check::check;
pub use check::schema;

use crate::broker::Broker;
use crate::cause::Chain;
use crate::config::Config;
use crate::config::Fingerprint;
use crate::config::RulesAt;
use crate::journal;
use crate::meters;
use crate::pins;
use crate::principal::PrincipalId;
use crate::session::Handle;
use crate::session::SessionId;
use crate::sessions;
use crate::stdio;
use crate::store::Migration;
use crate::store::Store;
use anyhow::Context;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;

/// The tables of every record room, by the version of the store that brought
/// them.
pub const MIGRATIONS: [Migration; 3] = [
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
        sql: &[journal::SCHEMA_4],
    },
];

/// How often the files of the rules are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    let seen = config.rules.fingerprint();
    let rules = config.rules.load()?;
    let principal = principal.or(config.stdio_principal).context(
        "nobody is calling: give `--principal NAME`, or set `stdio.principal` in the configuration",
    )?;
    anyhow::ensure!(
        rules.principals.by_id.contains_key(&principal),
        "`{principal}` is not in `{}`",
        config.rules.principals.display()
    );
    let session = session.or(config.stdio_session);
    if let Some(name) = &session
        && SessionId::from_str(name).is_err()
    {
        Handle::from_str(name)?;
    }
    let store = Arc::new(open_store(&config.store)?);
    let broker = Broker::start(store, config.broker, config.servers, rules).await?;
    let shutdown = CancellationToken::new();
    let signals = tokio::spawn(cancel_on_signal(shutdown.clone()));
    let watch = tokio::spawn(follow_rules(Arc::clone(&broker), config.rules, seen));
    let mut settings = stdio::Settings::new(principal);
    settings.session = session;
    let served = stdio::serve(
        Arc::clone(&broker),
        settings,
        tokio::io::stdin(),
        tokio::io::stdout(),
        shutdown,
    );
    let served = served.await;
    watch.abort();
    signals.abort();
    broker.stop(PATIENCE).await;
    served.context("the connection to the client failed")
}

/// Opens the store of a configuration.
///
/// # Errors
///
/// When it cannot be opened.
pub fn open_store(path: &Path) -> anyhow::Result<Store> {
    Ok(Store::open(path, &MIGRATIONS)?)
}

/// Opens a store that must exist already.
///
/// # Errors
///
/// When there is none, or it cannot be opened.
pub fn existing_store(path: &Path) -> anyhow::Result<Store> {
    Ok(Store::open_existing(path, &MIGRATIONS)?)
}

/// Ends orderly on SIGTERM and SIGINT. Where signals cannot be had, the end of
/// stdin still ends us.
async fn cancel_on_signal(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to end; calls in flight come to their end first");
    shutdown.cancel();
}

/// Reloads policies and principals when their files change. Rules that are not
/// valid change nothing; the next change is looked at again.
async fn follow_rules(broker: Arc<Broker>, rules: RulesAt, known: Fingerprint) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut looks = Looks::new(known);
    loop {
        look.tick().await;
        if !looks.show_a_change(rules.fingerprint()) {
            continue;
        }
        let taken = match rules.load() {
            Ok(loaded) => broker.reload(loaded).await.map_err(anyhow::Error::from),
            Err(error) => Err(error.into()),
        };
        match taken {
            Ok(()) => tracing::info!("the new policies and principals are in force"),
            Err(error) => tracing::error!(
                "the new policies or principals are not valid; the old ones stay in force: {}",
                Chain(error.as_ref())
            ),
        }
    }
}

/// What was seen of the files of the rules.
///
/// A change counts once nothing moved between two looks: half of a file, or one
/// of two, may be valid and lack the forbids.
struct Looks {
    taken: Fingerprint,
    last: Fingerprint,
}

impl Looks {
    fn new(taken: Fingerprint) -> Self {
        let last = taken.clone();
        Self { taken, last }
    }

    /// Whether the rules are to be read again.
    fn show_a_change(&mut self, now: Fingerprint) -> bool {
        if now != self.last {
            self.last = now;
            return false;
        }
        let changed = now != self.taken;
        self.taken = now;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_again_once_nobody_writes_them_any_more() {
        let files = |size| vec![("claims.cedar".into(), size, None)];
        let mut looks = Looks::new(files(90));
        let read: Vec<bool> = [90, 0, 40, 90, 90, 91, 91, 91]
            .into_iter()
            .map(|size| looks.show_a_change(files(size)))
            .collect();
        let no = false;
        assert_eq!(read, [no, no, no, no, no, no, true, no]);
    }
}
