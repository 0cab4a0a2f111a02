//! Meters: running totals of what calls move, for each session and for each
//! principal and calendar day, and whatever else the operator declares.
//!
//! A total is a row that changes in the transaction that admits the call, so it
//! always includes the calls in flight. A meter only grows, but for a call that
//! is given back whole.

mod counts;
mod shown;
mod table;

pub use counts::Caller;
pub use counts::Count;
pub use counts::Moment;
pub use shown::Shown;
pub use shown::Source;
pub use shown::all;
pub use table::SCHEMA;
pub use table::SCHEMA_2;
pub use table::SCHEMA_5;
pub use table::SCHEMA_9;

use crate::policy::Totals;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::sync::Arc;

/// What one call adds to the meters, in the meters' units (cents for money).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charges {
    /// Whose session total.
    pub session: SessionId,
    /// Whose day total.
    pub principal: PrincipalId,
    /// Which day.
    pub day: Date,
    /// Meter and amount, never negative.
    pub amounts: Vec<(Arc<str>, i64)>,
    /// What it adds to the meters that the operator declared.
    pub counts: Vec<Count>,
}

/// Totals for policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct After {
    /// One for each amount.
    pub totals: Vec<Totals>,
    /// One for each count.
    pub counts: Vec<i64>,
}

/// Where a call was charged that others go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The call.
    call: CallId,
    /// The day of its amounts.
    day: Option<Date>,
    /// Where its counts are, in their order.
    slots: Vec<i64>,
}

/// A total that no `i64` holds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the total of `{meter}` would be too large to count")]
pub struct Overflow {
    /// Which meter.
    pub meter: Arc<str>,
}

impl Charges {
    /// Prepares the charges of a call. A negative amount counts as nothing: a
    /// meter that can be driven down is no limit.
    pub fn new(
        session: SessionId,
        principal: PrincipalId,
        day: Date,
        amounts: impl IntoIterator<Item = (Arc<str>, i64)>,
    ) -> Self {
        let amounts = amounts.into_iter();
        Self {
            session,
            principal,
            day,
            amounts: amounts
                .map(|(meter, value)| (meter, value.max(0)))
                .collect(),
            counts: Vec::new(),
        }
    }

    /// The same with these counts.
    #[must_use]
    pub fn with(mut self, counts: Vec<Count>) -> Self {
        self.counts = counts;
        self
    }

    /// Whether no meter is moved.
    pub fn is_empty(&self) -> bool {
        self.amounts.is_empty() && self.counts.is_empty()
    }

    /// What a call is charged that moves no meter.
    pub fn none(session: SessionId, principal: PrincipalId) -> Self {
        Self::new(session, principal, Date::ZERO, [])
    }

    /// The totals as they would be with these charges.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when they cannot be read; [`Overflow`] inside when a
    /// total would not fit.
    pub fn totals_after(&self, tx: &Tx<'_>) -> Result<Result<After, Overflow>, StoreError> {
        let amounts = self.amounts_after(tx, |value| value)?;
        let counts = self.counts_after(|_place, count| count.total_after(tx, None))?;
        Ok(after(amounts, counts))
    }

    /// The totals as they are: these charges are in them already.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or one does not fit.
    pub fn totals_with(&self, tx: &Tx<'_>) -> Result<Result<After, Overflow>, StoreError> {
        let amounts = self.amounts_after(tx, |_counted| 0)?;
        let counts = self.counts_after(|_place, count| count.total(tx))?;
        Ok(after(amounts, counts))
    }

    /// The totals as they would be for a call that goes on from one that was charged
    /// the same. Its amounts stay on the day that they were charged on; its counts
    /// move to now, because it takes effect now.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or one does not fit.
    pub fn totals_carried(
        &mut self,
        tx: &Tx<'_>,
        held: &Held,
    ) -> Result<Result<After, Overflow>, StoreError> {
        self.day = held.day.unwrap_or(self.day);
        let amounts = self.amounts_after(tx, |_counted| 0)?;
        let counts = self
            .counts_after(|place, count| count.total_after(tx, held.slots.get(place).copied()))?;
        Ok(after(amounts, counts))
    }

    fn amounts_after(
        &self,
        tx: &Tx<'_>,
        added: impl Fn(i64) -> i64,
    ) -> Result<Result<Vec<Totals>, Overflow>, StoreError> {
        let mut totals = Vec::with_capacity(self.amounts.len());
        for (meter, value) in &self.amounts {
            let after = |scope: &str, window: &str| {
                table::total(tx, scope, window, meter).map(|total| total.checked_add(added(*value)))
            };
            let session_after = after(&self.session_scope(), "")?;
            let day_after = after(&self.principal_scope(), &self.day.to_string())?;
            match (session_after, day_after) {
                (Some(session_after), Some(day_after)) => totals.push(Totals {
                    session_after,
                    day_after,
                }),
                _ => return Ok(Err(Overflow::of(meter))),
            }
        }
        Ok(Ok(totals))
    }

    fn counts_after(
        &self,
        total: impl Fn(usize, &Count) -> Result<Option<i64>, StoreError>,
    ) -> Result<Result<Vec<i64>, Overflow>, StoreError> {
        let mut totals = Vec::with_capacity(self.counts.len());
        for (place, count) in self.counts.iter().enumerate() {
            match total(place, count)? {
                Some(total) => totals.push(total),
                None => return Ok(Err(Overflow::of(&count.meter.name))),
            }
        }
        Ok(Ok(totals))
    }

