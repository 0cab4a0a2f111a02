//! The GET of a transport session: the stream of what nobody asked for, and every
//! stream whose connection was lost.

use super::Core;
use super::body::Body;
use super::body::Events;
use super::guard;
use super::post::Asked;
use super::post::NO_EVENTS;
use super::post::Reads;
use super::post::TOO_MANY;
use super::redelivery::Found;
use super::redelivery::Standing;
use super::status;
use super::transports;
use super::transports::Transport;
use crate::broker::Hearing;
use crate::mcp::unread;
use hyper::Request;
use hyper::Response;
use hyper::header::HeaderName;
use std::sync::Arc;

const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Opens the stream of what nobody asked for, or finds one again.
pub(super) async fn stream<B>(core: &Core, asked: Asked, request: &Request<B>) -> Response<Body> {
    let head = request.headers();
    if !Reads::of(head).events {
        return status::not_acceptable(NO_EVENTS);
    }
    let transport = match transports::transport(&core.edge, &asked.principal, head).await {
        Ok(transport) => transport,
        Err(refused) => return *refused,
    };
    let last = match guard::one(head, &LAST_EVENT) {
        Ok(last) => last.filter(|_| transport.redelivery.has_ids()),
        Err(()) => return status::no_event(),
    };
    let right = asked.right(Some(transport.id.clone()));
    let Some(hearing) = core.edge.listens(right) else {
        return status::too_many_streams(unread(TOO_MANY));
    };
    let Some(last) = last else {
        return stand(core, (&transport, hearing), Missed::Nothing);
    };
    match transport.redelivery.find(last.as_bytes()) {
        Found::Stream(reader) => {
            if reader.is_standing() {
                transport.connection.is_heard_by(&hearing);
            }
            status::stream(Events::kept(reader), hearing)
        }
        Found::End => status::no_content(),
        // All it ever says is that something changed. Clients come back to a
        // restarted broker with the last id of this stream, and some give up
        // listening where that is refused.
        Found::Standing => stand(core, (&transport, hearing), Missed::Perhaps),
        Found::Nothing => status::no_event(),
    }
}

/// What a client of a former stream has not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missed {
    Nothing,
    Perhaps,
}

fn stand(
    core: &Core,
    (transport, hearing): (&Transport, Arc<Hearing>),
    missed: Missed,
) -> Response<Body> {
    let (reader, is_new) = match transport.redelivery.stand() {
        None => return status::conflict(),
        Some(Standing::New(reader)) => (reader, true),
        Some(Standing::GoesOn(reader)) => (reader, false),
    };
    transport.connection.is_heard_by(&hearing);
    let stream = reader.stream();
    if missed == Missed::Perhaps {
        for message in transport.connection.all_changed() {
            transport.redelivery.say(stream, message);
        }
    }
    if is_new {
        let work = transport.connection.following();
        let redelivery = Arc::clone(&transport.redelivery);
        core.tasks.spawn(redelivery.follow(stream, work));
    }
    status::stream(Events::kept(reader), hearing)
}
