//! On which replica of a server a session is, or a principal with all of theirs.
//! It is written once and stays, over restarts and changes of the list, until that
//! replica is not there.

mod table;

pub use table::SCHEMA_11;

use super::By;
use super::What;
use super::note;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::ServerName;
use jiff::Timestamp;
use std::fmt;

/// Who is on a replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// One session, whoever calls in it.
    Session(SessionId),
    /// One principal, in whichever session.
    Principal(PrincipalId),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => write!(f, "session:{id}"),
            Self::Principal(id) => write!(f, "principal:{id}"),
        }
    }
}

/// That somebody goes to a replica.
#[derive(Clone, Debug)]
pub struct Placing {
    /// Of which server.
    pub server: ServerName,
    /// Who goes.
    pub holder: Holder,
    /// In which session that was noticed.
    pub session: SessionId,
    /// From which replica and why, where they were on one: its URL as the operator
    /// wrote it.
    pub from: Option<(String, String)>,
    /// To which.
    pub to: String,
}

impl Placing {
    /// What the history says of a move. What follows a `?` in a URL may be a secret.
    fn detail(&self, from: &str, why: &str) -> String {
        let shown = |url: &str| url.split('?').next().unwrap_or_default().to_owned();
        let whose = match &self.holder {
            Holder::Session(_) => String::new(),
            Holder::Principal(id) => format!(" with all sessions of {id}"),
        };
        let (server, from, to) = (&self.server, shown(from), shown(&self.to));
        format!("{server}: from {from} to {to}{whose}, because {why}")
    }
}

/// The replica that somebody is on, by its URL as the operator wrote it.
///
/// # Errors
///
/// When it cannot be read.
pub fn placed(
    tx: &Tx<'_>,
    server: &ServerName,
    holder: &Holder,
) -> Result<Option<String>, StoreError> {
    table::placement(tx, server, &holder.to_string())
}

/// Since when somebody is on the replica that they are on.
///
/// # Errors
///
/// When it cannot be read.
pub fn placed_since(
    tx: &Tx<'_>,
    server: &ServerName,
    holder: &Holder,
) -> Result<Option<Timestamp>, StoreError> {
    table::placement_since(tx, server, &holder.to_string())
}

/// Puts somebody on a replica, unless somebody else has put them elsewhere
/// meanwhile. Returns where they are. A move stands in the history of the session.
///
/// # Errors
///
/// When it cannot be written.
pub fn place(tx: &Tx<'_>, placing: &Placing, now: Timestamp) -> Result<String, StoreError> {
    let holder = placing.holder.to_string();
    let key = (&placing.server, &*holder);
    match &placing.from {
        None => {
            table::placement_insert(tx, key, &placing.to, now)?;
        }
        Some((from, why)) => {
            if table::placement_move(tx, key, (from, &placing.to), now)? {
                let detail = placing.detail(from, why);
                let by = By::Server(&placing.server);
                note(tx, placing.session, What::Moved, Some(&detail), by, now)?;
            }
        }
    }
    let stands = table::placement(tx, &placing.server, &holder)?;
    Ok(stands.unwrap_or_else(|| placing.to.clone()))
}

/// A session that is over is nowhere.
pub(super) fn forget(tx: &Tx<'_>, session: SessionId) -> Result<(), StoreError> {
    table::placements_delete(tx, &Holder::Session(session).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions;
    use crate::store::testing::in_store;

    const SCHEMAS: [&str; 7] = [
        sessions::SCHEMA,
        sessions::SCHEMA_7,
        SCHEMA_11,
        sessions::SCHEMA_13,
        sessions::SCHEMA_17,
        sessions::SCHEMA_22,
        sessions::SCHEMA_27,
    ];

    #[tokio::test]
    async fn of_two_who_move_a_session_one_does_and_both_learn_where_it_is() {
        let (stands, history, after) = in_store(&SCHEMAS, |tx| {
            let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
            let alice = PrincipalId::parse("alice").unwrap();
            let session = sessions::create(tx, &alice, None, now)?;
            let holder = Holder::Session(session);
            let goes = |from: Option<&str>, to: &str| Placing {
                server: "s".parse().unwrap(),
                holder: holder.clone(),
                session,
                from: from.map(|from| (from.to_owned(), "it is not there".to_owned())),
                to: to.to_owned(),
            };
            let stands = [
                place(tx, &goes(None, "http://a/?k=x"), now)?,
                place(tx, &goes(None, "http://b/"), now)?,
                place(tx, &goes(Some("http://a/?k=x"), "http://b/"), now)?,
                place(tx, &goes(Some("http://a/?k=x"), "http://c/"), now)?,
            ];
            let history = sessions::history(tx, session, 10)?;
            sessions::end(tx, session, sessions::Why::Ended, (By::Operator, now))?;
            let after = placed(tx, &"s".parse().unwrap(), &holder)?;
            Ok((stands, history, after))
        })
        .await;
        assert_eq!(
            stands,
            ["http://a/?k=x", "http://a/?k=x", "http://b/", "http://b/"]
        );
        let history: Vec<_> = history
            .iter()
            .map(|it| (it.what, it.detail.as_deref()))
            .collect();
        let moved = "s: from http://a/ to http://b/, because it is not there";
        assert_eq!(history, [(What::Moved, Some(moved))]);
        assert_eq!(after, None);
    }
}
