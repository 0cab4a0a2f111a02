//! Step 11: the end of a call's record, and what depends on it.

use super::Broker;
use super::catalogue::Route;
use super::settle;
use super::settle::Settlement;
use crate::journal;
use crate::journal::Closing;
use crate::journal::Effect;
use crate::meters::Charges;
use crate::retries;
use crate::retries::Ending;
use crate::store::Durability;
use crate::store::StoreError;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How soon closing a record is tried again, and how seldom at most.
const CLOSE_AGAIN: Duration = Duration::from_millis(100);
const CLOSE_AGAIN_AT_MOST: Duration = Duration::from_secs(10);

/// What is closed: the record, what becomes of the charges, and of the key.
type ToClose = (Closing, Settlement, Option<Ending>);

impl Broker {
    /// Step 11: close the record and settle the meters. A store that fails now
    /// does not turn a finished effect into a failure: the answer goes out, and
    /// closing is tried again until it works or the broker ends; then recovery
    /// marks the call as unknown.
    pub(super) async fn close(
        self: &Arc<Self>,
        route: &Route,
        (closing, ending): (Closing, Option<Ending>),
        charges: Charges,
    ) {
        let rules = route.gate.rules();
        let settlement = settle::settlement(closing.outcome, rules, charges);
        let effect = Effect::of(rules.access);
        if matches!(settlement, Settlement::Kept)
            && ending.is_none()
            && let Some(()) = self.close_at_once(&closing, effect)
        {
            return;
        }
        let closing = Arc::new((closing, settlement, ending));
        if let Err(error) = self.close_once(&closing).await {
            tracing::error!(
                call.id = %closing.0.call,
                error = %error,
                "the record of a call could not be closed; it is tried again"
            );
            let broker = Arc::clone(self);
            self.tasks
                .spawn(async move { broker.close_later(&closing).await });
        }
    }

    async fn close_later(&self, closing: &Arc<ToClose>) {
        let mut pause = CLOSE_AGAIN;
        let again = async {
            loop {
                tokio::time::sleep(pause).await;
                if self.close_once(closing).await.is_ok() {
                    break;
                }
                pause = (pause * 2).min(CLOSE_AGAIN_AT_MOST);
            }
        };
        let _closed_or_stopped = self.stopping.run_until_cancelled(again).await;
    }

    async fn close_once(&self, closing: &Arc<ToClose>) -> Result<(), StoreError> {
        let closing = Arc::clone(closing);
        let writer = self.writer.id();
        let closed = self.store.write("close", Durability::Process, move |tx| {
            let (closing, settlement, ending) = &*closing;
            let first = journal::close(tx, writer, closing, Timestamp::now())?;
            if let Some(ending) = ending.as_ref().filter(|_| first) {
                retries::end(tx, closing.call, ending)?;
            }
            match settlement {
                Settlement::Refunded(charges) if first => charges.refund(tx),
                Settlement::Held(charges) if first => charges.hold(tx, closing.call),
                Settlement::Refunded(_) | Settlement::Held(_) | Settlement::Kept => Ok(()),
            }
        });
        closed.await.map(|_committed| ())
    }
}
