//! A call as a client made it.

use crate::json;
use crate::json::Object;
use crate::json::Splice;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::tool::Asking;
use crate::tool::Declared;
use serde_json::Value;
use std::sync::Arc;

/// One call as a client made it.
#[derive(Debug)]
pub struct ToolCall {
    /// Who calls, from the verified credential.
    pub principal: PrincipalId,
    /// The session it belongs to, as [`Broker::session`] found it.
    pub session: SessionId,
    /// What is asked.
    pub asking: Asking,
    /// The exposed name of the tool or prompt, the URI of the resource, or what
    /// is completed: the exposed name of a prompt, or a URI.
    pub name: Box<str>,
    /// The arguments, as the text they were; checked strictly.
    pub arguments: Option<Box<str>>,
    /// What else was in the parameters: each key with the text of its value.
    pub rest: Vec<(Box<str>, Box<str>)>,
    /// What the client can be asked.
    pub declared: Arc<Declared>,
    /// From which level on the client hears what servers log.
    pub log: Option<Box<str>>,
    /// The request's `_meta`, as the text it was.
    pub meta: Option<Box<str>>,
}

impl ToolCall {
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

    /// The same completion under the name that the server gave the prompt.
    pub(super) fn completing(mut self, native: &str) -> Self {
        let Some(text) = self.arguments.take() else {
            return self;
        };
        let named = Object::parse(&text)
            .ok()
            .and_then(|arguments| Object::parse(arguments.get("ref")?).ok()?.get("name"));
        let replaced = named.map(|named| {
            let native = Value::from(native).to_string();
            Splice::new(&text).replace(named, native).finish().into()
        });
        self.arguments = Some(replaced.unwrap_or(text));
        self
    }
}
