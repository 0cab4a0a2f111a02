//! Reading the arguments of one call as the input that policy sees.
//!
//! The text is walked once, by the tool's types. Everything is checked; built is
//! only what the policies of this tool read.

use super::arguments::Amount;
use super::arguments::ArgumentError;
use super::arguments::Reading;
use super::number;
use super::number::Misfit;
use super::place;
use super::reads::Wants;
use super::shape::Fact;
use super::shape::Field;
use super::shape::Fields;
use super::shape::Shape;
use super::shape::count_attribute;
use super::shape::spelled;
use crate::json;
use crate::json::JsonError;
use crate::json::Object;
use crate::tool::Meter;
use cedar_policy::RestrictedExpression;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Reads the arguments of one tool.
#[derive(Debug)]
pub(super) struct Reader {
    fields: Fields,
    /// Key and argument of each meter.
    meters: Vec<(Arc<str>, Arc<str>)>,
    /// The declared meters that count the tool.
    counted: Vec<Arc<Meter>>,
}

impl Reader {
    pub(super) fn new(
        fields: Fields,
        meters: Vec<(Arc<str>, Arc<str>)>,
        counted: Vec<Arc<Meter>>,
    ) -> Self {
        Self {
            fields,
            meters,
            counted,
        }
    }

    pub(super) fn counted(&self) -> &[Arc<Meter>] {
        &self.counted
    }

    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Reads arguments, building of the input what is wanted.
    pub(super) fn read(
        self: &Arc<Self>,
        arguments: &str,
        wants: Wants<'_>,
    ) -> Result<Reading, ArgumentError> {
        let mut walk = Walk {
            prefix: String::new(),
            opaque: BTreeSet::new(),
            amounts: vec![0; self.meters.len()],
            counts: self
                .counted
                .iter()
                .map(|meter| i64::from(meter.sum.is_none()))
                .collect(),
            amount: None,
        };
        let input = walk.record(&self.fields, arguments, wants)?;
        let amounts = self.meters.iter().zip(walk.amounts);
        Ok(Reading {
            reader: Arc::clone(self),
            input: record(input)?,
            amounts: amounts
                .map(|((meter, argument), value)| Amount {
                    meter: Arc::clone(meter),
                    argument: Arc::clone(argument),
                    value,
                })
                .collect(),
            counts: walk.counts,
            opaque: walk.opaque,
            amount: walk.amount,
        })
    }
}

type Attributes = Vec<(String, RestrictedExpression)>;

/// The state of one reading.
struct Walk {
    /// The place of the record that is being read: `items[].`.
    prefix: String,
    opaque: BTreeSet<String>,
    amounts: Vec<i64>,
    /// What is added to each declared meter: 1, or what it sums.
    counts: Vec<i64>,
    /// The amount of the call, and its decimals.
    amount: Option<(i64, u8)>,
}

impl Walk {
    fn record(
        &mut self,
        fields: &Fields,
        raw: &str,
        wants: Wants<'_>,
    ) -> Result<Attributes, ArgumentError> {
        let object = Object::parse(raw).map_err(|source| self.malformed(source))?;
        for (key, value) in object.iter() {
            if fields.typed.contains_key(key) {
                continue;
            }
            if !fields.opaque.contains_key(key)
                && let Some(known) = fields.lookalike(key)
            {
                return Err(ArgumentError::Lookalike {
                    found: key.chars().take(80).collect(),
                    known: spelled(&self.prefix, known),
                });
            }
            // What is not walked by its type is still checked to its last level.
            json::check(value.as_bytes()).map_err(|source| self.malformed(source))?;
            self.opaque.insert(spelled(&self.prefix, key));
        }
        for (name, opaque) in &fields.opaque {
            if opaque.required && object.get(name).is_none() {
                return Err(ArgumentError::Missing {
                    argument: spelled(&self.prefix, name),
                    expected: "present",
                });
            }
        }
        let mut attributes = Vec::new();
        for (name, field) in &fields.typed {
            let value = object.get(name);
            self.field(
                name,
                field,
                value,
                &mut Sink {
                    wants,
                    attributes: &mut attributes,
                },
            )?;
        }
        Ok(attributes)
    }

