//! What an operator writes for the model, `@message`, and for the person in front of the
//! client, `@confirm`, with what is known only when a call is decided: `{amount}`,
//! `{limit}`, `{role}` and `{expires}`.
//!
//! The words are the operator's. What is put in are numbers, times and names of roles,
//! never a text that a client or a server wrote.

use super::annotations::Stop;
use super::load::Loaded;
use super::rules;
use super::shape::Fields;
use super::shape::Shape;
use super::slice::Slice;
use crate::policy;
use crate::principal::Limits;
use crate::principal::PrincipalId;
use crate::principal::Principals;
use crate::span;
use cedar_policy::Policy;
use jiff::SignedDuration;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// The attributes of a principal that are limits.
pub(super) const LIMITS: [&str; 3] = ["limit", "sessionLimit", "dayLimit"];

const KNOWN: &str =
    "there are `{amount}`, `{limit}`, `{role}` and `{expires}`; write `{{` for a brace";

/// A message, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The amount of the call.
    Amount,
    /// The limit of its caller that has this name.
    Limit(String),
}

/// Who may lift it, and for how long it is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifts<'a> {
    pub(super) role: Option<&'a str>,
    pub(super) expires: SignedDuration,
}

/// What can be said of one call.
#[derive(Clone, Debug, Default)]
pub(super) struct Known<'a> {
    /// Its amount, and with how many decimals it is written.
    pub(super) amount: Option<(i64, u8)>,
    /// The limits of its caller, in minor units.
    pub(super) limits: Option<&'a BTreeMap<String, i64>>,
    /// With how many decimals those are written.
    pub(super) scale: u8,
}

impl Message {
    /// Reads the message of an annotation. Returns what is wrong with it.
    pub(super) fn read(
        (annotation, text): (&str, &str),
        policy: &Policy,
        lifts: Lifts<'_>,
    ) -> Result<Self, Vec<String>> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut wrong = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = brace.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some((name, after)) =
                brace.strip_prefix('{').and_then(|it| it.split_once('}'))
            {
                match piece((annotation, name), policy, lifts) {
                    Ok(Piece::Text(said)) => plain.push_str(&said),
                    Ok(piece) => {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                        pieces.push(piece);
                    }
                    Err(problem) => wrong.push(problem),
                }
                rest = after;
            } else {
                wrong.push(format!(
                    "`@{annotation}` has a brace that stands alone: {KNOWN}"
                ));
                break;
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Ok(Self { pieces })
    }

    /// Whether it says the amount of a call.
    pub(super) fn says_amount(&self) -> bool {
        self.pieces.contains(&Piece::Amount)
    }

    /// Whether it says anything that only a call of a tool has.
    pub(super) fn is_of_call(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| !matches!(piece, Piece::Text(_)))
    }

    /// What is said of one call.
    pub(super) fn filled(&self, known: &Known<'_>) -> String {
        // A limit is written as what it is compared with.
        let scale = known.amount.map_or(known.scale, |(_, scale)| scale);
        let mut said = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => said.push_str(text),
                Piece::Amount => said.push_str(&match known.amount {
                    Some((amount, scale)) => policy::amount(amount, scale),
                    None => "no amount".to_owned(),
                }),
                Piece::Limit(name) => {
                    let limit = known.limits.and_then(|limits| limits.get(name));
                    said.push_str(&match limit {
                        Some(limit) => policy::amount(*limit, scale),
                        None => "no limit".to_owned(),
                    });
                }
            }
        }
        said
    }
}

