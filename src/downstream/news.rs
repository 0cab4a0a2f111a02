//! What is told of a server outside of calls.

use super::Era;
use super::Offers;
use super::Resources;
use crate::tool::Kind;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;

/// How a server is, for people and for the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Never ready yet, and no attempt has failed yet.
    Starting,
    /// It takes calls.
    Ready {
        /// Which revision it speaks.
        era: Era,
        /// Name and version as it gives them: for display, never for decisions.
        server: String,
    },
    /// The last attempt failed, or the server ended; it is tried again.
    Failed {
        /// What went wrong.
        why: String,
        /// How many times in a row.
        attempts: u32,
    },
    /// It was stopped, and stays so.
    Stopped,
}

impl State {
    /// Whether it takes calls.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }
}

/// What a server has to say outside of calls.
#[derive(Clone, Debug)]
pub enum News {
    /// Its tools, all of them, each time they may have changed.
    Tools {
        /// Which server.
        server: ServerName,
        /// The kind of clients that it lists them to; where it is one that can be
        /// asked nothing, it lists them to all.
        kind: Kind,
        /// What the server has.
        offers: Offers,
        /// The tools that can be called.
        definitions: Vec<ToolDefinition>,
        /// The entries that were no usable tool, and why.
        refused: Vec<String>,
        /// Its resources.
        resources: Resources,
    },
    /// Its lists were read again, and are what they were, or could not be had.
    NothingNew {
        /// Which server.
        server: ServerName,
        /// As what kind of clients.
        kind: Kind,
    },
    /// What it lists to a kind of clients cannot be had at the moment.
    NotListed {
        /// Which server.
        server: ServerName,
        /// The kind.
        kind: Kind,
        /// Why, in words.
        why: String,
    },
    /// Its [`State`] changed.
    State {
        /// Which server.
        server: ServerName,
    },
}
