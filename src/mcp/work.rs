//! What takes its time: calls, lists, and the streams that tell of changes.
//! Each is one future, which says what goes back into a bounded queue.

use super::Client;
use super::answer::Reader;
use super::answer::Reply;
use super::answer::answer;
use super::answer::session_refused;
use super::connection::Connection;
use super::list;
use super::list::Followed;
use super::list::Follower;
use super::list::List;
use super::parse::Ask;
use super::parse::Meta;
use super::parse::RawId;
use super::parse::Wanted;
use super::write::Outbound;
use super::write::error;
use super::write::notification;
use super::write::result;
use super::write::server_info;
use crate::broker::CallLine;
use crate::broker::Lists;
use crate::broker::ToolCall;
use crate::json::Object;
use crate::json::Splice;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Takes messages to the client, in their order. Where it is full, answers
/// wait and progress is dropped; where nobody reads it any more, everything is
/// dropped and calls go on to their end.
pub type Outgoing = mpsc::Sender<Outbound>;

/// Something that a message started. It must be run.
#[derive(Debug)]
#[must_use = "a request that is not run stays in flight"]
pub struct Work {
    connection: Arc<Connection>,
    what: What,
}

#[derive(Debug)]
enum What {
    Request(Pending),
    Follow,
}

#[derive(Debug)]
struct Pending {
    id: RawId,
    meta: Meta,
    task: Task,
    cancelled: CancellationToken,
}

/// What a request wants done.
#[derive(Debug)]
pub(super) enum Task {
    /// `initialize` with the revision that the client would like, or
    /// `server/discover`: what there is, once the servers were seen.
    Open {
        /// Of `initialize`.
        requested: Option<String>,
    },
    /// A list.
    List(Lists),
    /// Something that a server is asked.
    Ask(Ask),
    /// A stream that tells of changes.
    Listen(Wanted),
}

impl Work {
    /// A request that was registered as in flight.
    pub(super) fn request(
        connection: Arc<Connection>,
        id: RawId,
        meta: Meta,
        task: Task,
        cancelled: CancellationToken,
    ) -> Self {
        let what = What::Request(Pending {
            id,
            meta,
            task,
            cancelled,
        });
        Self { connection, what }
    }

    /// Telling a legacy client of changes to its list.
    pub(super) fn follow(connection: Arc<Connection>) -> Self {
        let what = What::Follow;
        Self { connection, what }
    }

    /// Does it. Ends when everything that goes back is in the queue.
    pub async fn run(self, out: Outgoing) {
        let connection = &*self.connection;
        match self.what {
            What::Follow => connection.follow(&out).await,
            What::Request(Pending {
                id,
                meta,
                task,
                cancelled,
            }) => {
                match task {
                    Task::Open { requested } => {
                        connection.broker.first_sight().await;
                        let has = connection.broker.has();
                        let opened = match requested {
                            Some(requested) => list::initialized(&requested, has),
                            None => list::discovered(has),
                        };
                        send(&out, result(&id, &opened)).await;
                    }
                    Task::List(of) => connection.list(&id, (of, meta.client()), &out).await,
                    Task::Ask(ask) => {
                        let call = Call {
                            id: &id,
                            meta,
                            cancelled,
                        };
                        connection.call(call, ask, &out).await;
                    }
                    Task::Listen(wanted) => {
                        connection.listen(&id, wanted, &cancelled, &out).await;
                    }
                }
                connection.done(&id);
            }
        }
    }
}

struct Call<'a> {
    id: &'a RawId,
    meta: Meta,
    cancelled: CancellationToken,
}

impl Connection {
    async fn list(&self, id: &RawId, (of, client): (Lists, Client), out: &Outgoing) {
        let list = List::of(&self.broker, &self.principal, of).await;
        send(out, result(id, &list.result(client))).await;
        match (client, of) {
            (Client::Legacy, Lists::Tools) => {
                self.listed.send_replace(Some(list.digest()));
            }
            (Client::Legacy | Client::Modern, _) => {}
        }
    }

    async fn call(&self, call: Call<'_>, ask: Ask, out: &Outgoing) {
        let reader = Reader {
            client: call.meta.client(),
            asking: ask.asking,
        };
        let reply = match self.session(&call.meta).await {
            Err(refusal) => Some(session_refused(&refusal, reader)),
            // Taken back before anything was done about it.
            Ok(_) if call.cancelled.is_cancelled() => None,
            Ok(session) => {
                let asked = ToolCall {
                    principal: self.principal.clone(),
                    session,
                    asking: ask.asking,
                    name: ask.name,
                    arguments: ask.arguments,
                    rest: ask.rest,
                    meta: call.meta.text.clone(),
                };
                Box::pin(self.ask(asked, (&call, reader), out)).await
            }
        };
        // A call that was taken back is not answered (MCP 2026-07-28,
        // patterns/cancellation), also where its answer came in the meantime.
        if call.cancelled.is_cancelled() {
            return;
        }
        match reply {
            Some(Reply::Result(object)) => send(out, result(call.id, &object)).await,
            Some(Reply::Error(object)) => send(out, error(call.id, &object)).await,
            None => {}
        }
    }

