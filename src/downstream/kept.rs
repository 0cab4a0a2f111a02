//! Transport sessions that legacy servers elsewhere gave us, kept so that the next
//! process goes on in them.

use super::Place;
use super::Remote;
use super::Settings;
use super::handshake::Greeting;
use crate::tool::Digest;
use crate::tool::ServerName;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use tokio::sync::mpsc;

/// Whose transport session it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeptFor {
    /// With which server.
    pub server: ServerName,
    /// `session:ID` or `principal:KEY` where it is an instance's, else empty.
    pub holder: Arc<str>,
    /// At which place: a digest of its URL. Whoever is somewhere else must not get to
    /// know the id.
    pub replica: Arc<str>,
}

/// A transport session, and what the server said when it was opened. Whoever has its id
/// can speak in it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptSession {
    /// Its id.
    pub id: String,
    /// The revision that was agreed on.
    pub revision: String,
    /// Name and version of the server, for display.
    pub says: String,
    /// What the server has: the text of its capabilities.
    pub capabilities: Option<String>,
    /// The server knows in it which session it is for.
    pub told: bool,
}

impl fmt::Debug for KeptSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptSession")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// What is to be kept from now on, or no longer.
pub type Keeping = (KeptFor, Option<KeptSession>);

/// The transport sessions of one broker.
#[derive(Debug)]
pub struct Kept {
    known: Mutex<HashMap<KeptFor, KeptSession>>,
    to: mpsc::UnboundedSender<Keeping>,
}

impl Kept {
    /// Those that were kept before. What changes comes by the receiver.
    pub fn new(
        known: HashMap<KeptFor, KeptSession>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Keeping>) {
        let (to, changes) = mpsc::unbounded_channel();
        let known = Mutex::new(known);
        (Arc::new(Self { known, to }), changes)
    }

    fn of(&self, whose: &KeptFor) -> Option<KeptSession> {
        self.known().get(whose).cloned()
    }

    fn keep(&self, whose: &KeptFor, session: Option<KeptSession>) {
        let mut known = self.known();
        let before = match &session {
            Some(session) => known.insert(whose.clone(), session.clone()),
            None => known.remove(whose),
        };
        drop(known);
        if before != session {
            // An error says that the broker keeps nothing any more.
            let _unkept = self.to.send((whose.clone(), session));
        }
    }

    fn keep_anew(&self, whose: &KeptFor, session: KeptSession) {
        self.known().insert(whose.clone(), session.clone());
        // An error says that the broker keeps nothing any more.
        let _unkept = self.to.send((whose.clone(), Some(session)));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<KeptFor, KeptSession>> {
        // Only single operations happen under the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the transport session of one server, replica or instance is kept.
#[derive(Clone, Debug)]
pub struct Keeper {
    kept: Arc<Kept>,
    whose: KeptFor,
}

impl Keeper {
    /// For the server that everybody shares.
    pub fn new(kept: &Arc<Kept>, server: &Settings) -> Self {
        let whose = KeptFor {
            server: server.name.clone(),
            holder: "".into(),
            replica: match &server.place {
                Place::Child(_) => "".into(),
                Place::Remote(remote) => place_of(remote),
            },
        };
        Self {
            kept: Arc::clone(kept),
            whose,
        }
    }

    /// The same for one of its replicas.
    pub(super) fn at(mut self, replica: &Remote) -> Self {
        self.whose.replica = place_of(replica);
        self
    }

    /// The same for one of its instances.
    pub(super) fn held_by(mut self, holder: &str) -> Self {
        self.whose.holder = holder.into();
        self
    }

    /// What was kept.
    pub(super) fn session(&self) -> Option<KeptSession> {
        self.kept.of(&self.whose)
    }

    /// Keeps what was opened. Returns whether it is the one that was kept, and the
    /// server knows in it which session it is for.
    pub(super) fn keep(&self, id: String, greeting: &Greeting) -> bool {
        let before = self.session();
        let told = before.is_some_and(|before| before.told && before.id == id);
        let session = KeptSession {
            id,
            told,
            revision: greeting.era.to_string(),
            says: greeting.server.clone(),
            capabilities: greeting.capabilities.clone(),
        };
        self.kept.keep(&self.whose, Some(session));
        told
    }

    /// Keeps another one that was opened in its place.
    pub(super) fn renew(&self, id: String) {
        self.change(|before| match before.id == id {
            true => before,
            false => KeptSession {
                id,
                told: false,
                ..before
            },
        });
    }

    /// The server knows in this one which session it is for.
    pub(super) fn told(&self, id: String) {
        if let Some(before) = self.session() {
            let told = true;
            // Also where that is known here: a move takes it back in the store.
            self.kept
                .keep_anew(&self.whose, KeptSession { id, told, ..before });
        }
    }

    fn change(&self, change: impl FnOnce(KeptSession) -> KeptSession) {
        if let Some(before) = self.session() {
            self.kept.keep(&self.whose, Some(change(before)));
        }
    }

    /// It was lost.
    pub(super) fn forget(&self) {
        self.kept.keep(&self.whose, None);
    }
}

fn place_of(remote: &Remote) -> Arc<str> {
    let url = remote.url().as_str();
    Digest::of_parts([url.as_bytes()]).to_string().into()
}
