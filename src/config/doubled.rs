//! Names that stand twice where a client's file has its servers. Which of the two counts
//! is not said anywhere, and readers differ: what we read, or write, may be what the client
//! does not.

use super::imported::HOLDERS;
use super::imported::as_json;
use crate::visible;
use jsonc_parser::CollectOptions;
use jsonc_parser::ast::Object;
use serde_json::Map;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a part of the file holds.
#[derive(Clone, Copy)]
enum Part {
    /// The whole.
    Top,
    /// A member for each folder, as Claude Code has it.
    Projects,
    /// What is kept for one folder.
    Project,
    /// Servers, or what one of them says.
    Servers,
}

impl Part {
    /// What a member of this part holds; none where it is the client's own.
    fn of(self, member: &str) -> Option<Self> {
        match self {
            Self::Top if member == "projects" => Some(Self::Projects),
            Self::Top if HOLDERS.contains(&member) => Some(Self::Servers),
            Self::Top => None,
            Self::Projects => Some(Self::Project),
            Self::Project => (member == "mcpServers").then_some(Self::Servers),
            Self::Servers => Some(Self::Servers),
        }
    }
}

/// A client's file of JSON as a value.
///
/// # Errors
///
/// When it is none, or a name stands in it twice where servers are looked for.
pub fn client_json(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let wrong = |error: &dyn std::fmt::Display| error.to_string().replace('\n', " ");
    let parsed = jsonc_parser::parse_to_ast(text, &CollectOptions::default(), &as_json())
        .map_err(|error| wrong(&error))?;
    let whole = parsed.value.as_ref().and_then(|value| value.as_object());
    if let Some(doubled) = whole.and_then(|whole| doubled(text, whole, Part::Top)) {
        return Err(doubled);
    }
    jsonc_parser::parse_to_serde_value(text, &as_json()).map_err(|error| wrong(&error))
}

fn doubled(text: &str, object: &Object<'_>, part: Part) -> Option<String> {
    let mut seen = BTreeMap::new();
    for member in &object.properties {
        let name = member.name.as_str();
        let Some(inner) = part.of(name) else {
            continue;
        };
        let start = member.range.start;
        if let Some(first) = seen.insert(name, start) {
            return Some(format!(
                "`{}` stands there twice, on {}, and readers differ in which of them they take: leave one",
                visible::one_line(name, visible::NAME),
                lines(text, first, start)
            ));
        }
        let inside = member.value.as_object();
        let inside = inside.and_then(|inside| doubled(text, inside, inner));
        if inside.is_some() {
            return inside;
        }
    }
    None
}

fn lines(text: &str, first: usize, second: usize) -> String {
    let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    match (line(first), line(second)) {
        (one, two) if one == two => format!("line {one}"),
        (one, two) => format!("lines {one} and {two}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_where_servers_are_is_refused() {
        for (text, told) in [
            (
                "{\"mcpServers\": {},\n\n\"mcpServers\": {}}",
                Some("`mcpServers` stands there twice, on lines 1 and 3"),
            ),
            (
                r#"{"mcpServers": {}, "mcp\u0053ervers": {}}"#,
                Some("`mcpServers` stands there twice, on line 1"),
            ),
            (
                r#"{"servers": {"a": {"command": "x"}, "a": {"command": "y"}}}"#,
                Some("`a` stands"),
            ),
            (
                r#"{"servers": {"a": {"command": "x", "command": "y"}}}"#,
                Some("`command` stands"),
            ),
            (
                r#"{"servers": {"a": {"env": {"A": "x", "A": "y"}}}}"#,
                Some("`A` stands"),
            ),
            (r#"{"projects": {"/a": {}, "/a": {}}}"#, Some("`/a` stands")),
            (
                r#"{"projects": {"/a": {"mcpServers": {"x": {}, "x": {}}}}}"#,
                Some("`x` stands"),
            ),
            // What is the client's own is its own.
            (r#"{"theme": 1, "theme": 2, "mcpServers": {"a": {}}}"#, None),
            (r#"{"projects": {"/a": {"x": {"y": 1, "y": 1}}}}"#, None),
            ("", None),
            ("[1]", None),
        ] {
            let read = client_json(text);
            match told {
                Some(told) => assert!(read.unwrap_err().contains(told), "{text}"),
                None => assert!(read.is_ok(), "{text}: {read:?}"),
            }
        }
    }
}
