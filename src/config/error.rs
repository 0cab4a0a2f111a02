//! Why a configuration cannot be used.

use super::shape::toml_problem;
use crate::visible;
use std::path::Path;
use std::path::PathBuf;

/// Why the configuration cannot be used. Each message says where it is wrong and
/// what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not TOML of the right shape; the message has line and column.
    #[error("`{}` is not right: {message}", path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, without a value of it.
        message: String,
    },
    /// A value is of the right shape and means nothing.
    #[error("`{}`: `{key}`: {problem}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// There is no file of principals.
    #[error(
        "there is no file `{}`, which says who may call: begin with `countersign example --principals > {}` and change what it says, or name another file as `policy.principals`",
        path.display(),
        visible::shell_word(&path.to_string_lossy())
    )]
    NoPrincipals {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is no policy file.
    #[error(
        "there is no `*.cedar` file in `{}`, and without policies nothing may be called, so nothing starts: write some to begin with by `countersign policy new --permissive` (or `--read-only`), or name another folder as `policy.folder`",
        path.display()
    )]
    NoPolicies {
        /// Which folder.
        path: PathBuf,
    },
}

impl ConfigError {
    /// A file that is no TOML of the right shape.
    pub(super) fn toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        Self::Shape {
            path: path.to_owned(),
            message: toml_problem(text, error.message(), error.span()),
        }
    }
}
