//! Resources and tasks that clients follow: who follows what, and the one subscription
//! at the server behind all who follow the same.
//!
//! Each subscription passes the same admission as a call: a resource as
//! `resources/subscribe`, a task as `tasks/get`. What keeps it up later
//! is in `topic`; who is told, in `listener`.

mod begun;
mod check;
mod hearing;
mod listener;
mod own;
mod pages;
mod topic;

pub(super) use begun::Begun;
pub use hearing::Hearing;
pub use hearing::Recipient;
pub use hearing::Right;
pub use listener::Listener;
pub use listener::Word;

use super::Answer;
use super::Broker;
use super::Refusal;
use super::ToolCall;
use super::catalogue::Leads;
use super::catalogue::Route;
use super::close::Held;
use super::labels;
use super::settle;
use crate::downstream::ClientId;
use crate::downstream::Sent;
use crate::downstream::Update;
use crate::journal::Closing;
use crate::permit::Permit;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::tasks::Task;
use crate::tool::CallId;
use crate::tool::ServerName;
use begun::AllBegun;
use begun::is_over;
use hearing::Hearings;
use jiff::Timestamp;
use listener::Heard;
use listener::Of;
use own::Pages;
use pages::AllPages;
use serde_json::json as value;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;
use tokio::sync::OwnedMutexGuard;
use tokio::sync::mpsc;
use topic::Keeping;
use topic::Key;
use topic::Topic;
use topic::told_in;

/// How many resources and tasks of one server may be followed at once. A modern server over
/// HTTP has a connection for each.
const MOST: usize = 256;
/// How many of them one principal may follow that nobody followed before.
const SHARE: usize = MOST / 2;

const TOO_MANY: &str =
    "as much of what it has is followed as may be at once, by all or by this caller";

const NOT_TOLD: &str = "it speaks of a task only on the connection on which it was begun, which is gone or not of this process";

/// The topics.
type Topics = HashMap<Key, Arc<Topic>>;

/// What is followed.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    topics: Mutex<Topics>,
    /// The tasks that clients hear of.
    begun: AllBegun,
    /// The pages that clients hear of.
    opened: AllPages,
    /// What was last seen of the sessions whose pages are followed.
    pages: Pages,
    /// The streams on which clients hear.
    hearings: Hearings,
}

impl Subscriptions {
    /// The tasks that clients hear of.
    pub(super) fn begun(&self) -> &AllBegun {
        &self.begun
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        // Only single operations of the map happen under the lock.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Topic>> {
        self.topics().values().cloned().collect()
    }

    /// The topic of a resource or a task, for this principal. None where too many are
    /// followed already, by all or on this one's account.
    fn topic(&self, key: &Key, (who, began): (&PrincipalId, Option<CallId>)) -> Option<Arc<Topic>> {
        let mut topics = self.topics();
        if let Some(known) = topics.get(key) {
            return Some(Arc::clone(known));
        }
        let of_server = topics.values().filter(|topic| topic.server == key.0);
        let (all, own) = of_server.fold((0, 0), |(all, own), topic| {
            (all + 1, own + usize::from(topic.is_on_account_of(who)))
        });
        if all >= MOST || own >= SHARE {
            return None;
        }
        let topic = Arc::new(Topic::new(key.clone(), (who.clone(), began)));
        topics.insert(key.clone(), Arc::clone(&topic));
        Some(topic)
    }

    /// The topic, held so that nothing about it changes meanwhile.
    async fn held(
        &self,
        key: &Key,
        whose: (&PrincipalId, Option<CallId>),
    ) -> Option<(Arc<Topic>, OwnedMutexGuard<Keeping>)> {
        loop {
            let topic = self.topic(key, whose)?;
            let keeping = Arc::clone(&topic.keeping).lock_owned().await;
            if *keeping != Keeping::Closed {
                return Some((topic, keeping));
            }
        }
    }

    fn forget(&self, topic: &Topic) {
        self.topics().remove(&topic.key());
    }

    /// A task of this server that is followed, by our id.
    fn task(&self, server: &ServerName, id: &Arc<str>) -> Option<Arc<Topic>> {
        let key = (server.clone(), Of::Task, Arc::clone(id));
        self.topics().get(&key).cloned()
    }

    /// Takes what servers say to whoever follows it.
    pub(super) async fn spread(&self, mut updates: mpsc::UnboundedReceiver<Update>) {
        while let Some(update) = updates.recv().await {
            self.tell(&update);
        }
    }

