//! Labels of sessions: how they join one, and how they stick to whoever met what
//! they stand for, so that no other session washes them off.
//!
//! A label that an operator takes off a session stays off for whatever was met
//! before. Removals are numbered, and with each meeting stands how many there had been.

mod reading;
mod table;
#[cfg(test)]
mod tests;

pub use reading::guest;
pub use reading::met_in;
pub use reading::take_along;
pub use reading::takes_along;

use super::By;
use super::USED_EVERY;
use super::What;
use super::note;
use crate::principal::PrincipalId;
use crate::session::Label;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// What a call brings into its session.
#[derive(Clone, Debug)]
pub struct Brought {
    /// Which labels; most calls bring none.
    pub labels: BTreeSet<Label>,
    /// Into which session.
    pub session: SessionId,
    /// Who called: the owner, or a guest.
    pub principal: PrincipalId,
    /// By which call.
    pub call: CallId,
}

impl Brought {
    /// Has the labels join the session, and stick for so long to its owner and to
    /// whoever called.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then nobody may see what the call brought.
    pub fn join(
        &self,
        tx: &Tx<'_>,
        stick: SignedDuration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.add(tx, words(&self.labels), now)?;
        let principal = self.principal.to_string();
        if let Some(owner) = table::owner(tx, self.session)?
            && owner != principal
        {
            stick_to(tx, &owner, words(&self.labels), (stick, now))?;
        }
        stick_to(tx, &principal, words(&self.labels), (stick, now))
    }

    /// Has these of the labels join the session.
    fn add<'a>(
        &self,
        tx: &Tx<'_>,
        labels: impl Iterator<Item = &'a str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let added = table::labels_add(tx, self.session, labels)?;
        if added.is_empty() {
            return Ok(());
        }
        let detail = format!("{} (call {})", listed(&added), self.call);
        let by = By::Principal(&self.principal);
        note(tx, self.session, What::Labelled, Some(&detail), by, now)
    }
}

/// Labels a session by an operator's word, as a call would have. False where it has
/// all of them already, or there is no such session.
///
/// # Errors
///
/// When it cannot be written.
pub fn label(
    tx: &Tx<'_>,
    session: SessionId,
    labels: &BTreeSet<Label>,
    stick: SignedDuration,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let added = table::labels_add(tx, session, words(labels))?;
    if !added.is_empty() {
        let (by, detail) = (By::Operator, listed(&added));
        note(tx, session, What::Labelled, Some(&detail), by, now)?;
    }
    if let Some(owner) = table::owner(tx, session)? {
        stick_to(tx, &owner, words(labels), (stick, now))?;
    }
    Ok(!added.is_empty())
}