    /// Has the broker make the call, and passes on what it reports meanwhile.
    async fn ask(
        &self,
        asked: ToolCall,
        (call, reader): (&Call<'_>, Reader),
        out: &Outgoing,
    ) -> Option<Reply> {
        let line = |progress| CallLine {
            progress,
            cancelled: call.cancelled.clone(),
            gone: self.gone.clone(),
        };
        if call.meta.progress.is_none() {
            return answer(self.broker.call_tool(asked, line(None)).await, reader);
        }
        let (reports, mut reported) = mpsc::unbounded_channel();
        let pass_on = |params: &str| {
            if let Some(token) = &call.meta.progress
                && !call.cancelled.is_cancelled()
                && let Some(message) = progress(params, token)
            {
                // Progress that a slow client has no room for is worth less
                // than the memory it would wait in.
                let _full = out.try_send(message);
            }
        };
        let mut calling = std::pin::pin!(self.broker.call_tool(asked, line(Some(reports))));
        let ended = loop {
            tokio::select! {
                biased;
                Some(params) = reported.recv() => pass_on(&params),
                ended = &mut calling => break ended,
            }
        };
        while let Ok(params) = reported.try_recv() {
            pass_on(&params);
        }
        answer(ended, reader)
    }

    async fn listen(
        &self,
        id: &RawId,
        wanted: Wanted,
        cancelled: &CancellationToken,
        out: &Outgoing,
    ) {
        let tag = format!(r#"{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
        let has = self.broker.has();
        let honoured = [
            (wanted.tools, Followed::Tools, "toolsListChanged"),
            (
                wanted.prompts && has.prompts,
                Followed::Prompts,
                "promptsListChanged",
            ),
            (
                wanted.resources && has.resources,
                Followed::Resources,
                "resourcesListChanged",
            ),
        ];
        let honoured = honoured.into_iter().filter(|(honoured, ..)| *honoured);
        let (followed, named): (Vec<_>, Vec<_>) = honoured
            .map(|(_, list, name)| (list, format!("\"{name}\":true")))
            .unzip();
        let mut follower = Follower::start(&self.broker, &self.principal, followed).await;
        let named = named.join(",");
        let params = format!(r#"{{"_meta":{tag},"notifications":{{{named}}}}}"#);
        send(
            out,
            notification("notifications/subscriptions/acknowledged", Some(&params)),
        )
        .await;
        loop {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => return,
                () = self.closing.cancelled() => break,
                () = follower.moved() => {}
            }
            for list in follower.differing(&self.broker, &self.principal).await {
                send(out, list.changed(Some(&tag))).await;
            }
        }
        // The specification asks for the first in one place and for the second
        // in another (patterns/subscriptions, patterns/cancellation); a client
        // that knows one of them passes over the other.
        let meta = json!({"io.modelcontextprotocol/serverInfo": server_info()}).to_string();
        let meta = Splice::new(&meta)
            .add_member(&meta, "io.modelcontextprotocol/subscriptionId", id.as_str())
            .finish();
        let ended = format!(r#"{{"resultType":"complete","_meta":{meta}}}"#);
        send(out, result(id, &ended)).await;
        let params = format!(r#"{{"_meta":{tag},"requestId":{id}}}"#);
        send(out, notification("notifications/cancelled", Some(&params))).await;
    }

    async fn follow(&self, out: &Outgoing) {
        let mut listed = self.listed.subscribe();
        let all = [Followed::Tools, Followed::Prompts, Followed::Resources];
        let mut follower = Follower::start(&self.broker, &self.principal, all).await;
        // A list that was sent before now is older than what was just read.
        listed.mark_changed();
        loop {
            let resent = tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                Ok(()) = listed.changed() => true,
                () = follower.moved() => listed.has_changed().unwrap_or(false),
            };
            if resent && let Some(sent) = *listed.borrow_and_update() {
                follower.sent(sent);
            }
            for list in follower.differing(&self.broker, &self.principal).await {
                send(out, list.changed(None)).await;
            }
        }
    }
}

async fn send(out: &Outgoing, message: Outbound) {
    // Nobody reads any more: whoever owns the queue has noticed.
    let _gone = out.send(message).await;
}

/// `notifications/progress` under the client's own token.
fn progress(params: &str, token: &RawId) -> Option<Outbound> {
    let members = Object::parse(params).ok()?;
    let splice = Splice::new(params);
    let params = match members.get("progressToken") {
        Some(ours) => splice.replace(ours, token.as_str()),
        None => splice.add_member(params, "progressToken", token.as_str()),
    }
    .finish();
    Some(notification("notifications/progress", Some(&params)))
}
