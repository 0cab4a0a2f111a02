//! Denials that come again: they are told shorter, policy may know how many there were
//! lately, and where the operator says so they freeze the session.

use super::Refusal;
use super::Settings;
use super::admit::Candidate;
use crate::journal;
use crate::journal::Subject;
use crate::policy::Gate;
use crate::session::SessionId;
use crate::sessions;
use crate::sessions::By;
use crate::sessions::Frozen;
use crate::sessions::What;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::SignedDuration;
use jiff::Timestamp;

/// What is made of the denials of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denials {
    /// How long one is of lately.
    pub lately: SignedDuration,
    /// How many of lately freeze their session; never where there is none.
    pub freeze_after: Option<u32>,
}

impl Default for Denials {
    fn default() -> Self {
        Self {
            lately: SignedDuration::from_mins(10),
            freeze_after: None,
        }
    }
}

/// A denial, seen with those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// How often the same call was denied for the same reason before, in its session;
    /// counted up to [`MOST`](Again::MOST).
    pub before: u32,
    /// Whether it froze the session.
    pub freezes: bool,
}

impl Again {
    /// How far it is counted.
    pub const MOST: u32 = journal::MOST_DENIED;
}

impl Denials {
    /// How many calls of a session were denied lately; what was before an operator let
    /// it go on is forgiven.
    fn lately(self, tx: &Tx<'_>, session: SessionId, now: Timestamp) -> Result<u32, StoreError> {
        let begun = now.checked_sub(self.lately).unwrap_or(Timestamp::MIN);
        let thawed = sessions::last(tx, session, What::Thawed)?;
        let since = thawed.map_or(begun, |thawed| thawed.max(begun));
        journal::denied_since(tx, session, since)
    }

    /// The same, where policies of this tool ask for it.
    pub(super) fn read_by(
        self,
        gate: &Gate,
        tx: &Tx<'_>,
        (session, now): (SessionId, Timestamp),
    ) -> Result<u32, StoreError> {
        match gate.reads_denials() {
            true => self.lately(tx, session, now),
            false => Ok(0),
        }
    }
}

impl Candidate {
    /// A refusal, with what is known of those before it.
    pub(super) fn again(&self, tx: &Tx<'_>, refusal: Refusal) -> Result<Refusal, StoreError> {
        match refusal {
            Refusal::Denied { call, denial, .. } => {
                let before = journal::denied_before(tx, &self.subject, &denial.code)?;
                let freezes = false;
                Ok(Refusal::Denied {
                    call,
                    denial,
                    again: Again { before, freezes },
                })
            }
            other => Ok(other),
        }
    }

    /// Freezes the session where this was one denial too many. The record of it is
    /// among those that count.
    pub(super) fn freeze(
        &self,
        tx: &Tx<'_>,
        mut refusal: Refusal,
        (settings, now): (&Settings, Timestamp),
    ) -> Result<Refusal, StoreError> {
        let denials = settings.denials;
        let Subject { session, .. } = self.subject;
        let counts = matches!(
            refusal,
            Refusal::Denied { .. } | Refusal::TurnedDown { .. } | Refusal::NotConfirmed { .. }
        );
        if let Some(most) = denials.freeze_after
            && counts
            && denials.lately(tx, session, now)? >= most
        {
            let by = (By::Denials, now);
            let froze = sessions::freeze(tx, session, Frozen::Yes, by)?;
            if let Refusal::Denied { again, .. } = &mut refusal {
                again.freezes = froze;
            }
            if froze {
                tracing::warn!(session.id = %session, denials = most, "a session was frozen: too much of it was denied");
            }
        }
        Ok(refusal)
    }
}
