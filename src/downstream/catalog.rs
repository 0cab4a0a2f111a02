//! The tools of a server: `tools/list`, page by page, each entry by itself.
//!
//! One bad entry never hides the others, and never becomes a tool.

use super::Era;
use super::handshake::error_shown;
use super::link::Link;
use super::message::Answer;
use super::shown;
use super::wire::Control;
use crate::json;
use crate::json::JsonError;
use crate::json::Object;
use crate::tool::Digest;
use crate::tool::Hints;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;
use crate::tool::ToolId;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;

const MAX_PAGES: usize = 1000;
const MAX_TOOLS: usize = 10_000;
/// Of all pages together.
const MAX_BYTES: usize = 64 << 20;
const MAX_NAME: usize = 128;

/// The members of an entry that a pin compares.
const PINNED: [&str; 6] = [
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
];

/// What a server lists.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The tools that can be called, in the server's order.
    pub(super) definitions: Vec<ToolDefinition>,
    /// The entries that were no usable tool, and why.
    pub(super) refused: Vec<String>,
}

/// Reads the whole list.
///
/// # Errors
///
/// Where the list as such cannot be had; in words.
pub(super) async fn list(link: &Link, server: &ServerName, era: &Era) -> Result<Listing, String> {
    let mut reading = Reading::default();
    let mut cursor: Option<String> = None;
    let mut seen = HashSet::new();
    for _ in 0..MAX_PAGES {
        let page = Control::ListTools {
            cursor: cursor.as_deref(),
            era,
        };
        let result = match link.request(page).await {
            Ok(Answer::Result(result)) => result,
            Ok(Answer::Error(error)) => {
                return Err(format!(
                    "`tools/list` was answered with {}",
                    error_shown(&error)
                ));
            }
            Ok(Answer::Invalid(why)) => return Err(format!("`tools/list`: {why}")),
            Err(_) => return Err(link.why()),
        };
        let next = reading
            .page(server, &result)
            .map_err(|why| format!("`tools/list`: {why}"))?;
        let Some(next) = next else {
            return Ok(reading.finish());
        };
        if !seen.insert(next.clone()) {
            return Err("`tools/list` gave the same cursor twice".to_owned());
        }
        cursor = Some(next);
    }
    Err(format!("`tools/list` has more than {MAX_PAGES} pages"))
}

#[derive(Default)]
struct Reading {
    entries: usize,
    bytes: usize,
    found: Vec<ToolDefinition>,
    refused: Vec<String>,
}

impl Reading {
    /// Takes one page, and returns the cursor of the next.
    fn page(&mut self, server: &ServerName, result: &str) -> Result<Option<String>, String> {
        self.bytes += result.len();
        let page = Object::parse(result).map_err(|error| error.to_string())?;
        let tools = page.get("tools").ok_or("the result has no `tools`")?;
        let tools: Vec<&RawValue> =
            serde_json::from_str(tools).map_err(|_| "`tools` is no list".to_owned())?;
        for entry in tools {
            self.entries += 1;
            match definition(server, entry.get()) {
                Ok(definition) => self.found.push(definition),
                Err(Unusable { name, why }) => self.refused.push(match name {
                    Some(name) => format!("`{name}`: {why}"),
                    None => format!("entry {}: {why}", self.entries),
                }),
            }
        }
        if self.entries > MAX_TOOLS {
            return Err(format!("more than {MAX_TOOLS} tools"));
        }
        if self.bytes > MAX_BYTES {
            return Err(format!("more than {MAX_BYTES} bytes"));
        }
        match page.get("nextCursor") {
            None | Some("null") => Ok(None),
            Some(cursor) => match json::text(cursor) {
                Some(cursor) => Ok(Some(cursor.into_owned())),
                None => Err("`nextCursor` is no string".to_owned()),
            },
        }
    }

