//! What calls are decided on, remembered as long as nobody committed anything:
//! a session's facts, its calls that ended unknown, and the writers beside us.

use crate::journal;
use crate::journal::Subject;
use crate::session::SessionId;
use crate::sessions::Remembered;
use crate::store::Company;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Version;
use crate::store::Writer;
use crate::store::WriterId;
use crate::tool::Digest;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

/// How many sessions are remembered. Beyond it all are forgotten.
const MOST: usize = 10_000;

/// What was read of the store at one version of it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    version: Option<Version>,
    company: Option<Arc<Company>>,
    sessions: HashMap<SessionId, Arc<Remains>>,
}

/// What a call is decided on.
pub(super) struct Recalled {
    pub(super) session: Arc<Remains>,
    pub(super) company: Arc<Company>,
}

/// One session as calls need it.
#[derive(Debug)]
pub(super) struct Remains {
    pub(super) session: Remembered,
    unsettled: Vec<(String, Digest)>,
}

impl Remains {
    /// Whether the same call ended unknown.
    pub(super) fn is_unsettled(&self, subject: &Subject) -> bool {
        let same = |(tool, arguments): &(String, Digest)| {
            *tool == subject.tool && *arguments == subject.arguments
        };
        self.unsettled.iter().any(same)
    }
}

impl Memory {
    /// A session and the writers beside us, as they were at that time or later, which
    /// is when a call came; none where there is no such session that goes on.
    // INVARIANT: the version is asked for after each call came, once for all that
    // had come by then, and what is remembered was read at that version or later.
    // So what anybody committed before a call is known to it.
    pub(super) fn recall(
        &self,
        store: &Store,
        writer: WriterId,
        (session, came): (SessionId, Instant),
    ) -> Result<Option<Recalled>, StoreError> {
        // Whatever is in it is of the version that it says.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let version = store.version_since(came)?;
        if held.version != Some(version) || held.sessions.len() >= MOST {
            *held = Held {
                version: Some(version),
                ..Held::default()
            };
        }
        if let Some(company) = &held.company
            && let Some(remains) = held.sessions.get(&session)
        {
            return Ok(Some(Recalled {
                session: Arc::clone(remains),
                company: Arc::clone(company),
            }));
        }
        let (company, found, unsettled) = store.read(|tx| {
            Ok((
                Writer::company(tx, writer)?,
                Remembered::read(tx, session)?,
                journal::unsettled_of(tx, session)?,
            ))
        })?;
        let Some(found) = found else {
            return Ok(None);
        };
        let remains = Remains {
            session: found,
            unsettled,
        };
        let recalled = Recalled {
            session: Arc::new(remains),
            company: Arc::new(company),
        };
        held.company = Some(Arc::clone(&recalled.company));
        let remains = Arc::clone(&recalled.session);
        held.sessions.insert(session, remains);
        Ok(Some(recalled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::PrincipalId;
    use crate::sessions;
    use crate::store::FRESH;
    use crate::store::Migration;
    use crate::store::Tx;
    use crate::store::testing::tamper;
    use jiff::Timestamp;

    const MIGRATIONS: [Migration; 1] = [Migration {
        number: 1,
        sql: &[
            journal::SCHEMA,
            journal::SCHEMA_12,
            journal::SCHEMA_14,
            journal::SCHEMA_20,
            sessions::SCHEMA,
            sessions::SCHEMA_7,
            sessions::SCHEMA_27,
        ],
    }];

    #[test]
    fn what_was_committed_before_a_call_came_is_known_to_it_and_asked_for_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db"), &MIGRATIONS).unwrap();
        let now = Timestamp::now();
        let alice = PrincipalId::parse("alice").unwrap();
        let owner = alice.clone();
        let create = move |tx: &Tx<'_>| sessions::create(tx, &owner, None, now);
        let session = store.write_blocking("create", create);
        let writer = Writer::enlist(&store, now).unwrap();
        let session = session.unwrap();
        let memory = Memory::default();
        let frozen = |came| {
            let asked = (session, came);
            let recalled = memory.recall(&store, writer.id(), asked).unwrap().unwrap();
            recalled.session.session.facts(&alice, now).unwrap().frozen
        };
        let early = Instant::now();
        assert!(!frozen(early));
        tamper(&store, "UPDATE session SET frozen = 1");
        assert!(frozen(Instant::now()));
        tamper(&store, "UPDATE session SET frozen = NULL");
        // One that had come by then is of that state too, if it is not late.
        assert!(frozen(early) || early.elapsed() > FRESH);
        assert!(!frozen(Instant::now()));
    }
}
