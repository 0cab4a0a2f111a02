//! What a server may ask of the client in the middle of a call, and what a client
//! says it can be asked.

use std::collections::BTreeMap;

/// What a server asks of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Inquiry {
    /// `elicitation/create`: something of the person.
    Elicit,
    /// `sampling/createMessage`: something of the model.
    Sample,
    /// `roots/list`: which folders it works in.
    Roots,
}

impl Inquiry {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Elicit, Self::Sample, Self::Roots];

    /// The inquiry that a method is.
    pub fn of(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.method() == method)
    }

    /// The method.
    pub fn method(self) -> &'static str {
        match self {
            Self::Elicit => "elicitation/create",
            Self::Sample => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }

    /// The capability of a client that can be asked this.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Elicit => "elicitation",
            Self::Sample => "sampling",
            Self::Roots => "roots",
        }
    }
}

/// What a client says it can be asked, as far as that is relayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Declared {
    /// The text of each capability, an object, as the client wrote it.
    capabilities: BTreeMap<Inquiry, Box<str>>,
}

impl Declared {
    /// Takes from a client's capabilities what is relayed. `member` gives the
    /// text of a member; what is no object declares nothing.
    pub fn read<'a>(member: impl Fn(&'static str) -> Option<&'a str>) -> Self {
        let found = Inquiry::ALL.into_iter().filter_map(|inquiry| {
            let text = member(inquiry.capability())?;
            text.starts_with('{').then(|| (inquiry, text.into()))
        });
        Self {
            capabilities: found.collect(),
        }
    }

    /// Whether the client can be asked this.
    pub fn allows(&self, inquiry: Inquiry) -> bool {
        self.capabilities.contains_key(&inquiry)
    }

    /// The text of one capability.
    pub fn capability(&self, inquiry: Inquiry) -> Option<&str> {
        self.capabilities.get(&inquiry).map(|text| &**text)
    }

    /// Whether it can be asked nothing.
    pub fn is_empty(&self) -> bool {
        self.capabilities.is_empty()
    }

    /// The text of the capabilities object for a server.
    pub fn json(&self) -> String {
        let members = self.capabilities.iter();
        let members: Vec<String> = members
            .map(|(inquiry, text)| format!("\"{}\":{text}", inquiry.capability()))
            .collect();
        format!("{{{}}}", members.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_relayed_is_declared_and_as_it_was_written() {
        let declared = Declared::read(|name| match name {
            "elicitation" => Some(r#"{ "url":{} }"#),
            "sampling" => Some("true"),
            _ => None,
        });
        assert_eq!(declared.json(), r#"{"elicitation":{ "url":{} }}"#);
        assert!(declared.allows(Inquiry::Elicit) && !declared.allows(Inquiry::Sample));
        assert!(Declared::default().is_empty());
        assert_eq!(Declared::default().json(), "{}");
    }
}
