//! Whether a JSON Schema has something at a place. What it leaves open may be there.

use crate::nearest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// How many schemas are read for one place; what is further may be there.
const MAX_NODES: usize = 2_000;

/// What is known of a place.
#[derive(Debug)]
pub(super) enum Place<'s> {
    /// Something may be there.
    There,
    /// Nothing can be there.
    Nowhere {
        /// Which of the steps leads nowhere.
        at: usize,
        /// What would be there instead; `*` for the elements of an array.
        known: BTreeSet<&'s str>,
    },
}

/// What the schema has at the place that these steps lead to.
pub(super) fn look<'s>(schema: &'s Value, steps: &[String]) -> Place<'s> {
    let mut looking = Looking {
        root: schema,
        budget: MAX_NODES,
    };
    looking.at(&[schema], steps, 0)
}

/// Whether a step is a name, and no place in an array.
pub(super) fn is_name(step: &str) -> bool {
    step != "*" && !step.bytes().all(|byte| byte.is_ascii_digit())
}

struct Looking<'s> {
    root: &'s Value,
    budget: usize,
}

/// What schemas of one value say together.
#[derive(Default)]
struct Parts<'s> {
    members: BTreeMap<&'s str, Vec<&'s Value>>,
    elements: Vec<&'s Value>,
    /// One of them says nothing of what is in the value.
    is_open: bool,
    /// There may be members that no name is given of.
    has_others: bool,
}

impl<'s> Looking<'s> {
    fn at(&mut self, schemas: &[&'s Value], steps: &[String], at: usize) -> Place<'s> {
        let Some((step, rest)) = steps.split_first() else {
            return Place::There;
        };
        let mut parts = Parts::default();
        for schema in schemas {
            let mut followed = Vec::new();
            parts.is_open |= !self.gather(schema, &mut parts, &mut followed);
        }
        if parts.is_open || self.budget == 0 {
            return Place::There;
        }
        let mut children: Vec<&'s Value> = Vec::new();
        if step == "*" {
            children.extend(parts.members.values().flatten());
        } else if let Some(members) = parts.members.get(step.as_str()) {
            children.extend(members);
        }
        if !is_name(step) {
            children.extend(&parts.elements);
        }
        let near = || nearest::nearest(step, parts.members.keys().copied()).is_some();
        if children.is_empty() && parts.has_others && !near() {
            return Place::There;
        }
        if !children.is_empty() {
            return self.within(&children, (step, rest), at);
        }
        let mut known: BTreeSet<&str> = parts.members.keys().copied().collect();
        if !parts.elements.is_empty() {
            known.insert("*");
        }
        Place::Nowhere { at, known }
    }

    /// What is in one of these. By its name a member is one value, which they all say
    /// something of; by a star there are several.
    fn within(
        &mut self,
        children: &[&'s Value],
        (step, rest): (&str, &[String]),
        at: usize,
    ) -> Place<'s> {
        if is_name(step) {
            return self.at(children, rest, at + 1);
        }
        let mut nowhere = None;
        for child in children {
            match self.at(&[child], rest, at + 1) {
                Place::There => return Place::There,
                found @ Place::Nowhere { .. } => nowhere = nowhere.or(Some(found)),
            }
        }
        nowhere.unwrap_or(Place::There)
    }

    /// Adds what a schema says of a value. False where it says nothing.
    fn gather(
        &mut self,
        schema: &'s Value,
        parts: &mut Parts<'s>,
        followed: &mut Vec<&'s str>,
    ) -> bool {
        self.budget = self.budget.saturating_sub(1);
        let Some(keywords) = schema.as_object().filter(|_| self.budget > 0) else {
            return schema == &Value::Bool(false);
        };
        let mut says = keywords
            .get("type")
            .is_some_and(|declared| !may_hold_more(declared))
            || ["const", "enum"]
                .iter()
                .any(|key| keywords.contains_key(*key));
        if let Some(Value::Object(members)) = keywords.get("properties") {
            says |= !members.is_empty();
            for (name, member) in members {
                parts.members.entry(name).or_default().push(member);
            }
        }
        match keywords.get("additionalProperties") {
            Some(Value::Bool(false)) => says = true,
            Some(_) => parts.has_others = true,
            None => {}
        }
        parts.has_others |= keywords.contains_key("patternProperties");
        for key in ["items", "prefixItems"] {
            match keywords.get(key) {
                Some(Value::Array(elements)) => parts.elements.extend(elements),
                Some(element @ Value::Object(_)) => parts.elements.push(element),
                _ => continue,
            }
            says = true;
        }
        if let Some(Value::String(reference)) = keywords.get("$ref") {
            says |= self.follow(reference, parts, followed);
        }
        if let Some(Value::Array(all)) = keywords.get("allOf") {
            for one in all {
                says |= self.gather(one, parts, followed);
            }
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = keywords.get(key) {
                let mut all_say = true;
                for branch in branches {
                    all_say &= self.gather(branch, parts, followed);
                }
                says |= all_say;
            }
        }
        for key in ["then", "else"] {
            if let Some(more) = keywords.get(key) {
                self.gather(more, parts, followed);
            }
        }
        says
    }

    fn follow(
        &mut self,
        reference: &'s str,
        parts: &mut Parts<'s>,
        followed: &mut Vec<&'s str>,
    ) -> bool {
        let target = reference.strip_prefix('#');
        let target = target.and_then(|pointer| self.root.pointer(pointer));
        match target {
            // What contains itself adds nothing by that.
            Some(_) if followed.contains(&reference) => true,
            Some(target) => {
                followed.push(reference);
                let says = self.gather(target, parts, followed);
                followed.pop();
                says
            }
            None => false,
        }
    }
}

/// Whether a value of these types may have members or elements.
fn may_hold_more(declared: &Value) -> bool {
    let holds = |name: &Value| name == "object" || name == "array";
    match declared {
        Value::Array(names) => names.iter().any(holds),
        name => holds(name),
    }
}
