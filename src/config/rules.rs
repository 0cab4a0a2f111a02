//! The policies and the principals: what may change while a broker runs.

use super::ConfigError;
use super::plain_text;
use super::principals;
use crate::broker::Rules;
use crate::policy::PolicyFile;
use crate::principal::Principals;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

/// What the files of the rules look like from outside.
pub type Fingerprint = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// Where the rules lie that may change while the broker runs.
#[derive(Clone, Debug)]
pub struct RulesAt {
    /// The folder of `*.cedar` files.
    pub policies: PathBuf,
    /// `principals.toml`.
    pub principals: PathBuf,
    /// How many digits of money are minor units.
    pub money_scale: u8,
}

/// How files end that nobody takes for policies: the schema, what an editor keeps, and
/// what `policy new --force` sets aside.
const UNREAD: [&str; 4] = [".cedarschema", ".cedarschema.json", "~", ".cedar.old"];

/// The file of policies to begin with.
pub const STARTING_POLICIES: &str = "start.cedar";

impl RulesAt {
    /// Whether there are policies to begin with already.
    pub fn has_started(&self) -> bool {
        self.policies.join(STARTING_POLICIES).exists()
    }

    /// Reads the policies and the principals as they are now.
    ///
    /// # Errors
    ///
    /// When something cannot be read or does not hold together.
    pub fn load(&self) -> Result<Rules, ConfigError> {
        Ok(Rules {
            files: self.policy_files()?,
            principals: self.principals()?,
        })
    }

    /// Reads the principals as they are now.
    ///
    /// # Errors
    ///
    /// When they cannot be read or do not hold together.
    pub fn principals(&self) -> Result<Principals, ConfigError> {
        let text = read(&self.principals).map_err(|error| match error {
            ConfigError::Read { path, source } if source.kind() == ErrorKind::NotFound => {
                ConfigError::NoPrincipals { path }
            }
            other => other,
        })?;
        principals::parse(&self.principals, &text, self.money_scale)
    }

    /// Reads the policies as they are now.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or there are none.
    pub fn policy_files(&self) -> Result<Vec<PolicyFile>, ConfigError> {
        let mut files = Vec::new();
        for path in self.policy_paths()? {
            files.push(PolicyFile {
                name: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                text: read(&path)?,
            });
        }
        if files.is_empty() {
            return Err(ConfigError::NoPolicies {
                path: self.policies.clone(),
            });
        }
        Ok(files)
    }

    fn policy_paths(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let mut paths = self.inside()?;
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "cedar"));
        Ok(paths)
    }

    /// What lies in the folder of policies, is read by nobody, and may be thought to be:
    /// neither what is hidden or explains the others, nor what we put there ourselves. A
    /// folder has a `/` at its end.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn unread(&self) -> Result<Vec<String>, ConfigError> {
        let mut unread = Vec::new();
        for path in self.inside()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_known = name.starts_with('.')
                || name.to_lowercase().starts_with("readme")
                || UNREAD.iter().any(|ending| name.ends_with(ending));
            match path.is_dir() {
                _ if is_known => {}
                true => unread.push(format!("{name}/")),
                false if name.ends_with(".cedar") => {}
                false => unread.push(name.into_owned()),
            }
        }
        Ok(unread)
    }

    /// Every journal entry carries the digest of the policies, and the disk may
    /// list a folder in any order: so the paths are sorted.
    fn inside(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let failed = |source| ConfigError::Read {
            path: self.policies.clone(),
            source,
        };
        let entries = match std::fs::read_dir(&self.policies) {
            // The same as an empty one.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed));
        let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
        paths.sort();
        Ok(paths)
    }

    /// What changes when a file of the rules does: names, sizes and times.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut paths = self.policy_paths().unwrap_or_default();
        paths.push(self.principals.clone());
        paths.into_iter().map(facts).collect()
    }
}

pub(super) fn facts(path: PathBuf) -> (PathBuf, u64, Option<SystemTime>) {
    let metadata = std::fs::metadata(&path).ok();
    let size = metadata.as_ref().map_or(0, std::fs::Metadata::len);
    let changed = metadata.and_then(|metadata| metadata.modified().ok());
    (path, size, changed)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    plain_text(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}
