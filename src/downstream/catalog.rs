//! What a server lists, page by page, each entry by itself.
//!
//! One bad entry never hides the others, and never becomes a tool.

use super::Era;
use super::freshness::Lasts;
use super::handshake::error_shown;
use super::message::Answer;
use super::offers::Offers;
use super::reach::Reach;
use super::shown;
use super::wire::Control;
use crate::cause::Chain;
use crate::json;
use crate::json::Object;
use crate::pins;
use crate::tool::Asking;
use crate::tool::Declared;
use crate::tool::Digest;
use crate::tool::Lists;
use crate::tool::Mirrored;
use crate::tool::ServerName;
use crate::tool::TaskAsk;
use crate::tool::ToolDefinition;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;

const MAX_PAGES: usize = 1000;
const MAX_TOOLS: usize = 10_000;
/// The longest URI, in bytes.
const MAX_URI: usize = 8 << 10;
/// Of all pages together.
const MAX_BYTES: usize = 64 << 20;

/// What a server lists.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// What can be called, in the server's order.
    pub(super) definitions: Vec<ToolDefinition>,
    /// What can be read.
    pub(super) resources: Resources,
    /// The entries that were no usable tool, and why.
    pub(super) refused: Vec<String>,
    /// How long the server says that this is fresh.
    pub(super) lasts: Lasts,
}

/// What is remembered of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remembered {
    /// What stands under each name that can be called.
    tools: BTreeMap<Arc<str>, Digest>,
    /// Of all of it; none where it could not be had.
    whole: Option<Digest>,
}

impl Remembered {
    /// What is listed under this name.
    pub(super) fn digest(&self, tool: &str) -> Option<Digest> {
        self.tools.get(tool).copied()
    }
}

/// The resources of a server, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Those that it lists.
    pub listed: Vec<Resource>,
    /// The templates by which others are made.
    pub templates: Vec<Resource>,
}

/// One entry of a list of resources or of templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its URI, or the template of URIs.
    pub uri: Box<str>,
    /// The entry, byte for byte as the server sent it.
    pub json: Arc<str>,
}

impl Resource {
    fn read(entry: &str, key: &str) -> Result<Self, String> {
        json::check(entry.as_bytes()).map_err(|error| error.to_string())?;
        let object = Object::parse(entry).map_err(|error| error.to_string())?;
        let uri = object.get(key).and_then(json::text);
        let uri = uri.filter(|uri| !uri.is_empty() && uri.len() <= MAX_URI);
        let uri = uri.ok_or_else(|| format!("its `{key}` is missing, empty or too long"))?;
        Ok(Self {
            uri: uri.into(),
            json: entry.trim_ascii().into(),
        })
    }
}

impl Listing {
    /// What is remembered of it, so that another one can be compared with it.
    pub(super) fn remembered(&self) -> Remembered {
        let tools = self.definitions.iter();
        let tools: BTreeMap<Arc<str>, Digest> = tools
            .map(|tool| (Arc::clone(&tool.id.name), tool.digest))
            .collect();
        let counts = format!("{} {}", tools.len(), self.resources.listed.len());
        let named = tools.iter();
        let named = named.flat_map(|(name, digest)| [name.as_bytes(), digest.as_bytes()]);
        let resources = &self.resources;
        let read = resources.listed.iter().chain(&resources.templates);
        let read = read.flat_map(|one| [one.uri.as_bytes(), one.json.as_bytes()]);
        let refused = self.refused.iter().map(String::as_bytes);
        let parts = std::iter::once(counts.as_bytes()).chain(named).chain(read);
        let whole = Some(Digest::of_parts(parts.chain(refused)));
        Remembered { tools, whole }
    }
}

/// Reads all of its lists, as a client that declares this.
///
/// # Errors
///
/// Where a list that the server says it has cannot be had; in words.
pub(super) async fn list(
    link: &Reach,
    server: &ServerName,
    (era, offers): (&Era, Offers),
    declared: &Declared,
) -> Result<Listing, String> {
    let mut reading = Reading {
        needs_headers: matches!((link, era), (Reach::Http(_), Era::Modern(_))),
        ..Reading::default()
    };
    for (of, offered) in [
        (Lists::Tools, offers.tools),
        (Lists::Prompts, offers.prompts),
        (Lists::Resources, offers.resources),
        (Lists::Templates, offers.resources),
    ] {
        // Some servers have tools and do not say so.
        if !offered && of != Lists::Tools {
            continue;
        }
        match pages(link, (era, of, declared), &mut reading, server).await {
            Ok(()) => {}
            // Without the capability an error is the answer to be expected, and
            // many servers with resources have no templates.
            Err(_) if (!offered || of == Lists::Templates) && !link.has_ended() => {}
            Err(why) => return Err(format!("`{}`: {why}", of.method())),
        }
    }
    let mut others = Vec::new();
    others.extend(offers.resources.then_some(Asking::Read));
    others.extend(offers.subscriptions.then_some(Asking::Subscribe));
    others.extend(offers.completions.then_some(Asking::Complete));
    let about_tasks: &[TaskAsk] = match era {
        Era::Modern(_) if offers.tasks => &[TaskAsk::Get, TaskAsk::Update, TaskAsk::Cancel],
        Era::Legacy(_) if offers.asked_tasks => &[TaskAsk::Get, TaskAsk::Result, TaskAsk::Cancel],
        Era::Modern(_) | Era::Legacy(_) => &[],
    };
    others.extend(about_tasks.iter().map(|what| Asking::Task(*what)));
    let others = others.into_iter().map(|asking| pins::fixed(server, asking));
    reading.found.extend(others.filter_map(Result::ok));
    if let Era::Legacy(_) = era {
        // The word is of 2026-07-28.
        reading.lasts = Lasts::default();
    }
    Ok(reading.finish())
}

