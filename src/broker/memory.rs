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
    /// The session of a call and the writers beside us, as they are now; none
    /// where there is no such session that goes on.
    // INVARIANT: the version is asked for at each call, and what is remembered was
    // read at that version or later. So what anybody committed before a call is
    // known to it.
    pub(super) fn recall(
        &self,
        store: &Store,
        writer: WriterId,
        subject: &Subject,
    ) -> Result<Option<Recalled>, StoreError> {
        // Whatever is in it is of the version that it says.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let version = store.version()?;
        if held.version != Some(version) || held.sessions.len() >= MOST {
            *held = Held {
                version: Some(version),
                ..Held::default()
            };
        }
        if let Some(company) = &held.company
            && let Some(session) = held.sessions.get(&subject.session)
        {
            return Ok(Some(Recalled {
                session: Arc::clone(session),
                company: Arc::clone(company),
            }));
        }
        let (company, found, unsettled) = store.read(|tx| {
            Ok((
                Writer::company(tx, writer)?,
                Remembered::read(tx, subject.session)?,
                journal::unsettled_of(tx, subject.session)?,
            ))
        })?;
        let Some(session) = found else {
            return Ok(None);
        };
        let recalled = Recalled {
            session: Arc::new(Remains { session, unsettled }),
            company: Arc::new(company),
        };
        held.company = Some(Arc::clone(&recalled.company));
        let session = Arc::clone(&recalled.session);
        held.sessions.insert(subject.session, session);
        Ok(Some(recalled))
    }
}
