//! Servers that are reached by HTTP: where they are, and how we speak to them.
//!
//! ```text
//! link ── exchange ── pool         Streamable HTTP of both eras
//!            └─────── events       answers that come as a stream
//! pair ── pool, events             HTTP+SSE of 2024-11-05, as a pipe for `Link`
//! ```

mod events;
mod exchange;
mod link;
mod pair;
mod pool;
mod telling;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "fuzzing"))]
pub(super) use events::events_of;
pub(super) use link::HttpLink;
pub(super) use pair::pair;
pub(super) use telling::tell;

use hyper::HeaderMap;
use hyper::Uri;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use url::Url;

/// The headers that are ours to write.
const OURS: [&str; 12] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
];

/// A server that is reached by HTTP. Not `Debug`: its headers hold secrets.
#[derive(Clone)]
pub struct Remote {
    url: Url,
    uri: Uri,
    headers: HeaderMap,
    transport: Transport,
    spelled: Arc<str>,
    company: Company,
}

/// Whether a server is one of several that answer alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    /// It is the only one.
    Alone,
    /// Where it does not serve, another does.
    AmongOthers,
}

/// Which of the two transports over HTTP a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// To be found out: Streamable HTTP, and where it is not there the older
    /// pair (MCP 2026-07-28, transports/streamable-http, backward
    /// compatibility).
    Either,
    /// Streamable HTTP.
    Streamable,
    /// The HTTP+SSE pair of 2024-11-05.
    Sse,
}

/// Why there is no such server. Header values are never repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The URL is none that can be called.
    #[error("`{url}` is no URL of a server: write one like `https://mcp.example/mcp`")]
    Url {
        /// What was written, without what follows a `?`.
        url: String,
    },
    /// The URL holds a name or a password.
    #[error(
        "a URL with a name or a password in it is not used: write a header instead, `headers = {{ Authorization = \"…\" }}`"
    )]
    Credentials,
    /// The name of a header is none.
    #[error("`{name}` cannot be the name of a header")]
    Name {
        /// What was written.
        name: String,
    },
    /// The header is ours to write.
    #[error("the header `{name}` is written by Countersign: leave it out")]
    Ours {
        /// Which.
        name: String,
    },
    /// The value of a header has characters that no header may have.
    #[error(
        "the value of the header `{name}` has characters that no header may have, perhaps a line break at its end"
    )]
    Value {
        /// Of which header.
        name: String,
    },
}

impl Remote {
    /// A server at this URL. The headers go with every request.
    ///
    /// # Errors
    ///
    /// When the URL or a header cannot be used.
    pub fn new(
        url: &str,
        headers: &BTreeMap<String, String>,
        transport: Transport,
    ) -> Result<Self, RemoteError> {
        let unusable = || RemoteError::Url {
            url: url.split('?').next().unwrap_or_default().to_owned(),
        };
        let url = Url::parse(url).map_err(|_no_url| unusable())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(unusable());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RemoteError::Credentials);
        }
        let uri = uri_of(&url).ok_or_else(unusable)?;
        Ok(Self {
            spelled: url.as_str().into(),
            company: Company::Alone,
            url,
            uri,
            headers: headers_of(headers)?,
            transport,
        })
    }

    /// The same, known by what the operator wrote for its URL, which may stand for
    /// something secret and holds none.
    #[must_use]
    pub fn spelled_as(mut self, spelled: &str) -> Self {
        self.spelled = spelled.into();
        self
    }

    /// What the operator wrote for its URL.
    pub(super) fn spelled(&self) -> Arc<str> {
        Arc::clone(&self.spelled)
    }

    /// Where it is, to tell whether two are at one place.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The same as one of several.
    pub(super) fn among_others(mut self) -> Self {
        self.company = Company::AmongOthers;
        self
    }

    /// Which transport it has, as far as the operator says.
    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// The URL as it may be shown: what follows a `?` may be a secret.
    fn shown(&self) -> String {
        let mut shown = self.url.clone();
        shown.set_query(None);
        shown.to_string()
    }
}

/// A URL as the client of HTTP takes it; the fragment is not sent.
fn uri_of(url: &Url) -> Option<Uri> {
    let mut plain = url.clone();
    plain.set_fragment(None);
    plain.as_str().parse().ok()
}

fn headers_of(given: &BTreeMap<String, String>) -> Result<HeaderMap, RemoteError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let ours = || RemoteError::Ours { name: name.clone() };
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_no_name| RemoteError::Name { name: name.clone() })?;
        if OURS.contains(&parsed.as_str()) || parsed.as_str().starts_with("mcp-param-") {
            return Err(ours());
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_no_value| RemoteError::Value { name: name.clone() })?;
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    Ok(headers)
}
