//! The shape of `countersign.toml`. Unknown keys are refused, with the line they
//! stand in and the keys that are known there.

mod reached;
mod spread;
mod tool;

pub(super) use tool::labels;

use super::http;
use super::imported::Entry;
use super::journal::JournalSection;
use super::meters::MeterSection;
use super::notify::EscalationsSection;
use super::references;
use super::webhooks::EventsSection;
use super::webhooks::WebhookSection;
use crate::broker::Denials;
use crate::broker::ServerRules;
use crate::downstream;
use crate::downstream::Place;
use crate::downstream::Program;
use crate::downstream::Remote;
use crate::downstream::RemoteError;
use crate::downstream::Spread;
use crate::downstream::Transport;
use crate::tool::ServerName;
use crate::tool::UNCLASSIFIED;
use jiff::SignedDuration;
use serde::Deserialize;
use spread::AffinityWord;
use spread::InstanceWord;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use tool::ToolSection;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) store: StoreSection,
    #[serde(default)]
    pub(super) journal: JournalSection,
    #[serde(default)]
    pub(super) policy: PolicySection,
    #[serde(default)]
    pub(super) session: SessionSection,
    #[serde(default)]
    pub(super) escalations: EscalationsSection,
    #[serde(default)]
    pub(super) stdio: StdioSection,
    #[serde(default)]
    pub(super) http: http::HttpSection,
    #[serde(default)]
    pub(super) names: NamesSection,
    #[serde(default)]
    pub(super) meters: Vec<MeterSection>,
    #[serde(default)]
    pub(super) servers_from: From,
    #[serde(default)]
    pub(super) servers: BTreeMap<String, ServerSection>,
}

/// Files of clients whose servers are taken over.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged, expecting = "a path, or a list of paths")]
pub(super) enum From {
    #[default]
    Nowhere,
    One(String),
    Several(Vec<String>),
}

impl From {
    pub(super) fn paths(&self) -> &[String] {
        match self {
            Self::Nowhere => &[],
            Self::One(path) => std::slice::from_ref(path),
            Self::Several(paths) => paths,
        }
    }
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
    /// After how long an unused session ends; never where it is left out.
    pub(super) expire: Option<SignedDuration>,
    /// How long a label sticks to whoever met it.
    pub(super) labels_stick: SignedDuration,
    /// How long after a warning was given the call that it is about counts as made before.
    pub(super) warnings_settle: SignedDuration,
    /// How long a denial is of lately.
    pub(super) denied_lately: SignedDuration,
    /// How many denials of lately freeze their session; never where it is left out.
    pub(super) freeze_after_denials: Option<u32>,
    pub(super) tools: OwnToolsSection,
    pub(super) webhooks: Vec<WebhookSection>,
    pub(super) events: EventsSection,
}

/// The broker's own tools.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OwnToolsSection {
    /// Whether they are offered; where it is left out, unless names have no prefix.
    pub(super) offer: Option<bool>,
    /// What some of them are called instead.
    pub(super) names: BTreeMap<String, String>,
}

