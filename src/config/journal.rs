//! The section `[journal]` of `countersign.toml`.

use super::paths;
use crate::broker::Custody;
use jiff::SignedDuration;
use serde::Deserialize;
use std::path::Path;
use std::path::PathBuf;

/// Keys of calls are known for a day, and what is told of calls is read from their
/// records.
const LEAST_KEPT: SignedDuration = SignedDuration::from_hours(48);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JournalSection {
    key: Option<PathBuf>,
    checkpoint_every: SignedDuration,
    checkpoints: Option<PathBuf>,
    keep: Option<SignedDuration>,
    keep_payloads: Option<SignedDuration>,
}

impl Default for JournalSection {
    fn default() -> Self {
        Self {
            key: None,
            checkpoint_every: SignedDuration::from_mins(1),
            checkpoints: None,
            keep: None,
            keep_payloads: None,
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
        for (key, kept) in [
            ("journal.keep", self.keep),
            ("journal.keep_payloads", self.keep_payloads),
        ] {
            if kept.is_some_and(|kept| kept < LEAST_KEPT) {
                let problem = "write a time of at least `48h`, or leave it out to keep all";
                return Err((key, problem.to_owned()));
            }
        }
        if self.keep.is_some() && self.checkpoint_every.is_zero() {
            let problem = "records are removed only where a checkpoint vouches for them: leave `checkpoint_every` out, or this";
            return Err(("journal.keep", problem.to_owned()));
        }
        let beside = || {
            // Whoever comes by a link uses the key of the others.
            let store = store.canonicalize().unwrap_or(store.to_owned());
            let mut name = store.into_os_string();
            name.push("-key");
            PathBuf::from(name)
        };
        let within = |path: &Option<PathBuf>, key: &'static str| {
            let named = path.as_deref();
            named
                .map(|path| paths::within(folder, path, key))
                .transpose()
        };
        Ok(Custody {
            key: within(&self.key, "journal.key")?.unwrap_or_else(beside),
            every: Some(self.checkpoint_every).filter(|every| !every.is_zero()),
            keep: self.keep,
            keep_payloads: self.keep_payloads,
            checkpoints: within(&self.checkpoints, "journal.checkpoints")?,
        })
    }
}
