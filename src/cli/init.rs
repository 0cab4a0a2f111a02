//! `countersign init`: a folder to begin in.

use super::around;
use super::one_line;
use super::print;
use crate::cause::Chain;
use crate::clients;
use crate::clients::Around;
use crate::clients::Client;
use crate::config::GLOBAL_POLICY;
use crate::config::Imported;
use crate::config::STARTING_POLICIES;
use crate::principal::PrincipalId;
use crate::visible;
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
    let is_found = folder == usual() || folder == around.here;
    let login = user_name();
    let name = login.clone().unwrap_or_else(|| NOBODY.to_owned());
    let mut text = String::new();
    let mut names_us = true;
    for (file, content) in [
        ("countersign.toml", CONFIGURATION.replace("USER", &name)),
        ("principals.toml", PRINCIPALS.replace("USER", &name)),
        ("policies/global.cedar", GLOBAL_POLICY.to_owned()),
    ] {
        let path = folder.join(file);
        let word = match make(&path, &content)? {
            Made::New => "made",
            Made::WasThere => {
                // Who there is, it says by itself.
                names_us &= file == "policies/global.cedar";
                "is there already"
            }
        };
        writeln!(text, "{word:<17} {}", one_line(&path.to_string_lossy()))?;
    }
    if names_us {
        writeln!(text, "\nYou are the principal `{name}`.")?;
    }
    if names_us && login.is_none() {
        writeln!(
            text,
            "Neither `USER` nor `LOGNAME` names you: write another name into both files, if you like."
        )?;
    }
    let (servers, client) = found(&around)?;
    text.push_str(&servers);
    let has_started = folder.join("policies").join(STARTING_POLICIES).exists();
    text.push_str(&next(client.as_ref(), (&folder, is_found), has_started));
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
        std::fs::create_dir_all(folder).with_context(|| {
            format!(
                "cannot make the folder `{}`: name one that you may make with `--dir DIR`",
                folder.display()
            )
        })?;
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
    plain.find(|name: &String| PrincipalId::parse(name).is_ok())
}

/// The servers that clients have; and of the first client with some, the commands that
/// take them over and have it start us in their place.
fn found(around: &Around) -> anyhow::Result<(String, Option<[String; 2]>)> {
    let mut text = String::from("\n");
    let mut first = None;
    for client in Client::ALL {
        for found in around.found(client) {
            let servers = match found.servers {
                Ok(servers) => servers,
                Err(error) => {
                    writeln!(text, "{client}: {}", one_line(&Chain(&error).to_string()))?;
                    continue;
                }
            };
            let usable = |imported: &&Imported| {
                imported.left_out.is_none() && imported.name != clients::OURS
            };
            let names: Vec<String> = servers
                .iter()
                .filter(usable)
                .map(|imported| visible::one_line(&imported.name, visible::NAME))
                .collect();
            if names.is_empty() {
                continue;
            }
            let place = one_line(&found.place.to_string());
            writeln!(text, "{client} has {} ({place})", names.join(", "))?;
            first = first.or_else(|| {
                let import = format!("countersign import {client}");
                let connect = match clients::replacing(client, &found.place, around) {
                    (command, Some(folder)) => {
                        let folder = visible::shell_word(&folder.to_string_lossy());
                        format!("(cd {folder} && {command})")
                    }
                    (command, None) => command,
                };
                Some([import, connect])
            });
        }
    }
    Ok((text, first))
}

/// The commands that come next.
fn next(
    client: Option<&[String; 2]>,
    (folder, is_found): (&Path, bool),
    has_started: bool,
) -> String {
    let mut commands = Vec::new();
    if !is_found {
        let path = folder.join("countersign.toml");
        let path = visible::shell_word(&path.to_string_lossy());
        commands.push(format!("export COUNTERSIGN_CONFIG={path}"));
    }
    commands.extend(client.map(|[import, _]| import.clone()));
    let add = if has_started { " --add" } else { "" };
    commands.push(format!("countersign policy new --permissive{add}"));
    commands.push("countersign check".to_owned());
    commands.extend(client.map(|[_, connect]| connect.clone()));
    let first = match (client, has_started) {
        // Where policies have begun there are servers, or were.
        (Some(_), _) | (None, true) => "\nNext:\n",
        (None, false) => {
            "\nNo MCP client with servers was found. Next: write a `[servers.NAME]` section into countersign.toml, then\n"
        }
    };
    let commands = commands.iter().map(|command| format!("  {command}\n"));
    std::iter::once(first.to_owned()).chain(commands).collect()
}
