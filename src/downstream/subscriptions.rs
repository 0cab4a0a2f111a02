//! Resources and tasks of a server that somebody follows.
//!
//! A legacy server is asked once, and tells of the resource until it is told
//! otherwise or its connection ends. A modern one is asked by a request that stays
//! open. Either way one request is about one resource, or one task, and sending it
//! takes a permit. Of a task a legacy server speaks unasked; it is asked how the task
//! stands.

use super::CallLine;
use super::ConnectionId;
use super::Downstream;
use super::Era;
use super::OutgoingCall;
use super::Phase;
use super::Sent;
use super::instances;
use super::link;
use super::pages;
use super::pages::Asked;
use super::pages::COMPLETE;
use super::reach::Reach;
use super::wire::Control;
use crate::json;
use crate::json::Object;
use crate::permit::Permit;
use crate::tool::CallId;
use crate::tool::ServerName;
use serde_json::json as value;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const UPDATED: &str = "notifications/resources/updated";
/// What a legacy server says of a task (MCP 2025-11-25, tasks, status notifications).
const TASK_STATUS: &str = "notifications/tasks/status";
/// What a modern one says of a task that somebody follows (ext-tasks, task status
/// notifications).
const TASK: &str = "notifications/tasks";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// How long taking a subscription back may take.
const PARTING: Duration = Duration::from_secs(5);

/// What is said of followed resources.
#[derive(Debug)]
pub enum Update {
    /// A resource changed.
    Said {
        /// Which server says so.
        server: ServerName,
        /// To which subscription, where the server names it: its resource.
        followed: Option<Arc<str>>,
        /// The resource, or a part of it.
        uri: Box<str>,
        /// The `params` of the notification, an object, as the text they were.
        params: Arc<str>,
    },
    /// The state of a task changed, says a server of the older era, unasked.
    Status {
        /// Which server says so.
        server: ServerName,
        /// On which connection.
        at: ConnectionId,
        /// What it calls the task.
        native: Box<str>,
        /// The `params` of the notification, an object, as the text they were.
        params: Arc<str>,
    },
    /// A client was asked to have pages opened.
    Pages {
        /// Which server asks.
        server: ServerName,
        /// On which connection.
        at: ConnectionId,
        /// Which, and of whom.
        asked: Asked,
    },
    /// One of them was dealt with, says the server, unasked.
    Completed {
        /// Which server says so.
        server: ServerName,
        /// On which connection.
        at: ConnectionId,
        /// What it calls the page.
        page: Box<str>,
        /// The `params` of the notification, an object, as the text they were.
        params: Arc<str>,
    },
    /// A connection ended, and with it what was said on it unasked.
    Gone {
        /// To which server.
        server: ServerName,
        /// Which one.
        at: ConnectionId,
    },
    /// The state of a task changed that is followed.
    Task {
        /// Which server says so.
        server: ServerName,
        /// The call that the task was made of.
        began: CallId,
        /// The `params` of the notification, an object, as the text they were.
        params: Arc<str>,
    },
    /// Something may have been said that nobody heard.
    Missed {
        /// By which server.
        server: ServerName,
    },
}

/// Takes what one server says of followed resources.
#[derive(Debug)]
pub(super) struct Updates {
    server: ServerName,
    /// It may be asked to tell of resources.
    followed: bool,
    to: OnceLock<mpsc::UnboundedSender<Update>>,
}

impl Updates {
    /// Of this server.
    pub(super) fn of(server: ServerName, followed: bool) -> Self {
        Self {
            server,
            followed,
            to: OnceLock::new(),
        }
    }

    /// What is said of tasks here goes to where it goes there.
    pub(super) fn joins(&self, other: &Self) {
        if let Some(to) = other.to.get() {
            // The first one stays: there is one broker.
            let _first = self.to.set(to.clone());
        }
    }

    /// Whether a message is of those that a legacy server sends by itself to who began
    /// or was asked something.
    pub(super) fn hears(method: &str) -> bool {
        matches!(method, TASK_STATUS | COMPLETE)
    }

    /// Takes one of them.
    pub(super) fn hear(&self, at: ConnectionId, (method, params): (&str, &str)) {
        match method {
            COMPLETE => self.completed(at, params),
            _ => self.task(at, params),
        }
    }

    /// Takes what a client was asked to have opened.
    pub(super) fn pages(&self, at: ConnectionId, asked: Asked) {
        self.send(Update::Pages {
            server: self.server.clone(),
            at,
            asked,
        });
    }

    fn completed(&self, at: ConnectionId, params: &str) {
        let read = Object::parse(params).ok();
        let known = ["elicitationId", "_meta"];
        let read = read.filter(|read| read.refuse_lookalikes(known.into_iter()).is_ok());
        let Some(page) = read.and_then(|read| pages::id(&read)) else {
            tracing::warn!(server.name = %self.server, "dropped word of a page that cannot be read");
            return;
        };
        self.send(Update::Completed {
            server: self.server.clone(),
            at,
            page,
            params: params.into(),
        });
    }

