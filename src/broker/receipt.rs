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
use crate::outcome::Outcome;
use crate::retries;
use crate::retries::Ending;
use crate::store::Durability;
use crate::store::Tx;
use jiff::Timestamp;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// Goes with an answer to where it is written.
#[derive(Clone, Debug, Default)]
pub struct Receipt(Option<(CancellationToken, Arc<DropGuard>)>);

/// Learns what became of an answer.
#[derive(Clone, Debug)]
pub struct Awaited {
    read: CancellationToken,
    gone: CancellationToken,
}

impl Receipt {
    /// A receipt, and who waits for it.
    pub fn new() -> (Self, Awaited) {
        let (read, gone) = (CancellationToken::new(), CancellationToken::new());
        let awaited = Awaited {
            read: read.clone(),
            gone: gone.clone(),
        };
        (Self(Some((read, Arc::new(gone.drop_guard())))), awaited)
    }

    /// The answer was handed to the client, as far as one can know.
    pub fn read(self) {
        if let Some((read, _gone)) = self.0 {
            read.cancel();
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
    /// Whether it was read, once that is known.
    async fn is_read(&self) -> bool {
        tokio::select! {
            biased;
            () = self.read.cancelled() => true,
            () = self.gone.cancelled() => self.read.is_cancelled(),
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
        let Ending::Answered(kept) = retry::ending(closing.outcome, answer, effect) else {
            return;
        };
        let broker = Arc::clone(self);
        self.tasks.spawn(async move {
            if awaited.is_read().await {
                return;
            }
            let now = Timestamp::now();
            let note = move |tx: &Tx<'_>| {
                for old in retries::unread_before(tx, now)? {
                    journal::forget_unsettled(tx, old)?;
                }
                journal::unread(tx, &subject)?;
                retries::keep_unread(tx, subject.call, &kept, now)
            };
            let noted = broker.store.write("unread", Durability::Process, note).await;
            if let Err(error) = noted {
                tracing::error!(error = %Chain(&error), "an answer that nobody read could not be kept");
            }
        });
    }
}
