//! The lines of an export, one JSON object each: a published form.

use super::Kind;
use super::Row;
use super::checkpoint::Signed;
use super::signer::Signature;
use crate::outcome::Outcome;
use crate::tool::Digest;
use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

/// What an export calls itself. The number is that of the form.
pub(super) const FORM: &str = "countersign-journal-1";

/// One line. Times are RFC 3339 in milliseconds, digests and hashes hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Line {
    /// The first: which journal, and what of it was asked for.
    Head {
        form: String,
        store: String,
        /// What its checkpoints are signed with now, as it says itself.
        key: Option<String>,
        made: String,
        since: Option<String>,
        until: Option<String>,
        session: Option<String>,
    },
    /// A checkpoint: the text, and the Ed25519 signature of it in Base64.
    Checkpoint { text: String, signature: String },
    /// What stands before the first line of a chain that does not begin at 1.
    Begins { writer: i64, seq: i64, hash: String },
    /// One record, whole.
    Record(Box<Record>),
    /// One that was not asked for: its place and what it is hashed by.
    Hidden {
        writer: i64,
        seq: i64,
        content: String,
        hash: String,
    },
    /// What is kept beside the record before it: `arguments` or `result`.
    Payload { part: String, body: String },
    /// The last: how many records there are, hidden ones included, and how many
    /// checkpoints.
    End { records: usize, checkpoints: usize },
}

/// A record as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) writer: i64,
    pub(super) seq: i64,
    pub(super) kind: String,
    pub(super) call: String,
    pub(super) at: String,
    pub(super) session: Option<String>,
    pub(super) principal: Option<String>,
    pub(super) tool: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) policies: Option<String>,
    pub(super) outcome: Option<String>,
    /// The text that was hashed, which is JSON itself.
    pub(super) detail: String,
    pub(super) hash: String,
}

impl Line {
    pub(super) fn checkpoint(signed: &Signed) -> Self {
        Self::Checkpoint {
            text: signed.text.clone(),
            signature: signed.signature.to_string(),
        }
    }

    pub(super) fn record(writer: i64, seq: i64, (row, hash): (&Row, &Digest)) -> Self {
        Self::Record(Box::new(Record {
            writer,
            seq,
            kind: row.kind.as_str().to_owned(),
            call: row.call.to_string(),
            at: row.at.to_string(),
            session: row.session.map(|id| id.to_string()),
            principal: row.principal.clone(),
            tool: row.tool.clone(),
            digest: row.digest.map(|digest| digest.to_string()),
            policies: row.policies.map(|digest| digest.to_string()),
            outcome: row.outcome.map(|outcome| outcome.to_string()),
            detail: row.detail.clone(),
            hash: hash.to_string(),
        }))
    }
}

impl Record {
    /// What it says of itself; none where that cannot be read.
    pub(super) fn row(&self) -> Option<Row> {
        let digest = |text: &Option<String>| text.as_deref().map(parsed_digest).transpose();
        let parsed = |word: &String| word.parse::<Outcome>();
        Some(Row {
            kind: Kind::parse(&self.kind)?,
            call: self.call.parse().ok()?,
            at: self.at.parse::<Timestamp>().ok()?,
            session: self
                .session
                .as_ref()
                .map(|id| id.parse())
                .transpose()
                .ok()?,
            principal: self.principal.clone(),
            tool: self.tool.clone(),
            digest: digest(&self.digest).ok()?,
            policies: digest(&self.policies).ok()?,
            outcome: self.outcome.as_ref().map(parsed).transpose().ok()?,
            detail: self.detail.clone(),
        })
    }
}

fn parsed_digest(text: &str) -> Result<Digest, ()> {
    Digest::parse(text).ok_or(())
}

/// A checkpoint as a line gives it; none where the signature is none.
pub(super) fn signed(text: String, signature: &str) -> Option<Signed> {
    let signature = Signature::parse(signature)?;
    Some(Signed { text, signature })
}

impl Signed {
    /// The line of JSON that is given away, without its end.
    pub fn line(&self) -> String {
        // A line is made of texts and numbers only.
        serde_json::to_string(&Line::checkpoint(self)).unwrap_or_default()
    }
}
