//! Labels that calls bring into their session, so that policy knows what a model has
//! read before it decides the next call.
//!
//! A label is there before its content may reach the client: from the admission on
//! where the client hears the server while it works, else from the transaction that
//! closes the record. With a call somewhere else it goes along (`Entry::to_use`). Whoever
//! reads what stands in a session takes its labels along before it is shown (`Unread`).

use super::Broker;
use super::CallLine;
use super::Refusal;
use super::catalogue::Route;
use crate::cause::Chain;
use crate::escalations;
use crate::escalations::Escalation;
use crate::journal::Subject;
use crate::outcome::Outcome;
use crate::principal::PrincipalId;
use crate::session::Label;
use crate::session::SessionId;
use crate::sessions;
use crate::sessions::Brought;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tasks::Task;
use crate::tool::CallId;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;
use std::time::Instant;

/// How often labels stick anew while a call runs of which its client may hear before it
/// ends.
const STICK_AGAIN: Duration = Duration::from_secs(30);

/// What a call of this route may bring, which for a task includes what the call
/// that began it would have.
pub(super) fn of(route: &Route, task: Option<&Task>) -> BTreeSet<Label> {
    let mut labels = route.gate.rules().labels.clone();
    labels.extend(
        task.into_iter()
            .flat_map(|task| task.labels.iter().cloned()),
    );
    labels
}

/// Those that must be there before the call is sent: progress, logs and questions
/// reach the client while it runs.
pub(super) fn heard_before_the_end(labels: &BTreeSet<Label>, line: &CallLine) -> BTreeSet<Label> {
    let hears = line.progress.is_some() || line.logs.is_some() || line.asks.is_some();
    match hears {
        true => labels.clone(),
        false => BTreeSet::new(),
    }
}

/// Whether anything of the server may have come with this end. Where nobody knows
/// what became of a call, something may.
pub(super) fn come_with(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Completed
        | Outcome::ToolFailed
        | Outcome::InputRequired
        | Outcome::Replayed
        | Outcome::TimedOut
        | Outcome::Cancelled
        | Outcome::Unknown => true,
        Outcome::FailedBeforeSending
        | Outcome::Denied
        | Outcome::Escalated
        | Outcome::InvalidArguments
        | Outcome::UnknownTool => false,
    }
}

/// Has what a refusal tells in the words of others bring what those came in touch with:
/// what the session waits for, and why somebody decided so who had read of the call.
pub(super) fn told(
    tx: &Tx<'_>,
    refusal: &Refusal,
    subject: &Subject,
    (stick, now): (SignedDuration, Timestamp),
) -> Result<(), StoreError> {
    let from = match refusal {
        Refusal::Paused(paused) => paused.waiting_for.as_ref().map(|_words| subject.session),
        Refusal::TurnedDown { id, .. } => {
            let found = escalations::find(tx, *id)?;
            let found = found.filter(Escalation::has_reason);
            found.map(|found| found.session)
        }
        _ => None,
    };
    let call = (subject.session, &subject.principal, subject.call);
    match from {
        Some(from) => told_in(tx, from, call, (stick, now)),
        None => Ok(()),
    }
}

/// Has what is told in a call of another session bring what that one came in touch with;
/// of the same one its labels are taken along.
pub(super) fn told_in(
    tx: &Tx<'_>,
    from: SessionId,
    (session, principal, call): (SessionId, &PrincipalId, CallId),
    (stick, now): (SignedDuration, Timestamp),
) -> Result<(), StoreError> {
    if from == session {
        return sessions::take_along(tx, (session, principal), (stick, now));
    }
    let brought = Brought {
        labels: sessions::met_in(tx, [from])?,
        session,
        principal: principal.clone(),
        call,
    };
    brought.join(tx, stick, now)
}

/// What was found in a session for somebody who has not read it yet: it is shown by
/// [`Broker::read_by`] only.
#[must_use = "it was found to be read"]
#[derive(Debug)]
pub(super) struct Unread<T> {
    found: T,
    session: SessionId,
    moves_labels: bool,
}

impl<T> Unread<T> {
    /// What this transaction found that somebody wrote in a session.
    // INVARIANT: labels are looked at in the transaction that found it, or later, so that
    // nothing is shown whose label came with it.
    pub(super) fn of(
        tx: &Tx<'_>,
        found: T,
        who: (SessionId, &PrincipalId),
        stick: SignedDuration,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            found,
            session: who.0,
            moves_labels: sessions::takes_along(tx, who, (stick, Timestamp::now()))?,
        })
    }

    /// What nobody else wrote, so that it was in touch with nothing.
    pub(super) fn plain(found: T, session: SessionId) -> Self {
        Self {
            found,
            session,
            moves_labels: false,
        }
    }
}

/// How somebody is given what an earlier call of theirs came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meets {
    /// Nobody read it before.
    Now,
    /// It is given to whoever asks.
    Again,
}

