//! What is written down in a session for whoever comes back to it: values under
//! keys, and a list of notes that only grows.
//!
//! Both are small on purpose: they are read by a model, as a whole.

mod table;

pub use table::SCHEMA;

use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::visible;
use jiff::Timestamp;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 128;
/// The largest value, in bytes of its JSON text.
pub const MAX_VALUE: usize = 64 << 10;
/// How many values one session has at most.
pub const MAX_VALUES: u32 = 256;
/// How large all values of one session are together, in bytes.
pub const MAX_ALL: u32 = 1 << 20;
/// The longest note, in bytes.
pub const MAX_NOTE: usize = 4 << 10;
/// How many notes one session has at most.
pub const MAX_NOTES: u32 = 1_000;

/// A key of a value: 1 to [`MAX_KEY`] bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Box<str>);

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    ///
    /// When it is empty, too long, or has characters that cannot be seen.
    pub fn read(text: &str) -> Result<Self, Unfit> {
        if visible::is_name(text, MAX_KEY) {
            Ok(Self(text.into()))
        } else {
            Err(Unfit::Key)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why something is not written down. The text is for whoever wanted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The key is none.
    #[error("a key has 1 to {MAX_KEY} bytes and no control characters")]
    Key,
    /// The value is too large.
    #[error("a value has at most {MAX_VALUE} bytes of JSON: keep less, or where it can be found")]
    Value,
    /// There are too many values.
    #[error("a session keeps at most {MAX_VALUES} values: delete some first")]
    Values,
    /// All values together are too large.
    #[error("the values of a session have at most {MAX_ALL} bytes together: delete some first")]
    All,
    /// Somebody wrote the value meanwhile.
    #[error("the value has version {found}, not {expected}: read it again before you write it")]
    Version {
        /// What was expected; 0 for no value.
        expected: u32,
        /// What is there; 0 for no value.
        found: u32,
    },
    /// The note is empty or too long.
    #[error("a note has 1 to {MAX_NOTE} bytes")]
    Note,
    /// There are too many notes.
    #[error("a session keeps at most {MAX_NOTES} notes: write a value instead")]
    Notes,
}

/// A value, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its key.
    pub key: String,
    /// How large its JSON text is, in bytes.
    pub bytes: u32,
    /// How often it was written, from 1; goes on where it was deleted between.
    pub version: u32,
    /// When it was last written.
    pub at: Timestamp,
    /// The key of the principal who wrote it.
    pub by: String,
}

/// One note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its number, from 1.
    pub number: u32,
    /// When it was written.
    pub at: Timestamp,
    /// The key of the principal who wrote it.
    pub by: String,
    /// What it says.
    pub text: String,
}

/// Who writes, and when.
pub type Pen<'a> = (&'a PrincipalId, Timestamp);

/// Writes a value, the text of any JSON, and returns its version. With `expected`,
/// only where that is its version now; 0 is that of no value.
///
/// # Errors
///
/// When the store fails; [`Unfit`] inside when it is not written down.
pub fn put(
    tx: &Tx<'_>,
    session: SessionId,
    (key, json): (&Key, &str),
    expected: Option<u32>,
    pen: Pen<'_>,
) -> Result<Result<u32, Unfit>, StoreError> {
    let size = match u32::try_from(json.len()) {
        Ok(size) if json.len() <= MAX_VALUE => size,
        Ok(_) | Err(_) => return Ok(Err(Unfit::Value)),
    };
    let before = table::version(tx, session, key)?;
    let found = before.living();
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Ok(Err(Unfit::Version { expected, found }));
    }
    let (count, bytes) = table::used(tx, session, key)?;
    if count >= MAX_VALUES {
        return Ok(Err(Unfit::Values));
    }
    if bytes + size > MAX_ALL {
        return Ok(Err(Unfit::All));
    }
    let version = before.next();
    table::value_put(tx, session, (key, json, version), pen)?;
    Ok(Ok(version))
}

/// A value's text and version.
///
/// # Errors
///
/// When the store cannot be read.
pub fn get(
    tx: &Tx<'_>,
    session: SessionId,
    key: &Key,
) -> Result<Option<(String, u32)>, StoreError> {
    table::value(tx, session, key)
}

/// The values of a session whose keys begin like this, by key.
///
/// # Errors
///
/// When the store cannot be read.
pub fn list(tx: &Tx<'_>, session: SessionId, prefix: &str) -> Result<Vec<Kept>, StoreError> {
    let mut entries = table::values(tx, session)?;
    entries.retain(|entry| entry.key.starts_with(prefix));
    Ok(entries)
}

/// Deletes a value. False where there is none.
///
/// # Errors
///
/// When it cannot be deleted.
pub fn delete(
    tx: &Tx<'_>,
    session: SessionId,
    key: &Key,
    pen: Pen<'_>,
) -> Result<bool, StoreError> {
    table::value_delete(tx, session, key, pen)
}

