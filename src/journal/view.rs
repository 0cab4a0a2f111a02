//! Calls as people look at them.

use super::table;
use crate::outcome::Outcome;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use jiff::Timestamp;
use serde_json::Value;

/// One call as people look at it: its first record, and how it ended.
#[derive(Clone, Debug)]
pub struct CallView {
    /// Our id of the call.
    pub call: CallId,
    /// When it was decided.
    pub at: Timestamp,
    /// Who wrote the first record.
    pub writer: WriterId,
    /// The session it ran in.
    pub session: SessionId,
    /// The key of the principal.
    pub principal: String,
    /// `server/tool`.
    pub tool: String,
    /// How it ended; none while it runs, or until its dead writer is recovered.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The detail of the first record.
    pub detail: Value,
    /// The detail of the closing record.
    pub close_detail: Option<Value>,
    /// The arguments, where they were kept.
    pub arguments: Option<String>,
}

/// Which calls to show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Of this session only.
    pub session: Option<SessionId>,
    /// This call only.
    pub call: Option<CallId>,
    /// At most so many, the newest.
    pub newest: Option<u32>,
    /// None of this server.
    pub without: Option<&'a str>,
}

/// Calls in the order in which they were decided.
///
/// # Errors
///
/// When the store cannot be read.
pub fn calls(tx: &Tx<'_>, filter: &Filter<'_>) -> Result<Vec<CallView>, StoreError> {
    table::calls(tx, filter)
}

/// In which session a call was made. None where its records are not kept any more.
///
/// # Errors
///
/// When the store cannot be read.
pub fn session_of(tx: &Tx<'_>, call: CallId) -> Result<Option<SessionId>, StoreError> {
    table::session_of(tx, call)
}
