//! Sessions as a broker keeps them in its memory.

use super::USED_EVERY;
use super::labels;
use super::labels::Sticks;
use super::table;
use crate::principal::PrincipalId;
use crate::session::Label;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A session that goes on, for somebody who remembers it. It says nothing where the
/// use of the session is to be noted, which is no business of remembering.
#[derive(Debug)]
pub struct Remembered {
    facts: SessionFacts,
    used: Timestamp,
    /// How each label sticks to its owner.
    sticking: BTreeMap<String, Sticks>,
    /// How many labels were taken off sessions.
    removals: i64,
    /// Until when something sticks to its owner that it has not.
    lacks_until: Option<Timestamp>,
}

impl Remembered {
    /// A session as it is in the store; none where there is no such session, or it
    /// is over.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn read(tx: &Tx<'_>, id: SessionId) -> Result<Option<Self>, StoreError> {
        let found = table::state(tx, id)?.filter(|state| state.ended.is_none());
        let Some(state) = found else { return Ok(None) };
        let sticking = labels::sticking(tx, &state.facts.owner)?;
        let removals = match sticking.is_empty() {
            true => 0,
            false => labels::removals(tx)?,
        };
        let lacking = labels::lacking(tx, &state.facts, &sticking)?;
        Ok(Some(Self {
            lacks_until: lacking.into_values().max(),
            facts: state.facts,
            used: state.used,
            sticking,
            removals,
        }))
    }

    /// Whether nothing changes by these labels joining now: the session has them, and
    /// they stick to its owner, who brings them, for as long as they should.
    pub fn carries<'a>(
        &self,
        mut labels: impl Iterator<Item = &'a Label>,
        principal: &PrincipalId,
        (stick, now): (SignedDuration, Timestamp),
    ) -> bool {
        let sticks = |label: &Label| {
            let sticks = self.sticking.get(label.as_str());
            sticks.is_some_and(|sticks| sticks.is_noted((stick, now), self.removals))
        };
        let has = |label: &Label| self.facts.labels.contains(label.as_str());
        self.facts.owner == *principal
            && labels.all(|label| has(label) && (stick.is_zero() || sticks(label)))
    }

    /// What policy may know of the session now. Nothing to a guest: whether one may
    /// be there is asked at each call.
    // INVARIANT: nothing while the session lacks a label that sticks to its owner, so
    // that the call goes by the transaction with which the label joins.
    pub fn facts(&self, owner: &PrincipalId, now: Timestamp) -> Option<&SessionFacts> {
        let is_noted = now.duration_since(self.used) <= USED_EVERY;
        let lacks = self.lacks_until.is_some_and(|until| until > now);
        (is_noted && !lacks && self.facts.owner == *owner).then_some(&self.facts)
    }
}
