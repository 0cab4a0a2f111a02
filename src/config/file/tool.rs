//! What the operator says of one tool, or of a server as a whole.

use super::Wrong;
use super::unclassified;
use super::whole;
use crate::session::Label;
use crate::session::LabelError;
use crate::tool::Access;
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
    pub(super) timeout: Option<SignedDuration>,
    labels: Vec<String>,
    sink: bool,
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
            timeout: None,
            labels: Vec::new(),
            sink: false,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AccessWord {
    Read,
    Write,
}

impl ToolSection {
    /// What is wrong with the values: the key, and what would be right.
    pub(super) fn validate(&self) -> Result<(), Wrong> {
        if self.timeout.is_some_and(|timeout| !timeout.is_positive()) {
            return Err(("timeout".to_owned(), super::NO_TIME.to_owned()));
        }
        labels(&self.labels).map(|_labels| ())
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
            labels: labels(&self.labels).unwrap_or_default(),
            sink: self.sink,
            timeout: self.timeout.map(whole),
        }
    }
}

/// Labels as they are written.
pub(in crate::config) fn labels(written: &[String]) -> Result<BTreeSet<Label>, Wrong> {
    let read = written.iter().map(|label| label.parse());
    read.collect::<Result<_, _>>()
        .map_err(|error: LabelError| ("labels".to_owned(), error.to_string()))
}
