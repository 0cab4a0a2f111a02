//! One entry in a client's file, added or taken out; all around it stays.

use super::OURS;
use crate::config::as_json;
use jsonc_parser::cst::CstInputValue;
use jsonc_parser::cst::CstObject;
use jsonc_parser::cst::CstRootNode;
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
}

/// The text with the edit made, or what is wrong with the text.
pub(super) fn edited(holder: Holder, text: &str, edit: &Edit<'_>) -> Result<String, String> {
    match holder {
        Holder::Toml => edited_toml(text, edit),
        Holder::McpServers => edited_json("mcpServers", text, edit, &[]),
        Holder::Servers => edited_json("servers", text, edit, &[("type", "stdio")]),
    }
}

/// The names of the entries.
pub(super) fn names(holder: Holder, text: &str) -> Result<Vec<String>, String> {
    match holder {
        Holder::Toml => {
            let document: DocumentMut = text.parse().map_err(described)?;
            let servers = document.get("mcp_servers").and_then(Item::as_table_like);
            let names = servers.map(|servers| servers.iter().map(|(name, _)| name.to_owned()));
            Ok(names.map(Iterator::collect).unwrap_or_default())
        }
        Holder::McpServers | Holder::Servers => {
            let key = match holder {
                Holder::Servers => "servers",
                _ => "mcpServers",
            };
            let root = CstRootNode::parse(text, &as_json()).map_err(described)?;
            let servers = root.object_value().and_then(|root| root.object_value(key));
            let names = servers.map(|servers| {
                let names = servers.properties().into_iter();
                names
                    .filter_map(|property| property.name()?.decoded_value().ok())
                    .collect()
            });
            Ok(names.unwrap_or_default())
        }
    }
}

fn edited_json(
    key: &str,
    text: &str,
    edit: &Edit<'_>,
    more: &[(&str, &str)],
) -> Result<String, String> {
    let root = CstRootNode::parse(text, &as_json()).map_err(described)?;
    let top = root
        .object_value_or_create()
        .ok_or("the file must hold an object")?;
    let servers = match edit {
        Edit::Add(_) => top.object_value_or_create(key),
        Edit::Remove(_) => top.object_value(key),
    };
    let servers = servers.ok_or_else(|| format!("`{key}` must be an object"))?;
    match edit {
        Edit::Add(launch) => add_json(&servers, launch, more),
        Edit::Remove(name) => {
            if let Some(entry) = servers.get(name) {
                entry.remove();
            }
        }
    }
    Ok(root.to_string())
}

fn add_json(servers: &CstObject, launch: &Launch, more: &[(&str, &str)]) {
    let text = |text: &str| CstInputValue::String(text.to_owned());
    let mut members: Vec<(String, CstInputValue)> = more
        .iter()
        .map(|(key, value)| ((*key).to_owned(), text(value)))
        .collect();
    members.push(("command".to_owned(), text(&launch.program)));
    let args = launch.args.iter().map(|arg| text(arg)).collect();
    members.push(("args".to_owned(), CstInputValue::Array(args)));
    let entry = CstInputValue::Object(members);
    match servers.get(OURS) {
        Some(older) => older.set_value(entry),
        None => drop(servers.append(OURS, entry)),
    }
}

fn edited_toml(text: &str, edit: &Edit<'_>) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(described)?;
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
        Edit::Remove(name) => drop(servers.remove(name)),
    }
    Ok(document.to_string())
}

fn described(error: impl std::fmt::Display) -> String {
    error.to_string().replace('\n', " ")
}
