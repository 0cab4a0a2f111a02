//! Meters that the operator declared: what they count of which tools, for whom
//! and over which time.

use super::Asking;
use super::ServerName;
use super::ToolId;
use jiff::SignedDuration;
use std::fmt;
use std::sync::Arc;

/// One meter of the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Its name: policies see the total as `context.meters.NAME`.
    pub name: Arc<str>,
    /// The tools whose calls it counts.
    pub tools: Vec<Counted>,
    /// The argument that it sums, in minor units (cents) where it is money; where
    /// there is none, each call counts as 1.
    pub sum: Option<Arc<str>>,
    /// Who shares one total.
    pub per: Per,
    /// Over which time.
    pub window: Window,
}

/// Tools that a meter counts, by the names that their server gave them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted {
    /// Whose they are.
    pub server: ServerName,
    /// Which of them; all where there is no name.
    pub tool: Option<Arc<str>>,
}

/// Who shares one total of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// All calls of a session, its guests' too.
    Session,
    /// All calls of a principal, in whatever session.
    Principal,
    /// All calls of all principals of a role, which is the one that each was given
    /// and none that it includes.
    Role,
    /// All calls of a tool, whoever makes them.
    Tool,
}

/// Over which time a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// For good.
    Always,
    /// A calendar day of the store's time zone.
    Day,
    /// The last so much time, at whatever instant one looks. At least a second.
    Sliding(SignedDuration),
}

impl Meter {
    /// Whether it counts the calls of a tool.
    pub fn counts(&self, tool: &ToolId) -> bool {
        tool.asking() == Asking::Tool && self.tools.iter().any(|counted| counted.covers(tool))
    }

    /// What the store knows it by. A meter that is declared differently is another
    /// one: what it counted before was something else. Which tools it counts does
    /// not matter to that.
    pub fn key(&self) -> String {
        let sum = self.sum.as_deref().unwrap_or("");
        format!(
            "{} per={} window={} sum={sum}",
            self.name, self.per, self.window
        )
    }
}

impl Counted {
    fn covers(&self, tool: &ToolId) -> bool {
        let named = self.tool.as_ref();
        self.server == tool.server && named.is_none_or(|name| *name == tool.name)
    }
}

impl Per {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Principal => "principal",
            Self::Role => "role",
            Self::Tool => "tool",
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.tool.as_deref().unwrap_or("*"))
    }
}

/// `all`, `day`, or a time in the form of ISO 8601, however it was written.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("all"),
            Self::Day => f.write_str("day"),
            Self::Sliding(time) => time.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(tools: &[(&str, Option<&str>)]) -> Meter {
        let counted = tools.iter().map(|(server, tool)| Counted {
            server: server.parse().unwrap(),
            tool: tool.map(Into::into),
        });
        Meter {
            name: "m".into(),
            tools: counted.collect(),
            sum: None,
            per: Per::Role,
            window: Window::Sliding(SignedDuration::from_mins(60)),
        }
    }

    #[test]
    fn a_meter_counts_tools_and_nothing_else_of_a_server() {
        let tool = |server: &str, name: &str| ToolId {
            server: server.parse().unwrap(),
            name: name.into(),
        };
        let (one, all) = (meter(&[("a", Some("x"))]), meter(&[("a", None)]));
        for (server, name, by_one, by_all) in [
            ("a", "x", true, true),
            ("a", "y", false, true),
            ("b", "x", false, false),
            ("a", "prompts/x", false, false),
            ("a", "resources/read", false, false),
        ] {
            let tool = tool(server, name);
            assert_eq!(
                (one.counts(&tool), all.counts(&tool)),
                (by_one, by_all),
                "{tool}"
            );
        }
    }

    #[test]
    fn a_meter_is_known_by_what_it_counts_and_not_by_how_that_is_written() {
        let hour = meter(&[]);
        assert_eq!(hour.key(), "m per=role window=PT1H sum=");
        let more = meter(&[("a", None)]);
        assert_eq!(more.key(), hour.key());
        let day = Meter {
            window: Window::Day,
            ..hour.clone()
        };
        assert_ne!(day.key(), hour.key());
    }
}
