//! What must stand beside a record, where something is kept there.

use crate::journal::Part;
use crate::journal::Row;
use crate::json;
use crate::tool::Digest;
use serde_json::Value;

/// What a payload must be.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// Nothing can stand there: the record has no digest.
    Nothing,
    /// What was sent or answered.
    Whole(Digest),
    /// That with something taken out.
    Redacted(Digest),
}

impl Expected {
    pub(super) fn beside(row: &Row) -> Self {
        match (redacted(&row.detail), row.digest) {
            (Some(digest), _) => Self::Redacted(digest),
            (None, Some(digest)) => Self::Whole(digest),
            (None, None) => Self::Nothing,
        }
    }

    pub(super) fn is(self, part: &str, body: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Redacted(digest) => digest == Digest::of(body.as_bytes()),
            Self::Whole(digest) if part == Part::Arguments.as_str() => {
                json::canonical(body).is_ok_and(|text| digest == Digest::of(text.as_bytes()))
            }
            Self::Whole(digest) => digest == Digest::of(body.as_bytes()),
        }
    }
}

fn redacted(detail: &str) -> Option<Digest> {
    if !detail.contains("\"kept\"") {
        return None;
    }
    let detail: Value = serde_json::from_str(detail).ok()?;
    Digest::parse(detail.get("kept")?.as_str()?)
}
