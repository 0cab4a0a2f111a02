//! The two kinds of MCP that servers speak.

use std::fmt;

/// Which kind of protocol a server speaks, with the exact revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Era {
    /// Opened by `initialize` (2024-11-05 to 2025-11-25).
    Legacy(String),
    /// Stateless, each request complete in itself (2026-07-28).
    Modern(String),
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Legacy(revision) | Self::Modern(revision) => f.write_str(revision),
        }
    }
}
