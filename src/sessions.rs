//! The durable sessions: who owns them, how they are found, what stops them.

mod table;

pub use table::SCHEMA;
pub use table::SCHEMA_4;
pub use table::SCHEMA_5;

use crate::principal::PrincipalId;
use crate::session::Handle;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::session::TransportId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::SignedDuration;
use jiff::Timestamp;

/// How old the note of a session's last use may be before a call renews it.
const USED_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// One session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who opened it, and whose it stays.
    pub owner: PrincipalId,
    /// Its names, all of the owner's.
    pub handles: Vec<String>,
    /// When it was opened.
    pub created: Timestamp,
    /// When it was last used, to about a minute.
    pub used: Timestamp,
    /// When an operator froze it.
    pub frozen: Option<Timestamp>,
}

/// The session that has this handle for this owner.
///
/// # Errors
///
/// When the store cannot be read.
pub fn find(
    tx: &Tx<'_>,
    owner: &PrincipalId,
    handle: &Handle,
) -> Result<Option<SessionId>, StoreError> {
    table::session_by_handle(tx, owner, handle)
}

/// The session with this id, whoever owns it.
///
/// # Errors
///
/// When the store cannot be read.
pub fn by_id(tx: &Tx<'_>, id: SessionId) -> Result<Option<Session>, StoreError> {
    table::session(tx, id)
}

/// Every session, or those of one owner, the last used first.
///
/// # Errors
///
/// When the store cannot be read.
pub fn list(tx: &Tx<'_>, owner: Option<&PrincipalId>) -> Result<Vec<Session>, StoreError> {
    table::sessions(tx, owner)
}

/// Opens a new session, named or not.
///
/// # Errors
///
/// When it cannot be written; also when the owner has that handle already.
pub fn create(
    tx: &Tx<'_>,
    owner: &PrincipalId,
    handle: Option<&Handle>,
    now: Timestamp,
) -> Result<SessionId, StoreError> {
    let id = SessionId::random();
    table::session_insert(tx, id, owner, now)?;
    if let Some(handle) = handle {
        table::handle_insert(tx, id, owner, handle)?;
    }
    Ok(id)
}

/// The session of a principal that names none: the one used last, unless it
/// was idle for longer than `idle`; then a new one.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn default_of(
    tx: &Tx<'_>,
    owner: &PrincipalId,
    idle: SignedDuration,
    now: Timestamp,
) -> Result<SessionId, StoreError> {
    if let Some(current) = table::default_session(tx, owner)? {
        let used = table::session(tx, current)?.map(|session| session.used);
        if used.is_some_and(|used| now.duration_since(used) <= idle) {
            return Ok(current);
        }
    }
    let id = create(tx, owner, None, now)?;
    table::default_set(tx, owner, id)?;
    Ok(id)
}

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
    let session = create(tx, owner, None, now)?;
    table::transport_points_to(tx, id, session)?;
    Ok(session)
}

/// What policy may know of a session now; none where there is no such session,
/// or where it is not this principal's: the same to them. Notes that it is in
/// use.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn facts(
    tx: &Tx<'_>,
    id: SessionId,
    owner: &PrincipalId,
    now: Timestamp,
) -> Result<Option<SessionFacts>, StoreError> {
    let Some((facts, used)) = table::facts(tx, id, owner)? else {
        return Ok(None);
    };
    if now.duration_since(used) > USED_EVERY {
        table::session_used(tx, id, now)?;
    }
    Ok(Some(facts))
}

/// The same, without noting that it is in use.
///
/// # Errors
///
/// When the store cannot be read.
pub fn peek(
    tx: &Tx<'_>,
    id: SessionId,
    owner: &PrincipalId,
) -> Result<Option<SessionFacts>, StoreError> {
    Ok(table::facts(tx, id, owner)?.map(|(facts, _used)| facts))
}

/// What [`facts`] would say, for somebody who remembers it: none also where the
/// use of the session is to be noted, which is no business of remembering.
#[derive(Debug)]
pub struct Remembered {
    owner: PrincipalId,
    facts: SessionFacts,
    used: Timestamp,
}

impl Remembered {
    /// A session as it is in the store; none where there is no such session of
    /// this principal.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn read(
        tx: &Tx<'_>,
        id: SessionId,
        owner: &PrincipalId,
    ) -> Result<Option<Self>, StoreError> {
        let found = table::facts(tx, id, owner)?;
        Ok(found.map(|(facts, used)| Self {
            owner: owner.clone(),
            facts,
            used,
        }))
    }

    /// What policy may know of the session now.
    pub fn facts(&self, owner: &PrincipalId, now: Timestamp) -> Option<&SessionFacts> {
        let is_noted = now.duration_since(self.used) <= USED_EVERY;
        (is_noted && self.owner == *owner).then_some(&self.facts)
    }
}

/// Stops every further call of a session, or lets it go on. False where there
/// is no such session.
///
/// # Errors
///
/// When it cannot be written.
pub fn freeze(tx: &Tx<'_>, id: SessionId, since: Option<Timestamp>) -> Result<bool, StoreError> {
    table::session_freeze(tx, id, since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::in_store;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_handle_is_one_session_for_its_owner_and_none_for_others() {
        let alice = PrincipalId::parse("alice").unwrap();
        let bob = PrincipalId::parse("bob").unwrap();
        let handle: Handle = "claim-99".parse().unwrap();
        let now = at("2026-11-22T12:00:00Z");
        let (made, alices, bobs) = in_store(&[SCHEMA], move |tx| {
            let made = create(tx, &alice, Some(&handle), now)?;
            Ok((made, find(tx, &alice, &handle)?, find(tx, &bob, &handle)?))
        })
        .await;
        assert_eq!(alices, Some(made));
        assert_eq!(bobs, None);
    }

    #[tokio::test]
    async fn the_default_session_is_replaced_after_it_was_idle() {
        let alice = PrincipalId::parse("alice").unwrap();
        let idle = SignedDuration::from_hours(8);
        let (first, same, used, still, new) = in_store(&[SCHEMA], move |tx| {
            let first = default_of(tx, &alice, idle, at("2026-11-22T00:00:00Z"))?;
            let same = default_of(tx, &alice, idle, at("2026-11-22T07:00:00Z"))?;
            let used = facts(tx, first, &alice, at("2026-11-22T07:30:00Z"))?;
            let still = default_of(tx, &alice, idle, at("2026-11-22T15:30:00Z"))?;
            let new = default_of(tx, &alice, idle, at("2026-11-22T15:30:01Z"))?;
            Ok((first, same, used, still, new))
        })
        .await;
        assert!(used.is_some());
        assert_eq!([same, still], [first, first]);
        assert_ne!(new, first);
    }

    #[tokio::test]
    async fn a_frozen_session_says_so_until_it_is_let_go() {
        let alice = PrincipalId::parse("alice").unwrap();
        let now = at("2026-11-22T12:00:00Z");
        let (frozen, thawed, nobody) = in_store(&[SCHEMA], move |tx| {
            let id = create(tx, &alice, None, now)?;
            freeze(tx, id, Some(now))?;
            let frozen = facts(tx, id, &alice, now)?;
            freeze(tx, id, None)?;
            let nobody = freeze(tx, SessionId::from_bytes([0; 16]), Some(now))?;
            Ok((frozen, facts(tx, id, &alice, now)?, nobody))
        })
        .await;
        assert!(frozen.unwrap().frozen);
        assert!(!thawed.unwrap().frozen);
        assert!(!nobody);
    }
}
