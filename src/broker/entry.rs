//! Whether a principal may be in a session, as it stands at this moment.

use super::Broker;
use super::Catalogue;
use crate::cause::Chain;
use crate::principal::PrincipalId;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::sessions;
use crate::sessions::By;
use crate::sessions::End;
use crate::sessions::State;
use crate::sessions::Why;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::SignedDuration;
use jiff::Timestamp;

/// How many sessions end in one transaction because nobody used them.
const EXPIRE_AT_ONCE: u32 = 1_000;

/// What a session is to somebody who names it.
#[derive(Debug)]
pub(super) enum Entry {
    /// They may be in it.
    Open(Box<State>),
    /// It is over.
    Ended(End),
    /// There is none, or it is none of theirs: the same to them.
    Gone,
}

impl Entry {
    /// The session of this id, for its owner, or for a guest whom policy lets in: with
    /// the labels that a call of theirs is decided on.
    pub(super) fn of(
        tx: &Tx<'_>,
        (session, principal): (SessionId, &PrincipalId),
        catalogue: &Catalogue,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut entry = Self::found(tx, (session, principal), catalogue, now)?;
        if let Self::Open(state) = &mut entry {
            sessions::as_called_in(tx, &mut state.facts, principal, now)?;
        }
        Ok(entry)
    }

    fn found(
        tx: &Tx<'_>,
        (session, principal): (SessionId, &PrincipalId),
        catalogue: &Catalogue,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let found = sessions::state(tx, session)?;
        let is_there = found.is_some();
        // It takes as long where there is none as where somebody may not know of it.
        let state = found.unwrap_or_else(|| nowhere(session, principal));
        if !is_there || state.facts.owner != *principal {
            let handles = sessions::handles(tx, session)?;
            let joins = catalogue.bundle();
            let joined = joins.may_join(principal, &state.facts, &handles, now);
            if !is_there || joined.is_err() {
                return Ok(Self::Gone);
            }
        }
        Ok(match state.ended {
            Some(end) => Self::Ended(end),
            None => Self::Open(Box::new(state)),
        })
    }

    /// The same for a call that is about to be made: one that nobody used for too
    /// long ends here, and else it is noted that it is in use, and what sticks to the
    /// caller joins it.
    pub(super) fn to_use(
        tx: &Tx<'_>,
        (session, principal): (SessionId, &PrincipalId),
        (catalogue, kept): (&Catalogue, Option<SignedDuration>),
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        match Self::found(tx, (session, principal), catalogue, now)? {
            Self::Open(state) if state.is_stale(kept, now) => {
                let why = Why::Expired;
                sessions::end(tx, state.facts.id, why, (By::Time, now))?;
                Ok(Self::Ended(End { at: now, why }))
            }
            Self::Open(mut state) => {
                sessions::touch(tx, &state, now)?;
                sessions::carry_over(tx, &mut state.facts, principal, now)?;
                Ok(Self::Open(state))
            }
            closed @ (Self::Ended(_) | Self::Gone) => Ok(closed),
        }
    }

    /// What policy may know of it, where they may be in it.
    pub(super) fn facts(self) -> Option<SessionFacts> {
        match self {
            Self::Open(state) => Some(state.facts),
            Self::Ended(_) | Self::Gone => None,
        }
    }
}

/// A session that is not there.
pub(super) fn nowhere(id: SessionId, owner: &PrincipalId) -> State {
    State {
        facts: SessionFacts::untouched(id, owner),
        used: Timestamp::UNIX_EPOCH,
        ended: None,
    }
}

impl Broker {
    /// Ends sessions that nobody used for too long, so that it is seen before
    /// somebody comes back to one.
    pub(super) async fn expire_sessions(&self) {
        let now = Timestamp::now();
        let since = self
            .settings
            .expire
            .and_then(|kept| now.checked_sub(kept).ok());
        let Some(since) = since else { return };
        let work = move |tx: &Tx<'_>| sessions::expire(tx, since, EXPIRE_AT_ONCE, now);
        let expired = self.store.write("expire", Durability::Process, work).await;
        match expired.map(crate::store::Committed::into_inner) {
            Ok(0) => {}
            Ok(count) => tracing::info!(sessions = count, "unused sessions ended"),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "unused sessions could not be ended");
            }
        }
    }
}
