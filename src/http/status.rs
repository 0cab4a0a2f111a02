//! Which HTTP status goes with what. The only place that decides it.

use super::body::Body;
use super::body::Events;
use super::body::Parcel;
use crate::broker::DecisionRefusal;
use crate::broker::EventRefusal;
use crate::broker::Hearing;
use crate::broker::Receipt;
use crate::events::Refused;
use crate::events::Unfit;
use crate::mcp::HEADER_MISMATCH;
use crate::mcp::INTERNAL_ERROR;
use crate::mcp::INVALID_REQUEST;
use crate::mcp::METHOD_NOT_FOUND;
use crate::mcp::Outbound;
use crate::mcp::PARSE_ERROR;
use crate::mcp::refused;
use crate::mcp::unread;
use crate::policy::Denial;
use hyper::Response;
use hyper::StatusCode;
use hyper::header::ALLOW;
use hyper::header::CACHE_CONTROL;
use hyper::header::CONNECTION;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper::header::RETRY_AFTER;
use hyper::header::WWW_AUTHENTICATE;
use serde_json::json as value;
use std::sync::Arc;

/// What is said where the disk has no room.
pub(super) const NO_ROOM: &str = "the disk that holds the store is full; nothing was done: tell the operator, who has to make room";

/// What a client is told whose principal has its share of connections.
const TOO_MANY: &str = "as many connections are open for this caller as may be, three quarters of all (`http.max_connections`); nothing was done: end one, or wait";

/// Which era reads the status. They differ in what it says of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// 2026-07-28.
    Modern,
    /// Before it.
    Legacy,
}

