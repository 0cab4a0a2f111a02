//! Entries of clients' files as they may be shown: names stay, and what may be
//! secret does not. Terminals are recorded, and copied into reports.

use super::OURS;
use crate::config::Entry;
use serde_json::Map;
use serde_json::Value;

/// What stands for a value that is not shown.
const HIDDEN: &str = "…";

/// Members whose texts name things, unless they look like a secret.
const PLAIN: [&str; 7] = [
    "command",
    "cwd",
    "httpUrl",
    "serverUrl",
    "transport",
    "type",
    "url",
];

/// An option whose name has one of these is followed by a secret, or holds one.
const TELLING: [&str; 10] = [
    "auth", "bearer", "cookie", "cred", "env", "header", "key", "pass", "secret", "token",
];

/// From this length on, a word of letters and digits may be a secret.
const LONG: usize = 16;

/// The entries that go and those that come.
pub(super) fn difference(before: &Map<String, Value>, after: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (mark, these, those) in [("-", before, after), ("+", after, before)] {
        for (name, entry) in these {
            if those.get(name) != Some(entry) {
                text.push_str(&marked(mark, name, entry));
            }
        }
    }
    text
}

/// How a server is reached, on one line.
pub(super) fn line(entry: &Entry) -> String {
    if let Some(url) = &entry.url {
        return word(url);
    }
    let args: Vec<Value> = entry.args.iter().map(|arg| arg.as_str().into()).collect();
    let args = arguments(&args);
    let args = args.as_array().into_iter().flatten();
    let words = entry.command.iter().map(|command| word(command));
    let words = words.chain(args.filter_map(|arg| arg.as_str().map(str::to_owned)));
    words.collect::<Vec<_>>().join(" ")
}

/// The keys of an entry under which a secret may stand as it is.
pub fn secrets(entry: &Entry) -> Vec<String> {
    let parts = [("env", &entry.env), ("headers", &entry.headers)];
    let mut keys = Vec::new();
    for (part, members) in parts {
        let may_be = members.iter().filter(|(name, value)| {
            let name = name.to_lowercase();
            // `NODE_ENV` and the like are no secrets, nor is a header as such.
            let telling = TELLING
                .iter()
                .filter(|word| !["env", "header"].contains(word));
            let is_named = telling.into_iter().any(|word| name.contains(word));
            let is_plain = value.is_empty() || value.contains("${");
            !is_plain && (is_named || looks_secret(value))
        });
        keys.extend(may_be.map(|(name, _value)| format!("{part}.{name}")));
    }
    keys
}

fn marked(mark: &str, name: &str, entry: &Value) -> String {
    let shown = match name == OURS {
        // Nothing that we write is secret.
        true => entry.clone(),
        false => shown(entry),
    };
    let pretty = serde_json::to_string_pretty(&shown).unwrap_or_default();
    let whole = format!("{}: {pretty}", Value::from(name));
    let lines = whole.lines().map(|line| format!("{mark} {line}\n"));
    lines.collect()
}

/// An entry without what may be secret.
fn shown(entry: &Value) -> Value {
    let Value::Object(members) = entry else {
        return masked(entry);
    };
    let members = members.iter().map(|(name, value)| {
        let shown = match (name.as_str(), value) {
            ("args", Value::Array(args)) => arguments(args),
            (name, Value::String(text)) if PLAIN.contains(&name) => word(text).into(),
            _ => masked(value),
        };
        (name.clone(), shown)
    });
    Value::Object(members.collect())
}

/// Every text and number hidden; names, flags and pure references stay.
fn masked(value: &Value) -> Value {
    match value {
        Value::String(text) if is_reference(text) => value.clone(),
        Value::String(_) | Value::Number(_) => HIDDEN.into(),
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Array(values) => values.iter().map(masked).collect(),
        Value::Object(members) => {
            let members = members.iter();
            Value::Object(
                members
                    .map(|(name, value)| (name.clone(), masked(value)))
                    .collect(),
            )
        }
    }
}

/// Whether a text only names a variable or an input: `${TOKEN}`.
fn is_reference(text: &str) -> bool {
    let name = text
        .strip_prefix("Bearer ")
        .unwrap_or(text)
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    name.is_some_and(|name| name.chars().all(usual))
}

fn arguments(args: &[Value]) -> Value {
    let mut option = "";
    let shown = args.iter().map(|arg| {
        let Some(text) = arg.as_str() else {
            return masked(arg);
        };
        let before = std::mem::take(&mut option);
        if text.starts_with('-') && !text.contains('=') {
            option = text;
        }
        let is_value = !text.starts_with('-') && !is_reference(text);
        let named = ["-e", "--env", "-H", "--header"].contains(&before);
        match is_value && !named && is_telling(before) {
            true => HIDDEN.into(),
            false => word(text).into(),
        }
    });
    shown.collect()
}

/// Whether the name of an option says that its value is secret, or may hold one:
/// `--api-key`, and the usual `-e NAME=value` and `-H "Name: value"`.
fn is_telling(option: &str) -> bool {
    let name = option.trim_start_matches('-').to_lowercase();
    matches!(option, "-e" | "-H" | "-p" | "-u" | "-k" | "-t")
        || name.split('-').any(|part| part == "pat")
        || TELLING.iter().any(|telling| name.contains(telling))
}

