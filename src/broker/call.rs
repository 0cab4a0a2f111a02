//! A call as a client made it.

use super::Awaited;
use super::catalogue::Route;
use crate::escalations::EscalationId;
use crate::journal::Subject;
use crate::json;
use crate::json::Object;
use crate::json::Splice;
use crate::principal::PrincipalId;
use crate::retries::IdempotencyKey;
use crate::session::Found;
use crate::session::SessionId;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::Declared;
use crate::tool::Digest;
use crate::tool::Level;
use serde_json::Value;
use std::sync::Arc;

/// The largest arguments that somebody is asked to decide on, in bytes.
const MOST_TO_DECIDE_ON: usize = 2 << 20;

/// One call as a client made it.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// Who calls, from the verified credential.
    pub principal: PrincipalId,
    /// The session it belongs to, as [`Broker::session`](super::Broker::session) found it.
    pub session: SessionId,
    /// How it was found.
    pub found: Arc<Found>,
    /// What is asked.
    pub asking: Asking,
    /// The exposed name of the tool or prompt, the URI of the resource, or what
    /// is completed: the exposed name of a prompt, or a URI.
    pub name: Box<str>,
    /// The arguments, as the text they were; checked strictly.
    pub arguments: Option<Box<str>>,
    /// What else was in the parameters: each key with the text of its value.
    pub rest: Vec<(Box<str>, Box<str>)>,
    /// The call that it goes on from, and what the client says.
    pub continued: Option<Continued>,
    /// That the call shall become a task: the text of an object.
    pub task: Option<Box<str>>,
    /// What the client can be asked.
    pub declared: Arc<Declared>,
    /// From which level on the client hears what servers log.
    pub log: Option<Level>,
    /// What its client calls it, so that it is sent once.
    pub key: Option<IdempotencyKey>,
    /// Who learns whether its answer was read.
    pub awaited: Option<Awaited>,
    /// The request's `_meta`, as the text it was.
    pub meta: Option<Box<str>>,
    /// By what way it came.
    pub origin: Origin,
}

/// By what way a call came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The id of the API key that it came with, where it came with one.
    pub credential: Option<Arc<str>>,
    /// Whether its client takes a task where a person is to decide on it.
    pub takes_task: bool,
    /// Whether its client named no session, so that another is found where this one was
    /// ended meanwhile. Nothing is recorded of that.
    pub finds_anew: bool,
    /// The request that it is made for, after the approval, by the broker itself.
    pub(super) resumes: Option<EscalationId>,
    /// The broker itself tells an instance by it which session it is for. What it told
    /// another, which is gone, is no earlier call to that.
    pub(super) revives: bool,
}

impl Origin {
    /// A call of a client, with the API key that it came with.
    pub fn of(credential: Option<Arc<str>>, takes_task: bool) -> Self {
        Self {
            credential,
            takes_task,
            finds_anew: false,
            resumes: None,
            revives: false,
        }
    }
}

/// What a call goes on from.
#[derive(Clone, Debug)]
pub struct Continued {
    /// The call that ended by asking. None where the client answers what was not
    /// asked by way of us.
    pub call: Option<CallId>,
    /// What that call left.
    pub left: Left,
    /// What the client says: the text of an object of results, by the keys of the
    /// questions.
    pub responses: Option<Box<str>>,
}

/// What a call that asked something left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// The server's own `requestState`, if it gave one.
    State(Option<Box<str>>),
    /// The call itself, which is still open.
    Open,
    /// Nothing: the server takes the whole call again.
    Nothing,
    /// A question of the broker's own, whether the call shall be made.
    Confirmation,
}

impl ToolCall {
    /// Whether somebody may be asked to decide on it: where what they are shown, and
    /// what an approval is bound to, is all that is sent. Following a resource is no
    /// one call.
    pub(super) fn to_decide_on(&self, route: &Route) -> bool {
        let arguments = self.arguments.as_deref().unwrap_or_default();
        let unasked = self
            .continued
            .as_ref()
            .is_some_and(|continued| continued.call.is_none());
        route.gate.may_escalate()
            && self.rest.is_empty()
            && !unasked
            && self.asking != Asking::Subscribe
            && arguments.len() <= MOST_TO_DECIDE_ON
    }

    /// What is known of the call when its record is made.
    pub(super) fn subject(&self, tool: String, arguments: &str, policies: Digest) -> Subject {
        // Arguments that were checked at the edge have a canonical form.
        let canonical =
            json::canonical(arguments).unwrap_or_else(|_unchecked| arguments.to_owned());
        Subject {
            call: CallId::next(),
            session: self.session,
            principal: self.principal.clone(),
            tool,
            arguments: Digest::of(canonical.as_bytes()),
            policies,
            found: Some(Arc::clone(&self.found)),
        }
    }

    /// Whether it completes an argument of a prompt.
    pub(super) fn of_prompt(&self) -> bool {
        let reference = |arguments: &Object<'_>| {
            let reference = Object::parse(arguments.get("ref")?).ok()?;
            reference
                .get("type")
                .and_then(json::text)
                .map(|kind| kind == "ref/prompt")
        };
        let arguments = self
            .arguments
            .as_deref()
            .and_then(|text| Object::parse(text).ok());
        arguments.and_then(|arguments| reference(&arguments)) == Some(true)
    }

    /// Completes under the name that the server gave the prompt.
    pub(super) fn complete(&mut self, native: &str) {
        let Some(text) = self.arguments.take() else {
            return;
        };
        let named = Object::parse(&text)
            .ok()
            .and_then(|arguments| Object::parse(arguments.get("ref")?).ok()?.get("name"));
        let replaced = named.map(|named| {
            let native = Value::from(native).to_string();
            Splice::new(&text).replace(named, native).finish().into()
        });
        self.arguments = Some(replaced.unwrap_or(text));
    }
}
