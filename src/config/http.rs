//! The section `[http]` of `countersign.toml`.

use crate::http::Settings;
use crate::principal::PrincipalId;
use jiff::SignedDuration;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpSection {
    listen: String,
    anonymous: Option<String>,
    hosts: BTreeSet<String>,
    origins: BTreeSet<String>,
    threads: Option<NonZeroUsize>,
    max_body: usize,
    max_connections: usize,
    head_timeout: SignedDuration,
    body_timeout: SignedDuration,
    write_timeout: SignedDuration,
    legacy_sse: bool,
    drain: SignedDuration,
}

impl Default for HttpSection {
    fn default() -> Self {
        let time = |time: Duration| SignedDuration::try_from(time).unwrap_or_default();
        Self {
            listen: Settings::LISTEN.to_owned(),
            anonymous: None,
            hosts: BTreeSet::new(),
            origins: BTreeSet::new(),
            threads: None,
            max_body: Settings::MAX_BODY,
            max_connections: Settings::MAX_CONNECTIONS,
            head_timeout: time(Settings::HEAD_TIMEOUT),
            body_timeout: time(Settings::BODY_TIMEOUT),
            write_timeout: time(Settings::WRITE_TIMEOUT),
            legacy_sse: true,
            drain: time(Settings::DRAIN),
        }
    }
}

impl HttpSection {
    /// Reads the values, or says which key is wrong and what would be right.
    pub(super) fn settings(&self) -> Result<Settings, (&'static str, String)> {
        let listen: SocketAddr = self.listen.parse().map_err(|_no_address| {
            let given = &self.listen;
            let problem = format!(
                "`{given}` is no address: write one like `{}`",
                Settings::LISTEN
            );
            ("http.listen", problem)
        })?;
        let anonymous = self.anonymous.as_deref().map(PrincipalId::parse);
        let anonymous = anonymous
            .transpose()
            .map_err(|error| ("http.anonymous", error.to_string()))?;
        for (key, size) in [
            ("http.max_body", self.max_body),
            ("http.max_connections", self.max_connections),
        ] {
            if size == 0 {
                return Err((key, "write a number above zero".to_owned()));
            }
        }
        let time = |key, time: SignedDuration| match time.is_positive() {
            true => Ok(Duration::try_from(time).unwrap_or_default()),
            false => Err((key, "write a time above zero, like `30s`".to_owned())),
        };
        Ok(Settings {
            listen,
            anonymous,
            hosts: self.hosts.iter().map(|host| host.to_lowercase()).collect(),
            origins: self.origins()?,
            threads: self.threads.unwrap_or_else(cores),
            max_body: self.max_body,
            max_connections: self.max_connections,
            head_timeout: time("http.head_timeout", self.head_timeout)?,
            body_timeout: time("http.body_timeout", self.body_timeout)?,
            write_timeout: time("http.write_timeout", self.write_timeout)?,
            legacy_sse: self.legacy_sse,
            drain: time("http.drain", self.drain)?,
        })
    }

    /// As a browser writes them: scheme, host and port, in lower case.
    fn origins(&self) -> Result<BTreeSet<String>, (&'static str, String)> {
        let read = |given: &String| {
            let url = url::Url::parse(given).ok()?;
            let plain = url.path() == "/" && url.query().is_none() && url.has_host();
            plain.then(|| url.origin().ascii_serialization())
        };
        self.origins
            .iter()
            .map(|given| {
                read(given).ok_or_else(|| {
                    let problem =
                        format!("`{given}` is no origin: write one like `https://app.example`");
                    ("http.origins", problem)
                })
            })
            .collect()
    }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
