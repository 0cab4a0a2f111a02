//! What a server says that it has (MCP 2026-07-28, `ServerCapabilities`).

use crate::json::Object;

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
        let lists = ["tools", "prompts", "resources"];
        Self {
            tools: has("tools"),
            prompts: has("prompts"),
            resources: has("resources"),
            subscriptions: says("resources", "subscribe"),
            completions: has("completions"),
            logging: has("logging"),
            tells_changes: lists.iter().any(|list| says(list, "listChanged")),
        }
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
            "completions":{},"logging":{},"x":1}"#;
        let all = Offers::read(Some(all));
        assert!(all.tools && all.prompts && all.resources && all.subscriptions);
        assert!(all.completions && all.logging && all.tells_changes);
        assert_eq!(Offers::read(Some(r#"{"prompts":null}"#)), Offers::default());
    }
}
