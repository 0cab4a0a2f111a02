//! All that is read from a server: one line at a time, strictly, as far as the
//! envelope. Results and params stay the text they were.

use crate::json;
use crate::json::JsonError;
use crate::json::Object;
use serde_json::value::RawValue;
use std::borrow::Cow;

const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// One message of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// To the request of ours with this id.
    Answer {
        /// Our id.
        id: u64,
        /// What it says.
        answer: Answer,
    },
    /// An error that names no request: some servers answer so what they do not
    /// understand.
    NamelessError(Box<str>),
    /// It wants an answer.
    Request {
        /// Its id, as the text it was.
        id: Box<str>,
        /// What it asks for.
        method: Box<str>,
        /// The params, an object, as the text they were.
        params: Option<Box<str>>,
    },
    /// It wants none.
    Notification {
        /// What happened.
        method: Box<str>,
        /// The params, an object, as the text they were.
        params: Option<Box<str>>,
    },
}

/// What a server says to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The result, an object, as the text it was.
    Result(Box<str>),
    /// The error object, as the text it was.
    Error(Box<str>),
    /// An answer, but no valid one; in words.
    Invalid(String),
}

/// A line, or a part of it, that is no message. It holds nothing of the line,
/// so that a log can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    NotUtf8,
    NotJson,
    NotStrict,
    NoMessage,
}

impl Unreadable {
    /// What was wrong, in words.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotUtf8 => "it is not UTF-8",
            Self::NotJson => "it is not JSON",
            Self::NotStrict => "it has a key twice, nests too deep or has a number out of range",
            Self::NoMessage => "it is no JSON-RPC message",
        }
    }
}

/// The messages of a line: one, or several where a server batches them, which
/// revision 2025-03-26 allows it to.
pub(super) fn read(line: &[u8]) -> Vec<Result<Message, Unreadable>> {
    let Ok((text, object)) = Object::checked(line) else {
        return vec![salvage(line)];
    };
    if !text.trim_ascii_start().starts_with('[') {
        return vec![message(object)];
    }
    match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(batch) => batch
            .into_iter()
            .map(|raw| message(Object::parse(raw.get())))
            .collect(),
        Err(_) => vec![Err(Unreadable::NotJson)],
    }
}

fn message(object: Result<Object<'_>, JsonError>) -> Result<Message, Unreadable> {
    let envelope = object.map_err(|_| Unreadable::NoMessage)?;
    let id = envelope.get("id");
    let method = envelope.get("method").map(json::text);
    let is_answer = envelope.get("result").is_some() || envelope.get("error").is_some();
    match (method, id) {
        (None, Some(id)) => answer(&envelope, id),
        (Some(Some(method)), id) if !is_answer && is_exact(&envelope) => {
            called(&envelope, id, &method)
        }
        _ => Err(Unreadable::NoMessage),
    }
}

fn called(envelope: &Object<'_>, id: Option<&str>, method: &str) -> Result<Message, Unreadable> {
    let method: Box<str> = method.into();
    let params = envelope.get("params");
    let params = params
        .filter(|params| params.starts_with('{'))
        .map(Into::into);
    match id {
        Some(id) if is_id(id) => Ok(Message::Request {
            id: id.into(),
            method,
            params,
        }),
        Some(_) => Err(Unreadable::NoMessage),
        None => Ok(Message::Notification { method, params }),
    }
}

fn answer(envelope: &Object<'_>, id: &str) -> Result<Message, Unreadable> {
    let answer = match (envelope.get("result"), envelope.get("error")) {
        _ if !is_exact(envelope) => {
            Answer::Invalid("the answer is no JSON-RPC 2.0 envelope".to_owned())
        }
        (Some(_), Some(_)) => {
            Answer::Invalid("the answer has both a result and an error".to_owned())
        }
        (None, None) => Answer::Invalid("the answer has neither a result nor an error".to_owned()),
        (Some(result), None) if result.starts_with('{') => Answer::Result(result.into()),
        (Some(_), None) => Answer::Invalid("the result is no JSON object".to_owned()),
        (None, Some(error)) if is_error(error) => Answer::Error(error.into()),
        (None, Some(_)) => {
            Answer::Invalid("the error is no object with a code and a message".to_owned())
        }
    };
    match (whole_number(id), answer) {
        (Some(id), answer) => Ok(Message::Answer { id, answer }),
        (None, Answer::Error(error)) if id == "null" => Ok(Message::NamelessError(error)),
        (None, _) => Err(Unreadable::NoMessage),
    }
}

/// A line that fails the strict reading may still be an answer that somebody
/// waits for. Who waits is told; nothing else is taken from it.
fn salvage(line: &[u8]) -> Result<Message, Unreadable> {
    let lossy = String::from_utf8_lossy(line);
    let why = match &lossy {
        Cow::Owned(_) => Unreadable::NotUtf8,
        Cow::Borrowed(_) => Unreadable::NotStrict,
    };
    let Ok(envelope) = Object::parse(&lossy) else {
        return Err(match why {
            Unreadable::NotUtf8 => why,
            _ => Unreadable::NotJson,
        });
    };
    let id = envelope.get("id").and_then(whole_number);
    match (id, envelope.get("method")) {
        (Some(id), None) => Ok(Message::Answer {
            id,
            answer: Answer::Invalid(format!("the answer cannot be read: {}", why.as_str())),
        }),
        _ => Err(why),
    }
}

