//! Choosing the replica that a call is sent to, where its server has several.
//!
//! Who was put on a replica stays there. The store has it, so that all brokers on it
//! agree and a restart changes nothing; it is remembered here as long as nothing was
//! committed since it was read.

use super::Broker;
use super::CallLine;
use super::ToolCall;
use super::catalogue::Route;
use crate::cause::Chain;
use crate::downstream::Absent;
use crate::downstream::Affinity;
use crate::downstream::Replica;
use crate::downstream::Replicas;
use crate::downstream::Sent;
use crate::session::Stay;
use crate::sessions;
use crate::sessions::Holder;
use crate::sessions::Placing;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Version;
use crate::tasks::Task;
use crate::tool::ServerName;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// How many are remembered. Beyond it all are forgotten, and read again.
const MOST: usize = 100_000;

/// Who is on which replica, as it was read last.
#[derive(Debug, Default)]
pub(super) struct Places {
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    /// The state of the store that all of it is of.
    at: Option<Version>,
    replicas: HashMap<(ServerName, Holder), Arc<str>>,
}

impl Places {
    fn read(&self) -> MutexGuard<'_, Read> {
        // Each change is whole before the lock is given back.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, key: &(ServerName, Holder), now: Version) -> Option<Arc<str>> {
        let read = self.read();
        let found = (read.at == Some(now)).then(|| read.replicas.get(key));
        found.flatten().map(Arc::clone)
    }

    fn keep(&self, key: (ServerName, Holder), replica: &Arc<str>, now: Version) {
        let mut read = self.read();
        if read.at != Some(now) || read.replicas.len() >= MOST {
            read.replicas.clear();
            read.at = Some(now);
        }
        read.replicas.insert(key, Arc::clone(replica));
    }
}

impl Broker {
    /// Which replica takes a call: the one that its session or principal is on; a
    /// task is asked after where it was begun.
    ///
    /// # Errors
    ///
    /// How the call ended, where there is none.
    pub(super) async fn place<'a>(
        &self,
        (route, server): (&Route, &'a Replicas),
        (call, task): (&ToolCall, Option<&Task>),
        line: Option<&CallLine>,
    ) -> Result<&'a Replica, Sent> {
        if let Some(alone) = server.alone() {
            return Ok(alone);
        }
        // In a box, because most servers have one place, and need no room for it.
        let placed = Box::pin(async {
            match task.and_then(|task| task.replica.as_deref()) {
                Some(began) => Ok(server.at(began).await.ok()),
                None => self.placed(server, call).await,
            }
        });
        let in_time = tokio::time::timeout(route.deadline(), placed);
        let given_up = async {
            match line {
                Some(line) => tokio::select! {
                    () = line.cancelled.cancelled() => {}
                    () = line.gone.cancelled() => {}
                },
                None => std::future::pending().await,
            }
        };
        let placed = tokio::select! {
            biased;
            placed = in_time => placed.unwrap_or(Ok(None)),
            () = given_up => return Err(unsent("the call was cancelled before it was sent")),
        };
        match placed {
            Ok(Some(replica)) => Ok(replica),
            Ok(None) if task.is_some() => Err(unsent("the replica that has the task is not there")),
            Ok(None) => Err(unsent("none of its replicas is there")),
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the replica for a call could not be read or kept");
                Err(unsent("nobody can say which of its replicas it goes to"))
            }
        }
    }

    async fn placed<'a>(
        &self,
        server: &'a Replicas,
        call: &ToolCall,
    ) -> Result<Option<&'a Replica>, StoreError> {
        let Some(holder) = holder(server.affinity(), call) else {
            return Ok(server.next().await);
        };
        let key = (server.name().clone(), holder);
        // Each time around, the replica that they are on has gone meanwhile.
        for _ in server.all().chain(server.all()) {
            let on = self.replica_of(&key)?;
            let absent = match &on {
                None => None,
                Some(url) => match server.at(url).await {
                    Ok(replica) => return Ok(Some(replica)),
                    Err(absent) => Some((url.to_string(), absent)),
                },
            };
            let Some(chosen) = server.first_for(&key.1.to_string()).await else {
                return Ok(None);
            };
            if on.as_deref() == Some(chosen.url()) {
                return Ok(Some(chosen));
            }
            let stands = self.put(&key, absent, (chosen, call)).await?;
            if *stands == *chosen.url() {
                return Ok(Some(chosen));
            }
        }
        Ok(None)
    }

    /// Since when whoever calls is on their replica, where the server has several.
    pub(super) fn stay(&self, name: &ServerName, call: &ToolCall) -> Result<Stay, StoreError> {
        let server = self.downstreams.get(name);
        let holder = match server.filter(|server| server.alone().is_none()) {
            Some(server) => holder(server.affinity(), call),
            None => None,
        };
        let Some(holder) = holder else {
            return Ok(None);
        };
        let since = self
            .store
            .read(|tx| sessions::placed_since(tx, name, &holder))?;
        Ok(since.map(Timestamp::as_millisecond))
    }

    fn replica_of(&self, key: &(ServerName, Holder)) -> Result<Option<Arc<str>>, StoreError> {
        let now = self.store.version()?;
        if let Some(known) = self.places.known(key, now) {
            return Ok(Some(known));
        }
        let read = self.store.read(|tx| sessions::placed(tx, &key.0, &key.1))?;
        let read: Option<Arc<str>> = read.map(Into::into);
        if let Some(replica) = &read {
            self.places.keep(key.clone(), replica, now);
        }
        Ok(read)
    }

    /// Puts somebody on a replica. Returns the one that they are on then.
    async fn put(
        &self,
        (server, holder): &(ServerName, Holder),
        from: Option<(String, Absent)>,
        (to, call): (&Replica, &ToolCall),
    ) -> Result<String, StoreError> {
        let placing = Placing {
            server: server.clone(),
            holder: holder.clone(),
            session: call.session,
            from: from.map(|(url, absent)| (url, absent.to_string())),
            to: to.url().to_owned(),
        };
        if let Some((_, why)) = &placing.from {
            tracing::warn!(server.name = %server, session.id = %call.session, why, "moving to another replica");
        }
        let put = self.store.write("place", Durability::Process, move |tx| {
            sessions::place(tx, &placing, Timestamp::now())
        });
        Ok(put.await?.into_inner())
    }
}

/// Whose replica takes a call; none where nobody has one.
fn holder(affinity: Affinity, call: &ToolCall) -> Option<Holder> {
    match affinity {
        Affinity::Nobody => None,
        Affinity::Session => Some(Holder::Session(call.session)),
        Affinity::Principal => Some(Holder::Principal(call.principal.clone())),
    }
}

fn unsent(why: &str) -> Sent {
    Sent::NotSent {
        why: why.to_owned(),
    }
}
