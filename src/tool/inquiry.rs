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

/// An extension of the protocol that is relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Extension {
    /// Calls that go on by themselves and are asked after (`ext-tasks`).
    Tasks,
    /// Resources that a host shows to the person (`ext-apps`).
    Apps,
}

impl Extension {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Tasks, Self::Apps];

    /// The identifier.
    pub fn id(self) -> &'static str {
        match self {
            Self::Tasks => "io.modelcontextprotocol/tasks",
            Self::Apps => "io.modelcontextprotocol/ui",
        }
    }
}

/// What a client says it can be asked and do, as far as that is relayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Declared {
    /// The text of each capability, an object, as the client wrote it.
    capabilities: BTreeMap<Inquiry, Box<str>>,
    /// The text of what it says of each extension, an object.
    extensions: BTreeMap<Extension, Box<str>>,
}

impl Declared {
    /// Takes from a client's capabilities what is relayed. `member` gives the
    /// text of a member, `extension` that of a member of its `extensions`; what is
    /// no object declares nothing.
    pub fn read<'a>(
        member: impl Fn(&'static str) -> Option<&'a str>,
        extension: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Self {
        let object = |text: &&str| text.starts_with('{');
        let found = Inquiry::ALL.into_iter().filter_map(|inquiry| {
            let text = member(inquiry.capability()).filter(object)?;
            // That the roots change is not relayed: a server could not ask for
            // them outside of a call.
            let text = match inquiry {
                Inquiry::Roots => "{}",
                Inquiry::Elicit | Inquiry::Sample => text,
            };
            Some((inquiry, text.into()))
        });
        let extensions = Extension::ALL.into_iter().filter_map(|one| {
            let text = extension(one.id()).filter(object)?;
            Some((one, text.into()))
        });
        Self {
            capabilities: found.collect(),
            extensions: extensions.collect(),
        }
    }

    /// The same client, as far as it can be asked something.
    pub fn questions(&self) -> Self {
        Self {
            capabilities: self.capabilities.clone(),
            extensions: BTreeMap::new(),
        }
    }

    /// Whether it knows an extension.
    pub fn knows(&self, extension: Extension) -> bool {
        self.extensions.contains_key(&extension)
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
    pub fn asks_nothing(&self) -> bool {
        self.capabilities.is_empty()
    }

    /// The text of the capabilities object for a server.
    pub fn json(&self) -> String {
        let members = self.capabilities.iter();
        let mut members: Vec<String> = members
            .map(|(inquiry, text)| format!("\"{}\":{text}", inquiry.capability()))
            .collect();
        if !self.extensions.is_empty() {
            let extensions = self.extensions.iter();
            let extensions: Vec<String> = extensions
                .map(|(extension, text)| format!("\"{}\":{text}", extension.id()))
                .collect();
            members.push(format!("\"extensions\":{{{}}}", extensions.join(",")));
        }
        format!("{{{}}}", members.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_relayed_is_declared_and_as_it_was_written() {
        let declared = Declared::read(
            |name| match name {
                "elicitation" => Some(r#"{ "url":{} }"#),
                "roots" => Some(r#"{"listChanged":true}"#),
                "sampling" => Some("true"),
                _ => None,
            },
            |id| (id == Extension::Tasks.id()).then_some("{}"),
        );
        assert_eq!(
            declared.json(),
            r#"{"elicitation":{ "url":{} },"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#
        );
        assert!(declared.knows(Extension::Tasks) && !declared.knows(Extension::Apps));
        assert_eq!(
            declared.questions().json(),
            r#"{"elicitation":{ "url":{} },"roots":{}}"#
        );
        assert!(declared.allows(Inquiry::Elicit) && !declared.allows(Inquiry::Sample));
        assert!(Declared::default().asks_nothing());
        assert_eq!(Declared::default().json(), "{}");
    }
}
