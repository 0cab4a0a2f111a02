//! Reading one entry of a server's lists.

use crate::json;
use crate::json::JsonError;
use crate::json::Object;
use crate::json::Splice;
use crate::tool::Asking;
use crate::tool::Digest;
use crate::tool::Hints;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;
use crate::tool::ToolId;
use crate::visible::hidden;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

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
    /// Its arguments are no list of names.
    #[error("its `arguments` are no list of objects with a `name`")]
    Arguments,
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
        .filter(|name| (1..=MAX_NAME).contains(&name.chars().count()) && !name.contains(hidden))
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

/// Reads one entry of `prompts/list`: what can be asked under a name, with its
/// arguments, each a text. Its definition holds the entry as the server sent it
/// under `prompt`.
///
/// # Errors
///
/// When policy could not be asked about such a prompt.
pub fn prompt(server: &ServerName, entry: &str) -> Result<ToolDefinition, DefinitionError> {
    json::check(entry.as_bytes()).map_err(DefinitionError::Json)?;
    let object = Object::parse(entry).map_err(DefinitionError::Json)?;
    let listed = ["name", "title", "description", "arguments"];
    object
        .refuse_lookalikes(listed.into_iter())
        .map_err(DefinitionError::Json)?;
    let name = object.get("name").and_then(json::text);
    let name = name.ok_or(DefinitionError::Name)?;
    if name.is_empty() {
        return Err(DefinitionError::Name);
    }
    let arguments: Vec<PromptArgument> = match object.get("arguments") {
        None | Some("null") => Vec::new(),
        Some(arguments) => {
            serde_json::from_str(arguments).map_err(|_no_list| DefinitionError::Arguments)?
        }
    };
    let mut properties = Map::new();
    let mut required = Vec::new();
    for argument in arguments {
        if argument.required == Some(true) {
            required.push(argument.name.clone());
        }
        let mut property = json!({"type": "string"});
        if let (Some(description), Some(members)) = (argument.description, property.as_object_mut())
        {
            members.insert("description".to_owned(), description.into());
        }
        properties.insert(argument.name, property);
    }
    let id = ToolId::prompt(server, &name);
    let mut whole = json!({
        "name": &*id.name,
        "inputSchema": {"type": "object", "properties": properties, "required": required},
    });
    for key in ["title", "description"] {
        let text = object.get(key).and_then(json::text);
        if let (Some(text), Some(members)) = (text, whole.as_object_mut()) {
            members.insert(key.to_owned(), text.into());
        }
    }
    let whole = whole.to_string();
    let whole = Splice::new(&whole)
        .add_member(&whole, "prompt", entry)
        .finish();
    definition(server, &whole)
}

/// An entry of a prompt's `arguments`.
#[derive(serde::Deserialize)]
struct PromptArgument {
    name: String,
    description: Option<String>,
    required: Option<bool>,
}

/// What can be asked of a server besides its tools and prompts.
///
/// # Errors
///
/// None, unless it is asked for a tool or a prompt.
pub fn fixed(server: &ServerName, asking: Asking) -> Result<ToolDefinition, DefinitionError> {
    let text = || json!({"type": "string"});
    let record = |properties: Value, required: &[&str]| json!({"type": "object", "properties": properties, "required": required});
    let schema = match asking {
        Asking::Tool | Asking::Prompt => return Err(DefinitionError::Name),
        Asking::Task(_) => record(json!({"taskId": text()}), &["taskId"]),
        Asking::Read | Asking::Subscribe => record(json!({"uri": text()}), &["uri"]),
        Asking::Complete => {
            let named = json!({"type": text(), "name": text(), "uri": text(), "title": text()});
            let argument = json!({"name": text(), "value": text()});
            let parts = json!({
                "ref": record(named, &["type"]),
                "argument": record(argument, &["name", "value"]),
                "context": {"type": "object"},
            });
            record(parts, &["ref", "argument"])
        }
    };
    let entry = json!({"name": asking.method(), "inputSchema": schema});
    definition(server, &entry.to_string())
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
