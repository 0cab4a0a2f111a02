//! What each method asks for, read from its parameters.

use super::MAX_NAME;
use super::RawId;
use super::object;
use super::refuse_lookalikes;
use super::string;
use crate::json::Object;
use crate::mcp::Client;
use crate::mcp::MODERN;
use crate::mcp::write::Fault;
use crate::mcp::write::INVALID_PARAMS;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const INFO: &str = "io.modelcontextprotocol/clientInfo";
const SESSION: &str = "dev.countersign/session";

/// The keys of `_meta` that somebody acts on.
const META: [&str; 8] = [
    "progressToken",
    VERSION,
    CAPABILITIES,
    INFO,
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/subscriptionId",
    SESSION,
    "dev.countersign/decision",
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
    /// The session that `dev.countersign/session` names.
    pub session: Option<String>,
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

/// What a request asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// Legacy: open the connection.
    Initialize {
        /// The revision that the client would like.
        requested: String,
    },
    /// Legacy: is anybody there?
    Ping,
    /// Modern: what is served?
    Discover,
    /// The tools that the caller may see.
    ListTools,
    /// Call a tool.
    CallTool {
        /// Its exposed name, 1 to 256 bytes.
        name: Box<str>,
        /// The text of an object.
        arguments: Option<Box<str>>,
    },
    /// Modern: tell me of changes until I cancel this.
    Listen {
        /// Of changes to the list of tools.
        tools: bool,
    },
    /// A method that is not served in the era of the request.
    Unknown {
        /// Its name, as long as it came.
        method: Box<str>,
    },
}

impl Body {
    /// The method, as JSON-RPC names it.
    pub fn method(&self) -> &str {
        match self {
            Self::Initialize { .. } => "initialize",
            Self::Ping => "ping",
            Self::Discover => "server/discover",
            Self::ListTools => "tools/list",
            Self::CallTool { .. } => "tools/call",
            Self::Listen { .. } => "subscriptions/listen",
            Self::Unknown { method } => method,
        }
    }
}

/// Reads the parameters of a request.
pub(super) fn read(method: &str, params: Option<&Object<'_>>) -> Result<(Meta, Body), Fault> {
    if let Some(params) = params {
        refuse_lookalikes(params, known(method))?;
    }
    let member = |key| params.and_then(|params| params.get(key));
    let modern_only = matches!(method, "server/discover" | "subscriptions/listen");
    let meta = meta(member("_meta"), modern_only)?;
    let body = match (method, meta.modern) {
        ("tools/call", _) => call(&member)?,
        ("tools/list", _) => list(&member)?,
        ("server/discover", true) => Body::Discover,
        ("subscriptions/listen", true) => listen(member("notifications"))?,
        ("initialize", false) => initialize(&member)?,
        ("ping", false) => Body::Ping,
        _ => Body::Unknown {
            method: method.into(),
        },
    };
    Ok((meta, body))
}

/// The members of `params` that somebody acts on.
fn known(method: &str) -> &'static [&'static str] {
    match method {
        "tools/call" => &[
            "_meta",
            "name",
            "arguments",
            "inputResponses",
            "requestState",
            "task",
        ],
        "tools/list" => &["_meta", "cursor"],
        "initialize" => &["_meta", "protocolVersion", "capabilities", "clientInfo"],
        "subscriptions/listen" => &["_meta", "notifications"],
        _ => &["_meta"],
    }
}

fn meta(raw: Option<&str>, modern_only: bool) -> Result<Meta, Fault> {
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
    if let Some(version) = &version {
        if version != MODERN {
            return Err(Fault::unsupported_version(version));
        }
        if object(member(CAPABILITIES), CAPABILITIES)?.is_none() {
            return Err(missing(CAPABILITIES, "{} where the client has none"));
        }
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
        session: string(member(SESSION), SESSION)?.map(Into::into),
    })
}

fn missing(key: &str, value: &str) -> Fault {
    Fault::new(
        INVALID_PARAMS,
        format!("`params._meta` needs `{key}`: {value}"),
    )
}

fn call<'a>(member: &impl Fn(&'static str) -> Option<&'a str>) -> Result<Body, Fault> {
    let name = string(member("name"), "name")?.unwrap_or_default();
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Fault::new(
            INVALID_PARAMS,
            "`name` must be the name of a tool, 1 to 256 bytes",
        ));
    }
    object(member("arguments"), "arguments")?;
    for key in ["inputResponses", "requestState"] {
        // Passing over them would repeat the call from its start, effects
        // included, where the client meant to continue it.
        if member(key).is_some() {
            return Err(Fault::new(
                INVALID_PARAMS,
                format!("calls that continue with `{key}` are not served: leave it out"),
            ));
        }
    }
    Ok(Body::CallTool {
        name: name.into(),
        arguments: member("arguments").map(Into::into),
    })
}

fn list<'a>(member: &impl Fn(&'static str) -> Option<&'a str>) -> Result<Body, Fault> {
    if member("cursor").is_some() {
        return Err(Fault::new(
            INVALID_PARAMS,
            "`cursor` is not known: the list has one page, leave it out",
        ));
    }
    Ok(Body::ListTools)
}

fn initialize<'a>(member: &impl Fn(&'static str) -> Option<&'a str>) -> Result<Body, Fault> {
    for key in ["capabilities", "clientInfo"] {
        object(member(key), key)?;
    }
    let requested = string(member("protocolVersion"), "protocolVersion")?;
    let Some(requested) = requested else {
        return Err(Fault::new(
            INVALID_PARAMS,
            "`params` needs `protocolVersion`, the newest revision that the client knows",
        ));
    };
    Ok(Body::Initialize {
        requested: requested.into(),
    })
}

fn listen(raw: Option<&str>) -> Result<Body, Fault> {
    let Some(filter) = object(raw, "notifications")? else {
        return Err(Fault::new(
            INVALID_PARAMS,
            "`params` needs `notifications`, an object like {\"toolsListChanged\":true}",
        ));
    };
    refuse_lookalikes(
        &filter,
        &[
            "toolsListChanged",
            "promptsListChanged",
            "resourcesListChanged",
            "resourceSubscriptions",
        ],
    )?;
    let tools = match filter.get("toolsListChanged").map(serde_json::from_str) {
        None => false,
        Some(Ok(wanted)) => wanted,
        Some(Err(_)) => {
            return Err(Fault::new(
                INVALID_PARAMS,
                "`toolsListChanged` must be true or false",
            ));
        }
    };
    Ok(Body::Listen { tools })
}
