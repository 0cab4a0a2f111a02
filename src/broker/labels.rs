//! Labels that calls bring into their session, so that policy knows what a model has
//! read before it decides the next call.
//!
//! A label is there before its content may reach the client: from the admission on
//! where the client hears the server while it works, else from the transaction that
//! closes the record. With a call somewhere else it goes along (`Entry::to_use`).

use super::Broker;
use super::CallLine;
use super::catalogue::Route;
use crate::cause::Chain;
use crate::journal::Subject;
use crate::outcome::Outcome;
use crate::principal::PrincipalId;
use crate::session::Label;
use crate::session::SessionId;
use crate::sessions;
use crate::sessions::Brought;
use crate::store::Durability;
use crate::store::StoreError;
use crate::tasks::Task;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Instant;

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

impl Broker {
    /// Whether the session is known to have these labels at this moment, and nothing
    /// is to be written for them. What cannot be read is not known.
    pub(super) fn carries(&self, brought: &Brought, now: Timestamp) -> bool {
        if brought.labels.is_empty() {
            return true;
        }
        let Some(desk) = &self.desk else {
            return false;
        };
        let stick = (self.settings.labels_stick, now);
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

    /// Has what a session came in touch with stick to a guest, who is about to read what
    /// stands in it without a call.
    pub(super) async fn read_by_guest(
        &self,
        session: SessionId,
        guest: &PrincipalId,
    ) -> Result<(), StoreError> {
        let (guest, stick) = (guest.clone(), self.settings.labels_stick);
        let stuck = self
            .store
            .write(
                "label",
                Durability::Power,
                move |tx| match sessions::state(tx, session)? {
                    Some(state) => {
                        sessions::guest(tx, &state.facts, &guest, (stick, Timestamp::now()))
                    }
                    None => Ok(()),
                },
            );
        stuck.await.map(|_committed| ())
    }

    /// Has labels join by themselves, where no record is closed with it.
    pub(super) async fn join_labels(&self, brought: Brought) -> Result<(), StoreError> {
        if self.carries(&brought, Timestamp::now()) {
            return Ok(());
        }
        let stick = self.settings.labels_stick;
        let joined = self.store.write("label", Durability::Power, move |tx| {
            brought.join(tx, stick, Timestamp::now())
        });
        joined.await.map(|_committed| ())
    }
}
