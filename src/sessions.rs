//! The durable sessions: who owns them, how they are found, what stops them.

mod changes;
mod instances;
mod labels;
mod placements;
mod remembered;
mod stops;
mod table;
#[cfg(test)]
mod tests;
mod towards;
mod transports;

pub use changes::By;
pub use changes::Change;
pub use changes::What;
pub use changes::history;
pub use changes::last;
pub use changes::note;
pub use changes::noted;
pub use instances::SCHEMA_13;
pub use instances::began;
pub use labels::Brought;
pub use labels::as_called_in;
pub use labels::carry_over;
pub use labels::guest;
pub use labels::label;
pub use labels::label_from;
pub use labels::met_in;
pub use labels::moves_labels;
pub use labels::take_along;
pub use labels::takes_along;
pub use labels::unlabel;
pub use placements::Holder;
pub use placements::Placing;
pub use placements::SCHEMA_11;
pub use placements::place;
pub use placements::placed;
pub use placements::placed_since;
pub use remembered::Remembered;
pub use stops::Frozen;
pub use stops::end;
pub use stops::expire;
pub use stops::freeze;
pub use stops::pause;
pub use stops::resume;
pub use table::SCHEMA;
pub use table::SCHEMA_7;
pub use table::SCHEMA_27;
pub use towards::SCHEMA_17;
pub use towards::SCHEMA_22;
pub use towards::Towards;
pub use towards::keep_towards;
pub use towards::lose_towards;
pub use towards::take_over;
pub use transports::SCHEMA_4;
pub use transports::SCHEMA_5;
pub use transports::Transport;
pub use transports::end_transport;
pub use transports::has_transport;
pub use transports::of_transport;
pub use transports::open_transport;
pub use transports::pointed_to;
pub use transports::transport;

use crate::principal::PrincipalId;
use crate::session::Handle;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::collections::BTreeSet;

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
    /// Since when it is paused, and for what.
    pub paused: Option<Pause>,
    /// How it ended.
    pub ended: Option<End>,
    /// What it came in touch with.
    pub labels: BTreeSet<String>,
}

/// That a session waits, and nothing is sent in it until it is resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// What it waits for, in the words of whoever paused it.
    pub waiting_for: Option<String>,
}

/// That a session is over for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub why: Why,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody ended it.
    Ended,
    /// Nobody used it for as long as the operator keeps unused ones.
    Expired,
}

impl Why {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Expired => "expired",
        }
    }
}

/// One session at the moment of a call, whoever calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What policy may know of it.
    pub facts: SessionFacts,
    /// When it was last used, to about a minute.
    pub used: Timestamp,
    /// How it ended.
    pub ended: Option<End>,
}

impl State {
    /// Whether nobody used it for longer than unused ones are kept.
    pub fn is_stale(&self, kept: Option<SignedDuration>, now: Timestamp) -> bool {
        kept.is_some_and(|kept| now.duration_since(self.used) > kept)
    }
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

/// Opens a new session, named or not. It begins with the labels that stick to its
/// owner.
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
    labels::inherit(tx, id, owner, now)?;
    Ok(id)
}

/// Gives a session one more name. False where its owner has a session of that
/// name already: a name stays with its session for good.
///
/// # Errors
///
/// When it cannot be written.
pub fn name(
    tx: &Tx<'_>,
    session: &Session,
    handle: &Handle,
    (by, now): (By<'_>, Timestamp),
) -> Result<bool, StoreError> {
    if table::session_by_handle(tx, &session.owner, handle)?.is_some() {
        return Ok(false);
    }
    table::handle_insert(tx, session.id, &session.owner, handle)?;
    note(tx, session.id, What::Named, Some(handle.as_str()), by, now)?;
    Ok(true)
}

/// The names of a session.
///
/// # Errors
///
/// When they cannot be read.
pub fn handles(tx: &Tx<'_>, id: SessionId) -> Result<Vec<String>, StoreError> {
    Ok(table::session(tx, id)?.map_or_else(Vec::new, |session| session.handles))
}

/// The session that [`default_of`] would find, where it would open none.
///
/// # Errors
///
/// When the store cannot be read.
pub fn current_default(
    tx: &Tx<'_>,
    owner: &PrincipalId,
    idle: SignedDuration,
    now: Timestamp,
) -> Result<Option<SessionId>, StoreError> {
    let Some(current) = table::default_session(tx, owner)? else {
        return Ok(None);
    };
    let state = table::state(tx, current)?;
    let goes_on =
        state.is_some_and(|state| state.ended.is_none() && now.duration_since(state.used) <= idle);
    Ok(goes_on.then_some(current))
}

/// The session of a principal that names none: the one used last, unless it is over
/// or was idle for longer than `idle`; then a new one. It is noted that it is in use.
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
    if let Some(current) = current_default(tx, owner, idle, now)? {
        table::session_used(tx, current, now)?;
        return Ok(current);
    }
    let id = create(tx, owner, None, now)?;
    table::default_set(tx, owner, id)?;
    Ok(id)
}

/// A session as it stands now, whoever asks: whether they may be in it is for the
/// caller to decide.
///
/// # Errors
///
/// When the store cannot be read.
pub fn state(tx: &Tx<'_>, id: SessionId) -> Result<Option<State>, StoreError> {
    table::state(tx, id)
}

/// Notes that a session is in use, to about a minute.
///
/// # Errors
///
/// When it cannot be written.
pub fn touch(tx: &Tx<'_>, state: &State, now: Timestamp) -> Result<(), StoreError> {
    if now.duration_since(state.used) > USED_EVERY {
        table::session_used(tx, state.facts.id, now)?;
    }
    Ok(())
}

/// Notes that a session is in use by its owner, who finds it by its name. Not one that is
/// over, or that nobody used for longer than unused ones are kept: the next call in it
/// says so.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn come_back(
    tx: &Tx<'_>,
    id: SessionId,
    kept: Option<SignedDuration>,
    now: Timestamp,
) -> Result<(), StoreError> {
    match state(tx, id)? {
        Some(state) if state.ended.is_none() && !state.is_stale(kept, now) => {
            touch(tx, &state, now)
        }
        Some(_) | None => Ok(()),
    }
}
