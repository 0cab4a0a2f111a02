//! What the operator declared of a tool's arguments, put on their types.

use super::place;
use super::shape::Fact;
use super::shape::Field;
use super::shape::Fields;
use super::shape::Shape;
use crate::tool::ToolRules;

/// Puts rules on a tool's arguments. Returns what is wrong with the rules.
pub(super) fn apply(fields: &mut Fields, rules: &ToolRules, money_scale: u8) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in &rules.money {
        wrong.extend(money(fields, path, money_scale).err());
    }
    for path in &rules.sums {
        wrong.extend(sum(fields, path).err());
    }
    for (index, path) in rules.meters.iter().enumerate() {
        wrong.extend(meter(fields, path, index).err());
    }
    for path in &rules.paths {
        wrong.extend(place_fact(fields, "path", path, Fact::Resolved).err());
    }
    for path in &rules.urls {
        wrong.extend(place_fact(fields, "url", path, Fact::Host).err());
    }
    for path in &rules.uris {
        for fact in [Fact::Scheme, Fact::Host, Fact::Path] {
            wrong.extend(place_fact(fields, "uri", path, fact).err());
        }
    }
    for (path, folder) in &rules.under {
        if folder.starts_with('/') {
            let fact = Fact::Under(place::resolved(folder));
            wrong.extend(place_fact(fields, "under", path, fact).err());
        } else {
            wrong.push(format!(
                "`under` gives `{path}` the folder `{folder}`: write an absolute path"
            ));
        }
    }
    wrong
}

fn money(fields: &mut Fields, path: &str, scale: u8) -> Result<(), String> {
    let field = field_mut(fields, "money", path)?;
    match &mut field.shape {
        shape @ (Shape::Whole | Shape::Decimal) => *shape = Shape::Money(scale),
        Shape::Money(_) => {}
        other => return Err(mistyped("money", path, "a number", other)),
    }
    Ok(())
}

fn sum(fields: &mut Fields, path: &str) -> Result<(), String> {
    let Some((array, member)) = path.rsplit_once("[].") else {
        return Err(format!(
            "`sum` names `{path}`: write the array and the member of its items, like `line_items[].amount`"
        ));
    };
    let summed = field_mut(fields, "sum", path)?;
    if !matches!(summed.shape, Shape::Whole | Shape::Money(_)) {
        let wanted = "a whole number or money";
        return Err(mistyped("sum", path, wanted, &summed.shape));
    }
    push(
        field_mut(fields, "sum", array)?,
        Fact::Sum(member.to_owned()),
    );
    Ok(())
}

fn meter(fields: &mut Fields, path: &str, index: usize) -> Result<(), String> {
    let field = metered(fields, "meter", path)?;
    if field.meter.replace(index).is_some() {
        return Err(format!("`meter` names `{path}` twice"));
    }
    Ok(())
}

/// Lets an argument feed a declared meter, by its place among those of the tool.
/// Returns what the argument is.
pub(super) fn feed(
    fields: &mut Fields,
    rule: &str,
    path: &str,
    index: usize,
) -> Result<Shape, String> {
    let field = metered(fields, rule, path)?;
    field.feeds.push(index);
    Ok(field.shape.clone())
}

/// An argument that can have a total.
fn metered<'f>(fields: &'f mut Fields, rule: &str, path: &str) -> Result<&'f mut Field, String> {
    let field = field_mut(fields, rule, path)?;
    if path.contains("[].") {
        return Err(format!(
            "`{rule}` names `{path}`, which is in an array: only a single argument has a total"
        ));
    }
    if !matches!(field.shape, Shape::Whole | Shape::Money(_)) {
        let wanted = "a whole number, or declared as `money`";
        return Err(mistyped(rule, path, wanted, &field.shape));
    }
    Ok(field)
}

fn place_fact(fields: &mut Fields, rule: &str, path: &str, fact: Fact) -> Result<(), String> {
    let field = field_mut(fields, rule, path)?;
    let texts = match &field.shape {
        Shape::Text => true,
        Shape::Many(element) => **element == Shape::Text,
        _ => false,
    };
    if !texts {
        let wanted = "a string or an array of strings";
        return Err(mistyped(rule, path, wanted, &field.shape));
    }
    push(field, fact);
    Ok(())
}

fn push(field: &mut Field, fact: Fact) {
    if !field.facts.contains(&fact) {
        field.facts.push(fact);
    }
}

