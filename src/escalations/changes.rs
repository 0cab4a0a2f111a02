//! What became of escalations and was not handed on yet: a row for each change of a
//! state, which the store itself writes in the transaction of the change. So there is no
//! way to change one that nobody is told of.

mod table;

pub use table::SCHEMA_19;

use super::EscalationId;
use super::State;
use crate::store::StoreError;
use crate::store::Tx;

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which escalation.
    pub id: EscalationId,
    /// What it became.
    pub state: State,
}

/// Whether there are changes that nobody took.
///
/// # Errors
///
/// When the store cannot be read.
pub fn changed(tx: &Tx<'_>) -> Result<bool, StoreError> {
    table::any(tx)
}

/// Has those who were told that one waits told again.
///
/// # Errors
///
/// When it cannot be written.
pub(super) fn tell_again(tx: &Tx<'_>, id: EscalationId) -> Result<(), StoreError> {
    table::add(tx, id, State::Pending)
}

/// Takes the oldest changes, at most so many. Whoever takes them hands them on in the
/// same transaction.
///
/// # Errors
///
/// When the store fails.
pub fn take_changes(tx: &Tx<'_>, most: u32) -> Result<Vec<Change>, StoreError> {
    table::take(tx, most)
}
