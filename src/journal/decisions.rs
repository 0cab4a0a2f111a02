//! What was decided on calls that wait for somebody, and what else ended such a wait:
//! each is a record by itself, in the session of the call. A call that uses an approval
//! up says so in its own record.

mod table;

pub use table::SCHEMA_21;

use super::Filter;
use super::Kind;
use super::Row;
use super::Subject;
use super::table::append;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use jiff::Timestamp;
use serde_json::Value;

/// One decision as people look at it.
#[derive(Clone, Debug)]
pub struct DecisionView {
    /// Its id, in the order of time among those of calls.
    pub id: CallId,
    /// When it was made.
    pub at: Timestamp,
    /// The session of the call that it is about.
    pub session: SessionId,
    /// The key of whoever decided.
    pub principal: String,
    /// `server/tool` of that call.
    pub tool: String,
    /// About which escalation, what, by which way and why.
    pub detail: Value,
}

/// Records a decision, in the transaction that makes it. The subject has the session,
/// the tool and the arguments of the call that it is about, an id of its own, and
/// whoever decided for its principal.
///
/// # Errors
///
/// When it cannot be written; then nothing must be decided.
pub fn record_decision(
    tx: &Tx<'_>,
    writer: WriterId,
    (subject, detail): (&Subject, &Value),
    now: Timestamp,
) -> Result<(), StoreError> {
    append(tx, writer, &Row::of(subject, Kind::Decision, detail, now))
}

/// Decisions, the oldest first.
///
/// # Errors
///
/// When the store cannot be read.
pub fn decisions(tx: &Tx<'_>, filter: &Filter<'_>) -> Result<Vec<DecisionView>, StoreError> {
    table::decisions(tx, filter)
}
