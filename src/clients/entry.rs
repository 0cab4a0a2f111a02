//! One entry in a client's file, added or taken out; all around it stays.

use super::OURS;
use super::places::Section;
use crate::config;
use crate::config::as_json;
use crate::config::toml_problem;
use jsonc_parser::cst::CstInputValue;
use jsonc_parser::cst::CstObject;
use jsonc_parser::cst::CstRootNode;
use serde_json::Map;
use serde_json::Value;
use toml_edit::Array;
use toml_edit::DocumentMut;
use toml_edit::Item;
use toml_edit::Table;

/// What a client starts to reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program, with its whole path: a desktop has a poor `PATH`.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Where in its file a client looks for servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// `mcpServers`, JSON.
    McpServers,
    /// `servers`, JSON, with the kind of each server.
    Servers,
    /// `mcp_servers`, TOML.
    Toml,
}

/// What is to be done.
pub(super) enum Edit<'a> {
    /// Put our entry in, in the place of an older one.
    Add(&'a Launch),
    /// Take the entry of this name out.
    Remove(&'a str),
    /// Put the entry of this name in as it stands in this text of the same file.
    Restore(&'a str, &'a str),
}

/// The text with the edit made, or what is wrong with the text.
pub(super) fn edited(
    holder: Holder,
    section: &Section,
    text: &str,
    edit: &Edit<'_>,
) -> Result<String, String> {
    match holder {
        Holder::Toml => edited_toml(text, edit),
        Holder::McpServers | Holder::Servers => edited_json(holder, section, text, edit),
    }
}

/// The entries by name.
pub(super) fn entries(
    holder: Holder,
    section: &Section,
    text: &str,
) -> Result<Map<String, Value>, String> {
    let whole: Value = match holder {
        _ if text.trim().is_empty() => Value::Null,
        Holder::Toml => toml::from_str(text).map_err(|error| not_toml(text, &error))?,
        Holder::McpServers | Holder::Servers => config::client_json(text)?,
    };
    let part = match section {
        Section::Top => Some(&whole),
        Section::Project(folder) => whole.get("projects").and_then(|all| all.get(folder)),
    };
    let servers = part.and_then(|part| part.get(key(holder))?.as_object());
    Ok(servers.cloned().unwrap_or_default())
}

fn key(holder: Holder) -> &'static str {
    match holder {
        Holder::McpServers => "mcpServers",
        Holder::Servers => "servers",
        Holder::Toml => "mcp_servers",
    }
}

fn edited_json(
    holder: Holder,
    section: &Section,
    text: &str,
    edit: &Edit<'_>,
) -> Result<String, String> {
    // The editor takes the first of two of one name, and a reader the last.
    config::client_json(text)?;
    let root = CstRootNode::parse(text, &as_json()).map_err(described)?;
    let top = root
        .object_value_or_create()
        .ok_or("the file must hold an object")?;
    let mut path: Vec<&str> = match section {
        Section::Top => Vec::new(),
        Section::Project(folder) => vec!["projects", folder],
    };
    path.push(key(holder));
    let mut servers = top;
    for name in path {
        let inner = match edit {
            Edit::Add(_) | Edit::Restore(..) => servers.object_value_or_create(name),
            Edit::Remove(_) => servers.object_value(name),
        };
        servers = inner.ok_or_else(|| format!("`{name}` must be an object"))?;
    }
    match edit {
        Edit::Add(launch) => put_json(&servers, OURS, ours_json(holder, launch)),
        Edit::Restore(name, from) => {
            let entry = entries(holder, section, from)?.remove(*name);
            put_json(&servers, name, as_input(entry.unwrap_or_default()));
        }
        Edit::Remove(name) => {
            if let Some(entry) = servers.get(name) {
                entry.remove();
            }
        }
    }
    Ok(root.to_string())
}

fn put_json(servers: &CstObject, name: &str, entry: CstInputValue) {
    match servers.get(name) {
        Some(older) => older.set_value(entry),
        None => drop(servers.append(name, entry)),
    }
}

fn ours_json(holder: Holder, launch: &Launch) -> CstInputValue {
    let text = |text: &str| CstInputValue::String(text.to_owned());
    let mut members = Vec::new();
    if holder == Holder::Servers {
        members.push(("type".to_owned(), text("stdio")));
    }
    members.push(("command".to_owned(), text(&launch.program)));
    let args = launch.args.iter().map(|arg| text(arg)).collect();
    members.push(("args".to_owned(), CstInputValue::Array(args)));
    CstInputValue::Object(members)
}

fn as_input(value: Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text),
        Value::Array(values) => CstInputValue::Array(values.into_iter().map(as_input).collect()),
        Value::Object(members) => {
            let members = members.into_iter();
            CstInputValue::Object(members.map(|(key, value)| (key, as_input(value))).collect())
        }
    }
}

fn edited_toml(text: &str, edit: &Edit<'_>) -> Result<String, String> {
    let document: Result<DocumentMut, _> = text.parse();
    let mut document =
        document.map_err(|error| toml_problem(text, error.message(), error.span()))?;
    let servers = document
        .entry("mcp_servers")
        .or_insert_with(|| {
            let mut table = Table::new();
            // Only the tables in it are written.
            table.set_implicit(true);
            Item::Table(table)
        })
        .as_table_like_mut()
        .ok_or("`mcp_servers` must be a table")?;
    match edit {
        Edit::Add(launch) => {
            let mut entry = Table::new();
            entry.insert("command", toml_edit::value(&launch.program));
            let args: Array = launch.args.iter().collect();
            entry.insert("args", toml_edit::value(args));
            servers.insert(OURS, Item::Table(entry));
        }
        Edit::Restore(name, from) => {
            let document: Result<DocumentMut, _> = from.parse();
            let from =
                document.map_err(|error| toml_problem(from, error.message(), error.span()))?;
            let older = from.get("mcp_servers").and_then(|all| all.get(name));
            servers.insert(name, older.cloned().unwrap_or_default());
        }
        Edit::Remove(name) => drop(servers.remove(name)),
    }
    Ok(document.to_string())
}

fn not_toml(text: &str, error: &toml::de::Error) -> String {
    toml_problem(text, error.message(), error.span())
}

/// The parser of JSON says where it is, and nothing of the text.
fn described(error: impl std::fmt::Display) -> String {
    error.to_string().replace('\n', " ")
}
