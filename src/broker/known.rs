//! Sessions that calls named before, so that a call need not look its session up
//! in the store. What is remembered is only which session is meant: that it is
//! there, whose it is and whether it is frozen is read when the call is decided.

use crate::principal::PrincipalId;
use crate::session::SessionId;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// How many names are remembered. Beyond it all are forgotten, and found again.
const MOST: usize = 10_000;

/// How much earlier than the store a default session counts as idle here: the
/// store notes its use to the minute.
const MARGIN: SignedDuration = SignedDuration::from_mins(2);

/// The sessions that one broker found.
#[derive(Debug, Default)]
pub(super) struct Known {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// By owner, and by handle or id as it was written.
    named: HashMap<PrincipalId, HashMap<Box<str>, SessionId>>,
    names: usize,
    /// The default session of each owner, and when it was last asked for.
    defaults: HashMap<PrincipalId, (SessionId, Timestamp)>,
}

impl Known {
    /// The session of this name, if it was found before. A handle stays with
    /// its session for good.
    pub(super) fn named(&self, owner: &PrincipalId, name: &str) -> Option<SessionId> {
        self.found().named.get(owner)?.get(name).copied()
    }

    /// Remembers which session has this name.
    pub(super) fn is_named(&self, owner: PrincipalId, name: &str, session: SessionId) {
        let mut found = self.found();
        if found.names >= MOST {
            found.named.clear();
            found.names = 0;
        }
        found.names += 1;
        found
            .named
            .entry(owner)
            .or_default()
            .insert(name.into(), session);
    }

    /// The default session of a principal, while our own use of it keeps it
    /// from being idle in the store too.
    pub(super) fn default_of(
        &self,
        owner: &PrincipalId,
        idle: SignedDuration,
        now: Timestamp,
    ) -> Option<SessionId> {
        let mut found = self.found();
        let (session, used) = found.defaults.get_mut(owner)?;
        // A clock that was set back makes nothing fresh.
        let since = now.duration_since(*used);
        if since.is_negative() || since > idle - MARGIN {
            return None;
        }
        *used = now;
        Some(*session)
    }

    /// Remembers the default session of a principal.
    pub(super) fn default_is(&self, owner: PrincipalId, session: SessionId, now: Timestamp) {
        let mut found = self.found();
        if found.defaults.len() >= MOST {
            found.defaults.clear();
        }
        found.defaults.insert(owner, (session, now));
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        // Each change is whole before the lock is given back.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_default_session_is_forgotten_before_the_store_calls_it_idle() {
        let known = Known::default();
        let alice = PrincipalId::parse("alice").unwrap();
        let session = SessionId::random();
        let idle = SignedDuration::from_hours(8);
        let asked = |now: &str| known.default_of(&alice, idle, at(now));
        assert_eq!(asked("2026-11-24T00:00:00Z"), None);
        known.default_is(alice.clone(), session, at("2026-11-24T00:00:00Z"));
        assert_eq!(asked("2026-11-24T07:58:00Z"), Some(session));
        assert_eq!(asked("2026-11-24T15:56:00Z"), Some(session));
        assert_eq!(asked("2026-11-24T23:54:01Z"), None);
        assert_eq!(asked("2026-11-24T15:00:00Z"), None);
    }

    #[test]
    fn a_name_is_one_owners_and_the_memory_of_names_is_bounded() {
        let known = Known::default();
        let [alice, bob] = ["alice", "bob"].map(|name| PrincipalId::parse(name).unwrap());
        let session = SessionId::random();
        known.is_named(alice.clone(), "claim-99", session);
        assert_eq!(known.named(&alice, "claim-99"), Some(session));
        assert_eq!(known.named(&bob, "claim-99"), None);
        for number in 0..MOST {
            known.is_named(alice.clone(), &number.to_string(), session);
        }
        assert_eq!(known.named(&alice, "claim-99"), None);
        assert_eq!(known.found().names, 1);
    }
}
