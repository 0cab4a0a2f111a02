//! Where clients keep their servers. Claude Code has three scopes: its user's and,
//! for each folder, local ones in `~/.claude.json`, and those of the project in
//! `.mcp.json`.

use super::Client;
use super::OURS;
use crate::config;
use crate::config::ConfigError;
use crate::config::Entry;
use crate::config::Imported;
use serde_json::Value;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

/// Why a server is left out for which the client has one that goes before it.
pub(super) const SHADOWED: &str = "the client uses the other one of this name";

/// Whose servers they are, in the words of `claude mcp add`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The user's, in one folder.
    Local,
    /// Those of everybody who works in the folder.
    Project,
    /// The user's, everywhere.
    User,
}

impl Scope {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Project => "project",
            Self::User => "user",
        }
    }
}

/// No scope of this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no scope: there are local, project and user")]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let all = [Self::Local, Self::Project, Self::User].into_iter();
        all.into_iter()
            .find(|scope| scope.name() == text)
            .ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// Where in its file a place is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// At the top.
    Top,
    /// Under `projects`, for this folder.
    Project(String),
}

/// One place where a client keeps servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose they are, where the client has several such places.
    pub scope: Option<Scope>,
    /// The file.
    pub path: PathBuf,
    /// Where in the file.
    pub section: Section,
}

impl Place {
    fn new(scope: Option<Scope>, path: PathBuf) -> Self {
        let section = Section::Top;
        Self {
            scope,
            path,
            section,
        }
    }

    /// A file of which nothing else is known.
    pub fn file(path: PathBuf) -> Self {
        Self::new(None, path)
    }

    /// The folder that the client starts these servers in, where they are of one
    /// project; `here` is where one stands.
    pub fn folder(&self, here: &Path) -> Option<PathBuf> {
        if let Section::Project(folder) = &self.section {
            return Some(PathBuf::from(folder));
        }
        if self.scope == Some(Scope::User) {
            return None;
        }
        let beside = here.join(&self.path);
        let beside = beside.parent()?;
        let inside = |name: &str| beside.file_name().is_some_and(|own| own == name);
        let is_shared = self.scope == Some(Scope::Project)
            || self
                .path
                .file_name()
                .is_some_and(|name| name == ".mcp.json")
            || inside(".cursor")
            || inside(".vscode");
        let folder = match inside(".cursor") || inside(".vscode") {
            true => beside.parent()?,
            false => beside,
        };
        is_shared.then(|| folder.to_owned())
    }

    /// Has an entry say in which folder the client starts it, where that can be seen to
    /// matter: where it says so itself, or its command or arguments name what lies in
    /// the folder of its project.
    pub fn settle(&self, entry: &mut Entry, here: &Path) {
        let Some(folder) = self.folder(here) else {
            return;
        };
        let lies_there = |text: &&String| {
            let path = Path::new(text.as_str());
            path.is_relative() && !text.is_empty() && folder.join(path).exists()
        };
        let command = entry.command.iter().filter(|text| text.contains('/'));
        let needs_it = command.chain(&entry.args).any(|text| lies_there(&text));
        if entry.command.is_none() || !(needs_it || entry.cwd.is_some()) {
            return;
        }
        let started = match &entry.cwd {
            Some(cwd) => folder.join(cwd),
            None => folder,
        };
        entry.cwd = Some(started.to_string_lossy().into_owned());
    }

    /// Has an entry of a project say in which folder the client starts it, in any case.
    /// Ours are started beside our configuration, in the folder `ours`; and whatever a
    /// server makes of its current folder, nobody can see in its entry. Returns whether
    /// that is another folder.
    pub fn keep_folder(&self, entry: &mut Entry, (here, ours): (&Path, &Path)) -> bool {
        self.settle(entry, here);
        let (Some(folder), true) = (self.folder(here), entry.command.is_some()) else {
            return false;
        };
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if entry.cwd.is_none() && real(&folder) != real(ours) {
            entry.cwd = Some(folder.to_string_lossy().into_owned());
        }
        entry.cwd.is_some()
    }

    /// The servers that stand there, in the text of its file.
    ///
    /// # Errors
    ///
    /// When they are not described as the client does it.
    pub fn read(&self, text: &str) -> Result<Vec<Imported>, ConfigError> {
        match &self.section {
            Section::Top => config::read_client(&self.path, text),
            Section::Project(folder) => config::read_client_project(&self.path, text, folder),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scope) = self.scope {
            write!(f, "{}, ", scope.name())?;
        }
        write!(f, "{}", self.path.display())
    }
}

