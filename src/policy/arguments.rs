//! The arguments of one call as policy sees them, or why they were refused.

use super::reader::Reader;
use crate::tool::Meter;
use cedar_policy::RestrictedExpression;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Why arguments were refused before policy was asked. The texts are for the
/// model that sent them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// They are no JSON object, or have a key twice.
    #[error("the arguments cannot be read: {0}")]
    Malformed(String),
    /// A key that some server could take for a declared argument.
    #[error("`{found}` could be read as the argument `{known}`: write `{known}`, or leave it out")]
    Lookalike {
        /// The key as it was sent, shortened.
        found: String,
        /// The declared argument.
        known: String,
    },
    /// A required argument is absent.
    #[error("the argument `{argument}` is missing: it must be {expected}")]
    Missing {
        /// Which argument.
        argument: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The value has another type than the tool declares.
    #[error("the argument `{argument}` is {found}: it must be {expected}")]
    Mistyped {
        /// Which argument.
        argument: String,
        /// What it is.
        found: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A number that policy cannot compare exactly.
    #[error("the argument `{argument}` cannot be checked exactly: {problem}; {allowed}")]
    Inexact {
        /// Which argument.
        argument: String,
        /// What is wrong with the number.
        problem: &'static str,
        /// What fits.
        allowed: String,
    },
    /// The sum over an array is larger than policy can compare.
    #[error("the sum of `{argument}` is too large to be checked: send fewer or smaller items")]
    SumTooLarge {
        /// Which member of the items.
        argument: String,
    },
    /// A URL whose host is read in several ways.
    #[error(
        "the host of the URL in `{argument}` can be read in several ways: write it plainly, like `https://example.com/path`"
    )]
    AmbiguousHost {
        /// Which argument.
        argument: String,
    },
}

/// The arguments of one call as policy sees them.
#[derive(Debug)]
pub struct Reading {
    /// The reader it came from: another one may have left out other attributes.
    pub(super) reader: Arc<Reader>,
    pub(super) input: RestrictedExpression,
    pub(super) amounts: Vec<Amount>,
    /// One for each of the reader's declared meters.
    pub(super) counts: Vec<i64>,
    pub(super) opaque: BTreeSet<String>,
    /// The amount of the call, in what is said of it, and its decimals.
    pub(super) amount: Option<(i64, u8)>,
}

impl Reading {
    /// One for each of the tool's meters, in their order.
    pub fn amounts(&self) -> &[Amount] {
        &self.amounts
    }

    /// What the call adds to each declared meter that counts its tool: 1, or what
    /// the meter sums, as for an [`Amount`].
    pub fn counts(&self) -> impl ExactSizeIterator<Item = (&Arc<Meter>, i64)> {
        let meters = self.reader.counted().iter();
        meters.zip(self.counts.iter().copied())
    }

    /// Whether the call moves a meter.
    pub fn is_metered(&self) -> bool {
        !self.amounts.is_empty() || !self.counts.is_empty()
    }

    /// The arguments that are present and that policy cannot see.
    pub fn opaque(&self) -> &BTreeSet<String> {
        &self.opaque
    }
}

/// What one call adds to a meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Key of the total in the store: `server/tool#argument`.
    pub meter: Arc<str>,
    /// The argument that is metered.
    pub argument: Arc<str>,
    /// The argument's value, in minor units (cents) where it is money; 0 where
    /// it is absent. May be negative: who keeps the total must not let it fall.
    pub value: i64,
}
