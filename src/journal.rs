//! The journal: the record of every call, opened before the effect and closed
//! after it.
//!
//! Records are only ever appended. Each writer has a chain of its own: a record
//! carries the SHA-256 of the one before it and of all its own columns, so an
//! edit in the middle breaks the chain. Arguments and results lie apart, covered by
//! their digests, so that they can be trimmed without breaking it. Checkpoints, signed
//! with a key that lies elsewhere, say where the chains end.

mod chain;
mod checkpoint;
mod decisions;
mod denials;
mod export;
mod found;
mod held;
mod line;
mod recovery;
mod retention;
mod row;
mod signer;
mod spooled;
mod table;
mod unread;
mod unsettled;
mod verify;
mod view;

pub use checkpoint::SCHEMA_12;
pub use checkpoint::Signed;
pub use checkpoint::checkpoint;
pub use checkpoint::is_due;
pub use decisions::DecisionView;
pub use decisions::SCHEMA_21;
pub use decisions::decisions;
pub use decisions::record_decision;
pub use denials::MOST_DENIED;
pub use denials::SCHEMA_20;
pub use denials::denied_before;
pub use denials::denied_since;
pub use export::Asked;
pub use export::ExportError;
pub use export::export;
pub use found::found;
pub use held::Held;
pub use recovery::Flight;
pub use recovery::in_flight_with;
pub use recovery::recover;
pub use recovery::recover_dead;
pub use retention::trim_payloads;
pub use retention::trim_records;
pub use row::Kind;
pub use row::Part;
pub use signer::KeyError;
pub use signer::PublicKey;
pub use signer::PublicKeyError;
pub use signer::Signer;
pub use spooled::close_spooled;
pub use spooled::fold;
pub use spooled::open_spooled;
pub use spooled::refuse_spooled;
pub use table::SCHEMA;
pub use table::SCHEMA_3;
pub use unread::MOST_UNREAD;
pub use unread::SCHEMA_14;
pub use unread::TOLD_FOR;
pub use unread::being_given;
pub use unread::forget_unread;
pub use unread::give_unread;
pub use unread::is_being_given;
pub use unread::is_read;
pub use unread::still_unread;
pub use unread::unread;
pub use unread::waiting;
pub use unsettled::Noted;
pub use unsettled::SCHEMA_26;
pub use unsettled::SCHEMA_29;
pub use unsettled::ending_of;
pub use unsettled::has_read;
pub use unsettled::is_of_another;
pub use unsettled::is_unsettled;
pub use unsettled::put_note_back;
pub use unsettled::settle;
pub use unsettled::take_note;
pub use unsettled::tell_unsettled;
pub use unsettled::unsettled_call;
pub use unsettled::unsettled_calls;
pub use unsettled::unsettled_of;
pub use verify::Problem;
pub use verify::ReadError;
pub use verify::Trust;
pub use verify::Verified;
pub use verify::verify;
pub use verify::verify_export;
pub use view::CallView;
pub use view::Filter;
pub use view::calls;
pub use view::session_of;

use crate::outcome::Outcome;
use crate::policy::Allowed;
use crate::principal::PrincipalId;
use crate::session::Found;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::Writer;
use crate::store::WriterId;
use crate::tool::Access;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::Timestamp;
use row::Row;
use serde_json::Value;
use std::sync::Arc;
use unsettled::Told;

/// What is known of a call when its record is made.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Our id of the call.
    pub call: CallId,
    /// The session it runs in.
    pub session: SessionId,
    /// Who called.
    pub principal: PrincipalId,
    /// `server/tool`, or the name as it was asked for where there is no such tool.
    pub tool: String,
    /// The digest of the canonical arguments.
    pub arguments: Digest,
    /// The digest of the policies that were in force.
    pub policies: Digest,
    /// How its session was found, where that is known.
    pub found: Option<Arc<Found>>,
}

/// Proof that the record of one allowed call is open. Only this room makes it,
/// and a [`Permit`](crate::permit::Permit) cannot be had without it.
#[derive(Debug)]
pub struct OpenEntry {
    call: CallId,
}

impl OpenEntry {
    /// Which call.
    pub fn call(&self) -> CallId {
        self.call
    }
}

/// Whether a call can change anything, as far as recovery cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A tool that the operator declared read-only: repeating it does no harm.
    None,
    /// Any other tool.
    Possible,
}

impl Effect {
    /// Of a tool of which the operator says this.
    pub fn of(access: Access) -> Self {
        match access {
            Access::Read => Self::None,
            Access::Write => Self::Possible,
        }
    }
}

