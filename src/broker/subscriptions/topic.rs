//! One resource or task that is followed, and what keeps the subscription at its
//! server.

use super::Answer;
use super::Broker;
use super::Listener;
use super::Part;
use super::begun::is_over;
use super::listener::Heard;
use super::listener::Of;
use crate::broker::CallLine;
use crate::broker::Era;
use crate::broker::Origin;
use crate::broker::Refusal;
use crate::broker::ToolCall;
use crate::broker::catalogue::Leads;
use crate::broker::catalogue::Route;
use crate::broker::close::Held;
use crate::broker::labels;
use crate::broker::send::outgoing;
use crate::broker::settle;
use crate::downstream::Sent;
use crate::downstream::Standing;
use crate::permit::Permit;
use crate::principal::PrincipalId;
use crate::session::Found;
use crate::session::Rule;
use crate::session::SessionId;
use crate::tasks::Task;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::ServerName;
use crate::tool::TaskAsk;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json as value;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How soon a subscription that the server ended is asked for again, and how
/// seldom at most.
const AGAIN: Duration = Duration::from_millis(250);
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);
/// How often in a row.
const ATTEMPTS: usize = 10;
/// The same of a task: a server that was started again may know it no longer.
const ATTEMPTS_OF_TASK: usize = 2;

/// Of which server something is followed, what it is, and by which name: a URI, or our
/// id of a task.
pub(super) type Key = (ServerName, Of, Arc<str>);

/// A resource or a task that is followed.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) server: ServerName,
    pub(super) of: Of,
    pub(super) uri: Arc<str>,
    /// The call that became the task.
    pub(super) began: Option<CallId>,
    /// Who followed it first.
    first: PrincipalId,
    parts: Mutex<Vec<Part>>,
    fewer: Notify,
    /// What was said of the task may be lost.
    stale: Notify,
    /// Held while the subscription at the server is made or ended, so that neither
    /// overtakes the other.
    pub(super) keeping: Arc<tokio::sync::Mutex<Keeping>>,
}

/// Whether there is a task that keeps the subscription at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// Not yet.
    New,
    /// There is, also while it asks the server again.
    Kept,
    /// No longer: the next who follows begins a topic anew.
    Closed,
}

impl Topic {
    pub(super) fn new(
        (server, of, uri): Key,
        (first, began): (PrincipalId, Option<CallId>),
    ) -> Self {
        Self {
            server,
            of,
            uri,
            began,
            first,
            parts: Mutex::default(),
            fewer: Notify::new(),
            stale: Notify::new(),
            keeping: Arc::new(tokio::sync::Mutex::new(Keeping::New)),
        }
    }

    /// Who follows it.
    pub(super) fn parts(&self) -> Vec<Part> {
        self.locked().clone()
    }

    /// Whether it counts as this principal's: who followed it first, and where he
    /// follows it no longer, who did after him.
    pub(super) fn is_on_account_of(&self, who: &PrincipalId) -> bool {
        let parts = self.locked();
        let of = |who: &PrincipalId| parts.iter().any(|(part, _)| part.principal() == who);
        let whose = match parts.first() {
            Some((earliest, _)) if !of(&self.first) => earliest.principal(),
            Some(_) | None => &self.first,
        };
        whose == who
    }

    /// Who follows it in another session now does so in this one.
    pub(super) fn add(&self, listener: &Arc<Listener>, session: SessionId) {
        let mut parts = self.locked();
        parts.retain(|(known, _)| !Arc::ptr_eq(known, listener));
        parts.push((Arc::clone(listener), session));
    }

    pub(super) fn remove(&self, listener: &Arc<Listener>) {
        self.locked()
            .retain(|(known, _)| !Arc::ptr_eq(known, listener));
        self.fewer.notify_one();
    }

    /// Under which it is known.
    pub(super) fn key(&self) -> Key {
        (self.server.clone(), self.of, Arc::clone(&self.uri))
    }

    /// Something was lost that its server said, or is not said any more. Everybody is
    /// told that a resource may have changed, and how a task stands is asked.
    pub(super) fn missed(&self) {
        match self.of {
            Of::Resource => {
                let params = value!({ "uri": &*self.uri }).to_string();
                self.tell(Of::Resource, &params.into());
            }
            Of::Task | Of::Status | Of::Own | Of::Page => self.stale.notify_one(),
        }
    }

