//! Servers in the configuration files of MCP clients: `mcpServers`, VS Code's
//! `servers`, Codex' `mcp_servers`. What is ours to know is read strictly; the
//! rest is the client's and passed over.

use super::ConfigError;
use super::doubled::client_json;
use super::references;
use crate::tool::ServerName;
use jsonc_parser::ParseOptions;
use serde_json::Map;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The members that hold servers, in the order in which they are looked for.
pub(super) const HOLDERS: [&str; 3] = ["mcpServers", "servers", "mcp_servers"];

/// One server of a client's file.
#[derive(Clone, PartialEq, Eq)]
pub struct Imported {
    /// What the client calls it.
    pub name: String,
    /// The name that it has here: the same, as far as it can be.
    pub server: ServerName,
    /// Why it is left out, if it is.
    pub left_out: Option<&'static str>,
    /// What is needed to reach it.
    pub entry: Entry,
}

/// What a client's file says of one server. Not `Debug`: it may hold secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The program, where the client starts it.
    pub command: Option<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub cwd: Option<String>,
    /// Where it is, where it is elsewhere.
    pub url: Option<String>,
    /// What goes with each request.
    pub headers: BTreeMap<String, String>,
    /// `http` or `sse`, where the file says it.
    pub transport: Option<&'static str>,
}

impl Entry {
    /// The keys of the environment, the headers and the URL in which a variable stands as
    /// a shell has it, without braces.
    pub(super) fn unbraced(&self) -> Vec<String> {
        let mut texts = self.texts();
        texts.retain(|(key, text)| {
            let part = key.split('.').next();
            matches!(part, Some("env" | "headers" | "url")) && references::is_unbraced(text)
        });
        texts.into_iter().map(|(key, _text)| key).collect()
    }

    /// Every text in which a reference may stand, with its key.
    pub fn texts(&self) -> Vec<(String, &str)> {
        let one = [
            ("command", &self.command),
            ("cwd", &self.cwd),
            ("url", &self.url),
        ];
        let one = one.into_iter().filter_map(|(key, text)| {
            let text = text.as_deref()?;
            Some((key.to_owned(), text))
        });
        let args = self.args.iter().enumerate();
        let args = args.map(|(place, arg)| (format!("args[{place}]"), arg.as_str()));
        let parts = [("env", &self.env), ("headers", &self.headers)];
        let members = parts.into_iter().flat_map(|(part, members)| {
            let members = members.iter();
            members.map(move |(name, value)| (format!("{part}.{name}"), value.as_str()))
        });
        one.chain(args).chain(members).collect()
    }
}

/// How a client's file is written. Comments and trailing commas are allowed, and
/// nothing else that JSON has not.
pub fn as_json() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// Reads the servers of a client's file: TOML by its ending, else JSON.
///
/// # Errors
///
/// When it is neither, or a server is not described as clients do; each says
/// where.
pub fn read(path: &Path, text: &str) -> Result<Vec<Imported>, ConfigError> {
    let whole = whole(path, text)?;
    let mut imported = Vec::new();
    for holder in HOLDERS {
        if let Some(servers) = whole.get(holder) {
            add(path, (holder, servers), &mut imported)?;
        }
    }
    Ok(imported)
}

/// Reads the servers that Claude Code keeps for one folder in its own file:
/// `projects[folder].mcpServers`.
///
/// # Errors
///
/// As for [`read`].
pub fn read_project(path: &Path, text: &str, folder: &str) -> Result<Vec<Imported>, ConfigError> {
    let whole = whole(path, text)?;
    let project = whole.get("projects").and_then(|all| all.get(folder));
    let mut imported = Vec::new();
    if let Some(servers) = project.and_then(|project| project.get("mcpServers")) {
        let holder = format!("projects.{folder}.mcpServers");
        add(path, (&holder, servers), &mut imported)?;
    }
    Ok(imported)
}

fn whole(path: &Path, text: &str) -> Result<Value, ConfigError> {
    let shape = |message: String| ConfigError::Shape {
        path: path.to_owned(),
        message,
    };
    let is_toml = path.extension().is_some_and(|ending| ending == "toml");
    match is_toml {
        true => toml::from_str(text).map_err(|error| ConfigError::toml(path, text, &error)),
        false if !may_be_object(text) => Err(shape(NO_CLIENTS.to_owned())),
        false => client_json(text).map_err(shape),
    }
}

/// What is said of a file that cannot be a client's.
const NO_CLIENTS: &str = "it is no client's file with servers: that is an object of JSON with `mcpServers` (or `servers`), or TOML where its name ends in `.toml`";

/// Whether a text begins as an object of JSON does, or a comment before it, or is empty.
fn may_be_object(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.is_empty() || text.starts_with(['{', '/'])
}

