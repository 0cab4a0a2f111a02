//! Which sessions had an instance of a server of their own: one that begins again
//! after it, here or in another process, has something to resume.

mod table;

pub use table::SCHEMA_13;

use super::Holder;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::ServerName;
use jiff::Timestamp;

/// Notes that somebody has an instance of a server. Returns whether it is the first.
///
/// # Errors
///
/// When it cannot be written.
pub fn began(
    tx: &Tx<'_>,
    server: &ServerName,
    holder: &Holder,
    now: Timestamp,
) -> Result<bool, StoreError> {
    table::instance_insert(tx, (server, &holder.to_string()), now)
}

/// A session that is over has none.
pub(super) fn forget(tx: &Tx<'_>, session: SessionId) -> Result<(), StoreError> {
    table::instances_delete(tx, &Holder::Session(session).to_string())
}
