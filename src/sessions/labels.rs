//! Labels of sessions: how they join one, and how they stick to whoever met what
//! they stand for, so that a new session does not wash them off.

mod table;
#[cfg(test)]
mod tests;

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
        let added = table::labels_add(tx, self.session, words(&self.labels))?;
        if !added.is_empty() {
            let detail = format!("{} (call {})", listed(&added), self.call);
            let by = By::Principal(&self.principal);
            note(tx, self.session, What::Labelled, Some(&detail), by, now)?;
        }
        if let Some(owner) = table::owner(tx, self.session)? {
            stick_to(tx, &owner, words(&self.labels), (stick, now))?;
        }
        let principal = self.principal.to_string();
        stick_to(tx, &principal, words(&self.labels), (stick, now))
    }
}

/// Has the labels of a session stick to somebody else who calls in it: what it came
/// in touch with may be in what is read there.
///
/// # Errors
///
/// When it cannot be written.
pub fn guest(
    tx: &Tx<'_>,
    session: &SessionFacts,
    principal: &PrincipalId,
    (stick, now): (SignedDuration, Timestamp),
) -> Result<(), StoreError> {
    if session.owner == *principal {
        return Ok(());
    }
    let labels = session.labels.iter().map(String::as_str);
    stick_to(tx, &principal.to_string(), labels, (stick, now))
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
/// them. False where it has none of them.
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
    sticking.retain(|_, until| *until > now);
    let added = table::labels_add(tx, session, sticking.keys().map(String::as_str))?;
    if added.is_empty() {
        return Ok(());
    }
    let detail = format!("{} (from an earlier session)", listed(&added));
    let by = By::Principal(owner);
    note(tx, session, What::Labelled, Some(&detail), by, now)
}

/// Until when each label sticks to somebody; also those that do no longer.
pub(super) fn sticking(
    tx: &Tx<'_>,
    principal: &PrincipalId,
) -> Result<BTreeMap<String, Timestamp>, StoreError> {
    table::sticking(tx, &principal.to_string())
}

/// It is noted to the minute, and so that it is never too short: a call that meets
/// the same again within the minute has nothing to write.
fn stick_to<'a>(
    tx: &Tx<'_>,
    principal: &str,
    labels: impl Iterator<Item = &'a str>,
    (stick, now): (SignedDuration, Timestamp),
) -> Result<(), StoreError> {
    if stick.is_zero() {
        return Ok(());
    }
    let whole = stick.saturating_add(USED_EVERY);
    let until = now.checked_add(whole).unwrap_or(Timestamp::MAX);
    for label in labels {
        table::stick(tx, principal, label, until)?;
    }
    Ok(())
}

fn words(labels: &BTreeSet<Label>) -> impl Iterator<Item = &str> {
    labels.iter().map(Label::as_str)
}

fn listed(labels: &[String]) -> String {
    labels.join(", ")
}
