//! Who may speak to us through a browser. A page of some other site can make a
//! browser send requests to this machine; it cannot choose the `Host` and the
//! `Origin` that the browser writes. Each of the two is checked by itself.

use super::Edge;
use super::body::Body;
use super::status;
use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::ACCESS_CONTROL_ALLOW_HEADERS;
use hyper::header::ACCESS_CONTROL_ALLOW_METHODS;
use hyper::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use hyper::header::ACCESS_CONTROL_EXPOSE_HEADERS;
use hyper::header::ACCESS_CONTROL_MAX_AGE;
use hyper::header::ACCESS_CONTROL_REQUEST_METHOD;
use hyper::header::HOST;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper::header::ORIGIN;
use hyper::header::VARY;
use std::net::IpAddr;
use std::net::Ipv6Addr;

/// The headers that MCP clients send.
const SENT: &str = "authorization, content-type, accept, mcp-session-id, mcp-protocol-version, \
    mcp-method, mcp-name, last-event-id, countersign-session";
/// The headers of ours that a page must be able to read.
const READ: &str = "mcp-session-id, www-authenticate, retry-after";

/// Lets a request in, with its origin where a page sent it. (The refusal is
/// boxed because it is rare and large.)
pub(super) fn admits<B>(
    edge: &Edge,
    request: &Request<B>,
) -> Result<Option<HeaderValue>, Box<Response<Body>>> {
    let Some(host) = host_of(request) else {
        return Err(Box::new(status::bad("the request needs one `Host`")));
    };
    if !edge.is_called(host) {
        return Err(Box::new(status::forbidden(
            "this `Host` is none of ours: add it to `http.hosts`, or use the address itself",
        )));
    }
    let Some(origin) = one(request.headers(), &ORIGIN).map_err(|()| two_origins())? else {
        return Ok(None);
    };
    match edge.welcomes(origin, host) {
        true => Ok(Some(origin.clone())),
        false => Err(Box::new(status::forbidden(
            "pages of this `Origin` may not call: add it to `http.origins`",
        ))),
    }
}

fn two_origins() -> Box<Response<Body>> {
    Box::new(status::bad("the request has more than one `Origin`"))
}

/// The one value of a header, or none.
pub(super) fn one<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(()),
    }
}

/// The authority that the client believes to speak to. Where the request line has
/// one too, both are the same or the request is not right (RFC 9112 §3.2).
fn host_of<B>(request: &Request<B>) -> Option<&str> {
    let header = one(request.headers(), &HOST).ok()?;
    let header = header.and_then(|host| host.to_str().ok());
    match (request.uri().authority(), header) {
        (None, header) => header,
        (Some(line), None) => Some(line.as_str()),
        (Some(line), Some(header)) => (line.as_str() == header).then_some(header),
    }
}

/// A host without its port (RFC 3986 §3.2). None where it is no host.
fn name_of(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(v6) => {
            let (name, rest) = v6.split_once(']')?;
            (name.parse::<Ipv6Addr>().is_ok().then_some(name)?, rest)
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    let fits = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    fits.then_some(name)
}

impl Edge {
    fn is_called(&self, host: &str) -> bool {
        if host == self.called {
            return true;
        }
        let Some(name) = name_of(host).map(str::to_ascii_lowercase) else {
            return false;
        };
        if self.settings.hosts.contains(&name) {
            return true;
        }
        let address = name.parse::<IpAddr>();
        if self.address.ip().is_loopback() {
            return name == "localhost" || address.is_ok_and(|address| address.is_loopback());
        }
        // An address cannot be bound to another machine; a name can.
        address.is_ok()
    }

    fn welcomes(&self, origin: &HeaderValue, host: &str) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let ours = origin.strip_prefix("http://");
        ours.is_some_and(|ours| ours.eq_ignore_ascii_case(host))
            || self.settings.origins.contains(origin)
    }
}

/// Whether a browser asks what a page may do.
pub(super) fn is_preflight(request: &Request<Incoming>) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a page may do.
pub(super) fn preflight(origin: Option<HeaderValue>) -> Response<Body> {
    let mut response = status::no_content();
    if origin.is_some() {
        let headers = response.headers_mut();
        let methods = HeaderValue::from_static("GET, POST, DELETE");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(SENT));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    shared_with(origin, response)
}

/// Lets the page of this origin read an answer.
pub(super) fn shared_with(
    origin: Option<HeaderValue>,
    mut response: Response<Body>,
) -> Response<Body> {
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(READ),
        );
        headers.insert(VARY, HeaderValue::from_static("origin"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_without_its_port() {
        for (host, name) in [
            ("localhost:7420", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]:7420", "::1"),
            ("[::1]", "::1"),
            ("evil.example:7420", "evil.example"),
        ] {
            assert_eq!(name_of(host), Some(name));
        }
        for other in [
            "[::1].evil.example",
            "[::1",
            "[evil.example]",
            "::1",
            "127.0.0.1:80:80",
            "localhost:evil",
        ] {
            assert_eq!(name_of(other), None, "{other}");
        }
    }
}
