//! What to write where a policy compares a `number` like a whole one. Cedar has it
//! as a decimal, and says only that it expected something else.

use super::reads;
use super::shape::Fields;
use super::shape::Shape;
use cedar_policy::Policy;
use serde_json::Value;

/// The operators on whole numbers, what stands for them on decimals, and what does
/// where the argument is on the right.
const COMPARISONS: [(&str, &str, &str); 4] = [
    ("<", "lessThan", "greaterThan"),
    ("<=", "lessThanOrEqual", "greaterThanOrEqual"),
    (">", "greaterThan", "lessThan"),
    (">=", "greaterThanOrEqual", "lessThanOrEqual"),
];

/// What would be right, for the first argument that is compared so. `tools` are
/// the arguments of the tools that the policy may be about.
pub(super) fn hint<'a>(
    policy: &Policy,
    tools: impl Iterator<Item = &'a Fields> + Clone,
) -> Option<String> {
    let whole = policy.to_json().ok()?;
    let is_decimal = |path: &[&str]| tools.clone().any(|fields| is_decimal(fields, path));
    within(whole.get("conditions")?, &is_decimal)
}

fn within(expression: &Value, is_decimal: &impl Fn(&[&str]) -> bool) -> Option<String> {
    match expression {
        Value::Object(children) => children.iter().find_map(|(operator, operands)| {
            wrong(operator, operands, is_decimal).or_else(|| within(operands, is_decimal))
        }),
        Value::Array(children) => children.iter().find_map(|child| within(child, is_decimal)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn wrong(
    operator: &str,
    operands: &Value,
    is_decimal: &impl Fn(&[&str]) -> bool,
) -> Option<String> {
    let side = |name: &str, place: usize| operands.get(name).or_else(|| operands.get(place));
    let (left, right) = (side("left", 0)?, side("right", 1)?);
    let argument = |side: &Value| {
        let whole = reads::context_path(side)?;
        let path = whole.strip_prefix(&["input"])?;
        is_decimal(path).then(|| (path.join("."), reads::spelled(&whole)))
    };
    let (name, spelled, other, on_the_right) = match (argument(left), argument(right)) {
        (Some((name, spelled)), _) => (name, spelled, right, false),
        (None, Some((name, spelled))) => (name, spelled, left, true),
        (None, None) => return None,
    };
    let is_whole = other.get("Value").is_some_and(Value::is_i64);
    let other = match argument(other) {
        Some((_, spelled)) => spelled,
        None => literal(other),
    };
    let compared = COMPARISONS
        .iter()
        .find(|(plain, method, _)| *plain == operator || *method == operator);
    let right_would_be = match (compared, operator) {
        (Some((plain, _, turned)), _) if on_the_right && *plain == operator => {
            format!("write `{spelled}.{turned}({other})`")
        }
        (Some((plain, method, _)), _) if *plain == operator || is_whole => {
            format!("write `{spelled}.{method}({other})`")
        }
        (None, "==" | "!=") if is_whole => format!("write `{spelled} {operator} {other}`"),
        (None, "+" | "-" | "*") => "Cedar does not compute with decimals".to_owned(),
        // That is as it should be.
        (_, _) => return None,
    };
    Some(format!(
        "`{name}` is a `number`, which Cedar has as a decimal: {right_would_be}; declared as `money` it is a whole number of minor units, and `<` is right"
    ))
}

/// A number as Cedar reads a decimal.
fn literal(expression: &Value) -> String {
    let whole = expression.get("Value").and_then(Value::as_i64);
    let text = expression
        .get("decimal")
        .and_then(|operands| operands.get(0)?.get("Value")?.as_str());
    match (whole, text) {
        (Some(whole), _) => format!("decimal(\"{whole}.0\")"),
        (None, Some(text)) => format!("decimal(\"{text}\")"),
        (None, None) => "decimal(\"…\")".to_owned(),
    }
}

fn is_decimal(fields: &Fields, path: &[&str]) -> bool {
    let Some((name, rest)) = path.split_first() else {
        return false;
    };
    match fields.typed.get(*name).map(|field| &field.shape) {
        Some(Shape::Decimal) => rest.is_empty(),
        Some(Shape::Record(inner)) => is_decimal(inner, rest),
        _ => false,
    }
}

/// What to write where a text has a number with a point before `offset`, which is
/// no number of Cedar's.
pub(super) fn point(text: &str, offset: usize) -> Option<String> {
    let before = text.get(..offset)?.strip_suffix('.')?;
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole: String = before
        .chars()
        .rev()
        .take_while(char::is_ascii_digit)
        .collect();
    let fraction = text.get(offset..)?;
    let fraction = fraction.get(..digits(fraction))?;
    let whole: String = whole.chars().rev().collect();
    (!whole.is_empty() && !fraction.is_empty()).then(|| {
        format!(
            "Cedar has no numbers with a point: write `decimal(\"{whole}.{fraction}\")`, and compare by `.lessThan(…)` or `.greaterThan(…)`; what is declared as money is a whole number of its smallest unit, as 550 cents for 5.50"
        )
    })
}
