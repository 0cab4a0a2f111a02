//! Step 3: which session a call belongs to.

use super::Broker;
use super::Carrier;
use super::SessionRefusal;
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
            let found = self
                .in_store(move |tx| sessions::facts(tx, id, &owner, now))
                .await?;
            return found
                .map(|facts| facts.id)
                .ok_or_else(|| SessionRefusal::Unknown {
                    text: id.to_string(),
                });
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
