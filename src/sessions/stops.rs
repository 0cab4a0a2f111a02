//! What stops the calls of a session, for now or for good.

use super::By;
use super::End;
use super::What;
use super::Why;
use super::instances;
use super::note;
use super::placements;
use super::table;
use super::towards;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;

/// Stops every further call of a session, or lets it go on. False where there
/// is no such session, or it is so already.
///
/// # Errors
///
/// When it cannot be written.
pub fn freeze(
    tx: &Tx<'_>,
    id: SessionId,
    frozen: Frozen,
    (by, now): (By<'_>, Timestamp),
) -> Result<bool, StoreError> {
    let (since, what) = match frozen {
        Frozen::Yes => (Some(now), What::Frozen),
        Frozen::No => (None, What::Thawed),
    };
    let changed = table::session_freeze(tx, id, since)?;
    if changed {
        note(tx, id, what, None, by, now)?;
    }
    Ok(changed)
}

/// Whether a session is to be frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// Every further call is refused.
    Yes,
    /// It goes on.
    No,
}

/// Has a session wait. False where there is no such session, or it is over. One
/// that waits already says from now on what it waits for, and keeps its words where
/// there are no others.
///
/// # Errors
///
/// When it cannot be written.
pub fn pause(
    tx: &Tx<'_>,
    id: SessionId,
    waiting_for: Option<&str>,
    (by, now): (By<'_>, Timestamp),
) -> Result<bool, StoreError> {
    let changed = table::session_pause(tx, id, waiting_for, now)?;
    if changed {
        note(tx, id, What::Paused, waiting_for, by, now)?;
    }
    Ok(changed)
}

/// Has a session go on that waits. False where none does.
///
/// # Errors
///
/// When it cannot be written.
pub fn resume(
    tx: &Tx<'_>,
    id: SessionId,
    (by, now): (By<'_>, Timestamp),
) -> Result<bool, StoreError> {
    let changed = table::session_resume(tx, id)?;
    if changed {
        note(tx, id, What::Resumed, None, by, now)?;
    }
    Ok(changed)
}

/// Ends a session for good. False where there is no such session, or it is over
/// already.
///
/// # Errors
///
/// When it cannot be written.
pub fn end(
    tx: &Tx<'_>,
    id: SessionId,
    why: Why,
    (by, now): (By<'_>, Timestamp),
) -> Result<bool, StoreError> {
    let changed = table::session_end(tx, id, End { at: now, why })?;
    if changed {
        let what = match why {
            Why::Ended => What::Ended,
            Why::Expired => What::Expired,
        };
        placements::forget(tx, id)?;
        instances::forget(tx, id)?;
        towards::forget(tx, id)?;
        note(tx, id, what, None, by, now)?;
    }
    Ok(changed)
}

/// Ends the sessions that nobody used since `unused_since`, at most so many at once.
/// Returns how many.
///
/// # Errors
///
/// When it cannot be written.
pub fn expire(
    tx: &Tx<'_>,
    unused_since: Timestamp,
    most: u32,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let stale = table::sessions_unused(tx, unused_since, most)?;
    for id in &stale {
        end(tx, *id, Why::Expired, (By::Time, now))?;
    }
    Ok(stale.len())
}
