//! How a call ended.

use std::fmt;
use std::str::FromStr;

/// How a call ended, as the journal records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The tool answered and did not call it an error.
    Completed,
    /// The tool answered with an error of its own, or with a protocol error.
    ToolFailed,
    /// Policy said no, and nobody may lift it. Nothing was sent.
    Denied,
    /// Policy said no, and a role may lift it. Nothing was sent.
    Escalated,
    /// Made before under the same key, and given the answer of then. Nothing was sent.
    Replayed,
    /// The arguments do not fit the tool's schema. Nothing was sent.
    InvalidArguments,
    /// There is no such tool for this caller. Nothing was sent.
    UnknownTool,
    /// Sent, and no answer within the deadline. The effect may have happened.
    TimedOut,
    /// Sent, and the client took it back. The effect may have happened.
    Cancelled,
    /// Allowed, and provably not sent: the server was not there.
    FailedBeforeSending,
    /// Sent, and the server asked something before it does its work. Another
    /// call, with the answer, goes on from there.
    InputRequired,
    /// Sent, and nobody saw how it ended. The effect may have happened.
    Unknown,
}

impl Outcome {
    /// Every outcome, for tables and tests.
    pub const ALL: [Self; 12] = [
        Self::Completed,
        Self::ToolFailed,
        Self::Denied,
        Self::Escalated,
        Self::Replayed,
        Self::InvalidArguments,
        Self::UnknownTool,
        Self::TimedOut,
        Self::Cancelled,
        Self::FailedBeforeSending,
        Self::InputRequired,
        Self::Unknown,
    ];

    /// The word that is stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ToolFailed => "tool-failed",
            Self::Denied => "denied",
            Self::Escalated => "escalated",
            Self::Replayed => "replayed",
            Self::InvalidArguments => "invalid-arguments",
            Self::UnknownTool => "unknown-tool",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
            Self::FailedBeforeSending => "failed-before-sending",
            Self::InputRequired => "input-required",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is no outcome.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no outcome of a call")]
pub struct OutcomeError(String);

impl FromStr for Outcome {
    type Err = OutcomeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| OutcomeError(text.chars().take(80).collect()))
    }
}
