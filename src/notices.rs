//! What people outside are told of an escalation: who calls, what, why it was stopped,
//! how long it is open, and how to decide on it; in the form that each medium has.
//!
//! Arguments, names of tools and reasons are texts of others. Here they are put on one
//! line, cut, and marked as what they are; each form keeps them from being read as
//! anything but text.

mod arguments;
mod slack;
mod teams;

use crate::escalations::Escalation;
use crate::escalations::State;
use crate::span;
use crate::visible;
use jiff::Timestamp;

/// How much of a text of somebody else is shown, in characters. Slack takes 3,000 in a
/// section, in which one may need five.
const SHOWN: usize = 500;
/// How much of a name is.
const NAME: usize = 120;
/// How many of the policies that stopped a call are named.
const STOPS: usize = 8;

/// In which form something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON of our own.
    Json,
    /// What an incoming webhook of Slack takes.
    Slack,
    /// What a webhook of a workflow of Teams takes: an Adaptive Card.
    Teams,
    /// A mail.
    Mail,
}

/// What is told.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// Of which escalation, as it is now.
    pub escalation: &'a Escalation,
    /// The handles of its session.
    pub handles: &'a [String],
    /// What became of it that is told now.
    pub state: State,
    /// Where people look at escalations, where there is such a page.
    pub link: Option<&'a str>,
}

/// One thing that is said.
struct Fact {
    label: &'static str,
    text: String,
    /// Whether somebody else wrote it.
    outside: bool,
}

impl Notice<'_> {
    /// In a few words, ours only.
    fn title(&self) -> &'static str {
        match self.state {
            State::Pending => "A call waits for a decision",
            State::Approved => "A call was approved",
            State::Used => "An approved call was made",
            State::Refused => "A call was refused",
            State::Expired => "The time to decide on a call is over",
            State::Withdrawn => "A call that waited was taken back",
            State::Void => "An escalated call is void",
        }
    }

    /// All of it on one line.
    pub fn line(&self) -> String {
        let one = self.escalation;
        format!(
            "{}: {} by {} ({})",
            self.title(),
            visible::one_line(&one.tool, NAME),
            visible::one_line(&one.principal.to_string(), NAME),
            one.id
        )
    }

    /// All of it as a text of lines.
    pub fn text(&self, now: Timestamp) -> String {
        let mut text = format!("{}.\n\n", self.title());
        for fact in self.facts(now) {
            text.push_str(&format!("{}: {}\n", fact.label, fact.text));
        }
        text.push('\n');
        text.push_str(&match self.url() {
            Some(url) => format!("{url}\n"),
            None => format!("{}\n", self.command()),
        });
        text
    }

    /// As an incoming webhook of Slack takes it.
    pub fn for_slack(&self, now: Timestamp) -> String {
        slack::message(self, now).to_string()
    }

    /// As a workflow of Teams takes it.
    pub fn for_teams(&self, now: Timestamp) -> String {
        teams::message(self, now).to_string()
    }

    /// Where to look at it.
    pub fn url(&self) -> Option<String> {
        let base = self.link?.trim_end_matches('/');
        Some(format!("{base}/{}", self.escalation.id))
    }

    /// The command that shows it, or decides on it.
    pub fn command(&self) -> String {
        let does = match self.escalation.state {
            State::Pending => "approve",
            _ => "show",
        };
        format!("countersign escalation {does} {}", self.escalation.id)
    }

    fn facts(&self, now: Timestamp) -> Vec<Fact> {
        let one = self.escalation;
        let own = |label, text: String| Fact {
            label,
            text,
            outside: false,
        };
        let outside = |label, text: &str| Fact {
            label,
            text: visible::one_line(text, SHOWN),
            outside: true,
        };
        let session = match self.handles {
            [] => one.session.to_string(),
            named => named.join(", "),
        };
        let mut facts = vec![
            own("Escalation", one.id.to_string()),
            outside("By", &format!("{} in session {session}", one.principal)),
            outside("Tool", &one.tool),
        ];
        if let Some(body) = &one.body {
            facts.extend(arguments::facts(body));
        }
        for stop in one.stops.iter().take(STOPS) {
            let message = stop.message.as_deref().unwrap_or(&stop.code);
            facts.push(outside(
                "Stopped by",
                &format!("{} ({message})", stop.policy),
            ));
        }
        if one.stops.len() > STOPS {
            let more = one.stops.len() - STOPS;
            facts.push(own("Stopped by", format!("{more} policies more")));
        }
        facts.push(outside("May decide", &one.roles.join(" or ")));
        if let Some(decision) = &one.decision {
            let reason = decision.reason.as_deref().unwrap_or("no reason given");
            facts.push(outside("Decided by", &format!("{}: {reason}", decision.by)));
        }
        let until = one.expires.strftime("%Y-%m-%d %H:%M UTC");
        let left = span::in_words(one.expires.duration_since(now));
        let state = one.state_at(now);
        facts.push(match (state.is_live(), one.ended.as_ref()) {
            (true, _) => own("Open until", format!("{until} ({left})")),
            (false, Some((_at, Some(why)))) => outside("Ended", why),
            (false, _) => own("State", state.as_str().to_owned()),
        });
        if state != self.state && state.is_live() {
            facts.push(own("Meanwhile", state.as_str().to_owned()));
        }
        facts
    }
}

#[cfg(test)]
mod tests;
