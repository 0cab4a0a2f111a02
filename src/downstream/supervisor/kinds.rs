//! Looking at a server as clients of other kinds: it may have tools that it lists
//! only to a client that it can ask something.
//!
//! A modern server reads with each request what the client can be asked, and is
//! asked for its lists once more. A legacy one is told once, at its opening: so it
//! is opened for this alone, and ended when its lists were read.

use super::Running;
use super::Supervisor;
use super::not_ready_after;
use crate::downstream::Era;
use crate::downstream::News;
use crate::downstream::Phase;
use crate::downstream::Place;
use crate::downstream::Settings;
use crate::downstream::catalog;
use crate::downstream::catalog::Listing;
use crate::downstream::handshake::Opening;
use crate::downstream::handshake::Refusal;
use crate::downstream::offers::Offers;
use crate::downstream::reach::Reach;
use crate::downstream::remote::Transport;
use crate::tool::Kind;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long a server that was opened for its lists may take to say that they
/// changed: some have them only a moment after they were opened.
const AFTER_OPENING: Duration = Duration::from_millis(250);
/// The shortest time between two looks at a server that has to be opened for each.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Reads the lists of a ready server as each kind of client that somebody
    /// wants them as, and anew each time its own lists were.
    pub(super) async fn follow_kinds(&self, link: &Reach) -> std::convert::Infallible {
        let mut wanted = self.kinds.clone();
        let mut listings = self.listings.subscribe();
        let mut looked: BTreeMap<Kind, u64> = BTreeMap::new();
        loop {
            let now = *listings.borrow_and_update();
            let next = {
                let wanted = wanted.borrow_and_update();
                let next = wanted.iter().find(|kind| looked.get(kind) != Some(&now));
                next.cloned()
            };
            match next {
                Some(kind) => {
                    let again = looked.insert(kind.clone(), now).is_some();
                    self.look(link, kind, again).await;
                }
                None => tokio::select! {
                    // Neither ends before this does.
                    _ = wanted.changed() => {}
                    _ = listings.changed() => {}
                },
            }
        }
    }

    async fn look(&self, link: &Reach, kind: Kind, again: bool) {
        let (era, offers) = match &*self.to.phase.borrow() {
            Phase::Ready { era, offers, .. } => (era.clone(), *offers),
            Phase::Starting | Phase::Failed(_) | Phase::Stopped => return,
        };
        let time = self.settings.start_timeout;
        let asked = Instant::now();
        let read = async {
            match &era {
                Era::Modern(_) => {
                    let declared = kind.declared();
                    catalog::list(link, &self.settings.name, (&era, offers), declared).await
                }
                Era::Legacy(_) => {
                    if again {
                        tokio::time::sleep(BETWEEN_LOOKS).await;
                    }
                    self.opened_as(&kind).await
                }
            }
        };
        let read = tokio::time::timeout(time + BETWEEN_LOOKS, read).await;
        let late = |_elapsed| Err(not_ready_after(time));
        let read = read.unwrap_or_else(late);
        let mut same = false;
        self.to.phase.send_if_modified(|phase| match phase {
            Phase::Ready { kinds, fresh, .. } => {
                // Where it failed nothing is known, which is an answer too.
                let remembered = read.as_ref().map(Listing::remembered).unwrap_or_default();
                same = read.is_ok() && kinds.get(&kind) == Some(&remembered);
                kinds.insert(kind.clone(), remembered);
                if let Ok(listing) = &read {
                    fresh.and(&listing.lasts, asked);
                }
                true
            }
            Phase::Starting | Phase::Failed(_) | Phase::Stopped => false,
        });
        match same {
            true => self.nothing_new(kind),
            false => self.tell_listing(kind, offers, read),
        }
    }

    fn tell_listing(&self, kind: Kind, offers: Offers, read: Result<Listing, String>) {
        let server = self.settings.name.clone();
        self.report(match read {
            Ok(listing) => News::Tools {
                server,
                kind,
                offers,
                definitions: listing.definitions,
                refused: listing.refused,
                resources: listing.resources,
            },
            Err(why) => News::NotListed { server, kind, why },
        });
    }

    /// Opens the server as a client of this kind, reads its lists and ends it.
    async fn opened_as(&self, kind: &Kind) -> Result<Listing, String> {
        let settings = Settings {
            declared: Some(kind.declared().clone()),
            keeper: None,
            ..self.settings.clone()
        };
        let running = match &settings.place {
            Place::Child(program) => Running::spawn(&settings, program),
            Place::Remote(remote) => {
                let paired = self.pair || remote.transport() == Transport::Sse;
                Running::reach(&settings, remote, paired).await
            }
        };
        let mut running = running.map_err(|trouble| trouble.why)?;
        let opened = async {
            let connection = &mut running.connection;
            let opened = Self::open_by(connection, &settings, Opening::Initialize);
            let (greeting, (listing, _asked)) = opened.await?;
            let link = running.connection.link.clone();
            let changed = tokio::time::timeout(AFTER_OPENING, link.tools_changed());
            if !greeting.offers.tells_changes || changed.await.is_err() {
                return Ok(listing);
            }
            let declared = kind.declared();
            let opened = (&greeting.era, greeting.offers);
            let anew = catalog::list(&link, &settings.name, opened, declared).await;
            anew.map_err(Refusal::Failed)
        };
        let listing = tokio::time::timeout(settings.start_timeout, opened).await;
        running.end("its lists were read").await;
        match listing {
            Ok(Ok(listing)) => Ok(listing),
            Ok(Err(Refusal::Failed(why))) => Err(why),
            Ok(Err(Refusal::ProbeKilled)) => Err("it ended when it was opened".to_owned()),
            Err(_elapsed) => Err(not_ready_after(settings.start_timeout)),
        }
    }
}
