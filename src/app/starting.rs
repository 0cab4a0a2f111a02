//! `countersign policy new`: policies to begin with, for the servers that are
//! configured.

use super::check;
use super::check::Checked;
use crate::broker::Catalogue;
use crate::broker::Known;
use crate::broker::Rules;
use crate::config::Config;
use crate::pins::Pin;
use crate::policy::PolicyFile;
use crate::tool::ServerName;
use crate::tool::ToolId;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// The file that the policies go to.
const FILE: &str = "start.cedar";

/// How much is allowed to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Everybody may call every tool.
    Permissive,
    /// Everybody may call the tools that were declared as reading.
    ReadOnly,
}

/// Policies to begin with.
#[derive(Debug)]
pub struct Starting {
    /// Where they belong.
    pub path: PathBuf,
    /// The policies.
    pub text: String,
    /// What is good to know, for people.
    pub notes: String,
}

/// Makes policies for the servers that are there now, or were seen before.
///
/// # Errors
///
/// When the configuration cannot be read, or the policies would not be valid
/// beside those that are there.
pub async fn starting(config: &Config, start: Start) -> anyhow::Result<Starting> {
    let mut checked = Checked::default();
    let mut pins = check::stored_pins(config, &mut checked)?;
    let downstreams = check::look_at_servers(config, &mut pins, &mut checked).await?;
    let path = config.rules.policies.join(FILE);
    let mut text = match start {
        Start::Permissive => PERMISSIVE.to_owned(),
        Start::ReadOnly => READ_ONLY.to_owned(),
    };
    let mut notes = String::new();
    for server in config.broker.servers.keys() {
        match (pins.get(server), start) {
            (None, _) => writeln!(
                notes,
                "{server}: it was never seen, so nothing is permitted there; run this again when it is there"
            )?,
            (Some(pins), Start::Permissive) => write!(text, "\n{}", permit(server, pins))?,
            (Some(pins), Start::ReadOnly) => notes.push_str(&suggestions(server, pins)),
        }
    }
    let mut rules = Rules {
        files: config.rules.policy_files().unwrap_or_default(),
        principals: config.rules.principals()?,
    };
    rules.files.retain(|file| file.name != FILE);
    rules.files.push(PolicyFile {
        name: FILE.to_owned(),
        text: text.clone(),
    });
    let shape = config.broker.shape();
    let known = Known {
        pins: &pins,
        resources: &BTreeMap::new(),
        downstreams: &downstreams,
    };
    let built = Catalogue::build(&rules, &config.broker.servers, known, shape);
    for downstream in downstreams.values() {
        downstream.stop().await;
    }
    let catalogue = built?;
    for (_name, tool) in catalogue.names() {
        notes.push_str(&unseen(&catalogue, tool));
    }
    for problem in checked.problems {
        writeln!(notes, "PROBLEM {problem}")?;
    }
    Ok(Starting { path, text, notes })
}

const PERMISSIVE: &str = "\
// To begin with: everybody in principals.toml may call every tool of these servers.
// Whatever is called is recorded all the same: look at `countersign journal tail`,
// then take away what nobody needs, or forbid it.
//
// A permit says who may call; each limit is a forbid of its own, with the words
// that the model reads. For example, with a tool and an argument of yours:
//
// @id(\"mine.no-secrets\")
// @message(\"Files named secret are not for agents.\")
// forbid (principal, action == Broker::Action::\"files/read_text_file\", resource)
// when { context.input.path like \"*secret*\" };
//
// `countersign policy schema` shows every tool with its arguments.
";

const READ_ONLY: &str = "\
// To begin with: everybody in principals.toml may call the tools that
// countersign.toml declares as reading (`access = \"read\"`), and nothing else. What
// a server says of itself does not count.

@id(\"start.read\")
permit (principal, action in Broker::Action::\"read\", resource);
";

fn permit(server: &ServerName, pins: &[Pin]) -> String {
    let names: Vec<&str> = pins.iter().map(|pin| &*pin.definition.id.name).collect();
    // A name in a comment ends with its line.
    let names = names.join(", ").replace(char::is_control, " ");
    format!(
        "// {names}\n@id(\"start.{server}\")\npermit (principal, action in Broker::Action::\"server:{server}\", resource);\n"
    )
}

/// The tools that call themselves reading, as sections to paste.
fn suggestions(server: &ServerName, pins: &[Pin]) -> String {
    let claim = pins.iter().filter(|pin| pin.definition.hints.read_only);
    let sections: String = claim
        .map(|pin| {
            let name = toml_edit::Key::new(&*pin.definition.id.name);
            format!("[servers.{server}.tools.{name}]\naccess = \"read\"\n")
        })
        .collect();
    match sections.is_empty() {
        true => format!("# {server}: no tool says of itself that it only reads\n"),
        false => format!(
            "# {server} says itself that these only read. If you believe it, paste into countersign.toml:\n{sections}"
        ),
    }
}

/// The arguments that policies cannot see, with what that means.
fn unseen(catalogue: &Catalogue, tool: &ToolId) -> String {
    let names: Vec<String> = catalogue
        .bundle()
        .opaque_arguments(tool)
        .iter()
        .map(|(name, why)| format!("{name} ({why})"))
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(
            "{tool}: policies cannot see {}; `global.opaque-write` refuses a writing call that has it\n",
            names.join(", ")
        ),
    }
}
