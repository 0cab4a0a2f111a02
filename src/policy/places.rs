//! Conditions on a path as somebody wrote it. One file has many spellings, and a forbid
//! that names one of them lets the others through.

use super::load::Loaded;
use super::reads;
use super::schema::BROKER;
use super::shape::Fact;
use super::shape::Field;
use super::shape::Fields;
use super::shape::Shape;
use crate::tool::ToolId;
use cedar_policy::Effect;
use serde_json::Map;
use serde_json::Value;
use std::collections::BTreeMap;

/// A tool that a policy may be about.
#[derive(Clone, Copy)]
pub(super) struct Tool<'a> {
    pub(super) id: &'a ToolId,
    pub(super) fields: &'a Fields,
    /// Its `inputSchema`.
    pub(super) schema: &'a Value,
}

/// What a policy compares as it is written and should not, one line for each argument.
pub(super) fn as_written<'a>(
    loaded: &Loaded,
    tools: impl Iterator<Item = Tool<'a>> + Clone,
) -> Vec<String> {
    let Ok(whole) = loaded.policy.to_json() else {
        return Vec::new();
    };
    let mut found: BTreeMap<Vec<String>, Vec<Tool<'a>>> = BTreeMap::new();
    let conditions = whole.get("conditions").and_then(Value::as_array);
    for condition in conditions.into_iter().flatten() {
        let is_when = condition.get("kind").is_some_and(|kind| kind == "when");
        let stops = is_when == (loaded.policy.effect() == Effect::Forbid);
        visit(
            condition.get("body").unwrap_or(&Value::Null),
            stops,
            &mut |path| {
                let holding = tools.clone().filter(|tool| holds_a_path(tool, path));
                let known = found.entry(path.iter().map(|name| (*name).to_owned()).collect());
                let known = known.or_default();
                for tool in holding {
                    if !known.iter().any(|other| other.id == tool.id) {
                        known.push(tool);
                    }
                }
            },
        );
    }
    let told = found.iter().filter_map(|(path, tools)| told(path, tools));
    told.map(|what| loaded.problem(what)).collect()
}

