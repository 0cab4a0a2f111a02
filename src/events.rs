//! What arrives in a session from outside: a verification by a person, the end of
//! a job elsewhere. Each has an id of its sender's, so that sending it again is no
//! second event, and a number by which they are in order.

mod table;
#[cfg(test)]
mod tests;
mod told;

pub use table::SCHEMA;
pub use table::SCHEMA_15;
pub use told::Delivery;
pub use told::Outbox;
pub use told::Target;
pub use told::delivered;
pub use told::deliveries;

use crate::json;
use crate::session::Label;
use crate::session::SessionId;
use crate::sessions;
use crate::sessions::By;
use crate::sessions::State;
use crate::sessions::What;
use crate::store::StoreError;
use crate::store::Tx;
use crate::visible;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// The longest id, in bytes.
pub const MAX_ID: usize = 128;
/// The longest kind, in bytes.
pub const MAX_KIND: usize = 64;
/// The largest body, in bytes of its JSON text.
pub const MAX_BODY: usize = 64 << 10;
/// How many events one session has at most.
pub const MAX_EVENTS: u32 = 1_000;
/// How many refusals the history of one session has at most: whoever may not send
/// must not be able to make it grow.
const MAX_REFUSED: u32 = 100;

/// An event that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    id: Box<str>,
    kind: Box<str>,
    body: Box<str>,
}

impl New {
    /// Reads an event; `body` is the text of any JSON, `null` for none.
    ///
    /// # Errors
    ///
    /// When a part of it does not fit.
    pub fn read(id: &str, kind: &str, body: &str) -> Result<Self, Unfit> {
        if !visible::is_name(id, MAX_ID) {
            return Err(Unfit::Id);
        }
        if !is_kind(kind) {
            return Err(Unfit::Kind);
        }
        if body.len() > MAX_BODY {
            return Err(Unfit::Body);
        }
        json::check(body.as_bytes()).map_err(|_unread| Unfit::NoJson)?;
        Ok(Self {
            id: id.into(),
            kind: kind.into(),
            body: body.trim_ascii().into(),
        })
    }

    /// Its sender's name for it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it is: `verification`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Whether it says what that one says, however it is spelled.
    fn is_like(&self, event: &Event) -> bool {
        let canonical = |text: &str| json::canonical(text).ok();
        *self.kind == *event.kind && canonical(&self.body) == canonical(&event.body)
    }
}

/// Whether a word can be the kind of an event.
pub fn is_kind(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/:".contains(&b);
    (1..=MAX_KIND).contains(&word.len()) && word.bytes().all(plain)
}

/// Which labels events bring into their sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Those of the kinds that are not named.
    pub others: BTreeSet<Label>,
    /// Those of one kind.
    pub kinds: BTreeMap<String, BTreeSet<Label>>,
}

impl Labels {
    fn of(&self, kind: &str) -> &BTreeSet<Label> {
        self.kinds.get(kind).unwrap_or(&self.others)
    }
}

/// What follows from an event besides the event.
#[derive(Clone, Copy, Debug)]
pub struct Follows<'a> {
    /// To whom it is forwarded.
    pub outbox: &'a Outbox,
    /// What joins the session with it.
    pub labels: &'a Labels,
    /// For how long that sticks to the session's owner.
    pub stick: SignedDuration,
}

/// Why an event is not taken. The text is for whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The id is none.
    #[error("an event has an `id` of 1 to {MAX_ID} bytes without characters that cannot be seen")]
    Id,
    /// The kind is none.
    #[error("an event has a `kind` of 1 to {MAX_KIND} of the characters A-Z a-z 0-9 . _ - / :")]
    Kind,
    /// The body is too large.
    #[error(
        "the body of an event has at most {MAX_BODY} bytes of JSON: send where it can be found"
    )]
    Body,
    /// The body is no strict JSON.
    #[error("the body of an event is JSON, without a key twice")]
    NoJson,
}

/// Why a session takes no event. The text is for whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The same sender sent another event of this id.
    #[error(
        "you sent the session an event of this `id` already, which says something else: choose another id for another event"
    )]
    Other,
    /// There are too many.
    #[error("a session takes at most {MAX_EVENTS} events: end it, and go on in another")]
    Full,
    /// The session is over.
    #[error("the session is over: nothing more can be done in it")]
    Over,
}

