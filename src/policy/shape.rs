//! What policy can see of a tool's arguments, as types that Cedar has. What has
//! no such type is *opaque*: policy is told that it is there, and not what it is.

use crate::json;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

/// The members of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// The members that policy sees.
    pub(super) typed: BTreeMap<String, Field>,
    /// The declared members that policy does not see.
    pub(super) opaque: BTreeMap<String, Opaque>,
    /// What another reader could take for a declared member.
    folded: HashMap<String, String>,
    /// Members that are required here and declared elsewhere, or nowhere.
    pub(super) demanded: BTreeSet<String>,
}

/// A member that policy sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) shape: Shape,
    pub(super) required: bool,
    pub(super) nullable: bool,
    /// What is derived from it, by the operator's word.
    pub(super) facts: Vec<Fact>,
    /// Which of the tool's meters it feeds.
    pub(super) meter: Option<usize>,
    /// Which of the declared meters that count the tool.
    pub(super) feeds: Vec<usize>,
    /// Whether it is the amount of a call, in what is said of it.
    pub(super) is_amount: bool,
}

/// A declared member that policy does not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opaque {
    pub(super) required: bool,
    pub(super) reason: String,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Flag,
    Whole,
    Decimal,
    /// In units of 10^-n.
    Money(u8),
    Record(Fields),
    /// An array, which Cedar has as a set.
    Many(Box<Shape>),
}

/// A fact that the broker derives from an argument, because Cedar cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// The path (or each path) resolved.
    Resolved,
    /// The host of the URL (or of each).
    Host,
    /// The scheme of the URI, in lower case.
    Scheme,
    /// The path of the URI, decoded and resolved.
    Path,
    /// Whether all paths are under this folder.
    Under(String),
    /// The sum of this member of the records.
    Sum(String),
}

impl Field {
    /// Whether policy finds the attribute in every input.
    pub(super) fn is_always_there(&self) -> bool {
        self.required && !self.nullable
    }
}

impl Fact {
    /// The attribute that holds it.
    pub(super) fn attribute(&self, argument: &str) -> String {
        match self {
            Self::Resolved => format!("{argument}#resolved"),
            Self::Host => format!("{argument}#host"),
            Self::Scheme => format!("{argument}#scheme"),
            Self::Path => format!("{argument}#path"),
            Self::Under(_) => format!("{argument}#under"),
            Self::Sum(member) => format!("{argument}#sum({member})"),
        }
    }
}

/// A type, and whether null stands for its absence.
pub(super) struct Typed {
    pub(super) shape: Shape,
    pub(super) nullable: bool,
}

/// The attribute that holds the length of an array.
pub(super) fn count_attribute(argument: &str) -> String {
    format!("{argument}#count")
}

impl Fields {
    /// The declared member that `key` is not and that another reader could
    /// take it for.
    pub(super) fn lookalike(&self, key: &str) -> Option<&str> {
        let known = self.folded.get(&*json::fold(key))?;
        (known != key).then_some(known)
    }

    /// Every declared member that policy does not see, by its path, and why.
    pub(super) fn unseen(&self, prefix: &str) -> Vec<(String, String)> {
        let mut unseen: Vec<_> = self
            .opaque
            .iter()
            .map(|(name, opaque)| (spelled(prefix, name), opaque.reason.clone()))
            .collect();
        for (name, field) in &self.typed {
            match &field.shape {
                Shape::Record(fields) => {
                    unseen.extend(fields.unseen(&format!("{}.", spelled(prefix, name))));
                }
                Shape::Many(element) => {
                    if let Shape::Record(fields) = &**element {
                        unseen.extend(fields.unseen(&format!("{}[].", spelled(prefix, name))));
                    }
                }
                Shape::Text | Shape::Flag | Shape::Whole | Shape::Decimal | Shape::Money(_) => {}
            }
        }
        unseen
    }

    pub(super) fn insert(&mut self, name: &str, required: bool, read: Result<Typed, String>) {
        let fold = json::fold(name).into_owned();
        let twin = self.folded.get(&fold).filter(|twin| *twin != name).cloned();
        self.folded.insert(fold, name.to_owned());
        let read = match twin {
            Some(twin) => Err(format!("its name could be taken for `{twin}`")),
            None => read,
        };
        match read {
            Ok(typed) => {
                let field = Field {
                    shape: typed.shape,
                    required,
                    nullable: typed.nullable,
                    facts: Vec::new(),
                    meter: None,
                    feeds: Vec::new(),
                    is_amount: false,
                };
                self.typed.insert(name.to_owned(), field);
            }
            Err(reason) => self.hide(name, required, reason),
        }
    }

    fn hide(&mut self, name: &str, required: bool, reason: String) {
        self.typed.remove(name);
        self.opaque
            .insert(name.to_owned(), Opaque { required, reason });
    }

    /// Adds what a branch of `allOf` declares.
    pub(super) fn merge(&mut self, other: Self) {
        self.demanded.extend(other.demanded);
        for (name, mut field) in other.typed {
            match self.typed.get(&name) {
                Some(own) if own.shape == field.shape => {
                    field.required |= own.required;
                    field.nullable &= own.nullable;
                    self.typed.insert(name, field);
                }
                Some(own) => {
                    let required = own.required || field.required;
                    self.hide(&name, required, "it is declared in two ways".to_owned());
                }
                None if self.opaque.contains_key(&name) => {}
                None => {
                    let typed = Typed {
                        shape: field.shape,
                        nullable: field.nullable,
                    };
                    self.insert(&name, field.required, Ok(typed));
                }
            }
        }
        for (name, opaque) in other.opaque {
            self.insert(&name, opaque.required, Err(opaque.reason));
            self.typed.remove(&name);
        }
    }

    /// Closes the list of members, once all that declares them was read.
    pub(super) fn settle(&mut self) {
        for name in std::mem::take(&mut self.demanded) {
            if let Some(field) = self.typed.get_mut(&name) {
                field.required = true;
            } else if let Some(opaque) = self.opaque.get_mut(&name) {
                opaque.required = true;
            } else {
                let reason = "it is required and not declared".to_owned();
                self.insert(&name, true, Err(reason));
            }
        }
        self.hide_counterfeits();
    }

    /// Hides members whose names a server chose so that they would pass for
    /// something the broker derived.
    fn hide_counterfeits(&mut self) {
        let names: BTreeSet<&String> = self.typed.keys().chain(self.opaque.keys()).collect();
        let counterfeit: Vec<String> = self
            .typed
            .keys()
            .filter(|name| {
                name.rsplit_once('#').is_some_and(|(of, fact)| {
                    let derived = matches!(
                        fact,
                        "count" | "resolved" | "host" | "scheme" | "path" | "under"
                    ) || fact.starts_with("sum(");
                    derived && names.contains(&of.to_owned())
                })
            })
            .cloned()
            .collect();
        for name in counterfeit {
            let required = self.typed.get(&name).is_some_and(|field| field.required);
            let reason = "its name is the name of a derived fact".to_owned();
            self.hide(&name, required, reason);
        }
    }
}

/// An argument's place, for people and for `call.opaque`. A name that has a
/// character of the notation in it is quoted, so that no two places read alike.
pub(super) fn spelled(prefix: &str, name: &str) -> String {
    if name.contains(['.', '[', ']', '"']) {
        format!("{prefix}{}", Value::from(name))
    } else {
        format!("{prefix}{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_places_never_read_alike() {
        assert_eq!(spelled("a.", "b"), "a.b");
        assert_eq!(spelled("", "a.b"), "\"a.b\"");
        assert_ne!(spelled("", "a[].b"), spelled("a[].", "b"));
    }
}
