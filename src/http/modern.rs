//! Requests of 2026-07-28: each by itself, with headers that repeat what its body
//! says.

use super::Core;
use super::body::Body;
use super::post::Asked;
use super::post::TOO_MANY;
use super::post::VERSION;
use super::post::Waiting;
use super::status;
use super::status::Era;
use crate::mcp;
use crate::mcp::Connection;
use crate::mcp::HEADER_MISMATCH;
use crate::mcp::INTERNAL_ERROR;
use crate::mcp::INVALID_PARAMS;
use crate::mcp::MODERN;
use crate::mcp::Message;
use crate::mcp::Opening;
use crate::mcp::Outbound;
use crate::mcp::ParseError;
use crate::mcp::Received;
use crate::mcp::Request;
use crate::mcp::refused;
use crate::tool::Asking;
use crate::tool::Mirrored;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::Response;
use hyper::header::HeaderName;
use std::borrow::Cow;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Answers one message.
pub(super) async fn answer(
    core: &Core,
    asked: Asked,
    head: HeaderMap,
    message: Result<Message, ParseError>,
) -> Response<Body> {
    match &message {
        Ok(Message::Request(request)) => {
            // INVARIANT: nothing is done about a request whose headers were not
            // compared: something before us may have let it pass by them.
            if let Err(mismatch) = compare(core, &asked, request, &head) {
                return status::message(Era::Modern, mismatch);
            }
        }
        // A request is taken back by closing its connection, and nothing else
        // that wants no answer means anything here.
        Ok(Message::Notification(_) | Message::Response(_)) => return status::accepted(),
        // Which revision is right is asked only where both say the same.
        Err(error) if error.revision().is_some_and(|named| !says(&head, named)) => {
            let problem = format!("the header `{VERSION}` says something else than the body");
            let mismatch = refused(error.id(), HEADER_MISMATCH, &problem);
            return status::message(Era::Modern, mismatch);
        }
        Err(_) => {}
    }
    drop(head);
    let right = asked.right(None);
    let listens = match &message {
        Ok(Message::Request(request)) if matches!(request.body, mcp::Body::Listen(_)) => {
            let Some(listens) = core.edge.listens(right.clone()) else {
                let refused = refused(Some(&request.id), INTERNAL_ERROR, TOO_MANY);
                return status::too_many_streams(refused);
            };
            Some(listens)
        }
        Ok(_) | Err(_) => None,
    };
    let gone = CancellationToken::new();
    let opening = Opening {
        closing: core.edge.ending.clone(),
        gone: gone.clone(),
        ..Opening::of(asked.principal)
    };
    let connection = Connection::new(Arc::clone(&core.edge.broker), opening);
    connection.comes_by(asked.credential);
    if let Some(listens) = &listens {
        connection.is_heard_by(listens);
    }
    match connection.take(message) {
        Received::Nothing => status::accepted(),
        Received::Answer(answer) => status::message(Era::Modern, answer),
        Received::Work(work) => {
            let gone = gone.drop_guard();
            let hears = || listens.unwrap_or_else(|| core.edge.broker.hears(right));
            let waiting = Waiting::on(work);
            waiting.answer(Era::Modern, Some(gone), hears).await
        }
    }
}

/// Whether the request's header names this revision.
fn says(head: &HeaderMap, revision: &str) -> bool {
    head.get(VERSION)
        .is_some_and(|value| value.as_bytes().trim_ascii() == revision.as_bytes())
}

