//! What takes its time: calls, lists, and the streams that tell of changes.
//! Each is one future, which says what goes back into a bounded queue.

use super::Client;
use super::answer::Reader;
use super::answer::Reply;
use super::answer::session_refused;
use super::connection::Connection;
use super::list;
use super::list::List;
use super::parse::Ask;
use super::parse::Meta;
use super::parse::RawId;
use super::parse::Wanted;
use super::tasks;
use super::write::Outbound;
use super::write::error;
use super::write::missing_capability;
use super::write::notification;
use super::write::result;
use crate::broker::Answer;
use crate::broker::Asks;
use crate::broker::CallLine;
use crate::broker::Lists;
use crate::broker::Receipt;
use crate::broker::ToolCall;
use crate::json;
use crate::json::Object;
use crate::json::Splice;
use crate::session::Rule;
use crate::tool::Asking;
use crate::tool::Level;
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
    Request(Box<Pending>),
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
    /// Hearing of what servers log from this level on.
    SetLevel(Level),
    /// A list.
    List(Lists),
    /// Something that a server is asked.
    Ask(Ask),
    /// The tasks of the caller, after this one.
    Tasks(Option<Box<str>>),
    /// Being told of changes of a resource.
    Subscribe(Ask),
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
        let what = What::Request(Box::new(Pending {
            id,
            meta,
            task,
            cancelled,
        }));
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
            What::Request(pending) => {
                let Pending {
                    id,
                    meta,
                    task,
                    cancelled,
                } = *pending;
                match task {
                    Task::Open { requested } => {
                        connection.broker.first_sight().await;
                        let client = match requested {
                            Some(_) => Client::Legacy,
                            None => Client::Modern,
                        };
                        let digest = connection.digest(&meta, client).await;
                        let (has, digest) = (connection.broker.has(), digest.as_deref());
                        let opened = match requested {
                            Some(requested) => list::initialized(&requested, has, digest),
                            None => list::discovered(has, digest),
                        };
                        send(&out, result(&id, &opened)).await;
                    }
                    Task::SetLevel(level) => {
                        connection.broker.log_from(level).await;
                        send(&out, result(&id, "{}")).await;
                    }
                    Task::List(of) => connection.list(&id, (of, &meta), &out).await,
                    Task::Ask(ask) => {
                        let call = Call {
                            id: &id,
                            meta,
                            cancelled,
                        };
                        connection.call(call, ask, &out).await;
                    }
                    Task::Tasks(after) => {
                        let call = Call {
                            id: &id,
                            meta,
                            cancelled,
                        };
                        Box::pin(connection.tasks(call, after, &out)).await;
                    }
                    Task::Subscribe(ask) => {
                        let call = Call {
                            id: &id,
                            meta,
                            cancelled,
                        };
                        connection.subscribe(call, ask, &out).await;
                    }
                    Task::Listen(wanted) => {
                        let call = Call {
                            id: &id,
                            meta,
                            cancelled,
                        };
                        Box::pin(connection.listen(call, wanted, &out)).await;
                    }
                }
                connection.done(&id);
            }
        }
    }
}

/// What a call needs of its request.
pub(super) struct Call<'a> {
    pub(super) id: &'a RawId,
    pub(super) meta: Meta,
    pub(super) cancelled: CancellationToken,
}