fn told(path: &[String], tools: &[Tool<'_>]) -> Option<String> {
    let first = tools.first()?;
    let (name, before) = path.split_last()?;
    let spelled = |last: &str| {
        let before = before.iter().map(String::as_str);
        let whole: Vec<&str> = std::iter::once("input")
            .chain(before)
            .chain([last])
            .collect();
        reads::spelled(&whole)
    };
    let field = field(first.fields, path)?;
    let right = match field.facts.contains(&Fact::Resolved) {
        true => format!("write `{}`", spelled(&format!("{name}#resolved"))),
        false => format!(
            "declare `path = [{:?}]` in `[servers.{}.tools.{}]`, and write `{}`; for one folder and all below it, `under` and `{}`",
            path.join("."),
            first.id.server,
            first.id.name,
            spelled(&format!("{name}#resolved")),
            spelled(&format!("{name}#under"))
        ),
    };
    let more = match tools.len() {
        1 => String::new(),
        more => format!(" (and of {} more)", more - 1),
    };
    Some(format!(
        "it compares `{}` of `{}`{more} as it is written, and a path can be written in other ways (`/srv/x/../private`): {right}",
        spelled(name),
        first.id
    ))
}

/// Finds what of the input is compared with texts. `stops`: what is more than meant
/// stops a call, so a text anywhere in the path is found however the path is written.
fn visit(expression: &Value, stops: bool, found: &mut dyn FnMut(&[&str])) {
    let children = match expression {
        Value::Object(children) => children,
        Value::Array(children) => {
            return children.iter().for_each(|child| visit(child, stops, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    };
    for (operator, operands) in children {
        let side = |name: &str| operands.get(name).unwrap_or(&Value::Null);
        match operator.as_str() {
            "like" if !(stops && is_anywhere(side("pattern"))) => {
                note(side("left"), found);
            }
            "==" | "!=" | "contains" | "containsAll" | "containsAny" => {
                for (one, other) in [("left", "right"), ("right", "left")] {
                    if has_texts(side(other)) {
                        note(side(one), found);
                    }
                }
                visit(operands, false, found);
            }
            "!" => visit(operands, !stops, found),
            "if-then-else" => {
                visit(side("if"), false, found);
                visit(side("then"), stops, found);
                visit(side("else"), stops, found);
            }
            _ => visit(operands, stops, found),
        }
    }
}

/// Finds the arguments that an expression may be, or be made of: the members of a set and
/// of a record, and what a condition chooses from.
fn note(expression: &Value, found: &mut dyn FnMut(&[&str])) {
    let Some((operator, operands)) = expression.as_object().and_then(|one| one.iter().next())
    else {
        return;
    };
    if operator == "." {
        let path = reads::context_path(expression);
        let path = path.as_deref();
        if let Some(argument) = path.and_then(|path| path.strip_prefix(&["input"])) {
            found(argument);
            return;
        }
    }
    for part in parts(operator, operands) {
        note(part, found);
    }
}

/// Whether an expression may be, or be made of, what is written in the policy.
fn has_texts(expression: &Value) -> bool {
    let first = expression.as_object().and_then(|one| one.iter().next());
    first.is_some_and(|(operator, operands)| {
        operator == "Value" || parts(operator, operands).into_iter().any(has_texts)
    })
}

/// What the value of an expression is one of, or made of.
fn parts<'a>(operator: &str, operands: &'a Value) -> Vec<&'a Value> {
    let side = |name: &str| operands.get(name);
    match operator {
        "Set" => operands.as_array().into_iter().flatten().collect(),
        "Record" => operands
            .as_object()
            .into_iter()
            .flat_map(Map::values)
            .collect(),
        "if-then-else" => [side("then"), side("else")].into_iter().flatten().collect(),
        // A member of a record that is written there too.
        "." => side("left").into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Whether a pattern is a text with anything before and after it.
fn is_anywhere(pattern: &Value) -> bool {
    let parts = pattern.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_any = |part: Option<&Value>| part.is_some_and(|part| part == "Wildcard");
    parts.len() > 2 && is_any(parts.first()) && is_any(parts.last())
}

fn field<'f>(fields: &'f Fields, path: &[impl AsRef<str>]) -> Option<&'f Field> {
    let (name, rest) = path.split_first()?;
    let field = fields.typed.get(name.as_ref())?;
    match (&field.shape, rest.is_empty()) {
        (_, true) => Some(field),
        (Shape::Record(inner), false) => self::field(inner, rest),
        (_, false) => None,
    }
}

/// Whether an argument is a path, or several: by the operator's word, by its name, or by
/// what its schema calls it.
fn holds_a_path(tool: &Tool<'_>, path: &[&str]) -> bool {
    let Some((name, field)) = path.last().zip(field(tool.fields, path)) else {
        return false;
    };
    let is_text = match &field.shape {
        Shape::Text => true,
        Shape::Many(element) => **element == Shape::Text,
        _ => false,
    };
    if !is_text || tool.id.server.as_str() == BROKER {
        return false;
    }
    let declared = |fact: &Fact| matches!(fact, Fact::Resolved | Fact::Under(_));
    if field.facts.iter().any(declared) {
        return true;
    }
    // A URI has facts of its own.
    let is_other = |fact: &Fact| matches!(fact, Fact::Host | Fact::Scheme | Fact::Path);
    if field.facts.iter().any(is_other) {
        return false;
    }
    match format(tool.schema, path) {
        Some(format) => FORMATS.contains(&format),
        None => names_a_path(name),
    }
}

/// What schemas call a path; there is no word of the standard.
const FORMATS: [&str; 6] = [
    "path",
    "file-path",
    "directory-path",
    "filepath",
    "file",
    "directory",
];

/// The `format` of an argument, or of its items.
fn format<'s>(schema: &'s Value, path: &[&str]) -> Option<&'s str> {
    let mut at = schema;
    for name in path {
        at = at.get("properties")?.get(name)?;
    }
    let own = at.get("format");
    let own = own.or_else(|| at.get("items").and_then(|items| items.get("format")));
    own.and_then(Value::as_str)
}

/// Words that an argument ends in which holds a path.
const WORDS: [&str; 18] = [
    "path",
    "paths",
    "file",
    "files",
    "filename",
    "filenames",
    "filepath",
    "filepaths",
    "directory",
    "directories",
    "dir",
    "dirs",
    "folder",
    "folders",
    "pathname",
    "pathnames",
    "dirname",
    "foldername",
];

/// Whether a name ends in such a word: `path`, `source_file`, `outputPath`, `file_name`.
fn names_a_path(name: &str) -> bool {
    let mut words: Vec<String> = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        let begins = c.is_uppercase() && was_lower;
        if !c.is_alphanumeric() || begins {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    let is_word = |word: &String| WORDS.contains(&word.as_str());
    match words.as_slice() {
        [.., before, last] if last == "name" || last == "names" => is_word(before),
        [.., last] => is_word(last),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_ends_in_a_path_is_one() {
        for name in [
            "path",
            "paths",
            "file_path",
            "sourceFile",
            "fileName",
            "output-dir",
            "FilePath",
            "DIR",
        ] {
            assert!(names_a_path(name), "{name}");
        }
        for name in [
            "file_id",
            "profile",
            "fileType",
            "name",
            "pathology",
            "",
            "filesystem",
        ] {
            assert!(!names_a_path(name), "{name}");
        }
    }
}
