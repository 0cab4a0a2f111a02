//! Escalations: requests to lift a limit for exactly one call, and what became of them.
//!
//! An escalation is bound to a principal, a session, a tool with the definition that it
//! had, and the digest of the canonical arguments. It is used up by one call, in the
//! transaction that opens the record of that call.

mod changes;
pub mod confirming;
mod id;
mod shown;
mod table;
#[cfg(test)]
mod tests;
pub mod waiting;

pub use changes::Change;
pub use changes::SCHEMA_19;
pub use changes::changed;
pub use changes::take_changes;
pub use id::EscalationId;
pub use id::IdError;
pub use shown::SCHEMA_28;
pub use shown::shown;
pub use shown::version;
pub use shown::was_shown;
pub use table::SCHEMA;
pub use table::SCHEMA_24;

use crate::crash;
use crate::journal::Subject;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::SignedDuration;
use jiff::Timestamp;

/// How many requests of one principal may wait at a time. Whoever has so many is
/// asking too much of the people who decide.
pub const MAX_PENDING: u32 = 100;

/// How many requests of one principal are taken within an hour, those that ended
/// included.
const MAX_LATELY: u32 = 200;
const LATELY: SignedDuration = SignedDuration::from_hours(1);

/// How large the arguments of all that waits for one principal are, in bytes.
const MAX_BYTES: i64 = 16 << 20;

/// How long it is known what became of a request.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 366);

/// How long the arguments are there of a call that used an approval up: where it was not
/// sent, the approval is given back, and somebody may look at it again.
const SPENT: SignedDuration = SignedDuration::from_hours(1);

/// The longest reason that is given with a decision, in bytes.
pub const MAX_REASON: usize = 2_000;

/// What became of an escalation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Nobody has decided.
    Pending,
    /// Somebody said yes, and the call was not made yet.
    Approved,
    /// The call was made with it.
    Used,
    /// Somebody said no.
    Refused,
    /// Its time was over before the call was made.
    Expired,
    /// The caller took it back.
    Withdrawn,
    /// What it was given for is not so any more.
    Void,
}

impl State {
    /// Every state, in the order in which they can follow each other.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Approved,
        Self::Used,
        Self::Refused,
        Self::Expired,
        Self::Withdrawn,
        Self::Void,
    ];

    /// The word that is stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Used => "used",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Void => "void",
        }
    }

    /// The state of this word.
    pub fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether something may still become of it.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Approved)
    }
}

/// One forbid that an approval must lift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The policy's id.
    pub policy: String,
    /// Its code.
    pub code: String,
    /// What it says to the model.
    pub message: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The call that was stopped.
    pub subject: &'a Subject,
    /// The digest of the tool's definition as it is pinned.
    pub definition: Digest,
    /// The arguments as they were sent, for whoever decides.
    pub body: &'a str,
    /// Roles of which one member's approval suffices, sorted.
    pub roles: &'a [String],
    /// What stopped it.
    pub stops: &'a [Stop],
    /// Until when.
    pub expires: Timestamp,
}

/// What somebody decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// A stored request, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// Its name for people and programs.
    pub id: EscalationId,
    /// What became of it so far.
    pub state: State,
    /// The call that was stopped first.
    pub call: CallId,
    /// In which session.
    pub session: SessionId,
    /// Who called.
    pub principal: PrincipalId,
    /// `server/tool`.
    pub tool: String,
    /// The digest of the canonical arguments.
    pub arguments: Digest,
    /// The digest of the tool's definition.
    pub definition: Digest,
    /// The arguments as they were sent; none after the end, because the journal has what
    /// is to be kept of them.
    pub body: Option<Box<str>>,
    /// Roles of which one member's approval suffices.
    pub roles: Vec<String>,
    /// What stopped the call.
    pub stops: Vec<Stop>,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Until when it can be decided and used.
    pub expires: Timestamp,
    /// How often the same call was made meanwhile, the first included.
    pub tries: u32,
    /// What was decided, where somebody did.
    pub decision: Option<Decision>,
    /// The call that used it up.
    pub used_by: Option<CallId>,
    /// When it ended, and why where that is not plain from its state.
    pub ended: Option<(Timestamp, Option<String>)>,
}

