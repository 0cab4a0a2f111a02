//! What of a call is kept beside its record. What is sent is never touched.

use crate::json;
use crate::tool::Digest;
use crate::tool::Keeping;
use crate::tool::Kept;
use crate::tool::Pointer;
use serde_json::Value;

/// Which payloads are kept beside the records of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Digests only.
    Nothing,
    /// Arguments whole, results as digests.
    Arguments,
    /// Arguments and results whole.
    Everything,
}

/// A text that is kept.
pub(super) struct KeptText {
    pub(super) text: Box<str>,
    /// Something was taken out of it, so that the digest in the record does not fit.
    redacted: bool,
}

/// What is kept of arguments.
pub(super) fn arguments(keep: Keep, keeping: &Keeping, text: &str) -> Option<KeptText> {
    let usual = match keep {
        Keep::Nothing => Kept::Digest,
        Keep::Arguments | Keep::Everything => Kept::Whole,
    };
    kept((keeping.arguments, usual), &keeping.redact_arguments, text)
}

/// What is kept of an answer.
pub(super) fn result(keep: Keep, keeping: &Keeping, text: &str) -> Option<KeptText> {
    let usual = match keep {
        Keep::Nothing | Keep::Arguments => Kept::Digest,
        Keep::Everything => Kept::Whole,
    };
    kept((keeping.results, usual), &keeping.redact_results, text)
}

fn kept((said, usual): (Kept, Kept), redact: &[Pointer], text: &str) -> Option<KeptText> {
    let said = match said {
        Kept::AsUsual => usual,
        Kept::Whole | Kept::Digest => said,
    };
    if said != Kept::Whole {
        return None;
    }
    if redact.is_empty() {
        let text = text.into();
        let redacted = false;
        return Some(KeptText { text, redacted });
    }
    // What cannot be read cannot be redacted, and is not kept.
    let text = json::redacted(text, redact)?.into();
    let redacted = true;
    Some(KeptText { text, redacted })
}

/// The detail of a record, with the digest of what is kept where that is not what was
/// sent: so what is kept can be verified too.
pub(super) fn noted(mut detail: Value, kept: Option<&KeptText>) -> Value {
    if let Some(kept) = kept.filter(|kept| kept.redacted)
        && let Some(members) = detail.as_object_mut()
    {
        let digest = Digest::of(kept.text.as_bytes()).to_string();
        members.insert("kept".to_owned(), digest.into());
    }
    detail
}