/// Adds the servers of one member of the file.
fn add(
    path: &Path,
    (holder, servers): (&str, &Value),
    imported: &mut Vec<Imported>,
) -> Result<(), ConfigError> {
    let wrong = |key: String, problem: String| ConfigError::Value {
        path: path.to_owned(),
        key,
        problem,
    };
    let Some(servers) = servers.as_object() else {
        let problem = "it must hold an object with a member for each server".to_owned();
        return Err(wrong(holder.to_owned(), problem));
    };
    for (name, server) in servers {
        let entry = server.as_object().ok_or("it must be an object".to_owned());
        let read = entry
            .map_err(|problem| (String::new(), problem))
            .and_then(entry_of);
        let entry = read.map_err(|(member, problem)| {
            let dot = if member.is_empty() { "" } else { "." };
            wrong(format!("{holder}.{name}{dot}{member}"), problem)
        })?;
        let taken: Vec<&ServerName> = imported.iter().map(|other| &other.server).collect();
        imported.push(Imported {
            name: name.clone(),
            server: server_name(name, &taken),
            left_out: left_out(server, &entry),
            entry,
        });
    }
    Ok(())
}

fn left_out(server: &Value, entry: &Entry) -> Option<&'static str> {
    let says = |key: &str, value: bool| server.get(key) == Some(&Value::Bool(value));
    if says("disabled", true) || says("enabled", false) {
        return Some("the client has switched it off");
    }
    let command = entry.command.as_deref().map(Path::new);
    let is_us = command
        .and_then(Path::file_stem)
        .is_some_and(|stem| stem == "countersign");
    if is_us && entry.args.iter().any(|arg| arg == "stdio") {
        return Some("it is Countersign itself");
    }
    if entry.command.is_none() && entry.url.is_none() {
        return Some("it has neither a command nor a URL");
    }
    None
}

type Wrong = (String, String);

fn entry_of(server: &Map<String, Value>) -> Result<Entry, Wrong> {
    let url = ["url", "serverUrl", "httpUrl"]
        .into_iter()
        .find_map(|key| Some((key, server.get(key)?)));
    let mut headers = texts(server, "headers")?;
    headers.extend(texts(server, "http_headers")?);
    if let Some(variable) = text(server, "bearer_token_env_var")? {
        let value = format!("Bearer ${{env:{variable}}}");
        headers.insert("Authorization".to_owned(), value);
    }
    let transport = match text(server, "type")? {
        Some(said) => Some(said),
        None => text(server, "transport")?,
    };
    let transport = match transport.as_deref() {
        None | Some("stdio" | "local") => None,
        Some("http" | "streamable-http" | "streamableHttp" | "streamable_http" | "remote") => {
            Some("http")
        }
        Some("sse") => Some("sse"),
        Some(other) => {
            let problem = format!("`{other}` is not known: there are `stdio`, `http` and `sse`");
            return Err(("type".to_owned(), problem));
        }
    };
    Ok(Entry {
        command: text(server, "command")?,
        args: match server.get("args") {
            None | Some(Value::Null) => Vec::new(),
            Some(args) => list(args)
                .ok_or_else(|| ("args".to_owned(), "it must be a list of texts".to_owned()))?,
        },
        env: texts(server, "env")?,
        cwd: text(server, "cwd")?,
        // Gemini names what is no SSE by a member of its own.
        transport: match url {
            Some(("httpUrl", _)) => Some("http"),
            Some(_) => transport,
            None => None,
        },
        url: match url {
            Some((key, _)) => text(server, key)?,
            None => None,
        },
        headers,
    })
}

fn text(server: &Map<String, Value>, key: &str) -> Result<Option<String>, Wrong> {
    match server.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err((key.to_owned(), "it must be a text".to_owned())),
    }
}

fn texts(server: &Map<String, Value>, key: &str) -> Result<BTreeMap<String, String>, Wrong> {
    let wrong = || (key.to_owned(), "it must be an object of texts".to_owned());
    let members = match server.get(key) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(members) => members.as_object().ok_or_else(wrong)?,
    };
    let plain = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        Some((name.clone(), value))
    };
    members
        .iter()
        .map(|member| plain(member).ok_or_else(wrong))
        .collect()
}

fn list(value: &Value) -> Option<Vec<String>> {
    let texts = value.as_array()?.iter();
    texts.map(|text| text.as_str().map(str::to_owned)).collect()
}

