//! Tasks that stand for requests: a client that knows tasks waits for the decision by
//! one, and where the operator says so the call is made for it after the approval, once.

mod table;

pub use table::SCHEMA_18;

use super::Escalation;
use super::EscalationId;
use crate::retries::IdempotencyKey;
use crate::retries::Kept;
use crate::retries::MAX_BODY;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::tool::OnApproval;
use jiff::SignedDuration;
use jiff::Timestamp;

/// How long it is known how a task ended.
pub const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);

/// How a client wants to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What is done once the call is approved.
    pub on_approval: OnApproval,
    /// What its client calls it.
    pub key: Option<IdempotencyKey>,
    /// The id of the API key that it came with.
    pub credential: Option<String>,
}

/// A task that stands for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What its client knows it by.
    pub task: String,
    /// When it was begun.
    pub begun: Timestamp,
    /// How its client waits.
    pub wish: Wish,
    /// The call that was made for it.
    pub call: Option<CallId>,
    /// What that call came to.
    pub came: Option<Came>,
    /// Why no call is made for it, and since when.
    pub not_made: Option<(Timestamp, String)>,
}

/// What the call came to that was made for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// This answer.
    Answered(Kept),
    /// One that was too large to keep.
    TooLarge,
}

/// Notes that a task stands for a request, before anybody is told of it.
///
/// # Errors
///
/// When it cannot be written; then nobody must be told of it.
pub fn begin(
    tx: &Tx<'_>,
    (id, task): (EscalationId, &str),
    wish: &Wish,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Ok(long_ago) = now.checked_sub(KEPT) {
        table::delete_before(tx, long_ago)?;
    }
    table::insert(tx, (id, task), wish, now)
}

/// The task that stands for a request.
///
/// # Errors
///
/// When the store cannot be read.
pub fn of(tx: &Tx<'_>, id: EscalationId) -> Result<Option<Waiting>, StoreError> {
    table::waiting(tx, id)
}

/// The requests that were approved and whose call is to be made for their client, with
/// the arguments; the oldest first.
///
/// # Errors
///
/// When the store cannot be read.
pub fn due(
    tx: &Tx<'_>,
    most: u32,
    now: Timestamp,
) -> Result<Vec<(Escalation, Waiting)>, StoreError> {
    let mut due = Vec::new();
    for id in table::due(tx, most, now)? {
        if let (Some(found), Some(waiting)) = (super::find(tx, id)?, of(tx, id)?) {
            due.push((found, waiting));
        }
    }
    Ok(due)
}

/// Whether the call of a request is still to be made. Asked in the transaction that
/// opens its record, because another may have made it.
///
/// # Errors
///
/// When the store cannot be read.
pub fn is_due(tx: &Tx<'_>, id: EscalationId, now: Timestamp) -> Result<bool, StoreError> {
    table::is_due(tx, id, now)
}

/// Notes which call is made, in the transaction that opens its record. False where
/// another was, or none will be: then it must not be sent.
///
/// # Errors
///
/// When it cannot be written.
pub fn made(tx: &Tx<'_>, id: EscalationId, call: CallId) -> Result<bool, StoreError> {
    table::made(tx, id, call)
}

/// Notes why no call is made. Nothing changes where one was.
///
/// # Errors
///
/// When it cannot be written.
pub fn not_made(
    tx: &Tx<'_>,
    id: EscalationId,
    why: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    table::not_made(tx, id, why, now)
}

/// Keeps what a call came to that was made for a task, in the transaction that closes
/// its record. Of any other call nothing is kept here.
///
/// # Errors
///
/// When it cannot be written.
pub fn answered(tx: &Tx<'_>, call: CallId, kept: &Kept) -> Result<(), StoreError> {
    let fits = kept.body.len() <= MAX_BODY;
    table::answered(tx, call, fits.then_some(kept))
}
