//! What each method asks for, read from its parameters.

use super::MAX_NAME;
use super::listening::Wanted;
use super::listening::listen;
use super::meta::Meta;
use super::meta::meta;
use super::object;
use super::refuse_lookalikes;
use super::string;
use crate::broker::Lists;
use crate::json::Object;
use crate::mcp::MODERN;
use crate::mcp::shown;
use crate::mcp::write::Fault;
use crate::mcp::write::INVALID_PARAMS;
use crate::tool::Asking;
use crate::tool::Declared;
use crate::tool::Level;
use crate::tool::TaskAsk;

/// The longest URI, in bytes.
pub(super) const MAX_URI: usize = 8 << 10;

const RESPONSES: &str = "inputResponses";
const STATE: &str = "requestState";

/// What a request asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// Legacy: open the connection.
    Initialize {
        /// The revision that the client would like.
        requested: String,
        /// What it can be asked.
        declared: Declared,
    },
    /// Legacy: is anybody there?
    Ping,
    /// Modern: what is served?
    Discover,
    /// A list of what the caller may see.
    List(Lists),
    /// Something that a server is asked.
    Ask(Box<Ask>),
    /// Legacy: what is to be told of what servers log.
    SetLevel {
        /// From which level on.
        level: Level,
    },
    /// Legacy: tell me of changes of a resource.
    Subscribe(Ask),
    /// Legacy: tell me of them no longer; by its URI.
    Unsubscribe(Box<str>),
    /// Legacy: which tasks are there? After the page that ended with this one.
    Tasks(Option<Box<str>>),
    /// Modern: tell me of changes until I cancel this.
    Listen(Wanted),
    /// A method that is not served in the era of the request.
    Unknown {
        /// Its name, as long as it came.
        method: Box<str>,
    },
}

/// What a server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What.
    pub asking: Asking,
    /// The exposed name of a tool or prompt, or the URI of a resource; of a
    /// completion the exposed name or the URI of what is completed.
    pub name: Box<str>,
    /// The text of an object.
    pub arguments: Option<Box<str>>,
    /// What the client says to what was asked of it before.
    pub answers: Option<Answers>,
    /// That a call of 2025-11-25 shall become a task: the text of an object.
    pub task: Option<Box<str>>,
    /// What else was in the parameters: each key with the text of its value.
    pub rest: Vec<(Box<str>, Box<str>)>,
}

/// How a request goes on from an earlier one (MCP 2026-07-28,
/// basic/patterns/mrtr).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// `inputResponses`: the text of an object of objects.
    pub responses: Option<Box<str>>,
    /// `requestState`.
    pub state: Option<Box<str>>,
}

impl Body {
    /// Whether it needs a server that has tasks.
    pub fn is_about_tasks(&self) -> bool {
        match self {
            Self::Ask(ask) => matches!(ask.asking, Asking::Task(_)),
            Self::Tasks(_) => true,
            Self::Initialize { .. }
            | Self::Ping
            | Self::Discover
            | Self::List(_)
            | Self::SetLevel { .. }
            | Self::Subscribe(_)
            | Self::Unsubscribe(_)
            | Self::Listen(_)
            | Self::Unknown { .. } => false,
        }
    }

