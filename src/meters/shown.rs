//! The totals as they are now, for those who look.

use super::Total;
use super::counts;
use super::counts::Moment;
use super::table;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::Meter;
use crate::tool::Per;
use crate::tool::Window;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::sync::Arc;

/// One total of one meter, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Which meter.
    pub meter: Source,
    /// Who shares the total.
    pub per: Per,
    /// Which session, principal, role or tool.
    pub of: String,
    /// Over which time.
    pub window: Window,
    /// How much, in the meter's units.
    pub total: i64,
}

/// Where a meter is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// By itself.
    Declared(Arc<Meter>),
    /// As `meter` of a tool: `server/tool#argument`.
    OfTool(String),
}

impl Source {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Declared(meter) => &meter.name,
            Self::OfTool(key) => key,
        }
    }
}

/// All totals of now: those of declared meters in their order, then those of
/// metered arguments. What left its window is none.
///
/// # Errors
///
/// When they cannot be read.
pub fn all(
    tx: &Tx<'_>,
    declared: &[Arc<Meter>],
    (now, zone): (Timestamp, &TimeZone),
) -> Result<Vec<Shown>, StoreError> {
    let moment = Moment::seen(tx, now, zone)?;
    let mut all = Vec::new();
    for meter in declared {
        for (scope, total) in counts::scopes(tx, meter, moment)? {
            all.push(Shown {
                meter: Source::Declared(Arc::clone(meter)),
                per: meter.per,
                of: bare(&scope),
                window: meter.window,
                total,
            });
        }
    }
    let mut of_tools = |rows: Vec<(String, Total)>, per, window| {
        all.extend(rows.into_iter().map(|(scope, total)| Shown {
            meter: Source::OfTool(total.meter),
            per,
            of: bare(&scope),
            window,
            total: total.total,
        }));
    };
    of_tools(table::totals_of_sessions(tx)?, Per::Session, Window::Always);
    let today = table::totals_of_day(tx, moment.day())?;
    of_tools(today, Per::Principal, Window::Day);
    Ok(all)
}

/// A scope without the word for its kind.
fn bare(scope: &str) -> String {
    let bare = scope.split_once(':').map_or(scope, |(_kind, bare)| bare);
    bare.to_owned()
}
