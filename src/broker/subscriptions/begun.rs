//! Tasks that clients began here, and whose state they hear of where their server
//! speaks of it (MCP 2025-11-25, tasks, status notifications).
//!
//! A server names a task by an id that is good on one connection, so whose it is
//! follows from both. What it says of a task of another broker reaches nobody, and once
//! the connection is gone nothing is said: a client asks after its tasks anyway.

use super::listener::Heard;
use super::listener::Listener;
use super::listener::Of;
use crate::downstream::ConnectionId;
use crate::json;
use crate::json::Object;
use crate::session::SessionId;
use crate::tool::ServerName;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;

/// How many of them are known at once. Beyond it the oldest is spoken of no more.
const MOST: usize = 1_024;

/// One task.
#[derive(Debug)]
pub(in crate::broker) struct Begun {
    server: ServerName,
    at: ConnectionId,
    /// What the server calls it.
    native: Arc<str>,
    /// What its client calls it.
    id: Arc<str>,
    session: SessionId,
    /// Who began it, once that is known.
    listener: Option<Weak<Listener>>,
}

impl Begun {
    /// One that a call of this session began.
    pub(in crate::broker) fn new(
        (server, at): (ServerName, ConnectionId),
        (native, id): (Arc<str>, &str),
        session: SessionId,
    ) -> Self {
        Self {
            server,
            at,
            native,
            id: id.into(),
            session,
            listener: None,
        }
    }
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(in crate::broker) struct AllBegun(Mutex<VecDeque<Begun>>);

impl AllBegun {
    /// Takes one in. One of the same name on the same connection is over: its server
    /// says so by giving the name again.
    pub(in crate::broker) fn enter(&self, begun: Begun) {
        let mut all = self.all();
        all.retain(|one| one.at != begun.at || one.native != begun.native);
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(begun);
    }

    /// Who hears of the task of this id.
    pub(in crate::broker) fn hears(&self, id: &str, listener: &Arc<Listener>) {
        let mut all = self.all();
        if let Some(begun) = all.iter_mut().find(|one| *one.id == *id) {
            begun.listener = Some(Arc::downgrade(listener));
        }
    }

    /// Whether its server speaks of the task of this id here.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.all().iter().any(|one| *one.id == *id)
    }

    /// The connection is gone. Returns the tasks that were begun on it.
    pub(super) fn gone(&self, (server, at): (&ServerName, ConnectionId)) -> Vec<Arc<str>> {
        let mut all = self.all();
        let on = |one: &Begun| one.server == *server && one.at == at;
        let ids = all.iter().filter(|one| on(one));
        let ids = ids.map(|one| Arc::clone(&one.id)).collect();
        all.retain(|one| !on(one));
        ids
    }

    /// Tells who began it. Returns what its client calls the task.
    pub(super) fn tell(
        &self,
        (server, at): (&ServerName, ConnectionId),
        (native, params): (&str, &Arc<str>),
    ) -> Option<Arc<str>> {
        let mut all = self.all();
        let place = all
            .iter()
            .position(|one| one.server == *server && one.at == at && *one.native == *native);
        let Some((place, begun)) = place.and_then(|place| Some((place, all.get_mut(place)?)))
        else {
            tracing::debug!(server.name = %server, "dropped word of a task that nobody began here");
            return None;
        };
        let id = Arc::clone(&begun.id);
        let listener = begun.listener.as_ref().and_then(Weak::upgrade);
        if let Some(listener) = listener.filter(|listener| !listener.has_ended()) {
            listener.push(Heard {
                of: Of::Status,
                server: server.clone(),
                followed: Arc::clone(&id),
                session: begun.session,
                uri: (&*id).into(),
                params: Arc::clone(params),
            });
        }
        // Before who began it is known, its end may be told to nobody yet.
        if begun.listener.is_some() && is_over(params) {
            all.remove(place);
        }
        Some(id)
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<Begun>> {
        // Each change is whole before the lock is given back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether no more will be said of a task.
pub(super) fn is_over(params: &str) -> bool {
    let said = Object::parse(params).ok();
    let status = said.and_then(|said| said.get("status").and_then(json::text));
    matches!(
        status.as_deref(),
        Some("completed" | "failed" | "cancelled")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::PrincipalId;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn a_task_is_told_of_on_its_own_connection_to_who_began_it_and_to_its_end() {
        let all = AllBegun::default();
        let server: ServerName = "own".parse().unwrap();
        let listener = |name: &str| {
            let who = PrincipalId::parse(name).unwrap();
            Listener::new(who, CancellationToken::new())
        };
        let (alice, bob) = (listener("alice"), listener("bob"));
        let [one, other] = ConnectionId::several();
        let session = SessionId::random();
        for (at, id, who) in [(one, "task-1", &alice), (other, "task-2", &bob)] {
            all.enter(Begun::new((server.clone(), at), ("7".into(), id), session));
            all.tell((&server, at), ("7", &"{}".into()));
            all.hears(id, who);
        }
        let says = |at, status: &str| {
            let params: Arc<str> = format!(r#"{{"taskId":"7","status":"{status}"}}"#).into();
            all.tell((&server, at), ("7", &params));
        };
        says(one, "working");
        says(other, "completed");
        says(other, "working");
        for (who, id) in [(&alice, "task-1"), (&bob, "task-2")] {
            let (number, heard) = who.next().await;
            assert_eq!((heard.of, &*heard.followed), (Of::Status, id));
            assert!(who.take(number) && !who.take(number + 1));
        }
        // The name means another task once it is given again.
        all.enter(Begun::new(
            (server.clone(), one),
            ("7".into(), "task-3"),
            session,
        ));
        says(one, "working");
        assert!(!alice.take(1));
        for number in 0..MOST * 2 {
            let native = number.to_string().into();
            all.enter(Begun::new(
                (server.clone(), one),
                (native, "task-4"),
                session,
            ));
        }
        assert_eq!(all.all().len(), MOST);
    }
}