    fn tell(&self, update: &Update) {
        match update {
            Update::Said {
                server,
                followed,
                uri,
                params,
            } => {
                let concerned = self.all().into_iter().filter(|topic| {
                    topic.server == *server
                        && topic.of == Of::Resource
                        && followed.as_ref().is_none_or(|named| topic.uri == *named)
                        && covers(&topic.uri, uri)
                });
                // One word of a server is one message to a client, however many
                // of its subscriptions it belongs to.
                let mut told: Vec<Arc<Listener>> = Vec::new();
                for topic in concerned {
                    for (listener, session) in topic.parts() {
                        if told.iter().any(|known| Arc::ptr_eq(known, &listener)) {
                            continue;
                        }
                        listener.push(Heard {
                            of: Of::Resource,
                            server: server.clone(),
                            followed: Arc::clone(&topic.uri),
                            session,
                            uri: uri.clone(),
                            params: Arc::clone(params),
                        });
                        told.push(listener);
                    }
                }
            }
            Update::Status {
                server,
                at,
                native,
                params,
            } => {
                let id = self.begun.tell((server, *at), (native, params));
                if let Some(topic) = id.and_then(|id| self.task(server, &id)) {
                    topic.tell(Of::Status, params);
                }
            }
            Update::Task {
                server,
                began,
                params,
            } => {
                let all = self.all().into_iter();
                for topic in all.filter(|t| t.server == *server && t.began == Some(*began)) {
                    topic.tell(Of::Task, params);
                }
            }
            Update::Pages { at, asked, .. } => self.opened.enter(*at, asked),
            Update::Completed {
                server,
                at,
                page,
                params,
            } => self.opened.tell((server, *at), (page, params)),
            Update::Gone { server, at } => {
                self.opened.gone(*at);
                for id in self.begun.gone((server, *at)) {
                    self.task(server, &id).inspect(|topic| topic.missed());
                }
            }
            Update::Missed { server } => {
                let all = self.all().into_iter();
                for topic in all.filter(|topic| topic.server == *server) {
                    topic.missed();
                }
            }
        }
    }
}

impl Broker {
    /// Has a listener told of a resource or a task from now on. Decided, recorded and
    /// sent as any call; where others follow it already, nothing is sent.
    pub async fn subscribe(self: &Arc<Self>, call: ToolCall, listener: &Arc<Listener>) -> Answer {
        let begun = Instant::now();
        let name = call.name.clone();
        let (broker, follows) = (Arc::clone(self), Arc::clone(listener));
        let steps = async move { broker.follow_steps(call, &follows).await };
        let Ok(ended) = self.tasks.spawn(steps).await else {
            tracing::error!("a subscription ended by a fault of ours");
            return Answer::Refused(Refusal::NotRecorded);
        };
        let answer = ended.unwrap_or_else(Answer::Refused);
        answer.log(&name, begun);
        answer
    }

    async fn follow_steps(
        self: &Arc<Self>,
        call: ToolCall,
        listener: &Arc<Listener>,
    ) -> Result<Answer, Refusal> {
        let now = Timestamp::now();
        let (route, task) = self.route(&call, now).await?;
        let labels = labels::of(&route, task.as_ref());
        let mut candidate = self.read_arguments(&call, &route, now).await?;
        // What changes may be told before the subscription is answered.
        candidate.early.clone_from(&labels);
        let (charged, permit, _) = self.admit(candidate, (Instant::now(), now)).await?;
        let to = (&route, task);
        let (closing, answer) = self.join(permit, to, (call, listener)).await;
        let held = Held { charged, labels };
        Ok(self.close(&route, (closing, None), held, answer).await)
    }

    /// Joins those who follow the resource or the task, as the first of them with a
    /// subscription at the server.
    async fn join(
        self: &Arc<Self>,
        permit: Permit,
        (route, task): (&Arc<Route>, Option<Task>),
        (call, listener): (ToolCall, &Arc<Listener>),
    ) -> (Closing, Answer) {
        let (id, session, keep) = (permit.call(), call.session, self.settings.keep);
        let busy = |why| settle::judged(id, route, Sent::Busy { why }, keep);
        let of = task.as_ref().map_or(Of::Resource, |_| Of::Task);
        let key: Key = (route.tool.server.clone(), of, Arc::from(&*call.name));
        let whose = (&call.principal, task.as_ref().map(|task| task.call));
        let unasked = task.is_some() && self.speaks_unasked(&key.0);
        if unasked && !self.subscriptions.begun().knows(&key.2) {
            return busy(NOT_TOLD);
        }
        let Some((topic, mut keeping)) = self.subscriptions.held(&key, whose).await else {
            return busy(TOO_MANY);
        };
        // Before it is sent, because word of a change may come right after.
        if listener.joins(|| topic.add(listener, session)) {
            self.watch(listener);
        }
        if listener.has_ended() {
            // Nobody would take it out again.
            topic.remove(listener);
        }
        if let Leads::Own(_) = &route.leads {
            self.remember_session(session).await;
        }
        if *keeping == Keeping::Kept {
            return (shared(id), Answer::Joined);
        }
        let (sent, standing) = match &route.leads {
            Leads::Out(_) => self.asked_to_tell(permit, (route, task), call).await,
            Leads::Own(_) => self.follows_own(&call.name),
        };
        match standing {
            Some(standing) => {
                *keeping = Keeping::Kept;
                let keeper = Arc::clone(self).keep(Arc::clone(&topic), standing);
                self.tasks.spawn(keeper);
                tell_of_end(&topic, &sent);
            }
            None => {
                topic.remove(listener);
                *keeping = Keeping::Closed;
                self.subscriptions.forget(&topic);
            }
        }
        settle::judged(id, route, sent, keep)
    }

