//! Which parts of the context a policy reads.
//!
//! What no policy of a tool reads need not be built for its calls. Whatever is
//! not recognised counts as reading everything.

use cedar_policy::Policy;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// The parts of the context that a list of policies reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// By member of the context; without an entry it is not read.
    members: BTreeMap<String, Part>,
    everything: Everything,
}

/// Whether the context is read as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Everything {
    Yes,
    #[default]
    No,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Some(BTreeSet<String>),
}

/// Which attributes of one record are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wants<'a> {
    All,
    Nothing,
    Some(&'a BTreeSet<String>),
}

impl Wants<'_> {
    pub(super) fn wants(&self, attribute: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Some(names) => names.contains(attribute),
        }
    }
}

impl Reads {
    /// Reads that leave nothing out.
    #[cfg(test)]
    pub(super) fn everything() -> Self {
        Self {
            members: BTreeMap::new(),
            everything: Everything::Yes,
        }
    }

    /// Adds what a policy reads.
    pub(super) fn add(&mut self, policy: &Policy) {
        match policy.to_json() {
            Ok(Value::Object(parts)) => {
                if let Some(conditions) = parts.get("conditions") {
                    self.visit(conditions);
                }
            }
            Ok(_) | Err(_) => self.everything = Everything::Yes,
        }
    }

    /// What is read of a member of the context.
    pub(super) fn of(&self, member: &str) -> Wants<'_> {
        match (self.everything, self.members.get(member)) {
            (Everything::Yes, _) | (Everything::No, Some(Part::Whole)) => Wants::All,
            (Everything::No, Some(Part::Some(names))) => Wants::Some(names),
            (Everything::No, None) => Wants::Nothing,
        }
    }

    /// Whether nothing is read that differs between the ordinary calls of one
    /// principal: no argument, no total, no time, no session by its id.
    pub(super) fn are_plain(&self) -> bool {
        let only = |member: &str, plain: &[&str]| match self.of(member) {
            Wants::All => false,
            Wants::Nothing => true,
            Wants::Some(names) => names.iter().all(|name| plain.contains(&name.as_str())),
        };
        let members = ["call", "session"];
        self.everything == Everything::No
            && self
                .members
                .keys()
                .all(|name| members.contains(&name.as_str()))
            && only("call", &["approval", "opaque"])
            && only("session", &["frozen", "labels", "paused"])
    }

    fn visit(&mut self, expression: &Value) {
        if let Some(path) = context_path(expression) {
            self.note(&path);
            return;
        }
        match expression {
            Value::Object(children) => children.values().for_each(|child| self.visit(child)),
            Value::Array(children) => children.iter().for_each(|child| self.visit(child)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn note(&mut self, path: &[&str]) {
        let mut path = path.iter();
        match (path.next(), path.next()) {
            (None, _) => self.everything = Everything::Yes,
            (Some(member), None) => {
                self.members.insert((*member).to_owned(), Part::Whole);
            }
            (Some(member), Some(attribute)) => {
                let part = self
                    .members
                    .entry((*member).to_owned())
                    .or_insert_with(|| Part::Some(BTreeSet::new()));
                if let Part::Some(names) = part {
                    names.insert((*attribute).to_owned());
                }
            }
        }
    }
}

/// Whether a policy reads an attribute of `context.call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mentioned {
    /// By its name.
    ByName,
    /// With all that is there.
    Perhaps,
    /// Not at all.
    Never,
}

/// Whether a policy reads an attribute of this name of `context.call`.
pub(super) fn call(policy: &Policy, attribute: &str) -> Mentioned {
    let mut reads = Reads::default();
    reads.add(policy);
    match reads.of("call") {
        Wants::All => Mentioned::Perhaps,
        Wants::Some(names) if names.contains(attribute) => Mentioned::ByName,
        Wants::Some(_) | Wants::Nothing => Mentioned::Never,
    }
}

/// Whether a condition of a policy reads an attribute of this name of `context.call`, by
/// its name or with all that is there.
pub(super) fn condition_reads(condition: &Value, attribute: &str) -> bool {
    let mut reads = Reads::default();
    reads.visit(condition);
    reads.of("call").wants(attribute)
}

/// Whether a policy mentions an attribute of this name, of whatever.
pub(super) fn mentions(policy: &Policy, attribute: &str) -> bool {
    fn found(expression: &Value, attribute: &str) -> bool {
        match expression {
            Value::Object(children) => children.iter().any(|(key, child)| {
                let named = (key == "." || key == "has")
                    && names_of(child).is_some_and(|names| names.contains(&attribute));
                named || found(child, attribute)
            }),
            Value::Array(children) => children.iter().any(|child| found(child, attribute)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    policy
        .to_json()
        .map_or(true, |json| found(&json, attribute))
}

/// The attributes of `context.a.b` or `context.a has b`; none for another
/// expression. A `has` on the context alone reads its member whole, which is
/// more than it needs.
pub(super) fn context_path(expression: &Value) -> Option<Vec<&str>> {
    let expression = expression.as_object()?;
    let (operator, operand) = expression.iter().next()?;
    match operator.as_str() {
        "Var" => (operand == "context").then(Vec::new),
        "." | "has" => {
            let mut path = context_path(operand.get("left")?)?;
            path.extend(names_of(operand)?);
            Some(path)
        }
        _ => None,
    }
}

pub(super) fn names_of(operand: &Value) -> Option<Vec<&str>> {
    match operand.get("attr")? {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => names.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// A part of the context as a policy names it, by its attributes.
pub(super) fn spelled(path: &[&str]) -> String {
    let mut text = "context".to_owned();
    for name in path {
        let mut chars = name.chars();
        let begins = chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        match begins && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            true => text.push_str(&format!(".{name}")),
            false => text.push_str(&format!("[{name:?}]")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(condition: &str) -> Reads {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        let mut reads = Reads::default();
        reads.add(&Policy::parse(None, text).unwrap());
        reads
    }

    #[test]
    fn what_a_policy_reads_of_the_context_is_found() {
        for (condition, wanted) in [
            ("context.input.amount > 3", true),
            ("context.input has amount", true),
            ("context.input has amount.x", true),
            ("context has input.amount", true),
            ("context[\"input\"][\"amount\"] > 3", true),
            ("context.input == {amount: 3}", true),
            ("context has input", true),
            ("[context].contains({})", true),
            (
                "{\"left\": context.input.amount, \"attr\": 1} == {\"Var\": \"context\"}",
                true,
            ),
            ("(if true then context else context).input.amount > 1", true),
            ("context.input.memo == \"amount\"", false),
            ("context.call.opaque.isEmpty()", false),
            ("principal.amount > 3", false),
        ] {
            let reads = reads(condition);
            assert_eq!(reads.of("input").wants("amount"), wanted, "{condition}");
        }
    }

    #[test]
    fn a_read_of_the_whole_is_not_narrowed_by_a_later_one() {
        let reads = reads("context.input == {a: 1} && context.input.b == 2");
        assert!(reads.of("input").wants("c"));
    }

    #[test]
    fn a_mention_is_found_wherever_it_stands() {
        let mentioned = |condition: &str| {
            let text = format!("forbid(principal, action, resource) when {{ {condition} }};");
            mentions(&Policy::parse(None, text).unwrap(), "approval")
        };
        assert!(mentioned("context.call has approval"));
        assert!(mentioned("context has call.approval.by"));
        assert!(mentioned("context.call.approval.by == principal"));
        assert!(!mentioned("context.input.memo == \"approval\""));
    }
}