/// Adds a note, and returns its number.
///
/// # Errors
///
/// When the store fails; [`Unfit`] inside when it is not written down.
pub fn add_note(
    tx: &Tx<'_>,
    session: SessionId,
    text: &str,
    pen: Pen<'_>,
) -> Result<Result<u32, Unfit>, StoreError> {
    if !(1..=MAX_NOTE).contains(&text.len()) {
        return Ok(Err(Unfit::Note));
    }
    let last = table::last_note(tx, session)?;
    if last >= MAX_NOTES {
        return Ok(Err(Unfit::Notes));
    }
    table::note_insert(tx, session, (last + 1, text), pen)?;
    Ok(Ok(last + 1))
}

/// The notes of a session, the newest at the end, at most so many.
///
/// # Errors
///
/// When the store cannot be read.
pub fn notes(tx: &Tx<'_>, session: SessionId, newest: u32) -> Result<Vec<Note>, StoreError> {
    table::notes(tx, session, newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions;
    use crate::store::testing::in_store;

    const NOW: &str = "2026-11-26T12:00:00Z";
    const SCHEMAS: [&str; 4] = [
        sessions::SCHEMA,
        sessions::SCHEMA_7,
        sessions::SCHEMA_27,
        SCHEMA,
    ];

    async fn with<T: Send + 'static>(
        work: impl FnOnce(&Tx<'_>, SessionId, Pen<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        in_store(&SCHEMAS, move |tx| {
            let alice = PrincipalId::parse("alice").unwrap();
            let now = NOW.parse().unwrap();
            let session = sessions::create(tx, &alice, None, now)?;
            work(tx, session, (&alice, now))
        })
        .await
    }

    fn key(text: &str) -> Key {
        Key::read(text).unwrap()
    }

    #[tokio::test]
    async fn a_value_is_kept_as_it_was_written_with_a_version_that_only_grows() {
        let (versions, read, refused, gone) = with(|tx, session, pen| {
            let put = |json: &str, expected| put(tx, session, (&key("a"), json), expected, pen);
            let first = put("1.10", Some(0))?;
            let second = put("{\"b\": 1e3}", None)?;
            let refused = put("3", Some(1))?;
            let read = get(tx, session, &key("a"))?;
            let deleted = delete(tx, session, &key("a"), pen)?;
            let again = delete(tx, session, &key("a"), pen)?;
            let gone = (deleted, again, get(tx, session, &key("a"))?);
            let third = put("4", Some(0))?;
            Ok(([first, second, third], read, refused, gone))
        })
        .await;
        // Deleting is a change too.
        assert_eq!(versions, [Ok(1), Ok(2), Ok(4)]);
        assert_eq!(read, Some(("{\"b\": 1e3}".to_owned(), 2)));
        assert_eq!(
            refused,
            Err(Unfit::Version {
                expected: 1,
                found: 2
            })
        );
        assert_eq!(gone, (true, false, None));
    }

    #[tokio::test]
    async fn what_is_too_much_is_refused_and_what_is_there_stays() {
        let (count, full, large, replaced, all) = with(|tx, session, pen| {
            let put = |name: &str, size: usize| {
                let json = format!("\"{}\"", "x".repeat(size.saturating_sub(2)));
                put(tx, session, (&key(name), &json), None, pen)
            };
            for number in 0..MAX_VALUES {
                assert!(put(&format!("k{number}"), 2)?.is_ok());
            }
            let full = put("more", 2)?;
            let large = put("k0", MAX_VALUE + 1)?;
            let replaced = put("k0", MAX_VALUE)?;
            let mut all = Ok(0);
            for number in 1..17 {
                all = put(&format!("k{number}"), MAX_VALUE)?;
            }
            Ok((list(tx, session, "")?.len(), full, large, replaced, all))
        })
        .await;
        assert_eq!(u32::try_from(count), Ok(MAX_VALUES));
        assert_eq!((full, large), (Err(Unfit::Values), Err(Unfit::Value)));
        assert_eq!((replaced, all), (Ok(2), Err(Unfit::All)));
    }

    #[tokio::test]
    async fn notes_are_added_in_their_order_and_the_last_are_shown() {
        let (numbers, shown, refused) = with(|tx, session, pen| {
            let add = |text: &str| add_note(tx, session, text, pen);
            let numbers = [add("one")?, add("two")?, add("three")?];
            let refused = [add("")?, add(&"x".repeat(MAX_NOTE + 1))?];
            Ok((numbers, notes(tx, session, 2)?, refused))
        })
        .await;
        assert_eq!(numbers, [Ok(1), Ok(2), Ok(3)]);
        let shown: Vec<_> = shown.into_iter().map(|note| note.text).collect();
        assert_eq!(shown, ["two", "three"]);
        assert_eq!(refused, [Err(Unfit::Note); 2]);
    }

    #[test]
    fn a_key_can_be_read_by_people() {
        assert!(Key::read("claims/99: näher").is_ok());
        for bad in ["", "a\nb", &"x".repeat(MAX_KEY + 1)] {
            assert_eq!(Key::read(bad), Err(Unfit::Key));
        }
    }
}
