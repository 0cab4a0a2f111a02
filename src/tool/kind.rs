//! Kinds of clients: a server may offer a tool only to a client that it can ask
//! something.

use super::Declared;
use super::Inquiry;
use serde_json::Map;
use serde_json::Value;
use std::collections::BTreeSet;

/// All clients that can be asked the same, however they wrote it down. There are
/// only so many kinds, whatever a client declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(Declared);

impl Kind {
    /// The kind of a client that declared this.
    pub fn of(declared: &Declared) -> Self {
        let said = |inquiry: Inquiry| -> Option<Map<String, Value>> {
            let text = declared.capability(inquiry)?;
            Some(serde_json::from_str(text).unwrap_or_default())
        };
        let has =
            |said: &Map<String, Value>, key: &str| said.get(key).is_some_and(Value::is_object);
        // That the first two mean the same is not known to every server.
        let elicit =
            said(Inquiry::Elicit).map(|said| match (has(&said, "form"), has(&said, "url")) {
                (false, false) => "{}",
                (true, false) => r#"{"form":{}}"#,
                (false, true) => r#"{"url":{}}"#,
                (true, true) => r#"{"form":{},"url":{}}"#,
            });
        let sample =
            said(Inquiry::Sample).map(|said| match (has(&said, "context"), has(&said, "tools")) {
                (false, false) => "{}",
                (true, false) => r#"{"context":{}}"#,
                (false, true) => r#"{"tools":{}}"#,
                (true, true) => r#"{"context":{},"tools":{}}"#,
            });
        let roots = said(Inquiry::Roots).map(|_said| "{}");
        Self(Declared::read(
            |name| match name {
                "elicitation" => elicit,
                "sampling" => sample,
                "roots" => roots,
                _ => None,
            },
            |_no_extension| None,
        ))
    }

    /// The kind that was stored as this text.
    pub fn read(text: &str) -> Option<Self> {
        let members: Map<String, Value> = serde_json::from_str(text).ok()?;
        let texts: Map<String, Value> = members
            .into_iter()
            .map(|(name, said)| (name, said.to_string().into()))
            .collect();
        let member = |name: &'static str| texts.get(name).and_then(Value::as_str);
        let none = |_: &'static str| None;
        Some(Self::of(&Declared::read(member, none)))
    }

    /// What a server is told of it.
    pub fn declared(&self) -> &Declared {
        &self.0
    }

    /// The text by which it is stored: the object of its capabilities.
    pub fn text(&self) -> String {
        self.0.json()
    }

    /// Whether it can be asked nothing.
    pub fn is_asked_nothing(&self) -> bool {
        self.0.asks_nothing()
    }
}

/// To whom something is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// To everybody.
    All,
    /// To clients of these kinds.
    To(BTreeSet<Kind>),
}

impl Offered {
    /// Whether it is to clients of this kind.
    pub fn includes(&self, kind: &Kind) -> bool {
        match self {
            Self::All => true,
            Self::To(kinds) => kinds.contains(kind),
        }
    }

    /// The fewest capabilities that a client has to declare to be offered it.
    pub fn fewest(&self) -> Option<&Kind> {
        match self {
            Self::All => None,
            Self::To(kinds) => kinds.iter().min_by_key(|kind| kind.text().len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::Extension;

    #[test]
    fn clients_that_can_be_asked_the_same_are_of_one_kind() {
        let declared = |elicitation: &'static str| {
            Declared::read(
                |name| (name == "elicitation").then_some(elicitation),
                |id| (id == Extension::Tasks.id()).then_some("{}"),
            )
        };
        let kind = |elicitation| Kind::of(&declared(elicitation));
        assert_eq!(kind(r#"{"form":{}}"#), kind(r#"{ "form" : {"x":1} }"#));
        assert_eq!(kind("{}").text(), r#"{"elicitation":{}}"#);
        assert_eq!(kind(r#"{"url":{"y":2}, "z":3}"#), kind(r#"{"url":{}}"#));
        assert_ne!(kind("{}"), kind(r#"{"url":{}}"#));
        let all = r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#;
        assert_eq!(Kind::read(all).unwrap().text(), all);
        assert!(Kind::of(&Declared::default()).is_asked_nothing());
        let offered = Offered::To([kind("{}"), Kind::read(all).unwrap()].into());
        assert!(offered.includes(&kind("{}")) && !offered.includes(&Kind::default()));
        assert_eq!(offered.fewest(), Some(&kind("{}")));
        assert!(Offered::All.includes(&Kind::default()));
    }
}
