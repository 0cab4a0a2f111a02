//! Whether who follows a resource still may. Asked before each message, and where
//! policies, tools or sessions may have changed.

use super::Broker;
use super::Heard;
use super::Listener;
use super::Part;
use super::Topic;
use crate::broker::catalogue::Route;
use crate::broker::entry::Entry;
use crate::cause::Chain;
use crate::policy::Facts;
use crate::policy::Verdict;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::ServerName;
use jiff::Timestamp;
use serde_json::json as value;
use std::sync::Arc;

impl Broker {
    /// The next that a listener may hear: the `params` of
    /// `notifications/resources/updated`, an object, as its server wrote them.
    /// Safe to drop while it waits.
    pub async fn heard(self: &Arc<Self>, listener: &Arc<Listener>) -> Arc<str> {
        loop {
            let (number, heard) = listener.next().await;
            let (broker, asks) = (Arc::clone(self), Arc::clone(listener));
            let params = Arc::clone(&heard.params);
            // It reads the store.
            let checked = tokio::task::spawn_blocking(move || broker.may_hear(&asks, &heard));
            // An error says that the broker is ending.
            let may = checked.await.unwrap_or(false);
            if listener.take(number) && may {
                return params;
            }
        }
    }

    /// A part of the followed resource may be one that policy keeps from this
    /// principal.
    fn may_hear(&self, listener: &Arc<Listener>, heard: &Heard) -> bool {
        let who = (listener.principal(), heard.session);
        let (followed, told) = self.checked(|tx| {
            let followed = self.may(tx, who, (&heard.server, &heard.followed))?;
            if *heard.uri == *heard.followed {
                return Ok((followed, followed));
            }
            let part = self.may_part(tx, who, (&heard.server, &heard.uri))?;
            Ok((followed, part))
        });
        if !followed {
            let key = (heard.server.clone(), Arc::clone(&heard.followed));
            let topic = self.subscriptions.topics().get(&key).cloned();
            topic.inspect(|topic| lose(topic, listener));
        }
        followed && told
    }

    /// Ends what is followed by somebody who may not any longer.
    pub(in crate::broker) async fn recheck(self: &Arc<Self>) {
        let topics = self.subscriptions.all();
        if topics.is_empty() {
            return;
        }
        let broker = Arc::clone(self);
        let checked = tokio::task::spawn_blocking(move || {
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

    fn no_longer(&self, topic: &Topic) -> Vec<Part> {
        self.checked(|tx| {
            let mut lost = Vec::new();
            for (listener, session) in topic.parts() {
                let who = (listener.principal(), session);
                if !self.may(tx, who, (&topic.server, &topic.uri))? {
                    lost.push((listener, session));
                }
            }
            Ok(lost)
        })
    }

    /// What cannot be checked is not told, and is checked again.
    fn checked<T: Default>(&self, check: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>) -> T {
        self.store.read(check).unwrap_or_else(|error| {
            tracing::error!(error = %Chain(&error), "nobody can say who may follow a resource now");
            T::default()
        })
    }

    /// Whether the resource leads where it did, and this principal may follow it.
    fn may(
        &self,
        tx: &Tx<'_>,
        who: (&PrincipalId, SessionId),
        (server, uri): (&ServerName, &str),
    ) -> Result<bool, StoreError> {
        let route = self.catalogue.load().route(Asking::Subscribe, uri);
        match route.filter(|route| route.tool.server == *server) {
            Some(route) => self.allows(tx, who, (&route, uri)),
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
            Some(route) => self.allows(tx, who, (&route, uri)),
            None => Ok(false),
        }
    }

    /// Asks policy, and nothing comes of it but the answer.
    fn allows(
        &self,
        tx: &Tx<'_>,
        (principal, session): (&PrincipalId, SessionId),
        (route, uri): (&Route, &str),
    ) -> Result<bool, StoreError> {
        if !self.catalogue.load().shows(principal, route) {
            return Ok(false);
        }
        let arguments = value!({ "uri": uri }).to_string();
        let Ok(reading) = route.gate.read(&arguments) else {
            return Ok(false);
        };
        let now = Timestamp::now();
        let catalogue = self.catalogue.load();
        let entry = Entry::of(tx, (session, principal), &catalogue, now)?;
        let Some(session) = entry.facts() else {
            return Ok(false);
        };
        let facts = Facts {
            session,
            // A URI is no amount, and meters count calls of tools.
            totals: Vec::new(),
            meters: Vec::new(),
            approval: None,
        };
        let verdict = route
            .gate
            .decide(CallId::next(), principal, &reading, &facts, now);
        Ok(matches!(verdict, Verdict::Allow(_)))
    }
}

fn lose(topic: &Topic, listener: &Arc<Listener>) {
    topic.remove(listener);
    listener.cut_off();
}
