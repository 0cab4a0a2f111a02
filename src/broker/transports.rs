//! Keeping the transport sessions that servers gave us in the store, so that the next
//! broker goes on in them.

use super::Broker;
use crate::cause::Chain;
use crate::downstream::Keeping;
use crate::downstream::Kept;
use crate::downstream::KeptFor;
use crate::downstream::KeptSession;
use crate::sessions;
use crate::sessions::Towards;
use crate::store::Durability;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Writer;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Takes over those in which no living broker speaks.
pub(super) fn take_over(
    store: &Store,
    writer: &Writer,
) -> Result<HashMap<KeptFor, KeptSession>, StoreError> {
    let own = writer.id();
    let living = store.living_writers()?;
    let taken = store.write_blocking("take-over", move |tx| {
        sessions::take_over(tx, own, &living, Timestamp::now())
    })?;
    let known = taken.into_iter().map(|one| {
        let whose = KeptFor {
            server: one.server,
            holder: one.holder.into(),
            replica: one.replica.into(),
        };
        let session = KeptSession {
            id: one.id,
            revision: one.revision,
            says: one.says,
            capabilities: one.capabilities,
            resumed: one.resumed,
        };
        (whose, session)
    });
    Ok(known.collect())
}

/// What keeps them while the broker runs, to the end of its last call.
#[derive(Debug, Default)]
pub(super) struct Transports {
    task: TaskTracker,
    ended: CancellationToken,
}

impl Transports {
    /// Returns once all that was said until now is kept.
    pub(super) async fn end(&self) {
        self.ended.cancel();
        self.task.close();
        self.task.wait().await;
    }
}

/// What is kept, and what is to be kept from now on.
pub(super) type Keeps = (Arc<Kept>, mpsc::UnboundedReceiver<Keeping>);

impl Broker {
    /// Keeps what servers give us, until the broker has ended its last call.
    pub(super) fn follow_kept(self: &Arc<Self>, mut keeping: mpsc::UnboundedReceiver<Keeping>) {
        let broker = Arc::clone(self);
        self.transports.task.spawn(async move {
            let ended = broker.transports.ended.clone();
            loop {
                let next = match ended.run_until_cancelled(keeping.recv()).await {
                    Some(next) => next,
                    // What was told before the end is kept too.
                    None => keeping.try_recv().ok(),
                };
                let Some(Keeping {
                    whose,
                    session,
                    kept,
                }) = next
                else {
                    return;
                };
                match (broker.keep_session(whose, session).await, kept) {
                    (Ok(()), Some(kept)) => {
                        // An error says that nobody waits for it any more.
                        let _unheard = kept.send(());
                    }
                    (Ok(()), None) => {}
                    (Err(error), _) => {
                        tracing::warn!(error = %Chain(&error), "a transport session with a server could not be kept; after a restart another is opened");
                    }
                }
            }
        });
    }

    async fn keep_session(
        &self,
        whose: KeptFor,
        session: Option<KeptSession>,
    ) -> Result<(), StoreError> {
        let own = self.writer.id();
        let kept = self.store.write("kept", Durability::Process, move |tx| {
            let KeptFor {
                server,
                holder,
                replica,
            } = whose;
            match session {
                None => sessions::lose_towards(tx, own, (&server, &holder, &replica)),
                Some(session) => {
                    let towards = Towards {
                        server,
                        holder: holder.to_string(),
                        replica: replica.to_string(),
                        id: session.id,
                        revision: session.revision,
                        says: session.says,
                        capabilities: session.capabilities,
                        resumed: session.resumed,
                    };
                    sessions::keep_towards(tx, own, &towards, Timestamp::now())
                }
            }
        });
        kept.await.map(|_kept| ())
    }
}