impl Connection {
    async fn list(&self, id: &RawId, (of, meta): (Lists, &Meta), out: &Outgoing) {
        let (client, declared) = (meta.client(), self.declared(meta));
        self.broker.freshened(&declared, of).await;
        let list = List::of(&self.broker, (&self.principal, &declared), of).await;
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
        let task = matches!(ask.asking, Asking::Task(_)).then(|| ask.name.clone());
        let (receipt, awaited) = Receipt::new();
        let reply = match self.session(&call.meta).await {
            Err(refusal) => Some(session_refused(&refusal, reader)),
            // Taken back before anything was done about it.
            Ok(_) if call.cancelled.is_cancelled() => None,
            Ok((session, found)) => {
                let wish = self.wish(&call.meta, &ask);
                let takes_task = self.takes_task(&call.meta, &ask);
                let mut asked = ToolCall {
                    principal: self.principal.clone(),
                    session,
                    found,
                    asking: ask.asking,
                    name: ask.name,
                    arguments: ask.arguments,
                    rest: ask.rest,
                    continued: None,
                    task: ask.task.or(wish),
                    declared: self.declared(&call.meta),
                    log: self.level(&call.meta),
                    key: call.meta.key.as_deref().cloned(),
                    awaited: Some(awaited),
                    meta: call.meta.text.clone(),
                    origin: self.origin(takes_task),
                };
                let continued = ask.answers.map(|answers| self.continued(&asked, answers));
                match continued.transpose() {
                    Ok(continued) => {
                        asked.continued = continued;
                        asked.origin.finds_anew =
                            asked.continued.is_none() && asked.found.chosen.by == Rule::Default;
                        Box::pin(self.ask(asked, (&call, reader), out)).await
                    }
                    Err(fault) => {
                        send(out, fault.refuse(Some(call.id))).await;
                        return;
                    }
                }
            }
        };
        // A call that was taken back is not answered (MCP 2026-07-28,
        // patterns/cancellation), also where its answer came in the meantime.
        if call.cancelled.is_cancelled() {
            return;
        }
        match reply {
            Some(Reply::Result(object)) => {
                let object = match (task, reader.client) {
                    (Some(id), Client::Modern) => {
                        let state = tasks::renamed(&object, &id);
                        Box::pin(self.whole(&call, &id, state)).await
                    }
                    (Some(id), Client::Legacy) => tasks::renamed(&object, &id),
                    (None, _) => object,
                };
                send(out, result(call.id, &object).with(receipt)).await;
            }
            Some(Reply::Error(object)) => {
                send(out, error(call.id, &object).with(receipt)).await;
            }
            Some(Reply::MissingCapability(object)) => {
                send(out, missing_capability(call.id, &object).with(receipt)).await;
            }
            None => {}
        }
    }

    /// Has the broker make the call, and passes on what it reports meanwhile.
    pub(super) async fn one_round(
        &self,
        asked: ToolCall,
        (call, client): (&Call<'_>, Client),
        out: &Outgoing,
    ) -> Answer {
        let (level, session) = (asked.log, asked.session);
        let asks_nothing = asked.declared.asks_nothing();
        let line = |progress, logs, asks| CallLine {
            progress,
            logs,
            asks,
            cancelled: call.cancelled.clone(),
            gone: self.gone.clone(),
        };
        let asks = client == Client::Legacy && !asks_nothing;
        if call.meta.progress.is_none() && level.is_none() && !asks {
            let line = line(None, None, None);
            let ended = self.broker.call_tool(asked, line).await;
            return self.hears_of_task(ended, client);
        }
        let (reports, mut reported) = mpsc::channel(CallLine::ROOM);
        let (questions, mut asked_back) = mpsc::unbounded_channel();
        let (logs, mut logged) = mpsc::channel(CallLine::ROOM);
        let mut inquiries = Vec::new();
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
        let pass_log = |params: &str| {
            if let Some(level) = level
                && !call.cancelled.is_cancelled()
                && is_from(params, level)
            {
                let message = notification("notifications/message", Some(params));
                let _full = out.try_send(message);
            }
        };
        let line = line(
            call.meta.progress.is_some().then_some(reports),
            level.is_some().then_some(logs),
            // A modern client is asked by the result of its request.
            asks.then(|| {
                let hears = self.broker.hears_of_pages(self.listener());
                let asks = Asks::new(questions, Arc::clone(&asked.declared));
                Arc::new(asks.told((hears, session)))
            }),
        );
        let mut calling = std::pin::pin!(self.broker.call_tool(asked, line));
        let ended = loop {
            tokio::select! {
                biased;
                Some(params) = reported.recv() => pass_on(&params),
                Some(params) = logged.recv() => pass_log(&params),
                Some(ask) = asked_back.recv() => {
                    inquiries.extend(self.inquire(ask, out));
                }
                ended = &mut calling => break ended,
            }
        };
        while let Ok(params) = reported.try_recv() {
            pass_on(&params);
        }
        while let Ok(params) = logged.try_recv() {
            pass_log(&params);
        }
        for id in inquiries {
            self.forget(&id, out);
        }
        self.hears_of_task(ended, client)
    }

    /// Has an older client told of the state of a task that it began.
    fn hears_of_task(&self, ended: Answer, client: Client) -> Answer {
        if let (Answer::Task { id, .. }, Client::Legacy) = (&ended, client) {
            self.broker.hears_of_task(id, self.listener());
        }
        ended
    }
}

pub(super) async fn send(out: &Outgoing, message: Outbound) {
    // Nobody reads any more: whoever owns the queue has noticed.
    let _gone = out.send(message).await;
}

/// Whether what a server logs is of this level, or more severe.
fn is_from(params: &str, level: Level) -> bool {
    let said = Object::parse(params).ok();
    let said = said.and_then(|params| json::text(params.get("level")?)?.parse::<Level>().ok());
    said.is_some_and(|said| said >= level)
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
