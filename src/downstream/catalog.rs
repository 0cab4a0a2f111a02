//! The tools of a server: `tools/list`, page by page, each entry by itself.
//!
//! One bad entry never hides the others, and never becomes a tool.

use super::Era;
use super::handshake::error_shown;
use super::message::Answer;
use super::reach::Reach;
use super::shown;
use super::wire::Control;
use crate::cause::Chain;
use crate::json;
use crate::json::Object;
use crate::pins;
use crate::tool::Digest;
use crate::tool::Mirrored;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;

const MAX_PAGES: usize = 1000;
const MAX_TOOLS: usize = 10_000;
/// Of all pages together.
const MAX_BYTES: usize = 64 << 20;

/// What a server lists.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The tools that can be called, in the server's order.
    pub(super) definitions: Vec<ToolDefinition>,
    /// The entries that were no usable tool, and why.
    pub(super) refused: Vec<String>,
}

impl Listing {
    /// What stands under each name.
    pub(super) fn digests(&self) -> BTreeMap<Arc<str>, Digest> {
        let tools = self.definitions.iter();
        tools
            .map(|tool| (Arc::clone(&tool.id.name), tool.digest))
            .collect()
    }
}

/// Reads the whole list.
///
/// # Errors
///
/// Where the list as such cannot be had; in words.
pub(super) async fn list(link: &Reach, server: &ServerName, era: &Era) -> Result<Listing, String> {
    let mut reading = Reading {
        needs_headers: matches!((link, era), (Reach::Http(_), Era::Modern(_))),
        ..Reading::default()
    };
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
    /// A tool whose arguments cannot be repeated in headers may not be offered
    /// (2026-07-28, transports/streamable-http, schema extension).
    needs_headers: bool,
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
            let read = pins::definition(server, entry.get())
                .map_err(|error| Chain(&error).to_string())
                .and_then(|definition| match Mirrored::of(&definition.input_schema) {
                    Err(error) if self.needs_headers => Err(error.to_string()),
                    Ok(_) | Err(_) => Ok(definition),
                });
            match read {
                Ok(definition) => self.found.push(definition),
                Err(why) => {
                    let why = shown(&why, 200);
                    let name = named(entry.get(), self.entries);
                    self.refused.push(format!("{name}: {why}"));
                }
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

/// The entry's name as far as it has one, for the operator.
fn named(entry: &str, place: usize) -> String {
    let entry = Object::parse(entry).ok();
    match entry
        .and_then(|entry| entry.get("name"))
        .and_then(json::text)
    {
        Some(name) => format!("`{}`", shown(&name, 80)),
        None => format!("entry {place}"),
    }
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