/// Opens the record of an allowed call, in the transaction that admits it.
///
/// # Errors
///
/// When it cannot be written; then the call must not be sent.
pub fn open(
    tx: &Tx<'_>,
    writer: WriterId,
    (subject, effect, detail): (&Subject, Effect, &Value),
    allowed: &Allowed,
    now: Timestamp,
) -> Result<OpenEntry, StoreError> {
    debug_assert_eq!(subject.call, allowed.call());
    Writer::must_live(tx, writer)?;
    let row = Row::of(subject, Kind::Open, detail, now);
    table::append(tx, writer, &row)?;
    table::in_flight_insert(tx, writer, &row, effect)?;
    Ok(OpenEntry { call: subject.call })
}

/// Records a call that was not allowed. There is nothing to close.
///
/// # Errors
///
/// When it cannot be written.
pub fn refuse(
    tx: &Tx<'_>,
    writer: WriterId,
    (subject, outcome, detail): (&Subject, Outcome, &Value),
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut row = Row::of(subject, Kind::Refused, detail, now);
    row.outcome = Some(outcome);
    table::append(tx, writer, &row)
}

/// How a call that was sent ended.
#[derive(Clone, Debug)]
pub struct Closing {
    /// Which call.
    pub call: CallId,
    /// How it ended.
    pub outcome: Outcome,
    /// The digest of the answer, where there was one.
    pub result: Option<Digest>,
    /// The answer itself, where it is to be kept beside the record.
    pub kept: Option<Box<str>>,
    /// What else is worth keeping, never arguments or results.
    pub detail: Value,
    /// The server still works on it, and may end it without anybody's answer.
    pub goes_on: bool,
}

/// Closes the record of a call. Where nobody knows what the call did, the next
/// identical one is told so: at once where the client took the call back and so
/// reads no answer, else as long as its answer was not read. False
/// where it was closed before: recovery may
/// have taken this writer for dead, and the first word stands.
///
/// # Errors
///
/// When it cannot be written.
pub fn close(
    tx: &Tx<'_>,
    writer: WriterId,
    closing: &Closing,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(left) = table::in_flight_take(tx, closing.call)? else {
        return Ok(false);
    };
    if left.effect == Effect::Possible {
        match unsettles(closing) {
            Unsettles::Nobody => {}
            Unsettles::Unread => unsettled::note(tx, left.call, None)?,
            Unsettles::Told => unsettled::note(tx, left.call, Some(Told::now(writer)))?,
        }
    }
    append_close(tx, writer, closing, now)?;
    Ok(true)
}

/// Who must be told of how a call ended besides the one who made it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unsettles {
    Nobody,
    /// The next caller: this one reads no answer.
    Unread,
    /// The next caller, where this one does not read its answer.
    Told,
}

fn unsettles(closing: &Closing) -> Unsettles {
    match closing.outcome {
        Outcome::InputRequired if closing.goes_on => Unsettles::Unread,
        Outcome::Cancelled => Unsettles::Unread,
        Outcome::TimedOut | Outcome::Unknown => Unsettles::Told,
        Outcome::Completed
        | Outcome::ToolFailed
        | Outcome::Denied
        | Outcome::Escalated
        | Outcome::Replayed
        | Outcome::InvalidArguments
        | Outcome::UnknownTool
        | Outcome::FailedBeforeSending
        | Outcome::InputRequired => Unsettles::Nobody,
    }
}

fn append_close(
    tx: &Tx<'_>,
    writer: WriterId,
    closing: &Closing,
    now: Timestamp,
) -> Result<(), StoreError> {
    table::append(tx, writer, &Row::closing(closing, now))?;
    if let Some(result) = &closing.kept {
        table::payload_insert(tx, closing.call, Part::Result, result)?;
    }
    Ok(())
}

/// How many calls of a session ended how, those of one server left out; those without
/// an outcome go on, or their writer died and is not recovered yet.
///
/// # Errors
///
/// When the store cannot be read.
pub fn tally(
    tx: &Tx<'_>,
    session: SessionId,
    without: &str,
) -> Result<Vec<(Option<Outcome>, u32)>, StoreError> {
    table::tally(tx, session, without)
}

/// Keeps the arguments or the result of a call beside its record.
///
/// # Errors
///
/// When it cannot be written.
pub fn keep(tx: &Tx<'_>, call: CallId, part: Part, body: &str) -> Result<(), StoreError> {
    table::payload_insert(tx, call, part, body)
}
