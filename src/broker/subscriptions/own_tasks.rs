//! The broker's own tasks, followed: how one stands follows from the store, so that is
//! what is watched, with the broker's own resources.

use super::Broker;
use super::Of;
use super::Topic;
use crate::broker::own::OWN;
use crate::broker::waiting;
use crate::broker::waiting::Mark;
use crate::broker::waiting::TaskView;
use crate::principal::PrincipalId;
use crate::store::StoreError;
use crate::tasks;
use crate::tool::ServerName;
use jiff::Timestamp;
use serde_json::json as value;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// What is known of a task that is followed.
#[derive(Debug, Default)]
struct Known {
    /// How it stood when it was last looked at.
    stood: Option<Mark>,
    /// Whether somebody follows it since then.
    joined: bool,
}

/// The tasks that are followed, by our ids of them.
#[derive(Debug, Default)]
pub(super) struct OwnTasks(Mutex<HashMap<Arc<str>, Known>>);

impl OwnTasks {
    /// Somebody follows a task from now on.
    pub(super) fn follow(&self, id: &Arc<str>) {
        self.all().entry(Arc::clone(id)).or_default().joined = true;
    }

    /// Forgets those that nobody follows.
    fn retain(&self, is_followed: impl Fn(&Arc<str>) -> bool) {
        self.all().retain(|id, _| is_followed(id));
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Whether somebody follows one of them since it was last looked at.
    pub(super) fn has_new(&self) -> bool {
        self.all().values().any(|known| known.joined)
    }

    /// Whether somebody follows this one since then, before it is looked at.
    fn take_joined(&self, id: &str) -> bool {
        let mut all = self.all();
        let known = all.get_mut(id);
        known.is_some_and(|known| std::mem::take(&mut known.joined))
    }

    /// Notes how one stands, and returns how it stood.
    fn stands(&self, id: &str, mark: Mark) -> Option<Mark> {
        let mut all = self.all();
        all.get_mut(id).and_then(|known| known.stood.replace(mark))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, Known>> {
        // Only single operations happen under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Tells those who follow a task of ours that it stands otherwise than they know;
    /// of one that has ended already, that too.
    pub(super) fn look_at_tasks(&self, topics: &[Arc<Topic>]) -> Result<(), StoreError> {
        let Ok(own) = OWN.parse::<ServerName>() else {
            return Ok(());
        };
        let known = &self.subscriptions.own_tasks;
        // Who follows one is in its topic before he is noted here.
        known.retain(|id| self.subscriptions.task(&own, id).is_some());
        for topic in topics {
            // It is of use to one principal only.
            let Some((listener, _)) = topic.parts().into_iter().next() else {
                continue;
            };
            let joined = known.take_joined(&topic.uri);
            let view = match self.own_task(listener.principal(), &topic.uri) {
                Ok(Some(view)) => view,
                Ok(None) => continue,
                Err(error) => {
                    if joined {
                        known.follow(&topic.uri);
                    }
                    return Err(error);
                }
            };
            let mark = view.mark();
            let moved = known.stands(&topic.uri, mark);
            let moved = moved.is_some_and(|before| before != mark);
            let is_over = !view.stands.is_working();
            if moved || (joined && is_over) {
                let status = if is_over { "completed" } else { "working" };
                let params = value!({ "status": status }).to_string();
                topic.tell(Of::Own, &params.into());
            }
        }
        Ok(())
    }

    fn own_task(&self, who: &PrincipalId, id: &str) -> Result<Option<TaskView>, StoreError> {
        self.store.read(|tx| {
            let Some(task) = tasks::of(tx, who, id)? else {
                return Ok(None);
            };
            waiting::view(tx, &task, self.writer.id(), Timestamp::now())
        })
    }
}
