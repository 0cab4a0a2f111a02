//! Transport sessions (`Mcp-Session-Id` of 2025-era clients): stored pointers to a
//! principal and a durable session.

mod table;

pub use table::SCHEMA_4;
pub use table::SCHEMA_5;

use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::session::TransportId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::SignedDuration;
use jiff::Timestamp;

/// A transport session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Whose it is. To anybody else it does not exist.
    pub owner: PrincipalId,
    /// The handle or id of the session that it was opened for, where one was
    /// named.
    pub named: Option<String>,
    /// The revision that was agreed on.
    pub revision: String,
    /// What the client can be asked: the text of an object of capabilities.
    pub declared: String,
}

/// How long a transport session that nobody uses is kept.
const TRANSPORT_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Stores a new transport session, and forgets those that nobody used for thirty
/// days.
///
/// # Errors
///
/// When it cannot be written.
pub fn open_transport(
    tx: &Tx<'_>,
    id: &TransportId,
    transport: &Transport,
    now: Timestamp,
) -> Result<(), StoreError> {
    table::transports_forget(tx, now - TRANSPORT_KEPT)?;
    table::transport_insert(tx, id, transport, now)
}

/// The transport session of this id, if it is this principal's. Notes that it is
/// in use.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn transport(
    tx: &Tx<'_>,
    id: &TransportId,
    owner: &PrincipalId,
    now: Timestamp,
) -> Result<Option<Transport>, StoreError> {
    let found = table::transport(tx, id)?.filter(|transport| transport.owner == *owner);
    if found.is_some() {
        table::transport_used(tx, id, now)?;
    }
    Ok(found)
}

/// Whether this principal has a transport session of this id.
///
/// # Errors
///
/// When the store cannot be read.
pub fn has_transport(
    tx: &Tx<'_>,
    id: &TransportId,
    owner: &PrincipalId,
) -> Result<bool, StoreError> {
    table::transport_exists(tx, id, owner)
}

/// Ends a transport session; the durable one goes on. False where this principal
/// has no such transport session.
///
/// # Errors
///
/// When it cannot be written.
pub fn end_transport(
    tx: &Tx<'_>,
    id: &TransportId,
    owner: &PrincipalId,
) -> Result<bool, StoreError> {
    table::transport_delete(tx, id, owner)
}

/// The durable session that a transport session points to, where it points to one.
///
/// # Errors
///
/// When the store cannot be read.
pub fn pointed_to(
    tx: &Tx<'_>,
    id: &TransportId,
    owner: &PrincipalId,
) -> Result<Option<SessionId>, StoreError> {
    table::transport_session(tx, id, owner)
}

/// The durable session that a transport session points to; where it points to
/// none yet, to a new one from now on.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn of_transport(
    tx: &Tx<'_>,
    id: &TransportId,
    owner: &PrincipalId,
    now: Timestamp,
) -> Result<SessionId, StoreError> {
    if let Some(session) = table::transport_session(tx, id, owner)? {
        return Ok(session);
    }
    let session = super::create(tx, owner, None, now)?;
    table::transport_points_to(tx, id, session)?;
    Ok(session)
}
