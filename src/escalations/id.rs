//! The name of an escalation: short enough to be read out and typed.

use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The digits of Crockford's base 32, which leave out those that look alike.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

const PREFIX: &str = "esc-";
/// Five bits each.
const LENGTH: u32 = 12;

/// Names one escalation: `esc-4k7m-2qpx-9d3h`, 60 random bits. No credential: who may
/// decide is asked of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EscalationId(u64);

/// The text names no escalation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no id of an escalation: one looks like `esc-4k7m-2qpx-9d3h`")]
pub struct IdError {
    text: String,
}

impl EscalationId {
    /// A new random id.
    pub fn random() -> Self {
        let bits = Uuid::new_v4().as_u64_pair().0;
        // Bits that a UUID does not fix: the first 48, and 12 of the last.
        Self((bits >> 16 << 12) | (bits & 0xfff))
    }
}

impl fmt::Display for EscalationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = PREFIX.to_owned();
        for place in 0..LENGTH {
            if place > 0 && place % 4 == 0 {
                text.push('-');
            }
            let digit = (self.0 >> (5 * (LENGTH - 1 - place))) & 31;
            let digit = usize::try_from(digit).ok().and_then(|at| DIGITS.get(at));
            text.push(digit.map_or('0', |byte| char::from(*byte)));
        }
        f.pad(&text)
    }
}

impl FromStr for EscalationId {
    type Err = IdError;

    /// Reads an id as people write it: in capitals, without the hyphens, with `o` for
    /// `0` and `i` or `l` for `1`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let plain = text.trim().to_ascii_lowercase();
            let digits = plain.strip_prefix("esc")?;
            let mut value = 0;
            let mut count = 0;
            for digit in digits.bytes().filter(|byte| *byte != b'-') {
                let digit = match digit {
                    b'o' => b'0',
                    b'i' | b'l' => b'1',
                    other => other,
                };
                let at = DIGITS.iter().position(|known| *known == digit)?;
                value = (value << 5) | u64::try_from(at).ok()?;
                count += 1;
                if count > LENGTH {
                    return None;
                }
            }
            (count == LENGTH).then_some(Self(value))
        };
        read().ok_or_else(|| IdError {
            text: text.escape_debug().take(40).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_people_write_it() {
        let id = EscalationId::random();
        let text = id.to_string();
        assert_eq!(text.len(), 18);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().replace('-', "").parse(), Ok(id));
        let zero: EscalationId = "esc-0000-0000-0011".parse().unwrap();
        assert_eq!("ESC-oooo-oooo-oOiL".parse(), Ok(zero));
        for bad in [
            "",
            "esc-",
            "esc-4k7m-2qpx-9d3",
            "esc-4k7m-2qpx-9d3hh",
            "4k7m",
            "esc-4k7m-2qpx-9d3u",
        ] {
            assert!(bad.parse::<EscalationId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_random_in_every_digit() {
        let ids: Vec<String> = (0..200)
            .map(|_| EscalationId::random().to_string())
            .collect();
        for place in 4..18 {
            let seen: std::collections::BTreeSet<u8> =
                ids.iter().map(|id| id.as_bytes()[place]).collect();
            let hyphen = place == 8 || place == 13;
            assert_eq!(seen.len() == 1, hyphen, "{place}: {seen:?}");
        }
    }
}
