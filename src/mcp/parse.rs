//! The first look at a message: strict, so that policy and the tool's server
//! cannot read one message in two ways. Whatever is called `tools/call` either
//! reads as one or is refused; it never passes as something unknown.

#[cfg(test)]
mod attacks;
mod listening;
mod meta;
mod params;

pub use listening::Wanted;
pub use meta::Meta;
pub use params::Answers;
pub use params::Ask;
pub use params::Body;

use super::shown;
use super::write::Fault;
use super::write::INVALID_PARAMS;
use super::write::INVALID_REQUEST;
use super::write::Outbound;
use super::write::PARSE_ERROR;
use crate::broker::ClientReply;
use crate::json;
use crate::json::JsonError;
use crate::json::Object;
use crate::session::Named;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The longest request id, progress token or tool name, in bytes.
const MAX_NAME: usize = 256;

/// How many messages a batch may have.
const MAX_BATCH: usize = 100;

/// One message of a client.
#[derive(Debug)]
pub enum Message {
    /// It wants an answer.
    Request(Request),
    /// It wants none.
    Notification(Notification),
    /// It answers a request of ours.
    Response(Response),
}

/// What a client says to a request of ours.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// To which, where its id is a text, as ours are.
    pub id: Option<Box<str>>,
    /// What it says, where that can be read.
    pub reply: Option<ClientReply>,
}

/// A message that wants an answer.
#[derive(Debug)]
pub struct Request {
    /// What the answer must carry.
    pub id: RawId,
    /// What was sent beside the parameters proper.
    pub meta: Meta,
    /// What is asked.
    pub body: Body,
}

/// A message that wants no answer.
#[derive(Debug)]
pub enum Notification {
    /// A legacy client has read our answer to `initialize`.
    Initialized,
    /// A request is taken back.
    Cancelled {
        /// Which.
        request: RawId,
    },
    /// One that means nothing here, or that cannot be read: nobody waits for
    /// an answer, so it is passed over (MCP 2026-07-28, patterns/cancellation).
    Ignored,
}

/// A request id or progress token, a string or an integer, as the text it was.
#[derive(Clone, Debug)]
pub struct RawId {
    text: Box<str>,
    key: Box<str>,
}

impl RawId {
    /// Reads a JSON text. None where it is neither an integer of 64 bits nor a
    /// string of at most 256 bytes.
    pub fn read(raw: &str) -> Option<Self> {
        let key = match json::text(raw) {
            Some(text) if text.len() <= MAX_NAME => serde_json::Value::from(&*text).to_string(),
            Some(_) => return None,
            // The two zeros are one number to most readers and two texts here.
            None if raw == "-0" => return None,
            None => raw.parse::<i64>().ok()?.to_string(),
        };
        Some(Self {
            text: raw.into(),
            key: key.into(),
        })
    }

    /// The JSON text, as it was sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// One text for all texts of this id: `"a"` and `"\u0061"` are one id.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for RawId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a message was refused.
#[derive(Debug)]
pub struct ParseError {
    id: Option<RawId>,
    // Boxed, because a result must not be wide for what rarely happens.
    fault: Box<Fault>,
}

impl ParseError {
    /// Of which request, where that could be read.
    pub fn id(&self) -> Option<&RawId> {
        self.id.as_ref()
    }

    /// The revision that is not served, where that is what is wrong.
    pub fn revision(&self) -> Option<&str> {
        let data = self.fault.data.as_ref()?;
        data.get("requested")?.as_str()
    }

    /// The message that answers the refused one.
    pub fn answer(&self) -> Outbound {
        self.fault.refuse(self.id.as_ref())
    }
}

/// Reads one message.
///
/// # Errors
///
/// When the bytes are no JSON of one reading, no JSON-RPC 2.0 message, or not
/// what their method needs. The error holds the answer that is due.
pub fn parse(message_bytes: &[u8]) -> Result<Message, ParseError> {
    let refused = |id, fault| ParseError {
        id,
        fault: Box::new(fault),
    };
    let (text, object) = Object::checked(message_bytes).map_err(|problem| {
        let message = format!("this is no JSON message: {}", described(&problem));
        refused(readable_id(message_bytes), Fault::new(PARSE_ERROR, message))
    })?;
    let envelope = envelope(text, object).map_err(|fault| refused(None, fault))?;
    let id = envelope.get("id").map(RawId::read);
    if let Some(None) = id {
        let message = "`id` must be an integer or a string of at most 256 bytes";
        return Err(refused(None, Fault::new(INVALID_REQUEST, message)));
    }
    let id = id.flatten();
    read(&envelope, id.as_ref()).map_err(|fault| refused(id, fault))
}

/// The messages of a batch, each to be parsed by itself. None where the text is
/// no list at all.
///
/// # Errors
///
/// When it is a list, and none that could be a batch. The error holds the answer
/// that is due.
pub fn batch(text: &[u8]) -> Result<Option<Vec<Box<[u8]>>>, ParseError> {
    if text.trim_ascii_start().first() != Some(&b'[') {
        return Ok(None);
    }
    let refused = |code, message: String| ParseError {
        id: None,
        fault: Box::new(Fault::new(code, message)),
    };
    let text = json::check(text).map_err(|problem| {
        let message = format!("this is no JSON message: {}", described(&problem));
        refused(PARSE_ERROR, message)
    })?;
    let messages: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|_no_list| refused(PARSE_ERROR, "this is no list of messages".to_owned()))?;
    if messages.is_empty() || messages.len() > MAX_BATCH {
        let message = format!("a batch has 1 to {MAX_BATCH} messages");
        return Err(refused(INVALID_REQUEST, message));
    }
    let bytes = |message: &&RawValue| message.get().as_bytes().into();
    Ok(Some(messages.iter().map(bytes).collect()))
}