/// An event that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number, from 1 for each session.
    pub number: u32,
    /// Its sender's name for it.
    pub id: String,
    /// What it is.
    pub kind: String,
    /// What it says: the text of any JSON, as it was sent.
    pub body: String,
    /// Who sent it, as [`By`] writes it.
    pub by: String,
    /// When it arrived.
    pub at: Timestamp,
    /// Whether a paused session went on because of it.
    pub resumed: bool,
}

impl Event {
    /// What it says, for people: a text as the text it is, all else as JSON.
    pub fn words(&self) -> String {
        match json::text(&self.body) {
            Some(text) => text.into_owned(),
            None => self.body.clone(),
        }
    }
}

/// Takes an event into a session, labels the session, also with what sticks to its
/// sender, lets it go on where it is paused and not frozen, and has the event forwarded. One that its sender sent before is
/// returned as it was.
///
/// # Errors
///
/// When the store fails; [`Refused`] inside when it is not taken.
pub fn take(
    tx: &Tx<'_>,
    state: &State,
    new: &New,
    follows: Follows<'_>,
    (by, now): (By<'_>, Timestamp),
) -> Result<Result<Event, Refused>, StoreError> {
    let session = state.facts.id;
    if let Some(known) = table::event(tx, session, (by, &new.id))? {
        return Ok(match new.is_like(&known) {
            true => Ok(known),
            false => Err(Refused::Other),
        });
    }
    if state.ended.is_some() {
        return Ok(Err(Refused::Over));
    }
    let last = table::last(tx, session)?;
    if last >= MAX_EVENTS {
        return Ok(Err(Refused::Full));
    }
    sessions::note(tx, session, What::Event, Some(&detail(new)), by, now)?;
    let labels = follows.labels.of(&new.kind);
    let from = (by, format!("event {}", new.id));
    sessions::label_from(tx, session, labels, (from, follows.stick), now)?;
    if let By::Principal(sender) = by {
        // What they read elsewhere may be in what they send.
        sessions::carry_over(tx, &mut state.facts.clone(), sender, now)?;
    }
    let resumed = !state.facts.frozen && sessions::resume(tx, session, (By::Event(&new.id), now))?;
    let event = Event {
        number: last + 1,
        id: (*new.id).to_owned(),
        kind: (*new.kind).to_owned(),
        body: (*new.body).to_owned(),
        by: by.to_string(),
        // As it will be read back, so that every answer says the same.
        at: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
        resumed,
    };
    table::insert(tx, session, &event)?;
    told::enqueue(tx, (session, &event), follows.outbox)?;
    Ok(Ok(event))
}

/// Notes that somebody may not send this, as long as there are not too many of
/// such notes.
///
/// # Errors
///
/// When it cannot be written.
pub fn note_refused(
    tx: &Tx<'_>,
    session: SessionId,
    new: &New,
    (by, now): (By<'_>, Timestamp),
) -> Result<(), StoreError> {
    match sessions::noted(tx, session, What::EventRefused)? >= MAX_REFUSED {
        true => Ok(()),
        false => sessions::note(tx, session, What::EventRefused, Some(&detail(new)), by, now),
    }
}

fn detail(new: &New) -> String {
    format!("{} {}", new.kind, new.id)
}

/// The events of a session before a number (none for the last ones), the newest at
/// the end, at most so many.
///
/// # Errors
///
/// When the store cannot be read.
pub fn list(
    tx: &Tx<'_>,
    session: SessionId,
    before: Option<u32>,
    newest: u32,
) -> Result<Vec<Event>, StoreError> {
    table::events(tx, session, before.unwrap_or(u32::MAX), newest)
}

/// The same, only of what one sender sent.
///
/// # Errors
///
/// When the store cannot be read.
pub fn list_of(
    tx: &Tx<'_>,
    (session, by): (SessionId, By<'_>),
    before: Option<u32>,
    newest: u32,
) -> Result<Vec<Event>, StoreError> {
    let sent = (session, by.to_string());
    table::events_of(tx, sent, before.unwrap_or(u32::MAX), newest)
}

/// The number of the last event; 0 where there is none.
///
/// # Errors
///
/// When the store cannot be read.
pub fn last(tx: &Tx<'_>, session: SessionId) -> Result<u32, StoreError> {
    table::last(tx, session)
}
