//! How the session of a request was found, in words that are kept with its record.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The rules by which the session of a request is found, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The path of the URL, `/s/SESSION/…`.
    Path,
    /// The header `Countersign-Session`.
    Header,
    /// `dev.countersign/session` in the request's `_meta`.
    Meta,
    /// What a broker for one client was started with.
    Option,
    /// What was named when a transport session, or a stream of the older pair, was
    /// opened.
    Opening,
    /// The session that a stored transport session points to.
    Transport,
    /// One of its own for a process or stream that names none.
    Connection,
    /// The one that the principal used last.
    Default,
    /// None was looked for: a call of the broker's own, on account of an earlier one.
    Broker,
}

/// A text that is no word for a rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rule by which sessions are found")]
pub struct RuleError(String);

impl Rule {
    const ALL: [Self; 9] = [
        Self::Path,
        Self::Header,
        Self::Meta,
        Self::Option,
        Self::Opening,
        Self::Transport,
        Self::Connection,
        Self::Default,
        Self::Broker,
    ];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Header => "header",
            Self::Meta => "meta",
            Self::Option => "option",
            Self::Opening => "opening",
            Self::Transport => "transport",
            Self::Connection => "connection",
            Self::Default => "default",
            Self::Broker => "broker",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|rule| rule.as_str() == word);
        known.ok_or_else(|| RuleError(word.to_owned()))
    }
}

/// A session as somebody names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its handle or id, or `OWNER/HANDLE`.
    pub text: Arc<str>,
    /// By what it was named, the strongest first. Where these are several, they
    /// agreed.
    pub by: Vec<Rule>,
}

impl Named {
    /// Named in one way.
    pub fn new(by: Rule, text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            by: vec![by],
        }
    }
}

/// A rule, and what it went by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The rule.
    pub by: Rule,
    /// The session as it was named, where it was.
    pub named: Option<Arc<str>>,
}

impl Choice {
    /// By a rule that names none.
    pub fn of(by: Rule) -> Self {
        Self { by, named: None }
    }
}

/// How the session of a request was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The rule that found it.
    pub chosen: Choice,
    /// What else named it, and agreed.
    pub agreed: Vec<Rule>,
    /// What would have decided otherwise.
    pub otherwise: Option<Choice>,
}

impl Found {
    /// By a rule that has none below it.
    pub fn by(rule: Rule) -> Self {
        Self {
            chosen: Choice::of(rule),
            agreed: Vec::new(),
            otherwise: None,
        }
    }

    /// Among what a request names, what its connection was opened for, and what is
    /// left where neither names one.
    pub fn among(request: Option<&Named>, connection: Option<&Named>, last: Rule) -> Self {
        let choice = |named: &Named| {
            let by = named.by.first().copied()?;
            let named = Some(Arc::clone(&named.text));
            Some(Choice { by, named })
        };
        let named = [request, connection].into_iter().flatten();
        let agreed = named.clone().next().map_or(&[][..], |first| &first.by);
        let mut choices = named.filter_map(choice).chain([Choice::of(last)]);
        Self {
            chosen: choices.next().unwrap_or(Choice::of(last)),
            agreed: agreed.iter().skip(1).copied().collect(),
            otherwise: choices.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_word_of_its_own() {
        for rule in Rule::ALL {
            assert_eq!(rule.as_str().parse(), Ok(rule));
        }
        assert!("url".parse::<Rule>().is_err());
    }

    #[test]
    fn what_a_request_names_goes_before_its_connection_and_that_before_the_rest() {
        let request = Named {
            by: vec![Rule::Path, Rule::Meta],
            ..Named::new(Rule::Path, "claim-1")
        };
        let connection = Named::new(Rule::Opening, "claim-2");
        let all = Found::among(Some(&request), Some(&connection), Rule::Transport);
        let choice = |by, named: &str| Choice {
            by,
            named: Some(named.into()),
        };
        assert_eq!(all.chosen, choice(Rule::Path, "claim-1"));
        assert_eq!(all.agreed, [Rule::Meta]);
        assert_eq!(all.otherwise, Some(choice(Rule::Opening, "claim-2")));

        let opened = Found::among(None, Some(&connection), Rule::Transport);
        assert_eq!(opened.chosen, choice(Rule::Opening, "claim-2"));
        assert_eq!(opened.otherwise, Some(Choice::of(Rule::Transport)));

        let last = Found::among(None, None, Rule::Default);
        assert_eq!(last, Found::by(Rule::Default));
    }
}
