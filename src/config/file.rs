//! The shape of `countersign.toml`. Unknown keys are refused, with the line they
//! stand in and the keys that are known there.

use super::http;
use crate::broker::ServerRules;
use crate::downstream;
use crate::tool::Access;
use crate::tool::ServerName;
use crate::tool::ToolRules;
use jiff::SignedDuration;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) store: StoreSection,
    #[serde(default)]
    pub(super) policy: PolicySection,
    #[serde(default)]
    pub(super) session: SessionSection,
    #[serde(default)]
    pub(super) stdio: StdioSection,
    #[serde(default)]
    pub(super) http: http::HttpSection,
    #[serde(default)]
    pub(super) names: NamesSection,
    #[serde(default)]
    pub(super) servers: BTreeMap<String, ServerSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StoreSection {
    pub(super) path: PathBuf,
    pub(super) durability: Survives,
    pub(super) time_zone: String,
    pub(super) keep: Kept,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            path: "countersign.db".into(),
            durability: Survives::Process,
            time_zone: "UTC".to_owned(),
            keep: Kept::Arguments,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Survives {
    Process,
    Power,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kept {
    Nothing,
    Arguments,
    Everything,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicySection {
    pub(super) folder: PathBuf,
    pub(super) principals: PathBuf,
    pub(super) money_scale: u8,
}

impl Default for PolicySection {
    fn default() -> Self {
        Self {
            folder: "policies".into(),
            principals: "principals.toml".into(),
            money_scale: 2,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SessionSection {
    pub(super) idle: SignedDuration,
}

impl Default for SessionSection {
    fn default() -> Self {
        Self {
            idle: SignedDuration::from_hours(8),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StdioSection {
    pub(super) principal: Option<String>,
    pub(super) session: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NamesSection {
    pub(super) longest: usize,
}

impl Default for NamesSection {
    /// Claude Code puts `mcp__countersign__` before each name, and model
    /// providers take 64 characters.
    fn default() -> Self {
        Self { longest: 46 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerSection {
    command: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<PathBuf>,
    #[serde(default = "unclassified")]
    trust: String,
    #[serde(default = "call_timeout")]
    timeout: SignedDuration,
    #[serde(default = "start_timeout")]
    start_timeout: SignedDuration,
    #[serde(default)]
    tools: BTreeMap<String, ToolSection>,
}

fn unclassified() -> String {
    "unclassified".to_owned()
}

fn call_timeout() -> SignedDuration {
    SignedDuration::from_secs(60)
}

fn start_timeout() -> SignedDuration {
    SignedDuration::from_secs(30)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ToolSection {
    access: AccessWord,
    risk: String,
    money: Vec<String>,
    meter: Vec<String>,
    sum: Vec<String>,
    path: Vec<String>,
    url: Vec<String>,
    under: BTreeMap<String, String>,
    refund_on_failure: bool,
    timeout: Option<SignedDuration>,
}

impl Default for ToolSection {
    fn default() -> Self {
        Self {
            access: AccessWord::Write,
            risk: unclassified(),
            money: Vec::new(),
            meter: Vec::new(),
            sum: Vec::new(),
            path: Vec::new(),
            url: Vec::new(),
            under: BTreeMap::new(),
            refund_on_failure: false,
            timeout: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AccessWord {
    Read,
    Write,
}

impl ServerSection {
    /// What is wrong with the values: the key, and what would be right.
    pub(super) fn validate(&self) -> Result<(), (String, String)> {
        if self.command.trim().is_empty() {
            let problem = "write the program that starts the server, for example `npx`";
            return Err(("command".to_owned(), problem.to_owned()));
        }
        let tools = self.tools.iter().filter_map(|(name, tool)| {
            tool.timeout
                .map(|timeout| (format!("tools.{name}.timeout"), timeout))
        });
        let times = [
            ("timeout".to_owned(), self.timeout),
            ("start_timeout".to_owned(), self.start_timeout),
        ];
        for (key, time) in times.into_iter().chain(tools) {
            if !time.is_positive() {
                return Err((key, "write a time above zero, like `60s`".to_owned()));
            }
        }
        Ok(())
    }

    pub(super) fn settings(
        &self,
        name: ServerName,
        folder: &Path,
        keeper: &Path,
    ) -> downstream::Settings {
        downstream::Settings {
            name,
            place: downstream::Place::Child(downstream::Program {
                command: self.command.clone(),
                args: self.args.clone(),
                env: self.env.clone(),
                // A desktop client starts us in a folder of its own choice.
                cwd: Some(
                    self.cwd
                        .as_ref()
                        .map_or(folder.to_owned(), |cwd| folder.join(cwd)),
                ),
                keeper: keeper.to_owned(),
            }),
            timeout: whole(self.timeout),
            start_timeout: whole(self.start_timeout),
            max_message: downstream::Settings::MAX_MESSAGE,
        }
    }

    pub(super) fn rules(&self) -> ServerRules {
        ServerRules {
            trust: self.trust.clone(),
            tools: self
                .tools
                .iter()
                .map(|(name, tool)| (name.clone(), tool.rules()))
                .collect(),
        }
    }
}

impl ToolSection {
    fn rules(&self) -> ToolRules {
        ToolRules {
            access: match self.access {
                AccessWord::Read => Access::Read,
                AccessWord::Write => Access::Write,
            },
            risk: self.risk.clone(),
            money: self.money.clone(),
            meters: self.meter.clone(),
            sums: self.sum.clone(),
            paths: self.path.clone(),
            urls: self.url.clone(),
            under: self.under.clone(),
            refund_on_failure: self.refund_on_failure,
            timeout: self.timeout.map(whole),
        }
    }
}

/// A time that was checked to be above zero.
fn whole(time: SignedDuration) -> Duration {
    Duration::try_from(time).unwrap_or_default()
}