impl Broker {
    /// Shows somebody what was found in a session. What that came in touch with sticks
    /// to them from now on, and that is on the disk before.
    ///
    /// # Errors
    ///
    /// When it cannot be written: then it is not shown.
    pub(super) async fn read_by<T>(
        &self,
        reader: &PrincipalId,
        unread: Unread<T>,
    ) -> Result<T, StoreError> {
        if unread.moves_labels {
            let (session, reader) = (unread.session, reader.clone());
            let stick = self.settings.labels_stick;
            let taken = self.store.write("label", Durability::Power, move |tx| {
                sessions::take_along(tx, (session, &reader), (stick, Timestamp::now()))
            });
            let _committed = taken.await?;
        }
        Ok(unread.found)
    }

    /// Whether the session is known to have these labels at this moment, and nothing
    /// is to be written for them. What cannot be read is not known.
    pub(super) fn carries(&self, brought: &Brought, stick: (SignedDuration, Timestamp)) -> bool {
        if brought.labels.is_empty() {
            return true;
        }
        let Some(desk) = &self.desk else {
            return false;
        };
        let asked = (brought.session, Instant::now());
        match desk.recall(&self.store, self.writer.id(), asked) {
            Ok(Some(recalled)) => {
                let session = &recalled.session.session;
                session.carries(brought.labels.iter(), &brought.principal, stick)
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the store cannot be watched");
                false
            }
        }
    }

    /// Whether labels move with a call, which the next depends on as on a limit. What
    /// cannot be read may be so.
    pub(super) fn moves_labels(&self, subject: &Subject, now: Timestamp) -> bool {
        let who = (subject.session, &subject.principal);
        let stick = (self.settings.labels_stick, now);
        let moves = self.store.read(|tx| sessions::moves_labels(tx, who, stick));
        moves.unwrap_or_else(|error| {
            tracing::warn!(error = %Chain(&error), "labels could not be looked at before a call");
            true
        })
    }

    /// The same of what was found before.
    pub(super) async fn reads_in(
        &self,
        session: SessionId,
        reader: &PrincipalId,
    ) -> Result<(), StoreError> {
        let (who, stick) = ((session, reader), self.settings.labels_stick);
        let unread = self.store.read(|tx| Unread::of(tx, (), who, stick))?;
        self.read_by(reader, unread).await
    }

    /// Shows somebody what came from an earlier call of theirs, with the labels that
    /// this brings.
    pub(super) async fn reads_of_call(
        &self,
        brought: Brought,
        meets: Meets,
    ) -> Result<(), StoreError> {
        let (session, reader) = (brought.session, brought.principal.clone());
        match meets {
            Meets::Now => self.join_labels(brought).await?,
            Meets::Again => {
                let join: Join = Brought::join_again;
                self.join_by(brought, (join, self.settings.labels_stick))
                    .await?;
            }
        }
        self.reads_in(session, &reader).await
    }

    /// Has labels join by themselves, where no record is closed with it.
    pub(super) async fn join_labels(&self, brought: Brought) -> Result<(), StoreError> {
        let join: Join = Brought::join;
        self.join_by(brought, (join, self.settings.labels_stick))
            .await
    }

    async fn join_by(
        &self,
        brought: Brought,
        (join, stick): (Join, SignedDuration),
    ) -> Result<(), StoreError> {
        if self.carries(&brought, (stick, Timestamp::now())) {
            return Ok(());
        }
        let joined = self.store.write("label", Durability::Power, move |tx| {
            join(&brought, tx, stick, Timestamp::now())
        });
        joined.await.map(|_committed| ())
    }

    /// Runs the sending of a call. What its client may hear of its server meanwhile
    /// sticks for as long as ever from when it hears that, however long the call takes.
    pub(super) async fn heard_meanwhile<T>(
        &self,
        heard: &Brought,
        sending: impl Future<Output = T>,
    ) -> T {
        if self.settings.labels_stick.is_zero() {
            return sending.await;
        }
        tokio::select! {
            biased;
            ended = sending => ended,
            never = self.goes_on_sticking(heard) => match never {},
        }
    }

    async fn goes_on_sticking(&self, heard: &Brought) -> Infallible {
        // Until the next time, too.
        let ahead = SignedDuration::try_from(STICK_AGAIN).unwrap_or(SignedDuration::MAX);
        let stick = self.settings.labels_stick.saturating_add(ahead);
        loop {
            let join: Join = Brought::join;
            if let Err(error) = self.join_by(heard.clone(), (join, stick)).await {
                tracing::warn!(error = %Chain(&error), "it could not be noted that labels go on to stick while a call runs");
            }
            tokio::time::sleep(STICK_AGAIN).await;
        }
    }
}

/// How labels join.
type Join = fn(&Brought, &Tx<'_>, SignedDuration, Timestamp) -> Result<(), StoreError>;

#[cfg(test)]
mod tests;
