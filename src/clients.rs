//! The configuration files of MCP clients: where they are, and our entry in
//! them. What else stands in such a file is the client's and stays as it is, byte
//! for byte.

mod backup;
mod change;
mod changes;
mod entry;
mod file;
mod likeness;
mod places;
mod shown;
#[cfg(test)]
mod tests;

pub use change::Change;
pub use change::Left;
pub use changes::Changes;
pub use changes::Others;
pub use changes::Over;
pub use changes::connecting;
pub use changes::disconnecting;
pub use changes::replacing;
pub use changes::scoped;
pub use changes::taken;
pub use changes::taking_out;
pub use entry::Launch;
pub use likeness::Likeness;
pub use likeness::Other;
pub use likeness::likeness;
pub use places::Around;
pub use places::Found;
pub use places::Place;
pub use places::Scope;
pub use places::Section;
pub use places::UnknownScope;
pub use shown::secrets;

use crate::visible;
use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

/// The name of our entry.
pub const OURS: &str = "countersign";

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
    #[error(
        "{client} has no entry of Countersign here, so there is nothing to undo (looked in {}): {}",
        listed(looked),
        elsewhere(folders)
    )]
    NotConnected {
        /// Which client.
        client: Client,
        /// The files that were looked at.
        looked: Vec<PathBuf>,
        /// The folders for which there is one.
        folders: Vec<String>,
    },
    /// Somebody else took our entry out, or brought back what was there.
    #[error(
        "`{}` is not as `connect` left it: what it did there was undone by somebody else, so nothing is brought back. What it took out then ({}) is kept in `{}`: `--undo --force` puts it in where nothing of that name is there",
        path.display(),
        quoted(names),
        backup.display()
    )]
    Over {
        /// Which file.
        path: PathBuf,
        /// Where it is kept.
        backup: PathBuf,
        /// The servers.
        names: Vec<String>,
    },
    /// Somebody else writes the file.
    #[error("`{}` changed while it was worked on: end the client and run this again", path.display())]
    Unsteady {
        /// Which file.
        path: PathBuf,
    },
}

/// Names of servers, for a message.
fn quoted(names: &[String]) -> String {
    let names = names
        .iter()
        .map(|name| visible::one_line(name, visible::NAME));
    names.collect::<Vec<_>>().join(", ")
}

/// The backup that an earlier version of us left beside this file, where others may find
/// it. Whoever connects or undoes again moves it.
pub fn beside(path: &Path) -> Option<PathBuf> {
    let backup = backup::Backup::beside(&file::followed(path));
    backup.is_file().then_some(backup)
}

/// Files, for a message, each once.
fn listed(paths: &[PathBuf]) -> String {
    let mut shown: Vec<String> = Vec::new();
    for path in paths {
        let path = format!("`{}`", path.display());
        if !shown.contains(&path) {
            shown.push(path);
        }
    }
    shown.join(", ")
}

/// Where to undo it instead.
fn elsewhere(folders: &[String]) -> String {
    let folders: Vec<String> = folders.iter().map(|folder| format!("`{folder}`")).collect();
    match folders.is_empty() {
        true => "run it in the folder where it was connected, or name the client's file with `--file FILE`".to_owned(),
        false => format!("it has one for {}; run it there", folders.join(", ")),
    }
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