/// Where one stands: what the places of clients are counted from.
#[derive(Clone, Debug)]
pub struct Around {
    /// The home folder.
    pub home: PathBuf,
    /// The folder of the project.
    pub here: PathBuf,
    /// Where Claude Code has its own file: `CLAUDE_CONFIG_DIR`, else the home
    /// folder.
    pub claude: PathBuf,
    /// Where we keep what their files held before we changed them.
    pub state: PathBuf,
}

impl Around {
    /// The folder that Claude Code keeps what is local under: the root of the git
    /// repository, else the folder itself.
    pub(super) fn project(&self) -> PathBuf {
        project_of(&self.here)
    }

    /// The places of a client, the one that it prefers first. Only some exist.
    pub fn places(&self, client: Client) -> Vec<Place> {
        let of_home = |path: &str| Place::new(None, self.home.join(path));
        let users = |path: &str| Place::new(Some(Scope::User), self.home.join(path));
        let here = |path: &str| Place::new(Some(Scope::Project), self.here.join(path));
        match client {
            Client::ClaudeDesktop => vec![
                of_home("Library/Application Support/Claude/claude_desktop_config.json"),
                of_home(".config/Claude/claude_desktop_config.json"),
                of_home(".config/claude/claude_desktop_config.json"),
            ],
            Client::ClaudeCode => self.of_claude_code(),
            Client::Cursor => vec![here(".cursor/mcp.json"), users(".cursor/mcp.json")],
            Client::VsCode => vec![
                here(".vscode/mcp.json"),
                users("Library/Application Support/Code/User/mcp.json"),
                users(".config/Code/User/mcp.json"),
            ],
            Client::Codex => vec![of_home(".codex/config.toml")],
            Client::Gemini => vec![of_home(".gemini/settings.json")],
            Client::Windsurf => vec![of_home(".codeium/windsurf/mcp_config.json")],
        }
    }

    /// Local over project over user; of the `.mcp.json` of the folders above, the
    /// nearest (checked with Claude Code 2.1.197).
    fn of_claude_code(&self) -> Vec<Place> {
        let own = self.claude.join(".claude.json");
        let folder = self.project().to_string_lossy().into_owned();
        let mut places = vec![Place {
            scope: Some(Scope::Local),
            path: own.clone(),
            section: Section::Project(folder),
        }];
        let above = self.here.ancestors();
        let files = above.map(|folder| folder.join(".mcp.json"));
        places.extend(files.map(|path| Place::new(Some(Scope::Project), path)));
        places.push(Place::new(Some(Scope::User), own));
        places
    }

    /// The place that an entry of ours goes to: the one of this scope, or where
    /// the client puts an entry itself.
    ///
    /// # Errors
    ///
    /// When the client has no such scope; the text says which it has.
    pub fn target(&self, client: Client, scope: Option<Scope>) -> Result<Place, String> {
        let places = self.places(client);
        let wanted = match client {
            // What `claude mcp add` does.
            Client::ClaudeCode => Some(scope.unwrap_or(Scope::Local)),
            _ => scope,
        };
        let there = |place: &&Place| place.path.is_file();
        let usual = |place: &&Place| {
            let of_mac = place.path.to_string_lossy().contains("Application Support");
            of_mac == cfg!(target_os = "macos")
                || !matches!(client, Client::ClaudeDesktop | Client::VsCode)
        };
        let mut fit = places
            .iter()
            .filter(|place| wanted.is_none() || place.scope == wanted);
        let first = match wanted {
            // Not those of the folders above.
            Some(Scope::Local | Scope::Project) => fit.next(),
            Some(Scope::User) | None => fit.clone().find(there).or_else(|| fit.find(usual)),
        };
        first.cloned().ok_or_else(|| {
            let scopes = places.iter().filter_map(|place| place.scope);
            let mut known: Vec<&str> = scopes.map(Scope::name).collect();
            known.dedup();
            match (known.is_empty(), wanted) {
                (false, Some(wanted)) => format!(
                    "{client} has no scope `{}`: there are {}",
                    wanted.name(),
                    known.join(" and ")
                ),
                _ => format!("{client} has one file only: leave `--scope` out"),
            }
        })
    }

