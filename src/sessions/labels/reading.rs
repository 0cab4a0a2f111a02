//! Labels that somebody takes along who reads what stands in a session: they stick to
//! him from then on, however long ago what they stand for came there.

use super::Brought;
use super::Sticks;
use super::sticking;
use super::table;
use super::until;
use super::words;
use crate::principal::PrincipalId;
use crate::session::Label;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::sessions;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::collections::BTreeSet;

impl Brought {
    /// Has the labels join as [`Brought::join`] does, where whoever called is given once
    /// more what they met before. They stick for so long from now on, and that is no new
    /// meeting: what an operator took off since they met it last stays off, in this
    /// session and in others.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then nobody may see what the call brought.
    pub fn join_again(
        &self,
        tx: &Tx<'_>,
        stick: SignedDuration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(state) = sessions::state(tx, self.session)? else {
            return Ok(());
        };
        let (has, removed) = (state.facts.labels, table::removed(tx, self.session)?);
        let met = sticking(tx, &self.principal)?;
        let is_behind = |label: &str| match (removed.get(label), met.get(label)) {
            (Some(removal), Some(met)) => met.removals < *removal,
            // Where nothing sticks it is not noted when it was met. It was here since,
            // because it was met here, so it was taken off after that.
            (Some(_), None) => stick.is_zero(),
            (None, _) => false,
        };
        let joins = words(&self.labels).filter(|label| !has.contains(*label) && !is_behind(label));
        self.add(tx, joins, now)?;
        if state.facts.owner != self.principal {
            self.stick_again(tx, &state.facts.owner, (stick, now))?;
        }
        self.stick_again(tx, &self.principal, (stick, now))
    }

    /// Has the labels stick from now on to somebody who met them before.
    fn stick_again(
        &self,
        tx: &Tx<'_>,
        who: &PrincipalId,
        (stick, now): (SignedDuration, Timestamp),
    ) -> Result<(), StoreError> {
        if stick.is_zero() {
            return Ok(());
        }
        let (sticking, latest) = (sticking(tx, who)?, table::removals(tx)?);
        let (name, until) = (who.to_string(), until(stick, now));
        for label in words(&self.labels) {
            let met = sticking.get(label);
            let removals = met.map_or(latest, |met| met.removals);
            if !met.is_some_and(|met| met.is_noted((stick, now), removals)) {
                table::stick(tx, &name, label, Sticks { until, removals })?;
            }
        }
        Ok(())
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
    along(tx, session, principal, (stick, now))
}

/// Has the labels of a session stick to somebody who is about to read what stands in it,
/// from now on: what it came in touch with may be in that, whenever that was.
///
/// # Errors
///
/// When it cannot be written; then nothing of it may be shown.
pub fn take_along(
    tx: &Tx<'_>,
    (session, reader): (SessionId, &PrincipalId),
    (stick, now): (SignedDuration, Timestamp),
) -> Result<(), StoreError> {
    match sessions::state(tx, session)? {
        Some(state) => along(tx, &state.facts, reader, (stick, now)),
        None => Ok(()),
    }
}

/// Whether [`take_along`] would write anything.
///
/// # Errors
///
/// When the store cannot be read.
pub fn takes_along(
    tx: &Tx<'_>,
    (session, reader): (SessionId, &PrincipalId),
    (stick, now): (SignedDuration, Timestamp),
) -> Result<bool, StoreError> {
    let Some(state) = sessions::state(tx, session)? else {
        return Ok(false);
    };
    let taken = taken_along(tx, &state.facts, reader, (stick, now))?;
    Ok(!taken.is_empty())
}

/// What these sessions came in touch with.
///
/// # Errors
///
/// When the store cannot be read.
pub fn met_in(
    tx: &Tx<'_>,
    sessions: impl IntoIterator<Item = SessionId>,
) -> Result<BTreeSet<Label>, StoreError> {
    let mut met = BTreeSet::new();
    for session in sessions {
        let found = sessions::state(tx, session)?;
        for label in found.into_iter().flat_map(|state| state.facts.labels) {
            let label = label.parse().map_err(|_no_label| StoreError::Damaged {
                what: format!("a label of session {session}"),
            })?;
            met.insert(label);
        }
    }
    Ok(met)
}

fn along(
    tx: &Tx<'_>,
    session: &SessionFacts,
    reader: &PrincipalId,
    (stick, now): (SignedDuration, Timestamp),
) -> Result<(), StoreError> {
    let name = reader.to_string();
    for (label, sticks) in taken_along(tx, session, reader, (stick, now))? {
        table::stick(tx, &name, label, sticks)?;
    }
    Ok(())
}

/// The labels of a session of which it is to be noted that somebody takes them along.
// INVARIANT: what a session meets is noted for its owner when it does. So the owner who
// reads it later meets nothing that was not behind a removal before, and what was taken
// off by that stays off; a guest may not have met it before.
pub(super) fn taken_along<'a>(
    tx: &Tx<'_>,
    session: &'a SessionFacts,
    reader: &PrincipalId,
    (stick, now): (SignedDuration, Timestamp),
) -> Result<Vec<(&'a str, Sticks)>, StoreError> {
    if stick.is_zero() || session.labels.is_empty() {
        return Ok(Vec::new());
    }
    let (sticking, latest) = (sticking(tx, reader)?, table::removals(tx)?);
    let is_owner = session.owner == *reader;
    let until = until(stick, now);
    let taken = session.labels.iter().filter_map(|label| {
        let known = sticking.get(label);
        let met = known.filter(|_| is_owner);
        let removals = met.map_or(latest, |met| met.removals);
        let is_noted = known.is_some_and(|known| known.is_noted((stick, now), removals));
        (!is_noted).then_some((label.as_str(), Sticks { until, removals }))
    });
    Ok(taken.collect())
}