/// One message as the whole answer.
///
/// A modern client reads the status of a refusal: 404 for a method that is not
/// there, 400 for any other request that is not right (MCP 2026-07-28,
/// transports/streamable-http). A legacy client reads the message; only what was
/// no message to it is 400.
pub(super) fn message(era: Era, message: Outbound) -> Response<Body> {
    let status = match &message {
        Outbound::Answer(..) | Outbound::Notification(_) | Outbound::Request(_) => StatusCode::OK,
        Outbound::Refusal { code, .. } => match (era, *code) {
            (_, INTERNAL_ERROR) => StatusCode::OK,
            (Era::Modern, METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
            (Era::Modern, _) => StatusCode::BAD_REQUEST,
            (Era::Legacy, PARSE_ERROR | INVALID_REQUEST | HEADER_MISMATCH) => {
                StatusCode::BAD_REQUEST
            }
            (Era::Legacy, _) => StatusCode::OK,
        },
    };
    json(status, message)
}

/// A message with this status.
pub(super) fn json(status: StatusCode, message: Outbound) -> Response<Body> {
    let (line, receipt) = message.into_line();
    let mut response = Response::new(Body::Whole(Parcel::new(line, receipt)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A stream of messages, which ends where it is not read by right any more.
pub(super) fn stream(events: Events, hearing: Arc<Hearing>) -> Response<Body> {
    let events = events.heard_by(hearing);
    let mut response = Response::new(Body::Events(Box::new(events)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Otherwise nginx holds events back until it has enough of them.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

/// Taken in; nothing is due.
pub(super) fn accepted() -> Response<Body> {
    empty(StatusCode::ACCEPTED)
}

/// Done; there is nothing to say. On the way to a stream: it ended, and there is
/// no use in coming back (HTML living standard, §9.2.3).
pub(super) fn no_content() -> Response<Body> {
    empty(StatusCode::NO_CONTENT)
}

/// A request that is not right, whatever it asks.
pub(super) fn bad(problem: &str) -> Response<Body> {
    json(StatusCode::BAD_REQUEST, unread(problem))
}

/// No usable credential. One answer for all: which part was wrong is nobody's
/// business.
pub(super) fn unauthorized() -> Response<Body> {
    let mut response = json(
        StatusCode::UNAUTHORIZED,
        unread("send a valid key: `Authorization: Bearer csk_…`"),
    );
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// A page or a name that may not call us.
pub(super) fn forbidden(problem: &str) -> Response<Body> {
    json(StatusCode::FORBIDDEN, unread(problem))
}

/// No such transport session for this caller, whether there is one for somebody
/// else or not. The client begins again (MCP 2025-11-25, session management).
pub(super) fn no_transport() -> Response<Body> {
    json(
        StatusCode::NOT_FOUND,
        unread("there is no such `Mcp-Session-Id`: send `initialize` again"),
    )
}

/// No such stream for this caller.
pub(super) fn no_stream() -> Response<Body> {
    json(
        StatusCode::NOT_FOUND,
        unread("there is no such `sessionId`: open `/sse` again"),
    )
}

/// No such event for this client, or not any more. The journal has the outcome of
/// a call whose stream is lost; its result is lost.
pub(super) fn no_event() -> Response<Body> {
    json(
        StatusCode::NOT_FOUND,
        unread(
            "there is no such `Last-Event-ID` (any more), so its stream cannot be resumed; the call went on to its end, and the journal has its outcome: look before you repeat it",
        ),
    )
}

/// No such path.
pub(super) fn not_found() -> Response<Body> {
    json(
        StatusCode::NOT_FOUND,
        unread("there is nothing here: MCP is at `/mcp`"),
    )
}

/// No such path of the interface for programs.
pub(super) fn no_path(message: &str) -> Response<Body> {
    problem(StatusCode::NOT_FOUND, "not_found", message)
}

/// The path has other methods.
pub(super) fn not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = json(
        StatusCode::METHOD_NOT_ALLOWED,
        unread("this method is not served here"),
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The client reads nothing that we could send.
pub(super) fn not_acceptable(problem: &str) -> Response<Body> {
    json(StatusCode::NOT_ACCEPTABLE, unread(problem))
}

/// The body is no JSON.
pub(super) fn unsupported_media() -> Response<Body> {
    json(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        unread("messages are `Content-Type: application/json`, in UTF-8 and not compressed"),
    )
}

/// The body is longer than is read.
pub(super) fn too_large(limit: usize) -> Response<Body> {
    let problem = format!("a message may have at most {limit} bytes: send less at once");
    json(StatusCode::PAYLOAD_TOO_LARGE, unread(&problem))
}

/// The body did not come in time, or not to its end.
pub(super) fn too_slow() -> Response<Body> {
    json(
        StatusCode::REQUEST_TIMEOUT,
        unread("the body of the request did not come to its end in time"),
    )
}

/// The stream is open already.
pub(super) fn conflict() -> Response<Body> {
    json(
        StatusCode::CONFLICT,
        unread("this transport session has its stream open already"),
    )
}

/// This caller has as many streams open as one may have.
pub(super) fn too_many_streams(message: Outbound) -> Response<Body> {
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, message);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// This caller has as many connections as one may have. The connection ends, so that it
/// is there for others.
pub(super) fn too_many_connections() -> Response<Body> {
    let mut response = too_many_streams(unread(TOO_MANY));
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// We are about to end, and begin nothing new.
pub(super) fn ending() -> Response<Body> {
    unavailable("the broker is stopping; nothing was done: try again in a moment")
}

/// The store failed before anything was done.
pub(super) fn unavailable(problem: &str) -> Response<Body> {
    let message = refused(None, INTERNAL_ERROR, problem);
    let mut response = json(StatusCode::SERVICE_UNAVAILABLE, message);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The same, because there is no room for it.
pub(super) fn no_room() -> Response<Body> {
    unavailable(NO_ROOM)
}

/// What is answered by the interface for programs.
pub(super) fn object(object: String) -> Response<Body> {
    json(
        StatusCode::OK,
        Outbound::Answer(object.into(), Receipt::default()),
    )
}

/// Why an event is not taken, or none are shown.
pub(super) fn event_refused(refusal: &EventRefusal) -> Response<Body> {
    let (status, code, message) = match refusal {
        EventRefusal::Unknown => (
            StatusCode::NOT_FOUND,
            "unknown_session",
            "there is no such session: name it by its id, or by owner and handle".to_owned(),
        ),
        EventRefusal::Denied(denial) => (StatusCode::FORBIDDEN, &*denial.code, denied(denial)),
        EventRefusal::Refused(refused) => {
            let (status, code) = match refused {
                Refused::Other => (StatusCode::CONFLICT, "other_event"),
                Refused::Full => (StatusCode::CONFLICT, "too_many_events"),
                Refused::Over => (StatusCode::GONE, "session_over"),
            };
            (status, code, refused.to_string())
        }
        EventRefusal::NoRoom => return no_room(),
        EventRefusal::NotRecorded => {
            return unavailable("the event could not be recorded: send it again in a moment");
        }
    };
    problem(status, code, &message)
}

/// Why a decision was not taken, or nothing is shown.
pub(super) fn decision_refused(refusal: &DecisionRefusal) -> Response<Body> {
    let status = match refusal {
        DecisionRefusal::Unknown => StatusCode::NOT_FOUND,
        DecisionRefusal::Over(_)
        | DecisionRefusal::More(_)
        | DecisionRefusal::Grown(_)
        | DecisionRefusal::Stale(_) => StatusCode::CONFLICT,
        DecisionRefusal::Own | DecisionRefusal::Denied(_) | DecisionRefusal::NotEnough(_) => {
            StatusCode::FORBIDDEN
        }
        DecisionRefusal::Reason => StatusCode::BAD_REQUEST,
        DecisionRefusal::NotRecorded => return unavailable(&refusal.to_string()),
    };
    problem(status, refusal.code(), &refusal.to_string())
}

/// An event that cannot be read.
pub(super) fn event_unfit(unfit: Unfit) -> Response<Body> {
    let status = match unfit {
        Unfit::Body => StatusCode::PAYLOAD_TOO_LARGE,
        Unfit::Id | Unfit::Kind | Unfit::NoJson => StatusCode::BAD_REQUEST,
    };
    problem(status, "unfit_event", &unfit.to_string())
}

/// A request to the interface for programs that is not right.
pub(super) fn unfit(message: &str) -> Response<Body> {
    problem(StatusCode::BAD_REQUEST, "bad_request", message)
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let error = value!({"error": {"code": code, "message": message}});
    json(
        status,
        Outbound::Answer(error.to_string().into(), Receipt::default()),
    )
}

/// The operator's messages, or that nothing permits it.
fn denied(denial: &Denial) -> String {
    let messages = denial.reasons.iter();
    let messages: Vec<&str> = messages
        .filter_map(|reason| reason.message.as_deref())
        .collect();
    match messages.is_empty() {
        true => "policy does not let you send this to the session: the operator permits it by `session/event`".to_owned(),
        false => messages.join(" "),
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Parcel::default()));
    *response.status_mut() = status;
    response
}