/// The argument that a rule names: `amount`, `order.amount`, `line_items[].amount`.
pub(super) fn field_mut<'f>(
    fields: &'f mut Fields,
    rule: &str,
    path: &str,
) -> Result<&'f mut Field, String> {
    if let Some(opaque) = fields.opaque.get(path) {
        return Err(format!(
            "`{rule}` names `{path}`, which policy cannot see: {}",
            opaque.reason
        ));
    }
    let known = known(fields);
    find_mut(fields, path).ok_or_else(|| {
        format!("`{rule}` names `{path}`, which the tool does not have: its arguments are {known}")
    })
}

fn find_mut<'f>(fields: &'f mut Fields, path: &str) -> Option<&'f mut Field> {
    if fields.typed.contains_key(path) {
        return fields.typed.get_mut(path);
    }
    let (head, rest) = path.split_once('.')?;
    match head.strip_suffix("[]") {
        Some(array) => match &mut fields.typed.get_mut(array)?.shape {
            Shape::Many(element) => match &mut **element {
                Shape::Record(inner) => find_mut(inner, rest),
                _ => None,
            },
            _ => None,
        },
        None => match &mut fields.typed.get_mut(head)?.shape {
            Shape::Record(inner) => find_mut(inner, rest),
            _ => None,
        },
    }
}

fn known(fields: &Fields) -> String {
    let mut names = Vec::new();
    for (name, field) in &fields.typed {
        names.push(format!("`{name}`"));
        match &field.shape {
            Shape::Record(inner) => {
                names.extend(inner.typed.keys().map(|key| format!("`{name}.{key}`")));
            }
            Shape::Many(element) => {
                if let Shape::Record(inner) = &**element {
                    names.extend(inner.typed.keys().map(|key| format!("`{name}[].{key}`")));
                }
            }
            _ => {}
        }
    }
    if names.is_empty() {
        "none that policy can see".to_owned()
    } else {
        names.join(", ")
    }
}

fn mistyped(rule: &str, path: &str, wanted: &str, found: &Shape) -> String {
    let found = match found {
        Shape::Text => "a string",
        Shape::Flag => "a boolean",
        Shape::Whole => "a whole number",
        Shape::Decimal => "a number",
        Shape::Money(_) => "money",
        Shape::Record(_) => "an object",
        Shape::Many(_) => "an array",
    };
    format!("`{rule}` names `{path}`, which is {found}: it must be {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(path: &str) -> Vec<String> {
        vec![path.to_owned()]
    }

    /// Rules with one mistake, and what is said of it.
    fn mistakes() -> Vec<(ToolRules, &'static str)> {
        let none = ToolRules::default;
        let (mut twice, mut folder) = (none(), none());
        twice.money = list("amount");
        twice.meters = vec!["amount".to_owned(); 2];
        folder.under = [("memo".to_owned(), "srv".to_owned())].into();
        let money = |path| ToolRules {
            money: list(path),
            ..none()
        };
        let meters = |path| ToolRules {
            meters: list(path),
            ..none()
        };
        let sums = |path| ToolRules {
            sums: list(path),
            ..none()
        };
        let paths = |path| ToolRules {
            paths: list(path),
            ..none()
        };
        let urls = |path| ToolRules {
            urls: list(path),
            ..none()
        };
        vec![
            (
                money("amont"),
                "arguments are `amount`, `items`, `items[].n`, `memo`",
            ),
            (money("memo"), "must be a number"),
            (money("anything"), "it declares no type"),
            (
                meters("amount"),
                "must be a whole number, or declared as `money`",
            ),
            (meters("items[].n"), "in an array"),
            (twice, "twice"),
            (sums("amount"), "like `line_items[].amount`"),
            (sums("items[].m"), "`items[].n`"),
            (paths("amount"), "a string or an array of strings"),
            (urls("items"), "a string or an array of strings"),
            (folder, "absolute path"),
        ]
    }

    #[test]
    fn a_rule_that_does_not_fit_the_tool_says_what_would() {
        let schema = json!({"properties": {
            "amount": {"type": "number"},
            "memo": {"type": "string"},
            "anything": true,
            "items": {"type": "array", "items": {"properties": {"n": {"type": "integer"}}}},
        }});
        for (rules, expected) in mistakes() {
            let wrong = apply(&mut Fields::of_tool(&schema), &rules, 2);
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert!(wrong[0].contains(expected), "{}", wrong[0]);
        }
    }
}
