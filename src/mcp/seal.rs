//! What a client keeps for us between two requests of one call, sealed so that it
//! is of use to nobody else and for nothing else (MCP 2026-07-28,
//! basic/patterns/mrtr, server requirements).

use crate::broker::Left;
use crate::broker::ToolCall;
use crate::json;
use crate::tool::CallId;
use crate::tool::Digest;
use rmcp::model::RequestStateCodec;
use rmcp::model::SealOptions;
use serde::Deserialize;
use serde::Serialize;
use std::str::FromStr;
use std::time::Duration;

/// How long a client may take for its answer.
const LIVES: Duration = Duration::from_secs(24 * 60 * 60);

/// What is sealed. Not secret: the client can read it, and the server's own state
/// is what the server would have shown it anyway.
#[derive(Serialize, Deserialize)]
struct Sealed {
    /// The call that asked.
    call: String,
    left: Kind,
    /// The server's own state, as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Box<str>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    State,
    Open,
    Nothing,
    Confirmation,
}

/// Seals what a call that asked leaves behind. None where that cannot be done,
/// which it always can.
pub(super) fn seal(
    key: &[u8; 32],
    request: &ToolCall,
    (call, left): (CallId, &Left),
) -> Option<String> {
    let (left, state) = match left {
        Left::State(state) => (Kind::State, state.clone()),
        Left::Open => (Kind::Open, None),
        Left::Nothing => (Kind::Nothing, None),
        Left::Confirmation => (Kind::Confirmation, None),
    };
    let sealed = Sealed {
        call: call.to_string(),
        left,
        state,
    };
    let bound = bound(request);
    let options = SealOptions::new()
        .associated_data(bound.as_bytes())
        .ttl(LIVES);
    let codec = RequestStateCodec::try_new(key.as_slice()).ok()?;
    codec.seal_json_with(&sealed, &options).ok()
}

/// What was sealed for exactly this request of exactly this caller, while it is
/// not too old.
pub(super) fn open(key: &[u8; 32], request: &ToolCall, text: &str) -> Option<(CallId, Left)> {
    let codec = RequestStateCodec::try_new(key.as_slice()).ok()?;
    let bound = bound(request);
    let sealed: Sealed = codec.open_json_with(text, bound.as_bytes()).ok()?;
    let left = match sealed.left {
        Kind::State => Left::State(sealed.state),
        Kind::Open => Left::Open,
        Kind::Nothing => Left::Nothing,
        Kind::Confirmation => Left::Confirmation,
    };
    Some((CallId::from_str(&sealed.call).ok()?, left))
}

/// Who asks what in which session, as one value. What the arguments mean counts,
/// not how they are written.
fn bound(request: &ToolCall) -> Digest {
    let arguments = request.arguments.as_deref().unwrap_or("{}");
    let canonical = json::canonical(arguments).unwrap_or_else(|_unchecked| arguments.to_owned());
    Digest::of_parts([
        request.principal.to_string().as_bytes(),
        request.session.as_bytes(),
        request.asking.method().as_bytes(),
        request.name.as_bytes(),
        canonical.as_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Origin;
    use crate::principal::PrincipalId;
    use crate::session::Found;
    use crate::session::Rule;
    use crate::session::SessionId;
    use crate::tool::Asking;
    use std::sync::Arc;

    fn request() -> ToolCall {
        ToolCall {
            principal: PrincipalId::parse("alice").unwrap(),
            session: SessionId::from_bytes([7; 16]),
            found: Found::by(Rule::Default).into(),
            asking: Asking::Tool,
            name: "claims__pay".into(),
            arguments: Some(r#"{"a":1,"b":2}"#.into()),
            rest: Vec::new(),
            continued: None,
            task: None,
            declared: Arc::default(),
            log: None,
            key: None,
            awaited: None,
            meta: None,
            origin: Origin::default(),
        }
    }

    #[test]
    fn what_was_sealed_opens_for_the_same_request_of_the_same_caller_only() {
        let (key, call) = ([5; 32], CallId::next());
        for left in [
            Left::State(Some("{\"own\": \u{e9}}".into())),
            Left::State(None),
            Left::Open,
            Left::Nothing,
            Left::Confirmation,
        ] {
            let sealed = seal(&key, &request(), (call, &left)).unwrap();
            assert_eq!(open(&key, &request(), &sealed), Some((call, left)));
        }
        let sealed = seal(&key, &request(), (call, &Left::Open)).unwrap();
        let mut same = request();
        same.arguments = Some(r#"{ "b":2, "a":1 }"#.into());
        assert!(open(&key, &same, &sealed).is_some());
        let changes: [fn(&mut ToolCall); 5] = [
            |other| other.principal = PrincipalId::parse("bob").unwrap(),
            |other| other.session = SessionId::from_bytes([8; 16]),
            |other| other.asking = Asking::Prompt,
            |other| other.name = "claims__payment".into(),
            |other| other.arguments = Some(r#"{"a":1,"b":3}"#.into()),
        ];
        for change in changes {
            let mut other = request();
            change(&mut other);
            assert_eq!(open(&key, &other, &sealed), None, "{other:?}");
        }
        assert_eq!(open(&[6; 32], &request(), &sealed), None);
        for forged in [sealed.replace("rs1", "rs2"), sealed + "A", String::new()] {
            assert_eq!(open(&key, &request(), &forged), None);
        }
    }
}
