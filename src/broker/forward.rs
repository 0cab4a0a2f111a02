//! Events told to others: by whichever broker claims a delivery first. One task
//! for each target, so that one that is slow keeps no other waiting.

use super::Broker;
use super::events::event_json;
use crate::cause::Chain;
use crate::downstream::Hook;
use crate::events;
use crate::events::Attempt;
use crate::events::Claimed;
use crate::events::Ended;
use crate::events::Outbox;
use crate::events::Target;
use crate::sessions;
use crate::store::Committed;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::Version;
use jiff::Timestamp;
use serde_json::json as value;
use std::sync::Arc;
use std::time::Duration;

/// How often a target is looked after: something may be due, of this process or
/// another.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Who is told of events, and how.
#[derive(Clone, Debug, Default)]
pub struct Webhooks {
    outbox: Outbox,
    hooks: Vec<Hook>,
}

impl Webhooks {
    /// Adds one. Its name is none of another's, and no secret.
    pub fn add(&mut self, name: &str, kinds: Vec<String>, hook: Hook) {
        self.outbox.targets.push(Target {
            name: name.into(),
            kinds,
        });
        self.hooks.push(hook);
    }

    /// Who is told of what.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}

impl Broker {
    /// Forwards events while the broker runs.
    pub(super) fn forward(self: &Arc<Self>) {
        let webhooks = &self.settings.webhooks;
        let targets = webhooks.outbox.targets.iter();
        for (target, hook) in targets.zip(&webhooks.hooks) {
            let (broker, target, hook) = (Arc::clone(self), target.name.clone(), hook.clone());
            self.tasks.spawn(async move {
                let stopping = broker.stopping.clone();
                let tells = broker.forward_to(&target, &hook);
                let _stopped = stopping.run_until_cancelled(tells).await;
            });
        }
    }

    async fn forward_to(&self, target: &str, hook: &Hook) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut known = Known::default();
        loop {
            look.tick().await;
            match self.is_due(target, &mut known) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "nobody can say which events are to be forwarded");
                    continue;
                }
            }
            while let Some(done) = self.forward_one(target, hook).await {
                if let Err(error) = done {
                    tracing::error!(error = %Chain(&error), "a delivery of an event could not be claimed or recorded");
                    break;
                }
            }
        }
    }

    /// Whether a delivery is due. The store is read only where it changed.
    fn is_due(&self, target: &str, known: &mut Known) -> Result<bool, StoreError> {
        let version = self.store.version()?;
        if known.version != Some(version) {
            known.due = self.store.read(|tx| events::next_due(tx, target))?;
            known.version = Some(version);
        }
        Ok(known.due.is_some_and(|due| due <= Timestamp::now()))
    }

    /// Claims a delivery, tries it, and records how it went. None where nothing is
    /// due.
    async fn forward_one(&self, target: &str, hook: &Hook) -> Option<Result<(), StoreError>> {
        let writer = self.writer.id();
        let name = target.to_owned();
        let claim = move |tx: &Tx<'_>| {
            let Some(claimed) = events::claim(tx, writer, &name, Timestamp::now())? else {
                return Ok(None);
            };
            let message = message(tx, &claimed)?;
            Ok(Some((claimed, message)))
        };
        let claimed = self.store.write("claim", Durability::Process, claim).await;
        let (claimed, message) = match claimed.map(Committed::into_inner) {
            Ok(claimed) => claimed?,
            Err(error) => return Some(Err(error)),
        };
        let at = Timestamp::now();
        let id = format!("evt_{}_{}", claimed.session, claimed.event.number);
        let told = hook.tell(&id, message, at).await;
        let problem = told.problem.clone();
        let (session, event) = (claimed.session, claimed.event.id.clone());
        let attempt = Attempt {
            at,
            status: told.status,
            problem: told.problem,
        };
        let record = move |tx: &Tx<'_>| events::record(tx, writer, &claimed, &attempt);
        let recorded = self.store.write("tried", Durability::Process, record).await;
        match recorded.map(Committed::into_inner) {
            Ok(Some(Ended::GivenUp)) => tracing::error!(
                session.id = %session,
                event.id = event.escape_debug().to_string(),
                webhook.target = target,
                "an event could not be forwarded for a day and is given up"
            ),
            Ok(None) => tracing::warn!(
                session.id = %session,
                event.id = event.escape_debug().to_string(),
                webhook.target = target,
                "an event was not taken and is forwarded again later: {}",
                problem.unwrap_or_default()
            ),
            Ok(Some(Ended::Delivered)) => {}
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(()))
    }
}

/// What was last read of the deliveries to a target.
#[derive(Debug, Default)]
struct Known {
    version: Option<Version>,
    due: Option<Timestamp>,
}

/// What a target is told: the text of an object (Standard Webhooks, payload
/// structure).
fn message(tx: &Tx<'_>, claimed: &Claimed) -> Result<String, StoreError> {
    let session = sessions::by_id(tx, claimed.session)?;
    let session = session.map_or_else(
        || value!({ "id": claimed.session.to_string() }),
        |session| {
            value!({
                "id": session.id.to_string(),
                "handles": session.handles,
                "owner": session.owner.to_string(),
            })
        },
    );
    let at = value!(claimed.event.at.to_string());
    let event = event_json(&claimed.event);
    Ok(format!(
        r#"{{"type":"session.event","timestamp":{at},"data":{{"session":{session},"event":{event}}}}}"#
    ))
}
