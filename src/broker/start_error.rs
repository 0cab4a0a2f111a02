//! Why a broker does not start.

use super::HeldError;
use crate::journal::KeyError;
use crate::policy::BundleError;
use crate::store::StoreError;

/// Why a broker did not start, or kept the policies it had.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store failed.
    #[error("the store cannot be used")]
    Store(#[source] StoreError),
    /// The store counts money in other units.
    #[error(
        "the totals in the store have {stored} digits of minor units, and `policy.money_scale` is {configured}: set it back, or begin with a new store"
    )]
    MoneyScale {
        /// What the totals are counted in.
        stored: u8,
        /// What the configuration says.
        configured: u8,
    },
    /// The policies are not valid.
    #[error("the policies are not valid")]
    Policies(#[source] BundleError),
    /// There is nothing to sign the journal with.
    #[error("the journal cannot be signed")]
    Key(#[source] KeyError),
    /// What is to take checkpoints does not.
    #[error("`journal.checkpoints` cannot be used")]
    Checkpoints(#[source] HeldError),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopping,
}
