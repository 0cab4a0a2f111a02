//! How severe what a server logs is.

use std::str::FromStr;

/// A level of RFC 5424, as MCP spells them (2025-11-25, server/utilities/logging).
/// They sort by severity, the least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the words are the levels")]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    /// All there are, the least severe first.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }
}

/// The text is no level.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of debug, info, notice, warning, error, critical, alert, emergency")]
pub struct LevelError;

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or(LevelError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_sort_by_how_severe_they_are_and_are_read_back() {
        assert!(Level::ALL.is_sorted());
        for level in Level::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
        }
        let problem = LevelError.to_string();
        assert!(
            Level::ALL
                .iter()
                .all(|level| problem.contains(level.as_str()))
        );
        assert_eq!("INFO".parse::<Level>(), Err(LevelError));
    }
}
