//! Calls of which nobody knows what they did: the next identical one of the same caller
//! in the session is told. Each such call is a note of its own, told one after the
//! other.

mod table;

pub use table::SCHEMA_26;
pub use table::SCHEMA_29;

use super::Subject;
use super::recover_dead;
use super::unread;
use crate::outcome::Outcome;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::Writer;
use crate::store::WriterId;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::SignedDuration;
use jiff::Timestamp;

/// That the caller of a call is told that nobody knows how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    by: WriterId,
    /// Since when that could be read, by the first who did. Whoever made the same call
    /// before is told too, and so is whoever made it so soon after that it may have been
    /// on its way.
    read: Option<Timestamp>,
}

impl Told {
    /// This writer tells it now.
    pub(super) fn now(by: WriterId) -> Self {
        Self { by, read: None }
    }

    /// Whether whoever made a call that came then can have read it: it `settles` for so
    /// long, because many can make the same call at once, and one is taken in last.
    fn is_known_to(self, came: Timestamp, settles: SignedDuration) -> bool {
        let settled = self.read.and_then(|at| at.checked_add(settles).ok());
        settled.is_some_and(|settled| settled < came)
    }
}

/// Notes that nobody knows what a call did.
pub(super) fn note(tx: &Tx<'_>, call: CallId, told: Option<Told>) -> Result<(), StoreError> {
    table::unsettled_insert(tx, call, told)
}

/// What a dead writer told may have reached nobody.
pub(super) fn untell(tx: &Tx<'_>, dead: WriterId) -> Result<(), StoreError> {
    table::unsettled_untell(tx, dead)
}

/// The oldest earlier identical call of this caller in the session that ended unknown,
/// where nobody had read that when this one came, or so shortly before that it
/// `settles` still. Notes that this writer tells it now; one that is being told already
/// is told again where there is no other. When all had been read and are settled, the
/// call is a new one, and takes one note away. What a writer told that then died may
/// have reached nobody, so recovery has it told again.
///
/// A broker that died in the middle of the same call is recovered first: its
/// caller may come to this one before anybody else has noticed.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn tell_unsettled(
    tx: &Tx<'_>,
    writer: WriterId,
    subject: &Subject,
    settles: SignedDuration,
    (came, now): (Timestamp, Timestamp),
) -> Result<Option<CallId>, StoreError> {
    // Any that died: what it had begun may be in its spool only.
    recover_dead(tx, writer, now)?;
    match table::unsettled(tx, subject)? {
        None => Ok(None),
        Some((call, Some(told))) if told.is_known_to(came, settles) => {
            table::unsettled_take(tx, call)?;
            Ok(None)
        }
        Some((call, _not_known)) => {
            table::unsettled_tell(tx, call, writer)?;
            Ok(Some(call))
        }
    }
}

/// Somebody who was told of a call read that at this time. Of one that nobody is told of by its note
/// it is no word: a key has its own.
///
/// # Errors
///
/// When it cannot be written.
pub fn has_read(tx: &Tx<'_>, call: CallId, at: Timestamp) -> Result<(), StoreError> {
    table::unsettled_read(tx, call, at)
}

/// The calls of a session of which the next identical one may have to be told: they
/// ended unknown, or nobody may have read their answers. Each by its tool and the
/// digest of its arguments.
///
/// # Errors
///
/// When the store cannot be read.
pub fn unsettled_of(tx: &Tx<'_>, session: SessionId) -> Result<Vec<(String, Digest)>, StoreError> {
    let mut noted = table::unsettled_of(tx, session)?;
    noted.extend(unread::of(tx, session)?);
    Ok(noted)
}

/// The calls of a session that ended unknown and are not settled: the tool, and which
/// call.
///
/// # Errors
///
/// When the store cannot be read.
pub fn unsettled_calls(
    tx: &Tx<'_>,
    session: SessionId,
) -> Result<Vec<(String, CallId)>, StoreError> {
    table::unsettled_calls(tx, session)
}

/// The call that ended unknown, or may still go on, and is the same as this one: of
/// several the one that [`tell_unsettled`] is about.
///
/// # Errors
///
/// When the store cannot be read.
pub fn unsettled_call(tx: &Tx<'_>, subject: &Subject) -> Result<Option<CallId>, StoreError> {
    Ok(table::unsettled(tx, subject)?.map(|(call, _told)| call))
}

/// Whether this call ended unknown, or may still go on, and somebody is to be told.
///
/// # Errors
///
/// When the store cannot be read.
pub fn is_unsettled(tx: &Tx<'_>, call: CallId) -> Result<bool, StoreError> {
    table::is_unsettled(tx, call)
}

/// Nobody need be told of any call that is the same.
///
/// # Errors
///
/// When the notes cannot be taken away.
pub fn settle(tx: &Tx<'_>, subject: &Subject) -> Result<(), StoreError> {
    table::unsettled_delete(tx, subject)
}

/// The note of a call whose place another took.
#[derive(Debug)]
pub struct Noted {
    call: CallId,
    told: Option<Told>,
    /// Whether the one that told it lived when the note was taken away.
    lived: bool,
}

/// Takes away the note of an earlier call whose place another takes: nobody need be told
/// of it while nothing says that the other came to nothing.
///
/// # Errors
///
/// When it cannot be taken away.
pub fn take_note(tx: &Tx<'_>, call: CallId) -> Result<Option<Noted>, StoreError> {
    let Some(told) = table::unsettled_take(tx, call)? else {
        return Ok(None);
    };
    let lived = lives(tx, told.map(|told| told.by))?;
    Ok(Some(Noted { call, told, lived }))
}

/// Puts a note back as it was: the call that took the place came to nothing. What a
/// writer told that died meanwhile may have reached nobody.
///
/// # Errors
///
/// When it cannot be written.
pub fn put_note_back(tx: &Tx<'_>, noted: &Noted) -> Result<(), StoreError> {
    let died = noted.lived && !lives(tx, noted.told.map(|told| told.by))?;
    note(tx, noted.call, noted.told.filter(|_| !died))
}

fn lives(tx: &Tx<'_>, writer: Option<WriterId>) -> Result<bool, StoreError> {
    match writer.map(|writer| Writer::must_live(tx, writer)) {
        Some(Ok(())) => Ok(true),
        None | Some(Err(StoreError::Buried)) => Ok(false),
        Some(Err(error)) => Err(error),
    }
}

/// Whether another writer than this one opened a call, and lives, so that it may have
/// the call in its memory. So also where nothing is known of the call: its record may be
/// in the spool of another. Those that died are recovered first.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn is_of_another(
    tx: &Tx<'_>,
    call: CallId,
    own: WriterId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    recover_dead(tx, own, now)?;
    match table::opened_by(tx, call)? {
        Some(writer) => Ok(writer != own && lives(tx, Some(writer))?),
        None => Ok(true),
    }
}

/// How a call ended, and when. None while it has not.
///
/// # Errors
///
/// When the store cannot be read.
pub fn ending_of(tx: &Tx<'_>, call: CallId) -> Result<Option<(Outcome, Timestamp)>, StoreError> {
    table::ending(tx, call)
}

#[cfg(test)]
mod tests;
