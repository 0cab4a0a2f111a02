//! What holds of whatever a client sends, and of what is written from it.

use super::Body;
use super::Message;
use super::Notification;
use super::ParseError;
use super::batch;
use super::parse;
use crate::json;
use crate::json::Object;
use crate::json::Splice;
use crate::tool::Asking;
use serde_json::Map;
use serde_json::Value;

const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
/// How deep values may nest.
const DEPTH: usize = 64;

/// What is read is what serde_json reads too, a call is never anything else, and
/// each refusal is a message that names the request where its id can be read.
pub fn client_message(bytes: &[u8]) {
    let strict = strictness(bytes);
    if let Some((text, value)) = &strict {
        rewriting(text, value);
        splicing(text, value);
    }
    let value = strict.as_ref().map(|(_, value)| value);
    match (parse(bytes), value) {
        (Ok(message), Some(value)) => understood(&message, value),
        (Ok(message), None) => unreachable!("not strict, and read as {message:?}"),
        (Err(refused), value) => answered(&refused, value),
    }
    batches(bytes, value);
}

/// A text is strict where serde_json reads it, no member of it got lost, and it
/// is not too deep.
fn strictness(bytes: &[u8]) -> Option<(&str, Value)> {
    let checked = json::check(bytes);
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        assert!(checked.is_err());
        return None;
    };
    if let Err(problem) = &checked
        && problem.to_string().contains("$serde_json::private::")
    {
        return None;
    }
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let (members, depth) = counted(text);
    let due = members == members_of(&value) && depth <= DEPTH;
    assert_eq!(checked.is_ok(), due, "{checked:?}");
    checked.ok().map(|text| (text, value))
}

/// How many members the objects of a JSON text have, and how deep it nests.
fn counted(text: &str) -> (usize, usize) {
    let (mut members, mut depth, mut deepest) = (0, 0_usize, 0);
    let mut bytes = text.bytes();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match (byte, in_string) {
            (b'\\', true) => {
                let _escaped = bytes.next();
            }
            (b'"', _) => in_string = !in_string,
            (b':', false) => members += 1,
            (b'{' | b'[', false) => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (b'}' | b']', false) => depth -= 1,
            _ => {}
        }
    }
    (members, deepest)
}

fn members_of(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.len() + members.values().map(members_of).sum::<usize>(),
        Value::Array(items) => items.iter().map(members_of).sum(),
        _ => 0,
    }
}

/// Texts of one value have one canonical text, which is of that value.
fn rewriting(text: &str, value: &Value) {
    let canonical = |text: &str| {
        let canonical = json::canonical(text);
        canonical.unwrap_or_else(|problem| unreachable!("strict, and not canonical: {problem}"))
    };
    let one = canonical(text);
    is(&one, value);
    assert_eq!(canonical(&one), one);
    assert_eq!(canonical(&respelled(text)), one);
    let Value::Object(members) = value else {
        return;
    };
    let object = object(text);
    let read: Vec<_> = object.iter().collect();
    assert_eq!(read.len(), members.len());
    let mut turned: Vec<String> = Vec::new();
    for (key, raw) in read.iter().rev() {
        is(raw, members.get(*key).unwrap_or(&Value::Null));
        assert_eq!(object.get(key), Some(*raw));
        turned.push(format!("{}:{raw}", Value::from(*key)));
    }
    assert_eq!(canonical(&format!("{{{}}}", turned.join(","))), one);
}

/// The same with spaces between all tokens and letters and digits escaped.
fn respelled(text: &str) -> String {
    let mut spelled = String::new();
    let mut chars = text.chars();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match (c, in_string) {
            ('\\', true) => {
                spelled.push(c);
                let escaped = chars.next();
                spelled.extend(escaped);
                if escaped == Some('u') {
                    spelled.extend(chars.by_ref().take(4));
                }
            }
            ('"', _) => {
                in_string = !in_string;
                spelled.push(c);
            }
            (c, true) if c.is_ascii_alphanumeric() => {
                spelled.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            ('{' | '}' | '[' | ']' | ',' | ':', false) => spelled.extend([' ', c, '\t']),
            (c, _) => spelled.push(c),
        }
    }
    spelled
}