/// Compares the headers with the body (MCP 2026-07-28,
/// transports/streamable-http, server validation): each must be there once and
/// say the same.
fn compare(
    core: &Core,
    asked: &Asked,
    request: &Request,
    head: &HeaderMap,
) -> Result<(), Outbound> {
    let mismatch = |problem: &str| refused(Some(&request.id), HEADER_MISMATCH, problem);
    if !request.meta.modern {
        // The header alone makes no modern request, and no older one either.
        let problem =
            "`params._meta` needs `io.modelcontextprotocol/protocolVersion`: \"2026-07-28\"";
        return Err(refused(Some(&request.id), INVALID_PARAMS, problem));
    }
    let agrees = |name: &HeaderName, body: &str| {
        let value = match super::guard::one(head, name) {
            Ok(Some(value)) => value,
            Ok(None) => return Err(mismatch(&format!("the header `{name}` is missing"))),
            Err(()) => return Err(mismatch(&format!("the header `{name}` is there twice"))),
        };
        let said = value.to_str().ok().and_then(decoded);
        match said.as_deref() == Some(body) {
            true => Ok(()),
            false => Err(mismatch(&format!(
                "the header `{name}` says something else than the body"
            ))),
        }
    };
    agrees(&VERSION, MODERN)?;
    agrees(&METHOD, request.body.method())?;
    match &request.body {
        mcp::Body::Ask(ask) => {
            if ask.asking == Asking::Complete {
                return Ok(());
            }
            let (name, arguments) = (&ask.name, &ask.arguments);
            agrees(&NAME, name)?;
            if ask.asking != Asking::Tool {
                return Ok(());
            }
            let mirrored = core.edge.broker.mirrored(&asked.principal, name);
            compare_arguments(&mirrored, arguments.as_deref(), head)
                .map_err(|problem| mismatch(&problem))
        }
        mcp::Body::Initialize { .. }
        | mcp::Body::Ping
        | mcp::Body::Discover
        | mcp::Body::List(_)
        | mcp::Body::SetLevel { .. }
        | mcp::Body::Subscribe(_)
        | mcp::Body::Unsubscribe(_)
        | mcp::Body::Tasks(_)
        | mcp::Body::Listen(_)
        | mcp::Body::Unknown { .. } => Ok(()),
    }
}

/// Compares the headers that repeat an argument (ibid., server behavior for
/// custom headers). Others of that kind mean nothing here.
fn compare_arguments(
    mirrored: &[Mirrored],
    arguments: Option<&str>,
    head: &HeaderMap,
) -> Result<(), String> {
    if mirrored.is_empty() {
        return Ok(());
    }
    let arguments = serde_json::from_str(arguments.unwrap_or("{}")).unwrap_or_default();
    for mirrored in mirrored {
        let name = &mirrored.header;
        let mut said = head.get_all(name).iter();
        let (first, second) = (said.next(), said.next());
        let agrees = match (first, second, mirrored.value(&arguments)) {
            (None, None, None) => true,
            (Some(said), None, Some(body)) => {
                let said = said.to_str().ok().and_then(decoded);
                said.is_some_and(|said| mirrored.agrees(&said, &body))
            }
            _ => false,
        };
        if !agrees {
            return Err(format!(
                "the header `{name}` must say what the argument does, once, and be left out where the argument is"
            ));
        }
    }
    Ok(())
}

/// The value of a header: as it stands, or from its Base64 form `=?base64?…?=`
/// (ibid., value encoding).
fn decoded(value: &str) -> Option<Cow<'_, str>> {
    let value = value.trim_matches([' ', '\t']);
    let encoded = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    match encoded {
        None => Some(Cow::Borrowed(value)),
        Some(encoded) => {
            let bytes = STANDARD.decode(encoded).ok()?;
            String::from_utf8(bytes).ok().map(Cow::Owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_repeats_an_argument_says_what_it_does_once_or_is_not_there() {
        let schema = serde_json::json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "floor": {"type": "integer", "x-mcp-header": "Floor"},
        }});
        let mirrored = Mirrored::of(&schema).unwrap();
        let agrees = |arguments: Option<&str>, headers: &[(&'static str, &'static str)]| {
            let mut head = HeaderMap::new();
            for (name, value) in headers {
                head.append(*name, value.parse().unwrap());
            }
            compare_arguments(&mirrored, arguments, &head).is_ok()
        };
        let both = Some(r#"{"region":"é","floor":3}"#);
        let region = ("mcp-param-region", "=?base64?w6k=?=");
        let floor = ("mcp-param-floor", "3.0");
        assert!(agrees(both, &[region, floor, ("mcp-param-other", "x")]));
        assert!(agrees(Some(r#"{"region":null}"#), &[]));
        assert!(agrees(None, &[]));
        for wrong in [
            [region].as_slice(),
            &[floor],
            &[region, region, floor],
            &[("mcp-param-region", "e"), floor],
            &[("mcp-param-region", "=?base64?/w==?="), floor],
            &[region, ("mcp-param-floor", "4")],
        ] {
            assert!(!agrees(both, wrong), "{wrong:?}");
        }
        assert!(!agrees(None, &[region]));
    }

    #[test]
    fn a_value_is_read_as_it_stands_or_from_base64() {
        assert_eq!(decoded(" pay ").as_deref(), Some("pay"));
        assert_eq!(decoded("=?base64?w6k=?=").as_deref(), Some("é"));
        assert_eq!(decoded("=?base64?*?="), None);
        assert_eq!(decoded("=?base64?/w==?="), None);
    }
}
