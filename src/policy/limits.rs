//! Limits of the principals that no policy reads: they look like limits in
//! `principals.toml`, and limit nothing.

use super::bundle::Bundle;
use super::gate::Gate;
use super::message::LIMITS;
use super::reader::Reader;
use super::reads;
use super::schema::BROKER;
use super::shape::Fields;
use super::shape::Shape;
use crate::principal::PrincipalId;
use crate::tool::ToolId;
use crate::visible;
use cedar_policy::Policy;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// How many principals are named.
const NAMED: usize = 5;

/// Limits that nothing reads, as an operator is told of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadLimits {
    /// Which limits, of whom, and what would read them.
    pub told: String,
    /// Whether there is an amount that they could limit: an argument that the operator
    /// declared as money, or to be added up.
    pub could_limit: bool,
}

impl Bundle {
    /// The limits of principals that no policy reads. None while there is no server, or a
    /// policy waits for one, since it may be the one that reads them.
    pub fn unread_limits(&self) -> Option<UnreadLimits> {
        let has_server = self.gates.keys().any(|tool| tool.server.as_str() != BROKER);
        if !has_server || !self.quarantined.is_empty() {
            return None;
        }
        let mut read = Read::default();
        for loaded in &self.loaded {
            read.add(&loaded.policy);
        }
        let mut unread: BTreeMap<&str, BTreeSet<&PrincipalId>> = BTreeMap::new();
        for (principal, limits) in &self.world.limits {
            for name in limits.keys().filter(|name| !read.has(name)) {
                unread.entry(name).or_default().insert(principal);
            }
        }
        let told: Vec<String> = self.by_whom(unread).into_iter().map(said).collect();
        if told.is_empty() {
            return None;
        }
        let amount = self.amount();
        let first = LIMITS.into_iter().find(|name| !read.has(name));
        let advice = match (&amount, first) {
            (None, _) => "a limit holds where a tool's argument is declared as `money` (and `meter`, for totals) and a `forbid` compares it: see `Write a policy` in the README".to_owned(),
            (Some(amount), first) => amount.forbid(first),
        };
        Some(UnreadLimits {
            told: format!(
                "no policy reads {} of `principals.toml`, so nothing is limited by that: {advice}",
                told.join(", nor ")
            ),
            could_limit: amount.is_some(),
        })
    }

    /// The limits that the same people have, together.
    fn by_whom<'a>(
        &self,
        unread: BTreeMap<&'a str, BTreeSet<&'a PrincipalId>>,
    ) -> Vec<(Vec<String>, Vec<&'a PrincipalId>)> {
        let mut together: BTreeMap<BTreeSet<&PrincipalId>, Vec<&str>> = BTreeMap::new();
        for (name, whose) in unread {
            together.entry(whose).or_default().push(name);
        }
        let grouped = together.into_iter().map(|(whose, mut names)| {
            // In the order of the file.
            let place = |name: &&str| LIMITS.iter().position(|known| known == name);
            names.sort_by_key(|name| (place(name).unwrap_or(LIMITS.len()), *name));
            let names = names.into_iter().map(in_the_file).collect();
            (names, whose.into_iter().collect())
        });
        grouped.collect()
    }

    /// The first amount of a tool that could be limited.
    fn amount(&self) -> Option<Amount> {
        let amounts = || self.gates.values().filter_map(|gate| Amount::of(gate));
        amounts()
            .find(|amount| amount.is_metered)
            .or_else(|| amounts().next())
    }
}

fn said((limits, whose): (Vec<String>, Vec<&PrincipalId>)) -> String {
    let shown = |id: &&PrincipalId| visible::one_line(&id.to_string(), visible::NAME);
    let mut names: Vec<String> = whose.iter().take(NAMED).map(shown).collect();
    if whose.len() > NAMED {
        names.push(format!("{} more", whose.len() - NAMED));
    }
    format!("{} of {}", limits.join(", "), names.join(", "))
}

