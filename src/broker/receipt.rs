//! Whether the answer of a call was read. One that was not, of a call that may have
//! changed something, is kept for the client that makes the same call again.

use super::Answer;
use super::Broker;
use super::retry;
use crate::cause::Chain;
use crate::journal;
use crate::journal::Closing;
use crate::journal::Effect;
use crate::journal::Subject;
use crate::meters;
use crate::outcome::Outcome;
use crate::retries;
use crate::retries::Ending;
use crate::store::Durability;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::Timestamp;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// Goes with an answer to where it is written.
#[derive(Clone, Debug, Default)]
pub struct Receipt(Option<Held>);

#[derive(Clone, Debug)]
struct Held {
    read: CancellationToken,
    /// None where the answer only waits for somebody to come for it.
    _gone: Option<Arc<DropGuard>>,
    _lost: Arc<DropGuard>,
}

/// Learns what became of an answer.
#[derive(Clone, Debug)]
pub struct Awaited {
    read: CancellationToken,
    /// Nobody is there to read it now.
    gone: CancellationToken,
    /// Nobody can come for it any more.
    lost: CancellationToken,
}

impl Receipt {
    /// A receipt, and who waits for it.
    pub fn new() -> (Self, Awaited) {
        let awaited = Awaited {
            read: CancellationToken::new(),
            gone: CancellationToken::new(),
            lost: CancellationToken::new(),
        };
        let held = Held {
            read: awaited.read.clone(),
            _gone: Some(Arc::new(awaited.gone.clone().drop_guard())),
            _lost: Arc::new(awaited.lost.clone().drop_guard()),
        };
        (Self(Some(held)), awaited)
    }

    /// For an answer that is kept where nobody may be there to read it: with all others
    /// gone the call is noted, and the note goes when somebody comes and reads it.
    pub fn later(&self) -> Self {
        Self(self.0.as_ref().map(|held| Held {
            _gone: None,
            ..held.clone()
        }))
    }

    /// The answer was handed to the client, as far as one can know.
    pub fn read(self) {
        if let Some(held) = self.0 {
            held.read.cancel();
        }
    }
}

impl PartialEq for Receipt {
    /// Two messages are alike whoever waits for them.
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Receipt {}

impl Awaited {
    /// That nobody will read it.
    pub(super) fn in_vain() -> Self {
        let (_dropped, awaited) = Receipt::new();
        awaited
    }

    /// Whether it was read, once that is known.
    pub(crate) async fn is_read(&self) -> bool {
        tokio::select! {
            biased;
            () = self.read.cancelled() => true,
            () = self.gone.cancelled() => self.read.is_cancelled(),
        }
    }

    /// Whether somebody came for it and read it, once that is known.
    pub(crate) async fn is_read_later(&self) -> bool {
        tokio::select! {
            biased;
            () = self.read.cancelled() => true,
            () = self.lost.cancelled() => self.read.is_cancelled(),
        }
    }
}

impl Broker {
    /// Keeps the answer of a call, if nobody reads it and it can be given again.
    pub(super) fn await_reading(
        self: &Arc<Self>,
        (subject, effect): (Subject, Effect),
        (closing, answer): (&Closing, &Answer),
        awaited: Awaited,
    ) {
        let ended = matches!(closing.outcome, Outcome::Completed | Outcome::ToolFailed);
        if effect == Effect::None || !ended {
            return;
        }
        let Ending::Answered(kept) = retry::ending(closing, answer) else {
            return;
        };
        let (store, stopping) = (Arc::clone(&self.store), self.stopping.clone());
        self.tasks.spawn(async move {
            if awaited.is_read().await {
                return;
            }
            let call = subject.call;
            let now = Timestamp::now();
            let note = move |tx: &Tx<'_>| {
                retries::keep_unread(tx, subject.call, &kept, now)?;
                for old in journal::unread(tx, &subject, now)? {
                    retries::drop_unread(tx, old)?;
                }
                Ok(())
            };
            let noted = store.write("unread", Durability::Process, note).await;
            if let Err(error) = noted {
                tracing::error!(error = %Chain(&error), "an answer that nobody read could not be kept");
            }
            read_later(&store, (call, &awaited), &stopping).await;
        });
    }

    /// The answer of an earlier call is given now, or that call is told of: it stays
    /// until that was read. Where nobody waits for a receipt it counts as read.
    pub(super) fn await_rereading(&self, earlier: CallId, awaited: Option<Awaited>) {
        let (store, stopping) = (Arc::clone(&self.store), self.stopping.clone());
        self.tasks.spawn(async move {
            let is_read = match &awaited {
                Some(awaited) => awaited.is_read().await,
                None => true,
            };
            let note = move |tx: &Tx<'_>| match is_read {
                true => was_read(tx, earlier),
                false => journal::still_unread(tx, earlier),
            };
            let noted = store.write("reread", Durability::Process, note).await;
            if let Err(error) = noted {
                tracing::error!(error = %Chain(&error), "it could not be noted whether an answer was read");
            }
            if let Some(awaited) = awaited.filter(|_| !is_read) {
                read_later(&store, (earlier, &awaited), &stopping).await;
            }
        });
    }

    /// Forgets what nobody asked for in time: answers that were not read, keys, and
    /// what was charged under those.
    pub(super) async fn forget_retries(&self) {
        let now = Timestamp::now();
        let forget = move |tx: &Tx<'_>| {
            journal::forget_unread(tx, now)?;
            let old = retries::forget(tx, now)?;
            old.into_iter()
                .try_for_each(|call| meters::release(tx, call))
        };
        let forgotten = self
            .store
            .write("forget", Durability::Process, forget)
            .await;
        if let Err(error) = forgotten {
            tracing::warn!(error = %Chain(&error), "old retries could not be forgotten");
        }
    }
}

/// Takes back the note of an answer as soon as somebody came for it and read it. A
/// broker that stops hands nothing on any more, and its notes stay.
async fn read_later(
    store: &Store,
    (call, awaited): (CallId, &Awaited),
    stopping: &CancellationToken,
) {
    let is_read = tokio::select! {
        biased;
        is_read = awaited.is_read_later() => is_read,
        () = stopping.cancelled() => false,
    };
    if !is_read {
        return;
    }
    let note = move |tx: &Tx<'_>| was_read(tx, call);
    if let Err(error) = store.write("reread", Durability::Process, note).await {
        tracing::error!(error = %Chain(&error), "it could not be noted that an answer was read after all");
    }
}

fn was_read(tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
    journal::is_read(tx, call)?;
    retries::drop_unread(tx, call)
}
