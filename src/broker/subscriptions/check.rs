//! Whether who follows a resource or a task still may, and whether a stream is still read
//! by right. Asked before each message, and where policies, tools, sessions or keys may
//! have changed.

use super::Broker;
use super::Heard;
use super::Listener;
use super::Of;
use super::Part;
use super::Topic;
use super::Word;
use super::topic::Key;
use super::topic::asked_of;
use crate::broker::catalogue::Route;
use crate::broker::entry::Entry;
use crate::broker::labels::Unread;
use crate::broker::own::OWN;
use crate::cause::Chain;
use crate::downstream::asks_only;
use crate::policy::Facts;
use crate::policy::Verdict;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::sessions::Brought;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tasks;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::ServerName;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json as value;
use std::sync::Arc;
use std::time::Duration;

/// How long after the store could not be read it is asked again who may follow what.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

pub(super) const UNREADABLE: &str = "the store is busy or cannot be read, so nobody can say who may follow or hear what; what is to be said waits, and it is asked again";

/// What a word brings with it, and what it is read with.
type Unheard = (Option<Brought>, Unread<()>);

impl Broker {
    /// The next that a listener may hear.
    /// Safe to drop while it waits. What nobody can say of whether it may be heard
    /// waits until somebody can.
    pub async fn heard(self: &Arc<Self>, listener: &Arc<Listener>) -> Word {
        loop {
            let (number, heard) = listener.next().await;
            let (broker, asks) = (Arc::clone(self), Arc::clone(listener));
            let word = heard.word();
            // It reads the store, and may wait for that as long as another process has it.
            let checked = tokio::task::spawn_blocking(move || {
                let may = broker.may_hear(&asks, &heard)?;
                may.then(|| broker.unheard(&asks, &heard)).transpose()
            });
            let checked = match checked.await {
                Ok(Ok(Some(unheard))) => self.takes_in(listener, unheard).await.map(|()| true),
                Ok(Ok(None)) => Ok(false),
                Ok(Err(error)) => Err(error),
                // The broker is ending.
                Err(_ended) => Ok(false),
            };
            match checked {
                Ok(may) => {
                    if listener.take(number) && may {
                        return word;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "{UNREADABLE}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// What comes with a word, which may be said long after it was asked for.
    fn unheard(&self, listener: &Listener, heard: &Heard) -> Result<Unheard, StoreError> {
        let (who, session) = (listener.principal(), heard.session);
        let (of_task, is_ours) = match heard.of {
            // It only says that something changed.
            Of::Own | Of::Page => (false, true),
            Of::Resource => (false, heard.server.as_str() == OWN),
            Of::Task | Of::Status => (true, false),
        };
        if is_ours {
            return Ok((None, Unread::plain((), session)));
        }
        let stick = self.settings.labels_stick;
        self.store.read(|tx| {
            let task = match of_task {
                true => tasks::of(tx, who, &heard.followed)?,
                false => None,
            };
            let brought = task.map(|task| Brought {
                labels: task.labels,
                session,
                principal: who.clone(),
                call: task.call,
            });
            Ok((brought, Unread::of(tx, (), (session, who), stick)?))
        })
    }

    /// The labels of what a server says are there, and stick to who hears it, before he
    /// does.
    async fn takes_in(
        &self,
        listener: &Listener,
        (brought, unread): Unheard,
    ) -> Result<(), StoreError> {
        if let Some(brought) = brought {
            self.join_labels(brought).await?;
        }
        self.read_by(listener.principal(), unread).await
    }

    /// A part of the followed resource may be one that policy keeps from this
    /// principal.
    fn may_hear(&self, listener: &Arc<Listener>, heard: &Heard) -> Result<bool, StoreError> {
        self.check_recipient(listener.recipient())?;
        let who = (listener.principal(), heard.session);
        let of = match heard.of {
            Of::Resource => Of::Resource,
            Of::Task | Of::Status | Of::Own => Of::Task,
            Of::Page => return self.store.read(|tx| self.may_be_in(tx, who)),
        };
        let key = (heard.server.clone(), of, Arc::clone(&heard.followed));
        let (followed, told) = self.store.read(|tx| {
            let followed = self.may(tx, who, &key)?;
            if *heard.uri == *heard.followed {
                return Ok((followed, followed));
            }
            let part = self.may_part(tx, who, (&heard.server, &heard.uri))?;
            Ok((followed, part))
        })?;
        if !followed {
            let topic = self.subscriptions.topics().get(&key).cloned();
            topic.inspect(|topic| lose(topic, listener));
        }
        Ok(followed && told && can_answer(listener, heard))
    }

    /// Ends what is followed by somebody who may not any longer, and every stream that
    /// is read by a right that is gone.
    pub(in crate::broker) async fn recheck(self: &Arc<Self>) {
        let (topics, hearings) = (self.subscriptions.all(), self.subscriptions.hearings.all());
        if topics.is_empty() && hearings.is_empty() {
            return;
        }
        let broker = Arc::clone(self);
        let checked = tokio::task::spawn_blocking(move || {
            let checked = hearings
                .iter()
                .try_for_each(|hearing| broker.check_hearing(hearing));
            if let Err(error) = checked {
                tracing::warn!(error = %Chain(&error), "{UNREADABLE}");
            }
            for topic in topics {
                for (listener, session) in broker.no_longer(&topic) {
                    tracing::info!(
                        principal = %listener.principal(),
                        session = %session,
                        server.name = %topic.server,
                        "a subscription ended because policy no longer allows it"
                    );
                    lose(&topic, &listener);
                }
            }
        });
        // An error says that the broker is ending.
        let _checked = checked.await;
    }

    /// Nobody loses what cannot be checked now: it is checked again soon.
    fn no_longer(&self, topic: &Topic) -> Vec<Part> {
        let checked = self.store.read(|tx| {
            let mut lost = Vec::new();
            for (listener, session) in topic.parts() {
                let who = (listener.principal(), session);
                if !self.may(tx, who, &topic.key())? {
                    lost.push((listener, session));
                }
            }
            Ok(lost)
        });
        checked.unwrap_or_else(|error| {
            tracing::warn!(error = %Chain(&error), "{UNREADABLE}");
            Vec::new()
        })
    }

    /// Whether the resource leads where it did, and this principal may follow it. Who
    /// may ask after a task may follow it.
    fn may(
        &self,
        tx: &Tx<'_>,
        who: (&PrincipalId, SessionId),
        (server, of, name): &Key,
    ) -> Result<bool, StoreError> {
        let (asking, arguments) = asked_of(*of, name);
        let catalogue = self.catalogue.load();
        let route = match asking {
            Asking::Subscribe => catalogue.route(asking, name),
            _ => catalogue.other(server, asking),
        };
        match route.filter(|route| route.tool.server == *server) {
            Some(route) => self.allows(tx, who, (&route, &arguments)),
            None => Ok(false),
        }
    }

    /// The same of a part of a resource, which no list need name.
    fn may_part(
        &self,
        tx: &Tx<'_>,
        who: (&PrincipalId, SessionId),
        (server, uri): (&ServerName, &str),
    ) -> Result<bool, StoreError> {
        match self.catalogue.load().other(server, Asking::Subscribe) {
            Some(route) => self.allows(tx, who, (&route, &value!({ "uri": uri }))),
            None => Ok(false),
        }
    }

    /// Whether a page is still told of: its call was decided, and what was asked there
    /// belongs to a session that may have ended or been frozen.
    fn may_be_in(
        &self,
        tx: &Tx<'_>,
        (principal, session): (&PrincipalId, SessionId),
    ) -> Result<bool, StoreError> {
        let (catalogue, now) = (self.catalogue.load(), Timestamp::now());
        let entry = Entry::of(tx, (session, principal), &catalogue, now)?;
        Ok(entry.facts().is_some_and(|facts| !facts.frozen))
    }

    /// Asks policy, and nothing comes of it but the answer.
    fn allows(
        &self,
        tx: &Tx<'_>,
        (principal, session): (&PrincipalId, SessionId),
        (route, arguments): (&Route, &Value),
    ) -> Result<bool, StoreError> {
        if !self.catalogue.load().shows(principal, route) {
            return Ok(false);
        }
        let Ok(reading) = route.gate.read(&arguments.to_string()) else {
            return Ok(false);
        };
        let now = Timestamp::now();
        let catalogue = self.catalogue.load();
        let entry = Entry::of(tx, (session, principal), &catalogue, now)?;
        let Some(session) = entry.facts() else {
            return Ok(false);
        };
        let asked = (session.id, now);
        let denied = self.settings.denials.read_by(&route.gate, tx, asked);
        // A URI or an id is no amount, and meters count calls of tools.
        let facts = Facts {
            denied_lately: denied?,
            ..Facts::only_of(session)
        };
        let verdict = route
            .gate
            .decide(CallId::next(), principal, &reading, &facts, now);
        Ok(matches!(verdict, Verdict::Allow(_)))
    }
}

/// Whether what is said asks only what the client can be asked. Who then asks after the
/// task is told why not.
fn can_answer(listener: &Listener, heard: &Heard) -> bool {
    let can = heard.of != Of::Task || asks_only(&heard.params, listener.declared());
    if !can {
        tracing::info!(
            principal = %listener.principal(),
            server.name = %heard.server,
            "a task asks what its client cannot be asked, so it is not told"
        );
    }
    can
}

fn lose(topic: &Topic, listener: &Arc<Listener>) {
    topic.remove(listener);
    listener.cut_off();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::World;
    use crate::broker::testing::alice;
    use crate::store::testing::Held;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    const STATUS: &str = "session://status";
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Somebody who follows the status of a session, and was told once that it
    /// changed.
    async fn told(world: &World) -> Arc<Listener> {
        let broker = &world.broker;
        let carrier = crate::broker::Carrier::New;
        let session = broker.session(&alice(), &carrier).await.unwrap();
        let listener = Listener::new(alice(), CancellationToken::new());
        let heard = Heard {
            of: Of::Resource,
            server: crate::broker::own::OWN.parse().unwrap(),
            followed: STATUS.into(),
            session,
            uri: STATUS.into(),
            params: "{}".into(),
        };
        let key = (heard.server.clone(), Of::Resource, STATUS.into());
        let held = broker.subscriptions.topic(&key, (&alice(), None));
        held.unwrap().add(&listener, session);
        listener.push(heard);
        listener
    }

    #[tokio::test]
    async fn whether_somebody_may_hear_is_read_beside_the_runtime_and_not_on_it() {
        let world = World::with_own_tools().await;
        let listener = told(&world).await;
        let held = Held::readers(world.store());
        let (broker, hears) = (Arc::clone(&world.broker), Arc::clone(&listener));
        let heard = tokio::spawn(async move { broker.heard(&hears).await });
        // This thread is the only one of the runtime: what it does here it could not
        // do while it reads the store.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!heard.is_finished());
        assert!(
            held.release(),
            "the runtime stood still for as long as the store was held"
        );
        let params = tokio::time::timeout(PATIENCE, heard).await;
        assert_eq!(params.unwrap().unwrap(), Word::Resource("{}".into()));
        world.end().await;
    }

    #[tokio::test]
    async fn what_cannot_be_checked_waits_and_ends_no_subscription() {
        let world = World::with_own_tools().await;
        let listener = told(&world).await;
        world.tamper("ALTER TABLE session RENAME TO away");
        let begun = Instant::now();
        let hears = world.broker.heard(&listener);
        let heard = tokio::time::timeout(AGAIN / 2, hears).await;
        assert!(heard.is_err(), "{heard:?}");
        world.broker.recheck().await;
        world.tamper("ALTER TABLE away RENAME TO session");
        let hears = world.broker.heard(&listener);
        let params = tokio::time::timeout(PATIENCE, hears).await.unwrap();
        assert_eq!(params, Word::Resource("{}".into()));
        assert!(begun.elapsed() < PATIENCE);
        let cut = tokio::time::timeout(Duration::ZERO, listener.cut());
        assert!(cut.await.is_err(), "the subscription stands");
        world.end().await;
    }
}
