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
            told: one.told,
        };
        (whose, session)
    });
    Ok(known.collect())
}

/// What is kept, and what is to be kept from now on.
pub(super) type Keeps = (Arc<Kept>, mpsc::UnboundedReceiver<Keeping>);

impl Broker {
    /// Keeps what servers give us while the broker runs.
    pub(super) fn follow_kept(self: &Arc<Self>, mut keeping: mpsc::UnboundedReceiver<Keeping>) {
        let broker = Arc::clone(self);
        self.tasks.spawn(async move {
            let stopping = broker.stopping.clone();
            loop {
                let next = match stopping.run_until_cancelled(keeping.recv()).await {
                    Some(next) => next,
                    // What was told before the end is kept too.
                    None => keeping.try_recv().ok(),
                };
                let Some(next) = next else { return };
                if let Err(error) = broker.keep_session(next).await {
                    tracing::warn!(error = %Chain(&error), "a transport session with a server could not be kept; after a restart another is opened");
                }
            }
        });
    }

    async fn keep_session(&self, (whose, session): Keeping) -> Result<(), StoreError> {
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
                        told: session.told,
                    };
                    sessions::keep_towards(tx, own, &towards, Timestamp::now())
                }
            }
        });
        kept.await.map(|_kept| ())
    }
}
