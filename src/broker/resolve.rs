//! Step 3: which session a call belongs to.

use super::Broker;
use super::Carrier;
use super::SessionRefusal;
use super::entry::Entry;
use crate::cause::Chain;
use crate::principal::PrincipalId;
use crate::session::Handle;
use crate::session::SessionId;
use crate::sessions;
use crate::sessions::Remembered;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

impl Broker {
    /// Finds the session that a carrier names, or opens one. A handle that does
    /// not exist is opened only where policy lets this principal do that, so
    /// that a typo creates nothing where the operator says so.
    ///
    /// # Errors
    ///
    /// When there is no such session for this principal.
    pub async fn session(
        &self,
        principal: &PrincipalId,
        carrier: &Carrier,
    ) -> Result<SessionId, SessionRefusal> {
        let now = Timestamp::now();
        let owner = principal.clone();
        match carrier {
            Carrier::Named(text) => self.named(owner, text, now).await,
            Carrier::New => {
                self.in_store(move |tx| sessions::create(tx, &owner, None, now))
                    .await
            }
            Carrier::Transport(id) => {
                let id = id.clone();
                self.in_store(move |tx| sessions::of_transport(tx, &id, &owner, now))
                    .await
            }
            Carrier::Default => {
                if let Some(known) = self.known.default_of(&owner)
                    && self.is_in_use((known, &owner), now)
                {
                    return Ok(known);
                }
                let (asked, idle) = (owner.clone(), self.settings.idle_default());
                let found = self
                    .in_store(move |tx| sessions::default_of(tx, &asked, idle, now))
                    .await?;
                self.known.default_is(owner, found);
                Ok(found)
            }
        }
    }

    /// Whether a session of this owner goes on, and it was noted within the last minute
    /// that it is in use. What cannot be read is asked of the store's writer.
    pub(super) fn is_in_use(
        &self,
        (session, owner): (SessionId, &PrincipalId),
        now: Timestamp,
    ) -> bool {
        let found = match &self.desk {
            Some(desk) => desk
                .recall(&self.store, self.writer.id(), (session, Instant::now()))
                .map(|recalled| {
                    recalled.is_some_and(|found| found.session.session.facts(owner, now).is_some())
                }),
            None => self.store.read(|tx| {
                let found = Remembered::read(tx, session)?;
                Ok(found.is_some_and(|found| found.facts(owner, now).is_some()))
            }),
        };
        found.unwrap_or_else(|error| {
            tracing::warn!(error = %Chain(&error), "a default session could not be looked at");
            false
        })
    }

    async fn named(
        &self,
        owner: PrincipalId,
        text: &str,
        now: Timestamp,
    ) -> Result<SessionId, SessionRefusal> {
        if let Some(known) = self.known.named(&owner, text) {
            return Ok(known);
        }
        let found = self.named_in_store(owner.clone(), text, now).await?;
        match found {
            Named::Own(session) => {
                self.known.is_named(owner, text, session);
                Ok(session)
            }
            // A guest is let in, or not, at each call.
            Named::Anothers(session) => Ok(session),
        }
    }

