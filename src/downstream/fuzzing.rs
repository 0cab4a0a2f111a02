//! What holds of whatever a server sends: of its lines, its events and its
//! messages.

use super::asks::check_inquiries;
use super::lines::Line;
use super::lines::Lines;
use super::message::Answer;
use super::message::Message;
use super::message::Unreadable;
use super::message::read;
use super::remote::events_of;
use crate::fuzzing::Pieces;
use crate::fuzzing::now;
use crate::fuzzing::stream;
use crate::json;
use crate::tool::Declared;
use serde_json::Value;

const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// What is read of a line is what serde_json reads too; of one that is not strict
/// nothing is taken but whom it may concern; and an answer that is one is found.
pub fn server_message(line: &[u8]) {
    let found = read(line);
    let value = json::check(line).is_ok().then(|| {
        let value = serde_json::from_slice::<Value>(line);
        value.unwrap_or_else(|error| unreachable!("strict, and no JSON: {error}"))
    });
    match value {
        None => assert!(
            matches!(
                found.as_slice(),
                [Err(_)]
                    | [Ok(Message::Answer {
                        answer: Answer::Invalid(_),
                        ..
                    })]
            ),
            "{found:?}"
        ),
        Some(Value::Array(batch)) => {
            assert_eq!(found.len(), batch.len());
            found.iter().zip(&batch).for_each(|(m, v)| says(m, v));
        }
        Some(one) => {
            assert_eq!(found.len(), 1);
            found.iter().for_each(|message| says(message, &one));
        }
    }
}

fn says(message: &Result<Message, Unreadable>, value: &Value) {
    let has = |key| value.get(key).is_some();
    match message {
        Ok(Message::Answer { id, answer }) => {
            assert_eq!(value.get("id").and_then(Value::as_u64), Some(*id));
            assert!(!has("method"));
            match answer {
                Answer::Result(result) => {
                    assert!(!has("error") && is_exact(value));
                    same(Some(result), value.get("result"));
                    nothing_is_asked(result, value);
                }
                Answer::Error(error) => {
                    assert!(!has("result") && is_exact(value));
                    same(Some(error), value.get("error"));
                }
                Answer::Invalid(_) => assert!(!is_answer(value), "{value}"),
            }
        }
        Ok(Message::NamelessError(error)) => {
            assert!(value.get("id").is_some_and(Value::is_null) && !has("result"));
            same(Some(error), value.get("error"));
        }
        Ok(Message::Request { id, method, params }) => {
            same(Some(id), value.get("id"));
            called((method, params.as_deref()), value);
        }
        Ok(Message::Notification { method, params }) => {
            assert!(!has("id"));
            called((method, params.as_deref()), value);
        }
        Err(_) => assert!(!is_answer(value), "{value}"),
    }
}

fn called((method, params): (&str, Option<&str>), value: &Value) {
    assert!(is_exact(value) && value.get("result").is_none() && value.get("error").is_none());
    assert_eq!(value.get("method").and_then(Value::as_str), Some(method));
    same(params, value.get("params").filter(|it| it.is_object()));
}

/// A client that cannot be asked anything is not.
fn nothing_is_asked(result: &str, value: &Value) {
    if check_inquiries(result, &Declared::default()).is_ok() {
        let asked = value.pointer("/result/inputRequests");
        let asked = asked.and_then(Value::as_object);
        assert!(asked.is_none_or(serde_json::Map::is_empty), "{value}");
    }
}

/// The text is an object or a plain value that serde_json reads as `value`.
fn same(text: Option<&str>, value: Option<&Value>) {
    let read = text.map(|text| serde_json::from_str::<Value>(text).ok());
    assert_eq!(read.flatten().as_ref(), value);
}

fn is_exact(value: &Value) -> bool {
    let members = value.as_object();
    value.get("jsonrpc").and_then(Value::as_str) == Some("2.0")
        && members.is_some_and(|members| {
            members
                .keys()
                .all(|key| ENVELOPE.contains(&&**key) || !ENVELOPE.contains(&&*json::fold(key)))
        })
}

