//! Reading one entry of a server's `tools/list`.

use crate::json;
use crate::json::JsonError;
use crate::json::Object;
use crate::tool::Digest;
use crate::tool::Hints;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;
use crate::tool::ToolId;

/// The longest name of a tool (MCP 2026-07-28, `server/tools`, tool names).
const MAX_NAME: usize = 128;

/// What a pin compares; everything else of an entry may change freely.
const COMPARED: [&str; 6] = [
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
];

/// Why an entry of a list is no usable tool.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// It is not strict JSON.
    #[error("its entry cannot be read")]
    Json(#[source] JsonError),
    /// It has no usable name.
    #[error(
        "its name is missing, empty, longer than {MAX_NAME} characters, or has control characters"
    )]
    Name,
    /// It has no schema for its arguments.
    #[error("its `inputSchema` is missing or no JSON object")]
    Schema,
}

/// Reads one entry of `tools/list`, keeping its exact text.
///
/// # Errors
///
/// When policy could not be asked about such a tool.
pub fn definition(server: &ServerName, entry: &str) -> Result<ToolDefinition, DefinitionError> {
    json::check(entry.as_bytes()).map_err(DefinitionError::Json)?;
    let object = Object::parse(entry).map_err(DefinitionError::Json)?;
    object
        .refuse_lookalikes(COMPARED.into_iter())
        .map_err(DefinitionError::Json)?;
    let name = object.get("name").and_then(json::text);
    let name = name
        .filter(|name| {
            (1..=MAX_NAME).contains(&name.chars().count()) && !name.contains(char::is_control)
        })
        .ok_or(DefinitionError::Name)?;
    let input_schema = object
        .get("inputSchema")
        .and_then(|text| serde_json::from_str(text).ok())
        .filter(serde_json::Value::is_object)
        .ok_or(DefinitionError::Schema)?;
    let mut compared = Vec::with_capacity(COMPARED.len() * 2);
    for key in COMPARED {
        if let Some(value) = object.get(key) {
            compared.push(key.to_owned());
            compared.push(json::canonical(value).map_err(DefinitionError::Json)?);
        }
    }
    Ok(ToolDefinition {
        id: ToolId {
            server: server.clone(),
            name: name.into(),
        },
        json: entry.trim_ascii().into(),
        input_schema,
        hints: hints(object.get("annotations")),
        digest: Digest::of_parts(compared.iter().map(String::as_bytes)),
    })
}

/// A hint that is no boolean is no hint.
fn hints(annotations: Option<&str>) -> Hints {
    let annotations = annotations.and_then(|text| Object::parse(text).ok());
    let flag = |key: &str, default: bool| {
        let value = annotations.as_ref().and_then(|object| object.get(key));
        value
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(default)
    };
    let default = Hints::default();
    Hints {
        read_only: flag("readOnlyHint", default.read_only),
        destructive: flag("destructiveHint", default.destructive),
        open_world: flag("openWorldHint", default.open_world),
    }
}