fn is_exact(envelope: &Object<'_>) -> bool {
    envelope.get("jsonrpc").and_then(json::text).as_deref() == Some("2.0")
        && envelope.refuse_lookalikes(ENVELOPE.into_iter()).is_ok()
}

fn is_error(text: &str) -> bool {
    Object::parse(text).is_ok_and(|error| {
        error_code(&error).is_some() && error.get("message").and_then(json::text).is_some()
    })
}

/// The code of an error object.
pub(super) fn error_code(error: &Object<'_>) -> Option<i64> {
    error.get("code")?.parse().ok()
}

fn is_id(text: &str) -> bool {
    json::text(text).is_some() || text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()
}

/// The request of ours that a message of a subscription belongs to, by its tag
/// (2026-07-28, patterns/subscriptions).
pub(super) fn subscription(params: &str) -> Option<u64> {
    let params = Object::parse(params).ok()?;
    let meta = Object::parse(params.get("_meta")?).ok()?;
    whole_number(meta.get("io.modelcontextprotocol/subscriptionId")?)
}

/// Whether a notification says that a list of the server changed.
pub(super) fn is_change(method: &str) -> bool {
    matches!(
        method,
        "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
    )
}

/// The number that these digits are: no sign, no fraction, no exponent. It is
/// how we wrote it, so anything else is not our id.
pub(super) fn whole_number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<Message, Unreadable> {
        let mut messages = read(line.as_bytes());
        assert_eq!(messages.len(), 1, "{line}");
        messages.pop().unwrap()
    }

    fn invalid(line: &str) -> bool {
        matches!(
            one(line),
            Ok(Message::Answer {
                id: 7,
                answer: Answer::Invalid(_)
            })
        )
    }

    #[test]
    fn an_answer_has_our_id_and_exactly_one_of_result_and_error() {
        assert_eq!(
            one(r#" {"id":7,"jsonrpc":"2.0","result": { "n" : 1e3 } }"#),
            Ok(Message::Answer {
                id: 7,
                answer: Answer::Result(r#"{ "n" : 1e3 }"#.into())
            })
        );
        assert_eq!(
            one(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"m","x":1}}"#),
            Ok(Message::Answer {
                id: 7,
                answer: Answer::Error(r#"{"code":-1,"message":"m","x":1}"#.into())
            })
        );
        for line in [
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":null}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":[]}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":null}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":"1","message":""}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":1}}"#,
            r#"{"jsonrpc":"1.0","id":7,"result":{}}"#,
            r#"{"id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"Result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"a":1,"a":2}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"a":1e999}}"#,
        ] {
            assert!(invalid(line), "{line}");
        }
    }

    #[test]
    fn an_id_that_we_did_not_write_like_this_is_no_answer() {
        for id in [
            "7.0",
            "7e0",
            "-7",
            "\"7\"",
            "null",
            "[7]",
            "+7",
            "18446744073709551616",
        ] {
            let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
            assert!(one(&line).is_err(), "{line}");
        }
        assert!(matches!(
            one(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":""}}"#),
            Ok(Message::NamelessError(_))
        ));
    }

    #[test]
    fn an_answer_that_is_not_utf_8_still_reaches_who_waits() {
        let messages = read(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"a\":\"\xff\"}}");
        assert!(matches!(
            messages.as_slice(),
            [Ok(Message::Answer {
                id: 7,
                answer: Answer::Invalid(_)
            })]
        ));
        assert_eq!(read(b"\xff\xfe"), [Err(Unreadable::NotUtf8)]);
        assert_eq!(read(b"Listening on port 80"), [Err(Unreadable::NotJson)]);
        assert_eq!(read(b"{\"a\":1,\"a\":2}"), [Err(Unreadable::NotJson)]);
    }

    #[test]
    fn requests_and_notifications_are_told_apart_by_their_id() {
        assert_eq!(
            one(r#"{"jsonrpc":"2.0","id":"x\u0041","method":"ping"}"#),
            Ok(Message::Request {
                id: r#""x\u0041""#.into(),
                method: "ping".into(),
                params: None
            })
        );
        assert_eq!(
            one(r#"{"jsonrpc":"2.0","method":"m","params":{"a": 1}}"#),
            Ok(Message::Notification {
                method: "m".into(),
                params: Some(r#"{"a": 1}"#.into())
            })
        );
        for line in [
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
            r#"{"id":1,"method":"ping"}"#,
            "{}",
            "3",
        ] {
            assert_eq!(one(line), Err(Unreadable::NoMessage), "{line}");
        }
    }

    #[test]
    fn a_batch_is_its_messages() {
        let batch = r#"[{"jsonrpc":"2.0","method":"m"},{"jsonrpc":"2.0","id":7,"result":{}},3]"#;
        let messages = read(batch.as_bytes());
        assert!(matches!(
            messages.as_slice(),
            [
                Ok(Message::Notification { .. }),
                Ok(Message::Answer { id: 7, .. }),
                Err(_)
            ]
        ));
    }
}