    /// The method, as JSON-RPC names it.
    pub fn method(&self) -> &str {
        match self {
            Self::Initialize { .. } => "initialize",
            Self::Ping => "ping",
            Self::Discover => "server/discover",
            Self::List(of) => of.method(),
            Self::Ask(ask) => ask.asking.method(),
            Self::SetLevel { .. } => "logging/setLevel",
            Self::Subscribe(_) => "resources/subscribe",
            Self::Unsubscribe(_) => "resources/unsubscribe",
            Self::Tasks(_) => "tasks/list",
            Self::Listen(_) => "subscriptions/listen",
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
        ("tools/call", modern) => Body::Ask(Box::new(ask(Asking::Tool, params, modern)?)),
        ("prompts/get", modern) => Body::Ask(Box::new(ask(Asking::Prompt, params, modern)?)),
        ("resources/read", modern) => Body::Ask(Box::new(read_resource(params, modern)?)),
        ("completion/complete", _) => Body::Ask(Box::new(complete(params)?)),
        ("tasks/get", _) => Body::Ask(Box::new(about_task(TaskAsk::Get, params)?)),
        ("tasks/cancel", _) => Body::Ask(Box::new(about_task(TaskAsk::Cancel, params)?)),
        ("tasks/result", false) => Body::Ask(Box::new(about_task(TaskAsk::Result, params)?)),
        ("tasks/update", true) => Body::Ask(Box::new(about_task(TaskAsk::Update, params)?)),
        ("tasks/list", false) => Body::Tasks(cursor(member("cursor"))?),
        ("tools/list", _) => list(Lists::Tools, &member)?,
        ("prompts/list", _) => list(Lists::Prompts, &member)?,
        ("resources/list", _) => list(Lists::Resources, &member)?,
        ("resources/templates/list", _) => list(Lists::Templates, &member)?,
        ("resources/subscribe", false) => Body::Subscribe(Ask {
            asking: Asking::Subscribe,
            ..read_resource(params, false)?
        }),
        ("resources/unsubscribe", false) => Body::Unsubscribe(read_resource(params, false)?.name),
        ("logging/setLevel", false) => set_level(&member)?,
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
        "prompts/get" => &[
            "_meta",
            "name",
            "arguments",
            "inputResponses",
            "requestState",
        ],
        "resources/read" => &["_meta", "uri", "inputResponses", "requestState"],
        "resources/subscribe" | "resources/unsubscribe" => &["_meta", "uri"],
        "completion/complete" => &["_meta", "ref", "argument", "context"],
        "tasks/get" | "tasks/result" | "tasks/cancel" => &["_meta", "taskId"],
        "tasks/update" => &["_meta", "taskId", "inputResponses"],
        "logging/setLevel" => &["_meta", "level"],
        "tools/list"
        | "prompts/list"
        | "resources/list"
        | "resources/templates/list"
        | "tasks/list" => &["_meta", "cursor"],
        "initialize" => &["_meta", "protocolVersion", "capabilities", "clientInfo"],
        "subscriptions/listen" => &["_meta", "notifications"],
        _ => &["_meta"],
    }
}

pub(super) fn declared(capabilities: Option<&Object<'_>>) -> Declared {
    let extensions = capabilities.and_then(|capabilities| capabilities.get("extensions"));
    let extensions = extensions.and_then(|text| Object::parse(text).ok());
    Declared::read(
        |name| capabilities?.get(name),
        |id| extensions.as_ref()?.get(id),
    )
}

/// A tool or a prompt by its name, with arguments.
fn ask(asking: Asking, params: Option<&Object<'_>>, modern: bool) -> Result<Ask, Fault> {
    let member = |key| params.and_then(|params| params.get(key));
    let name = string(member("name"), "name")?.unwrap_or_default();
    if name.is_empty() || name.len() > MAX_NAME {
        let what = match asking {
            Asking::Tool => "tool",
            Asking::Prompt
            | Asking::Read
            | Asking::Subscribe
            | Asking::Complete
            | Asking::Task(_) => "prompt",
        };
        return Err(Fault::new(
            INVALID_PARAMS,
            format!("`name` must be the name of a {what}, 1 to 256 bytes"),
        ));
    }
    object(member("arguments"), "arguments")?;
    let answers = answers(params, modern)?;
    Ok(Ask {
        asking,
        name: name.into(),
        arguments: member("arguments").map(Into::into),
        answers,
        task: object(member("task"), "task")?
            .and(member("task"))
            .filter(|_| !modern)
            .map(Into::into),
        rest: rest(params, &["name", "arguments"]),
    })
}

fn read_resource(params: Option<&Object<'_>>, modern: bool) -> Result<Ask, Fault> {
    let member = |key| params.and_then(|params| params.get(key));
    let uri = string(member("uri"), "uri")?.unwrap_or_default();
    if uri.is_empty() || uri.len() > MAX_URI {
        return Err(Fault::new(
            INVALID_PARAMS,
            "`uri` must be the URI of a resource, 1 to 8192 bytes",
        ));
    }
    let answers = answers(params, modern)?;
    let written = member("uri").unwrap_or_default();
    Ok(Ask {
        asking: Asking::Read,
        name: uri.into(),
        arguments: Some(format!("{{\"uri\":{written}}}").into()),
        answers,
        task: None,
        rest: rest(params, &["uri"]),
    })
}

/// A task by its id. Policy sees the id; the server gets its own.
fn about_task(what: TaskAsk, params: Option<&Object<'_>>) -> Result<Ask, Fault> {
    let member = |key| params.and_then(|params| params.get(key));
    let id = string(member("taskId"), "taskId")?.unwrap_or_default();
    if id.is_empty() || id.len() > MAX_NAME {
        return Err(Fault::new(
            INVALID_PARAMS,
            "`taskId` must be the id of a task, 1 to 256 bytes",
        ));
    }
    if what == TaskAsk::Update && object(member(RESPONSES), RESPONSES)?.is_none() {
        return Err(Fault::new(
            INVALID_PARAMS,
            "`params` needs `inputResponses`, what the client says to each question",
        ));
    }
    let mut rest = rest(params, &["taskId"]);
    let responses = member(RESPONSES).filter(|_| what == TaskAsk::Update);
    rest.extend(responses.map(|text| (RESPONSES.into(), text.into())));
    let written = member("taskId").unwrap_or_default();
    Ok(Ask {
        asking: Asking::Task(what),
        name: id.into(),
        arguments: Some(format!("{{\"taskId\":{written}}}").into()),
        answers: None,
        task: None,
        rest,
    })
}

/// Where a list of tasks goes on: the id of a task, which is as long as any.
fn cursor(raw: Option<&str>) -> Result<Option<Box<str>>, Fault> {
    let cursor = string(raw, "cursor")?;
    match cursor {
        Some(cursor) if cursor.len() > MAX_NAME => Err(Fault::new(
            INVALID_PARAMS,
            "`cursor` must be the `nextCursor` of the page before",
        )),
        cursor => Ok(cursor.map(Into::into)),
    }
}

/// What the server reads as parameters is what policy reads as arguments.
fn complete(params: Option<&Object<'_>>) -> Result<Ask, Fault> {
    let member = |key| params.and_then(|params| params.get(key));
    let wrong = |what: &str| Err(Fault::new(INVALID_PARAMS, what));
    let reference = object(member("ref"), "ref")?;
    let Some(reference) = reference else {
        return wrong("`params` needs `ref`, what is to be completed");
    };
    refuse_lookalikes(&reference, &["type", "name", "uri", "title"])?;
    let kind = string(reference.get("type"), "ref.type")?.unwrap_or_default();
    let named = match &*kind {
        "ref/prompt" => string(reference.get("name"), "ref.name")?,
        "ref/resource" => string(reference.get("uri"), "ref.uri")?,
        _ => return wrong("`ref.type` must be `ref/prompt` or `ref/resource`"),
    };
    let name = named.unwrap_or_default();
    if name.is_empty() || name.len() > MAX_URI {
        return wrong("`ref` must name a prompt or have the `uri` of a template");
    }
    if object(member("argument"), "argument")?.is_none() {
        return wrong("`params` needs `argument`, with `name` and `value`");
    }
    object(member("context"), "context")?;
    let known = ["ref", "argument", "context"];
    let parts = known.iter().filter_map(|key| Some((key, member(key)?)));
    let parts: Vec<String> = parts.map(|(key, raw)| format!("\"{key}\":{raw}")).collect();
    Ok(Ask {
        asking: Asking::Complete,
        name: name.into(),
        arguments: Some(format!("{{{}}}", parts.join(",")).into()),
        answers: None,
        task: None,
        rest: rest(params, &known),
    })
}

/// What a request says to what was asked before. Before 2026-07-28 there was no
/// such thing: passing over it would repeat a call from its start, effects
/// included, where the client meant to go on with it.
fn answers(params: Option<&Object<'_>>, modern: bool) -> Result<Option<Answers>, Fault> {
    let member = |key| params.and_then(|params| params.get(key));
    let responses = object(member(RESPONSES), RESPONSES)?;
    let state = string(member(STATE), STATE)?;
    if responses.is_none() && state.is_none() {
        return Ok(None);
    }
    let refused = |message: String| Err(Fault::new(INVALID_PARAMS, message));
    if !modern {
        return refused(format!(
            "`{RESPONSES}` and `{STATE}` belong to requests of MCP {MODERN}, and this one is of a revision before it: leave them out, and answer what servers ask by responses"
        ));
    }
    let responses = responses.iter().flat_map(Object::iter);
    for (key, response) in responses {
        if Object::parse(response).is_err() {
            return refused(format!(
                "`{RESPONSES}.{}` must be an object",
                shown(key, 80)
            ));
        }
    }
    Ok(Some(Answers {
        responses: member(RESPONSES).map(Into::into),
        state: state.map(Into::into),
    }))
}

/// The parameters that mean nothing to us, for the server.
fn rest(params: Option<&Object<'_>>, read: &[&str]) -> Vec<(Box<str>, Box<str>)> {
    let members = params.into_iter().flat_map(Object::iter);
    members
        // A server that has no tasks would not know what to do with one.
        .filter(|(key, _)| {
            !read.contains(key) && !matches!(*key, "_meta" | "task" | RESPONSES | STATE)
        })
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

/// A level that may be left out.
pub(super) fn level(raw: Option<&str>, what: &str) -> Result<Option<Level>, Fault> {
    let text = string(raw, what)?;
    let level = text.map(|text| text.parse::<Level>());
    level
        .transpose()
        .map_err(|problem| Fault::new(INVALID_PARAMS, format!("`{what}` {problem}")))
}

fn set_level<'a>(member: &impl Fn(&'static str) -> Option<&'a str>) -> Result<Body, Fault> {
    match level(member("level"), "level")? {
        Some(level) => Ok(Body::SetLevel { level }),
        None => Err(Fault::new(INVALID_PARAMS, "`params` needs `level`")),
    }
}

fn list<'a>(of: Lists, member: &impl Fn(&'static str) -> Option<&'a str>) -> Result<Body, Fault> {
    if member("cursor").is_some() {
        return Err(Fault::new(
            INVALID_PARAMS,
            "`cursor` is not known: the list has one page, leave it out",
        ));
    }
    Ok(Body::List(of))
}

fn initialize<'a>(member: &impl Fn(&'static str) -> Option<&'a str>) -> Result<Body, Fault> {
    object(member("clientInfo"), "clientInfo")?;
    let requested = string(member("protocolVersion"), "protocolVersion")?;
    let Some(requested) = requested else {
        return Err(Fault::new(
            INVALID_PARAMS,
            "`params` needs `protocolVersion`, the newest revision that the client knows",
        ));
    };
    let capabilities = object(member("capabilities"), "capabilities")?;
    Ok(Body::Initialize {
        requested: requested.into(),
        declared: declared(capabilities.as_ref()),
    })
}
