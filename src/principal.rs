//! Who asks: the verified caller and what is known of them.
//!
//! A principal is (issuer, subject) from the verified credential, never from
//! anything that a client wrote into a message (MCP 2026-07-28, `basic/index`
//! on `clientInfo`: self-reported, not for security decisions).

use crate::visible;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Names one principal for good: who vouches for them and under which name.
///
/// Its [`Display`](fmt::Display) form is the key in the store and the id of the
/// Cedar entity: `alice` for the local issuer, `issuer|subject` otherwise. The
/// form is unambiguous because neither part may contain `|`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalId {
    issuer: Arc<str>,
    subject: Arc<str>,
}

/// Why a text is no name of a principal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalNameError {
    /// There is no text.
    #[error("no name was given (is `$USER` empty?): write the name of a principal")]
    Empty,
    /// The text cannot be one.
    #[error(
        "`{0}` cannot name an issuer or subject: write 1 to 255 bytes without `|` and characters that cannot be seen"
    )]
    Unusable(String),
}

impl PrincipalId {
    /// The issuer of principals that the operator wrote down in `principals.toml`.
    pub const LOCAL: &str = "local";

    /// Reads a principal's name.
    ///
    /// # Errors
    ///
    /// When either part is empty, longer than 255 bytes, or contains `|` or a
    /// character that cannot be seen.
    pub fn new(issuer: &str, subject: &str) -> Result<Self, PrincipalNameError> {
        for text in [issuer, subject] {
            if !visible::is_name(text, 255) || text.contains('|') {
                let text = text.escape_debug().take(80).collect();
                return Err(PrincipalNameError::Unusable(text));
            }
        }
        Ok(Self {
            issuer: issuer.into(),
            subject: subject.into(),
        })
    }

    /// Reads the [`Display`](fmt::Display) form back.
    ///
    /// # Errors
    ///
    /// As for [`PrincipalId::new`].
    pub fn parse(text: &str) -> Result<Self, PrincipalNameError> {
        if text.is_empty() {
            return Err(PrincipalNameError::Empty);
        }
        let (issuer, subject) = text.split_once('|').unwrap_or((Self::LOCAL, text));
        Self::new(issuer, subject)
    }

    /// Who vouches for the subject.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The name at that issuer.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if &*self.issuer == Self::LOCAL {
            f.pad(&self.subject)
        } else {
            f.pad(&format!("{}|{}", self.issuer, self.subject))
        }
    }
}

/// What policy may know of a principal. Constant between reloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Who it is.
    pub id: PrincipalId,
    /// The primary role, one of [`Principals::roles`].
    pub role: String,
    /// Teams, in the operator's words.
    pub teams: BTreeSet<String>,
    /// The limits on amounts.
    pub limits: Limits,
    /// Further limits by name, in minor units, for `principal.getTag("refund.limit")`.
    pub named_limits: BTreeMap<String, i64>,
    /// Further attributes, seen by policy as optional attributes of the user.
    pub attributes: BTreeMap<String, Attribute>,
    /// The agent software that acts for the user, where the operator named it.
    pub agent: Option<Agent>,
}

/// How much one principal may move, in minor units (cents).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// By one call.
    pub call: i64,
    /// In one session.
    pub session: i64,
    /// In one calendar day of the store's time zone.
    pub day: i64,
}

/// The value of a further attribute of a principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Cedar `String`.
    Text(String),
    /// Cedar `Bool`.
    Flag(bool),
    /// Cedar `Long`.
    Number(i64),
    /// Cedar `Set<String>`.
    Texts(BTreeSet<String>),
}

/// Agent software that acts for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name, unique among agents.
    pub name: String,
    /// The client software, for example `claude-code/2`.
    pub client: String,
    /// Whether the operator trusts it.
    pub trusted: bool,
}

/// All principals that the operator declared, with the hierarchy of roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principals {
    /// Each role with the roles that it includes (Manager includes Senior).
    /// Free of cycles and of undeclared names.
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// The principals by id.
    pub by_id: BTreeMap<PrincipalId, Principal>,
}
