//! What the operator says of one tool, or of a server as a whole.

use super::Wrong;
use super::unclassified;
use super::whole;
use crate::session::Label;
use crate::session::LabelError;
use crate::tool::Access;
use crate::tool::Keeping;
use crate::tool::Kept;
use crate::tool::OnApproval;
use crate::tool::Pointer;
use crate::tool::PointerError;
use crate::tool::ToolRules;
use jiff::SignedDuration;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ToolSection {
    access: AccessWord,
    risk: String,
    money: Vec<String>,
    meter: Vec<String>,
    sum: Vec<String>,
    path: Vec<String>,
    url: Vec<String>,
    under: BTreeMap<String, String>,
    refund_on_failure: bool,
    idempotent: bool,
    on_approval: Option<OnApprovalWord>,
    pub(super) timeout: Option<SignedDuration>,
    labels: Vec<String>,
    sink: bool,
    keep_arguments: Option<KeptWord>,
    keep_results: Option<KeptWord>,
    redact_arguments: Vec<String>,
    redact_results: Vec<String>,
}

impl Default for ToolSection {
    fn default() -> Self {
        Self {
            access: AccessWord::Write,
            risk: unclassified(),
            money: Vec::new(),
            meter: Vec::new(),
            sum: Vec::new(),
            path: Vec::new(),
            url: Vec::new(),
            under: BTreeMap::new(),
            refund_on_failure: false,
            idempotent: false,
            on_approval: None,
            timeout: None,
            labels: Vec::new(),
            sink: false,
            keep_arguments: None,
            keep_results: None,
            redact_arguments: Vec::new(),
            redact_results: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeptWord {
    Whole,
    Digest,
}

impl KeptWord {
    fn kept(word: Option<Self>) -> Kept {
        match word {
            None => Kept::AsUsual,
            Some(Self::Whole) => Kept::Whole,
            Some(Self::Digest) => Kept::Digest,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AccessWord {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnApprovalWord {
    #[default]
    Retry,
    Resume,
}

impl OnApprovalWord {
    pub(super) fn said(self) -> OnApproval {
        match self {
            Self::Retry => OnApproval::Retry,
            Self::Resume => OnApproval::Resume,
        }
    }
}

impl ToolSection {
    /// What is wrong with the values: the key, and what would be right.
    pub(super) fn validate(&self) -> Result<(), Wrong> {
        if self.timeout.is_some_and(|timeout| !timeout.is_positive()) {
            return Err(("timeout".to_owned(), super::NO_TIME.to_owned()));
        }
        for (key, written) in [
            ("redact_arguments", &self.redact_arguments),
            ("redact_results", &self.redact_results),
        ] {
            pointers(written).map_err(|error| (key.to_owned(), error.to_string()))?;
        }
        labels(&self.labels).map(|_labels| ())
    }

    fn keeping(&self) -> Keeping {
        Keeping {
            arguments: KeptWord::kept(self.keep_arguments),
            results: KeptWord::kept(self.keep_results),
            redact_arguments: pointers(&self.redact_arguments).unwrap_or_default(),
            redact_results: pointers(&self.redact_results).unwrap_or_default(),
        }
    }

    pub(super) fn rules(&self) -> ToolRules {
        ToolRules {
            access: match self.access {
                AccessWord::Read => Access::Read,
                AccessWord::Write => Access::Write,
            },
            risk: self.risk.clone(),
            money: self.money.clone(),
            meters: self.meter.clone(),
            sums: self.sum.clone(),
            paths: self.path.clone(),
            urls: self.url.clone(),
            uris: Vec::new(),
            under: self.under.clone(),
            refund_on_failure: self.refund_on_failure,
            idempotent: self.idempotent,
            on_approval: self.on_approval.map(OnApprovalWord::said),
            labels: labels(&self.labels).unwrap_or_default(),
            sink: self.sink,
            timeout: self.timeout.map(whole),
            keeping: self.keeping(),
        }
    }
}

fn pointers(written: &[String]) -> Result<Vec<Pointer>, PointerError> {
    written.iter().map(|pointer| pointer.parse()).collect()
}

/// Labels as they are written.
pub(in crate::config) fn labels(written: &[String]) -> Result<BTreeSet<Label>, Wrong> {
    let read = written.iter().map(|label| label.parse());
    read.collect::<Result<_, _>>()
        .map_err(|error: LabelError| ("labels".to_owned(), error.to_string()))
}
