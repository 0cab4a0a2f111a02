//! What a call comes back with. Which words the client reads is decided at
//! the edge.

use super::confirming::Unconfirmed;
use super::denied::Again;
use super::escalate::Requested;
use super::waiting::Settled;
use super::waiting::TaskView;
use crate::downstream::ConnectionId;
use crate::downstream::Era;
use crate::downstream::Unbridged;
use crate::escalations::Decision;
use crate::escalations::EscalationId;
use crate::journal::Subject;
use crate::policy::Denial;
use crate::policy::Escalation;
use crate::retries::Kept;
use crate::session::TransportId;
use crate::sessions::End;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::Inquiry;
use crate::tool::Kind;
use crate::tool::ServerName;
use jiff::Timestamp;
use std::time::Duration;
use std::time::Instant;

/// How a call came back.
#[derive(Debug)]
pub enum Answer {
    /// The server's result, as it wrote it.
    Result {
        /// The text of the result object.
        json: Box<str>,
        /// Which kind of MCP the server speaks.
        era: Era,
    },
    /// The server's protocol error, as it wrote it.
    ServerError {
        /// The text of the error object.
        json: Box<str>,
    },
    /// The server made a task of the call, which goes on by itself.
    Task {
        /// The text of the result object, as the server wrote it.
        json: Box<str>,
        /// The id of the task: what the server calls it, until it is kept under
        /// one of ours.
        id: Box<str>,
        /// On which connection to the server it was begun, where it was just now.
        at: Option<ConnectionId>,
    },
    /// How a task of the broker's own stands.
    OwnTask(Box<TaskView>),
    /// The server, or the broker itself, asks something before the work is done.
    /// Another call, with what the client says, goes on from there.
    Asks {
        /// Our id of the call that goes on.
        call: CallId,
        /// What is asked, and how.
        asked: Asked,
    },
    /// No answer of a server, and why.
    Refused(Refusal),
    /// It was made before under the same key, and this is the answer of then.
    Replayed {
        /// Our id of the first.
        earlier: CallId,
        /// What it came to.
        answer: Box<Answer>,
    },
    /// It follows a resource, and no server had to be asked.
    Joined,
    /// The client took the call back.
    Cancelled,
}

impl Answer {
    /// Says in the log how a call of this name came back.
    pub(super) fn log(&self, name: &str, begun: Instant) {
        let outcome = match self {
            Self::Result { .. } | Self::Joined => "answered",
            Self::ServerError { .. } => "server error",
            Self::Replayed { .. } => "replayed",
            Self::Task { .. } | Self::OwnTask(_) => "task",
            Self::Asks { .. } => "asks",
            Self::Refused(_) => "refused",
            Self::Cancelled => "cancelled",
        };
        tracing::info!(
            tool.name = name.escape_debug().take(64).collect::<String>(),
            duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            outcome,
            "tool call"
        );
    }
}

/// How something is asked before the work is done.
#[derive(Debug)]
pub enum Asked {
    /// By its result, which is the text of an `InputRequiredResult` of MCP
    /// 2026-07-28, as it wrote it.
    Result(Box<str>),
    /// By its error, a `URLElicitationRequiredError` of MCP 2025-11-25, as it
    /// wrote it: pages that the person opens first.
    Pages(Box<str>),
    /// In the middle of the call, which stays open.
    Open(Vec<Question>),
    /// Not by a server: the broker asks the person in front of the client whether the
    /// call shall be made.
    Confirmation {
        /// What they are asked.
        question: Question,
        /// How long a client has that is asked while its call waits.
        patience: Duration,
    },
}

/// What is asked in the middle of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// By what the answer is known.
    pub key: String,
    /// What is asked.
    pub inquiry: Inquiry,
    /// The parameters, an object, as the text they were.
    pub params: Option<Box<str>>,
}

/// A call that its session's pause stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// Our id of the call.
    pub call: CallId,
    /// Why.
    pub denial: Denial,
    /// What the session waits for, in the words of whoever paused it.
    pub waiting_for: Option<String>,
    /// What the tool is called that lets it go on, where the caller has it.
    pub resume: Option<Box<str>>,
}

