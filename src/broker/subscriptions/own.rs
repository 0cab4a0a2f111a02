//! The broker's own resources, followed: whoever changes a session, in this process
//! or another, changes the store, so the store is what is watched.

use super::Broker;
use super::Heard;
use super::Of;
use super::Subscriptions;
use super::Topic;
use crate::broker::own::OWN;
use crate::broker::own::pages;
use crate::broker::own::pages::Page;
use crate::cause::Chain;
use crate::downstream::Sent;
use crate::downstream::Standing;
use crate::events;
use crate::memory;
use crate::session::SessionId;
use crate::sessions;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::Version;
use serde_json::json as value;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::Notify;

/// How often the store is looked at, while somebody follows something of ours.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was last seen of the sessions whose pages are followed.
#[derive(Debug, Default)]
pub(super) struct Pages {
    seen: Mutex<HashMap<SessionId, Seen>>,
    more: Notify,
}

impl Pages {
    fn seen(&self) -> MutexGuard<'_, HashMap<SessionId, Seen>> {
        // Only single operations of the map happen under the lock.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells that a page of a session changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// Its names, and what keeps it from going on.
    state: String,
    /// The version of each value.
    values: BTreeMap<String, u32>,
    notes: u32,
    events: u32,
}

impl Seen {
    fn read(tx: &Tx<'_>, session: SessionId) -> Result<Self, StoreError> {
        let state = sessions::by_id(tx, session)?.map(|session| {
            let state = (session.frozen, session.paused, session.ended);
            format!("{:?} {state:?}", session.handles)
        });
        let values = memory::list(tx, session, "")?.into_iter();
        let note = memory::notes(tx, session, 1)?.pop();
        Ok(Self {
            state: state.unwrap_or_default(),
            values: values.map(|entry| (entry.key, entry.version)).collect(),
            notes: note.map_or(0, |note| note.number),
            events: events::last(tx, session)?,
        })
    }

    /// The pages that are no longer what they were.
    fn changed(&self, before: &Self) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        if self.values != before.values {
            changed.insert(pages::MEMORY.to_owned());
            let keys = self.values.keys().chain(before.values.keys());
            let moved = keys.filter(|key| self.values.get(*key) != before.values.get(*key));
            changed.extend(moved.filter_map(|key| pages::uri_of(key)));
        }
        if self.notes != before.notes {
            changed.insert(pages::NOTES.to_owned());
        }
        if self.events != before.events {
            changed.insert(pages::EVENTS.to_owned());
        }
        if self != before {
            changed.insert(pages::STATUS.to_owned());
        }
        changed
    }
}

impl Broker {
    /// Remembers what a session is, so that what changes from now on is told to who
    /// follows it already.
    pub(super) async fn remember_session(self: &Arc<Self>, session: SessionId) {
        let broker = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || {
            let seen = broker.store.read(|tx| Seen::read(tx, session));
            match seen {
                Ok(seen) => {
                    let pages = &broker.subscriptions.pages;
                    pages.seen().entry(session).or_insert(seen);
                    pages.more.notify_one();
                }
                Err(error) => unreadable(&error),
            }
        });
        // An error says that the broker is ending.
        let _looked = looked.await;
    }

    /// Looks at a task of ours from now on, in which somebody joined.
    pub(super) fn watch_task(&self, id: &Arc<str>) {
        self.subscriptions.own_tasks.follow(id);
        self.subscriptions.pages.more.notify_one();
    }

    /// A subscription that needs no server.
    pub(super) fn follows_own(&self, of: Of, uri: &str) -> (Sent, Option<Standing>) {
        if of != Of::Resource {
            return (pages::followed(), Some(Standing::unasked()));
        }
        match Page::of(uri) {
            Some(_) => (pages::followed(), Some(Standing::unasked())),
            None => (pages::not_found(uri), None),
        }
    }

    /// Tells of changes of our own resources while the broker runs.
    pub(in crate::broker) fn follow_own(self: &Arc<Self>) {
        let broker = Arc::clone(self);
        self.tasks.spawn(async move {
            let stopping = broker.stopping.clone();
            let looks = broker.look_again_and_again();
            let _stopped = stopping.run_until_cancelled(looks).await;
        });
    }

    async fn look_again_and_again(self: &Arc<Self>) {
        let mut known = None;
        loop {
            let Subscriptions {
                pages, own_tasks, ..
            } = &self.subscriptions;
            if pages.seen().is_empty() && own_tasks.is_empty() {
                pages.more.notified().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let broker = Arc::clone(self);
            let looked = tokio::task::spawn_blocking(move || broker.look(known));
            match looked.await {
                Ok(Ok(version)) => known = Some(version),
                Ok(Err(error)) => unreadable(&error),
                Err(_stopping) => return,
            }
        }
    }

    /// Tells what changed since a version of the store, and returns which one it
    /// has now.
    fn look(&self, known: Option<Version>) -> Result<Version, StoreError> {
        let own = self.subscriptions.all().into_iter();
        let own = own.filter(|topic| topic.server.as_str() == OWN);
        let (topics, tasks): (Vec<Arc<Topic>>, Vec<Arc<Topic>>) =
            own.partition(|topic| topic.of == Of::Resource);
        let parts = topics.iter().flat_map(|topic| topic.parts());
        let sessions: BTreeSet<SessionId> = parts.map(|(_, session)| session).collect();
        let pages = &self.subscriptions.pages;
        pages.seen().retain(|session, _| sessions.contains(session));
        // Before anything is read: what is committed meanwhile is seen again.
        let version = self.store.version()?;
        if known == Some(version) && !self.subscriptions.own_tasks.has_new() {
            return Ok(version);
        }
        self.look_at_tasks(&tasks)?;
        let now = self.store.read(|tx| {
            let seen = sessions.iter();
            let seen = seen.map(|session| Ok((*session, Seen::read(tx, *session)?)));
            seen.collect::<Result<Vec<_>, StoreError>>()
        })?;
        for (session, now) in now {
            let before = pages.seen().insert(session, now.clone());
            let changed = before.map_or_else(BTreeSet::new, |before| now.changed(&before));
            for topic in topics.iter().filter(|topic| changed.contains(&*topic.uri)) {
                tell(topic, session);
            }
        }
        Ok(version)
    }
}

/// Tells those who follow a page in this session.
fn tell(topic: &Topic, session: SessionId) {
    let params: Arc<str> = value!({ "uri": &*topic.uri }).to_string().into();
    let parts = topic.parts().into_iter();
    for (listener, _) in parts.filter(|(_, of)| *of == session) {
        listener.push(Heard {
            of: Of::Resource,
            server: topic.server.clone(),
            followed: Arc::clone(&topic.uri),
            session,
            uri: (*topic.uri).into(),
            params: Arc::clone(&params),
        });
    }
}

fn unreadable(error: &StoreError) {
    tracing::warn!(error = %Chain(error), "nobody can say whether a followed session changed");
}
