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

    /// Every journal entry carries the digest of the policies, and the disk may
    /// list a folder in any order: so the paths are sorted.
    fn policy_paths(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let failed = |source| ConfigError::Read {
            path: self.policies.clone(),
            source,
        };
        let mut paths = Vec::new();
        let entries = match std::fs::read_dir(&self.policies) {
            // The same as an empty one.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(paths),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "cedar")
            {
                paths.push(path);
            }
        }
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
