//! `countersign init`: a folder to begin in.

use super::around;
use super::print;
use crate::clients::Around;
use crate::clients::Client;
use crate::config::GLOBAL_POLICY;
use crate::config::Imported;
use anyhow::Context;
use std::fmt::Write;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

/// What `countersign.toml` begins with.
const CONFIGURATION: &str = include_str!("../../fixtures/config/begin.toml");
/// What `principals.toml` begins with.
const PRINCIPALS: &str = include_str!("../../fixtures/config/begin-principals.toml");

/// Makes the files of a configuration, as far as they are not there, and says
/// what comes next.
pub(super) fn run(folder: Option<PathBuf>) -> anyhow::Result<()> {
    let around = around()?;
    let usual = || {
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        config
            .unwrap_or_else(|| around.home.join(".config"))
            .join("countersign")
    };
    let folder = std::path::absolute(folder.unwrap_or_else(usual))?;
    let login = user_name();
    let name = login.clone().unwrap_or_else(|| NOBODY.to_owned());
    let mut text = String::new();
    for (file, content) in [
        ("countersign.toml", CONFIGURATION.replace("USER", &name)),
        ("principals.toml", PRINCIPALS.replace("USER", &name)),
        ("policies/global.cedar", GLOBAL_POLICY.to_owned()),
    ] {
        let path = folder.join(file);
        let word = match make(&path, &content)? {
            Made::New => "made",
            Made::WasThere => "is there already",
        };
        writeln!(text, "{word:<17} {}", path.display())?;
    }
    writeln!(text, "\nYou are the principal `{name}`.")?;
    if login.is_none() {
        writeln!(
            text,
            "Neither `USER` nor `LOGNAME` names you: write another name into both files, if you like."
        )?;
    }
    text.push_str(&found(&around)?);
    print(&text)
}

enum Made {
    New,
    WasThere,
}

fn make(path: &Path, content: &str) -> anyhow::Result<Made> {
    if path.exists() {
        return Ok(Made::WasThere);
    }
    let failed = || format!("cannot make `{}`", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(failed)?;
    }
    let mut file = private(path).with_context(failed)?;
    file.write_all(content.as_bytes()).with_context(failed)?;
    Ok(Made::New)
}

/// A new file that only its owner reads: what servers are told may be secret.
fn private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// The principal where nothing says who is logged in.
const NOBODY: &str = "me";

/// The name of whoever is logged in, as far as it can name a principal.
fn user_name() -> Option<String> {
    let named = ["USER", "LOGNAME"].into_iter().filter_map(std::env::var_os);
    let mut plain = named.map(|name| {
        let usable = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        name.to_string_lossy().chars().filter(usable).collect()
    });
    plain.find(|name: &String| !name.is_empty())
}

/// The servers that clients have, and the commands that come next.
fn found(around: &Around) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut first = None;
    for client in Client::ALL {
        for found in around.found(client) {
            let servers = match found.servers {
                Ok(servers) => servers,
                Err(error) => {
                    writeln!(text, "{client}: {error}")?;
                    continue;
                }
            };
            let usable = |imported: &&Imported| imported.left_out.is_none();
            let names: Vec<&str> = servers
                .iter()
                .filter(usable)
                .map(|imported| imported.name.as_str())
                .collect();
            if names.is_empty() {
                continue;
            }
            writeln!(text, "{client} has {} ({})", names.join(", "), found.place)?;
            first = first.or(Some(client));
        }
    }
    match first {
        Some(client) => write!(
            text,
            "\nNext:\n  countersign import {client}\n  countersign policy new --permissive\n  countersign check\n  countersign connect {client}\n"
        )?,
        None => text.push_str(
            "\nNo MCP client with servers was found. Next: write a `[servers.NAME]` section into countersign.toml, then\n  countersign policy new --permissive\n  countersign check\n",
        ),
    }
    Ok(text)
}
