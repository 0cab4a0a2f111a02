//! The configuration files of MCP clients: where they are, and our entry in
//! them. What else stands in such a file is the client's and stays as it is, byte
//! for byte.

mod entry;
#[cfg(test)]
mod tests;

pub use entry::Launch;

use entry::Edit;
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

/// The name of our entry.
const OURS: &str = "countersign";

/// A program that speaks MCP to servers that its configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Anthropic's desktop application.
    ClaudeDesktop,
    /// Anthropic's command line.
    ClaudeCode,
    /// The editor Cursor.
    Cursor,
    /// Visual Studio Code.
    VsCode,
    /// OpenAI's command line.
    Codex,
    /// Google's command line.
    Gemini,
    /// The editor Windsurf.
    Windsurf,
}

/// No client of this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no client that is known here: there are claude-desktop, claude-code, cursor, vscode, codex, gemini and windsurf"
)]
pub struct UnknownClient(String);

/// Why a client's file could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It cannot be read or written.
    #[error("cannot {doing} `{}`", path.display())]
    File {
        /// What was being done: `read`, `write`.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What stands in it is not what the client reads.
    #[error("`{}` is not right, so it is left as it is: {problem}", path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is nothing of ours to take out.
    #[error("`{}` has no entry of Countersign", path.display())]
    NotConnected {
        /// Which file.
        path: PathBuf,
    },
}