/// Why a call has no answer of a server.
#[derive(Debug)]
pub enum Refusal {
    /// There is nothing of this name for this caller.
    UnknownTool {
        /// What was asked.
        asking: Asking,
        /// The name that was asked for.
        name: Box<str>,
    },
    /// The server offers it to clients of other kinds only. Nothing was sent.
    NotOffered {
        /// What was asked.
        asking: Asking,
        /// The name that was asked for.
        name: Box<str>,
        /// A kind that it is offered to.
        needs: Kind,
    },
    /// The arguments do not fit. Nothing was sent.
    InvalidArguments {
        /// Our id of the call.
        call: CallId,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Policy said no, for good. Nothing was sent.
    Denied {
        /// Our id of the call.
        call: CallId,
        /// Why.
        denial: Denial,
        /// What is known of the denials before it.
        again: Again,
    },
    /// The session waits, and nothing else stopped the call. Nothing was sent.
    Paused(Box<Paused>),
    /// Policy said no, and a role can lift it. Nothing was sent.
    Escalated {
        /// Our id of the call.
        call: CallId,
        /// Why.
        denial: Denial,
        /// Who can lift it.
        escalation: Escalation,
        /// What stands for it.
        requested: Requested,
    },
    /// The person in front of the client is to be asked first. Nothing was sent. Only
    /// within the broker, which makes an answer of it.
    Confirm {
        /// Our id of the call.
        call: CallId,
        /// What they are asked.
        question: Question,
        /// How long a client has that is asked while its call waits.
        patience: Duration,
    },
    /// It needs a yes of the person in front of the client, and has none. Nothing was
    /// sent.
    NotConfirmed {
        /// Our id of the call.
        call: CallId,
        /// Why it needs one.
        denial: Denial,
        /// Why it has none.
        why: Unconfirmed,
    },
    /// Somebody was asked, and said no. Nothing was sent.
    TurnedDown {
        /// Our id of the call.
        call: CallId,
        /// What was decided on.
        id: EscalationId,
        /// Who decided, and why.
        decision: Decision,
        /// Until when the same call is answered so.
        until: Timestamp,
    },
    /// It waited for a decision, and has no answer of a server. For whoever waits by
    /// a task.
    Settled {
        /// What was decided on.
        id: EscalationId,
        /// What became of it.
        settled: Settled,
    },
    /// It was to be made for its client, and another broker or the client itself did
    /// so. Only within the broker.
    Overtaken,
    /// An identical earlier call of the session ended unknown, and this is the
    /// first that the caller hears of it. Nothing was sent now.
    EarlierUnknown {
        /// Our id of this call.
        call: CallId,
        /// Our id of the earlier one.
        earlier: CallId,
        /// `server/tool`.
        tool: String,
    },
    /// It was made before under the same key, and is not over for all we know. Only
    /// within the broker: the caller waits for it.
    Attempted {
        /// Our id of the first.
        earlier: CallId,
    },
    /// The same call was made shortly before, and its answer is on its way to somebody.
    /// Only within the broker: the caller waits until it is known whether they read it.
    BeingGiven {
        /// Our id of the earlier.
        earlier: CallId,
    },
    /// The same call was made before under the same key, or shortly before and its
    /// answer was not read: this one is given it. Nothing was sent now. Only within the
    /// broker, which makes an answer of it.
    Replayed {
        /// Our id of the earlier.
        earlier: CallId,
        /// Its answer.
        kept: Kept,
    },
    /// The same call of the session was made shortly before, its answer may not have
    /// been read, and cannot be given again. Nothing was sent now.
    EarlierUnread {
        /// Our id of this call.
        call: CallId,
        /// Our id of the earlier one.
        earlier: CallId,
        /// `server/tool`.
        tool: String,
        /// Why it cannot be given again.
        why: NotKept,
    },
    /// Its key was given to another call before. Nothing was sent.
    KeyReused {
        /// Our id of the call.
        call: CallId,
    },
    /// It was made before under the same key, and the answer was too large to keep.
    /// Nothing was sent now.
    EarlierLost {
        /// Our id of the call.
        call: CallId,
        /// Our id of the first.
        earlier: CallId,
    },
    /// It was made before under the same key, and its server asked something in the
    /// middle of it, which was not answered yet. Nothing was sent now.
    EarlierAsks {
        /// Our id of the call.
        call: CallId,
        /// Our id of the first.
        earlier: CallId,
    },
    /// It answers what a server asked in the middle of a call, which is not open here.
    /// Nothing was sent now, and nothing was used up.
    EarlierOpen {
        /// Our id of this call.
        call: CallId,
        /// Our id of the one that asked.
        earlier: CallId,
        /// Where it is.
        why: StillOpen,
    },
    /// There is no such session for the caller, or not any more: it has no record.
    SessionGone {
        /// As it was named.
        text: String,
    },
    /// The session of the call is over. Nothing was sent.
    SessionEnded {
        /// Our id of the call.
        call: CallId,
        /// Since when, and why.
        end: End,
    },
    /// The server was not there. Provably not sent; what was charged was given
    /// back.
    ServerUnavailable {
        /// Our id of the call.
        call: CallId,
        /// Which server.
        server: ServerName,
        /// What is wrong with it.
        why: String,
    },
    /// The same, of a call that repeats one that ended unknown: what that one was
    /// charged stays charged.
    RepeatUnsent {
        /// Our id of the call.
        call: CallId,
        /// Our id of the earlier one, which may have taken effect.
        earlier: CallId,
        /// Which server.
        server: ServerName,
    },
    /// The server was there, and not free for this call. Not sent; what was charged
    /// was given back.
    ServerBusy {
        /// Our id of the call.
        call: CallId,
        /// Which server.
        server: ServerName,
        /// With what.
        why: &'static str,
    },
    /// The call answers what was never asked, and its server takes no such answers.
    /// Nothing was sent; what was charged was given back.
    NotAsked,
    /// Its server takes the call as a task only, and the client wants none. Nothing was
    /// sent; what was charged was given back.
    OnlyAsTask {
        /// The call.
        call: CallId,
        /// The server.
        server: ServerName,
    },
    /// When the call was about to be sent, its server no longer listed the tool
    /// as it is pinned. Not sent; what was charged was given back.
    ToolChanged {
        /// Our id of the call.
        call: CallId,
    },
    /// Sent, and nobody saw how it ended.
    OutcomeUnknown {
        /// Our id of the call.
        call: CallId,
        /// Which server.
        server: ServerName,
        /// What happened to it.
        why: String,
    },
    /// Sent, and no answer in time.
    TimedOut {
        /// Our id of the call.
        call: CallId,
        /// Which server.
        server: ServerName,
        /// How long it had.
        after: Duration,
    },
    /// Sent and answered, and what comes into the session with the answer could not
    /// be recorded: so nobody may read it.
    Withheld {
        /// Our id of the call.
        call: CallId,
        /// Which server.
        server: ServerName,
    },
    /// What came back, or was to go on, has no form in the other revision.
    Unbridged {
        /// Our id of the call.
        call: CallId,
        /// Which server.
        server: ServerName,
        /// What it is.
        what: Unbridged,
    },
    /// Answered, but not with a valid answer.
    InvalidAnswer {
        /// Our id of the call.
        call: CallId,
        /// Which server.
        server: ServerName,
        /// What is wrong with the answer.
        why: String,
    },
    /// The record could not be opened. Nothing was sent.
    NotRecorded,
    /// The same, because the disk has no room for it.
    NoRoom,
}

impl Refusal {
    /// The session of a call is not there for its caller.
    pub(super) fn no_session(subject: &Subject) -> Self {
        let found = subject.found.as_ref();
        let named = found.and_then(|found| found.chosen.named.as_deref());
        Self::SessionGone {
            text: named.map_or_else(|| subject.session.to_string(), str::to_owned),
        }
    }
}

/// Why an answer that may not have been read cannot be given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// Its broker ended right after the call.
    Ended,
    /// It was too large.
    TooLarge,
    /// It is on its way to another call, and nobody knows yet whether that reads it.
    BeingGiven,
}

/// Why an answer does not reach the call that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StillOpen {
    /// Another broker on the store has it.
    Elsewhere,
    /// Another request answers it at this moment.
    Answered,
}

/// How the session of a call is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// By its handle or id.
    Named(String),
    /// Not at all, and nothing is shared: a new one.
    New,
    /// By a transport session: the one that it points to, else a new one that it
    /// points to from then on.
    Transport(TransportId),
    /// Not at all: the one that the principal used last.
    Default,
}

/// Why there is no session for a call.
#[derive(Debug)]
pub enum SessionRefusal {
    /// The text is neither a handle nor an id.
    NotAHandle {
        /// What was sent.
        text: String,
    },
    /// No such session, or one that is not the caller's: the same to them.
    Unknown {
        /// What was sent.
        text: String,
    },
    /// There is no such session, and policy does not let the caller open it.
    MayNotOpen {
        /// The handle.
        handle: String,
        /// Why.
        denial: Denial,
    },
    /// The store failed.
    NotRecorded,
    /// The same, because the disk has no room.
    NoRoom,
}
