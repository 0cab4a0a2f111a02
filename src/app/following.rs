//! Following the files of the operator while a broker runs: policies and principals
//! are taken as they change; of the configuration it is said that it changed.

use crate::broker::Broker;
use crate::cause::Chain;
use crate::config::AsRead;
use crate::config::ConfigError;
use crate::config::Fingerprint;
use crate::config::RulesAt;
use crate::principal::Principals;
use std::sync::Arc;
use std::time::Duration;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files that a running broker follows.
pub(super) struct Files {
    at: RulesAt,
    rules: Looks,
    /// The principals that are in force.
    principals: Principals,
    config: AsRead,
    written: Looks,
    /// What the configuration said when it was last told that it changed.
    told: Option<String>,
}

impl Files {
    /// Whoever calls this loaded the rules after he took the fingerprint.
    pub(super) fn new(
        (at, seen): (RulesAt, Fingerprint),
        principals: Principals,
        config: AsRead,
    ) -> Self {
        Self {
            at,
            rules: Looks::new(seen),
            principals,
            config,
            // Nothing was seen of it: so it is compared once in any case, since it may
            // have changed while the broker started.
            written: Looks::new(Fingerprint::new()),
            told: None,
        }
    }

    /// Reloads policies and principals when their files change. Rules that are not
    /// valid change nothing; the next change is looked at again.
    pub(super) async fn follow(mut self, broker: Arc<Broker>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            if self.written.show_a_change(self.config.fingerprint()) {
                self.tell_of_config();
            }
            if self.rules.show_a_change(self.at.fingerprint()) {
                self.take(&broker).await;
            }
        }
    }

    fn tell_of_config(&mut self) {
        let changed = self.config.changed();
        if changed == self.told {
            return;
        }
        let path = self.config.path().display();
        match &changed {
            Some(_) => tracing::warn!(
                "`{path}` changed since this broker started: what it says of servers, tools and settings counts after a restart"
            ),
            None => tracing::info!("`{path}` says again what it said when this broker started"),
        }
        self.told = changed;
    }

    async fn take(&mut self, broker: &Broker) {
        let loaded = self.at.load();
        let taken = match loaded {
            Ok(rules) => {
                let principals = rules.principals.clone();
                let taken = broker.reload(rules).await.map_err(anyhow::Error::from);
                taken.map(|()| principals)
            }
            Err(error) => Err(error.into()),
        };
        match taken {
            Ok(principals) => {
                self.principals = principals;
                tracing::info!("the new policies and principals are in force");
            }
            Err(error) => tracing::error!(
                "the new policies or principals are not valid; the old ones stay in force: {}{}",
                Chain(error.as_ref()),
                self.besides(self.at.principals()),
            ),
        }
    }

    /// What else is to be known where new rules were not taken.
    fn besides(&self, principals: Result<Principals, ConfigError>) -> String {
        let mut besides = String::new();
        if principals.is_ok_and(|principals| principals != self.principals) {
            let path = self.at.principals.display();
            besides += &format!(
                "; what changed in `{path}` was not taken either, as policies and principals are taken together"
            );
        }
        if self.config.changed().is_some() {
            let path = self.config.path().display();
            besides += &format!(
                "; `{path}` changed since this broker started: restart it, then what is declared there counts"
            );
        }
        besides
    }
}

/// What was seen of files.
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
