//! Reading the lists of a ready server again: where it says that they changed, and
//! where its own time for them is over and a client asks for one.

use super::Supervisor;
use crate::downstream::Era;
use crate::downstream::News;
use crate::downstream::Phase;
use crate::downstream::catalog;
use crate::downstream::freshness::Fresh;
use crate::downstream::offers::Offers;
use crate::downstream::reach::Reach;
use crate::tool::Kind;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest time between two readings of the tools, for a server that says
/// with each that they changed.
const BETWEEN_LISTS: Duration = Duration::from_millis(250);

/// Why lists are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The server says that they changed.
    Said,
    /// What it said of how long they are fresh is over.
    Over,
}

impl Supervisor {
    pub(super) async fn follow_changes(&self, link: &Reach) -> Infallible {
        loop {
            let why = tokio::select! {
                biased;
                () = link.tools_changed() => Why::Said,
                () = self.again.notified() => Why::Over,
            };
            let now = Instant::now();
            let opened = match &*self.to.phase.borrow() {
                // Somebody else had them read since this was asked for.
                Phase::Ready { fresh, .. } if why == Why::Over && !fresh.is_any_over(now) => None,
                Phase::Ready { era, offers, .. } => Some((era.clone(), *offers)),
                Phase::Starting | Phase::Failed(_) | Phase::Stopped => None,
            };
            if let Some((era, offers)) = opened {
                let reading = self.read_again(link, (&era, offers), why);
                match why {
                    Why::Said => {
                        reading.await;
                        tokio::time::sleep(BETWEEN_LISTS).await;
                    }
                    Why::Over => tokio::select! {
                        biased;
                        () = reading => {}
                        // All of it is read once more, and clients wait for that.
                        () = link.tools_changed() => link.note_change(),
                    },
                }
            }
        }
    }

    async fn read_again(&self, link: &Reach, (era, offers): (&Era, Offers), why: Why) {
        let asked = Instant::now();
        let declared = self.settings.declared.clone().unwrap_or_default();
        let listing = catalog::list(link, &self.settings.name, (era, offers), &declared);
        let listing = match tokio::time::timeout(self.settings.start_timeout, listing).await {
            Ok(Ok(listing)) => listing,
            Ok(Err(problem)) => {
                tracing::warn!(server.name = %self.settings.name, why = problem, "the tools cannot be listed again; the known ones stay");
                return self.stays();
            }
            Err(_) => {
                tracing::warn!(server.name = %self.settings.name, "the tools were not listed again in time; the known ones stay");
                return self.stays();
            }
        };
        let mut same = false;
        self.to.phase.send_if_modified(|phase| {
            if let Phase::Ready { listed, fresh, .. } = phase {
                let remembered = listing.remembered();
                same = *listed == remembered;
                *listed = remembered;
                *fresh = Fresh::of(&listing.lasts, (asked, Instant::now()));
            }
            // Nobody waits for this.
            false
        });
        match same && why == Why::Over {
            true => self.nothing_new(Kind::default()),
            false => self.tell_tools(offers, listing),
        }
        self.listings.send_modify(|listings| *listings += 1);
    }

    fn stays(&self) {
        let mut waited_for = vec![Kind::default()];
        self.to.phase.send_if_modified(|phase| {
            if let Phase::Ready { fresh, kinds, .. } = phase {
                fresh.failed(Instant::now());
                waited_for.extend(kinds.keys().cloned());
            }
            false
        });
        for kind in waited_for {
            self.nothing_new(kind);
        }
    }

    /// Nobody need wait for what was read.
    pub(super) fn nothing_new(&self, kind: Kind) {
        self.report(News::NothingNew {
            server: self.settings.name.clone(),
            kind,
        });
    }
}
