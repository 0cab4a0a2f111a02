//! Labels: what a session came in touch with, in the operator's words.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One label: `untrusted-web`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(Arc<str>);

/// Why a text is no label.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no label: write 1 to 64 of the characters a-z 0-9 . _ -")]
pub struct LabelError {
    text: String,
}

impl Label {
    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let usable = (1..=64).contains(&text.len()) && text.bytes().all(fits);
        if usable {
            Ok(Self(text.into()))
        } else {
            Err(LabelError {
                text: text.chars().take(80).collect(),
            })
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_short_word_in_lower_case() {
        for good in ["untrusted-web", "a", "pii.v2_x", &"x".repeat(64)] {
            assert_eq!(good.parse::<Label>().unwrap().as_str(), good);
        }
        for bad in ["", "PII", "a b", "é", "a/b", &"x".repeat(65)] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
    }
}
