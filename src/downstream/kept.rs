//! Transport sessions that legacy servers elsewhere gave us, kept so that the next
//! process goes on in them.

use super::Place;
use super::Remote;
use super::Settings;
use super::handshake::Greeting;
use crate::session::Resumed;
use crate::session::Stay;
use crate::tool::Digest;
use crate::tool::ServerName;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

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
    /// In which stay of its session the server was told in it to resume.
    pub resumed: Resumed,
}

impl fmt::Debug for KeptSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptSession")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// What is to be kept from now on, or no longer.
#[derive(Debug)]
pub struct Keeping {
    /// Whose.
    pub whose: KeptFor,
    /// What; no longer where there is none.
    pub session: Option<KeptSession>,
    /// Who waits until it is kept. Dropped where it cannot be.
    pub kept: Option<oneshot::Sender<()>>,
}

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
        if before != session {
            self.send(whose, session, None);
        }
    }

    /// The same, whatever was kept. What is returned speaks once it is kept.
    fn keep_surely(&self, whose: &KeptFor, session: KeptSession) -> oneshot::Receiver<()> {
        let (kept, speaks) = oneshot::channel();
        let mut known = self.known();
        known.insert(whose.clone(), session.clone());
        self.send(whose, Some(session), Some(kept));
        speaks
    }

    /// INVARIANT: under the lock, so that what is kept is what is known here.
    fn send(
        &self,
        whose: &KeptFor,
        session: Option<KeptSession>,
        kept: Option<oneshot::Sender<()>>,
    ) {
        // An error says that the broker keeps nothing any more.
        let _unkept = self.to.send(Keeping {
            whose: whose.clone(),
            session,
            kept,
        });
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

    /// Keeps what was opened.
    pub(super) fn keep(&self, id: String, greeting: &Greeting) {
        let session = KeptSession {
            resumed: self.resumed_in(&id),
            id,
            revision: greeting.era.to_string(),
            says: greeting.server.clone(),
            capabilities: greeting.capabilities.clone(),
        };
        self.kept.keep(&self.whose, Some(session));
    }

    /// What the server was told in a transport session, whoever told it.
    pub(super) fn resumed_in(&self, id: &str) -> Resumed {
        let known = self.session().filter(|known| known.id == id);
        known.map(|known| known.resumed).unwrap_or_default()
    }

    /// Keeps another one that was opened in its place.
    pub(super) fn renew(&self, id: String) {
        self.change(|before| match before.id == id {
            true => before,
            false => KeptSession {
                id,
                resumed: Resumed::Never,
                ..before
            },
        });
    }

    /// The server is told to resume from now on. Returns once that is kept; false where
    /// it cannot be.
    pub(super) async fn begins(&self) -> bool {
        let Some(before) = self.session() else {
            return true;
        };
        let session = KeptSession {
            resumed: Resumed::Begun,
            ..before
        };
        self.kept.keep_surely(&self.whose, session).await.is_ok()
    }

    /// The server needs to be told nothing more in this transport session and this stay.
    pub(super) fn resumes(&self, id: &str, stay: Stay) {
        self.change(|before| match before.id == id {
            true => KeptSession {
                resumed: Resumed::In(stay),
                ..before
            },
            false => before,
        });
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
