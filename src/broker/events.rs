//! Events from outside: who may send one to a session, and who may read them.

use super::Broker;
use super::Catalogue;
use super::Settings;
use super::entry::Entry;
use super::entry::nowhere;
use super::labels::Unread;
use super::resume;
use crate::cause::Chain;
use crate::events;
use crate::events::Event;
use crate::events::New;
use crate::events::Refused;
use crate::policy::Denial;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::sessions;
use crate::sessions::By;
use crate::sessions::State;
use crate::sessions::Why;
use crate::store::Committed;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// Why an event is not taken, or none are shown.
#[derive(Debug)]
pub enum EventRefusal {
    /// There is no such session, or none that the caller may know of: the same to
    /// them.
    Unknown,
    /// Policy does not let them send this, to a session that they may be in.
    Denied(Denial),
    /// The session does not take it.
    Refused(Refused),
    /// The store failed.
    NotRecorded,
    /// The same, because the disk has no room.
    NoRoom,
}

/// An event as it is published: the text of an object, with the body as it was
/// sent.
pub fn event_json(event: &Event) -> String {
    let text = |text: &str| Value::from(text).to_string();
    format!(
        r#"{{"number":{},"id":{},"kind":{},"at":{},"by":{},"resumed":{},"body":{}}}"#,
        event.number,
        text(&event.id),
        text(&event.kind),
        text(&event.at.to_string()),
        text(&event.by),
        event.resumed,
        event.body
    )
}

impl Settings {
    /// What follows from an event from outside.
    pub fn follows(&self) -> events::Follows<'_> {
        events::Follows {
            outbox: self.webhooks.outbox(),
            labels: &self.event_labels,
            stick: self.labels_stick,
        }
    }
}

impl Broker {
    /// Takes an event for the session that is named by its id, its handle or
    /// `owner/handle`. What comes of it is on the disk when this returns, because
    /// its sender does not send it again.
    ///
    /// # Errors
    ///
    /// When it is not taken.
    pub async fn take_event(
        &self,
        principal: &PrincipalId,
        named: &str,
        new: New,
    ) -> Result<(SessionId, Event), EventRefusal> {
        let (catalogue, settings) = (self.catalogue.load_full(), Arc::clone(&self.settings));
        let (who, named) = (principal.clone(), named.to_owned());
        let work = move |tx: &Tx<'_>| {
            let now = Timestamp::now();
            let asked = (&who, &*catalogue);
            let found = match resume::find(tx, &who, &named)? {
                Some(session) => sessions::state(tx, session)?,
                None => None,
            };
            let Some(state) = found else {
                // It takes as long as with a session that they may not know of.
                let nowhere = nowhere(SessionId::random(), &who);
                let _no = may_send(tx, asked, (&nowhere, new.kind()), now)?;
                let _one = catalogue.bundle().may_join(&who, &nowhere.facts, &[], now);
                return Ok(Err(EventRefusal::Unknown));
            };
            let session = state.facts.id;
            let by = (By::Principal(&who), now);
            if let Err(denial) = may_send(tx, asked, (&state, new.kind()), now)? {
                // Whoever may neither send nor be there leaves no trace in it.
                return Ok(Err(
                    match Entry::of(tx, (session, &who), &catalogue, now)? {
                        Entry::Gone => EventRefusal::Unknown,
                        Entry::Open(_) | Entry::Ended(_) => {
                            events::note_refused(tx, session, &new, by)?;
                            EventRefusal::Denied(denial)
                        }
                    },
                ));
            }
            let Some(state) = living(tx, state, settings.expire, now)? else {
                return Ok(Err(EventRefusal::Unknown));
            };
            let taken = events::take(tx, &state, &new, settings.follows(), by)?;
            Ok(match taken {
                Ok(event) => Ok((session, event)),
                Err(refused) => Err(EventRefusal::Refused(refused)),
            })
        };
        let taken = self.store.write("event", Durability::Power, work).await;
        taken.map_or_else(|error| Err(not_recorded(&error)), Committed::into_inner)
    }

    /// The events of a session before a number, the newest at the end, at most so
    /// many. Who may be in the session reads all; who may only send some kinds
    /// reads what they sent of those.
    ///
    /// # Errors
    ///
    /// When there is nothing that the caller may read.
    pub async fn events(
        &self,
        principal: &PrincipalId,
        named: &str,
        (before, newest): (Option<u32>, u32),
    ) -> Result<(SessionId, Vec<Event>), EventRefusal> {
        let (store, catalogue) = (Arc::clone(&self.store), self.catalogue.load_full());
        let (who, named) = (principal.clone(), named.to_owned());
        let stick = self.settings.labels_stick;
        let read = move || {
            store.read(|tx| {
                let now = Timestamp::now();
                let Some(session) = resume::find(tx, &who, &named)? else {
                    // It takes as long as with a session that they may not know of.
                    let nowhere = nowhere(SessionId::random(), &who);
                    let _one = catalogue.bundle().may_join(&who, &nowhere.facts, &[], now);
                    return Ok(None);
                };
                match Entry::of(tx, (session, &who), &catalogue, now)? {
                    Entry::Open(_) | Entry::Ended(_) => {
                        let found = events::list(tx, session, before, newest)?;
                        if found.is_empty() {
                            return Ok(Some((session, Unread::plain(found, session))));
                        }
                        let unread = Unread::of(tx, found, (session, &who), stick)?;
                        Ok(Some((session, unread)))
                    }
                    Entry::Gone => {
                        let asks = (&who, &*catalogue);
                        let sent = sent(tx, asks, (session, before, newest), now)?;
                        let is_any = !sent.is_empty();
                        Ok(is_any.then(|| (session, Unread::plain(sent, session))))
                    }
                }
            })
        };
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.map_err(|_stopping| EventRefusal::NotRecorded)?;
        let found = read.map_err(|error| not_recorded(&error))?;
        let (session, unread) = found.ok_or(EventRefusal::Unknown)?;
        let shown = self.read_by(principal, unread).await;
        shown
            .map(|found| (session, found))
            .map_err(|error| not_recorded(&error))
    }
}

