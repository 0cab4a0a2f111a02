//! What a server says that it has (MCP 2026-07-28, `ServerCapabilities`).

use super::Era;
use crate::json::Object;
use crate::tool::Extension;

/// The capabilities of one server, as far as we act on them.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a capability that is there or not"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// It has tools.
    pub tools: bool,
    /// It has prompts.
    pub prompts: bool,
    /// It has resources.
    pub resources: bool,
    /// It tells when a resource changes that somebody follows.
    pub subscriptions: bool,
    /// It completes arguments.
    pub completions: bool,
    /// It makes tasks of calls by itself (the extension of 2026-07-28).
    pub tasks: bool,
    /// It makes tasks of calls where its client asks for it (2025-11-25).
    pub asked_tasks: bool,
    /// It has pages for the host to show (the apps extension).
    pub apps: bool,
    /// It logs to its client.
    pub logging: bool,
    /// It tells when one of its lists changes.
    pub tells_changes: bool,
}

impl Offers {
    /// Reads the text of `capabilities`. What is no object offers nothing.
    pub(super) fn read(capabilities: Option<&str>) -> Self {
        let Some(capabilities) = object(capabilities) else {
            return Self::default();
        };
        let has = |key: &str| capabilities.get(key).is_some_and(|it| it.starts_with('{'));
        let says = |key: &str, flag: &str| {
            let part = object(capabilities.get(key));
            part.is_some_and(|part| part.get(flag) == Some("true"))
        };
        let extensions = object(capabilities.get("extensions"));
        let extends = |extension: Extension| {
            let said = extensions.as_ref().and_then(|all| all.get(extension.id()));
            said.is_some_and(|it| it.starts_with('{'))
        };
        let tasks = object(capabilities.get("tasks"));
        let requests = object(tasks.and_then(|tasks| tasks.get("requests")));
        let of_tools = object(requests.and_then(|requests| requests.get("tools")));
        let lists = ["tools", "prompts", "resources"];
        Self {
            tools: has("tools"),
            prompts: has("prompts"),
            resources: has("resources"),
            subscriptions: says("resources", "subscribe"),
            completions: has("completions"),
            tasks: extends(Extension::Tasks),
            asked_tasks: of_tools.is_some_and(|tools| tools.get("call").is_some()),
            apps: extends(Extension::Apps),
            logging: has("logging"),
            tells_changes: lists.iter().any(|list| says(list, "listChanged")),
        }
    }

    /// Whether such a server is told once from which level on it is heard. A modern one
    /// is told with each request (2026-07-28, `io.modelcontextprotocol/logLevel`).
    pub(super) fn is_told_level(self, era: &Era) -> bool {
        self.logging && matches!(era, Era::Legacy(_))
    }
}

fn object(text: Option<&str>) -> Option<Object<'_>> {
    text.and_then(|text| Object::parse(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_there() {
        assert_eq!(Offers::read(None), Offers::default());
        assert_eq!(Offers::read(Some("[]")), Offers::default());
        let all = r#"{"tools":{},"prompts":{"listChanged":true},"resources":{"subscribe":true},
            "completions":{},"logging":{},"x":1,"tasks":{"requests":{"tools":{"call":{}}}},
            "extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{}}}"#;
        let all = Offers::read(Some(all));
        assert!(all.tools && all.prompts && all.resources && all.subscriptions);
        assert!(all.completions && all.logging && all.tells_changes);
        assert!(all.tasks && all.asked_tasks && all.apps);
        assert_eq!(Offers::read(Some(r#"{"prompts":null}"#)), Offers::default());
    }
}