    /// What stands in the places of a client that exist, as `read` reads them.
    pub(super) fn found_by(
        &self,
        client: Client,
        read: impl Fn(&Path) -> Option<String>,
    ) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::new();
        for place in self.places(client) {
            let real = place.path.canonicalize();
            let same = |other: &Found| {
                other.place.section == place.section
                    && real.as_ref().is_ok_and(|real| {
                        other
                            .place
                            .path
                            .canonicalize()
                            .is_ok_and(|path| path == *real)
                    })
            };
            // A disk that takes `Claude` and `claude` for one.
            if found.iter().any(same) {
                continue;
            }
            if let Some(text) = read(&place.path) {
                let servers = place.read(&text);
                found.push(Found { place, servers });
            }
        }
        self.leave_out(client, &mut found, read);
        found
    }

    /// What stands in the places of a client that exist.
    pub fn found(&self, client: Client) -> Vec<Found> {
        self.found_by(client, |path| config::plain_text(path).ok())
    }

    /// Whether a client seems to be on this machine: one of its files is there, or the
    /// folder that it keeps its own file in.
    pub fn has(&self, client: Client) -> bool {
        let its_own = |place: &Place| {
            let folder = place.path.parent();
            // Others keep something in the home folder, and in that of a project, too.
            place.scope != Some(Scope::Project)
                && folder.is_some_and(|folder| folder != self.home && folder.is_dir())
        };
        let places = self.places(client);
        let is_there = places
            .iter()
            .any(|place| place.path.is_file() || its_own(place));
        is_there || client == Client::ClaudeCode && self.home.join(".claude").is_dir()
    }

    /// The other folders for which Claude Code starts us, where it keeps them in its own
    /// file; no other client says so of a folder that one does not stand in.
    pub(super) fn elsewhere(&self, client: Client) -> Vec<String> {
        let folders = || {
            let own = config::plain_text(&self.claude.join(".claude.json")).ok()?;
            let whole: Value = jsonc_parser::parse_to_serde_value(&own, &config::as_json()).ok()?;
            let projects = whole.get("projects")?.as_object()?;
            let ours = projects.iter().filter(|(_, project)| {
                let servers = project.get("mcpServers");
                servers.is_some_and(|servers| servers.get(OURS).is_some())
            });
            Some(ours.map(|(folder, _)| folder.clone()).collect())
        };
        match client {
            Client::ClaudeCode => folders().unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Leaves out what the client does not use: what was switched off for this
    /// folder, and what another of the same name goes before.
    fn leave_out(
        &self,
        client: Client,
        found: &mut [Found],
        read: impl Fn(&Path) -> Option<String>,
    ) {
        let off = match client {
            Client::ClaudeCode => read(&self.claude.join(".claude.json")),
            _ => None,
        };
        let off = off.and_then(|text| {
            let whole: Value =
                jsonc_parser::parse_to_serde_value(&text, &config::as_json()).ok()?;
            let folder = self.project();
            let project = whole.get("projects")?.get(&*folder.to_string_lossy())?;
            Some(project.clone())
        });
        let is_off = |list: &str, name: &str| {
            let names = off.as_ref().and_then(|off| off.get(list)?.as_array());
            names.is_some_and(|names| names.iter().any(|off| off == name))
        };
        let mut taken: Vec<String> = Vec::new();
        for Found { place, servers } in found {
            for server in servers.iter_mut().flatten() {
                let shared = place.scope == Some(Scope::Project);
                let switched_off = is_off("disabledMcpServers", &server.name)
                    || shared && is_off("disabledMcpjsonServers", &server.name);
                if server.left_out.is_some() {
                    continue;
                }
                if switched_off {
                    server.left_out = Some("the client has switched it off here");
                } else if taken.contains(&server.name) {
                    server.left_out = Some(SHADOWED);
                } else {
                    taken.push(server.name.clone());
                }
            }
        }
    }
}

/// What stands in one place. Not `Debug`: it may hold secrets.
pub struct Found {
    /// Where.
    pub place: Place,
    /// The servers, or why they cannot be read.
    pub servers: Result<Vec<Imported>, ConfigError>,
}

/// The folder under which Claude Code keeps what is local to `here`: the root of
/// the git repository (of a further worktree, that of the first), else `here`.
fn project_of(here: &Path) -> PathBuf {
    let here = here.canonicalize().unwrap_or_else(|_| here.to_owned());
    for folder in here.ancestors() {
        let git = folder.join(".git");
        if git.is_dir() {
            return folder.to_owned();
        }
        if let Ok(text) = config::plain_text(&git) {
            return main_worktree(folder, &text).unwrap_or_else(|| folder.to_owned());
        }
    }
    here
}

/// The first worktree of a repository, by the `.git` file of another.
fn main_worktree(folder: &Path, git: &str) -> Option<PathBuf> {
    let own = folder.join(git.strip_prefix("gitdir:")?.trim());
    let common = std::fs::read_to_string(own.join("commondir")).ok()?;
    let common = own.join(common.trim()).canonicalize().ok()?;
    let is_usual = common.file_name().is_some_and(|name| name == ".git");
    is_usual.then(|| common.parent().map(Path::to_owned))?
}