    /// Has a listener told once a page was dealt with that its client was asked to have
    /// opened. Returns by what its server is told who was asked.
    pub fn hears_of_pages(&self, listener: &Arc<Listener>) -> ClientId {
        self.subscriptions.opened.hears(listener)
    }

    /// Has a listener told of a resource no longer. With the last one the
    /// subscription at the server ends.
    pub fn unsubscribe(&self, listener: &Arc<Listener>, uri: &str) {
        for topic in self.subscriptions.all() {
            if topic.of == Of::Resource && *topic.uri == *uri {
                topic.remove(listener);
            }
        }
    }

    /// Ends a listener's part in everything once it is gone.
    fn watch(self: &Arc<Self>, listener: &Arc<Listener>) {
        let (broker, listener) = (Arc::clone(self), Arc::clone(listener));
        self.tasks.spawn(async move {
            let leave = || {
                for topic in broker.subscriptions.all() {
                    topic.remove(&listener);
                }
            };
            loop {
                let gone = tokio::select! {
                    () = broker.stopping.cancelled() => return,
                    gone = listener.gone() => gone,
                };
                if listener.leaves(gone, leave) {
                    return;
                }
            }
        });
    }
}

/// A server that speaks of its tasks unasked was asked how this one stands; once it is
/// over, nothing more would be said.
fn tell_of_end(topic: &Topic, sent: &Sent) {
    if let (Of::Task, Sent::Result { json, era, .. }) = (topic.of, sent)
        && told_in(era) == Of::Status
        && is_over(json)
    {
        topic.tell(Of::Status, &Arc::from(&**json));
    }
}

/// The record of a subscription for which nothing had to be sent.
fn shared(call: CallId) -> Closing {
    Closing {
        call,
        outcome: crate::outcome::Outcome::Completed,
        result: None,
        kept: None,
        detail: value!({ "shared": true }),
        goes_on: false,
    }
}

/// Whether a resource is the one that is followed, or lies under it by its path.
/// A path that climbs lies nowhere.
fn covers(followed: &str, uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix(followed) else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    let under = followed.ends_with('/') || rest.starts_with('/');
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let climbs = |step: &str| {
        let plain = step.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    under && !path.split(['/', '\\']).any(climbs)
}

/// One who follows, and in which session.
type Part = (Arc<Listener>, SessionId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_principal_cannot_follow_all_that_may_be_followed() {
        let followed = Subscriptions::default();
        let server: ServerName = "own".parse().unwrap();
        let [alice, bob, mia] = ["alice", "bob", "mia"].map(|one| PrincipalId::parse(one).unwrap());
        let at = |who, number: usize| {
            let key = (
                server.clone(),
                Of::Resource,
                format!("note://{number}").into(),
            );
            followed.topic(&key, (who, None))
        };
        let first = at(&alice, 0).unwrap();
        assert!((1..SHARE).all(|number| at(&alice, number).is_some()));
        assert!(at(&alice, SHARE).is_none());
        assert!(
            at(&alice, 0).is_some(),
            "what is followed already costs nothing"
        );
        let listens = Listener::new(bob.clone(), tokio_util::sync::CancellationToken::new());
        first.add(&listens, SessionId::random());
        // Now it is bob who follows the first.
        assert!(at(&alice, SHARE).is_some() && at(&alice, SHARE + 1).is_none());
        assert!((0..SHARE - 1).all(|number| at(&bob, 1000 + number).is_some()));
        assert!(at(&bob, 3000).is_none() && at(&mia, 3000).is_none());
    }

    #[test]
    fn a_resource_covers_itself_and_what_lies_under_it() {
        for (followed, uri, expected) in [
            ("note://one", "note://one", true),
            ("note://one", "note://one/two", true),
            ("note://one/", "note://one/two#x", true),
            ("note://one", "note://oneself", false),
            ("note://one", "note://one?x", false),
            ("note://one/two", "note://one", false),
            ("file:///a", "file:///a/../b", false),
            ("file:///a", "file:///a/%2E./b", false),
            ("file:///a", "file:///a/..b", true),
        ] {
            assert_eq!(covers(followed, uri), expected, "{followed} {uri}");
        }
    }
}
