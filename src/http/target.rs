//! What a request is for: the endpoint, and the session that the URL or a header
//! names.

use super::body::Body;
use super::guard;
use super::status;
use crate::broker::percent_decoded;
use crate::session::Named;
use crate::session::Rule;
use hyper::HeaderMap;
use hyper::Response;
use hyper::header::HeaderName;

/// The header that names a session by handle or id.
const SESSION: HeaderName = HeaderName::from_static("countersign-session");

/// One of our endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Streamable HTTP.
    Mcp,
    /// Where the older pair opens its stream.
    Sse,
    /// Where the older pair takes messages.
    Messages,
}

/// The endpoint of a path, `/mcp` or `/s/{session}/mcp`, where the session is named by
/// its handle or id, or as `owner/handle`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    session: Option<String>,
}

impl Target {
    /// None where the path is no endpoint.
    pub(super) fn of(path: &str) -> Option<Self> {
        let (session, rest) = match path.strip_prefix("/s/") {
            Some(rest) => {
                let end = rest.strip_suffix('/').unwrap_or(rest).rfind('/')?;
                let (session, rest) = rest.split_at(end);
                (Some(named(session)?), rest)
            }
            None => (None, path),
        };
        let endpoint = match rest {
            "/mcp" | "/mcp/" => Endpoint::Mcp,
            "/sse" => Endpoint::Sse,
            "/messages" => Endpoint::Messages,
            _ => return None,
        };
        Some(Self { endpoint, session })
    }

    /// The session that URL and header name. Where both do, they must agree.
    pub(super) fn session(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Named>, Box<Response<Body>>> {
        let two = || {
            let problem = "the request names two sessions: give one, or the same one in the URL and in `Countersign-Session`";
            Box::new(status::bad(problem))
        };
        let header = guard::one(headers, &SESSION).map_err(|()| two())?;
        let header = header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        match (&self.session, header) {
            (Some(path), Some(header)) if *path != header => Err(two()),
            (Some(path), Some(_)) => Ok(Some(Named {
                text: path.as_str().into(),
                by: vec![Rule::Path, Rule::Header],
            })),
            (Some(path), None) => Ok(Some(Named::new(Rule::Path, path.as_str()))),
            (None, header) => Ok(header.map(|header| Named::new(Rule::Header, header))),
        }
    }
}

/// The session that these parts of a path name: one, or its owner and its handle. Parts
/// that lead back are none, because whoever stands before us may have followed them.
fn named(parts: &str) -> Option<String> {
    let Some((owner, handle)) = parts.split_once('/') else {
        return percent_decoded(parts);
    };
    let part = |coded: &str| {
        let text = percent_decoded(coded).filter(|_| !coded.contains('/'))?;
        (!["", ".", ".."].contains(&text.as_str())).then_some(text)
    };
    Some(format!("{}/{}", part(owner)?, part(handle)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_an_endpoint_and_perhaps_a_session() {
        let of = |path| Target::of(path).map(|target| (target.endpoint, target.session));
        assert_eq!(of("/mcp"), Some((Endpoint::Mcp, None)));
        let named = Some("claim-99".to_owned());
        assert_eq!(of("/s/claim-99/mcp"), Some((Endpoint::Mcp, named.clone())));
        assert_eq!(of("/s/claim-99/sse"), Some((Endpoint::Sse, named)));
        for (path, session) in [
            ("/s/alice/claim-99/mcp", "alice/claim-99"),
            ("/s/alice%2Fclaim-99/mcp", "alice/claim-99"),
            ("/s/alice/mcp/mcp/", "alice/mcp"),
            (
                "/s/https:%2F%2Fidp.example%7Cbob/x/mcp",
                "https://idp.example|bob/x",
            ),
            ("/s//mcp", ""),
        ] {
            let due = Some((Endpoint::Mcp, Some(session.to_owned())));
            assert_eq!(of(path), due, "{path}");
        }
        for path in [
            "/",
            "/s/claim-99",
            "/s/claim-99/x",
            "/mcp/x",
            "/s//",
            "/s/mcp",
            "/s/a/b/c/mcp",
            "/s/a//mcp",
            "/s//a/mcp",
            "/s/a/../mcp",
            "/s/a/%2e./mcp",
            "/s/%/mcp",
            "/s/%ff/mcp",
            "/s/%+1/mcp",
            "/health",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
