//! Step 3: which session a call belongs to.

use super::Broker;
use super::Carrier;
use super::SessionRefusal;
use super::entry::Entry;
use crate::principal::PrincipalId;
use crate::session::Handle;
use crate::session::SessionId;
use crate::sessions;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;
use std::str::FromStr;
use std::sync::Arc;

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
        let idle = self.settings.idle;
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
                if let Some(known) = self.known.default_of(&owner, idle, now) {
                    return Ok(known);
                }
                let asked = owner.clone();
                let found = self
                    .in_store(move |tx| sessions::default_of(tx, &asked, idle, now))
                    .await?;
                self.known.default_is(owner, found, now);
                Ok(found)
            }
        }
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
        self.known.is_named(owner, text, found);
        Ok(found)
    }

    async fn named_in_store(
        &self,
        owner: PrincipalId,
        text: &str,
        now: Timestamp,
    ) -> Result<SessionId, SessionRefusal> {
        if let Ok(id) = SessionId::from_str(text) {
            return self.of_this_id(owner, (id, text), now).await;
        }
        if let Some((whose, handle)) = text.rsplit_once('/') {
            return self.shared(owner, (whose, handle, text), now).await;
        }
        let handle = Handle::from_str(text).map_err(|_not_one| SessionRefusal::NotAHandle {
            text: text.to_owned(),
        })?;
        let catalogue = Arc::clone(&self.catalogue.load());
        let opened = self.in_store(move |tx| {
            if let Some(found) = sessions::find(tx, &owner, &handle)? {
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
        opened.await?
    }

    /// A session by its id, for its owner or a guest.
    async fn of_this_id(
        &self,
        who: PrincipalId,
        (id, text): (SessionId, &str),
        now: Timestamp,
    ) -> Result<SessionId, SessionRefusal> {
        let catalogue = self.catalogue.load_full();
        let found = self.in_store(move |tx| Entry::of(tx, (id, &who), &catalogue, now));
        match found.await? {
            // The call is refused, and recorded, where it is over.
            Entry::Open(_) | Entry::Ended(_) => Ok(id),
            Entry::Gone => Err(SessionRefusal::Unknown {
                text: text.to_owned(),
            }),
        }
    }

    /// A session by its owner and its handle, `alice/claim-99`. Nobody opens one for
    /// somebody else.
    async fn shared(
        &self,
        who: PrincipalId,
        (owner, handle, text): (&str, &str, &str),
        now: Timestamp,
    ) -> Result<SessionId, SessionRefusal> {
        let named = PrincipalId::parse(owner)
            .ok()
            .zip(Handle::from_str(handle).ok());
        let Some((owner, handle)) = named else {
            return Err(SessionRefusal::NotAHandle {
                text: text.to_owned(),
            });
        };
        if owner == who {
            return Box::pin(self.named_in_store(owner, handle.as_str(), now)).await;
        }
        let unknown = || SessionRefusal::Unknown {
            text: text.to_owned(),
        };
        let found = self.in_store(move |tx| sessions::find(tx, &owner, &handle));
        let id = found.await?.ok_or_else(unknown)?;
        self.of_this_id(who, (id, text), now).await
    }

    async fn in_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SessionRefusal> {
        let done = self.store.write("session", Durability::Process, work).await;
        done.map(crate::store::Committed::into_inner)
            .map_err(|error| {
                tracing::error!(error = %error, "a session could not be found or opened");
                SessionRefusal::NotRecorded
            })
    }
}
