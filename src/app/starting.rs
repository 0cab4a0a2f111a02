//! `countersign policy new`: policies to begin with, for the servers that are
//! configured.

use super::check;
use super::check::Checked;
use super::check::Pins;
use crate::broker::Catalogue;
use crate::broker::Known;
use crate::broker::Rules;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::GLOBAL_POLICY;
use crate::config::STARTING_POLICIES;
use crate::downstream::Replicas;
use crate::pins::Pin;
use crate::policy::PolicyFile;
use crate::tool::Access;
use crate::tool::ServerName;
use crate::tool::ToolId;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;

/// The permit of what was declared as reading.
pub(super) const READING: &str = "start.read";

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
    /// Where they belong, and their texts.
    pub files: Vec<(PathBuf, String)>,
    /// Files of an earlier beginning that would still hold beside them.
    pub replaced: Vec<PathBuf>,
    /// Texts of policies to begin with that are made again when they are asked for, so
    /// that nothing is lost with them.
    pub made: Vec<String>,
    /// What is good to know, for people.
    pub notes: String,
}

/// What there is to write policies for.
struct Seen<'a> {
    config: &'a Config,
    pins: Pins,
    downstreams: BTreeMap<ServerName, Replicas>,
    problems: Vec<String>,
}

/// Makes policies for the servers that are there now, or were seen before.
///
/// # Errors
///
/// When no server is configured, the configuration cannot be read, or the policies would
/// not be valid beside those that are there.
pub async fn starting(config: &Config, start: Start) -> anyhow::Result<Starting> {
    let seen = Seen::look(config).await?;
    let made = seen.starting(start);
    seen.stop().await;
    made
}

/// Makes policies for the servers that no permit covers, each in a file of its
/// own, and leaves what is there as it is.
///
/// # Errors
///
/// As for [`starting`].
pub async fn adding(config: &Config, start: Start) -> anyhow::Result<Starting> {
    let seen = Seen::look(config).await?;
    let made = seen.adding(start);
    seen.stop().await;
    made
}

impl<'a> Seen<'a> {
    async fn look(config: &'a Config) -> anyhow::Result<Self> {
        anyhow::ensure!(
            !config.broker.servers.is_empty(),
            "nothing was written: {}",
            check::no_server(config)
        );
        let mut checked = Checked::default();
        let mut pins = check::stored_pins(config, &mut checked).await?;
        let downstreams = check::look_at_servers(config, &mut pins, &mut checked).await?;
        Ok(Self {
            config,
            pins,
            downstreams,
            problems: checked.problems,
        })
    }

    async fn stop(&self) {
        for downstream in self.downstreams.values() {
            downstream.stop().await;
        }
    }