/// Whether anybody would take it for an answer to a request of ours.
fn is_answer(value: &Value) -> bool {
    let error = value.get("error");
    let is_error = error.is_some_and(|error| {
        error.get("code").is_some_and(Value::is_i64)
            && error.get("message").is_some_and(Value::is_string)
    });
    is_exact(value)
        && value.get("id").is_some_and(Value::is_u64)
        && value.get("method").is_none()
        && match (value.get("result"), error) {
            (Some(result), None) => result.is_object(),
            (None, Some(_)) => is_error,
            (Some(_), Some(_)) | (None, None) => false,
        }
}

/// However the bytes come in, the lines are those of a plain split, one that is
/// too long is cut and told of once, and memory is bounded.
pub fn server_lines(input: &[u8]) {
    let Some((limit, seed, bytes)) = stream(input) else {
        return;
    };
    let mut lines = Lines::new(Pieces::new(&bytes, seed), limit);
    let mut found = Vec::new();
    while let Ok(Some(line)) = now(lines.next()) {
        assert!(lines.held() <= 160 << 10, "{}", lines.held());
        found.push(match line {
            Line::Whole(line) => (true, line.to_vec()),
            Line::Cut(head) => (false, head.to_vec()),
        });
    }
    let parts: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let last = parts.len() - 1;
    let due = parts.iter().enumerate().filter_map(|(place, line)| {
        let ended = place < last;
        match line.get(..limit) {
            Some(head) if line.len() > limit => Some((false, head.to_vec())),
            _ if line.is_empty() && !ended => None,
            _ if ended => Some((true, line.strip_suffix(b"\r").unwrap_or(line).to_vec())),
            _ => Some((true, line.to_vec())),
        }
    });
    assert_eq!(found, due.collect::<Vec<_>>());
}

/// However the bytes come in, the events are those of a plain reading of all of
/// them, and each is a message that is read as it should be.
pub fn server_events(input: &[u8]) {
    let Some((limit, seed, bytes)) = stream(input) else {
        return;
    };
    let found = events_of(Pieces::new(&bytes, seed), limit);
    assert_eq!(found, plain_events(&bytes, limit));
    for (_, data) in found.0 {
        server_message(&data);
    }
}

/// Kinds and data of events, and whether one of them was too long.
type Read = (Vec<(String, Vec<u8>)>, bool);

/// HTML living standard, §9.2.6, word by word.
fn plain_events(bytes: &[u8], limit: usize) -> Read {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let mut events = Vec::new();
    if bytes.len() < MARK.len() && MARK.starts_with(bytes) {
        return (events, false);
    }
    let mut rest = bytes.strip_prefix(MARK).unwrap_or(bytes);
    let (mut kind, mut data) = (String::new(), Vec::<&[u8]>::new());
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        let (line, after) = rest.split_at(end);
        let ends = if after.starts_with(b"\r\n") { 2 } else { 1 };
        rest = after.get(ends..).unwrap_or_default();
        if line.len() > limit {
            return (events, true);
        }
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"" if line.is_empty() => {
                let data = std::mem::take(&mut data).join(&b'\n');
                let kind = std::mem::take(&mut kind);
                if !data.is_empty() {
                    let named = !kind.is_empty();
                    events.push((if named { kind } else { "message".to_owned() }, data));
                }
            }
            b"data" => {
                if data.join(&b'\n').len() + value.len() > limit {
                    return (events, true);
                }
                data.push(value);
            }
            b"event" => kind = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
    }
    (events, rest.len() > limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::replay;

    #[test]
    fn what_was_kept_of_the_messages_of_servers_is_read_as_it_should_be() {
        replay("server_message", server_message);
    }

    #[test]
    fn what_was_kept_of_the_streams_of_servers_is_split_plainly() {
        replay("framing", server_lines);
        replay("framing", server_events);
    }
}
