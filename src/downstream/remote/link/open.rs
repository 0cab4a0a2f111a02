//! The calls that are open, for what a legacy server says on its own stream: it
//! should speak of a call on the stream of that call (2025-11-25, transports), and
//! many do not.

use super::HttpLink;
use super::answers::Waits;
use crate::downstream::asks::Asks;
use crate::downstream::message::Answer;
use crate::downstream::message::Message;
use crate::downstream::message::Unreadable;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

/// How many questions of a server on its own stream may be open at once. What it
/// asks beyond that is passed over.
const WAITING: usize = 256;

/// What is to be heard of a call that is open.
#[derive(Clone)]
pub(super) struct Hears {
    pub(super) asks: Option<Arc<Asks>>,
    pub(super) logs: Option<mpsc::UnboundedSender<Box<str>>>,
    /// Takes its answer, where that comes on another stream than its own.
    pub(super) answer: mpsc::UnboundedSender<Answer>,
}

/// The open calls by their ids.
pub(super) struct Open {
    calls: Mutex<HashMap<u64, Hears>>,
    questions: Arc<Semaphore>,
}

impl Default for Open {
    fn default() -> Self {
        Self {
            calls: Mutex::default(),
            questions: Arc::new(Semaphore::new(WAITING)),
        }
    }
}

/// One of them. Dropped, it is open no longer.
pub(super) struct Place<'o> {
    open: &'o Open,
    id: u64,
}

impl Open {
    /// A call is open from now on.
    pub(super) fn enter(&self, id: u64, hears: Hears) -> Place<'_> {
        self.calls().insert(id, hears);
        Place { open: self, id }
    }

    /// The only one. Where there are several nobody can tell of which of them a
    /// server speaks.
    fn only(&self) -> Option<(u64, Hears)> {
        let calls = self.calls();
        let mut all = calls.iter();
        match (all.next(), all.next()) {
            (Some((id, hears)), None) => Some((*id, hears.clone())),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    /// Gives an answer to who waits for it, or back where nobody does.
    fn answer(&self, id: u64, answer: Answer) -> Option<Answer> {
        match self.calls().get(&id) {
            // An error says that the waiting side just went away.
            Some(hears) => hears.answer.send(answer).err().map(|unread| unread.0),
            None => Some(answer),
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, Hears>> {
        // Only single operations of the map happen under the lock.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.open.calls().remove(&self.id);
    }
}

impl HttpLink {
    /// Takes in what a server says on its own stream.
    pub(super) async fn take_by_itself(
        self: &Arc<Self>,
        messages: Vec<Result<Message, Unreadable>>,
    ) {
        for message in messages {
            let message = match message {
                // Some servers write an answer wherever they are read just then.
                Ok(Message::Answer { id, answer }) => match self.open.answer(id, answer) {
                    None => continue,
                    Some(answer) => Ok(Message::Answer { id, answer }),
                },
                other => other,
            };
            let Some((id, hears)) = self.open.only() else {
                self.take_all(vec![message], None).await;
                continue;
            };
            let link = Arc::clone(self);
            let asks = matches!(message, Ok(Message::Request { .. }));
            let taken = async move {
                let waits = Waits {
                    logs: hears.logs.as_ref(),
                    asks: hears.asks.as_deref(),
                    // Its answer comes on its own stream, and so does progress.
                    ..Waits::beside(id)
                };
                link.take_all(vec![message], Some(&waits)).await;
            };
            if !asks {
                // At once, so that what it logs keeps its order.
                taken.await;
                continue;
            }
            let Ok(room) = Arc::clone(&self.open.questions).try_acquire_owned() else {
                tracing::debug!(server.name = %self.server, "ignored a request: too many questions are open");
                continue;
            };
            // A question takes its time, and the stream goes on meanwhile. It ends
            // with the call that it is asked in.
            tokio::spawn(async move {
                taken.await;
                drop(room);
            });
        }
    }
}