/// What somebody sent to a session, of the kinds that they may send now.
fn sent(
    tx: &Tx<'_>,
    (who, catalogue): (&PrincipalId, &Catalogue),
    (session, before, newest): (SessionId, Option<u32>, u32),
    now: Timestamp,
) -> Result<Vec<Event>, StoreError> {
    let of = (session, By::Principal(who));
    let found = events::list_of(tx, of, before, newest)?;
    let Some(state) = sessions::state(tx, session)? else {
        return Ok(Vec::new());
    };
    let mut sent = Vec::new();
    for event in found {
        let asked = (&state, &*event.kind);
        if may_send(tx, (who, catalogue), asked, now)?.is_ok() {
            sent.push(event);
        }
    }
    Ok(sent)
}

/// A session that goes on, which ends where nobody used it for too long.
fn living(
    tx: &Tx<'_>,
    state: State,
    kept: Option<SignedDuration>,
    now: Timestamp,
) -> Result<Option<State>, StoreError> {
    if state.ended.is_some() || !state.is_stale(kept, now) {
        return Ok(Some(state));
    }
    let session = state.facts.id;
    sessions::end(tx, session, Why::Expired, (By::Time, now))?;
    sessions::state(tx, session)
}

fn may_send(
    tx: &Tx<'_>,
    (who, catalogue): (&PrincipalId, &Catalogue),
    (state, kind): (&State, &str),
    now: Timestamp,
) -> Result<Result<(), Denial>, StoreError> {
    let handles = sessions::handles(tx, state.facts.id)?;
    let session = (&state.facts, handles.as_slice());
    Ok(catalogue.bundle().may_inform(who, session, kind, now))
}

fn not_recorded(error: &StoreError) -> EventRefusal {
    tracing::error!(error = %Chain(error), "an event could not be taken or read");
    match error.is_full() {
        true => EventRefusal::NoRoom,
        false => EventRefusal::NotRecorded,
    }
}