    fn field(
        &mut self,
        name: &str,
        field: &Field,
        value: Option<&str>,
        sink: &mut Sink<'_>,
    ) -> Result<(), ArgumentError> {
        let value = match value {
            Some("null") if field.nullable || may_be_null(name, field, sink.wants) => None,
            None if field.required => {
                return Err(ArgumentError::Missing {
                    argument: spelled(&self.prefix, name),
                    expected: expected(&field.shape),
                });
            }
            present_or_absent => present_or_absent,
        };
        let Some(raw) = value else {
            absent(name, field, sink);
            return Ok(());
        };
        let place = spelled(&self.prefix, name);
        let care = match sink.wants.wants(name) {
            true => Care::Build,
            false => Care::Check,
        };
        if let Some(built) = self.value(&field.shape, raw, &place, care)? {
            sink.attributes.push((name.to_owned(), built));
        }
        if let Some(amount) = field.meter.and_then(|index| self.amounts.get_mut(index)) {
            *amount = exact(&field.shape, raw, &place)?;
        }
        for index in &field.feeds {
            if let Some(count) = self.counts.get_mut(*index) {
                *count = exact(&field.shape, raw, &place)?;
            }
        }
        if field.is_amount {
            let scale = match field.shape {
                Shape::Money(scale) => scale,
                _ => 0,
            };
            let amount = exact(&field.shape, raw, &place).ok();
            self.amount = amount.map(|amount| (amount, scale));
        }
        if matches!(field.shape, Shape::Many(_)) {
            let count = elements(raw)
                .map_err(|source| self.malformed(source))?
                .len();
            sink.push(count_attribute(name), || long(count));
        }
        for fact in &field.facts {
            let derived = self.fact(fact, &field.shape, raw, &place)?;
            sink.push(fact.attribute(name), || derived);
        }
        Ok(())
    }

    /// Checks a value, and builds it where that is asked for.
    fn value(
        &mut self,
        shape: &Shape,
        raw: &str,
        place: &str,
        care: Care,
    ) -> Result<Option<RestrictedExpression>, ArgumentError> {
        if kind(raw) != kind_of(shape) {
            return Err(ArgumentError::Mistyped {
                argument: place.to_owned(),
                found: kind(raw),
                expected: expected(shape),
            });
        }
        let built = match shape {
            Shape::Text => RestrictedExpression::new_string(self.text(raw)?),
            Shape::Flag => RestrictedExpression::new_bool(raw == "true"),
            Shape::Whole | Shape::Money(_) | Shape::Decimal => {
                if matches!(care, Care::Check) {
                    return Ok(None);
                }
                let units = exact(shape, raw, place)?;
                match shape {
                    Shape::Decimal => {
                        RestrictedExpression::new_decimal(number::decimal_text(units))
                    }
                    _ => RestrictedExpression::new_long(units),
                }
            }
            Shape::Record(fields) => {
                let wants = match care {
                    Care::Build => Wants::All,
                    Care::Check => Wants::Nothing,
                };
                let attributes =
                    self.within(format!("{place}."), |walk| walk.record(fields, raw, wants))?;
                record(attributes)?
            }
            Shape::Many(element) => {
                let place = format!("{place}[]");
                let mut built = Vec::new();
                for raw in elements(raw).map_err(|source| self.malformed(source))? {
                    built.extend(self.value(element, raw.get(), &place, care)?);
                }
                RestrictedExpression::new_set(built)
            }
        };
        Ok(matches!(care, Care::Build).then_some(built))
    }

    fn fact(
        &mut self,
        fact: &Fact,
        shape: &Shape,
        raw: &str,
        place: &str,
    ) -> Result<RestrictedExpression, ArgumentError> {
        if let (Fact::Sum(member), Shape::Many(element)) = (fact, shape) {
            return self
                .sum(element, member, raw, place)
                .map(RestrictedExpression::new_long);
        }
        let texts = match shape {
            Shape::Many(_) => elements(raw)
                .map_err(|source| self.malformed(source))?
                .into_iter()
                .map(|element| self.text(element.get()))
                .collect::<Result<Vec<_>, _>>()?,
            _ => vec![self.text(raw)?],
        };
        let derived = match fact {
            Fact::Under(folder) => {
                let all = texts.iter().all(|path| place::is_under(path, folder));
                return Ok(RestrictedExpression::new_bool(all && !texts.is_empty()));
            }
            Fact::Resolved => texts.iter().map(|path| place::resolved(path)).collect(),
            Fact::Host => texts
                .iter()
                .map(|url| place::host(url))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| ArgumentError::AmbiguousHost {
                    argument: place.to_owned(),
                })?,
            Fact::Scheme => texts.iter().map(|uri| place::scheme(uri)).collect(),
            Fact::Path => texts.iter().map(|uri| place::path(uri)).collect(),
            Fact::Sum(_) => Vec::new(),
        };
        let mut derived = derived.into_iter().map(RestrictedExpression::new_string);
        Ok(match (shape, derived.next()) {
            (Shape::Many(_), first) => {
                RestrictedExpression::new_set(first.into_iter().chain(derived))
            }
            (_, Some(only)) => only,
            (_, None) => RestrictedExpression::new_string(String::new()),
        })
    }

    fn sum(
        &self,
        element: &Shape,
        member: &str,
        raw: &str,
        place: &str,
    ) -> Result<i64, ArgumentError> {
        let place = spelled(&format!("{place}[]."), member);
        let summed = match element {
            Shape::Record(fields) => fields.typed.get(member),
            _ => None,
        };
        let mut total = 0_i64;
        for element in elements(raw).map_err(|source| self.malformed(source))? {
            let element = Object::parse(element.get()).map_err(|source| self.malformed(source))?;
            let (Some(field), Some(value)) = (summed, element.get(member)) else {
                continue;
            };
            if value != "null" {
                let value = exact(&field.shape, value, &place)?;
                total = total
                    .checked_add(value)
                    .ok_or_else(|| ArgumentError::SumTooLarge {
                        argument: place.clone(),
                    })?;
            }
        }
        Ok(total)
    }

    fn within<T>(&mut self, prefix: String, read: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.prefix, prefix);
        let read = read(self);
        self.prefix = outer;
        read
    }

    fn text(&self, raw: &str) -> Result<String, ArgumentError> {
        json::text(raw)
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| self.malformed("a string is not well-formed"))
    }

    fn malformed(&self, source: impl ToString) -> ArgumentError {
        let source = source.to_string();
        let place = self.prefix.trim_end_matches('.');
        ArgumentError::Malformed(if place.is_empty() {
            source
        } else {
            format!("in `{place}`, {source}")
        })
    }
}

