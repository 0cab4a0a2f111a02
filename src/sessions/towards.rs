//! Transport sessions that servers gave us: which broker speaks in each, and what the
//! next one needs to go on in it.
//!
//! Two processes that spoke in one would use the same ids for their requests, so each
//! is one writer's, until that is dead.

mod table;

pub use table::SCHEMA_17;
pub use table::SCHEMA_22;

use super::Holder;
use crate::session::Resumed;
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
    /// In which stay of its session the server was told in it to resume.
    pub resumed: Resumed,
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
/// thirty days. One in which its instance was being told to resume when its writer died is
/// forgotten too: nobody knows whether it was, and in a new one it surely was not.
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
        if writer != own && living.contains(&writer) {
            continue;
        }
        if towards.resumed == Resumed::Begun {
            let key = (&towards.server, &*towards.holder, &*towards.replica);
            table::delete(tx, writer, key)?;
        } else {
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

/// A session that is over speaks in none.
pub(super) fn forget(tx: &Tx<'_>, session: SessionId) -> Result<(), StoreError> {
    table::delete_of(tx, &Holder::Session(session).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::in_store;

    const SCHEMAS: [&str; 3] = [crate::sessions::SCHEMA_11, SCHEMA_17, SCHEMA_22];

    #[tokio::test]
    async fn what_an_instance_was_told_is_known_and_where_nobody_knows_it_is_not_gone_on_in() {
        let taken = in_store(&SCHEMAS, |tx| {
            let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
            let [dead, own] = [1, 2].map(WriterId::from_number);
            let told = [
                Resumed::Never,
                Resumed::Begun,
                Resumed::In(None),
                Resumed::In(Some(7)),
            ];
            for (number, resumed) in (0..).zip(told) {
                let towards = Towards {
                    server: "s".parse().unwrap(),
                    holder: format!("session:{number}"),
                    replica: String::new(),
                    id: number.to_string(),
                    revision: "2025-11-25".to_owned(),
                    says: "s 1".to_owned(),
                    capabilities: None,
                    resumed,
                };
                keep_towards(tx, dead, &towards, now)?;
            }
            let first = take_over(tx, own, &[], now)?;
            let again = take_over(tx, own, &[], now)?;
            assert_eq!(first, again);
            Ok(first.iter().map(|one| one.resumed).collect::<Vec<_>>())
        })
        .await;
        let due = [Resumed::Never, Resumed::In(None), Resumed::In(Some(7))];
        assert_eq!(taken, due);
    }

    #[tokio::test]
    async fn one_writer_speaks_in_it_and_the_next_takes_it_over_when_that_is_dead() {
        let ids = in_store(&SCHEMAS, |tx| {
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
                resumed: Resumed::Never,
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