impl Default for SessionSection {
    fn default() -> Self {
        Self {
            idle: SignedDuration::from_hours(8),
            expire: None,
            labels_stick: SignedDuration::from_hours(1),
            warnings_settle: SignedDuration::from_millis(100),
            denied_lately: Denials::default().lately,
            freeze_after_denials: None,
            tools: OwnToolsSection::default(),
            webhooks: Vec::new(),
            events: EventsSection::default(),
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
    /// Whether the name of the server stands before each name.
    pub(super) prefix: bool,
}

impl Default for NamesSection {
    /// Claude Code puts `mcp__countersign__` before each name, and model
    /// providers take 64 characters.
    fn default() -> Self {
        Self {
            longest: 46,
            prefix: true,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerSection {
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<PathBuf>,
    url: Option<String>,
    urls: Option<Vec<String>>,
    affinity: Option<AffinityWord>,
    #[serde(default)]
    instance: InstanceWord,
    max_instances: Option<usize>,
    instance_idle: Option<SignedDuration>,
    resume_tool: Option<String>,
    resume_argument: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(rename = "type")]
    transport: Option<TransportWord>,
    #[serde(default = "unclassified")]
    trust: String,
    #[serde(default = "call_timeout")]
    timeout: SignedDuration,
    #[serde(default = "start_timeout")]
    start_timeout: SignedDuration,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    sink: bool,
    #[serde(default)]
    on_approval: tool::OnApprovalWord,
    #[serde(default)]
    tools: BTreeMap<String, ToolSection>,
}

fn unclassified() -> String {
    UNCLASSIFIED.to_owned()
}

fn call_timeout() -> SignedDuration {
    SignedDuration::from_secs(60)
}

fn start_timeout() -> SignedDuration {
    SignedDuration::from_secs(30)
}

/// As client files write it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TransportWord {
    Stdio,
    #[serde(alias = "streamable-http", alias = "streamableHttp")]
    Http,
    Sse,
}

/// What is said of a time that is none.
const NO_TIME: &str = "write a time above zero, like `60s`";

/// Why a server's section cannot be used: the key, and what would be right.
pub(super) type Wrong = (String, String);

fn wrong(key: &str, problem: &str) -> Wrong {
    (key.to_owned(), problem.to_owned())
}

impl ServerSection {
    /// A section that says nothing: every key has its default.
    pub(super) fn empty() -> Self {
        Self {
            command: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            url: None,
            urls: None,
            affinity: None,
            instance: InstanceWord::default(),
            max_instances: None,
            instance_idle: None,
            resume_tool: None,
            resume_argument: None,
            headers: BTreeMap::new(),
            transport: None,
            trust: unclassified(),
            timeout: call_timeout(),
            start_timeout: start_timeout(),
            labels: Vec::new(),
            sink: false,
            on_approval: tool::OnApprovalWord::default(),
            tools: BTreeMap::new(),
        }
    }

    /// Whether it does not say how the server is reached.
    pub(super) fn is_nowhere(&self) -> bool {
        self.command.is_none() && self.url.is_none() && self.urls.is_none()
    }

    /// Takes over how a client reaches the server, unless the section says it
    /// itself.
    pub(super) fn fill(&mut self, entry: &Entry) {
        if !self.is_nowhere() {
            return;
        }
        self.command.clone_from(&entry.command);
        self.args.clone_from(&entry.args);
        self.env.clone_from(&entry.env);
        self.cwd = entry.cwd.as_ref().map(PathBuf::from);
        self.url.clone_from(&entry.url);
        self.headers.clone_from(&entry.headers);
        self.transport = entry.transport.map(|word| match word {
            "sse" => TransportWord::Sse,
            _ => TransportWord::Http,
        });
    }

    /// What is wrong with the values: the key, and what would be right.
    pub(super) fn validate(&self) -> Result<(), Wrong> {
        for (key, time) in [
            ("timeout", self.timeout),
            ("start_timeout", self.start_timeout),
        ] {
            if !time.is_positive() {
                return Err((key.to_owned(), NO_TIME.to_owned()));
            }
        }
        self.validate_instances()?;
        tool::labels(&self.labels)?;
        for (name, tool) in &self.tools {
            tool.validate()
                .map_err(|(key, why)| (format!("tools.{name}.{key}"), why))?;
        }
        Ok(())
    }

    /// What the server's room is told of it.
    pub(super) fn settings(
        &self,
        name: ServerName,
        folder: &Path,
        keeper: &Path,
    ) -> Result<downstream::Settings, Wrong> {
        let (place, spread) = match &self.urls {
            None => (self.place(folder, keeper)?, Spread::default()),
            Some(urls) => self.places(urls, folder)?,
        };
        if self.affinity.is_some() && spread.others.is_empty() {
            return Err(wrong(
                "affinity",
                "it says which of several replicas a call goes to: write two or more `urls`, or leave it out",
            ));
        }
        Ok(downstream::Settings {
            name,
            place,
            spread,
            instances: self.instances(),
            keeper: None,
            timeout: whole(self.timeout),
            start_timeout: whole(self.start_timeout),
            max_message: downstream::Settings::MAX_MESSAGE,
            declared: None,
        })
    }

    fn place(&self, folder: &Path, keeper: &Path) -> Result<Place, Wrong> {
        let wrong = |key: &str, problem: &str| Err(wrong(key, problem));
        match (&self.command, &self.url) {
            (Some(command), None) if command.trim().is_empty() => wrong(
                "command",
                "write the program that starts the server, for example `npx`",
            ),
            (Some(command), None) => {
                if !matches!(self.transport, None | Some(TransportWord::Stdio)) {
                    return wrong("type", "a server with a `command` is `stdio`: leave it out");
                }
                if !self.headers.is_empty() {
                    return wrong("headers", "they go with a `url`; a program takes `env`");
                }
                let program = self.program(command, folder, keeper)?;
                Ok(Place::Child(program))
            }
            (None, Some(url)) => self.remote(("url", url), folder).map(Place::Remote),
            (None, None) => wrong(
                "command",
                "a server needs `command`, the program that starts it, or `url`, where it is",
            ),
            (Some(_), Some(_)) => wrong(
                "url",
                "a server has a `command` or a `url`, not both: leave one out",
            ),
        }
    }

    fn program(&self, command: &str, folder: &Path, keeper: &Path) -> Result<Program, Wrong> {
        let text = |key: &str, text: &str| references::expanded(text, folder, key);
        let mut args = Vec::new();
        for (place, arg) in self.args.iter().enumerate() {
            args.push(text(&format!("args[{place}]"), arg)?);
        }
        let mut env = BTreeMap::new();
        for (name, value) in &self.env {
            env.insert(name.clone(), text(&format!("env.{name}"), value)?);
        }
        let cwd = self.cwd.as_ref().map(|cwd| cwd.to_string_lossy());
        let cwd = cwd.map(|cwd| text("cwd", &cwd)).transpose()?;
        Ok(Program {
            command: text("command", command)?,
            args,
            env,
            // A desktop client starts us in a folder of its own choice.
            cwd: Some(cwd.map_or(folder.to_owned(), |cwd| folder.join(cwd))),
            keeper: keeper.to_owned(),
        })
    }

    fn remote(&self, (key, spelled): (&str, &str), folder: &Path) -> Result<Remote, Wrong> {
        for (key, there) in [
            ("args", !self.args.is_empty()),
            ("env", !self.env.is_empty()),
            ("cwd", self.cwd.is_some()),
        ] {
            if there {
                let problem =
                    "it goes with a `command`; a server with a `url` is not started by us";
                return Err((key.to_owned(), problem.to_owned()));
            }
        }
        let transport = match self.transport {
            None => Transport::Either,
            Some(TransportWord::Http) => Transport::Streamable,
            Some(TransportWord::Sse) => Transport::Sse,
            Some(TransportWord::Stdio) => {
                let problem = "a server with a `url` is `http` or `sse`: leave it out to find out";
                return Err(("type".to_owned(), problem.to_owned()));
            }
        };
        let url = references::expanded(spelled, folder, key)?;
        let mut headers = BTreeMap::new();
        for (name, value) in &self.headers {
            let value = references::expanded(value, folder, &format!("headers.{name}"))?;
            headers.insert(name.clone(), value);
        }
        let remote = Remote::new(&url, &headers, transport).map_err(|error| {
            let key = match &error {
                RemoteError::Url { .. } | RemoteError::Credentials => key.to_owned(),
                RemoteError::Name { name }
                | RemoteError::Ours { name }
                | RemoteError::Value { name } => format!("headers.{name}"),
            };
            (key, error.to_string())
        })?;
        Ok(remote.spelled_as(spelled))
    }

    pub(super) fn rules(&self) -> ServerRules {
        ServerRules {
            trust: self.trust.clone(),
            labels: tool::labels(&self.labels).unwrap_or_default(),
            sink: self.sink,
            on_approval: self.on_approval.said(),
            resume: self.resume(),
            tools: self
                .tools
                .iter()
                .map(|(name, tool)| (name.clone(), tool.rules()))
                .collect(),
        }
    }
}

/// A time that was checked to be above zero.
fn whole(time: SignedDuration) -> Duration {
    Duration::try_from(time).unwrap_or_default()
}
