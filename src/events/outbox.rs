//! What is told to others of the events: a delivery for each event and target,
//! tried by whichever writer claims it until it is taken or given up.
//!
//! At least once: a writer that dies in the middle of a try leaves the delivery
//! to the next one.

mod table;

use super::Event;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use jiff::SignedDuration;
use jiff::Timestamp;

/// For how long a writer has a delivery for itself. A try takes less.
const LEASE: SignedDuration = SignedDuration::from_mins(2);
/// How soon a delivery is tried again, and how seldom at most.
const AGAIN: SignedDuration = SignedDuration::from_secs(1);
const AGAIN_AT_MOST: SignedDuration = SignedDuration::from_hours(1);
/// For how long it is tried.
const TRIED: SignedDuration = SignedDuration::from_hours(24);

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

/// A delivery that one writer has for itself for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Of which session.
    pub session: SessionId,
    /// What is delivered.
    pub event: Event,
    /// To whom.
    pub target: Box<str>,
    /// The number of the try, from 1.
    pub number: u32,
    since: Timestamp,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// The status of HTTP or of the command's exit, where there was one.
    pub status: Option<i32>,
    /// Why it counts as not taken.
    pub problem: Option<String>,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was taken.
    Delivered,
    /// It was tried for so long that it is not tried again.
    GivenUp,
}

impl Ended {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::GivenUp => "given-up",
        }
    }
}

/// A delivery and its tries, for people.
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
    for target in &outbox.targets {
        if target.kinds.is_empty() || target.kinds.contains(&event.kind) {
            table::insert(tx, (session, event.number), &target.name, event.at)?;
        }
    }
    Ok(())
}

/// Claims the delivery to a target that is due longest.
///
/// # Errors
///
/// When the store fails.
pub fn claim(
    tx: &Tx<'_>,
    writer: WriterId,
    target: &str,
    now: Timestamp,
) -> Result<Option<Claimed>, StoreError> {
    while let Some(due) = table::due(tx, target, now)? {
        let since = due.since.unwrap_or(now);
        let claimed = Claimed {
            session: due.session,
            event: due.event,
            target: target.into(),
            number: due.tries + 1,
            since,
        };
        if now.duration_since(since) >= TRIED {
            table::end(tx, &claimed, Ended::GivenUp)?;
            continue;
        }
        table::lease(tx, &claimed, writer, (since, later(now, LEASE)))?;
        return Ok(Some(claimed));
    }
    Ok(None)
}

/// When the next delivery to a target is due.
///
/// # Errors
///
/// When the store cannot be read.
pub fn next_due(tx: &Tx<'_>, target: &str) -> Result<Option<Timestamp>, StoreError> {
    table::next_due(tx, target)
}

/// Records how a try went, and what becomes of the delivery. Returns how it ended,
/// where it did.
///
/// # Errors
///
/// When it cannot be written.
pub fn record(
    tx: &Tx<'_>,
    writer: WriterId,
    claimed: &Claimed,
    attempt: &Attempt,
) -> Result<Option<Ended>, StoreError> {
    table::attempt_insert(tx, claimed, attempt)?;
    if !table::is_leased_to(tx, claimed, writer)? {
        // Another writer took it for lost, and tries it itself.
        return Ok(None);
    }
    let ended = match &attempt.problem {
        None => Some(Ended::Delivered),
        Some(_) => {
            let next = later(attempt.at, pause(claimed.number));
            match next.duration_since(claimed.since) >= TRIED {
                true => Some(Ended::GivenUp),
                false => {
                    table::postpone(tx, claimed, next)?;
                    None
                }
            }
        }
    };
    if let Some(ended) = ended {
        table::end(tx, claimed, ended)?;
    }
    Ok(ended)
}

/// Gives up what a writer claimed that tries nothing any more.
///
/// # Errors
///
/// When it cannot be written.
pub fn release(tx: &Tx<'_>, writer: WriterId, now: Timestamp) -> Result<(), StoreError> {
    table::release(tx, writer, now)
}

/// The deliveries of a session, or of all, the newest at the end, at most so many.
///
/// # Errors
///
/// When the store cannot be read.
pub fn deliveries(
    tx: &Tx<'_>,
    session: Option<SessionId>,
    newest: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let mut deliveries = table::deliveries(tx, session, newest)?;
    for delivery in &mut deliveries {
        delivery.tries = table::attempts(tx, delivery)?;
    }
    Ok(deliveries)
}

/// How long to wait after so many tries.
fn pause(tries: u32) -> SignedDuration {
    let doubled = 1_i32.checked_shl(tries.saturating_sub(1).min(20));
    let pause = AGAIN.checked_mul(doubled.unwrap_or(i32::MAX));
    pause.unwrap_or(AGAIN_AT_MOST).min(AGAIN_AT_MOST)
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