    /// Takes what is said of a task.
    fn task(&self, at: ConnectionId, params: &str) {
        if let Some(native) = self.names_task(params) {
            self.send(Update::Status {
                server: self.server.clone(),
                at,
                native,
                params: params.into(),
            });
        }
    }

    /// Nothing more is said on this connection.
    pub(super) fn gone(&self, at: ConnectionId) {
        self.send(Update::Gone {
            server: self.server.clone(),
            at,
        });
    }

    /// Takes what is said of a task that is followed.
    fn followed_task(&self, (native, began): (&str, CallId), params: &str) {
        match self.names_task(params) {
            Some(named) if *named == *native => self.send(Update::Task {
                server: self.server.clone(),
                began,
                params: params.into(),
            }),
            Some(_) => {
                tracing::warn!(server.name = %self.server, "dropped word of a task that is not the one followed");
            }
            None => {}
        }
    }

    /// Which task something is said of.
    fn names_task(&self, params: &str) -> Option<Box<str>> {
        let read = Object::parse(params).ok();
        let known = ["taskId", "status", "_meta", "inputRequests"];
        let read = read.filter(|read| read.refuse_lookalikes(known.into_iter()).is_ok());
        let named = read.and_then(|read| read.get("taskId").and_then(json::text));
        if named.is_none() {
            tracing::warn!(server.name = %self.server, "dropped word of a task that cannot be read");
        }
        named.map(Into::into)
    }

    /// Takes a message that belongs to no request.
    pub(super) fn heard(&self, method: &str, params: &str) {
        if method == UPDATED && self.followed {
            self.said(None, params);
        }
    }

    /// What was said meanwhile is lost.
    pub(super) fn missed(&self) {
        if !self.followed {
            return;
        }
        self.send(Update::Missed {
            server: self.server.clone(),
        });
    }

    fn said(&self, followed: Option<&Arc<str>>, params: &str) {
        let read = Object::parse(params).ok();
        let read = read.filter(|read| {
            let known = ["uri", "_meta"];
            read.refuse_lookalikes(known.into_iter()).is_ok()
        });
        let Some(uri) = read.and_then(|read| read.get("uri").and_then(json::text)) else {
            tracing::warn!(server.name = %self.server, "dropped word of a resource that cannot be read");
            return;
        };
        self.send(Update::Said {
            server: self.server.clone(),
            followed: followed.cloned(),
            uri: uri.into(),
            params: params.into(),
        });
    }

    fn send(&self, update: Update) {
        if let Some(to) = self.to.get() {
            // An error says that nobody follows anything any more.
            let _unheard = to.send(update);
        }
    }
}

/// What hears the messages of one request that stays open.
#[derive(Debug)]
pub(super) struct Ear {
    /// The resource or the task, as the server calls it.
    of: Arc<str>,
    /// The call that became the task, where it is one.
    began: Option<CallId>,
    /// Whether the server does what it was asked, once it has said so.
    honoured: watch::Sender<Option<bool>>,
}

impl Ear {
    fn of(call: &OutgoingCall) -> Self {
        Self {
            of: Arc::clone(&call.name),
            began: call.task_of,
            honoured: watch::Sender::new(None),
        }
    }

    /// Whether a message is of those that belong to subscriptions.
    pub(super) fn hears(method: &str) -> bool {
        matches!(method, UPDATED | ACKNOWLEDGED | TASK)
    }

    /// Takes one of them.
    pub(super) fn hear(&self, (method, params): (&str, &str), updates: &Updates) {
        match (method, self.began) {
            (ACKNOWLEDGED, began) => {
                let of = match began {
                    Some(_) => "taskIds",
                    None => "resourceSubscriptions",
                };
                let honoured = named(params, of).is_some_and(|named| named.contains(&self.of));
                self.honoured.send_replace(Some(honoured));
            }
            (UPDATED, None) => updates.said(Some(&self.of), params),
            (TASK, Some(began)) => updates.followed_task((&self.of, began), params),
            (_, _) => {
                tracing::debug!(server.name = %updates.server, "dropped what was not asked for");
            }
        }
    }
}

/// The resources or tasks that an acknowledgement names.
fn named(params: &str, of: &str) -> Option<Vec<Arc<str>>> {
    let params = Object::parse(params).ok()?;
    let honoured = Object::parse(params.get("notifications")?).ok()?;
    serde_json::from_str(honoured.get(of)?).ok()
}

/// One subscription that a server keeps. Dropped, it is forgotten; a modern
/// server learns of that.
pub struct Standing(Kind);

enum Kind {
    /// Until the token is cancelled.
    Asked {
        link: Reach,
        uri: Arc<str>,
        lost: CancellationToken,
    },
    /// As long as this runs.
    Listening(Listening),
}