/// Reads one list, page by page.
async fn pages(
    link: &Reach,
    (era, of, declared): (&Era, Lists, &Declared),
    reading: &mut Reading,
    server: &ServerName,
) -> Result<(), String> {
    let mut cursor: Option<String> = None;
    let mut seen = HashSet::new();
    for _ in 0..MAX_PAGES {
        let page = Control::List {
            of,
            cursor: cursor.as_deref(),
            era,
            declared,
        };
        let result = match link.request(page).await {
            Ok(Answer::Result(result)) => result,
            Ok(Answer::Error(error)) => {
                return Err(format!("it was answered with {}", error_shown(&error)));
            }
            Ok(Answer::Invalid(why)) => return Err(why),
            Err(_) => return Err(link.why()),
        };
        let Some(next) = reading.page(server, of, &result)? else {
            return Ok(());
        };
        if !seen.insert(next.clone()) {
            return Err("it gave the same cursor twice".to_owned());
        }
        cursor = Some(next);
    }
    Err(format!("it has more than {MAX_PAGES} pages"))
}

#[derive(Default)]
struct Reading {
    /// A tool whose arguments cannot be repeated in headers may not be offered
    /// (2026-07-28, transports/streamable-http, schema extension).
    needs_headers: bool,
    entries: usize,
    bytes: usize,
    found: Vec<ToolDefinition>,
    resources: Resources,
    refused: Vec<String>,
    lasts: Lasts,
}

impl Reading {
    /// Takes one page, and returns the cursor of the next.
    fn page(
        &mut self,
        server: &ServerName,
        of: Lists,
        result: &str,
    ) -> Result<Option<String>, String> {
        self.bytes += result.len();
        let page = Object::parse(result).map_err(|error| error.to_string())?;
        let member = of.member();
        let entries = page
            .get(member)
            .ok_or_else(|| format!("the result has no `{member}`"))?;
        let entries: Vec<&RawValue> =
            serde_json::from_str(entries).map_err(|_| format!("`{member}` is no list"))?;
        for (place, entry) in entries.iter().enumerate() {
            self.entries += 1;
            let entry = entry.get();
            if let Err(why) = self.entry(server, of, entry) {
                let why = shown(&why, 200);
                let name = named(entry, place + 1);
                self.refused.push(format!("{name}: {why}"));
            }
        }
        if self.entries > MAX_TOOLS {
            return Err(format!("more than {MAX_TOOLS} entries"));
        }
        if self.bytes > MAX_BYTES {
            return Err(format!("more than {MAX_BYTES} bytes"));
        }
        if let Some(ttl) = page.get("ttlMs") {
            self.lasts.page(of, ttl);
        }
        match page.get("nextCursor") {
            None | Some("null") => Ok(None),
            Some(cursor) => match json::text(cursor) {
                Some(cursor) => Ok(Some(cursor.into_owned())),
                None => Err("`nextCursor` is no string".to_owned()),
            },
        }
    }

    fn entry(&mut self, server: &ServerName, of: Lists, entry: &str) -> Result<(), String> {
        let in_words = |error: pins::DefinitionError| Chain(&error).to_string();
        match of {
            Lists::Tools => {
                let definition = pins::definition(server, entry).map_err(in_words)?;
                if definition.id.asking() != Asking::Tool {
                    return Err("its name is one of Countersign's own".to_owned());
                }
                match Mirrored::of(&definition.input_schema) {
                    Err(error) if self.needs_headers => return Err(error.to_string()),
                    Ok(_) | Err(_) => {}
                }
                self.found.push(definition);
            }
            Lists::Prompts => {
                let definition = pins::prompt(server, entry).map_err(in_words)?;
                self.found.push(definition);
            }
            Lists::Resources => self.resources.listed.push(Resource::read(entry, "uri")?),
            Lists::Templates => {
                let template = Resource::read(entry, "uriTemplate")?;
                self.resources.templates.push(template);
            }
        }
        Ok(())
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
            resources: self.resources,
            refused: self.refused,
            lasts: self.lasts,
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
            reading.page(&server, Lists::Tools, page).unwrap();
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
            assert!(
                Reading::default().page(&server, Lists::Tools, bad).is_err(),
                "{bad}"
            );
        }
        let entries = vec!["7"; MAX_TOOLS + 1].join(",");
        let many = format!(r#"{{"tools":[{entries}]}}"#);
        assert!(
            Reading::default()
                .page(&server, Lists::Tools, &many)
                .is_err()
        );
    }
}