/// Labels a session by what somebody sent to it, and has that stick to its owner, who
/// will read it. What it is stands in the session's history.
///
/// # Errors
///
/// When it cannot be written; then nobody may see what was sent.
pub fn label_from(
    tx: &Tx<'_>,
    session: SessionId,
    labels: &BTreeSet<Label>,
    ((by, what), stick): ((By<'_>, String), SignedDuration),
    now: Timestamp,
) -> Result<(), StoreError> {
    let added = table::labels_add(tx, session, words(labels))?;
    if !added.is_empty() {
        let detail = format!("{} ({what})", listed(&added));
        note(tx, session, What::Labelled, Some(&detail), by, now)?;
    }
    match table::owner(tx, session)? {
        Some(owner) => stick_to(tx, &owner, words(labels), (stick, now)),
        None => Ok(()),
    }
}

/// Takes labels off a session by an operator's word. They still stick to whoever met
/// them, and come to this session again with what is met from now on. False where it
/// has none of them.
///
/// # Errors
///
/// When it cannot be written.
pub fn unlabel(
    tx: &Tx<'_>,
    session: SessionId,
    labels: &BTreeSet<Label>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let removed = table::labels_remove(tx, session, words(labels))?;
    for label in &removed {
        table::removal_insert(tx, session, label)?;
    }
    if !removed.is_empty() {
        let detail = listed(&removed);
        let by = By::Operator;
        note(tx, session, What::Unlabelled, Some(&detail), by, now)?;
    }
    Ok(!removed.is_empty())
}

/// Has a new session begin with the labels that stick to its owner. Its beginning
/// makes none of them stick longer, or they never came off.
pub(super) fn inherit(
    tx: &Tx<'_>,
    session: SessionId,
    owner: &PrincipalId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut sticking = sticking(tx, owner)?;
    sticking.retain(|_, sticks| sticks.until > now);
    let added = table::labels_add(tx, session, sticking.keys().map(String::as_str))?;
    if added.is_empty() {
        return Ok(());
    }
    let detail = format!("{} (from an earlier session)", listed(&added));
    let by = By::Principal(owner);
    note(tx, session, What::Labelled, Some(&detail), by, now)
}

/// Has what sticks to somebody who calls in a session join it, before the call is
/// decided: it may have come with what they met elsewhere since the session was opened.
/// What a guest brings sticks to the owner as long as to the guest, and to nobody longer.
///
/// # Errors
///
/// When the store cannot be read or written; then nothing may be decided.
pub fn carry_over(
    tx: &Tx<'_>,
    session: &mut SessionFacts,
    principal: &PrincipalId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let carried = carried(tx, session, principal, now)?;
    if carried.is_empty() {
        return Ok(());
    }
    let added = table::labels_add(tx, session.id, carried.keys().map(String::as_str))?;
    let detail = format!("{} (from another session)", listed(&added));
    let by = By::Principal(principal);
    note(tx, session.id, What::Labelled, Some(&detail), by, now)?;
    if session.owner != *principal {
        let (owner, removals) = (session.owner.to_string(), table::removals(tx)?);
        for (label, until) in &carried {
            let sticks = Sticks {
                until: *until,
                removals,
            };
            table::stick(tx, &owner, label, sticks)?;
        }
    }
    session.labels.extend(carried.into_keys());
    Ok(())
}

/// Shows a session as it would be with a call of theirs, and changes nothing.
///
/// # Errors
///
/// When the store cannot be read.
pub fn as_called_in(
    tx: &Tx<'_>,
    session: &mut SessionFacts,
    principal: &PrincipalId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let carried = carried(tx, session, principal, now)?;
    session.labels.extend(carried.into_keys());
    Ok(())
}

/// Whether labels move with a call of somebody in a session: into it, or to a guest who
/// takes along what it has, or to the owner who may read what it waits for.
///
/// # Errors
///
/// When the store cannot be read.
pub fn moves_labels(
    tx: &Tx<'_>,
    (session, principal): (SessionId, &PrincipalId),
    (stick, now): (SignedDuration, Timestamp),
) -> Result<bool, StoreError> {
    let Some(state) = super::state(tx, session)? else {
        return Ok(false);
    };
    let facts = state.facts;
    if !carried(tx, &facts, principal, now)?.is_empty() {
        return Ok(true);
    }
    if facts.owner == *principal && !facts.paused {
        return Ok(false);
    }
    let taken = reading::taken_along(tx, &facts, principal, (stick, now))?;
    Ok(!taken.is_empty())
}

/// What sticks to somebody and a session that they call in has not, with until when it
/// sticks. Not what an operator took off it after it was met last.
fn carried(
    tx: &Tx<'_>,
    session: &SessionFacts,
    principal: &PrincipalId,
    now: Timestamp,
) -> Result<BTreeMap<String, Timestamp>, StoreError> {
    let mut sticking = sticking(tx, principal)?;
    sticking.retain(|_, sticks| sticks.until > now);
    lacking(tx, session, &sticking)
}

/// Those among labels that stick to somebody which a session lacks.
pub(super) fn lacking(
    tx: &Tx<'_>,
    session: &SessionFacts,
    sticking: &BTreeMap<String, Sticks>,
) -> Result<BTreeMap<String, Timestamp>, StoreError> {
    let mut lacking: BTreeMap<&String, &Sticks> = sticking.iter().collect();
    lacking.retain(|label, _| !session.labels.contains(*label));
    if lacking.is_empty() {
        return Ok(BTreeMap::new());
    }
    // INVARIANT: what was met before a removal is behind it, whoever met it, and what
    // is met after it is not, whatever the clock says.
    let removed = table::removed(tx, session.id)?;
    let is_behind = |label: &String, sticks: &Sticks| {
        let removal = removed.get(label);
        removal.is_some_and(|removal| sticks.removals < *removal)
    };
    lacking.retain(|label, sticks| !is_behind(label, sticks));
    let lacking = lacking.into_iter();
    Ok(lacking
        .map(|(label, sticks)| (label.clone(), sticks.until))
        .collect())
}

/// How a label sticks to somebody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sticks {
    /// Until when; it may be over.
    pub(super) until: Timestamp,
    /// How many removals there had been when they met it last.
    pub(super) removals: i64,
}

/// How each label sticks to somebody; also those that do no longer.
pub(super) fn sticking(
    tx: &Tx<'_>,
    principal: &PrincipalId,
) -> Result<BTreeMap<String, Sticks>, StoreError> {
    table::sticking(tx, &principal.to_string())
}

/// How many removals of labels there were.
pub(super) fn removals(tx: &Tx<'_>) -> Result<i64, StoreError> {
    table::removals(tx)
}

/// Until when what is met now sticks. It is noted to the minute, and so that it is never
/// too short: who meets the same again within the minute has nothing to write, but after
/// a removal.
fn until(stick: SignedDuration, now: Timestamp) -> Timestamp {
    let whole = stick.saturating_add(USED_EVERY);
    now.checked_add(whole).unwrap_or(Timestamp::MAX)
}

fn stick_to<'a>(
    tx: &Tx<'_>,
    principal: &str,
    labels: impl Iterator<Item = &'a str>,
    (stick, now): (SignedDuration, Timestamp),
) -> Result<(), StoreError> {
    let Some((labels, removals)) = unnoted(tx, principal, labels, (stick, now))? else {
        return Ok(());
    };
    let until = until(stick, now);
    for label in labels {
        table::stick(tx, principal, label, Sticks { until, removals })?;
    }
    Ok(())
}