type Listening = Pin<Box<dyn Future<Output = Sent> + Send>>;

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Standing")
    }
}

impl Standing {
    /// One of which somebody speaks unasked, and that nobody ends.
    pub fn unasked() -> Self {
        Self(Kind::Listening(Box::pin(std::future::pending())))
    }

    /// Returns when the server keeps it no longer.
    pub async fn ended(&mut self) {
        match &mut self.0 {
            Kind::Asked { lost, .. } => lost.cancelled().await,
            Kind::Listening(listening) => {
                let _how = listening.await;
            }
        }
    }

    /// Takes it back.
    pub async fn end(self) {
        match self.0 {
            Kind::Asked { link, uri, lost } => {
                let told = link.request(Control::Unsubscribe { uri: &uri });
                let in_time = tokio::time::timeout(PARTING, told);
                let _told_or_gone = lost.run_until_cancelled(in_time).await;
            }
            Kind::Listening(listening) => drop(listening),
        }
    }
}

impl Downstream {
    /// Where what is said of followed resources goes from now on.
    pub fn updates_to(&self, to: mpsc::UnboundedSender<Update>) {
        // The first one stays: there is one broker.
        let _first = self.desk.updates.to.set(to);
    }

    /// Asks the server to tell of a resource or a task. It is sent at most once. With
    /// what it said comes the subscription, where it agreed to one.
    pub async fn subscribe(&self, permit: Permit, call: OutgoingCall) -> (Sent, Option<Standing>) {
        let allowed = call.deadline.unwrap_or(self.desk.settings.timeout);
        let deadline = Instant::now() + allowed;
        let ready = tokio::select! {
            ready = self.ready(&call.pinned, &call.declared) => ready,
            () = tokio::time::sleep_until(deadline) => {
                return (Sent::not_sent(link::EXPIRED_UNSENT), None);
            }
        };
        let ready = match ready {
            Ok(ready) if ready.listed == Some(call.definition) => ready,
            Ok(_listed_otherwise) => return (Sent::Changed, None),
            Err(why) => return (Sent::NotSent { why }, None),
        };
        let own = self.own_instance(&ready, (&call.caller, call.session));
        if own.is_some() {
            return (Sent::not_sent(instances::NOT_FOLLOWED), None);
        }
        if let Era::Modern(_) = ready.era {
            let ear = Arc::new(Ear::of(&call));
            let heard = Arc::clone(&ear);
            let listening: Listening = match ready.link {
                Reach::Pipe(link) => Box::pin(link.listen_for(permit, call, heard)),
                Reach::Http(link) => Box::pin(link.listen_for(permit, call, heard)),
            };
            return acknowledged(listening, (&ear, ready.era), deadline).await;
        }
        if call.task_of.is_some() {
            let sent = Box::pin(self.call(permit, call, CallLine::silent())).await;
            let standing = matches!(sent, Sent::Result { .. }).then(Standing::unasked);
            return (sent, standing);
        }
        let uri = Arc::clone(&call.name);
        let silent = CallLine::silent();
        let sent = ready.link.call(permit, &call, silent, deadline).await;
        let standing = matches!(sent, Sent::Result { .. }).then(|| {
            let lost = match &ready.link {
                Reach::Pipe(link) => link.lost(),
                Reach::Http(link) => link.session_lost(),
            };
            let link = ready.link;
            Standing(Kind::Asked { link, uri, lost })
        });
        (sent, standing)
    }

    /// Returns when the server takes calls; never where it is stopped for good.
    pub async fn up(&self) {
        let mut phase = self.desk.phase.clone();
        let is_up = |phase: &Phase| match phase {
            Phase::Ready { link, .. } => !link.has_ended(),
            Phase::Starting | Phase::Failed(_) | Phase::Stopped => false,
        };
        let up = phase.wait_for(is_up).await.is_ok();
        if !up {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits for a modern server to say whether it does what it was asked.
async fn acknowledged(
    mut listening: Listening,
    (ear, era): (&Ear, Era),
    deadline: Instant,
) -> (Sent, Option<Standing>) {
    let mut honoured = ear.honoured.subscribe();
    let honoured = tokio::select! {
        biased;
        sent = &mut listening => return match sent {
            Sent::Result { .. } => (refused(), None),
            other => (other, None),
        },
        honoured = honoured.wait_for(Option::is_some) => honoured.is_ok_and(|said| *said == Some(true)),
        () = tokio::time::sleep_until(deadline) => return (Sent::TimedOut, None),
    };
    if !honoured {
        return (refused(), None);
    }
    let sent = Sent::Result {
        json: "{}".into(),
        era,
        failed: false,
    };
    (sent, Some(Standing(Kind::Listening(listening))))
}

/// What a legacy server would say.
fn refused() -> Sent {
    let error = value!({"code": -32602, "message": "the server does not tell of it"});
    Sent::Error {
        json: error.to_string().into(),
    }
}
