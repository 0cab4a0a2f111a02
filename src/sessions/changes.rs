//! What became of a session besides its calls: who paused it, resumed it, ended it.

use super::table;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::ServerName;
use jiff::Timestamp;
use std::fmt;

/// Something that became of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
    /// Who did it, as [`By`] writes it.
    pub by: String,
    /// What else is known of it.
    pub detail: Option<String>,
}

/// What can become of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It got one more name.
    Named,
    /// It waits.
    Paused,
    /// It goes on.
    Resumed,
    /// An operator stopped it, or what was denied in it.
    Frozen,
    /// An operator let it go on.
    Thawed,
    /// It came in touch with something that has a label, or an operator says so.
    Labelled,
    /// An operator says that a label holds no longer.
    Unlabelled,
    /// It is over.
    Ended,
    /// It is over, because nobody used it.
    Expired,
    /// Something arrived from outside.
    Event,
    /// Something was sent by somebody who may not.
    EventRefused,
    /// Its calls to a server go to another replica.
    Moved,
    /// The instance that a server has for it was started again.
    Revived,
}

impl What {
    /// All there are.
    const ALL: [Self; 13] = [
        Self::Named,
        Self::Paused,
        Self::Resumed,
        Self::Frozen,
        Self::Thawed,
        Self::Labelled,
        Self::Unlabelled,
        Self::Ended,
        Self::Expired,
        Self::Event,
        Self::EventRefused,
        Self::Moved,
        Self::Revived,
    ];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Frozen => "frozen",
            Self::Thawed => "thawed",
            Self::Labelled => "labelled",
            Self::Unlabelled => "unlabelled",
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Event => "event",
            Self::EventRefused => "event-refused",
            Self::Moved => "moved",
            Self::Revived => "revived",
        }
    }

    /// Reads the word that was stored.
    pub(super) fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.as_str() == word)
    }
}

/// Who changed a session.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// Somebody who is known, by way of a call.
    Principal(&'a PrincipalId),
    /// Whoever has the store: by the command line.
    Operator,
    /// The event of this id.
    Event(&'a str),
    /// Nobody: the time was up.
    Time,
    /// Nobody: what became of this server.
    Server(&'a ServerName),
    /// Nobody: too many of its calls were denied.
    Denials,
}

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(id) => write!(f, "principal:{id}"),
            Self::Operator => f.write_str("operator"),
            Self::Event(id) => write!(f, "event:{id}"),
            Self::Time => f.write_str("time"),
            Self::Server(name) => write!(f, "server:{name}"),
            Self::Denials => f.write_str("denials"),
        }
    }
}

/// Notes what became of a session.
///
/// # Errors
///
/// When it cannot be written.
#[expect(
    clippy::too_many_arguments,
    reason = "who, what, where, when, and what else is known of it"
)]
pub fn note(
    tx: &Tx<'_>,
    session: SessionId,
    what: What,
    detail: Option<&str>,
    by: By<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    table::change_insert(tx, session, (what, detail), &by.to_string(), now)
}

/// What became of a session, the newest at the end, at most so many.
///
/// # Errors
///
/// When it cannot be read.
pub fn history(tx: &Tx<'_>, session: SessionId, newest: u32) -> Result<Vec<Change>, StoreError> {
    table::changes(tx, session, newest)
}

/// When this last became of a session.
///
/// # Errors
///
/// When it cannot be read.
pub fn last(tx: &Tx<'_>, session: SessionId, what: What) -> Result<Option<Timestamp>, StoreError> {
    table::change_last(tx, session, what)
}

/// How often this became of a session.
///
/// # Errors
///
/// When it cannot be read.
pub fn noted(tx: &Tx<'_>, session: SessionId, what: What) -> Result<u32, StoreError> {
    table::changes_of(tx, session, what)
}
