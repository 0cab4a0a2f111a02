//! What is recorded of a decision on an escalation: in the session of the call that
//! waits, in the transaction that decides.

use super::escalations::DecisionRefusal;
use crate::escalations::Approve;
use crate::escalations::Escalation;
use crate::journal;
use crate::journal::Subject;
use crate::principal::PrincipalId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;

/// By which way a decision came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The command line, with the key of this id.
    Command(String),
    /// The interface for programs, with the key of this id, where one was shown.
    Api(Option<Arc<str>>),
    /// This call: of one of our own tools, or one for which it was looked at anew.
    Call(CallId),
}

impl Way {
    /// What is recorded of it.
    fn note(&self, detail: &mut Map<String, Value>) {
        let (word, key, call) = match self {
            Self::Command(key) => ("command", Some(&**key), None),
            Self::Api(key) => ("api", key.as_deref(), None),
            Self::Call(call) => ("call", None, Some(call)),
        };
        detail.insert("way".to_owned(), json!(word));
        if let Some(key) = key {
            detail.insert("key".to_owned(), json!(key));
        }
        if let Some(call) = call {
            detail.insert("call".to_owned(), json!(call.to_string()));
        }
    }
}

/// What was said of an escalation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word<'a> {
    /// Somebody decided, and this became of it.
    Decided(Approve, &'a Result<Escalation, DecisionRefusal>),
    /// Its caller took it back.
    Withdrawn,
    /// What it was given for is not so any more.
    Void(&'a str),
}

impl Word<'_> {
    /// None where there is nothing to be recorded.
    fn detail(self) -> Option<Map<String, Value>> {
        let said = match self {
            // To whoever may not know of it, it is not there.
            Self::Decided(_, Err(DecisionRefusal::Unknown | DecisionRefusal::NotRecorded)) => {
                return None;
            }
            Self::Decided(approve, Ok(decided)) => {
                let reason = decided.decision.as_ref();
                let reason = reason.and_then(|decision| decision.reason.as_deref());
                let stops = decided.stops.iter().map(|stop| &*stop.policy);
                json!({
                    "decision": word(approve),
                    "state": decided.state.as_str(),
                    "reason": reason,
                    "policies": stops.collect::<Vec<_>>(),
                })
            }
            Self::Decided(approve, Err(refusal)) => {
                json!({
                    "decision": word(approve),
                    "code": refusal.code(),
                    "policies": policies(refusal),
                })
            }
            Self::Withdrawn => json!({"decision": "withdraw", "state": "withdrawn"}),
            Self::Void(why) => json!({"decision": "void", "state": "void", "reason": why}),
        };
        let Value::Object(mut members) = said else {
            return None;
        };
        members.retain(|_name, value| !value.is_null());
        Some(members)
    }
}

fn word(approve: Approve) -> &'static str {
    match approve {
        Approve::Yes => "approve",
        Approve::No => "refuse",
    }
}

/// Which policies were against it.
fn policies(refusal: &DecisionRefusal) -> Option<Vec<&str>> {
    match refusal {
        DecisionRefusal::Denied(denial)
        | DecisionRefusal::NotEnough(denial)
        | DecisionRefusal::More(denial) => {
            let reasons = denial.reasons.iter();
            Some(reasons.map(|reason| &*reason.policy).collect())
        }
        DecisionRefusal::Grown(stops) => {
            let stops = stops.iter();
            Some(stops.map(|stop| &*stop.policy).collect())
        }
        _ => None,
    }
}

/// Whom and what a decision is recorded with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ruled<'a> {
    /// The chain that it is appended to.
    pub(super) writer: WriterId,
    /// Whoever decided, or whose call found it so.
    pub(super) by: &'a PrincipalId,
    pub(super) way: &'a Way,
    /// The digest of the policies in force.
    pub(super) policies: Digest,
}

impl Ruled<'_> {
    /// Records what was said of an escalation.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then nothing must be decided.
    pub(super) fn record(
        self,
        tx: &Tx<'_>,
        escalation: &Escalation,
        word: Word<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(mut detail) = word.detail() else {
            return Ok(());
        };
        let id = escalation.id.to_string();
        detail.insert("escalation".to_owned(), json!(id));
        self.way.note(&mut detail);
        let subject = Subject {
            call: CallId::next(),
            session: escalation.session,
            principal: self.by.clone(),
            tool: escalation.tool.clone(),
            arguments: escalation.arguments,
            policies: self.policies,
            found: None,
        };
        journal::record_decision(tx, self.writer, (&subject, &Value::Object(detail)), now)
    }
}