fn piece(
    (annotation, name): (&str, &str),
    policy: &Policy,
    lifts: Lifts<'_>,
) -> Result<Piece, String> {
    let lifted = |word: &str, said: String| match lifts.role {
        Some(_) => Ok(Piece::Text(said)),
        None => Err(format!(
            "`@{annotation}` says `{{{word}}}`, and without `@escalate` nobody is asked"
        )),
    };
    match name {
        "amount" => Ok(Piece::Amount),
        "role" => lifted("role", lifts.role.unwrap_or_default().to_owned()),
        "expires" => lifted("expires", span::in_words(lifts.expires)),
        "limit" => {
            let read = limits_read(policy);
            match (read.first(), read.len()) {
                (Some(one), 1) => Ok(Piece::Limit(one.clone())),
                _ => Err(format!(
                    "`@{annotation}` says `{{limit}}`, and the policy reads {} of the principal's limits: it must read one of `principal.{}`, or one `principal.getTag(\"…\")`",
                    read.len(),
                    LIMITS.join("`, `principal.")
                )),
            }
        }
        other => Err(format!(
            "`@{annotation}` has `{{{}}}`, which nothing is put in for: {KNOWN}",
            other.escape_debug()
        )),
    }
}

/// The limits of the principal that a policy reads.
fn limits_read(policy: &Policy) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Ok(json) = policy.to_json() {
        visit(&json, &mut found);
    }
    found
}