    /// Tells everybody. With its end a task is followed no more.
    pub(super) fn tell(&self, of: Of, params: &Arc<str>) {
        for (listener, session) in self.parts() {
            listener.push(Heard {
                of,
                server: self.server.clone(),
                followed: Arc::clone(&self.uri),
                session,
                uri: (*self.uri).into(),
                params: Arc::clone(params),
            });
        }
        if of != Of::Resource && is_over(params) {
            self.locked().clear();
            self.fewer.notify_one();
        }
    }

    /// What is asked of the server in the name of one who follows it.
    pub(super) fn asks(&self, (listener, session): (&Arc<Listener>, SessionId)) -> ToolCall {
        let (asking, arguments) = asked_of(self.of, &self.uri);
        let declared = match self.of {
            Of::Resource => Arc::default(),
            Of::Task | Of::Status | Of::Own | Of::Page => Arc::clone(listener.declared()),
        };
        ToolCall {
            principal: listener.principal().clone(),
            session,
            found: Found::by(Rule::Broker).into(),
            asking,
            name: (*self.uri).into(),
            arguments: Some(arguments.to_string().into()),
            rest: Vec::new(),
            continued: None,
            task: None,
            declared,
            log: None,
            key: None,
            awaited: None,
            meta: None,
            origin: Origin::default(),
        }
    }

