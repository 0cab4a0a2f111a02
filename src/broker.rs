//! The steps of a call (stand-in until the room is built).

use crate::policy::Denial;
use crate::policy::Escalation;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::tool::CallId;
use crate::tool::ServerName;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// One call as the client made it.
#[derive(Debug)]
pub struct ToolCall {
    /// Who asks.
    pub principal: PrincipalId,
    /// In which session.
    pub session: SessionId,
    /// The exposed name.
    pub name: Box<str>,
    /// The exact text of a JSON object.
    pub arguments: Option<Box<str>>,
    /// `params._meta`, exactly.
    pub meta: Option<Box<str>>,
}

/// What runs beside a call.
#[derive(Debug)]
pub struct CallLine {
    /// Takes the params of each `notifications/progress`.
    pub progress: Option<mpsc::UnboundedSender<Box<str>>>,
    /// Cancelled when the client takes the call back.
    pub cancelled: CancellationToken,
}

/// How a server speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Era {
    /// By a revision that opens with `initialize`.
    Legacy(String),
    /// By a revision without.
    Modern(String),
}

/// How a call ended.
#[derive(Debug)]
pub enum Answer {
    /// The server's result object.
    Result {
        /// As the server wrote it.
        json: Box<str>,
        /// How that server speaks.
        era: Era,
    },
    /// The server's JSON-RPC error object.
    ServerError {
        /// As the server wrote it.
        json: Box<str>,
    },
    /// Ours.
    Refused(Refusal),
    /// The client took it back.
    Cancelled,
}

/// Why there is no answer of a server.
#[derive(Debug)]
pub enum Refusal {
    /// No such tool for this caller.
    UnknownTool {
        /// The name that was asked for.
        name: Box<str>,
    },
    /// The arguments do not fit the tool's schema.
    InvalidArguments {
        /// Which call.
        call: CallId,
        /// What is wrong.
        problem: String,
    },
    /// Policy said no.
    Denied {
        /// Which call.
        call: CallId,
        /// Why.
        denial: Denial,
    },
    /// Policy said no, and a role may lift it.
    Escalated {
        /// Which call.
        call: CallId,
        /// Why.
        denial: Denial,
        /// Who can lift it.
        escalation: Escalation,
    },
    /// An identical earlier call ended unknown. Nothing was sent now.
    EarlierUnknown {
        /// Which call.
        call: CallId,
        /// The earlier one.
        earlier: CallId,
        /// Its tool.
        tool: String,
    },
    /// The session is no more.
    SessionGone {
        /// Which.
        session: SessionId,
    },
    /// Provably not sent.
    ServerUnavailable {
        /// Which call.
        call: CallId,
        /// Which server.
        server: ServerName,
        /// Why.
        why: String,
    },
    /// Sent, nobody saw the end.
    OutcomeUnknown {
        /// Which call.
        call: CallId,
        /// Which server.
        server: ServerName,
        /// Why.
        why: String,
    },
    /// Sent, no answer in time.
    TimedOut {
        /// Which call.
        call: CallId,
        /// Which server.
        server: ServerName,
        /// How long we waited.
        after: Duration,
    },
    /// The server's answer is none.
    InvalidAnswer {
        /// Which call.
        call: CallId,
        /// Which server.
        server: ServerName,
        /// Why.
        why: String,
    },
    /// The store failed: nothing was sent.
    NotRecorded,
}

/// How a request names its session.
#[derive(Clone, Debug)]
pub enum Carrier {
    /// By handle or session id.
    Named(String),
    /// A new one.
    New,
    /// The principal's default.
    Default,
}

/// Why there is no session.
#[derive(Debug)]
pub enum SessionRefusal {
    /// The text names no session.
    NotAHandle {
        /// The text.
        text: String,
    },
    /// None such, or not yours.
    Unknown {
        /// The text.
        text: String,
    },
    /// Policy does not let the caller open it.
    MayNotOpen {
        /// The handle.
        handle: String,
        /// Why.
        denial: Denial,
    },
    /// The store failed.
    NotRecorded,
}

#[cfg(not(test))]
pub use absent::Broker;
#[cfg(test)]
pub use scripted::Broker;

#[cfg(not(test))]
mod absent {
    use super::Answer;
    use super::CallLine;
    use super::Carrier;
    use super::Refusal;
    use super::SessionRefusal;
    use super::ToolCall;
    use crate::principal::PrincipalId;
    use crate::session::SessionId;
    use std::sync::Arc;
    use tokio::sync::watch;

    /// The broker.
    #[derive(Debug)]
    pub struct Broker;

    impl Broker {
        /// Calls a tool.
        pub async fn call_tool(&self, _call: ToolCall, _line: CallLine) -> Answer {
            Answer::Refused(Refusal::NotRecorded)
        }

        /// What the principal may see.
        pub async fn tools(&self, _principal: &PrincipalId) -> Vec<Arc<str>> {
            Vec::new()
        }

        /// Moves when a list may have changed.
        pub fn changes(&self) -> watch::Receiver<u64> {
            watch::channel(0).1
        }

        /// The session of a request.
        pub async fn session(
            &self,
            _principal: &PrincipalId,
            _carrier: &Carrier,
        ) -> Result<SessionId, SessionRefusal> {
            Err(SessionRefusal::NotRecorded)
        }
    }
}

#[cfg(test)]
mod scripted;