    /// Takes out every name that stands more than once: which of them a call
    /// would reach is anybody's guess.
    fn finish(mut self) -> Listing {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for definition in &self.found {
            *counts.entry(definition.id.name.to_string()).or_default() += 1;
        }
        let twice: BTreeSet<String> = counts
            .into_iter()
            .filter_map(|(name, count)| (count > 1).then_some(name))
            .collect();
        self.found.retain(|tool| !twice.contains(&*tool.id.name));
        let twice = twice
            .iter()
            .map(|name| format!("`{name}`: several tools have this name"));
        self.refused.extend(twice);
        Listing {
            definitions: self.found,
            refused: self.refused,
        }
    }
}

struct Unusable {
    name: Option<String>,
    why: String,
}

fn definition(server: &ServerName, entry: &str) -> Result<ToolDefinition, Unusable> {
    let nameless = |why: &str| Unusable {
        name: None,
        why: why.to_owned(),
    };
    let object = Object::parse(entry).map_err(|_| nameless("it is no JSON object"))?;
    let name = object.get("name").and_then(json::text);
    let name = name.ok_or_else(|| nameless("it has no name"))?;
    let unusable = |why: String| Unusable {
        name: Some(shown(&name, 80)),
        why,
    };
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        let why = format!("a name has 1 to {MAX_NAME} characters and no control characters");
        return Err(unusable(why));
    }
    object
        .refuse_lookalikes(PINNED.into_iter())
        .map_err(|error| unusable(shown(&error.to_string(), 200)))?;
    let schema = object
        .get("inputSchema")
        .filter(|text| text.starts_with('{'));
    let schema = schema.ok_or_else(|| unusable("its `inputSchema` is no object".to_owned()))?;
    let input_schema = serde_json::from_str(schema)
        .map_err(|_| unusable("its `inputSchema` cannot be read".to_owned()))?;
    let digest = digest(&object).map_err(|error| unusable(shown(&error.to_string(), 200)))?;
    Ok(ToolDefinition {
        id: ToolId {
            server: server.clone(),
            name: (&*name).into(),
        },
        json: entry.into(),
        input_schema,
        hints: hints(object.get("annotations")),
        digest,
    })
}

fn hints(annotations: Option<&str>) -> Hints {
    let annotations = annotations.and_then(|text| Object::parse(text).ok());
    let said = |key, default| match annotations.as_ref().and_then(|a| a.get(key)) {
        Some("true") => true,
        Some("false") => false,
        _ => default,
    };
    let default = Hints::default();
    Hints {
        read_only: said("readOnlyHint", default.read_only),
        destructive: said("destructiveHint", default.destructive),
        open_world: said("openWorldHint", default.open_world),
    }
}

/// The digest of what a pin compares. A member that is absent is an empty part,
/// which no JSON value is.
fn digest(entry: &Object<'_>) -> Result<Digest, JsonError> {
    let mut parts = Vec::with_capacity(PINNED.len());
    for key in PINNED {
        let mut part = String::new();
        if let Some(value) = entry.get(key) {
            write_canonical(value, &mut part)?;
        }
        parts.push(part);
    }
    Ok(Digest::of_parts(parts.iter().map(String::as_bytes)))
}

