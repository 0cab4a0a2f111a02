//! Pages of the web that clients were asked to have opened, and whose servers say once
//! one was dealt with (MCP 2025-11-25, client/elicitation, completion notifications).
//!
//! A server names a page by an id that is good on one connection, so whose it is follows
//! from both, as with tasks. Who was asked on that connection hears of it, once, and
//! nobody else; after the connection is gone nothing is said.

use super::listener::Heard;
use super::listener::Listener;
use super::listener::Of;
use crate::downstream::AskedPages;
use crate::downstream::ClientId;
use crate::downstream::ConnectionId;
use crate::session::SessionId;
use crate::tool::ServerName;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;

/// How many of them are known at once. Beyond it the oldest is spoken of no more.
const MOST: usize = 1_024;

/// How many of one client, so that what a server asks of one takes nothing from others.
const SHARE: usize = 64;

/// One page.
#[derive(Debug)]
struct Page {
    at: ConnectionId,
    /// What the server calls it, and its client too.
    id: Box<str>,
    client: ClientId,
    session: SessionId,
}

/// All of them, the oldest first, and who hears of them.
#[derive(Debug, Default)]
pub(in crate::broker) struct AllPages(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    pages: VecDeque<Page>,
    clients: BTreeMap<ClientId, Weak<Listener>>,
}

impl AllPages {
    /// Who hears of the pages that its client is asked to have opened.
    pub(in crate::broker) fn hears(&self, listener: &Arc<Listener>) -> ClientId {
        let mut known = self.known();
        known.clients.retain(|_, one| one.strong_count() > 0);
        let client = listener.client();
        known.clients.insert(client, Arc::downgrade(listener));
        client
    }

    /// Takes in what a client was asked.
    pub(super) fn enter(&self, at: ConnectionId, asked: &AskedPages) {
        let mut known = self.known();
        let pages = &mut known.pages;
        for id in &asked.ids {
            // Asked again it is still one.
            pages.retain(|one| one.at != at || one.id != *id || one.client != asked.client);
            let own = pages
                .iter()
                .filter(|one| one.client == asked.client)
                .count();
            let first = match own >= SHARE {
                true => pages.iter().position(|one| one.client == asked.client),
                false => (pages.len() >= MOST).then_some(0),
            };
            if let Some(first) = first {
                pages.remove(first);
            }
            pages.push_back(Page {
                at,
                id: id.clone(),
                client: asked.client,
                session: asked.session,
            });
        }
    }

    /// The connection is gone.
    pub(super) fn gone(&self, at: ConnectionId) {
        self.known().pages.retain(|one| one.at != at);
    }

    /// Tells who was asked on this connection.
    pub(super) fn tell(
        &self,
        (server, at): (&ServerName, ConnectionId),
        (id, params): (&str, &Arc<str>),
    ) {
        let mut known = self.known();
        let Known { pages, clients } = &mut *known;
        let before = pages.len();
        pages.retain(|one| {
            let is_meant = one.at == at && *one.id == *id;
            if is_meant
                && let Some(listener) = clients.get(&one.client).and_then(Weak::upgrade)
                && !listener.has_ended()
            {
                listener.push(Heard {
                    of: Of::Page,
                    server: server.clone(),
                    followed: id.into(),
                    session: one.session,
                    uri: id.into(),
                    params: Arc::clone(params),
                });
            }
            !is_meant
        });
        if pages.len() == before {
            tracing::debug!(server.name = %server, "dropped word of a page that nobody was asked to open here");
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is whole before the lock is given back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::PrincipalId;
    use tokio_util::sync::CancellationToken;

    fn listener(name: &str) -> Arc<Listener> {
        let who = PrincipalId::parse(name).unwrap();
        Listener::new(who, CancellationToken::new())
    }

    fn asked(client: ClientId, id: &str) -> AskedPages {
        AskedPages {
            client,
            session: SessionId::random(),
            ids: vec![id.into()],
        }
    }

    #[tokio::test]
    async fn a_page_is_told_of_once_on_its_own_connection_to_who_was_asked() {
        let all = AllPages::default();
        let server: ServerName = "own".parse().unwrap();
        let (alice, bob) = (listener("alice"), listener("bob"));
        let clients = [all.hears(&alice), all.hears(&bob)];
        assert_eq!(clients[0], all.hears(&alice));
        let [one, other, third] = ConnectionId::several();
        for (at, client) in [(one, clients[0]), (other, clients[1]), (third, clients[1])] {
            all.enter(at, &asked(client, "e"));
            all.enter(at, &asked(client, "e"));
        }
        let says = |at, id: &str| all.tell((&server, at), (id, &"{}".into()));
        says(one, "f");
        says(one, "e");
        says(one, "e");
        all.gone(third);
        says(third, "e");
        says(other, "e");
        for who in [&alice, &bob] {
            let (number, heard) = who.next().await;
            assert_eq!((heard.of, &*heard.followed), (Of::Page, "e"));
            assert!(who.take(number) && !who.take(number + 1));
        }
    }

    #[test]
    fn what_is_asked_of_one_client_takes_nothing_from_another() {
        let all = AllPages::default();
        let both = [listener("alice"), listener("bob")];
        let [at] = ConnectionId::several();
        let [alice, bob] = both.each_ref().map(|one| all.hears(one));
        all.enter(at, &asked(alice, "first"));
        for number in 0..MOST * 2 {
            all.enter(at, &asked(bob, &number.to_string()));
        }
        assert_eq!(all.known().pages.len(), SHARE + 1);
        assert_eq!(&*all.known().pages[0].id, "first");
        for client in 0..MOST * 2 {
            all.enter(at, &asked(ClientId::next(), &client.to_string()));
        }
        assert_eq!(all.known().pages.len(), MOST);
        drop(both);
        let mia = listener("mia");
        all.hears(&mia);
        assert_eq!(all.known().clients.len(), 1);
    }
}