fn visit(expression: &Value, found: &mut BTreeSet<String>) {
    let of_principal = |operand: &Value| {
        let left = operand.pointer("/left/Var");
        left.is_some_and(|name| name == "principal")
    };
    match expression {
        Value::Object(children) => {
            for (operator, operand) in children {
                let name = match operator.as_str() {
                    "." => operand
                        .get("attr")
                        .and_then(Value::as_str)
                        .filter(|name| LIMITS.contains(name)),
                    "getTag" => operand.pointer("/right/Value").and_then(Value::as_str),
                    _ => None,
                };
                if let Some(name) = name.filter(|_| of_principal(operand)) {
                    found.insert(name.to_owned());
                }
                visit(operand, found);
            }
        }
        Value::Array(children) => children.iter().for_each(|child| visit(child, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Marks the argument that is the amount of a tool's calls: its only one that is money,
/// else its only one that is metered. False where there is none, or several.
pub(super) fn mark_amount(fields: &mut Fields) -> bool {
    let mut numbers = Vec::new();
    numbers_of(fields, "", &mut numbers);
    let only = |which: fn(&Number) -> bool| {
        let mut fitting = numbers.iter().filter(|number| which(number));
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => Some(one.path.clone()),
            _ => None,
        }
    };
    let path = only(|number| number.is_money).or_else(|| only(|number| number.is_metered));
    let marked = path.and_then(|path| rules::field_mut(fields, "amount", &path).ok());
    marked.map(|field| field.is_amount = true).is_some()
}

struct Number {
    path: String,
    is_money: bool,
    is_metered: bool,
}

fn numbers_of(fields: &Fields, prefix: &str, found: &mut Vec<Number>) {
    for (name, field) in &fields.typed {
        let path = format!("{prefix}{name}");
        match &field.shape {
            Shape::Money(_) | Shape::Whole => found.push(Number {
                is_money: matches!(field.shape, Shape::Money(_)),
                is_metered: field.meter.is_some(),
                path,
            }),
            Shape::Record(fields) => numbers_of(fields, &format!("{path}."), found),
            Shape::Text | Shape::Flag | Shape::Decimal | Shape::Many(_) => {}
        }
    }
}

/// What is wrong with policies whose message says what calls that they can stop have
/// not: one problem for each policy, with the first such call.
pub(super) struct Unsaid<'a> {
    live: &'a [(Loaded, Option<Stop>)],
    found: BTreeMap<String, String>,
}

impl<'a> Unsaid<'a> {
    /// Of these policies nothing yet.
    pub(super) fn of(live: &'a [(Loaded, Option<Stop>)]) -> Self {
        let found = BTreeMap::new();
        Self { live, found }
    }

    /// Notes those that can stop a call of this target and say what it has not.
    pub(super) fn note(&mut self, slice: &Slice, target: &str, says: fn(&Message) -> bool) {
        for ((id, annotation), _) in slice.messages().filter(|(_, message)| says(message)) {
            let mut live = self.live.iter().map(|(loaded, _)| loaded);
            if !self.found.contains_key(id)
                && let Some(loaded) = live.find(|loaded| loaded.id == id)
            {
                let problem = loaded.problem(format_args!(
                    "its `@{annotation}` says an amount or a limit, and it can stop `{}`, which has none: a tool has an amount where exactly one of its arguments is declared as `money`, or else exactly one as `meter`; name the tools that the policy is for, or leave that out of the message",
                    target.escape_debug()
                ));
                self.found.insert(id.to_owned(), problem);
            }
        }
    }

    /// Returns what was noted, as the error that it is.
    pub(super) fn none(self) -> Result<(), Vec<String>> {
        match self.found.is_empty() {
            true => Ok(()),
            false => Err(self.found.into_values().collect()),
        }
    }
}

/// The limits of each principal, by the names that policies know them by.
pub(super) fn limits_of(principals: &Principals) -> BTreeMap<PrincipalId, BTreeMap<String, i64>> {
    let limits = principals.by_id.iter().map(|(id, principal)| {
        let Limits { call, session, day } = principal.limits;
        let own = LIMITS.into_iter().zip([call, session, day]);
        let own = own.map(|(name, limit)| (name.to_owned(), limit));
        let named = principal.named_limits.clone().into_iter();
        (id.clone(), named.chain(own).collect())
    });
    limits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: &str = "when { context.input.amount > principal.limit && context.call.approval.by.sessionLimit > 1 }";

    fn read(text: &str, condition: &str, role: Option<&str>) -> Result<Message, Vec<String>> {
        let policy = format!("forbid (principal, action, resource) {condition};");
        let policy = Policy::parse(None, policy).unwrap();
        let expires = SignedDuration::from_hours(72);
        Message::read(("message", text), &policy, Lifts { role, expires })
    }

    #[test]
    fn what_is_put_in_is_of_the_call_and_its_caller() {
        let limits = BTreeMap::from([("limit".to_owned(), 1_000_000), ("refund".to_owned(), 500)]);
        let known = Known {
            amount: Some((5_000_000, 2)),
            limits: Some(&limits),
            scale: 2,
        };
        let tag = "when { principal.hasTag(\"refund\") && context.input.amount > principal.getTag(\"refund\") }";
        for (text, condition, said) in [
            (
                "{amount} is over {limit}.",
                LIMIT,
                "50000.00 is over 10000.00.",
            ),
            ("{limit}", tag, "5.00"),
            (
                "Ask a {role} within {expires}.",
                LIMIT,
                "Ask a Manager within 3 days.",
            ),
            ("{{amount}} }}{{", LIMIT, "{amount} }{"),
            ("plain", LIMIT, "plain"),
        ] {
            let message = read(text, condition, Some("Manager")).unwrap();
            assert_eq!(message.filled(&known), said, "{text}");
        }
        let message = read("{amount}/{limit}", LIMIT, None).unwrap();
        assert_eq!(message.filled(&Known::default()), "no amount/no limit");
    }

    #[test]
    fn what_nothing_can_be_put_in_for_is_an_error() {
        let two = "when { context.input.amount > principal.limit || context.input.amount > principal.dayLimit }";
        for (text, condition, says) in [
            ("{who}", LIMIT, "`{who}`, which nothing"),
            ("{}", LIMIT, "`{}`, which nothing"),
            ("{amount", LIMIT, "stands alone"),
            ("amount}", LIMIT, "stands alone"),
            ("{role}", LIMIT, "without `@escalate`"),
            ("{expires}", LIMIT, "without `@escalate`"),
            ("{limit}", two, "reads 2 of the principal's limits"),
            ("{limit}", "", "reads 0 of the principal's limits"),
        ] {
            let wrong = read(text, condition, None).unwrap_err();
            assert!(wrong[0].contains(says), "{wrong:?}");
        }
    }
}
