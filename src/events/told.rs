//! To whom events are forwarded.

use super::Event;
use super::table;
use crate::outbox;
use crate::outbox::Attempt;
use crate::outbox::Ended;
use crate::outbox::To;
use crate::outbox::Topic;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;

/// Who is told of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outbox {
    /// The targets, each with a name of its own.
    pub targets: Vec<Target>,
}

/// One who is told of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is known by in the store. No secret.
    pub name: Box<str>,
    /// The kinds it is told of; empty for all.
    pub kinds: Vec<String>,
}

/// A delivery of an event and its tries, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Of which session.
    pub session: SessionId,
    /// The event's number, id and kind.
    pub event: (u32, String, String),
    /// To whom.
    pub target: String,
    /// When it is tried next.
    pub due: Option<Timestamp>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// What was tried, the newest at the end.
    pub tries: Vec<Attempt>,
}

/// Has an event delivered to each target that is told of its kind.
pub(super) fn enqueue(
    tx: &Tx<'_>,
    (session, event): (SessionId, &Event),
    outbox: &Outbox,
) -> Result<(), StoreError> {
    let matter = format!("{session}/{:05}", event.number);
    for target in &outbox.targets {
        if target.kinds.is_empty() || target.kinds.contains(&event.kind) {
            let to = To {
                topic: Topic::Event,
                target: &target.name,
            };
            outbox::enqueue(tx, to, &matter, event.at)?;
        }
    }
    Ok(())
}

/// The event that is delivered under this name.
///
/// # Errors
///
/// When the store cannot be read, or there is none.
pub fn delivered(tx: &Tx<'_>, matter: &str) -> Result<(SessionId, Event), StoreError> {
    let damaged = || StoreError::Damaged {
        what: format!("the delivery of the event {matter}"),
    };
    let named = matter.split_once('/');
    let named = named
        .and_then(|(session, number)| Some((session.parse().ok()?, number.parse::<u32>().ok()?)));
    let (session, number) = named.ok_or_else(damaged)?;
    let mut found = table::events(tx, session, number.saturating_add(1), 1)?;
    let event = found.pop().filter(|event| event.number == number);
    Ok((session, event.ok_or_else(damaged)?))
}

/// The deliveries of the events of a session, or of all, the newest at the end, at most
/// so many.
///
/// # Errors
///
/// When the store cannot be read.
pub fn deliveries(
    tx: &Tx<'_>,
    session: Option<SessionId>,
    newest: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let of = session.map_or_else(String::new, |session| format!("{session}/"));
    let found = outbox::deliveries(tx, (Topic::Event, &of), newest)?;
    let found = found.into_iter().map(|delivery| {
        let (session, event) = delivered(tx, &delivery.matter)?;
        Ok(Delivery {
            session,
            event: (event.number, event.id, event.kind),
            target: delivery.target,
            due: delivery.due,
            ended: delivery.ended,
            tries: delivery.tries,
        })
    });
    found.collect()
}