    fn attempts(&self) -> usize {
        match self.of {
            Of::Resource => ATTEMPTS,
            Of::Task | Of::Status | Of::Own | Of::Page => ATTEMPTS_OF_TASK,
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Part>> {
        // Only single operations happen under the lock.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Keeps a subscription at its server as long as somebody follows the
    /// resource.
    pub(super) async fn keep(self: Arc<Self>, topic: Arc<Topic>, mut standing: Standing) {
        let mut pause = AGAIN;
        loop {
            let since = Instant::now();
            tokio::select! {
                biased;
                // The server is ended too.
                () = self.stopping.cancelled() => return,
                () = topic.fewer.notified() => match self.closed(&topic, Some(standing)).await {
                    Ok(()) => return,
                    Err(still) => match still {
                        Some(still) => standing = still,
                        None => return,
                    },
                },
                () = topic.stale.notified() => {
                    let asked = self.ask_after(&topic);
                    if self.stopping.run_until_cancelled(asked).await.is_none() {
                        return;
                    }
                }
                () = standing.ended() => {
                    if since.elapsed() > AGAIN_AT_MOST {
                        pause = AGAIN;
                    }
                    let again = self.again(&topic, &mut pause);
                    match self.stopping.run_until_cancelled(again).await {
                        Some(Some(anew)) => standing = anew,
                        Some(None) | None => return,
                    }
                    topic.missed();
                }
            }
        }
    }

    /// Ends a topic that nobody follows. One that somebody follows goes on.
    async fn closed(
        &self,
        topic: &Topic,
        standing: Option<Standing>,
    ) -> Result<(), Option<Standing>> {
        let mut keeping = topic.keeping.lock().await;
        if !topic.locked().is_empty() {
            return Err(standing);
        }
        *keeping = Keeping::Closed;
        if let Some(standing) = standing {
            standing.end().await;
        }
        self.subscriptions.forget(topic);
        Ok(())
    }

    /// Subscribes again after the server lost the subscription, once it is there.
    /// It is decided and recorded anew, for the first who still may; who may no
    /// longer, loses it. None where nobody is left.
    async fn again(self: &Arc<Self>, topic: &Topic, pause: &mut Duration) -> Option<Standing> {
        let mut attempts = 0;
        loop {
            if self.closed(topic, None).await.is_ok() {
                return None;
            }
            tokio::time::sleep(*pause).await;
            *pause = (*pause * 2).min(AGAIN_AT_MOST);
            self.downstreams.get(&topic.server)?.up().await;
            attempts += 1;
            for (listener, session) in topic.parts() {
                match self.subscribe_again(topic, (&listener, session)).await {
                    Ok(Some(standing)) => return Some(standing),
                    // The server would say the same to the others.
                    Ok(None) if attempts < topic.attempts() => break,
                    Err(refusal) if passes(&refusal) => break,
                    Ok(None) | Err(_) => {
                        topic.remove(&listener);
                        listener.cut_off();
                    }
                }
            }
        }
    }

    async fn subscribe_again(
        self: &Arc<Self>,
        topic: &Topic,
        part: (&Arc<Listener>, SessionId),
    ) -> Result<Option<Standing>, Refusal> {
        let now = Timestamp::now();
        let call = topic.asks(part);
        let (route, task) = self.route(&call, now).await?;
        let labels = labels::of(&route, task.as_ref());
        let mut candidate = self.read_arguments(&call, &route, now).await?;
        candidate.early.clone_from(&labels);
        let (charged, permit, _) = self
            .admit(candidate, (Instant::now().into_std(), now))
            .await?;
        let id = permit.call();
        let (sent, standing) = self.asked_to_tell(permit, (&route, task), call).await;
        let (closing, answer) = settle::judged(id, &route, sent, self.settings.keep);
        let held = Held { charged, labels };
        let _nobody_waits = self.close(&route, (closing, None), held, answer).await;
        Ok(standing)
    }

    /// Asks a server to tell of a resource or a task.
    pub(super) async fn asked_to_tell(
        &self,
        permit: Permit,
        (route, task): (&Route, Option<Task>),
        call: ToolCall,
    ) -> (Sent, Option<Standing>) {
        let Leads::Out(server) = &route.leads else {
            return (Sent::not_followed(), None);
        };
        match self
            .place((route, server), (&call, task.as_ref()), None)
            .await
        {
            Ok(replica) => {
                let outgoing = outgoing((route, task), call);
                replica.server().subscribe(permit, outgoing).await
            }
            Err(sent) => (sent, None),
        }
    }

    /// Tells those who follow a task how it stands: it is asked for in the name of the
    /// first who may, as by any `tasks/get`. Where its server knows it no longer,
    /// everybody loses it.
    async fn ask_after(self: &Arc<Self>, topic: &Topic) {
        for (listener, session) in topic.parts() {
            let call = topic.asks((&listener, session));
            match self.call_tool(call, CallLine::silent()).await {
                Answer::Result { json, era } => return topic.tell(told_in(&era), &json.into()),
                Answer::Refused(refusal) if passes(&refusal) => return,
                _lost => {
                    topic.remove(&listener);
                    listener.cut_off();
                }
            }
        }
    }
}

/// What asks for something, and with which arguments: what policy reads.
pub(super) fn asked_of(of: Of, name: &str) -> (Asking, Value) {
    match of {
        Of::Resource => (Asking::Subscribe, value!({ "uri": name })),
        // No topic is of a page.
        Of::Task | Of::Status | Of::Own | Of::Page => {
            (Asking::Task(TaskAsk::Get), value!({ "taskId": name }))
        }
    }
}

/// In whose words a server of this era speaks of a task.
pub(super) fn told_in(era: &Era) -> Of {
    match era {
        Era::Modern(_) => Of::Task,
        Era::Legacy(_) => Of::Status,
    }
}

/// Whether what refused a subscription may be over by itself.
fn passes(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::NotRecorded
        | Refusal::NoRoom
        | Refusal::ServerUnavailable { .. }
        | Refusal::RepeatUnsent { .. }
        | Refusal::ServerBusy { .. }
        | Refusal::ToolChanged { .. }
        | Refusal::OutcomeUnknown { .. }
        | Refusal::TimedOut { .. }
        | Refusal::Unbridged { .. }
        | Refusal::InvalidAnswer { .. }
        | Refusal::Withheld { .. } => true,
        Refusal::UnknownTool { .. }
        | Refusal::NotOffered { .. }
        | Refusal::NotAsked
        | Refusal::OnlyAsTask { .. }
        | Refusal::InvalidArguments { .. }
        | Refusal::Denied { .. }
        | Refusal::Paused(_)
        | Refusal::Escalated { .. }
        | Refusal::TurnedDown { .. }
        | Refusal::Settled { .. }
        | Refusal::Overtaken
        | Refusal::EarlierUnknown { .. }
        | Refusal::SessionEnded { .. }
        | Refusal::Attempted { .. }
        | Refusal::BeingGiven { .. }
        | Refusal::KeyReused { .. }
        | Refusal::Replayed { .. }
        | Refusal::EarlierUnread { .. }
        | Refusal::EarlierLost { .. }
        | Refusal::EarlierAsks { .. }
        | Refusal::EarlierOpen { .. }
        | Refusal::Confirm { .. }
        | Refusal::NotConfirmed { .. }
        | Refusal::SessionGone { .. } => false,
    }
}
