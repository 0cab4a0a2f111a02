//! The id of one call of a tool.

use jiff::Timestamp;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;
use uuid::Uuid;

/// The bits of a UUID of version 7 that count up to the next one.
const LAST_OF_ALL: u128 = (1 << 62) - 1;

/// Names one call of a tool. Ours, ordered by time; the client's request id is
/// no name, because it may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(Uuid);

impl CallId {
    /// A new id that sorts after earlier ones. Those of one millisecond follow each
    /// other (RFC 9562 §6.2, method 2), because asking the system for chance costs
    /// more than the rest of an id, and ids of calls are no secret.
    pub fn next() -> Self {
        static LAST: Mutex<Uuid> = Mutex::new(Uuid::nil());
        // It is replaced whole.
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_millis());
        let number = last.as_u128();
        let has_next = number & LAST_OF_ALL != LAST_OF_ALL;
        *last = match number >> 80 >= now && has_next {
            true => Uuid::from_u128(number + 1),
            false => Uuid::now_v7(),
        };
        Self(*last)
    }

    /// What sorts before each id of this instant and after those of before it.
    pub fn first_of(at: Timestamp) -> Self {
        let ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
        Self(Uuid::from_u128(u128::from(ms) << 80))
    }

    /// The id of these bytes, for tests and for reading it back.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The bytes that are stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

/// The text is no id of a call.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no id of a call")]
pub struct CallIdError;

impl FromStr for CallId {
    type Err = CallIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_no_id| CallIdError)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_calls_are_of_version_7_and_sort_as_they_were_made() {
        let ids: Vec<CallId> = (0..10_000).map(|_| CallId::next()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
        for id in ids {
            assert_eq!(id.0.get_version_num(), 7);
            assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
        }
    }
}
