//! What is told to others, outside: a delivery for each matter and target, tried by
//! whichever writer claims it until it is taken or given up.
//!
//! At least once: a writer that dies in the middle of a try leaves the delivery
//! to the next one.

mod table;
#[cfg(test)]
mod tests;

pub use table::SCHEMA;

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

/// What kind of thing is told. Each has targets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// An event that arrived in a session.
    Event,
    /// What became of an escalation.
    Escalation,
}

impl Topic {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Escalation => "escalation",
        }
    }
}

/// One who is told of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct To<'a> {
    /// Of what.
    pub topic: Topic,
    /// What they are known by in the store. No secret.
    pub target: &'a str,
}

/// A delivery that one writer has for itself for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Of what.
    pub topic: Topic,
    /// Which one, in the words of the room that had it delivered.
    pub matter: Box<str>,
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
    /// The status of HTTP, of SMTP or of the command's exit, where there was one.
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
    /// Which matter, in the words of the room that had it delivered.
    pub matter: String,
    /// To whom.
    pub target: String,
    /// When it is tried next.
    pub due: Option<Timestamp>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// What was tried, the newest at the end.
    pub tries: Vec<Attempt>,
}

/// Has a matter delivered to a target. One that has been is not delivered again.
///
/// # Errors
///
/// When it cannot be written.
pub fn enqueue(tx: &Tx<'_>, to: To<'_>, matter: &str, now: Timestamp) -> Result<(), StoreError> {
    table::insert(tx, to, matter, now)
}

/// Claims the delivery to a target that is due longest.
///
/// # Errors
///
/// When the store fails.
pub fn claim(
    tx: &Tx<'_>,
    writer: WriterId,
    to: To<'_>,
    now: Timestamp,
) -> Result<Option<Claimed>, StoreError> {
    while let Some(due) = table::due(tx, to, now)? {
        let since = due.since.unwrap_or(now);
        let claimed = Claimed {
            topic: to.topic,
            matter: due.matter.into(),
            target: to.target.into(),
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
pub fn next_due(tx: &Tx<'_>, to: To<'_>) -> Result<Option<Timestamp>, StoreError> {
    table::next_due(tx, to)
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

/// The deliveries of the matters that begin so, the newest at the end, at most so many.
///
/// # Errors
///
/// When the store cannot be read.
pub fn deliveries(
    tx: &Tx<'_>,
    (topic, beginning): (Topic, &str),
    newest: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let mut deliveries = table::deliveries(tx, (topic, beginning), newest)?;
    for delivery in &mut deliveries {
        delivery.tries = table::attempts(tx, topic, delivery)?;
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
