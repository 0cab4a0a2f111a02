//! What came in `params._meta`: what a request says of itself.

use super::RawId;
use super::object;
use super::params::declared;
use super::params::level;
use super::refuse_lookalikes;
use super::string;
use crate::mcp::Client;
use crate::mcp::MODERN;
use crate::mcp::write::Fault;
use crate::mcp::write::INVALID_PARAMS;
use crate::retries::IdempotencyKey;
use crate::session::Named;
use crate::session::Rule;
use crate::tool::Declared;
use crate::tool::Level;
use std::sync::Arc;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const INFO: &str = "io.modelcontextprotocol/clientInfo";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const SESSION: &str = "dev.countersign/session";
const KEY: &str = "dev.countersign/idempotency-key";

/// The keys of `_meta` that somebody acts on.
const META: [&str; 10] = [
    "progressToken",
    VERSION,
    CAPABILITIES,
    INFO,
    LOG_LEVEL,
    "io.modelcontextprotocol/subscriptionId",
    SESSION,
    KEY,
    "dev.countersign/decision",
    "dev.countersign/replayed",
];

/// What came in `params._meta`.
#[derive(Debug, Default)]
pub struct Meta {
    /// The object as it was sent.
    pub text: Option<Box<str>>,
    /// Whether the request names its own revision, [`MODERN`]. Otherwise it
    /// belongs to what `initialize` agreed on.
    pub modern: bool,
    /// Under which token the client wants to hear of progress.
    pub progress: Option<RawId>,
    /// What a modern client can be asked.
    pub declared: Arc<Declared>,
    /// From which level on a modern client wants to hear what servers log.
    pub log: Option<Level>,
    /// The session that the request names, by `dev.countersign/session` or by what
    /// brought it.
    pub session: Option<Box<Named>>,
    /// What the client calls this call, so that it is sent once.
    pub key: Option<Box<IdempotencyKey>>,
}

impl Meta {
    /// How the client of this request reads its answer.
    pub fn client(&self) -> Client {
        if self.modern {
            Client::Modern
        } else {
            Client::Legacy
        }
    }
}

/// Reads it. Some methods can only be asked by requests that name their revision.
pub(super) fn meta(raw: Option<&str>, modern_only: bool) -> Result<Meta, Fault> {
    let found = object(raw, "params._meta")?;
    let member = |key| found.as_ref().and_then(|found| found.get(key));
    if let Some(found) = &found {
        refuse_lookalikes(found, &META)?;
    }
    let version = string(member(VERSION), VERSION)?;
    if version.is_none()
        && (modern_only
            || [CAPABILITIES, INFO]
                .into_iter()
                .any(|key| member(key).is_some()))
    {
        return Err(missing(VERSION, &format!("\"{MODERN}\"")));
    }
    let mut can = Declared::default();
    if let Some(version) = &version {
        if version != MODERN {
            return Err(Fault::unsupported_version(version));
        }
        let Some(capabilities) = object(member(CAPABILITIES), CAPABILITIES)? else {
            return Err(missing(CAPABILITIES, "{} where the client has none"));
        };
        can = declared(Some(&capabilities));
        object(member(INFO), INFO)?;
    }
    let progress = match member("progressToken") {
        Some(raw) => Some(RawId::read(raw).ok_or_else(|| {
            Fault::new(
                INVALID_PARAMS,
                "`progressToken` must be an integer or a string of at most 256 bytes",
            )
        })?),
        None => None,
    };
    Ok(Meta {
        text: raw.map(Into::into),
        modern: version.is_some(),
        progress,
        declared: Arc::new(can),
        log: level(member(LOG_LEVEL), LOG_LEVEL)?,
        session: string(member(SESSION), SESSION)?
            .map(|text| Box::new(Named::new(Rule::Meta, text))),
        key: string(member(KEY), KEY)?
            .map(|text| IdempotencyKey::read(&text).map(Box::new))
            .transpose()
            .map_err(|error| Fault::new(INVALID_PARAMS, format!("`{KEY}`: {error}")))?,
    })
}

fn missing(key: &str, value: &str) -> Fault {
    Fault::new(
        INVALID_PARAMS,
        format!("`params._meta` needs `{key}`: {value}"),
    )
}
