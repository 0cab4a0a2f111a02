//! The words of a session: its id, its handle, the state policy asks about.

mod found;
mod label;
mod resumed;

pub use found::Choice;
pub use found::Found;
pub use found::Named;
pub use found::Rule;
pub use found::RuleError;
pub use label::Label;
pub use label::LabelError;
pub use resumed::Resumed;
pub use resumed::Stay;

use crate::principal::PrincipalId;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use uuid::Uuid;

/// Names one durable session. Random, and still no credential: who may use the
/// session is decided at each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Uuid);

impl SessionId {
    /// A new random id (122 bits from the system's generator).
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id of these bytes, for tests and for reading it back.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The bytes that are stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for SessionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(Self)
    }
}

/// A name for a session, unique for its owner: `claim-99`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(Arc<str>);

/// Why a text is no handle.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no session handle: write 1 to 100 of the characters A-Z a-z 0-9 . _ -, and neither `.` nor `..` nor a session id"
)]
pub struct HandleError {
    text: String,
}

impl Handle {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Handle {
    type Err = HandleError;

    /// Reads a handle. A text that reads as a session id is refused, so that
    /// one text never means two sessions; and `.` and `..`, because whoever resolves
    /// the path of a URL takes them away.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let usable = (1..=100).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && ![".", ".."].contains(&text)
            && SessionId::from_str(text).is_err();
        if usable {
            Ok(Self(text.into()))
        } else {
            Err(HandleError {
                text: text.chars().take(80).collect(),
            })
        }
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one transport session of a legacy client (`Mcp-Session-Id`): a random
/// pointer to a principal and a session, and no credential for either.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportId(Arc<str>);

impl TransportId {
    /// A new random id (122 bits from the system's generator).
    pub fn random() -> Self {
        Self(Uuid::new_v4().simple().to_string().into())
    }

    /// Reads the text of an id of ours. None where it cannot be one.
    pub fn read(text: &str) -> Option<Self> {
        let usable = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        usable.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The session of what is asked in none.
pub const NO_SESSION: SessionId = SessionId(Uuid::nil());

/// What policy may know of a session at the moment of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// Which session.
    pub id: SessionId,
    /// Whose it is. Somebody else who calls in it is a guest.
    pub owner: PrincipalId,
    /// What the session has come in touch with ("untrusted-web").
    pub labels: BTreeSet<String>,
    /// Whether it was stopped: by an operator, or by what was denied in it.
    pub frozen: bool,
    /// Whether it waits for something, and nothing is sent until it goes on.
    pub paused: bool,
}

impl SessionFacts {
    /// Of a session in which nothing happened yet.
    pub fn untouched(id: SessionId, owner: &PrincipalId) -> Self {
        Self {
            id,
            owner: owner.clone(),
            labels: BTreeSet::new(),
            frozen: false,
            paused: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_none_that_whoever_resolves_a_path_takes_away() {
        for (text, is_one) in [
            (".", false),
            ("..", false),
            ("...", true),
            (".a", true),
            ("a..", true),
            ("", false),
            ("a/b", false),
            ("00000000-0000-4000-8000-000000000000", false),
        ] {
            assert_eq!(Handle::from_str(text).is_ok(), is_one, "{text}");
        }
    }
}