/// Where the attributes of one record go.
struct Sink<'a> {
    wants: Wants<'a>,
    attributes: &'a mut Attributes,
}

impl Sink<'_> {
    fn push(&mut self, name: String, value: impl FnOnce() -> RestrictedExpression) {
        if self.wants.wants(&name) {
            self.attributes.push((name, value()));
        }
    }
}

/// What is done with a value besides checking it.
#[derive(Clone, Copy)]
enum Care {
    Build,
    /// A number that does not fit is let pass: no policy reads it.
    Check,
}

/// Many clients send `null` for what they leave out. Where no policy reads the
/// argument it makes no difference to the decision; where one does, a server could
/// take `null` for something else than nothing, and the call is refused.
fn may_be_null(name: &str, field: &Field, wants: Wants<'_>) -> bool {
    let is_metered = field.meter.is_some() || !field.feeds.is_empty();
    !field.required && !is_metered && field.facts.is_empty() && !wants.wants(name)
}

/// The attributes that are there although their argument is not.
fn absent(name: &str, field: &Field, sink: &mut Sink<'_>) {
    if matches!(field.shape, Shape::Many(_)) {
        sink.push(count_attribute(name), || long(0));
    }
    for fact in &field.facts {
        match fact {
            Fact::Sum(_) => sink.push(fact.attribute(name), || long(0)),
            // No path is under no folder: a rule that demands it says no.
            Fact::Under(_) => {
                sink.push(fact.attribute(name), || {
                    RestrictedExpression::new_bool(false)
                });
            }
            Fact::Resolved | Fact::Host | Fact::Scheme | Fact::Path => {}
        }
    }
}

fn long(count: usize) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(count).unwrap_or(i64::MAX))
}

fn record(attributes: Attributes) -> Result<RestrictedExpression, ArgumentError> {
    RestrictedExpression::new_record(attributes)
        .map_err(|source| ArgumentError::Malformed(source.to_string()))
}

fn elements(raw: &str) -> Result<Vec<&RawValue>, JsonError> {
    serde_json::from_str(raw).map_err(|source| JsonError::Malformed(source.to_string()))
}

fn exact(shape: &Shape, raw: &str, place: &str) -> Result<i64, ArgumentError> {
    let scale = match shape {
        Shape::Money(scale) => *scale,
        Shape::Decimal => number::DECIMALS,
        _ => 0,
    };
    number::scaled(raw, scale).map_err(|misfit| ArgumentError::Inexact {
        argument: place.to_owned(),
        problem: match misfit {
            Misfit::TooPrecise if scale == 0 => "it is not a whole number",
            Misfit::TooPrecise => "it has too many decimals",
            Misfit::OutOfRange => "it is too large",
        },
        allowed: match (misfit, scale) {
            (Misfit::TooPrecise, 0) => "write it without decimals".to_owned(),
            (Misfit::TooPrecise, scale) => format!("write at most {scale} decimals"),
            (Misfit::OutOfRange, scale) => {
                let largest = 10_i64.checked_pow(u32::from(scale)).unwrap_or(1);
                format!("write at most {}", i64::MAX / largest)
            }
        },
    })
}

/// The kind of a JSON value, by its first character.
fn kind(raw: &str) -> &'static str {
    match raw.bytes().next() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn kind_of(shape: &Shape) -> &'static str {
    match shape {
        Shape::Text => "a string",
        Shape::Flag => "a boolean",
        Shape::Whole | Shape::Decimal | Shape::Money(_) => "a number",
        Shape::Record(_) => "an object",
        Shape::Many(_) => "an array",
    }
}

fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Whole => "a whole number",
        Shape::Money(_) => "an amount of money, as a number",
        other => kind_of(other),
    }
}
