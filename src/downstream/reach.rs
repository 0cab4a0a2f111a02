//! The way to a server that is there: a pipe, or HTTP.

use super::CallLine;
use super::Era;
use super::OutgoingCall;
use super::Sent;
use super::link::Ended;
use super::link::Link;
use super::message::Answer;
use super::remote::HttpLink;
use super::subscriptions::Updates;
use super::wire::Control;
use crate::permit::Permit;
use std::sync::Arc;
use tokio::time::Instant;

/// One of the two.
#[derive(Clone)]
pub(super) enum Reach {
    /// Both ends write to a pair of streams.
    Pipe(Arc<Link>),
    /// Each message is a request of its own.
    Http(Arc<HttpLink>),
}

impl Reach {
    /// Sends one call and waits for how it ends. The permit is used up by it.
    pub(super) async fn call(
        &self,
        permit: Permit,
        call: &OutgoingCall,
        line: CallLine,
        deadline: Instant,
    ) -> Sent {
        let mut sent = match self {
            Self::Pipe(link) => link.call(permit, call, line, deadline).await,
            Self::Http(link) => Box::pin(link.call(permit, call, line, deadline)).await,
        };
        if let Sent::Task { at, .. } = &mut sent {
            *at = Some(match self {
                Self::Pipe(link) => link.connection(),
                Self::Http(link) => link.connection(),
            });
        }
        sent
    }

    /// Sends a request that needs no permit, and waits for its answer.
    pub(super) async fn request(&self, control: Control<'_>) -> Result<Answer, Ended> {
        match self {
            Self::Pipe(link) => link.request(control).await,
            Self::Http(link) => Box::pin(link.request(control)).await,
        }
    }

    /// Sends what wants no answer.
    pub(super) async fn notify(&self, control: Control<'_>) {
        match self {
            Self::Pipe(link) => link.notify(control),
            Self::Http(link) => Box::pin(link.notify(control)).await,
        }
    }

    /// Sets what the rest is written in.
    pub(super) fn settle(&self, era: Era) {
        match self {
            Self::Pipe(link) => link.settle(era),
            Self::Http(link) => link.settle(era),
        }
    }

    /// Where what the server says of followed resources goes.
    pub(super) fn tell(&self, updates: Arc<Updates>) {
        match self {
            Self::Pipe(link) => link.tell(updates),
            Self::Http(link) => link.tell(updates),
        }
    }

    /// Waits for the server to say that its tools changed.
    pub(super) async fn tools_changed(&self) {
        match self {
            Self::Pipe(link) => link.tools_changed().await,
            Self::Http(link) => link.tools_changed().await,
        }
    }

    /// Makes [`tools_changed`](Self::tools_changed) return.
    pub(super) fn note_change(&self) {
        match self {
            Self::Pipe(link) => link.note_change(),
            Self::Http(link) => link.note_change(),
        }
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) {
        match self {
            Self::Pipe(link) => link.ended().await,
            Self::Http(link) => link.ended().await,
        }
    }

    /// True once nothing more can be sent or read.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Pipe(link) => link.has_ended(),
            Self::Http(link) => link.has_ended(),
        }
    }

    /// The id of the transport session that it has.
    pub(super) fn transport_session(&self) -> Option<String> {
        match self {
            Self::Pipe(_) => None,
            Self::Http(link) => link.transport_session(),
        }
    }

    /// Waits until that is another one.
    pub(super) async fn renewed(&self) {
        match self {
            Self::Pipe(_) => std::future::pending().await,
            Self::Http(link) => link.renewed().await,
        }
    }

    /// Whether the server said that it does not serve for now.
    pub(super) fn is_down(&self) -> bool {
        match self {
            Self::Pipe(_) => false,
            Self::Http(link) => link.is_down(),
        }
    }

    /// How often its transport session was lost and opened anew.
    pub(super) fn reopened(&self) -> u64 {
        match self {
            Self::Pipe(_) => 0,
            Self::Http(link) => link.reopened(),
        }
    }

    /// Whether the server can be reached now. Over HTTP there is a connection then.
    pub(super) async fn is_reached(&self) -> bool {
        match self {
            Self::Pipe(link) => !link.has_ended(),
            Self::Http(link) => link.is_reached().await,
        }
    }

    /// Why it ended.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Pipe(link) => link.why(),
            Self::Http(link) => link.why(),
        }
    }

    /// Closes the server's input once everything waiting was written.
    pub(super) fn close_input(&self) {
        match self {
            Self::Pipe(link) => link.close_input(),
            Self::Http(_each_message_is_by_itself) => {}
        }
    }

    /// Ends it, if it has not ended yet.
    pub(super) fn end(&self, why: String) {
        match self {
            Self::Pipe(link) => link.end(why),
            Self::Http(link) => link.end(why),
        }
    }
}
