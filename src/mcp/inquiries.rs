//! What a client is asked over its connection, by servers and by the broker, and what it
//! answers.

use super::parse::Response;
use super::work::Outgoing;
use super::write::Outbound;
use super::write::notification;
use super::write::request;
use crate::broker::ClientReply;
use crate::broker::ServerAsk;
use crate::tool::CallId;
use serde_json::json as value;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What a client was asked and did not answer yet.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    open: Mutex<HashMap<Box<str>, oneshot::Sender<ClientReply>>>,
}

/// Why a client was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAsked {
    /// It took the call back that the question is about.
    Cancelled,
    /// It has no room for a question.
    NoRoom,
}

impl Inquiries {
    /// Asks the client what a server wants to know. Returns the id of the
    /// question; none where the client has no room for it.
    pub(super) fn ask(&self, ask: ServerAsk, out: &Outgoing) -> Option<Box<str>> {
        let (id, message) = self.begin(ask);
        match out.try_send(message) {
            Ok(()) => Some(id),
            Err(_full_or_gone) => {
                self.open().remove(&id);
                None
            }
        }
    }

    /// The same, of a question for which room is waited for this long, while the call
    /// that it is about is not taken back.
    ///
    /// # Errors
    ///
    /// Why it was not asked. Then nobody waits for an answer.
    pub(super) async fn ask_within(
        &self,
        ask: ServerAsk,
        (out, patience): (&Outgoing, Duration),
        cancelled: &CancellationToken,
    ) -> Result<Box<str>, NotAsked> {
        let (id, message) = self.begin(ask);
        let sent = tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(NotAsked::Cancelled),
            sent = timeout(patience, out.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(NotAsked::NoRoom),
            },
        };
        match sent {
            Ok(()) => Ok(id),
            Err(why) => {
                self.open().remove(&id);
                Err(why)
            }
        }
    }

    fn begin(&self, ask: ServerAsk) -> (Box<str>, Outbound) {
        let id: Box<str> = CallId::next().to_string().into();
        let message = request(&id, ask.inquiry.method(), ask.params.as_deref());
        // First the entry, then the message: an answer could be quicker.
        self.open().insert(id.clone(), ask.reply);
        (id, message)
    }

    /// Nobody waits for the answer to this question any more. Where there was none, the
    /// client is told that it need not ask any longer (MCP 2025-11-25, basic/lifecycle,
    /// timeouts).
    pub(super) fn forget(&self, id: &str, out: &Outgoing) {
        if self.open().remove(id).is_some() {
            let params =
                value!({"requestId": id, "reason": "nobody waits for the answer any more"});
            let message = notification("notifications/cancelled", Some(&params.to_string()));
            let _full_or_gone = out.try_send(message);
        }
    }

    /// The client answered a question.
    pub(super) fn answered(&self, response: Response) {
        let (Some(id), Some(reply)) = (response.id, response.reply) else {
            return;
        };
        let waits = self.open().remove(&id);
        if let Some(waits) = waits {
            // An error says that the call ended meanwhile.
            let _unheard = waits.send(reply);
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Box<str>, oneshot::Sender<ClientReply>>> {
        // Only single operations happen under the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::Inquiry;
    use tokio::sync::mpsc;

    fn question() -> (ServerAsk, oneshot::Receiver<ClientReply>) {
        let (reply, said) = oneshot::channel();
        let ask = ServerAsk {
            inquiry: Inquiry::Elicit,
            params: None,
            reply,
        };
        (ask, said)
    }

    /// A client that reads nothing would else hold its call, and what it may not have
    /// beside it, for as long as a question may wait.
    #[tokio::test]
    async fn who_takes_the_call_back_is_waited_for_no_longer_where_there_is_no_room_to_ask() {
        let inquiries = Inquiries::default();
        let (out, mut read) = mpsc::channel(1);
        let cancelled = CancellationToken::new();
        let patience = Duration::from_secs(600);
        let (first, _) = question();
        let asked = inquiries.ask_within(first, (&out, patience), &cancelled);
        assert!(asked.await.is_ok());
        let (second, said) = question();
        let waits = inquiries.ask_within(second, (&out, patience), &cancelled);
        let taken_back = async { cancelled.cancel() };
        let (asked, ()) = tokio::join!(waits, taken_back);
        assert_eq!(asked, Err(NotAsked::Cancelled));
        // It was not asked, so there is nothing to be taken back from the client.
        assert!(said.await.is_err());
        assert_eq!(inquiries.open().len(), 1);
        assert!(read.recv().await.is_some());
        assert!(read.try_recv().is_err());
    }
}
