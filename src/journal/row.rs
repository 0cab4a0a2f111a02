//! What a record says, before it has its place in the chain.

use super::Closing;
use super::Subject;
use super::found;
use crate::outcome::Outcome;
use crate::session::SessionId;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::Timestamp;
use serde_json::Value;

/// Which payload of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the client sent.
    Arguments,
    /// What the tool answered.
    Result,
}

impl Part {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arguments => "arguments",
            Self::Result => "result",
        }
    }
}

/// What a record says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call was allowed; it is sent after this.
    Open,
    /// A call that was opened has ended.
    Close,
    /// A call was not allowed.
    Refused,
    /// Somebody decided on a call that waited for that, or it ended otherwise.
    Decision,
}

impl Kind {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Refused => "refused",
            Self::Decision => "decision",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        let known = [Self::Open, Self::Close, Self::Refused, Self::Decision];
        known.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What such a record has the digest of.
    pub(super) fn part(self) -> Part {
        match self {
            Self::Open | Self::Refused | Self::Decision => Part::Arguments,
            Self::Close => Part::Result,
        }
    }
}

/// The columns of a record before it has its place in the chain.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) call: CallId,
    pub(super) at: Timestamp,
    pub(super) session: Option<SessionId>,
    pub(super) principal: Option<String>,
    pub(super) tool: Option<String>,
    pub(super) digest: Option<Digest>,
    pub(super) policies: Option<Digest>,
    pub(super) outcome: Option<Outcome>,
    pub(super) detail: String,
}

impl Row {
    pub(super) fn of(subject: &Subject, kind: Kind, detail: &Value, now: Timestamp) -> Self {
        Self {
            kind,
            call: subject.call,
            at: now,
            session: Some(subject.session),
            principal: Some(subject.principal.to_string()),
            tool: Some(subject.tool.clone()),
            digest: Some(subject.arguments),
            policies: Some(subject.policies),
            outcome: None,
            detail: found::told(subject, detail),
        }
    }

    pub(super) fn closing(closing: &Closing, now: Timestamp) -> Self {
        Self {
            kind: Kind::Close,
            call: closing.call,
            at: now,
            session: None,
            principal: None,
            tool: None,
            digest: closing.result,
            policies: None,
            outcome: Some(closing.outcome),
            detail: closing.detail.to_string(),
        }
    }
}
