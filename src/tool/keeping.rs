//! What of a call is kept beside its record, where the operator says it of one tool.

use std::str::FromStr;

/// What is kept of the calls of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Of what it is called with.
    pub arguments: Kept,
    /// Of what it answers.
    pub results: Kept,
    /// What is taken out of arguments before they are kept.
    pub redact_arguments: Vec<Pointer>,
    /// What is taken out of results before they are kept.
    pub redact_results: Vec<Pointer>,
}

/// How much of something is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// As much as of every tool.
    #[default]
    AsUsual,
    /// All of it, but for what is taken out.
    Whole,
    /// Its digest only.
    Digest,
}

/// A JSON pointer in which a step `*` stands for each element and each member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Why a text is no pointer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no JSON pointer: write one like `/card/number`, `*` for each element, `~1` for a slash and `~0` for a tilde in a name"
)]
pub struct PointerError {
    text: String,
}

impl Pointer {
    /// Its steps, from the outermost on.
    pub fn steps(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || PointerError {
            text: text.to_owned(),
        };
        let steps = text.strip_prefix('/').ok_or_else(wrong)?.split('/');
        let steps: Option<Vec<String>> = steps.map(unescaped).collect();
        steps.map(Self).ok_or_else(wrong)
    }
}

fn unescaped(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(1)?;
        text.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_well_formed_or_refused() {
        for good in ["/", "/a", "/a~0b/~1", "/*/0"] {
            assert!(good.parse::<Pointer>().is_ok(), "{good}");
        }
        for bad in ["", "a", "/a~", "/a~2", "$.a"] {
            assert!(bad.parse::<Pointer>().is_err(), "{bad}");
        }
    }
}