impl Message {
    /// The same message for the session that its transport names, where it names
    /// one.
    ///
    /// # Errors
    ///
    /// When the message itself names another.
    pub fn in_session(mut self, named: Option<&Named>) -> Result<Self, ParseError> {
        let (Self::Request(request), Some(named)) = (&mut self, named) else {
            return Ok(self);
        };
        match &mut request.meta.session {
            Some(own) if own.text != named.text => {
                let message = "the request names two sessions: give one, or the same one in the URL, the header and `_meta`";
                Err(ParseError {
                    id: Some(request.id.clone()),
                    fault: Box::new(Fault::new(INVALID_PARAMS, message)),
                })
            }
            Some(own) => {
                own.by.splice(0..0, named.by.iter().copied());
                Ok(self)
            }
            None => {
                request.meta.session = Some(Box::new(named.clone()));
                Ok(self)
            }
        }
    }
}

/// The id of a message that is refused for something deeper in it, so that its
/// sender need not wait in vain.
fn readable_id(message: &[u8]) -> Option<RawId> {
    let text = std::str::from_utf8(message).ok()?;
    let envelope = envelope(text, Object::parse(text)).ok()?;
    envelope.get("id").and_then(RawId::read)
}

fn envelope<'a>(text: &str, object: Result<Object<'a>, JsonError>) -> Result<Object<'a>, Fault> {
    let envelope = object.map_err(|problem| {
        let message = if text.trim_ascii_start().starts_with('[') {
            "batches are not served: send each message by itself".to_owned()
        } else {
            described(&problem)
        };
        Fault::new(INVALID_REQUEST, message)
    })?;
    refuse_lookalikes(
        &envelope,
        &["jsonrpc", "id", "method", "params", "result", "error"],
    )
    .map_err(|fault| Fault {
        code: INVALID_REQUEST,
        ..fault
    })?;
    Ok(envelope)
}

fn read(envelope: &Object<'_>, id: Option<&RawId>) -> Result<Message, Fault> {
    let invalid = |message: &str| Err(Fault::new(INVALID_REQUEST, message));
    if envelope.get("jsonrpc").and_then(json::text).as_deref() != Some("2.0") {
        return invalid("`jsonrpc` must be \"2.0\"");
    }
    let answers = envelope.get("result").is_some() || envelope.get("error").is_some();
    let Some(method) = envelope.get("method") else {
        if answers {
            return Ok(Message::Response(response(envelope)));
        }
        return invalid("a message needs a `method`");
    };
    if answers {
        return invalid("a message has a `method` or a `result` or `error`, not both");
    }
    let Some(method) = json::text(method) else {
        return invalid("`method` must be a string");
    };
    let Some(id) = id else {
        return notification(&method, envelope.get("params"));
    };
    let params = object(envelope.get("params"), "params")?;
    let (meta, body) = params::read(&method, params.as_ref())?;
    Ok(Message::Request(Request {
        id: id.clone(),
        meta,
        body,
    }))
}

fn response(envelope: &Object<'_>) -> Response {
    let part = |key| envelope.get(key).filter(|text| text.starts_with('{'));
    let reply = match (part("result"), part("error")) {
        (Some(result), None) => Some(ClientReply::Result(result.into())),
        (None, Some(error)) => Some(ClientReply::Error(error.into())),
        (Some(_), Some(_)) | (None, None) => None,
    };
    Response {
        id: envelope.get("id").and_then(json::text).map(Into::into),
        reply,
    }
}

fn notification(method: &str, params: Option<&str>) -> Result<Message, Fault> {
    if !method.starts_with("notifications/") {
        return Err(Fault::new(
            INVALID_REQUEST,
            format!("`{}` is a request and needs an `id`", shown(method, 80)),
        ));
    }
    let cancelled = || {
        let params = object(params, "params").ok()??;
        refuse_lookalikes(&params, &["_meta", "requestId", "reason"]).ok()?;
        RawId::read(params.get("requestId")?)
    };
    Ok(Message::Notification(match method {
        "notifications/initialized" => Notification::Initialized,
        "notifications/cancelled" => match cancelled() {
            Some(request) => Notification::Cancelled { request },
            None => Notification::Ignored,
        },
        _ => Notification::Ignored,
    }))
}

/// An object that may be absent. `null` is not absent.
fn object<'a>(raw: Option<&'a str>, what: &str) -> Result<Option<Object<'a>>, Fault> {
    let Some(raw) = raw else { return Ok(None) };
    match Object::parse(raw) {
        Ok(object) => Ok(Some(object)),
        Err(_) => Err(Fault::new(
            INVALID_PARAMS,
            format!("`{what}` must be an object, or left out"),
        )),
    }
}

/// A string that may be absent. `null` is not absent.
fn string<'a>(raw: Option<&'a str>, what: &str) -> Result<Option<Cow<'a, str>>, Fault> {
    match raw.map(json::text) {
        None => Ok(None),
        Some(Some(text)) => Ok(Some(text)),
        Some(None) => Err(Fault::new(
            INVALID_PARAMS,
            format!("`{what}` must be a string, or left out"),
        )),
    }
}

fn refuse_lookalikes(object: &Object<'_>, known: &[&str]) -> Result<(), Fault> {
    object
        .refuse_lookalikes(known.iter().copied())
        .map_err(|problem| Fault::new(INVALID_PARAMS, described(&problem)))
}

fn described(problem: &JsonError) -> String {
    match problem {
        JsonError::Lookalike { found, known } => format!(
            "the key `{}` could be read as `{known}`: write it exactly, or leave it out",
            shown(found, 80)
        ),
        JsonError::Malformed(what) => shown(what, 240),
        JsonError::NotAnObject => "a message must be a JSON object".to_owned(),
    }
}
