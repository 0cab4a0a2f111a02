//! What a condition comes to where only part of what it reads is known.

use serde_json::Value;

/// Whether an expression holds, by what is known of its parts; none where that depends on
/// what is not known.
pub(super) fn of(expression: &Value, known: &dyn Fn(&Value) -> Option<bool>) -> Option<bool> {
    let (operator, operands) = expression.as_object()?.iter().next()?;
    let side = |name: &str| of(operands.get(name)?, known);
    match operator.as_str() {
        "Value" => operands.as_bool(),
        "!" => Some(!side("arg")?),
        "&&" => match (side("left"), side("right")) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        "||" => match (side("left"), side("right")) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        _ => known(expression),
    }
}
