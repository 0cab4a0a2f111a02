//! What those who decide were shown of what stops a call. A request may say more later,
//! by a try of its caller or at somebody's decision, and nobody knows who read it since:
//! so whoever approves it then is first answered with all of it.

mod table;

pub use table::SCHEMA_28;

use super::EscalationId;
use crate::principal::PrincipalId;
use crate::store::StoreError;
use crate::store::Tx;

/// Notes that it says more from now on than before.
pub(super) fn raise(tx: &Tx<'_>, id: EscalationId) -> Result<(), StoreError> {
    table::raise(tx, id)
}

/// Which of its versions a request is: 1 where it says what it said when it was asked.
///
/// # Errors
///
/// When the store cannot be read.
pub fn version(tx: &Tx<'_>, id: EscalationId) -> Result<u32, StoreError> {
    table::version(tx, id)
}

/// Whether somebody who decides needs no answer before with what it says: nothing was
/// added to it, or nothing since they had that answer.
///
/// # Errors
///
/// When the store cannot be read.
pub fn was_shown(tx: &Tx<'_>, id: EscalationId, by: &PrincipalId) -> Result<bool, StoreError> {
    let version = table::version(tx, id)?;
    Ok(version == 1 || table::seen(tx, id, by)? == Some(version))
}

/// Notes that somebody is answered with what it says now.
///
/// # Errors
///
/// When it cannot be written.
pub fn shown(tx: &Tx<'_>, id: EscalationId, by: &PrincipalId) -> Result<(), StoreError> {
    let version = table::version(tx, id)?;
    table::see(tx, (id, version), by)
}
