//! Transport sessions that servers gave us: which broker speaks in each, and what the
//! next one needs to go on in it.
//!
//! Two processes that spoke in one would use the same ids for their requests, so each
//! is one writer's, until that is dead.

mod table;

pub use table::SCHEMA_17;

use super::Holder;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::ServerName;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::fmt;

/// How long one that nobody took over is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A transport session with a server. Whoever has its id can speak in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Towards {
    /// With which server.
    pub server: ServerName,
    /// Whose instance speaks in it, as [`Holder`] writes it; empty for everybody's.
    pub holder: String,
    /// At which place: a digest of its URL.
    pub replica: String,
    /// Its id.
    pub id: String,
    /// The revision that was agreed on.
    pub revision: String,
    /// Name and version of the server.
    pub says: String,
    /// The text of its capabilities.
    pub capabilities: Option<String>,
    /// The server knows in it which session it is for.
    pub told: bool,
}

impl fmt::Debug for Towards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Towards")
            .field("server", &self.server)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// Takes over what no living writer speaks in, and forgets what nobody took over for
/// thirty days.
///
/// # Errors
///
/// When it cannot be read or written.
pub fn take_over(
    tx: &Tx<'_>,
    own: WriterId,
    living: &[WriterId],
    now: Timestamp,
) -> Result<Vec<Towards>, StoreError> {
    table::forget_unused(tx, now - KEPT)?;
    let mut taken = Vec::new();
    for (writer, towards) in table::all(tx)? {
        if writer == own || !living.contains(&writer) {
            table::insert(tx, own, &towards, now)?;
            taken.push(towards);
        }
    }
    Ok(taken)
}

/// Keeps one, unless another living writer keeps one for the same.
///
/// # Errors
///
/// When it cannot be written.
pub fn keep_towards(
    tx: &Tx<'_>,
    own: WriterId,
    towards: &Towards,
    now: Timestamp,
) -> Result<(), StoreError> {
    table::insert_own(tx, own, towards, now)
}

/// Keeps the one of this server, holder and replica no longer, if it is ours.
///
/// # Errors
///
/// When it cannot be written.
pub fn lose_towards(
    tx: &Tx<'_>,
    own: WriterId,
    (server, holder, replica): (&ServerName, &str, &str),
) -> Result<(), StoreError> {
    table::delete(tx, own, (server, holder, replica))
}

/// Whoever moved to another replica is to be told of in each transport session again: an
/// instance that they come back to knows nothing of what was done elsewhere.
pub(super) fn untell(tx: &Tx<'_>, server: &ServerName, holder: &Holder) -> Result<(), StoreError> {
    match holder {
        Holder::Session(_) => table::untell(tx, server, &holder.to_string()),
        // Which sessions are theirs does not stand there.
        Holder::Principal(_) => table::untell(tx, server, "session:*"),
    }
}

/// A session that is over speaks in none.
pub(super) fn forget(tx: &Tx<'_>, session: SessionId) -> Result<(), StoreError> {
    table::delete_of(tx, &Holder::Session(session).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::in_store;

    #[tokio::test]
    async fn one_writer_speaks_in_it_and_the_next_takes_it_over_when_that_is_dead() {
        let ids = in_store(&[SCHEMA_17], |tx| {
            let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
            let [one, two, three] = [1, 2, 3].map(WriterId::from_number);
            let towards = |id: &str| Towards {
                server: "s".parse().unwrap(),
                holder: String::new(),
                replica: String::new(),
                id: id.to_owned(),
                revision: "2025-11-25".to_owned(),
                says: "s 1".to_owned(),
                capabilities: None,
                told: false,
            };
            let take = |own, living: &[WriterId], now| {
                let taken = take_over(tx, own, living, now)?.into_iter();
                Ok::<_, StoreError>(taken.map(|it| it.id).collect::<Vec<_>>())
            };
            keep_towards(tx, one, &towards("a"), now)?;
            let beside = take(two, &[one], now)?;
            keep_towards(tx, two, &towards("b"), now)?;
            let after = take(three, &[two], now)?;
            keep_towards(tx, three, &towards("c"), now)?;
            lose_towards(tx, two, (&"s".parse().unwrap(), "", ""))?;
            let again = take(two, &[], now)?;
            let late = take(one, &[], now + KEPT + SignedDuration::from_hours(1))?;
            Ok([beside, after, again, late])
        })
        .await;
        let none = Vec::<String>::new();
        assert_eq!(
            ids,
            [
                none.clone(),
                vec!["a".to_owned()],
                vec!["c".to_owned()],
                none
            ]
        );
    }
}
