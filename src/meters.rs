//! Meters: running totals of what calls move, for each session and for each
//! principal and calendar day.
//!
//! A total is a row that changes in the transaction that admits the call, so it
//! always includes the calls in flight. A meter only grows, but for a call that
//! is given back whole.

mod table;

pub use table::SCHEMA;
pub use table::SCHEMA_2;
pub use table::SCHEMA_5;

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
        }
    }

    /// What a call is charged that moves no meter.
    pub fn none(session: SessionId, principal: PrincipalId) -> Self {
        Self::new(session, principal, Date::ZERO, [])
    }

    /// The totals as they would be with these charges, one for each amount.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when they cannot be read; [`Overflow`] inside when a
    /// total would not fit.
    pub fn totals_after(&self, tx: &Tx<'_>) -> Result<Result<Vec<Totals>, Overflow>, StoreError> {
        let mut totals = Vec::with_capacity(self.amounts.len());
        for (meter, value) in &self.amounts {
            let after = |scope: &str, window: &str| {
                table::total(tx, scope, window, meter).map(|total| total.checked_add(*value))
            };
            let session_after = after(&self.session_scope(), "")?;
            let day_after = after(&self.principal_scope(), &self.day.to_string())?;
            match (session_after, day_after) {
                (Some(session_after), Some(day_after)) => totals.push(Totals {
                    session_after,
                    day_after,
                }),
                _ => {
                    return Ok(Err(Overflow {
                        meter: Arc::clone(meter),
                    }));
                }
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
        self.each(|scope, window, meter, value| table::total_add(tx, scope, window, (meter, value)))
    }

    /// Gives the charges back: the call provably had no effect.
    ///
    /// # Errors
    ///
    /// When the totals cannot be changed.
    pub fn refund(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.each(|scope, window, meter, value| {
            table::total_add(tx, scope, window, (meter, -value))
        })
    }

    /// The totals as they are: these charges are in them already.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or one does not fit.
    pub fn totals_with(&self, tx: &Tx<'_>) -> Result<Result<Vec<Totals>, Overflow>, StoreError> {
        let nothing_more = Self {
            amounts: self
                .amounts
                .iter()
                .map(|(meter, _)| (Arc::clone(meter), 0))
                .collect(),
            ..self.clone()
        };
        nothing_more.totals_after(tx)
    }

    /// Keeps the charges for the call that goes on where this one asked for more.
    ///
    /// # Errors
    ///
    /// When they cannot be noted.
    pub fn hold(&self, tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
        for amount in &self.amounts {
            table::held_insert(tx, call, self.day, amount)?;
        }
        Ok(())
    }

    /// Whether exactly these charges, on whatever day, are kept for who goes on
    /// from this call. Returns the day that they were charged on.
    ///
    /// # Errors
    ///
    /// When that cannot be read.
    pub fn held_since(&self, tx: &Tx<'_>, call: CallId) -> Result<Option<Date>, StoreError> {
        let held = table::held(tx, call)?;
        let day = held.first().map(|(day, ..)| *day);
        let mut own: Vec<_> = self.amounts.clone();
        own.sort();
        let same = held.len() == own.len()
            && held
                .iter()
                .zip(&own)
                .all(|((_, meter, value), (own, amount))| **meter == **own && value == amount);
        Ok(day.filter(|_| same))
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

/// Nobody else goes on from this call: what was kept for it belongs to the call
/// that has just done so.
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
mod tests {
    use super::*;
    use crate::store::testing::in_store;

    fn charges(value: i64) -> Charges {
        Charges::new(
            SessionId::from_bytes([7; 16]),
            PrincipalId::parse("alice").unwrap(),
            jiff::civil::date(2026, 11, 22),
            [(Arc::from("claims/approve_payment#amount"), value)],
        )
    }

    #[tokio::test]
    async fn totals_include_the_call_itself_and_a_refund_takes_it_out() {
        let after = in_store(&[SCHEMA], |tx| {
            charges(900).add(tx)?;
            charges(100).add(tx)?;
            charges(100).refund(tx)?;
            charges(50).totals_after(tx)
        })
        .await
        .unwrap();
        assert_eq!(
            after,
            [Totals {
                session_after: 950,
                day_after: 950
            }]
        );
    }

    #[tokio::test]
    async fn a_negative_amount_lowers_no_total() {
        let after = in_store(&[SCHEMA], |tx| {
            charges(900).add(tx)?;
            charges(-900).add(tx)?;
            charges(-900).totals_after(tx)
        })
        .await
        .unwrap();
        assert_eq!(after[0].session_after, 900);
    }

    #[tokio::test]
    async fn what_is_held_is_for_the_same_amounts_and_once() {
        let call = CallId::from_bytes([1; 16]);
        let (before, held, other, after) = in_store(&[SCHEMA, SCHEMA_5], move |tx| {
            let before = charges(900).held_since(tx, call)?;
            charges(900).hold(tx, call)?;
            let held = charges(900).held_since(tx, call)?;
            let other = charges(901).held_since(tx, call)?;
            release(tx, call)?;
            Ok((before, held, other, charges(900).held_since(tx, call)?))
        })
        .await;
        let day = jiff::civil::date(2026, 11, 22);
        assert_eq!((before, held, other, after), (None, Some(day), None, None));
    }

    #[tokio::test]
    async fn a_total_that_does_not_fit_is_refused() {
        let after = in_store(&[SCHEMA], |tx| {
            charges(i64::MAX).add(tx)?;
            charges(1).totals_after(tx)
        })
        .await;
        assert!(after.is_err());
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_reopens_no_day() {
        let days = in_store(&[SCHEMA], |tx| {
            let at = |text: &str| text.parse::<Timestamp>().unwrap();
            let zone = TimeZone::get("Europe/Berlin").unwrap();
            Ok([
                today(tx, at("2026-11-22T22:59:59Z"), &zone)?,
                today(tx, at("2026-11-22T23:00:00Z"), &zone)?,
                today(tx, at("2026-11-21T12:00:00Z"), &zone)?,
            ])
        })
        .await;
        let day = |day| jiff::civil::date(2026, 11, day);
        assert_eq!(days, [day(22), day(23), day(23)]);
    }
}