/// What is spliced is strict, has the members that it should have, and outside of
/// the edit each byte as it was.
fn splicing(text: &str, value: &Value) {
    let Value::Object(members) = value else {
        return;
    };
    let object = object(text);
    let added = ["x", "y", "z"].map(|key| key.repeat(text.len() + 1));
    let mut more = members.clone();
    let mut splice = Splice::new(text);
    for key in &added {
        more.insert(key.clone(), 1.into());
        splice = splice.add_member(text, key, "1");
    }
    spliced(&splice.finish(), &more);
    let chosen = object.iter().nth(text.len() % members.len().max(1));
    let Some((key, raw)) = chosen else {
        return;
    };
    let at = raw.as_ptr() as usize - text.as_ptr() as usize;
    let (before, after) = (text.get(..at), text.get(at + raw.len()..));
    let replaced = Splice::new(text).replace(raw, "[42]").finish();
    let due = format!(
        "{}[42]{}",
        before.unwrap_or_default(),
        after.unwrap_or_default()
    );
    assert_eq!(replaced, due);
    let mut other = members.clone();
    other.insert(key.to_owned(), vec![42].into());
    spliced(&replaced, &other);
    let removed = Splice::new(text).remove_member(text, key).finish();
    other.remove(key);
    spliced(&removed, &other);
    let left = self::object(&removed);
    let others = object.iter().filter(|(other, _)| *other != key);
    assert!(left.iter().eq(others), "{removed}");
}

fn spliced(text: &str, members: &Map<String, Value>) {
    assert!(json::check(text.as_bytes()).is_ok(), "{text}");
    is(text, &Value::Object(members.clone()));
}

fn understood(message: &Message, value: &Value) {
    let at = |path: &str| value.pointer(path);
    let method = at("/method").and_then(Value::as_str);
    assert_eq!(at("/jsonrpc").and_then(Value::as_str), Some("2.0"));
    match message {
        Message::Request(request) => {
            assert_eq!(method, Some(request.body.method()));
            is(request.id.as_str(), at("/id").unwrap_or(&Value::Null));
            is(request.id.key(), at("/id").unwrap_or(&Value::Null));
            let asked = match &request.body {
                Body::Ask(ask) if ask.asking == Asking::Tool => ask,
                _ => return assert_ne!(method, Some("tools/call")),
            };
            let named = at("/params/name").and_then(Value::as_str);
            assert_eq!(named, Some(&*asked.name));
            let sent = asked.arguments.as_deref();
            assert_eq!(sent.is_some(), at("/params/arguments").is_some());
            is(
                sent.unwrap_or("null"),
                at("/params/arguments").unwrap_or(&Value::Null),
            );
            assert!(sent.is_none_or(|sent| sent.starts_with('{')));
        }
        Message::Notification(notification) => {
            assert!(at("/id").is_none());
            assert!(method.is_some_and(|method| method.starts_with("notifications/")));
            if let Notification::Cancelled { request } = notification {
                is(
                    request.as_str(),
                    at("/params/requestId").unwrap_or(&Value::Null),
                );
            }
        }
        Message::Response(_) => assert!(at("/method").is_none()),
    }
}

fn answered(refused: &ParseError, value: Option<&Value>) {
    let answer = refused.answer();
    assert!(
        json::check(answer.text().as_bytes()).is_ok(),
        "{}",
        answer.text()
    );
    let said: Value = serde_json::from_str(answer.text()).unwrap_or_default();
    let code = said.pointer("/error/code").and_then(Value::as_i64);
    assert!(code.is_some_and(|code| (-32_768..=-32_000).contains(&code)));
    assert!(said.pointer("/error/message").is_some_and(Value::is_string));
    assert!(!answer.into_line().0.contains(&b'\n'));
    let Some(Value::Object(members)) = value else {
        return;
    };
    let id = members.get("id");
    let readable = id.filter(|id| match id {
        Value::String(text) => text.len() <= 256,
        id => id.is_i64(),
    });
    let exact = members
        .keys()
        .all(|key| ENVELOPE.contains(&&**key) || !ENVELOPE.contains(&&*json::fold(key)));
    match said.get("id") {
        Some(named) => assert_eq!(Some(named), id),
        None => assert!(readable.is_none() || !exact, "{said}"),
    }
}

fn batches(bytes: &[u8], value: Option<&Value>) {
    match (batch(bytes), value) {
        (Ok(Some(messages)), Some(Value::Array(items))) => {
            assert_eq!(messages.len(), items.len());
            for (message, item) in messages.iter().zip(items) {
                is(std::str::from_utf8(message).unwrap_or_default(), item);
            }
        }
        (Ok(Some(_)), _) => unreachable!("a batch of what is no list"),
        (Ok(None), value) => assert!(!value.is_some_and(Value::is_array)),
        (Err(refused), value) => {
            let some = |items: &Vec<Value>| (1..=100).contains(&items.len());
            assert!(!value.and_then(Value::as_array).is_some_and(some));
            answered(&refused, None);
        }
    }
}

fn object(text: &str) -> Object<'_> {
    Object::parse(text).unwrap_or_else(|problem| unreachable!("strict, and no object: {problem}"))
}

/// The text is one of this value.
fn is(text: &str, value: &Value) {
    let read = serde_json::from_str::<Value>(text).ok();
    assert_eq!(read.as_ref(), Some(value), "{text}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_kept_of_the_messages_of_clients_is_read_as_it_should_be() {
        crate::fuzzing::replay("client_message", super::client_message);
    }
}
