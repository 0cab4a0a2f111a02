//! What a call does to the meters, in the transaction that decides it.

use super::Refusal;
use super::Settings;
use super::admit::Candidate;
use super::earlier::Follows;
use crate::journal::Subject;
use crate::meters;
use crate::meters::After;
use crate::meters::Caller;
use crate::meters::Charges;
use crate::meters::Count;
use crate::meters::Held;
use crate::meters::Moment;
use crate::meters::Overflow;
use crate::policy::Bundle;
use crate::policy::Gate;
use crate::policy::Reading;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;

/// What a call is charged if it is allowed.
pub(super) struct Charging {
    charges: Charges,
    /// The call that was charged the same before, and whose charges these are.
    carried: Option<Held>,
}

impl Charging {
    /// Charges it. What is taken over from an earlier call is in the totals already;
    /// where it was, is returned beside it.
    pub(super) fn charge(self, tx: &Tx<'_>) -> Result<(Charges, Option<Held>), StoreError> {
        match &self.carried {
            Some(held) => self.charges.take_over(tx, held)?,
            None => self.charges.add(tx)?,
        }
        Ok((self.charges, self.carried))
    }
}

impl Candidate {
    /// Whether a limit may depend on what this call is charged. A declared meter that
    /// no policy reads limits nothing.
    pub(super) fn is_limited(&self, bundle: &Bundle) -> bool {
        let mut counts = self.reading.counts();
        !self.reading.amounts().is_empty() || counts.any(|(meter, _)| bundle.reads(meter))
    }

    /// What the call would be charged now.
    pub(super) fn charges(
        &self,
        tx: &Tx<'_>,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Charges, StoreError> {
        let weighed = Weighed {
            subject: &self.subject,
            gate: &self.route.gate,
            reading: &self.reading,
        };
        weighed.charges(tx, settings, now)
    }

    /// What the call is charged, and the totals with it. What a call that asked for
    /// more was charged, or that ended unknown and is repeated, counts once.
    pub(super) fn metered(
        &self,
        tx: &Tx<'_>,
        settings: &Settings,
        follows: Option<Follows>,
        now: Timestamp,
    ) -> Result<Result<(Charging, After), Overflow>, StoreError> {
        let mut charges = self.charges(tx, settings, now)?;
        let carried = match follows {
            Some(earlier) => charges.held_since(tx, earlier.call())?,
            None => None,
        };
        let after = match &carried {
            Some(held) => charges.totals_carried(tx, held)?,
            None => charges.totals_after(tx)?,
        };
        Ok(after.map(|after| (Charging { charges, carried }, after)))
    }
}

/// A call as far as the meters care.
pub(super) struct Weighed<'a> {
    pub(super) subject: &'a Subject,
    pub(super) gate: &'a Gate,
    pub(super) reading: &'a Reading,
}

impl Weighed<'_> {
    /// What the call would be charged now.
    pub(super) fn charges(
        &self,
        tx: &Tx<'_>,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Charges, StoreError> {
        let amounts = self.reading.amounts();
        let day = if amounts.is_empty() {
            now.to_zoned(settings.zone.clone()).date()
        } else {
            meters::today(tx, now, &settings.zone)?
        };
        let charges = Charges::new(
            self.subject.session,
            self.subject.principal.clone(),
            day,
            amounts
                .iter()
                .map(|amount| (Arc::clone(&amount.meter), amount.value)),
        );
        Ok(charges.with(self.counts(tx, settings, now)?))
    }

    fn counts(
        &self,
        tx: &Tx<'_>,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Vec<Count>, StoreError> {
        let counts = self.reading.counts();
        if counts.len() == 0 {
            return Ok(Vec::new());
        }
        let moment = Moment::of(tx, now, &settings.zone)?;
        let principal = &self.subject.principal;
        let caller = Caller {
            session: self.subject.session,
            principal,
            // Who has none is denied.
            role: self.gate.role(principal).unwrap_or_default(),
            tool: self.gate.tool(),
        };
        Ok(counts
            .map(|(meter, value)| Count::new(meter, value, caller, moment))
            .collect())
    }
}

/// What is recorded and said of a total that does not fit.
pub(super) fn overflowed(call: CallId, overflow: &Overflow) -> (Value, Refusal) {
    let detail = json!({ "code": "meter_overflow", "meter": overflow.meter });
    let problem = overflow.to_string();
    (detail, Refusal::InvalidArguments { call, problem })
}