impl Client {
    /// Every client.
    pub const ALL: [Self; 7] = [
        Self::ClaudeDesktop,
        Self::ClaudeCode,
        Self::Cursor,
        Self::VsCode,
        Self::Codex,
        Self::Gemini,
        Self::Windsurf,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "claude-desktop",
            Self::ClaudeCode => "claude-code",
            Self::Cursor => "cursor",
            Self::VsCode => "vscode",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Windsurf => "windsurf",
        }
    }

    /// Where its file may be, the likeliest first. `here` is the folder of the
    /// project.
    pub fn places(self, home: &Path, here: &Path) -> Vec<PathBuf> {
        let of_home = |path: &str| home.join(path);
        match self {
            Self::ClaudeDesktop => vec![
                of_home("Library/Application Support/Claude/claude_desktop_config.json"),
                of_home(".config/Claude/claude_desktop_config.json"),
                of_home(".config/claude/claude_desktop_config.json"),
            ],
            Self::ClaudeCode => vec![here.join(".mcp.json"), of_home(".claude.json")],
            Self::Cursor => vec![here.join(".cursor/mcp.json"), of_home(".cursor/mcp.json")],
            Self::VsCode => vec![
                here.join(".vscode/mcp.json"),
                of_home("Library/Application Support/Code/User/mcp.json"),
                of_home(".config/Code/User/mcp.json"),
            ],
            Self::Codex => vec![of_home(".codex/config.toml")],
            Self::Gemini => vec![of_home(".gemini/settings.json")],
            Self::Windsurf => vec![of_home(".codeium/windsurf/mcp_config.json")],
        }
    }

    /// Its file: the first that is there, else where it would look on this
    /// system.
    pub fn file(self, home: &Path, here: &Path) -> PathBuf {
        let places = self.places(home, here);
        let there = places.iter().find(|place| place.is_file());
        let is_mac = cfg!(target_os = "macos");
        let usual = places.iter().find(|place| {
            let of_mac = place.to_string_lossy().contains("Application Support");
            of_mac == is_mac || !matches!(self, Self::ClaudeDesktop | Self::VsCode)
        });
        there.or(usual).cloned().unwrap_or_default()
    }

    /// How an entry for it looks.
    fn holder(self) -> entry::Holder {
        match self {
            Self::VsCode => entry::Holder::Servers,
            Self::Codex => entry::Holder::Toml,
            Self::ClaudeDesktop
            | Self::ClaudeCode
            | Self::Cursor
            | Self::Gemini
            | Self::Windsurf => entry::Holder::McpServers,
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Client {
    type Err = UnknownClient;

    fn from_str(text: &str) -> Result<Self, UnknownClient> {
        let known = Self::ALL.into_iter().find(|client| client.name() == text);
        known.ok_or_else(|| UnknownClient(text.to_owned()))
    }
}

/// What a change to a client's file comes to.
#[derive(Debug)]
pub struct Change {
    /// The file, links followed.
    pub path: PathBuf,
    /// What stood there before; none where there was no file.
    before: Option<String>,
    /// What shall stand there; none where the file is to go.
    after: Option<String>,
    /// The other servers that the client still reaches by itself.
    pub beside: Vec<String>,
}

/// Whether the other servers of a client stay in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They stay: the client reaches them past us.
    Stay,
    /// They are taken out.
    Go,
}

/// Puts our entry into a client's file.
///
/// # Errors
///
/// When the file cannot be read, or is not what the client reads.
pub fn connecting(
    client: Client,
    path: &Path,
    launch: &Launch,
    others: Others,
) -> Result<Change, ClientError> {
    let path = followed(path);
    let before = read(&path)?;
    let text = before.as_deref().unwrap_or_default();
    let shape = |problem: String| ClientError::Shape {
        path: path.clone(),
        problem,
    };
    let holder = client.holder();
    let added = Edit::Add(launch);
    let mut after = entry::edited(holder, text, &added).map_err(shape)?;
    let mut beside = entry::names(holder, text).map_err(shape)?;
    beside.retain(|name| name != OURS);
    if others == Others::Go {
        for name in &beside {
            after = entry::edited(holder, &after, &Edit::Remove(name)).map_err(shape)?;
        }
    }
    Ok(Change {
        path: path.clone(),
        before,
        after: Some(after),
        beside: match others {
            Others::Stay => beside,
            Others::Go => Vec::new(),
        },
    })
}

/// Takes our entry out again. Where nobody changed the file since, exactly what
/// stood there before comes back; else only our entry goes.
///
/// # Errors
///
/// When the file cannot be read, or has no entry of ours.
pub fn disconnecting(client: Client, path: &Path) -> Result<Change, ClientError> {
    let path = followed(path);
    let gone = || ClientError::NotConnected { path: path.clone() };
    let before = read(&path)?.ok_or_else(gone)?;
    let shape = |problem: String| ClientError::Shape {
        path: path.clone(),
        problem,
    };
    let has_ours = entry::names(client.holder(), &before).map_err(shape)?;
    if !has_ours.iter().any(|name| name == OURS) {
        return Err(gone());
    }
    let after = match Backup::at(&path)? {
        Some(backup) if backup.written == before => backup.original,
        Some(_) | None => {
            let without = entry::edited(client.holder(), &before, &Edit::Remove(OURS));
            Some(without.map_err(shape)?)
        }
    };
    Ok(Change {
        beside: Vec::new(),
        before: Some(before),
        after,
        path,
    })
}

impl Change {
    /// The lines that go and those that come, as `diff` shows them.
    pub fn shown(&self) -> String {
        let lines = |text: &Option<String>| -> Vec<String> {
            let text = text.as_deref().unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        };
        let (before, after) = (lines(&self.before), lines(&self.after));
        let same = before.iter().zip(&after).take_while(|(a, b)| a == b);
        let begins = same.count();
        let rest = before.len().min(after.len()) - begins;
        let (backwards, other) = (before.iter().rev(), after.iter().rev());
        let ends = backwards.zip(other).take(rest).take_while(|(a, b)| a == b);
        let ends = ends.count();
        let middle = |lines: &[String], mark: &str| -> String {
            let middle = lines.get(begins..lines.len() - ends).unwrap_or_default();
            let shown = middle.iter().map(|line| format!("{mark} {line}\n"));
            shown.collect()
        };
        format!("{}{}", middle(&before, "-"), middle(&after, "+"))
    }

    /// Whether anything changes.
    pub fn is_none(&self) -> bool {
        self.before == self.after
    }

    /// Makes the change, whole or not at all. What stood there before is kept
    /// beside the file.
    ///
    /// # Errors
    ///
    /// When the file or its backup cannot be written.
    pub fn apply(&self) -> Result<Option<PathBuf>, ClientError> {
        let backup = backup_path(&self.path);
        match &self.after {
            None => {
                remove(&self.path)?;
                remove(&backup)?;
                Ok(None)
            }
            Some(after) => {
                let kept = Backup {
                    original: self.before.clone(),
                    written: after.clone(),
                };
                write(&backup, &kept.text(), Some(0o600))?;
                write(&self.path, after, None)?;
                Ok(Some(backup))
            }
        }
    }
}

/// What a file held before we changed it, and what we wrote.
struct Backup {
    original: Option<String>,
    written: String,
}

impl Backup {
    fn at(path: &Path) -> Result<Option<Self>, ClientError> {
        let Some(text) = read(&backup_path(path))? else {
            return Ok(None);
        };
        let kept: Option<(Option<String>, String)> = serde_json::from_str(&text).ok();
        Ok(kept.map(|(original, written)| Self { original, written }))
    }

    fn text(&self) -> String {
        serde_json::json!([self.original, self.written]).to_string()
    }
}

fn backup_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".countersign-backup");
    PathBuf::from(name)
}

/// Where a path leads, so that a link stays one.
fn followed(path: &Path) -> PathBuf {
    path.canonicalize()
        .unwrap_or_else(|_not_there| path.to_owned())
}

fn read(path: &Path) -> Result<Option<String>, ClientError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ClientError::File {
            doing: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

fn remove(path: &Path) -> Result<(), ClientError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(ClientError::File {
            doing: "remove",
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a file in one step: whoever reads it sees the old text or the new one.
/// It keeps its mode, or gets this one.
fn write(path: &Path, text: &str, mode: Option<u32>) -> Result<(), ClientError> {
    let kept = std::fs::metadata(path).map(|found| found.permissions().mode() & 0o7777);
    let mode = mode.unwrap_or_else(|| kept.unwrap_or(0o600));
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    written().map_err(|source| ClientError::File {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}