impl Escalation {
    /// The session in which stand the words of others that are shown with it, where there
    /// are any: the arguments, or why it was decided so by whoever had read them.
    pub fn told_from(&self) -> Option<SessionId> {
        (self.body.is_some() || self.has_reason()).then_some(self.session)
    }

    /// Whether somebody said why it was decided so.
    pub fn has_reason(&self) -> bool {
        let decision = self.decision.as_ref();
        decision.is_some_and(|decision| decision.reason.is_some())
    }

    /// Whether each of these policies is among what it says stops the call, and so was
    /// before whoever decided.
    pub fn names(&self, policies: &[String]) -> bool {
        let named = |policy: &String| self.stops.iter().any(|stop| stop.policy == *policy);
        policies.iter().all(named)
    }

    /// What became of it, as of now: the time may be over without anybody having
    /// noted it.
    pub fn state_at(&self, now: Timestamp) -> State {
        match self.state.is_live() && self.expires <= now {
            true => State::Expired,
            false => self.state,
        }
    }
}

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// It waits for somebody.
    New(EscalationId),
    /// Too many of this principal's wait already.
    TooMany,
}

/// Stores a request. Whatever was asked for the same call before must have been looked
/// for by [`standing`].
///
/// # Errors
///
/// When it cannot be written.
pub fn open(tx: &Tx<'_>, request: &Request<'_>, now: Timestamp) -> Result<Opened, StoreError> {
    let since = now.saturating_sub(LATELY).unwrap_or(now);
    let principal = &request.subject.principal;
    let (waiting, bytes, lately) = table::asked_by(tx, principal, (since, now))?;
    if waiting >= MAX_PENDING || lately >= MAX_LATELY || bytes >= MAX_BYTES {
        return Ok(Opened::TooMany);
    }
    let id = EscalationId::random();
    table::insert(tx, id, request, now)?;
    crash::point("escalation.asked");
    Ok(Opened::New(id))
}

/// The last request for exactly this call that still says something: one that waits,
/// that was approved, or that was refused, until its time is over.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn standing(
    tx: &Tx<'_>,
    subject: &Subject,
    now: Timestamp,
) -> Result<Option<Escalation>, StoreError> {
    let Some(last) = table::last_for(tx, subject, now)? else {
        return Ok(None);
    };
    if lapsed(tx, &last, now)? {
        return Ok(None);
    }
    Ok(Some(last))
}

/// Whether the time of a request is over. Then it is for good: a clock that is set back
/// does not reopen it.
///
/// # Errors
///
/// When it cannot be written.
pub fn lapsed(tx: &Tx<'_>, escalation: &Escalation, now: Timestamp) -> Result<bool, StoreError> {
    if !escalation.state.is_live() || escalation.expires > now {
        return Ok(false);
    }
    table::end(tx, escalation.id, (State::Expired, None), now)?;
    crash::point("escalation.expired");
    Ok(true)
}

/// Has one that waits say what stops its call now, with the roles that can lift that,
/// and until when it waits. Those who were told that it waits are told again.
///
/// # Errors
///
/// When it cannot be written.
pub fn renew(
    tx: &Tx<'_>,
    id: EscalationId,
    (stops, roles): (&[Stop], &[String]),
    expires: Timestamp,
) -> Result<(), StoreError> {
    table::renew(tx, id, (stops, roles), expires)?;
    shown::raise(tx, id)?;
    changes::tell_again(tx, id)
}

/// Counts one more try of the same call.
///
/// # Errors
///
/// When it cannot be written.
pub fn tried_again(tx: &Tx<'_>, id: EscalationId) -> Result<(), StoreError> {
    table::try_again(tx, id)?;
    crash::point("escalation.tried-again");
    Ok(())
}