    /// Adds the charges to the totals.
    ///
    /// # Errors
    ///
    /// When the totals cannot be changed.
    pub fn add(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.each(|scope, window, meter, value| {
            table::total_add(tx, scope, window, (meter, value))
        })?;
        self.counts.iter().try_for_each(|count| count.add(tx))
    }

    /// Gives the charges back: the call provably had no effect.
    ///
    /// # Errors
    ///
    /// When the totals cannot be changed.
    pub fn refund(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.each(|scope, window, meter, value| {
            table::total_add(tx, scope, window, (meter, -value))
        })?;
        self.counts.iter().try_for_each(|count| count.refund(tx))
    }

    /// Keeps the charges for the call that goes on where this one asked for more, or
    /// that repeats it.
    ///
    /// # Errors
    ///
    /// When they cannot be noted.
    pub fn hold(&self, tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
        for amount in &self.amounts {
            table::held_insert(tx, call, self.day, amount)?;
        }
        self.counts
            .iter()
            .try_for_each(|count| count.hold(tx, call))
    }

    /// Where exactly these charges, whenever that was, are kept for who goes on from
    /// this call.
    ///
    /// # Errors
    ///
    /// When that cannot be read.
    pub fn held_since(&self, tx: &Tx<'_>, call: CallId) -> Result<Option<Held>, StoreError> {
        if self.is_empty() {
            return Ok(None);
        }
        let held = table::held(tx, call)?;
        let day = held.first().map(|(day, ..)| *day);
        let mut own: Vec<_> = self.amounts.clone();
        own.sort();
        let same = held.len() == own.len()
            && held
                .iter()
                .zip(&own)
                .all(|((_, meter, value), (own, amount))| **meter == **own && value == amount);
        let slots = counts::held(tx, call, &self.counts)?;
        Ok(slots
            .filter(|_| same)
            .map(|slots| Held { call, day, slots }))
    }

    /// Goes on with what was kept: nobody else goes on from that call.
    ///
    /// # Errors
    ///
    /// When that cannot be noted.
    pub fn take_over(&self, tx: &Tx<'_>, held: &Held) -> Result<(), StoreError> {
        let mut counts = self.counts.iter().zip(&held.slots);
        counts.try_for_each(|(count, before)| count.take_over(tx, *before))?;
        table::held_delete(tx, held.call)
    }

    /// Gives what was taken over back to the call that it is of: this one provably had
    /// no effect, and that one may have. It stays charged, where it was before.
    ///
    /// # Errors
    ///
    /// When that cannot be noted.
    pub fn hand_back(&self, tx: &Tx<'_>, held: &Held) -> Result<(), StoreError> {
        for amount in &self.amounts {
            table::held_insert(tx, held.call, self.day, amount)?;
        }
        let mut counts = self.counts.iter().zip(&held.slots);
        counts.try_for_each(|(count, before)| count.hand_back(tx, held.call, *before))
    }

    fn each(
        &self,
        mut change: impl FnMut(&str, &str, &str, i64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for (meter, value) in &self.amounts {
            change(&self.session_scope(), "", meter, *value)?;
            change(
                &self.principal_scope(),
                &self.day.to_string(),
                meter,
                *value,
            )?;
        }
        Ok(())
    }

    fn session_scope(&self) -> String {
        session_scope(self.session)
    }

    fn principal_scope(&self) -> String {
        format!("principal:{}", self.principal)
    }
}

impl Held {
    /// The call that was charged.
    pub fn call(&self) -> CallId {
        self.call
    }
}

impl Overflow {
    fn of(meter: &Arc<str>) -> Self {
        Self {
            meter: Arc::clone(meter),
        }
    }
}

fn after(
    totals: Result<Vec<Totals>, Overflow>,
    counts: Result<Vec<i64>, Overflow>,
) -> Result<After, Overflow> {
    Ok(After {
        totals: totals?,
        counts: counts?,
    })
}

/// Nobody goes on from this call, nor repeats it.
///
/// # Errors
///
/// When that cannot be noted.
pub fn release(tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
    table::held_delete(tx, call)
}

/// How many digits of money are minor units in the totals of this store: those
/// that the first broker on it was told. Totals in cents and in dollars cannot
/// be compared.
///
/// # Errors
///
/// When it cannot be read or noted.
pub fn money_scale(tx: &Tx<'_>, configured: u8) -> Result<u8, StoreError> {
    table::scale(tx, configured)
}

/// The calendar day of `now` in the store's zone, and never a day before one
/// that was already counted: a clock that is set back reopens no day.
///
/// # Errors
///
/// When the last day cannot be read or moved on.
pub fn today(tx: &Tx<'_>, now: Timestamp, zone: &TimeZone) -> Result<Date, StoreError> {
    let day = now.to_zoned(zone.clone()).date();
    table::day_advance(tx, day)
}

/// One total, as commands show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// Which meter: `server/tool#argument`.
    pub meter: String,
    /// How much, in the meter's units.
    pub total: i64,
}

/// The totals of one session, by meter.
///
/// # Errors
///
/// When they cannot be read.
pub fn of_session(tx: &Tx<'_>, session: SessionId) -> Result<Vec<Total>, StoreError> {
    table::totals(tx, &session_scope(session), "")
}

fn session_scope(session: SessionId) -> String {
    format!("session:{session}")
}

#[cfg(test)]
mod tests;
