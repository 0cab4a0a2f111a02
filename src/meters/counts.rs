//! The meters that the operator declares: what one call adds to each, and the
//! total of the window that ends now.
//!
//! A sliding window is kept in parts of a sixtieth of its length, and the part in
//! which it begins counts whole. So a call counts for at least as long as the
//! window and at most a sixtieth longer, never more than the limit fits into any
//! window of that length, and a scope has a bounded number of rows whatever is
//! counted. Single entries would be exact, and as many as a limit allows, which
//! the meter does not know.

mod table;

use super::today;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::tool::Meter;
use crate::tool::Per;
use crate::tool::ToolId;
use crate::tool::Window;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::sync::Arc;

/// Into how many parts a sliding window is cut.
const PARTS: i64 = 60;

/// What one call adds to one meter that the operator declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Which meter.
    pub meter: Arc<Meter>,
    /// How much, never negative.
    pub value: i64,
    key: String,
    scope: String,
    span: Span,
}

/// The slots that a window covers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: i64,
    /// What is counted now goes here.
    last: i64,
}

/// Which total of which meter.
#[derive(Clone, Copy)]
struct Place<'a> {
    meter: &'a str,
    scope: &'a str,
}

/// When a call is counted: never before what was already counted, so that a clock
/// that is set back reopens no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// In milliseconds since 1970.
    at: i64,
    day: Date,
}

/// Whose totals a call is counted on.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// In which session.
    pub session: SessionId,
    /// Who calls.
    pub principal: &'a PrincipalId,
    /// The role that they were given.
    pub role: &'a str,
    /// What they call.
    pub tool: &'a ToolId,
}

impl Moment {
    /// The moment of a call, noted so that none comes before it.
    ///
    /// # Errors
    ///
    /// When what was counted last cannot be read or moved on.
    pub fn of(tx: &Tx<'_>, now: Timestamp, zone: &TimeZone) -> Result<Self, StoreError> {
        Ok(Self {
            at: table::clock_advance(tx, now.as_millisecond())?,
            day: today(tx, now, zone)?,
        })
    }

    /// The same for who only looks.
    ///
    /// # Errors
    ///
    /// When what was counted last cannot be read.
    pub(super) fn seen(tx: &Tx<'_>, now: Timestamp, zone: &TimeZone) -> Result<Self, StoreError> {
        let at = now.as_millisecond();
        let day = now.to_zoned(zone.clone()).date();
        Ok(Self {
            at: table::clock(tx)?.map_or(at, |last| last.max(at)),
            day: super::table::day(tx)?.map_or(day, |last| last.max(day)),
        })
    }

    pub(super) fn day(self) -> Date {
        self.day
    }
}

impl Span {
    fn of(window: Window, moment: Moment) -> Self {
        let one = |slot| Self {
            first: slot,
            last: slot,
        };
        match window {
            Window::Always => one(0),
            Window::Day => {
                let day = moment.day;
                let month = i64::from(day.year()) * 100 + i64::from(day.month());
                one(month * 100 + i64::from(day.day()))
            }
            Window::Sliding(length) => {
                let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1);
                let part = (length.saturating_sub(1) / PARTS).saturating_add(1);
                Self {
                    first: moment.at.saturating_sub(length).div_euclid(part),
                    last: moment.at.div_euclid(part),
                }
            }
        }
    }
}

impl Count {
    /// What a call adds to a meter. A negative value counts as nothing.
    pub fn new(meter: &Arc<Meter>, value: i64, whose: Caller<'_>, moment: Moment) -> Self {
        let scope = match meter.per {
            Per::Session => format!("session:{}", whose.session),
            Per::Principal => format!("principal:{}", whose.principal),
            Per::Role => format!("role:{}", whose.role),
            Per::Tool => format!("tool:{}", whose.tool),
        };
        Self {
            key: meter.key(),
            scope,
            span: Span::of(meter.window, moment),
            value: value.max(0),
            meter: Arc::clone(meter),
        }
    }

    fn place(&self) -> Place<'_> {
        Place {
            meter: &self.key,
            scope: &self.scope,
        }
    }

    /// The total of its window now. None where no `i64` holds it.
    pub(super) fn total(&self, tx: &Tx<'_>) -> Result<Option<i64>, StoreError> {
        let totals = table::totals(tx, self.place(), self.span.first)?;
        let mut totals = totals.into_iter();
        Ok(totals.try_fold(0_i64, i64::checked_add))
    }

    /// The total as it would be with this. What was counted at `before` for the same
    /// call counts once.
    pub(super) fn total_after(
        &self,
        tx: &Tx<'_>,
        before: Option<i64>,
    ) -> Result<Option<i64>, StoreError> {
        let again = before.is_some_and(|slot| slot >= self.span.first);
        let total = self.total(tx)?;
        Ok(match again {
            true => total,
            false => total.and_then(|total| total.checked_add(self.value)),
        })
    }

    /// Adds it, and takes away what has left the window.
    pub(super) fn add(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        table::prune(tx, self.place(), self.span.first)?;
        table::add(tx, self.place(), (self.span.last, self.value))
    }

    /// Moves here what was counted at `before` for the same call.
    pub(super) fn take_over(&self, tx: &Tx<'_>, before: i64) -> Result<(), StoreError> {
        table::take(tx, self.place(), (before, self.value))?;
        self.add(tx)
    }

    /// Takes it back from where it was counted.
    pub(super) fn refund(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        table::take(tx, self.place(), (self.span.last, self.value))
    }

    /// Moves it back to where it was counted for the call that it was taken over from.
    /// A slot that has left its window meanwhile is not made anew.
    pub(super) fn hand_back(
        &self,
        tx: &Tx<'_>,
        call: CallId,
        before: i64,
    ) -> Result<(), StoreError> {
        table::take(tx, self.place(), (self.span.last, self.value))?;
        table::take(tx, self.place(), (before, -self.value))?;
        table::held_insert(tx, call, self.place(), (before, self.value))
    }

    /// Keeps it for the call that goes on from this one.
    pub(super) fn hold(&self, tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
        table::held_insert(tx, call, self.place(), (self.span.last, self.value))
    }
}

/// Where these were counted for a call that others go on from: a slot for each. None
/// where other meters, scopes or values were.
pub(super) fn held(
    tx: &Tx<'_>,
    call: CallId,
    counts: &[Count],
) -> Result<Option<Vec<i64>>, StoreError> {
    let held = table::held(tx, call)?;
    if held.len() != counts.len() {
        return Ok(None);
    }
    let slots = counts.iter().map(|count| {
        let same = held.iter().find(|row| {
            row.meter == count.key && row.scope == count.scope && row.value == count.value
        });
        same.map(|row| row.slot)
    });
    Ok(slots.collect())
}

/// The totals of one meter now, by scope. One that no `i64` holds is shown as the
/// largest.
pub(super) fn scopes(
    tx: &Tx<'_>,
    meter: &Meter,
    moment: Moment,
) -> Result<Vec<(String, i64)>, StoreError> {
    let span = Span::of(meter.window, moment);
    let mut totals: Vec<(String, i64)> = Vec::new();
    for (scope, value) in table::scopes(tx, &meter.key(), span.first)? {
        match totals.last_mut() {
            Some((last, total)) if *last == scope => *total = total.saturating_add(value),
            _ => totals.push((scope, value)),
        }
    }
    Ok(totals)
}

#[cfg(test)]
mod tests;
