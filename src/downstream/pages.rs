//! Pages of the web that a server has a person open, and its word that one was dealt
//! with, which comes by itself and often long after the call (MCP 2025-11-25,
//! client/elicitation, completion notifications).

use super::asks::Asks;
use super::asks::can_be_asked;
use super::asks::wants_pages;
use super::connected::ClientId;
use crate::json;
use crate::json::Object;
use crate::session::SessionId;
use crate::tool::Inquiry;
use serde_json::value::RawValue;

/// By which method a server says that a page was dealt with.
pub(super) const COMPLETE: &str = "notifications/elicitation/complete";

/// How many pages of one error are heard of later.
const MOST: usize = 64;

/// The longest id of a page that is remembered, in bytes.
const LONGEST: usize = 1 << 10;

/// Pages that one client was asked to have opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Of whom.
    pub client: ClientId,
    /// In which session.
    pub session: SessionId,
    /// What the server calls them.
    pub ids: Vec<Box<str>>,
}

impl Asked {
    /// By a question in the middle of a call.
    pub(super) fn by_question(
        asks: &Asks,
        (inquiry, params): (Inquiry, Option<&str>),
    ) -> Option<Self> {
        let read = Object::parse(params?).ok()?;
        let mode = read.get("mode").and_then(json::text);
        if mode.as_deref() != Some("url") || !can_be_asked(asks.declared(), inquiry, params) {
            return None;
        }
        Self::of(asks, id(&read).into_iter().collect())
    }

    /// By an error that answers a call.
    pub(super) fn by_error(asks: &Asks, error: &str) -> Option<Self> {
        if !wants_pages(error, asks.declared()) {
            return None;
        }
        let error = Object::parse(error).ok()?;
        let data = Object::parse(error.get("data")?).ok()?;
        let pages: Vec<&RawValue> = serde_json::from_str(data.get("elicitations")?).ok()?;
        let ids = pages.into_iter().take(MOST);
        let ids = ids.filter_map(|page| id(&Object::parse(page.get()).ok()?));
        Self::of(asks, ids.collect())
    }

    fn of(asks: &Asks, ids: Vec<Box<str>>) -> Option<Self> {
        let (client, session) = asks.heard_by()?;
        (!ids.is_empty()).then_some(Self {
            client,
            session,
            ids,
        })
    }
}

/// Which page something is said of.
pub(super) fn id(said: &Object<'_>) -> Option<Box<str>> {
    let id = said.get("elicitationId").and_then(json::text)?;
    (id.len() <= LONGEST).then(|| id.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::Declared;
    use tokio::sync::mpsc;

    fn asks(elicitation: &'static str) -> Asks {
        let declared = Declared::read(
            |name| (name == "elicitation").then_some(elicitation),
            |_| None,
        );
        Asks::new(mpsc::unbounded_channel().0, declared.into())
    }

    #[test]
    fn only_pages_that_a_client_can_be_asked_to_open_are_remembered() {
        let (client, session) = (ClientId::next(), SessionId::random());
        let can = asks(r#"{"url":{}}"#).told((client, session));
        let page = r#"{"mode":"url","elicitationId":"e1","url":"https://a.example"}"#;
        let asked = |asks: &Asks, params| Asked::by_question(asks, (Inquiry::Elicit, Some(params)));
        let found = asked(&can, page).unwrap();
        assert_eq!((found.client, found.session), (client, session));
        assert_eq!(found.ids, ["e1".into()]);
        let long = format!(
            r#"{{"mode":"url","elicitationId":"{}"}}"#,
            "e".repeat(LONGEST + 1)
        );
        for other in [
            r#"{"elicitationId":"e1"}"#,
            r#"{"mode":"url","elicitationId":1}"#,
            "7",
            &long,
        ] {
            assert_eq!(asked(&can, other), None, "{other}");
        }
        assert_eq!(
            Asked::by_question(&can, (Inquiry::Sample, Some(page))),
            None
        );
        let error = r#"{"code":-32042,"data":{"elicitations":[{"elicitationId":"e1"},5,{"elicitationId":"e2"}]}}"#;
        let found = Asked::by_error(&can, error).unwrap();
        assert_eq!(found.ids, ["e1".into(), "e2".into()]);
        let other = error.replace("-32042", "-32041");
        assert_eq!(Asked::by_error(&can, &other), None);
        // Of forms only, or of nobody who hears of it.
        let forms = asks(r#"{"form":{}}"#).told((client, session));
        for asks in [forms, asks(r#"{"url":{}}"#)] {
            assert_eq!(asked(&asks, page), None);
            assert_eq!(Asked::by_error(&asks, error), None);
        }
    }
}
