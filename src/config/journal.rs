//! The section `[journal]` of `countersign.toml`.

use crate::broker::Custody;
use jiff::SignedDuration;
use serde::Deserialize;
use std::path::Path;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JournalSection {
    key: Option<PathBuf>,
    checkpoint_every: SignedDuration,
    checkpoints: Option<PathBuf>,
}

impl Default for JournalSection {
    fn default() -> Self {
        Self {
            key: None,
            checkpoint_every: SignedDuration::from_mins(1),
            checkpoints: None,
        }
    }
}

impl JournalSection {
    /// How the journal of this store is signed, or which key is wrong and what would
    /// be right. Paths start at `folder`.
    pub(super) fn custody(
        &self,
        store: &Path,
        folder: &Path,
    ) -> Result<Custody, (&'static str, String)> {
        if self.checkpoint_every.is_negative() {
            let problem = "write a time like `1m`, or `0s` for no checkpoints";
            return Err(("journal.checkpoint_every", problem.to_owned()));
        }
        let beside = || {
            let mut name = store.as_os_str().to_owned();
            name.push("-key");
            PathBuf::from(name)
        };
        Ok(Custody {
            key: self
                .key
                .as_ref()
                .map_or_else(beside, |key| folder.join(key)),
            every: Some(self.checkpoint_every).filter(|every| !every.is_zero()),
            checkpoints: self.checkpoints.as_ref().map(|path| folder.join(path)),
        })
    }
}