/// Notes what somebody decided. False where it does not wait any more.
///
/// # Errors
///
/// When it cannot be written.
pub fn decide(
    tx: &Tx<'_>,
    id: EscalationId,
    (approve, decision): (Approve, &Decision),
) -> Result<bool, StoreError> {
    let state = match approve {
        Approve::Yes => State::Approved,
        Approve::No => State::Refused,
    };
    let decided = table::decide(tx, id, state, decision)?;
    crash::point("escalation.decided");
    Ok(decided)
}

/// The two things that can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approve {
    /// The call may be made once.
    Yes,
    /// It may not.
    No,
}

/// Uses an approval up, in the transaction that opens the record of the call. False
/// where it is not approved, or its time is over: then the call must not be sent.
///
/// # Errors
///
/// When it cannot be written.
pub fn consume(
    tx: &Tx<'_>,
    id: EscalationId,
    call: CallId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let used = table::consume(tx, id, call, now)?;
    crash::point("escalation.used");
    Ok(used)
}

/// Gives an approval back that a call used up which provably was not sent, in the
/// transaction that closes its record. Not where an earlier round of the same call was
/// sent with it. False where it used none up.
///
/// # Errors
///
/// When it cannot be written.
pub fn give_back(tx: &Tx<'_>, call: CallId) -> Result<bool, StoreError> {
    table::give_back(tx, call)
}

/// Hands what one call used up on to the call that goes on from it. False where that
/// call does not hold it.
///
/// # Errors
///
/// When it cannot be written.
pub fn carry(
    tx: &Tx<'_>,
    id: EscalationId,
    (from, to): (CallId, CallId),
) -> Result<bool, StoreError> {
    table::carry(tx, id, (from, to))
}

/// Ends a request because what it was given for is not so any more. False where it had
/// ended.
///
/// # Errors
///
/// When it cannot be written.
pub fn void(tx: &Tx<'_>, id: EscalationId, why: &str, now: Timestamp) -> Result<bool, StoreError> {
    let ended = table::end(tx, id, (State::Void, Some(why)), now)?;
    crash::point("escalation.voided");
    Ok(ended)
}

/// Ends a request because its caller takes it back. False where it had ended.
///
/// # Errors
///
/// When it cannot be written.
pub fn withdraw(tx: &Tx<'_>, id: EscalationId, now: Timestamp) -> Result<bool, StoreError> {
    let ended = table::end(tx, id, (State::Withdrawn, None), now)?;
    crash::point("escalation.withdrawn");
    Ok(ended)
}

/// One request.
///
/// # Errors
///
/// When the store cannot be read.
pub fn find(tx: &Tx<'_>, id: EscalationId) -> Result<Option<Escalation>, StoreError> {
    table::by_id(tx, id)
}

/// The request that this call used up.
///
/// # Errors
///
/// When the store cannot be read.
pub fn used_by(tx: &Tx<'_>, call: CallId) -> Result<Option<Escalation>, StoreError> {
    table::used_by(tx, call)
}

/// Which requests.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this session only.
    pub session: Option<SessionId>,
    /// Only those that wait or are approved.
    pub live: bool,
    /// So many of the newest.
    pub newest: Option<u32>,
}

/// Requests, the oldest first.
///
/// # Errors
///
/// When the store cannot be read.
pub fn list(tx: &Tx<'_>, filter: &Filter) -> Result<Vec<Escalation>, StoreError> {
    table::list(tx, filter)
}

/// Ends what nobody decided or used in time. Returns how many ended.
///
/// # Errors
///
/// When it cannot be written.
pub fn expire(tx: &Tx<'_>, most: u32, now: Timestamp) -> Result<usize, StoreError> {
    if let Ok(before) = now.checked_sub(KEPT) {
        table::forget(tx, before, most)?;
    }
    if let Ok(before) = now.checked_sub(SPENT) {
        table::forget_spent(tx, before, most)?;
    }
    table::expire(tx, most, now)
}
