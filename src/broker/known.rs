//! Sessions that calls named before, so that a call need not look its session up
//! in the store. What is remembered is only which session is meant: that it is
//! there, whose it is and whether it is frozen is read when the call is decided.

use crate::principal::PrincipalId;
use crate::session::SessionId;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// How many names are remembered. Beyond it all are forgotten, and found again.
const MOST: usize = 10_000;

/// The sessions that one broker found.
#[derive(Debug, Default)]
pub(super) struct Known {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// Of their owners only, by handle or id as it was written.
    named: HashMap<PrincipalId, HashMap<Box<str>, SessionId>>,
    names: usize,
    /// The default session of each owner.
    defaults: HashMap<PrincipalId, SessionId>,
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

    /// The default session of a principal, if it was found before. Whether it still
    /// is that one is to be asked: it ends, and is replaced where it was idle.
    pub(super) fn default_of(&self, owner: &PrincipalId) -> Option<SessionId> {
        self.found().defaults.get(owner).copied()
    }

    /// Remembers the default session of a principal.
    pub(super) fn default_is(&self, owner: PrincipalId, session: SessionId) {
        let mut found = self.found();
        if found.defaults.len() >= MOST {
            found.defaults.clear();
        }
        found.defaults.insert(owner, session);
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        // Each change is whole before the lock is given back.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
