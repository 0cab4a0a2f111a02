//! The envelopes of what goes to the client. One place, so that no message is
//! ever half JSON-RPC.

use super::LEGACY;
use super::MODERN;
use super::parse::RawId;
use crate::broker::Receipt;
use serde_json::Value;
use serde_json::json;

/// JSON-RPC: the text is no JSON that can be read safely.
pub const PARSE_ERROR: i32 = -32700;
/// JSON-RPC: JSON, and no request that may be made now.
pub const INVALID_REQUEST: i32 = -32600;
/// JSON-RPC: no such method here.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// JSON-RPC: the method is served, its parameters are not right.
pub const INVALID_PARAMS: i32 = -32602;
/// JSON-RPC: we failed.
pub const INTERNAL_ERROR: i32 = -32603;
/// MCP 2026-07-28: the request names a revision that is not served that way.
pub(super) const UNSUPPORTED_VERSION: i32 = -32022;
/// MCP 2026-07-28: the request needs a capability that the client did not declare.
pub(super) const MISSING_CAPABILITY: i32 = -32021;
/// MCP 2026-07-28: the headers of a request say something else than its body.
pub const HEADER_MISMATCH: i32 = -32020;

/// One message to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// It answers a request; the receipt says when it was read.
    Answer(Box<str>, Receipt),
    /// It refuses a request, or a message that was none, before anything was
    /// done about it.
    Refusal {
        /// The JSON-RPC error code.
        code: i32,
        /// The message.
        text: Box<str>,
    },
    /// It answers nothing: more may follow, and an answer with it.
    Notification(Box<str>),
    /// It asks the client something, in the middle of a request of its own.
    Request(Box<str>),
}

impl Outbound {
    /// The same answer, with who waits for it to be read.
    pub(super) fn with(self, receipt: Receipt) -> Self {
        match self {
            Self::Answer(text, _) => Self::Answer(text, receipt),
            other => other,
        }
    }

    /// The text of the message.
    pub fn text(&self) -> &str {
        match self {
            Self::Answer(text, _)
            | Self::Refusal { text, .. }
            | Self::Notification(text)
            | Self::Request(text) => text,
        }
    }

    /// The message as one line, as a frame that ends with the line needs it. A
    /// server may have sent its result over several lines; in JSON line breaks
    /// can only stand between tokens.
    pub fn into_line(self) -> (Vec<u8>, Receipt) {
        let (text, receipt) = match self {
            Self::Answer(text, receipt) => (text, receipt),
            Self::Refusal { text, .. } | Self::Notification(text) | Self::Request(text) => {
                (text, Receipt::default())
            }
        };
        let mut line = text.into_string().into_bytes();
        for byte in &mut line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        (line, receipt)
    }
}

/// All revisions that are served, the newest first.
pub(super) fn served() -> Vec<&'static str> {
    std::iter::once(MODERN).chain(LEGACY).collect()
}

/// A JSON-RPC error that we author.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    /// The error's code.
    pub(super) code: i32,
    /// What is wrong and what to do instead.
    pub(super) message: String,
    /// Details that the specification asks for.
    pub(super) data: Option<Value>,
}

impl Fault {
    /// An error without further details.
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The answer to a request in a revision that is not served that way. Lists
    /// all that are served, those that open with `initialize` included (MCP
    /// 2026-07-28, basic/versioning).
    pub(super) fn unsupported_version(requested: &str) -> Self {
        let requested = super::shown(requested, 40);
        let message = if LEGACY.contains(&requested.as_str()) {
            format!(
                "`{requested}` is opened by an `initialize` that names it as its own `protocolVersion`, without `_meta`; a request that stands by itself names `{MODERN}`"
            )
        } else {
            format!("protocol version `{requested}` is not served; use one of `data.supported`")
        };
        Self {
            code: UNSUPPORTED_VERSION,
            message,
            data: Some(json!({"requested": requested, "supported": served()})),
        }
    }

    /// The message that refuses the request of this id.
    pub(super) fn refuse(&self, id: Option<&RawId>) -> Outbound {
        Outbound::Refusal {
            code: self.code,
            text: error_text(id, &self.json()),
        }
    }

    /// The JSON-RPC error object.
    pub(super) fn json(&self) -> String {
        let mut object = json!({"code": self.code, "message": self.message});
        if let (Some(data), Some(members)) = (&self.data, object.as_object_mut()) {
            members.insert("data".to_owned(), data.clone());
        }
        object.to_string()
    }
}

/// The answer to a request that succeeded; `result` is the text of an object.
pub(super) fn result(id: &RawId, result: &str) -> Outbound {
    let parts = [
        r#"{"jsonrpc":"2.0","id":"#,
        id.as_str(),
        r#","result":"#,
        result,
        "}",
    ];
    Outbound::Answer(parts.concat().into(), Receipt::default())
}

/// The answer to a request that failed; `error` is the text of an object.
pub(super) fn error(id: &RawId, error: &str) -> Outbound {
    Outbound::Answer(error_text(Some(id), error), Receipt::default())
}

/// The refusal of a request that needs more than its client declared; `error` is
/// the text of the error object.
pub(super) fn missing_capability(id: &RawId, error: &str) -> Outbound {
    Outbound::Refusal {
        code: MISSING_CAPABILITY,
        text: error_text(Some(id), error),
    }
}

/// Without an id it goes to nobody in particular: MCP leaves the id out where it
/// could not be read (schema of 2026-07-28, `JSONRPCErrorResponse`), and has no
/// `null` as JSON-RPC 2.0 §5 has.
fn error_text(id: Option<&RawId>, error: &str) -> Box<str> {
    match id.map(RawId::as_str) {
        Some(id) => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into(),
        None => format!(r#"{{"jsonrpc":"2.0","error":{error}}}"#).into(),
    }
}

/// A message that wants no answer; `params` is the text of an object.
pub(super) fn notification(method: &str, params: Option<&str>) -> Outbound {
    let method = Value::from(method);
    let text = match params {
        Some(params) => format!(r#"{{"jsonrpc":"2.0","method":{method},"params":{params}}}"#),
        None => format!(r#"{{"jsonrpc":"2.0","method":{method}}}"#),
    };
    Outbound::Notification(text.into())
}

/// A request to the client; `params` is the text of an object.
pub(super) fn request(id: &str, method: &str, params: Option<&str>) -> Outbound {
    let (id, method) = (Value::from(id), Value::from(method));
    let params = params.map(|params| format!(r#","params":{params}"#));
    let params = params.unwrap_or_default();
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method}{params}}}"#);
    Outbound::Request(text.into())
}

/// The answer to a message that a transport did not even read, with what is
/// wrong with it.
pub fn unread(problem: &str) -> Outbound {
    Fault::new(INVALID_REQUEST, problem).refuse(None)
}

/// The message that refuses a request, or one without an id, for a reason that
/// only the transport knows.
pub fn refused(id: Option<&RawId>, code: i32, problem: &str) -> Outbound {
    Fault::new(code, problem).refuse(id)
}

/// How we name ourselves (`Implementation` of the schema).
pub(super) fn server_info() -> Value {
    json!({
        "name": "countersign",
        "title": "Countersign",
        "version": env!("CARGO_PKG_VERSION"),
    })
}