/// The labels of which it is to be noted that somebody meets them now, and how many
/// removals there were. None where there is nothing to note.
fn unnoted<'a>(
    tx: &Tx<'_>,
    principal: &str,
    labels: impl Iterator<Item = &'a str>,
    (stick, now): (SignedDuration, Timestamp),
) -> Result<Option<(Vec<&'a str>, i64)>, StoreError> {
    let mut labels: Vec<&str> = labels.collect();
    if stick.is_zero() || labels.is_empty() {
        return Ok(None);
    }
    let (sticking, removals) = (table::sticking(tx, principal)?, table::removals(tx)?);
    let is_noted = |label: &str| {
        let sticks = sticking.get(label);
        sticks.is_some_and(|sticks| sticks.is_noted((stick, now), removals))
    };
    labels.retain(|label| !is_noted(label));
    Ok((!labels.is_empty()).then_some((labels, removals)))
}

impl Sticks {
    /// Whether a meeting now changes nothing of it.
    pub(super) fn is_noted(self, (stick, now): (SignedDuration, Timestamp), removals: i64) -> bool {
        self.removals == removals && self.until.duration_since(now) >= stick
    }
}

fn words(labels: &BTreeSet<Label>) -> impl Iterator<Item = &str> {
    labels.iter().map(Label::as_str)
}

fn listed(labels: &[String]) -> String {
    labels.join(", ")
}