/// A text with what may be secret in it hidden.
fn word(text: &str) -> String {
    if is_reference(text) {
        return text.to_owned();
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return format!("{scheme}://{}", location(rest));
    }
    for between in ["=", ": "] {
        let Some((name, value)) = text.split_once(between) else {
            continue;
        };
        // The end of a text in base64 names nothing.
        let names = !looks_secret(name) && !value.trim_matches('=').is_empty();
        return match (names, is_reference(value)) {
            (true, true) => text.to_owned(),
            (true, false) => format!("{name}{between}{HIDDEN}"),
            (false, _) => HIDDEN.to_owned(),
        };
    }
    let words = text.split(' ').map(|word| match looks_secret(word) {
        true => HIDDEN,
        false => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What comes after `scheme://`: without user, query and fragment, and without a
/// part of the path that looks like a secret.
fn location(rest: &str) -> String {
    let end = rest.find(['?', '#']);
    let (place, more) = rest.split_at(end.unwrap_or(rest.len()));
    let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let host = match authority.rsplit_once('@') {
        Some((_user, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    let path: Vec<&str> = path
        .split('/')
        .map(|part| match looks_secret(part) {
            true => HIDDEN,
            false => part,
        })
        .collect();
    let more = more.strip_prefix('?').map(|query| {
        let query = query.split('#').next().unwrap_or_default();
        let parts = query.split('&').map(|part| match part.split_once('=') {
            Some((name, _value)) => format!("{name}={HIDDEN}"),
            None => HIDDEN.to_owned(),
        });
        format!("?{}", parts.collect::<Vec<_>>().join("&"))
    });
    format!("{host}{}{}", path.join("/"), more.unwrap_or_default())
}

/// A long word of letters and digits, as keys are. A path, a package with its
/// scope and a name in words are none.
fn looks_secret(word: &str) -> bool {
    let has = |of: fn(&char) -> bool| word.chars().any(|c| of(&c));
    let is_path = word.starts_with(['/', '.', '~', '@']) || word.matches('/').count() > 2;
    word.chars().count() >= LONG
        && !is_path
        && has(char::is_ascii_digit)
        && has(char::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_value_that_may_be_secret_is_shown_and_every_name_is() {
        let entry = json!({
            "command": "npx",
            "args": [
                "-y", "@modelcontextprotocol/server-github", "mcp-server-git", "/srv/documents",
                "--token", "hunter2", "--api-key=hunter3", "-e", "GITHUB_TOKEN=hunter4",
                "--header", "Authorization: Bearer hunter5", "sk-proj-abcdef0123456789",
                "postgresql://ann:hunter6@db.example/claims?sslpassword=hunter7",
                "DEBUG=${DEBUG}", "X-Key: hunter8", 9, "aHVudGVy==",
            ],
            "env": {"GITHUB_TOKEN": "hunter10", "KEEP": "${HOME}", "N": 11},
            "headers": {"Authorization": "Bearer hunter12", "X": "${X:-hunter13}"},
            "url": "https://mcp.example/api/v1/s/abcdef0123456789abcdef/mcp?key=hunter14&hunter15#hunter16",
            "oauth": {"clientSecret": "hunter17"},
            "disabled": true,
        });
        let text = marked("-", "github", &entry);
        insta::assert_snapshot!(text, @r#"
        - "github": {
        -   "command": "npx",
        -   "args": [
        -     "-y",
        -     "@modelcontextprotocol/server-github",
        -     "mcp-server-git",
        -     "/srv/documents",
        -     "--token",
        -     "…",
        -     "--api-key=…",
        -     "-e",
        -     "GITHUB_TOKEN=…",
        -     "--header",
        -     "Authorization: …",
        -     "…",
        -     "postgresql://…@db.example/claims?sslpassword=…",
        -     "DEBUG=${DEBUG}",
        -     "X-Key: …",
        -     "…",
        -     "…"
        -   ],
        -   "env": {
        -     "GITHUB_TOKEN": "…",
        -     "KEEP": "${HOME}",
        -     "N": "…"
        -   },
        -   "headers": {
        -     "Authorization": "…",
        -     "X": "…"
        -   },
        -   "url": "https://mcp.example/api/v1/s/…/mcp?key=…&…",
        -   "oauth": {
        -     "clientSecret": "…"
        -   },
        -   "disabled": true
        - }
        "#);
        assert!(
            !text.contains("hunter") && !text.contains("0123456789"),
            "{text}"
        );
    }

    #[test]
    fn only_the_entries_that_differ_are_shown() {
        let of = |value: Value| value.as_object().cloned().unwrap_or_default();
        let before = of(json!({"a": {"command": "x"}, "b": {"command": "y"}}));
        let ours =
            json!({"command": "/opt/countersign", "args": ["--session", "claim-0123456789abc"]});
        let after = of(json!({"b": {"command": "y"}, "countersign": ours}));
        insta::assert_snapshot!(difference(&before, &after), @r#"
        - "a": {
        -   "command": "x"
        - }
        + "countersign": {
        +   "command": "/opt/countersign",
        +   "args": [
        +     "--session",
        +     "claim-0123456789abc"
        +   ]
        + }
        "#);
    }
}
