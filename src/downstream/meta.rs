//! The `_meta` of a call: the client's, without what is between the client and
//! us, and with what is between us and the server.

use super::Era;
use super::wire::CLIENT_INFO;
use crate::json;
use crate::json::JsonError;
use crate::json::Object;
use crate::tool::Declared;
use crate::tool::Level;

const OURS_PREFIX: &str = "dev.countersign/";
/// As [`json::fold`] leaves them, because keys are compared by their folds.
const HOP_BY_HOP: [&str; 5] = [
    "progresstoken",
    "io.modelcontextprotocol/protocolversion",
    "io.modelcontextprotocol/clientinfo",
    "io.modelcontextprotocol/clientcapabilities",
    "io.modelcontextprotocol/loglevel",
];

const TRACES: [&str; 2] = ["traceparent", "tracestate"];

/// The text of the `_meta` to send, or none where nothing is in it.
///
/// # Errors
///
/// Where the client's `_meta` is no JSON object.
pub(super) fn outgoing(
    clients: Option<&str>,
    progress_token: Option<u64>,
    (era, declared, log): (&Era, &Declared, Option<Level>),
) -> Result<Option<String>, JsonError> {
    let mut meta = String::new();
    let mut add = |member: &str| {
        meta.reserve(member.len() + 2);
        meta.push(if meta.is_empty() { '{' } else { ',' });
        meta.push_str(member);
    };
    if let Some(token) = progress_token {
        add(&format!("\"progressToken\":{token}"));
    }
    if let Era::Modern(revision) = era {
        add(&modern_members(revision, &declared.json()));
        if let Some(level) = log {
            let level = level.as_str();
            add(&format!("\"io.modelcontextprotocol/logLevel\":\"{level}\""));
        }
    }
    if let Some(text) = clients {
        kept(text)?.into_iter().for_each(add);
    }
    if meta.is_empty() {
        return Ok(None);
    }
    meta.push('}');
    Ok(Some(meta))
}

/// The members by which a call is followed through systems (W3C Trace Context), and
/// nothing else of a client's `_meta`: for calls of which a person was shown what is sent.
pub fn traces(clients: &str) -> Option<Box<str>> {
    let object = Object::parse(clients).ok()?;
    let members = TRACES.into_iter().filter_map(|key| {
        let value = object.get(key)?;
        Some(format!("\"{key}\":{value}"))
    });
    let members: Vec<String> = members.collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")).into())
}

/// What every request to a modern server carries (2026-07-28,
/// `RequestMetaObject`): of capabilities those of our client that we relay.
pub(super) fn modern_members(revision: &str, capabilities: &str) -> String {
    let mut members = String::with_capacity(256 + capabilities.len());
    members.push_str("\"io.modelcontextprotocol/protocolVersion\":");
    json::write_string(revision, &mut members);
    for part in [
        ",\"io.modelcontextprotocol/clientInfo\":",
        CLIENT_INFO,
        ",\"io.modelcontextprotocol/clientCapabilities\":",
        capabilities,
    ] {
        members.push_str(part);
    }
    members
}

/// The members that go on, each as the text it was, escapes of its key included.
fn kept(text: &str) -> Result<Vec<&str>, JsonError> {
    let object = Object::parse(text)?;
    let mut kept = Vec::new();
    let mut done = text.len() - text.trim_ascii_start().len() + 1;
    for (key, value) in object.iter() {
        let end = (value.as_ptr() as usize + value.len()).saturating_sub(text.as_ptr() as usize);
        let member = text.get(done..end).unwrap_or_default();
        done = end;
        if !is_hop_by_hop(key) {
            let separators = |c: char| c == ',' || c.is_ascii_whitespace();
            kept.push(member.trim_start_matches(separators));
        }
    }
    Ok(kept)
}

