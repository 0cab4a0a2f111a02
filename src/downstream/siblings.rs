//! A legacy server as it was opened for clients that can be asked something. It
//! is told only once, at its opening, what it may ask.

use super::Downstream;
use super::Place;
use super::Settings;
use crate::session::SessionId;
use crate::tool::Declared;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use tokio::sync::mpsc;

/// How many of them there are of one server, where each is a process. One more
/// takes the place of the one that was not used for the longest time.
const MOST_PROCESSES: usize = 16;
/// The same where each is a transport session with a server elsewhere.
const MOST_ELSEWHERE: usize = 256;

/// What calls of one kind have in common: what their client can be asked, and the
/// session. Over a pipe nobody can tell in which call a server asks; over HTTP
/// neither, where it asks on its own stream, and it may ask about a call that was
/// given up: only a call of somebody else would be open then.
pub(super) type Kind = (Declared, SessionId);

/// The siblings of one server, the one used last at the end.
#[derive(Default)]
pub(super) struct Siblings {
    open: Mutex<Vec<(Kind, Downstream)>>,
}

impl Siblings {
    /// The server as it is opened for a client of this kind. None where it can be
    /// asked nothing, or every place is taken by a server at work.
    pub(super) fn of(&self, kind: Kind, settings: &Settings) -> Option<Downstream> {
        if kind.0.asks_nothing() {
            return None;
        }
        let mut open = self.open();
        let known = open.iter().position(|(known, _)| *known == kind);
        let sibling = match known {
            Some(place) => open.remove(place).1,
            None => {
                if open.len() >= most(&settings.place) {
                    let idle = open.iter().position(|(_, one)| one.is_idle())?;
                    // The last handle of it ends it.
                    drop(open.remove(idle));
                }
                let settings = Settings {
                    declared: kind.0.clone(),
                    ..settings.clone()
                };
                // What it lists is known from the server itself.
                let (news, _nobody) = mpsc::unbounded_channel();
                Downstream::start(settings, news)
            }
        };
        open.push((kind, sibling.clone()));
        Some(sibling)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Downstream> {
        let open = self.open();
        open.iter().map(|(_, sibling)| sibling.clone()).collect()
    }

    /// Takes all of them out.
    pub(super) fn take(&self) -> impl Iterator<Item = Downstream> + use<> {
        std::mem::take(&mut *self.open())
            .into_iter()
            .map(|(_, sibling)| sibling)
    }

    fn open(&self) -> MutexGuard<'_, Vec<(Kind, Downstream)>> {
        // Each change is whole before the lock is given back.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn most(place: &Place) -> usize {
    match place {
        Place::Child(_) => MOST_PROCESSES,
        Place::Remote(_) => MOST_ELSEWHERE,
    }
}

impl Downstream {
    /// Nobody but its place holds it, so no call is on its way to it.
    fn is_idle(&self) -> bool {
        std::sync::Arc::strong_count(&self.desk) == 1
    }
}