/// The name of a server here: what cannot be part of one becomes `-`, and a
/// name that is taken gets a number.
fn server_name(name: &str, taken: &[&ServerName]) -> ServerName {
    let usable = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut plain: String = name
        .chars()
        .map(|c| if usable(c) { c } else { '-' })
        .collect();
    while plain.contains("__") {
        plain = plain.replace("__", "_");
    }
    let plain: String = plain.trim_matches('_').chars().take(36).collect();
    let plain = plain.trim_matches('_');
    let names = std::iter::once(plain.to_owned()).chain((2..1000).map(|n| format!("{plain}-{n}")));
    let free = names
        .filter_map(|name| name.parse::<ServerName>().ok())
        .find(|name| !taken.contains(&name));
    // A name of nothing usable is a server all the same.
    free.unwrap_or_else(|| server_name("server", taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, text: &str) -> Vec<String> {
        let imported = read(Path::new(path), text).unwrap_or_else(|error| panic!("{error}"));
        let shown = imported.iter().map(|imported| {
            let Entry {
                command,
                args,
                env,
                url,
                headers,
                transport,
                ..
            } = &imported.entry;
            format!(
                "{} = {} {command:?} {args:?} {env:?} {url:?} {headers:?} {transport:?} {:?}",
                imported.name, imported.server, imported.left_out
            )
        });
        shown.collect()
    }

    #[test]
    fn every_clients_shape_is_read() {
        let claude = r#"{
            // of the project
            "mcpServers": {
                "files": {"command": "npx", "args": ["-y", "x", "/srv"], "env": {"A": "${A:-b}", "N": 1}},
                "My Server__2": {"type": "http", "url": "https://a.example/mcp", "headers": {"Authorization": "Bearer ${T}"}},
                "off": {"command": "x", "disabled": true},
                "countersign": {"command": "/usr/bin/countersign", "args": ["stdio"]},
                "wind": {"serverUrl": "https://b.example/sse", "transport": "sse"},
                "gem": {"httpUrl": "https://c.example/mcp", "trust": true}, // and so on
            },
            "other": [1, 2],
        }"#;
        let mut found = names("/x/.mcp.json", claude);
        found.sort_unstable();
        insta::assert_snapshot!(found.join("\n"), @r#"
        My Server__2 = My-Server_2 None [] {} Some("https://a.example/mcp") {"Authorization": "Bearer ${T}"} Some("http") None
        countersign = countersign Some("/usr/bin/countersign") ["stdio"] {} None {} None Some("it is Countersign itself")
        files = files Some("npx") ["-y", "x", "/srv"] {"A": "${A:-b}", "N": "1"} None {} None None
        gem = gem None [] {} Some("https://c.example/mcp") {} Some("http") None
        off = off Some("x") [] {} None {} None Some("the client has switched it off")
        wind = wind None [] {} Some("https://b.example/sse") {} Some("sse") None
        "#);
        let code = r#"{"servers": {"x": {"type": "stdio", "command": "y"}}, "inputs": []}"#;
        assert_eq!(names("/x/mcp.json", code).len(), 1);
        let codex = "[mcp_servers.x]\nurl = \"https://a.example\"\nbearer_token_env_var = \"T\"\n";
        assert!(names("/x/config.toml", codex)[0].contains("Bearer ${env:T}"));
        assert!(names("/x/empty.json", "").is_empty());
        assert!(names("/x/none.json", "{}").is_empty());
    }

    #[test]
    fn a_shape_that_is_none_is_named() {
        for (text, says) in [
            ("{", "`/x/a.json` is not right"),
            ("{'a': 1}", "`/x/a.json` is not right"),
            ("# Notes", "it is no client's file with servers"),
            ("[1]", "an object of JSON with `mcpServers`"),
            (r#"{"mcpServers": []}"#, "`mcpServers`"),
            (r#"{"mcpServers": {"a": 1}}"#, "`mcpServers.a`"),
            (
                r#"{"mcpServers": {"a": {"command": 1}}}"#,
                "`mcpServers.a.command`",
            ),
            (
                r#"{"mcpServers": {"a": {"args": "x"}}}"#,
                "`mcpServers.a.args`",
            ),
            (r#"{"servers": {"a": {"type": "ws"}}}"#, "`servers.a.type`"),
            (
                r#"{"servers": {"a": {"env": {"A": []}}}}"#,
                "`servers.a.env`",
            ),
        ] {
            let problem = read(Path::new("/x/a.json"), text)
                .err()
                .unwrap()
                .to_string();
            assert!(problem.contains(says), "{problem}");
        }
    }

    #[test]
    fn two_names_that_become_one_stay_two() {
        let text = r#"{"servers": {"a b": {"command": "x"}, "a.b": {"command": "y"}, "ä": {"command": "z"}, "__": {"command": "z"}}}"#;
        let names = names("/x/a.json", text);
        let names: Vec<&str> = names
            .iter()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .map(|words| words[words.iter().position(|word| *word == "=").unwrap() + 1])
            .collect();
        assert_eq!(names.len(), 4);
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 4, "{names:?}");
    }
}