/// A limit by its key in `principals.toml`.
fn in_the_file(name: &str) -> String {
    match name {
        "limit" => "`limits.call`".to_owned(),
        "sessionLimit" => "`limits.session`".to_owned(),
        "dayLimit" => "`limits.day`".to_owned(),
        named => format!("`named_limits.{}`", visible::one_line(named, visible::NAME)),
    }
}

/// An argument that could be limited.
struct Amount {
    tool: ToolId,
    argument: String,
    is_required: bool,
    is_metered: bool,
}

impl Amount {
    fn of(gate: &Gate) -> Option<Self> {
        let fields: &Fields = Reader::fields(&gate.reader);
        let amounts = fields.typed.iter().filter(|(_, field)| {
            let is_money = matches!(field.shape, Shape::Money(_));
            is_money || field.meter.is_some()
        });
        let amounts = amounts.map(|(name, field)| Self {
            tool: gate.tool.clone(),
            argument: name.clone(),
            is_required: field.is_always_there(),
            is_metered: field.meter.is_some(),
        });
        amounts.max_by_key(|amount| amount.is_metered)
    }

    /// What would read a limit, this one if it is one of the three.
    fn forbid(&self, limit: Option<&str>) -> String {
        let (id, tool, argument) = ("mine.limit", &self.tool, &self.argument);
        let input = reads::spelled(&["input", argument]);
        let meter = reads::spelled(&["meter", argument]);
        let asked = match self.is_required {
            true => String::new(),
            false => format!("context.input has {argument:?} && "),
        };
        let (declare, compared) = match limit {
            Some("sessionLimit") => (
                !self.is_metered,
                format!("{meter}.sessionAfter > principal.sessionLimit"),
            ),
            Some("dayLimit") => (
                !self.is_metered,
                format!("{meter}.dayAfter > principal.dayLimit"),
            ),
            Some(_) => (false, format!("{asked}{input} > principal.limit")),
            None => (
                false,
                format!(
                    "{asked}principal.hasTag(\"NAME\") && {input} > principal.getTag(\"NAME\")"
                ),
            ),
        };
        let declare = match declare {
            true => format!(
                "declare `meter = [{argument:?}]` in `[servers.{}.tools.{}]`, and ",
                tool.server, tool.name
            ),
            false => String::new(),
        };
        let action = tool.to_string();
        format!(
            "{declare}write what shall hold, like `@id({id:?}) forbid (principal, action == Broker::Action::{action:?}, resource) when {{ {compared} }};`"
        )
    }
}

/// The limits that policies read.
#[derive(Default)]
struct Read {
    names: BTreeSet<String>,
    /// A policy asks for one by a name that is not written in it.
    any_named: bool,
}

impl Read {
    fn has(&self, name: &str) -> bool {
        self.names.contains(name) || self.any_named && !LIMITS.contains(&name)
    }

    fn add(&mut self, policy: &Policy) {
        match policy.to_json() {
            Ok(json) => self.visit(&json),
            // Nothing is said then.
            Err(_) => {
                self.names.extend(LIMITS.map(str::to_owned));
                self.any_named = true;
            }
        }
    }

    fn visit(&mut self, expression: &Value) {
        match expression {
            Value::Object(children) => {
                for (operator, operand) in children {
                    self.note(operator, operand);
                    self.visit(operand);
                }
            }
            Value::Array(children) => children.iter().for_each(|child| self.visit(child)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Of whomever it is read: of the caller, or of who approved.
    fn note(&mut self, operator: &str, operand: &Value) {
        match operator {
            // Whether there is one limits nothing.
            "." => {
                // An argument may be called `limit` too.
                let of = operand.get("left").and_then(reads::context_path);
                let is_argument = of.is_some_and(|path| path.first() != Some(&"call"));
                let names = reads::names_of(operand).unwrap_or_default();
                let limits = names.into_iter().filter(|name| LIMITS.contains(name));
                let limits = limits.filter(|_| !is_argument).map(str::to_owned);
                self.names.extend(limits);
            }
            "getTag" => match operand.pointer("/right/Value").and_then(Value::as_str) {
                Some(name) => {
                    self.names.insert(name.to_owned());
                }
                None => self.any_named = true,
            },
            _ => {}
        }
    }
}
