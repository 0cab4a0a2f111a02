//! The configuration as it was read, to notice that the file says something else.

use super::plain_text;
use super::rules::Fingerprint;
use super::rules::facts;
use std::path::Path;
use std::path::PathBuf;

/// The file of the configuration and what it said when it was read. Not `Debug`: the
/// text may hold secrets.
#[derive(Clone)]
pub struct AsRead {
    path: PathBuf,
    text: String,
    /// Whether it can be read again: a pipe (`--config <(…)`) cannot.
    again: bool,
}

impl AsRead {
    pub(super) fn new(path: &Path, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            again: std::fs::metadata(path).is_ok_and(|found| found.is_file()),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says by now, where that is something else. One that cannot be read
    /// says nothing else.
    pub fn changed(&self) -> Option<String> {
        let text = self.again.then(|| plain_text(&self.path).ok()).flatten();
        text.filter(|text| *text != self.text)
    }

    /// What changes when the file does: its size and time.
    pub fn fingerprint(&self) -> Fingerprint {
        let again = self.again.then(|| facts(self.path.clone()));
        again.into_iter().collect()
    }
}
