//! Policy: who may call which tool with which arguments, answered by Cedar.
//!
//! A [`Bundle`] holds policies, schema and entities, checked together. Each
//! tool has a [`Gate`] in it, which reads the arguments of a call into typed
//! input and decides the call. Wherever something is missing, unclear or
//! failing, the answer is no.

mod advice;
mod annotations;
mod arguments;
mod attributes;
mod build;
mod bundle;
mod closing;
mod compile;
mod decimals;
mod digest;
mod entities;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gate;
mod lifting;
mod limits;
mod load;
mod message;
mod meters;
mod mistakes;
mod names;
mod number;
mod place;
mod places;
mod reader;
mod reads;
mod rules;
mod schema;
mod shape;
mod slice;
mod truth;
mod unmatched;
mod validation;
mod verdict;

#[cfg(test)]
mod tests;

pub use advice::DeadEscalation;
pub use arguments::Amount;
pub use arguments::ArgumentError;
pub use arguments::Reading;
pub use bundle::Bundle;
pub use bundle::BundleError;
pub use bundle::Inputs;
pub use bundle::PolicyEffect;
pub use bundle::PolicyFile;
pub use bundle::PolicyServer;
pub use bundle::PolicySummary;
pub use bundle::PolicyTool;
pub use bundle::Quarantined;
pub use gate::Gate;
pub use limits::UnreadLimits;
pub use number::whole;
pub use verdict::Allowed;
pub use verdict::Confirmation;
pub use verdict::Denial;
pub use verdict::Escalation;
pub use verdict::Facts;
pub use verdict::Reason;
pub use verdict::Totals;
pub use verdict::Unseen;
pub use verdict::Verdict;

/// An amount of minor units as an operator writes it, `10000.00`.
pub fn amount(units: i64, scale: u8) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let digits = format!("{:0>1$}", units.unsigned_abs(), usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    match fraction {
        "" => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    }
}

/// Reads an amount that an operator wrote, `10000.00`, as minor units. None
/// where it is no plain decimal number, is finer than the scale, or too large.
pub fn minor_units(amount: &str, scale: u8) -> Option<i64> {
    let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
    if plain(whole) && plain(fraction) {
        number::scaled(amount, scale).ok()
    } else {
        None
    }
}
