//! A call as it goes to a server, and how it went.

use super::ConnectionId;
use super::Era;
use super::asks::Asks;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::Declared;
use crate::tool::Digest;
use crate::tool::Level;
use crate::tool::Mirrored;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A call as it goes to the server.
#[derive(Clone)]
pub struct OutgoingCall {
    /// What is asked.
    pub asking: Asking,
    /// Of what, by the name that the server gave it, or by the URI.
    pub name: Arc<str>,
    /// The name of what was decided on, under which the server lists it.
    pub pinned: Arc<str>,
    /// The definition that the call was decided on. It goes to no other.
    pub definition: Digest,
    /// The arguments that a modern server over HTTP reads in headers too.
    pub mirrored: Arc<[Mirrored]>,
    /// The arguments: the text of a JSON object, sent as it is. (A line break
    /// between two tokens becomes a space, because a line is a message.)
    pub arguments: Option<Box<str>>,
    /// What else the client put into the parameters: each key with the text of
    /// its value.
    pub rest: Vec<(Box<str>, Box<str>)>,
    /// What the client says to what the server asked before, where this call goes
    /// on from there. Modern servers only.
    pub answers: Option<Answers>,
    /// That the call shall become a task: the text of an object. Legacy servers
    /// that have tasks only.
    pub task: Option<Box<str>>,
    /// Whose call it is, and of which session: what a server asks beside calls must be
    /// of one of both.
    pub caller: PrincipalId,
    /// See [`caller`](Self::caller).
    pub session: SessionId,
    /// The call that became the task that this is about.
    pub task_of: Option<CallId>,
    /// What the client can be asked.
    pub declared: Arc<Declared>,
    /// From which level on the client hears what the server logs.
    pub log: Option<Level>,
    /// The client's `_meta`, the text of a JSON object. What is between the
    /// client and us is taken out of it.
    pub meta: Option<Box<str>>,
    /// How long the call may take, where it differs from the server's.
    pub deadline: Option<Duration>,
}

/// What a client says to the `input_required` of a server (MCP 2026-07-28,
/// basic/patterns/mrtr).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// `inputResponses`: the text of an object.
    pub responses: Option<Box<str>>,
    /// The server's own `requestState`, as it was.
    pub state: Option<Box<str>>,
}

/// What connects a call with its client while it runs.
pub struct CallLine {
    /// Takes the `params` of each `notifications/progress` of the call, with
    /// our token in it. Without it no progress is asked for.
    pub progress: Option<mpsc::Sender<Box<str>>>,
    /// Takes what the server asks of the client while it works. Without it a
    /// server that asks is refused.
    pub asks: Option<Arc<Asks>>,
    /// Takes the `params` of what the server logs during the call.
    pub logs: Option<mpsc::Sender<Box<str>>>,
    /// The client took the call back.
    pub cancelled: CancellationToken,
    /// Nobody waits for the answer any more. A call that was not sent yet is not
    /// sent then; one that was sent is not taken back by it.
    pub gone: CancellationToken,
}

impl CallLine {
    /// How many reports of progress, and how many lines of a log, wait for a client.
    /// More than that are worth less than the memory they would wait in.
    pub const ROOM: usize = 256;

    /// Of a call of which nobody hears more than how it ends.
    pub fn silent() -> Self {
        Self {
            progress: None,
            asks: None,
            logs: None,
            cancelled: CancellationToken::new(),
            gone: CancellationToken::new(),
        }
    }
}

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The server's result.
    Result {
        /// The text of the result, as it came.
        json: Box<str>,
        /// What the text is written in.
        era: Era,
        /// It says that the tool failed: `isError` (MCP 2026-07-28, server/tools,
        /// error handling).
        failed: bool,
    },
    /// The server made a task of the call, which goes on by itself.
    Task {
        /// The text of the result, as it came.
        json: Box<str>,
        /// What the server calls the task.
        id: Box<str>,
        /// On which connection it was begun.
        at: Option<ConnectionId>,
    },
    /// The server asks something before it does the work (MCP 2026-07-28,
    /// `InputRequiredResult`): nothing that the client cannot be asked.
    InputRequired {
        /// The text of the result, as it came.
        json: Box<str>,
    },
    /// The server's JSON-RPC error.
    Error {
        /// The text of the error object, as it came.
        json: Box<str>,
    },
    /// Provably not one byte of the call reached the server.
    NotSent {
        /// What was in the way.
        why: String,
    },
    /// Not sent: the server is there, and not free for this call.
    Busy {
        /// With what, as a part of a sentence.
        why: &'static str,
    },
    /// Not sent: it brings answers, and the server asks in the middle of a call.
    NotAsked,
    /// Not sent: the server no longer lists the tool as it was decided on.
    Changed,
    /// Sent, at least in part, and there will be no answer.
    Lost {
        /// What happened.
        why: String,
    },
    /// Sent, and no answer within the deadline. The server was told.
    TimedOut,
    /// Sent, then taken back by the client. The server was told.
    Cancelled,
    /// Answered with what this client cannot be given, in its revision or by what
    /// it declared.
    Unbridged {
        /// What it is.
        what: Unbridged,
        /// What was wrong with it.
        why: String,
    },
    /// Answered, but not with anything that may be passed on.
    Invalid {
        /// What was wrong with the answer.
        why: String,
    },
}

/// What of a server's revision has no form for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbridged {
    /// A type of result of 2026-07-28 that the client did not ask for.
    Result,
    /// A question of 2026-07-28 that it did not say it can be asked.
    Question,
    /// An answer to what a server of before asked in a call that is over.
    Answer,
}

impl Sent {
    /// The call in which the server asked is not open any more: it may have done
    /// anything.
    pub fn not_open() -> Self {
        Self::Unbridged {
            what: Unbridged::Answer,
            why: "the call in which the server asked is not open any more".to_owned(),
        }
    }

    /// What the broker itself has is not followed.
    pub fn not_followed() -> Self {
        Self::not_sent("what the broker itself has cannot be followed")
    }

    pub(super) fn not_sent(why: &str) -> Self {
        Self::NotSent {
            why: why.to_owned(),
        }
    }
}