/// Writes a value without spaces, its keys sorted and its strings escaped in
/// one way. Numbers stay the text they were: `1` and `1.0` are two things to
/// some schema reader. Depth was bounded by the strict reading of the line.
fn write_canonical(text: &str, out: &mut String) -> Result<(), JsonError> {
    match text.trim_ascii().bytes().next() {
        Some(b'{') => {
            let object = Object::parse(text)?;
            let members: BTreeMap<&str, &str> = object.iter().collect();
            out.push('{');
            for (place, (key, value)) in members.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::Value::from(key).to_string());
                out.push(':');
                write_canonical(value, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)
                .map_err(|error| JsonError::Malformed(error.to_string()))?;
            out.push('[');
            for (place, item) in items.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_canonical(item.get(), out)?;
            }
            out.push(']');
        }
        _ => match json::text(text) {
            Some(string) => out.push_str(&serde_json::Value::from(&*string).to_string()),
            None => out.push_str(text.trim_ascii()),
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(pages: &[&str]) -> Listing {
        let server = "s".parse().unwrap();
        let mut reading = Reading::default();
        for page in pages {
            reading.page(&server, page).unwrap();
        }
        reading.finish()
    }

    fn digest_of(entry: &str) -> Digest {
        digest(&Object::parse(entry).unwrap()).unwrap()
    }

    #[test]
    fn one_bad_entry_does_not_hide_the_others() {
        let long = "x".repeat(129);
        let page = format!(
            r#"{{"tools":[
                {{"name":"good","inputSchema":{{"type":"object"}},"x-vendor":1}},
                {{"inputSchema":{{}}}},
                7,
                {{"name":"no schema"}},
                {{"name":"bool","inputSchema":true}},
                {{"name":"a\u0007b","inputSchema":{{}}}},
                {{"name":"{long}","inputSchema":{{}}}},
                {{"name":"","inputSchema":{{}}}},
                {{"name":"alike","inputSchema":{{}},"InputSchema":{{}}}},
                {{"name":"twice","inputSchema":{{}}}},
                {{"name":"fine","inputSchema":{{}},"annotations":{{"readOnlyHint":true}}}}
            ]}}"#
        );
        let listing = reading(&[&page, r#"{"tools":[{"name":"twice","inputSchema":{}}]}"#]);
        let names: Vec<&str> = listing.definitions.iter().map(|d| &*d.id.name).collect();
        assert_eq!(names, ["good", "fine"]);
        assert!(listing.definitions[1].hints.read_only);
        assert_eq!(
            &*listing.definitions[0].json,
            r#"{"name":"good","inputSchema":{"type":"object"},"x-vendor":1}"#
        );
        assert_eq!(listing.refused.len(), 9, "{:#?}", listing.refused);
        assert!(listing.refused[0].starts_with("entry 2: "));
        assert!(listing.refused[4].starts_with("`a b`: "));
        assert!(
            listing
                .refused
                .contains(&"`twice`: several tools have this name".to_owned())
        );
    }

    #[test]
    fn a_digest_is_the_same_for_any_order_spacing_and_escapes() {
        let one = digest_of(
            r#"{"name":"a","inputSchema":{"type":"object","n":1,"l":[1,{"b":0,"a":0}]}}"#,
        );
        let two = digest_of(
            r#"{ "inputSchema" : {"n":1, "l":[ 1, {"a":0,"b":0}],"\u0074ype":"obj\u0065ct"}, "name":"a", "icons":[] }"#,
        );
        assert_eq!(one, two);
    }

    #[test]
    fn a_digest_changes_with_each_thing_that_a_pin_compares() {
        let base = r#"{"name":"a","title":"t","description":"d","inputSchema":{"x":[1,2]},"outputSchema":{},"annotations":{"readOnlyHint":true}}"#;
        for (from, to) in [
            (r#""name":"a""#, r#""name":"b""#),
            (r#""title":"t","#, ""),
            (r#""title":"t","#, r#""title":"","#),
            (r#""description":"d""#, r#""description":"D""#),
            ("[1,2]", "[2,1]"),
            ("[1,2]", "[1.0,2]"),
            (r#""outputSchema":{},"#, ""),
            ("true", "false"),
        ] {
            let changed = base.replacen(from, to, 1);
            assert_ne!(changed, base);
            assert_ne!(digest_of(base), digest_of(&changed), "{changed}");
        }
    }

    #[test]
    fn a_list_that_is_none_or_never_ends_is_an_error() {
        let server = "s".parse().unwrap();
        for bad in ["{}", r#"{"tools":{}}"#, r#"{"tools":[],"nextCursor":5}"#] {
            assert!(Reading::default().page(&server, bad).is_err(), "{bad}");
        }
        let entries = vec!["7"; MAX_TOOLS + 1].join(",");
        let many = format!(r#"{{"tools":[{entries}]}}"#);
        assert!(Reading::default().page(&server, &many).is_err());
    }
}
