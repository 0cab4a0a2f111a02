//! The streams on which clients hear what they are told, and by what right: a stream
//! ends with the key that opened it, whatever is still to be said on it.

use super::Broker;
use crate::cause::Chain;
use crate::keys;
use crate::principal::PrincipalId;
use crate::session::TransportId;
use crate::sessions;
use crate::store::StoreError;
use crate::store::Tx;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use tokio_util::sync::CancellationToken;

/// By what right a stream is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Who reads it.
    pub principal: PrincipalId,
    /// The id of the API key that says so. None where none is needed.
    pub key: Option<Arc<str>>,
    /// The transport session that it belongs to.
    pub transport: Option<TransportId>,
}

/// A stream that is read, as long as this lives.
#[derive(Debug)]
pub struct Hearing {
    right: Right,
    over: CancellationToken,
}

impl Hearing {
    /// A stream that is read by this right.
    pub(in crate::broker) fn of(right: Right) -> Arc<Self> {
        Arc::new(Self {
            right,
            over: CancellationToken::new(),
        })
    }

    /// Cancelled when the right is gone. Nothing may be handed on after that.
    pub fn over(&self) -> CancellationToken {
        self.over.clone()
    }
}

/// Who reads what one client is told: the stream that was opened for it last.
#[derive(Clone, Debug, Default)]
pub struct Recipient(Arc<Mutex<Weak<Hearing>>>);

impl Recipient {
    /// From now on it is read there.
    pub fn is(&self, hearing: &Arc<Hearing>) {
        *self.locked() = Arc::downgrade(hearing);
    }

    fn now(&self) -> Option<Arc<Hearing>> {
        self.locked().upgrade()
    }

    fn locked(&self) -> MutexGuard<'_, Weak<Hearing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The streams that are open.
#[derive(Debug, Default)]
pub(super) struct Hearings {
    open: Mutex<Vec<Weak<Hearing>>>,
}

impl Hearings {
    /// One more, where its principal has fewer than so many.
    fn enter(&self, right: Right, most: usize) -> Option<Arc<Hearing>> {
        // Only single operations of the list happen under the lock.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|known| known.strong_count() > 0);
        let known = open.iter().filter_map(Weak::upgrade);
        let own = known.filter(|known| known.right.principal == right.principal);
        if own.count() >= most {
            return None;
        }
        let hearing = Hearing::of(right);
        open.push(Arc::downgrade(&hearing));
        Some(hearing)
    }

    pub(super) fn all(&self) -> Vec<Arc<Hearing>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Broker {
    /// A stream that answers a request of this client.
    pub fn hears(&self, right: Right) -> Arc<Hearing> {
        let entered = self.subscriptions.hearings.enter(right.clone(), usize::MAX);
        entered.unwrap_or_else(|| Hearing::of(right))
    }

    /// A stream that a client opens to listen. None where this principal has so many
    /// streams open already.
    pub fn listens(&self, right: Right, most: usize) -> Option<Arc<Hearing>> {
        self.subscriptions.hearings.enter(right, most)
    }

    /// Ends the stream of a client whose right is gone, before it is told something.
    /// Safe to drop while it waits. What nobody can say waits until somebody can.
    pub async fn recheck_recipient(self: &Arc<Self>, recipient: &Recipient) {
        loop {
            let Some(hearing) = recipient.now() else {
                return;
            };
            let broker = Arc::clone(self);
            // It reads the store, and may wait for that as long as another process has it.
            let checked = tokio::task::spawn_blocking(move || broker.check_hearing(&hearing));
            match checked.await {
                Ok(Err(error)) => {
                    tracing::warn!(error = %Chain(&error), "{}", super::check::UNREADABLE);
                    tokio::time::sleep(super::check::AGAIN).await;
                }
                // An error says that the broker is ending.
                Ok(Ok(())) | Err(_) => return,
            }
        }
    }

    /// The same, for whoever may block.
    pub(super) fn check_recipient(&self, recipient: &Recipient) -> Result<(), StoreError> {
        match recipient.now() {
            Some(hearing) => self.check_hearing(&hearing),
            None => Ok(()),
        }
    }

    /// Ends a stream where its right is gone.
    pub(super) fn check_hearing(&self, hearing: &Hearing) -> Result<(), StoreError> {
        let right = &hearing.right;
        let stands = self.catalogue.load().bundle().knows(&right.principal)
            && self.store.read(|tx| stands(tx, right))?;
        if !stands && !hearing.over.is_cancelled() {
            tracing::info!(
                principal = %right.principal,
                key.id = right.key.as_deref(),
                "a stream ended because its key, its principal or its transport session is no more"
            );
            hearing.over.cancel();
        }
        Ok(())
    }
}

/// Whether the store still has what a stream is read by.
fn stands(tx: &Tx<'_>, right: &Right) -> Result<bool, StoreError> {
    if let Some(key) = &right.key
        && !keys::is_valid(tx, key)?
    {
        return Ok(false);
    }
    match &right.transport {
        Some(transport) => sessions::has_transport(tx, transport, &right.principal),
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::World;
    use crate::broker::testing::alice;
    use crate::store::Durability;
    use jiff::Timestamp;

    fn right(principal: &str) -> Right {
        Right {
            principal: PrincipalId::parse(principal).unwrap(),
            key: None,
            transport: None,
        }
    }

    #[test]
    fn one_principal_has_its_share_of_streams_and_those_that_ended_count_no_more() {
        let all = Hearings::default();
        let mut own: Vec<_> = (0..3).map(|_| all.enter(right("alice"), 3)).collect();
        assert!(own.iter().all(Option::is_some));
        assert!(all.enter(right("alice"), 3).is_none());
        let bobs = all.enter(right("bob"), 3);
        assert!(bobs.is_some());
        own.pop();
        assert!(all.enter(right("alice"), 3).is_some());
        assert_eq!(all.all().len(), 3);
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_key_its_principal_or_its_transport_session() {
        let world = World::new().await;
        let now = Timestamp::now();
        let made = world.store().write("key", Durability::Process, move |tx| {
            keys::make(tx, &alice(), None, now)
        });
        let key = made.await.unwrap().into_inner();
        let keyed = Right {
            key: Some(key.id.as_str().into()),
            ..right("alice")
        };
        let transport = TransportId::random();
        let of = |right: Right| world.broker.hears(right);
        let (by_key, by_none) = (of(keyed), of(right("alice")));
        let (by_nobody, by_transport) = (
            of(right("nobody")),
            of(Right {
                transport: Some(transport),
                ..right("alice")
            }),
        );
        world.broker.recheck().await;
        let over = |hearing: &Hearing| hearing.over().is_cancelled();
        assert!(!over(&by_key) && !over(&by_none));
        assert!(over(&by_nobody) && over(&by_transport));
        world.tamper("UPDATE api_key SET revoked = 1");
        let recipient = Recipient::default();
        recipient.is(&by_key);
        world.broker.recheck_recipient(&recipient).await;
        assert!(over(&by_key) && !over(&by_none));
        world.end().await;
    }
}