    async fn named_in_store(
        &self,
        who: PrincipalId,
        text: &str,
        now: Timestamp,
    ) -> Result<Named, SessionRefusal> {
        if let Ok(id) = SessionId::from_str(text) {
            return self.entered(&who, (text, |_: &Tx<'_>| Ok(Some(id))), now);
        }
        let handle = match text.rsplit_once('/') {
            None => Handle::from_str(text).ok(),
            Some((owner, handle)) => {
                let owner = PrincipalId::parse(owner).ok();
                match owner.zip(Handle::from_str(handle).ok()) {
                    Some((owner, handle)) if owner != who => {
                        let find = move |tx: &Tx<'_>| sessions::find(tx, &owner, &handle);
                        return self.entered(&who, (text, find), now);
                    }
                    own => own.map(|(_, handle)| handle),
                }
            }
        };
        match handle {
            Some(handle) => self.named_by_owner(who, handle, now).await,
            None => Err(SessionRefusal::NotAHandle {
                text: text.to_owned(),
            }),
        }
    }

    /// A session of one's own, which is opened where there is none and policy lets
    /// this principal do that.
    async fn named_by_owner(
        &self,
        owner: PrincipalId,
        handle: Handle,
        now: Timestamp,
    ) -> Result<Named, SessionRefusal> {
        let catalogue = Arc::clone(&self.catalogue.load());
        let kept = self.settings.expire;
        let opened = self.in_store(move |tx| {
            if let Some(found) = sessions::find(tx, &owner, &handle)? {
                // A call would need a transaction of its own for that.
                sessions::come_back(tx, found, kept, now)?;
                return Ok(Ok(found));
            }
            match catalogue.bundle().may_open(&owner, &handle, now) {
                Ok(()) => sessions::create(tx, &owner, Some(&handle), now).map(Ok),
                Err(denial) => Ok(Err(SessionRefusal::MayNotOpen {
                    handle: handle.to_string(),
                    denial,
                })),
            }
        });
        opened.await?.map(Named::Own)
    }

    /// A session that is there, by its id or by its owner and handle, for its owner or
    /// for a guest. Nobody opens one for somebody else.
    fn entered(
        &self,
        who: &PrincipalId,
        (text, find): (
            &str,
            impl FnOnce(&Tx<'_>) -> Result<Option<SessionId>, StoreError>,
        ),
        now: Timestamp,
    ) -> Result<Named, SessionRefusal> {
        let catalogue = self.catalogue.load_full();
        let found = self.store.read(|tx| {
            // It takes as long with a name that leads nowhere.
            let id = find(tx)?.unwrap_or_else(SessionId::random);
            Ok(match Entry::of(tx, (id, who), &catalogue, now)? {
                // The call is refused, and recorded, where it is over.
                Entry::Open(_) | Entry::Ended(_) => sessions::state(tx, id)?,
                Entry::Gone => None,
            })
        });
        match found.map_err(not_found)? {
            Some(state) if state.facts.owner == *who => Ok(Named::Own(state.facts.id)),
            Some(state) => Ok(Named::Anothers(state.facts.id)),
            None => Err(SessionRefusal::Unknown {
                text: text.to_owned(),
            }),
        }
    }

    async fn in_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SessionRefusal> {
        let done = self.store.write("session", Durability::Process, work).await;
        done.map(crate::store::Committed::into_inner)
            .map_err(not_found)
    }
}

/// A session that somebody named.
enum Named {
    /// It is their own.
    Own(SessionId),
    /// They are a guest there.
    Anothers(SessionId),
}

fn not_found(error: StoreError) -> SessionRefusal {
    tracing::error!(error = %Chain(&error), "a session could not be found or opened");
    match error.is_full() {
        true => SessionRefusal::NoRoom,
        false => SessionRefusal::NotRecorded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::World;
    use crate::broker::testing::alice;
    use jiff::SignedDuration;

    async fn default_of(world: &World) -> SessionId {
        let found = world.broker.session(&alice(), &Carrier::Default).await;
        found.unwrap()
    }

    #[tokio::test]
    async fn a_default_session_that_is_over_is_replaced_and_a_named_one_stays() {
        let world = World::new().await;
        let first = default_of(&world).await;
        assert_eq!(default_of(&world).await, first);
        let named = Carrier::Named("claim-1".to_owned());
        let claim = world.broker.session(&alice(), &named).await.unwrap();
        world.tamper("UPDATE session SET ended = 1, ended_why = 'ended'");
        let next = default_of(&world).await;
        assert_ne!(next, first);
        assert_eq!(default_of(&world).await, next);
        let again = world.broker.session(&alice(), &named).await.unwrap();
        assert_eq!(again, claim);
        // What was idle is replaced too, and what is used is noted to be.
        world.tamper("UPDATE session SET used = used - 7 * 3600000");
        assert_eq!(default_of(&world).await, next);
        world.tamper("UPDATE session SET used = used - 7 * 3600000");
        assert_eq!(default_of(&world).await, next);
        world.tamper("UPDATE session SET used = used - 9 * 3600000");
        assert_ne!(default_of(&world).await, next);
        world.end().await;
    }

    #[tokio::test]
    async fn who_comes_back_to_a_session_uses_it_unless_that_is_over_or_expired() {
        let expire = SignedDuration::from_mins(90);
        for (minutes, ends, is_used) in [
            (0, "", false),
            (2, "", true),
            (2, ", ended = 1, ended_why = 'ended'", false),
            (89, "", true),
            (91, "", false),
        ] {
            let world = World::expiring(expire).await;
            let create = |tx: &Tx<'_>| {
                let claim = Handle::from_str("claim-1").unwrap();
                sessions::create(tx, &alice(), Some(&claim), Timestamp::now())
            };
            let created = world.store().write("create", Durability::Process, create);
            let id = created.await.unwrap().into_inner();
            world.tamper(&format!(
                "UPDATE session SET used = used - {minutes} * 60000{ends}"
            ));
            let used = || {
                let session = world.store().read(|tx| sessions::by_id(tx, id));
                session.unwrap().unwrap().used
            };
            let before = used();
            let named = Carrier::Named("claim-1".to_owned());
            assert_eq!(world.broker.session(&alice(), &named).await.unwrap(), id);
            assert_eq!(used() > before, is_used, "{minutes} {ends}");
            world.end().await;
        }
    }

    #[tokio::test]
    async fn a_default_session_is_replaced_before_it_expires() {
        let world = World::expiring(SignedDuration::from_mins(5)).await;
        let first = default_of(&world).await;
        world.tamper("UPDATE session SET used = used - 4 * 60000");
        assert_eq!(default_of(&world).await, first);
        world.tamper("UPDATE session SET used = used - 6 * 60000");
        assert_ne!(default_of(&world).await, first);
        world.end().await;
    }
}
