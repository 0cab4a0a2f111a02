//! What a running broker is asked about escalations: what there is, a ruling on one, and
//! waiting for it.

use super::Broker;
use super::escalations::DecisionRefusal;
use super::escalations::Ground;
use super::escalations::Ruling;
use super::ruled::Way;
use crate::cause::Chain;
use crate::escalations;
use crate::escalations::Escalation;
use crate::escalations::EscalationId;
use crate::escalations::Filter;
use crate::escalations::State;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::sessions;
use crate::store::Committed;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often somebody who waits looks whether it was decided.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How many end in one transaction.
const EXPIRE_AT_ONCE: u32 = 1_000;

/// What came of it, and whether that could be written.
type Ended = Result<Result<Escalation, DecisionRefusal>, StoreError>;

impl Broker {
    /// Reads what somebody may know of escalations, on a thread that may wait.
    async fn of_ground<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Tx<'_>, Ground<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, DecisionRefusal> {
        let store = Arc::clone(&self.store);
        let (catalogue, settings) = (self.catalogue.load_full(), Arc::clone(&self.settings));
        let writer = self.writer.id();
        let read = tokio::task::spawn_blocking(move || {
            let ground = Ground {
                catalogue: &catalogue,
                settings: &settings,
                writer,
            };
            store.read(|tx| look(tx, ground))
        });
        match read.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(not_recorded(&error)),
            Err(_stopping) => Err(DecisionRefusal::NotRecorded),
        }
    }

    /// The escalations that somebody may know of, the oldest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn escalations(
        &self,
        who: &PrincipalId,
        filter: Filter,
    ) -> Result<Vec<Escalation>, DecisionRefusal> {
        let asks = who.clone();
        let found = self.of_ground(move |tx, ground| {
            ground.list(tx, (&asks, &Way::Api(None)), &filter, Timestamp::now())
        });
        let found = found.await?;
        self.shows(who, &found).await?;
        Ok(found)
    }

    /// Has somebody take along what the sessions came in touch with of which words are
    /// shown. Who decides comes in person, and is no model, unless an agent acts for them;
    /// calls of their own their agents made, and may read of by the same key.
    async fn shows(&self, who: &PrincipalId, found: &[Escalation]) -> Result<(), DecisionRefusal> {
        let by_agent = self.catalogue.load().bundle().acts_by_agent(who);
        let read = found.iter().filter(|one| by_agent || one.principal == *who);
        let from: BTreeSet<SessionId> = read.filter_map(Escalation::told_from).collect();
        for session in from {
            let read = self.reads_in(session, who).await;
            read.map_err(|error| not_recorded(&error))?;
        }
        Ok(())
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// When there is none of this id that they may know of.
    pub async fn escalation(
        &self,
        who: &PrincipalId,
        id: EscalationId,
    ) -> Result<Escalation, DecisionRefusal> {
        let found = self.as_it_stands(who, id).await?;
        self.shows(who, std::slice::from_ref(&found)).await?;
        Ok(found)
    }

    async fn as_it_stands(
        &self,
        who: &PrincipalId,
        id: EscalationId,
    ) -> Result<Escalation, DecisionRefusal> {
        let who = who.clone();
        let found = self.of_ground(move |tx, ground| ground.find(tx, &who, id, Timestamp::now()));
        found.await?.ok_or(DecisionRefusal::Unknown)
    }

    /// Takes somebody's ruling on an escalation. It is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// When it is not taken.
    pub async fn decide(
        &self,
        by: &PrincipalId,
        id: EscalationId,
        ruling: Ruling,
    ) -> Result<Escalation, DecisionRefusal> {
        let by = by.clone();
        let decided = self.on_ground("decide", move |tx, ground| {
            ground.decide(tx, (&by, id), &ruling, Timestamp::now())
        });
        decided.await
    }

    /// Changes what became of an escalation. It is on the disk when this returns.
    async fn on_ground(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Tx<'_>, Ground<'_>) -> Ended + Send + 'static,
    ) -> Result<Escalation, DecisionRefusal> {
        let (catalogue, settings) = (self.catalogue.load_full(), Arc::clone(&self.settings));
        let writer = self.writer.id();
        let work = move |tx: &Tx<'_>| {
            let ground = Ground {
                catalogue: &catalogue,
                settings: &settings,
                writer,
            };
            work(tx, ground)
        };
        let done = self.store.write(doing, Durability::Power, work).await;
        done.map_or_else(|error| Err(not_recorded(&error)), Committed::into_inner)
    }

    /// Takes a request of somebody's own back.
    ///
    /// # Errors
    ///
    /// When it is not theirs, or has ended.
    pub async fn withdraw(
        &self,
        who: &PrincipalId,
        id: EscalationId,
        way: Way,
    ) -> Result<Escalation, DecisionRefusal> {
        let who = who.clone();
        let ended = self.on_ground("withdraw", move |tx, ground| {
            let now = Timestamp::now();
            let ended = ground.withdraw(tx, (&who, id), &way, now)?;
            if let Ok(ended) = &ended
                && ended.has_reason()
            {
                let stick = (ground.settings.labels_stick, now);
                sessions::take_along(tx, (ended.session, &who), stick)?;
            }
            Ok(ended)
        });
        ended.await
    }

    /// Waits until something became of a request of somebody's own, for so long.
    pub(super) async fn await_decision(
        &self,
        who: &PrincipalId,
        id: EscalationId,
        patience: Duration,
    ) -> Result<Escalation, DecisionRefusal> {
        let until = Instant::now() + patience;
        loop {
            let found = self.as_it_stands(who, id).await?;
            let waits = found.state_at(Timestamp::now()) == State::Pending;
            if !waits || self.stopping.is_cancelled() {
                return Ok(found);
            }
            let next = (Instant::now() + LOOK_EVERY).min(until);
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.stopping.cancelled() => {}
            }
            if Instant::now() >= until {
                return self.as_it_stands(who, id).await;
            }
        }
    }

    /// Ends what nobody decided in time.
    pub(super) async fn expire_escalations(&self) {
        let work = |tx: &Tx<'_>| escalations::expire(tx, EXPIRE_AT_ONCE, Timestamp::now());
        let expired = self.store.write("lapse", Durability::Process, work).await;
        match expired.map(Committed::into_inner) {
            Ok(0) => {}
            Ok(count) => tracing::info!(escalations = count, "escalations expired"),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "old escalations could not be ended");
            }
        }
    }
}

fn not_recorded(error: &StoreError) -> DecisionRefusal {
    tracing::error!(error = %Chain(error), "an escalation could not be read or decided");
    DecisionRefusal::NotRecorded
}
