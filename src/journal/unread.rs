//! Calls that ended, and of whose answers nobody may have read anything: the next
//! identical one of the same caller in the session is given it, or told.
//!
//! Each call that was made is a note of its own. It stays until its answer was read,
//! or is too old: what a broker gives that dies meanwhile is given again.

mod table;

pub use table::SCHEMA as SCHEMA_14;

use super::Subject;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::SignedDuration;
use jiff::Timestamp;
use table::Given;

/// For how long a call is told that is like one whose answer may not have been read.
/// Whoever makes it after so long means another.
pub const TOLD_FOR: SignedDuration = SignedDuration::from_mins(5);

/// How many such calls of one session are noted; beyond it the oldest is not.
pub const MOST_UNREAD: u32 = 32;

/// How long before the last record of a writer its answers may still have been on
/// their way when it died.
const LAST: SignedDuration = SignedDuration::from_millis(500);

/// Notes that nobody read the answer of a call. Returns the calls of its caller in the
/// session that are not noted any more because there are too many.
///
/// # Errors
///
/// When it cannot be written.
pub fn unread(tx: &Tx<'_>, subject: &Subject, now: Timestamp) -> Result<Vec<CallId>, StoreError> {
    table::insert(tx, subject, now)?;
    table::trim(tx, subject, MOST_UNREAD)
}

/// Gives the oldest answer that nobody read of a call that is the same: no other call
/// is given it, until it is known whether it was read now.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn give_unread(
    tx: &Tx<'_>,
    writer: WriterId,
    subject: &Subject,
    now: Timestamp,
) -> Result<Option<CallId>, StoreError> {
    let oldest = waiting(tx, subject, now)?;
    if let Some(call) = oldest {
        table::give(tx, call, Some(writer))?;
    }
    Ok(oldest)
}

/// The call whose answer [`give_unread`] would give.
///
/// # Errors
///
/// When the store cannot be read.
pub fn waiting(
    tx: &Tx<'_>,
    subject: &Subject,
    now: Timestamp,
) -> Result<Option<CallId>, StoreError> {
    oldest(tx, subject, Given::ToNobody, now)
}

/// The oldest call that is the same and whose answer somebody is given now: until it is
/// known whether it was read, nobody knows whether whoever makes it again means another.
///
/// # Errors
///
/// When the store cannot be read.
pub fn being_given(
    tx: &Tx<'_>,
    subject: &Subject,
    now: Timestamp,
) -> Result<Option<CallId>, StoreError> {
    oldest(tx, subject, Given::ToSomebody, now)
}

/// Whether somebody is given the answer of this call now.
///
/// # Errors
///
/// When the store cannot be read.
pub fn is_being_given(tx: &Tx<'_>, call: CallId) -> Result<bool, StoreError> {
    table::is_given(tx, call)
}

fn oldest(
    tx: &Tx<'_>,
    subject: &Subject,
    given: Given,
    now: Timestamp,
) -> Result<Option<CallId>, StoreError> {
    match now.checked_sub(TOLD_FOR) {
        Ok(since) => table::oldest(tx, subject, given, since),
        Err(_out_of_range) => Ok(None),
    }
}

/// The answer of a call was given, and not read that time either.
///
/// # Errors
///
/// When it cannot be written.
pub fn still_unread(tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
    table::give(tx, call, None)
}

/// The answer of a call was read.
///
/// # Errors
///
/// When it cannot be written.
pub fn is_read(tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
    table::delete(tx, call)
}

/// Forgets the calls that nobody made again in time.
///
/// # Errors
///
/// When it cannot be written.
pub fn forget_unread(tx: &Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    match now.checked_sub(TOLD_FOR) {
        Ok(before) => table::forget(tx, before),
        Err(_out_of_range) => Ok(()),
    }
}

/// The calls of a session whose answers wait to be read, each by its tool and the
/// digest of its arguments.
pub(super) fn of(tx: &Tx<'_>, session: SessionId) -> Result<Vec<(String, Digest)>, StoreError> {
    table::of(tx, session)
}

/// What a dead writer gave may have reached nobody, nor what it closed just before it
/// died.
pub(super) fn recover(tx: &Tx<'_>, dead: WriterId, now: Timestamp) -> Result<(), StoreError> {
    table::take_back(tx, dead)?;
    if let Ok(since) = now.checked_sub(TOLD_FOR) {
        table::last_closed_insert(tx, (dead, LAST.as_millis()), since)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