    fn starting(&self, start: Start) -> anyhow::Result<Starting> {
        let rules = &self.config.rules;
        let permissive = self.permissive();
        let text = match start {
            Start::Permissive => permissive.clone(),
            Start::ReadOnly => READ_ONLY.to_owned(),
        };
        let mut notes = String::new();
        for server in self.config.broker.servers.keys() {
            match (self.pins.get(server), start) {
                (None, _) => notes.push_str(&never_seen(server)),
                (Some(_), Start::Permissive) => {}
                (Some(pins), Start::ReadOnly) => {
                    notes.push_str(&suggestions(server, pins, self.config));
                }
            }
        }
        let mut files = match rules.policy_files() {
            Ok(files) => files,
            Err(ConfigError::NoPolicies { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let general = self.general(&files)?;
        files.extend(general.clone());
        let servers = self.config.broker.servers.keys();
        let added: Vec<String> = servers.map(file_of).collect();
        let mut replaced = Vec::new();
        files.retain(|file| {
            let is_added = added.contains(&file.name);
            replaced.extend(is_added.then(|| rules.policies.join(&file.name)));
            !is_added && file.name != STARTING_POLICIES
        });
        files.push(PolicyFile {
            name: STARTING_POLICIES.to_owned(),
            text: text.clone(),
        });
        let catalogue = self.catalogue(files)?;
        for (_name, tool) in catalogue.names() {
            // Not of the broker's own tools.
            if self.config.broker.servers.contains_key(&tool.server) {
                notes.push_str(&unseen(&catalogue, tool));
            }
        }
        notes.push_str(&self.problems());
        Ok(Starting {
            files: general
                .map(|file| (rules.policies.join(file.name), file.text))
                .into_iter()
                .chain([(rules.policies.join(STARTING_POLICIES), text)])
                .collect(),
            replaced,
            made: vec![permissive, READ_ONLY.to_owned()],
            notes,
        })
    }

    /// Everything, of the servers that were seen.
    fn permissive(&self) -> String {
        let servers = self.config.broker.servers.keys();
        let seen = servers.filter_map(|server| Some((server, self.pins.get(server)?)));
        let permits = seen.map(|(server, pins)| format!("\n{}", permit(server, pins)));
        std::iter::once(PERMISSIVE.to_owned())
            .chain(permits)
            .collect()
    }

    /// What is good to have in every set, where there is no policy at all and its roles
    /// are declared: without it nobody could open a session by name.
    fn general(&self, there: &[PolicyFile]) -> Result<Option<PolicyFile>, ConfigError> {
        let roles = self.config.rules.principals()?.roles;
        let fits = ["Junior", "Manager"]
            .into_iter()
            .all(|role| roles.contains_key(role));
        Ok((there.is_empty() && fits).then(|| PolicyFile {
            name: "global.cedar".to_owned(),
            text: GLOBAL_POLICY.to_owned(),
        }))
    }

    fn adding(&self, start: Start) -> anyhow::Result<Starting> {
        let rules = &self.config.rules;
        let mut files = rules.policy_files()?;
        let before = self.catalogue(files.clone())?;
        let uncovered = before.bundle().uncovered();
        let (mut notes, mut written) = (String::new(), Vec::new());
        for server in self.config.broker.servers.keys() {
            let Some(pins) = self.pins.get(server) else {
                notes.push_str(&never_seen(server));
                continue;
            };
            if !uncovered.contains(server) {
                continue;
            }
            if start == Start::ReadOnly {
                notes.push_str(&suggestions(server, pins, self.config));
            }
            let name = file_of(server);
            let path = rules.policies.join(&name);
            if let Some(why) = in_the_way(&before, server, &path, start) {
                writeln!(notes, "{server}: {why}")?;
                continue;
            }
            let text = match start {
                Start::Permissive => permit(server, pins),
                Start::ReadOnly => permit_reading(server),
            };
            files.push(PolicyFile {
                name,
                text: text.clone(),
            });
            written.push((path, text));
        }
        let catalogue = self.catalogue(files)?;
        for (_name, tool) in catalogue.names() {
            if uncovered.contains(&tool.server) {
                notes.push_str(&unseen(&catalogue, tool));
            }
        }
        notes.push_str(&self.problems());
        Ok(Starting {
            files: written,
            replaced: Vec::new(),
            made: Vec::new(),
            notes,
        })
    }

    fn problems(&self) -> String {
        let problems = self.problems.iter();
        problems
            .map(|problem| format!("PROBLEM {problem}\n"))
            .collect()
    }

    /// What these policies come to.
    fn catalogue(&self, files: Vec<PolicyFile>) -> anyhow::Result<Catalogue> {
        let broker = &self.config.broker;
        let rules = Rules {
            files,
            principals: self.config.rules.principals()?,
        };
        let known = Known {
            pins: &self.pins,
            resources: &BTreeMap::new(),
            downstreams: &self.downstreams,
        };
        let shape = broker.shape();
        Ok(Catalogue::build(&rules, &broker.servers, known, shape)?)
    }
}

/// The file of a server that came later.
fn file_of(server: &ServerName) -> String {
    format!("start-{server}.cedar")
}

fn never_seen(server: &ServerName) -> String {
    format!(
        "{server}: it was never seen, so nothing is permitted there; when it is there, run this with `--add`\n"
    )
}

/// What stands where the policies of a server would go, or makes up for them.
fn in_the_way(
    catalogue: &Catalogue,
    server: &ServerName,
    path: &Path,
    start: Start,
) -> Option<String> {
    let policies = || catalogue.bundle().policies();
    if start == Start::ReadOnly && policies().any(|policy| policy.id == READING) {
        return Some("`start.read` permits what you declare there".to_owned());
    }
    let id = format!("start.{server}");
    let taken = policies().find(|policy| policy.id == id);
    let taken = taken.map(|policy| format!("`{id}` ({}:{})", policy.file, policy.line));
    let there = taken.or_else(|| path.exists().then(|| format!("`{}`", path.display())))?;
    Some(format!(
        "{there} is there already and permits nothing of it: change it by hand"
    ))
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

fn permit_reading(server: &ServerName) -> String {
    format!(
        "// What countersign.toml declares as reading (`access = \"read\"`).\n@id(\"start.{server}\")\npermit (principal, action in Broker::Action::\"read\", resource in Broker::Server::\"{server}\");\n"
    )
}

/// The tools that call themselves reading and were not declared so, as sections to paste.
fn suggestions(server: &ServerName, pins: &[Pin], config: &Config) -> String {
    let mut claim = pins
        .iter()
        .filter(|pin| pin.definition.hints.read_only)
        .peekable();
    if claim.peek().is_none() {
        return format!(
            "# {server}: no tool says of itself that it only reads; declare by hand those that do, as `[servers.{server}.tools.TOOL]` with `access = \"read\"`\n"
        );
    }
    let rules = config.broker.servers.get(server);
    let (mut sections, mut have_one) = (String::new(), Vec::new());
    for pin in claim {
        let name = &*pin.definition.id.name;
        match rules.and_then(|rules| rules.tools.get(name)) {
            Some(declared) if declared.access == Access::Read => {}
            // A second section of one name would be no TOML.
            Some(_) => have_one.push(name),
            None => sections.push_str(&format!(
                "[servers.{server}.tools.{}]\naccess = \"read\"\n",
                toml_edit::Key::new(name)
            )),
        }
    }
    let mut text = String::new();
    if !sections.is_empty() {
        text = format!(
            "# {server} says itself that these only read. If you believe it, paste into countersign.toml:\n{sections}"
        );
    }
    if !have_one.is_empty() {
        text.push_str(&format!(
            "# {server} says itself that these only read too; if you believe it, write `access = \"read\"` into the sections that they have: {}\n",
            have_one.join(", ")
        ));
    }
    text
}

/// The arguments for which calls are refused, because policies cannot see them.
fn unseen(catalogue: &Catalogue, tool: &ToolId) -> String {
    let names: Vec<String> = catalogue
        .bundle()
        .opaque_arguments(tool)
        .iter()
        .map(|(name, why)| format!("{name} ({why})"))
        .collect();
    // Where none stops it, it is nobody's trouble.
    match (names.is_empty(), catalogue.bundle().stops_unseen(tool)) {
        (false, Some(policy)) => format!(
            "{tool}: policies cannot see {}; `{policy}` refuses calls that have it, and `countersign check` says what can be done\n",
            names.join(", ")
        ),
        _ => String::new(),
    }
}
