//! `/api/sessions/{session}/events`: for programs that know of what a session
//! waits for. No MCP is spoken there.

use super::Core;
use super::body::Body;
use super::post;
use super::status;
use crate::broker::event_json;
use crate::broker::percent_decoded;
use crate::events::New;
use crate::json;
use crate::json::Object;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use url::form_urlencoded;

/// How many events are listed where nobody says how many, and at most.
const LISTED: u32 = 50;
const LISTED_AT_MOST: u32 = 200;

/// What an event is sent with.
const MEMBERS: [&str; 3] = ["id", "kind", "body"];

/// The session that a path of ours names: by its id, its handle, or `owner/handle`.
/// None where the path is none of ours.
pub(super) fn named(path: &str) -> Option<String> {
    let coded = path.strip_prefix("/api/sessions/")?;
    percent_decoded(coded.strip_suffix("/events")?).filter(|named| !named.is_empty())
}

/// Takes an event in, or lists what arrived.
pub(super) async fn answer(core: &Core, named: &str, request: Request<Incoming>) -> Response<Body> {
    let principal = match core.caller(request.headers()) {
        Ok(caller) => caller.principal,
        Err(refused) => return *refused,
    };
    match *request.method() {
        Method::POST => take(core, (&principal, named), request).await,
        Method::GET => list(core, (&principal, named), request.uri().query()).await,
        _ => status::not_allowed("GET, POST"),
    }
}

async fn take(
    core: &Core,
    (principal, named): (&PrincipalId, &str),
    request: Request<Incoming>,
) -> Response<Body> {
    let (_head, body) = match post::read(core, request).await {
        Ok(read) => read,
        Err(refused) => return *refused,
    };
    let new = match read(&body) {
        Ok(new) => new,
        Err(refused) => return *refused,
    };
    match core.edge.broker.take_event(principal, named, new).await {
        Ok((session, event)) => {
            let event = event_json(&event);
            status::object(format!(r#"{{"session":"{session}","event":{event}}}"#))
        }
        Err(refusal) => status::event_refused(&refusal),
    }
}

/// An event as it was sent.
fn read(body: &[u8]) -> Result<New, Box<Response<Body>>> {
    let wrong = |message: &str| Box::new(status::unfit(message));
    let unread = |error: json::JsonError| Box::new(status::unfit(&error.to_string()));
    json::check(body).map_err(unread)?;
    let text = std::str::from_utf8(body);
    let text = text.map_err(|_no_text| wrong("the request is no UTF-8"))?;
    let members = Object::parse(text).map_err(unread)?;
    if let Some((other, _)) = members.iter().find(|(name, _)| !MEMBERS.contains(name)) {
        let other = other.escape_debug();
        let known = MEMBERS.join("`, `");
        return Err(wrong(&format!(
            "an event has no `{other}`: it has `{known}`"
        )));
    }
    let word = |name: &str| members.get(name).and_then(json::text).unwrap_or_default();
    let body = members.get("body").unwrap_or("null");
    New::read(&word("id"), &word("kind"), body)
        .map_err(|unfit| Box::new(status::event_unfit(unfit)))
}

async fn list(
    core: &Core,
    (principal, named): (&PrincipalId, &str),
    query: Option<&str>,
) -> Response<Body> {
    let mut asked = (None, LISTED);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match (&*name, value.parse::<u32>()) {
            ("before", Ok(number)) => asked.0 = Some(number),
            ("limit", Ok(number)) if (1..=LISTED_AT_MOST).contains(&number) => asked.1 = number,
            _ => {
                return status::unfit(
                    "there are `limit`, from 1 to 200, and `before`, the number of an event",
                );
            }
        }
    }
    match core.edge.broker.events(principal, named, asked).await {
        Ok((session, events)) => status::object(listed(session, &events)),
        Err(refusal) => status::event_refused(&refusal),
    }
}

fn listed(session: SessionId, events: &[crate::events::Event]) -> String {
    let events: Vec<String> = events.iter().map(event_json).collect();
    let events = events.join(",");
    format!(r#"{{"session":"{session}","events":[{events}]}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_session_of_ones_own_or_of_somebody() {
        for (path, session) in [
            ("/api/sessions/claim-99/events", Some("claim-99")),
            (
                "/api/sessions/alice/claim-99/events",
                Some("alice/claim-99"),
            ),
            ("/api/sessions/alice/events/events", Some("alice/events")),
            (
                "/api/sessions/https:%2F%2Fidp.example%7Cbob/x/events",
                Some("https://idp.example|bob/x"),
            ),
            ("/api/sessions//events", None),
            ("/api/sessions/events", None),
            ("/api/sessions/claim-99", None),
            ("/api/sessions/%/events", None),
            ("/api/sessions/%ff/events", None),
        ] {
            assert_eq!(named(path).as_deref(), session, "{path}");
        }
    }
}