/// Compared as the laxest reader would: what some server could take for one of
/// these keys is not the client's to set.
fn is_hop_by_hop(key: &str) -> bool {
    let folded = json::fold(key);
    folded.starts_with(OURS_PREFIX) || HOP_BY_HOP.contains(&&*folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy(clients: Option<&str>, token: Option<u64>) -> Option<String> {
        let era = Era::Legacy("2025-11-25".to_owned());
        outgoing(clients, token, (&era, &Declared::default(), None)).unwrap()
    }

    #[test]
    fn of_what_was_shown_to_a_person_only_traces_go_along() {
        for (clients, kept) in [
            ("{}", None),
            (r#"{"baggage":"a=1","x":{"amount":9000}}"#, None),
            (
                r#"{"x":1,"tracestate":"b=2","traceparent" : "00-a"}"#,
                Some(r#"{"traceparent":"00-a","tracestate":"b=2"}"#),
            ),
        ] {
            assert_eq!(traces(clients).as_deref(), kept, "{clients}");
        }
    }

    #[test]
    fn the_clients_members_go_on_byte_for_byte_except_what_ends_here() {
        for (clients, token, sent) in [
            (None, None, None),
            (Some("{}"), None, None),
            (Some(" { } "), Some(4), Some(r#"{"progressToken":4}"#)),
            (Some(r#"{"progressToken":"t"}"#), None, None),
            (Some(r#"{"ProgressToken":"t"}"#), None, None),
            (
                Some(r#"{"progressToken":"t"}"#),
                Some(9),
                Some(r#"{"progressToken":9}"#),
            ),
            (
                Some(r#" {"traceparent" : "00-a", "n": 1e3 , "\u0061": {"x" : [1, 2]} } "#),
                None,
                Some(r#"{"traceparent" : "00-a","n": 1e3,"\u0061": {"x" : [1, 2]}}"#),
            ),
            (
                Some(r#"{"dev.countersign/session":"s","a":1,"dev.countersign/key":{},"b":2}"#),
                None,
                Some(r#"{"a":1,"b":2}"#),
            ),
            (
                Some(r#"{"io.modelcontextprotocol/logLevel":"debug","x":"},{"}"#),
                None,
                Some(r#"{"x":"},{"}"#),
            ),
        ] {
            assert_eq!(legacy(clients, token).as_deref(), sent, "{clients:?}");
        }
    }

    #[test]
    fn what_ends_here_ends_however_its_key_is_spelled() {
        for key in [
            "progressToken",
            "io.modelcontextprotocol/protocolVersion",
            "io.modelcontextprotocol/clientInfo",
            "io.modelcontextprotocol/clientCapabilities",
            "io.modelcontextprotocol/logLevel",
            "dev.countersign/session",
        ] {
            assert!(is_hop_by_hop(key), "{key}");
            assert!(is_hop_by_hop(&key.to_uppercase()), "{key}");
            assert!(is_hop_by_hop(&format!("{key}\0x")), "{key}");
            assert!(!is_hop_by_hop(&format!("{key}x")) || key.starts_with(OURS_PREFIX));
        }
        for known in HOP_BY_HOP {
            assert_eq!(json::fold(known), known);
        }
    }

    #[test]
    fn a_modern_server_gets_our_version_name_and_no_capabilities() {
        let clients = r#"{"io.modelcontextprotocol/protocolVersion":"2099-01-01","io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"a":1}"#;
        let era = Era::Modern("2026-07-28".to_owned());
        let declared = Declared::default();
        let sent = outgoing(Some(clients), Some(3), (&era, &declared, None));
        let sent = sent.unwrap().unwrap();
        assert_eq!(
            sent,
            format!(
                r#"{{"progressToken":3,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{CLIENT_INFO},"io.modelcontextprotocol/clientCapabilities":{{}},"a":1}}"#
            )
        );
        json::check(sent.as_bytes()).unwrap();
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["[]", "1", "{", r#"{"a":1,"a":2}"#] {
            assert!(kept(text).is_err(), "{text}");
        }
    }
}
