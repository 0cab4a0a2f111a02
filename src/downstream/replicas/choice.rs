//! Which replica takes a call.
//!
//! Each holder, a session or a principal, has an order of its own of all replicas:
//! by the digest of server, holder and URL (rendezvous hashing). It begins with the
//! first that is there. So a replica that leaves the list moves nobody but those
//! who were on it, and one that joins takes its part of the new ones.

use super::Replica;
use super::Replicas;
use crate::downstream::Cause;
use crate::downstream::Downstream;
use crate::downstream::Phase;
use crate::tool::Digest;
use std::cmp::Reverse;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long a holder that is on no replica yet waits for all of them to have
/// answered or failed once.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// How long a holder waits for its replica to be there again, where that was lost just
/// now.
const ONCE_MORE: Duration = Duration::from_secs(5);

/// Whose calls go to one and the same replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Those of one session.
    #[default]
    Session,
    /// Those of one principal.
    Principal,
    /// Nobody's: each goes to the next.
    Nobody,
}

/// Why a replica takes no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The operator lists it no longer.
    NotListed,
    /// It cannot be reached, or said that it does not serve.
    Away,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotListed => "it is no longer among the `urls`",
            Self::Away => "it is not there",
        })
    }
}

impl Replicas {
    /// The replica at this URL, if it is there.
    ///
    /// # Errors
    ///
    /// Why it takes no call.
    pub async fn at(&self, url: &str) -> Result<&Replica, Absent> {
        let known = self.all().find(|one| *one.url == *url);
        let replica = known.ok_or(Absent::NotListed)?;
        let begun = replica.server.settled();
        let _settled_or_late = tokio::time::timeout(self.start_timeout(), begun).await;
        let there = replica.server.is_reached().await || replica.server.is_back().await;
        match there {
            true => Ok(replica),
            false => Err(Absent::Away),
        }
    }

    /// The first in this holder's order that is there. None where none is within
    /// the time that a start may take.
    pub async fn first_for(&self, holder: &str) -> Option<&Replica> {
        let weight = |one: &&Replica| {
            let parts = [self.server.as_str(), holder, &*one.url];
            *Digest::of_parts(parts.map(str::as_bytes)).as_bytes()
        };
        let mut order: Vec<&Replica> = self.all().collect();
        order.sort_by_cached_key(|one| Reverse(weight(one)));
        self.first_of(&order).await
    }

    /// The next in turn that is there. None where none is within the time that a
    /// start may take.
    pub async fn next(&self) -> Option<&Replica> {
        let mut order: Vec<&Replica> = self.all().collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(order.len()).unwrap_or_default();
        order.rotate_left(first);
        self.first_of(&order).await
    }

    async fn first_of<'a>(&self, order: &[&'a Replica]) -> Option<&'a Replica> {
        let _all_or_late = tokio::time::timeout(FIRST_LOOK, self.settled()).await;
        let until = Instant::now() + self.start_timeout();
        let mut woken = false;
        loop {
            for one in order {
                if one.server.is_reached().await {
                    return Some(one);
                }
            }
            if !std::mem::replace(&mut woken, true) {
                order.iter().for_each(|one| one.server.wake());
            }
            let late = Instant::now() >= until;
            if late || tokio::time::timeout_at(until, self.up()).await.is_err() {
                return None;
            }
        }
    }
}

impl Downstream {
    /// Whether it takes calls now. Of a server elsewhere only a connection tells:
    /// so there is one to it when this says yes.
    async fn is_reached(&self) -> bool {
        let link = match &*self.desk.phase.borrow() {
            Phase::Ready { link, .. } => Some(link.clone()),
            Phase::Starting | Phase::Failed(_) | Phase::Stopped => None,
        };
        match link {
            Some(link) if !link.has_ended() => link.is_reached().await,
            Some(_) | None => false,
        }
    }

    /// Whether one more attempt finds it there, where it was lost just now. One that
    /// said that it does not serve, or was tried in vain since, is away.
    async fn is_back(&self) -> bool {
        let mut phase = self.watched();
        let back = async {
            loop {
                match &*phase.borrow_and_update() {
                    Phase::Ready { link, .. } if !link.has_ended() => return true,
                    Phase::Failed(lost) if lost.attempts == 1 && lost.cause == Cause::Server => {
                        self.wake();
                    }
                    Phase::Ready { link, .. } if !link.is_down() => {}
                    Phase::Ready { .. } | Phase::Failed(_) | Phase::Starting | Phase::Stopped => {
                        return false;
                    }
                }
                if phase.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(ONCE_MORE, back).await.unwrap_or(false)
    }

    /// Makes the next attempt to start it come early.
    fn wake(&self) {
        self.desk.wake.notify_waiters();
    }
}
