//! Step 11: the end of a call's record, and what depends on it.

use super::Answer;
use super::Broker;
use super::Refusal;
use super::catalogue::Route;
use super::labels;
use super::settlement::Aftermath;
use super::settlement::Charged;
use crate::escalations;
use crate::journal;
use crate::journal::Closing;
use crate::journal::Effect;
use crate::outcome::Outcome;
use crate::retries::Ending;
use crate::session::Label;
use crate::sessions::Brought;
use crate::store::Durability;
use crate::store::StoreError;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How soon closing a record is tried again, and how seldom at most.
const CLOSE_AGAIN: Duration = Duration::from_millis(100);
const CLOSE_AGAIN_AT_MOST: Duration = Duration::from_secs(10);

/// What a call holds until its record is closed.
pub(super) struct Held {
    /// What it was charged, and what it took from an earlier one.
    pub(super) charged: Charged,
    /// What comes into its session with what it brings.
    pub(super) labels: BTreeSet<Label>,
}

/// What is closed: the record, what becomes of what the call held, and what joins the
/// session.
struct ToClose {
    closing: Closing,
    aftermath: Aftermath,
    brought: Brought,
    durability: Durability,
}

impl Broker {
    /// Step 11: close the record and settle the meters. A store that fails now
    /// does not turn a finished effect into a failure: the answer goes out, and
    /// closing is tried again until it works or the broker ends, once more then;
    /// after that recovery marks the call as unknown. Returns the answer that may go out.
    // INVARIANT: what a server said goes out when its labels are in the session, or
    // not at all. So no call is decided without them that somebody makes who read it.
    pub(super) async fn close(
        self: &Arc<Self>,
        route: &Route,
        (closing, ending): (Closing, Option<Ending>),
        Held { charged, labels }: Held,
        answer: Answer,
    ) -> Answer {
        let labels = match labels::come_with(closing.outcome) {
            true => labels,
            false => BTreeSet::new(),
        };
        let brought = charged.brings(labels, closing.call);
        let stick = (self.settings.labels_stick, Timestamp::now());
        let carried = self.carries(&brought, stick);
        let rules = route.gate.rules();
        let aftermath = charged.settled((&closing, ending), rules);
        let effect = Effect::of(rules.access);
        if carried
            && aftermath.is_nothing()
            && !gives_back(&closing, route)
            && let Some(()) = self.close_at_once(&closing, effect)
        {
            return answer;
        }
        let durability = match carried {
            true => Durability::Process,
            // The next call depends on it, as on a limit.
            false => Durability::Power,
        };
        let call = closing.call;
        let closing = Arc::new(ToClose {
            closing,
            aftermath,
            brought,
            durability,
        });
        if let Err(error) = self.close_once(&closing).await {
            tracing::error!(
                call.id = %call,
                error = %error,
                "the record of a call could not be closed; it is tried again"
            );
            let broker = Arc::clone(self);
            self.tasks
                .spawn(async move { broker.close_later(&closing).await });
            if !carried {
                let server = route.tool.server.clone();
                return Answer::Refused(Refusal::Withheld { call, server });
            }
        }
        answer
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
        let ended = self.stopping.run_until_cancelled(again).await;
        // There may be room since the last try, and this is the last one.
        if ended.is_none()
            && let Err(error) = self.close_once(closing).await
        {
            tracing::error!(
                call.id = %closing.closing.call,
                error = %error,
                "the record of a call could not be closed before the end; it becomes unknown"
            );
        }
    }

    async fn close_once(&self, closing: &Arc<ToClose>) -> Result<(), StoreError> {
        let closing = Arc::clone(closing);
        let writer = self.writer.id();
        let stick = self.settings.labels_stick;
        let closed = self.store.finish("close", closing.durability, move |tx| {
            let ToClose {
                closing,
                aftermath,
                brought,
                ..
            } = &*closing;
            let now = Timestamp::now();
            if !brought.labels.is_empty() {
                brought.join(tx, stick, now)?;
            }
            if !journal::close(tx, writer, closing, now)? {
                return Ok(());
            }
            if closing.outcome == Outcome::FailedBeforeSending {
                escalations::give_back(tx, closing.call)?;
            }
            aftermath.write(tx, closing.call)
        });
        closed.await.map(|_committed| ())
    }
}

/// Whether the end of a call may give an approval back.
fn gives_back(closing: &Closing, route: &Route) -> bool {
    closing.outcome == Outcome::FailedBeforeSending && route.gate.may_escalate()
}
