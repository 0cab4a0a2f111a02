//! The resources of the broker itself: what its tools tell of a session, at URIs
//! that can be followed. Each is of the session of the request.

use super::answers;
use super::answers::Said;
use crate::broker::ToolCall;
use crate::broker::Units;
use crate::broker::resume::Standing;
use crate::downstream::Era;
use crate::downstream::Resource;
use crate::downstream::Resources;
use crate::downstream::Sent;
use crate::memory;
use crate::memory::Key;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;

pub(in crate::broker) const STATUS: &str = "session://status";
pub(in crate::broker) const MEMORY: &str = "session://memory";
pub(in crate::broker) const NOTES: &str = "session://notes";
pub(in crate::broker) const EVENTS: &str = "session://events";

const JSON: &str = "application/json";

/// How many lines of a list a page has, the newest.
const LINES: u32 = 200;

/// Which of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Page {
    Status,
    Memory,
    Value(Key),
    Notes,
    Events,
}

impl Page {
    /// The page of a URI. Each has one URI, so that a policy that names it means
    /// it.
    pub(in crate::broker) fn of(uri: &str) -> Option<Self> {
        match uri {
            STATUS => Some(Self::Status),
            MEMORY => Some(Self::Memory),
            NOTES => Some(Self::Notes),
            EVENTS => Some(Self::Events),
            _ => {
                let coded = uri.strip_prefix(MEMORY)?.strip_prefix('/')?;
                let key = percent_decoded(coded)?;
                let one_way = uri_of(&key)? == uri;
                one_way.then(|| Key::read(&key).ok().map(Self::Value))?
            }
        }
    }
}

/// The URI of a value; none where its key would be a step of a path.
pub(in crate::broker) fn uri_of(key: &str) -> Option<String> {
    if matches!(key, "." | "..") {
        return None;
    }
    let mut uri = format!("{MEMORY}/");
    for byte in key.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => uri.push(char::from(byte)),
            // Writing to a text cannot fail.
            false => {
                let _written = write!(uri, "%{byte:02X}");
            }
        }
    }
    Some(uri)
}

/// A part of a path without its percent-encoding (RFC 3986 §2.1).
pub fn percent_decoded(coded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(coded.len());
    let mut rest = coded.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(16 * high + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// What is listed of them.
pub(in crate::broker) fn listing() -> Resources {
    let entry = |key: &str, uri: &str, (name, title, about): (&str, &str, &str), media: &str| {
        let entry = json!({
            key: uri, "name": name, "title": title, "description": about, "mimeType": media,
        });
        Resource {
            uri: uri.into(),
            json: entry.to_string().into(),
        }
    };
    let page = |uri, words| entry("uri", uri, words, JSON);
    let status = (
        "status",
        "Where this session stands",
        "What this session is, what was done in it, what is pending, and what arrived.",
    );
    let value = (
        "memory-value",
        "A value of this session's memory",
        "What was kept under a key; all but letters, digits and - . _ ~ of the key is percent-encoded.",
    );
    Resources {
        listed: vec![
            entry("uri", STATUS, status, "text/plain"),
            page(
                MEMORY,
                (
                    "memory",
                    "The memory of this session",
                    "The keys of this session's memory with size, version, time and author.",
                ),
            ),
            page(
                NOTES,
                (
                    "notes",
                    "The notes of this session",
                    "The last notes of this session.",
                ),
            ),
            page(
                EVENTS,
                (
                    "events",
                    "What arrived in this session",
                    "The last events that arrived in this session from outside.",
                ),
            ),
        ],
        templates: vec![entry("uriTemplate", "session://memory/{key}", value, JSON)],
    }
}

/// Reads the page that a request names, and says in which sessions stands what it shows
/// in the words of others.
pub(super) fn read(
    tx: &Tx<'_>,
    call: &ToolCall,
    units: Units<'_>,
) -> Result<(Sent, BTreeSet<SessionId>), StoreError> {
    let found = match Page::of(&call.name) {
        Some(page) => content(tx, call.session, &page, units)?,
        None => None,
    };
    Ok(match found {
        Some((media, text, from)) => {
            let contents = json!([{"uri": call.name, "mimeType": media, "text": text}]);
            (answered(json!({ "contents": contents })), from)
        }
        None => (not_found(&call.name), BTreeSet::new()),
    })
}

/// What a subscription is answered with that needs no server.
pub(in crate::broker) fn followed() -> Sent {
    answered(json!({}))
}

/// There is no such page.
pub(in crate::broker) fn not_found(uri: &str) -> Sent {
    let known = format!("{STATUS}, {MEMORY}, {MEMORY}/KEY, {NOTES}, {EVENTS}");
    let shown: String = uri.chars().take(200).collect();
    let message = format!("Resource not found: {shown}. There are {known}");
    let error = json!({"code": -32002, "message": message, "data": {"uri": uri}});
    Sent::Error {
        json: error.to_string().into(),
    }
}

fn answered(result: Value) -> Sent {
    Sent::Result {
        json: result.to_string().into(),
        era: Era::Legacy(String::new()),
        failed: false,
    }
}

/// What a page shows, of which kind, and from where.
type Content = (&'static str, String, BTreeSet<SessionId>);

fn content(
    tx: &Tx<'_>,
    session: SessionId,
    page: &Page,
    units: Units<'_>,
) -> Result<Option<Content>, StoreError> {
    let json = |said: Said| Some((JSON, said.structured, said.from));
    Ok(match page {
        Page::Status => {
            let standing = Standing::read(tx, session, Timestamp::now())?;
            standing.map(|standing| {
                let from = standing.has_words().then_some(session);
                let text = standing.text(units);
                ("text/plain", text, from.into_iter().collect())
            })
        }
        Page::Memory => json(answers::values(tx, session, "")?),
        Page::Value(key) => memory::get(tx, session, key)?
            .map(|(value, _)| (JSON, value, BTreeSet::from([session]))),
        Page::Notes => json(answers::notes(tx, session, LINES)?),
        Page::Events => json(answers::events(tx, session, (None, LINES))?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_one_uri() {
        for (key, uri) in [
            ("analysis", "session://memory/analysis"),
            ("a/b c", "session://memory/a%2Fb%20c"),
            ("näher", "session://memory/n%C3%A4her"),
        ] {
            assert_eq!(uri_of(key).as_deref(), Some(uri));
            assert_eq!(Page::of(uri), Key::read(key).ok().map(Page::Value));
        }
        for none in [
            "session://memory/",
            "session://memory/%61nalysis",
            "session://memory/a/b",
            "session://memory/a%2fb",
            "session://memory/a%",
            "session://memory/a%0A",
            "session://memory/..",
            "session://Status",
            "session://status/",
            "session://other",
            "SESSION://status",
        ] {
            assert_eq!(Page::of(none), None, "{none}");
        }
        for listed in listing().listed {
            assert!(Page::of(&listed.uri).is_some());
        }
    }
}
