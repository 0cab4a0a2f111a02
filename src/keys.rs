//! API keys: what a client over HTTP shows to be taken for a principal. Only a
//! digest is kept, so that nobody who reads the store can use a key.

mod table;

pub use table::SCHEMA;
pub use table::SCHEMA_5;

use crate::principal::PrincipalId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::Digest;
use jiff::Timestamp;
use std::fmt::Write as _;
use uuid::Uuid;

/// What every key begins with, so that a leaked one can be recognised.
const PREFIX: &str = "csk_";

/// How many characters of a key are shown to tell keys apart.
const SHOWN: usize = 4;

/// A new key. It is printed once and then forgotten.
pub struct NewKey {
    /// The key as the client sends it.
    pub text: String,
    /// Its id in the list of keys.
    pub id: String,
}

/// A key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id, for revoking it.
    pub id: String,
    /// Who shows it.
    pub principal: PrincipalId,
    /// What the operator calls it.
    pub name: Option<String>,
    /// Its last characters.
    pub ending: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// Makes a key for a principal: 244 random bits from the system's generator.
///
/// # Errors
///
/// When it cannot be written.
pub fn make(
    tx: &Tx<'_>,
    principal: &PrincipalId,
    name: Option<&str>,
    now: Timestamp,
) -> Result<NewKey, StoreError> {
    let mut text = PREFIX.to_owned();
    for half in [Uuid::new_v4(), Uuid::new_v4()] {
        // Writing to a string does not fail.
        let _written = write!(text, "{}", half.simple());
    }
    let id = Uuid::new_v4().simple().to_string();
    let id = id.get(..8).unwrap_or_default().to_owned();
    let key = Key {
        id: id.clone(),
        principal: principal.clone(),
        name: name.map(str::to_owned),
        ending: text
            .get(text.len() - SHOWN..)
            .unwrap_or_default()
            .to_owned(),
        created: now,
        revoked: None,
    };
    table::key_insert(tx, &digest(&text), &key)?;
    Ok(NewKey { text, id })
}

/// Whose key this is, unless it was revoked. Asked at each request, so that a
/// key that was revoked, by whichever process, is refused at the next one.
///
/// # Errors
///
/// When the store cannot be read.
pub fn holder(tx: &Tx<'_>, key: &str) -> Result<Option<PrincipalId>, StoreError> {
    Ok(shown(tx, key)?.map(|shown| shown.principal))
}

/// A key that was shown, and is not revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its id in the list of keys.
    pub id: String,
    /// Whose it is.
    pub principal: PrincipalId,
}

/// Which key this is, as [`holder`] finds whose.
///
/// # Errors
///
/// When the store cannot be read.
pub fn shown(tx: &Tx<'_>, key: &str) -> Result<Option<Shown>, StoreError> {
    table::key_shown(tx, &digest(key))
}

/// Whether the key of this id may still be used.
///
/// # Errors
///
/// When the store cannot be read.
pub fn is_valid(tx: &Tx<'_>, id: &str) -> Result<bool, StoreError> {
    table::key_is_valid(tx, id)
}

/// The one key in a text such as `countersign key new` prints, whichever words stand
/// around it; none where there is none, or there are several.
pub fn only_in(text: &str) -> Option<&str> {
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut keys = text
        .split(|c| !is_key(c))
        .filter(|word| word.len() > PREFIX.len() && word.starts_with(PREFIX));
    let first = keys.next()?;
    keys.all(|other| other == first).then_some(first)
}

/// Every key, the oldest first.
///
/// # Errors
///
/// When the store cannot be read.
pub fn list(tx: &Tx<'_>) -> Result<Vec<Key>, StoreError> {
    table::keys(tx)
}

/// Revokes a key. False where there is none of this id that was not revoked
/// before.
///
/// # Errors
///
/// When it cannot be written.
pub fn revoke(tx: &Tx<'_>, id: &str, now: Timestamp) -> Result<bool, StoreError> {
    table::key_revoke(tx, id, now)
}

/// The key of this store that seals what clients keep for us: 256 bits, made
/// when it is asked for first, the same for all who share the store.
///
/// # Errors
///
/// When it cannot be read or made.
pub fn sealing(tx: &Tx<'_>) -> Result<[u8; 32], StoreError> {
    let halves = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
    // A random UUID has six bits that are not; three of them have more than
    // enough that are.
    let fresh = Digest::of_parts(halves.iter().map(|half| half.as_bytes().as_slice()));
    table::sealing(tx, fresh.as_bytes())
}

/// A key is as long as its digest and random, so no salt and no slow hash is
/// needed; and because it is the digest that is looked up, the time that takes
/// says nothing about the key.
fn digest(key: &str) -> Digest {
    Digest::of(key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::in_store;

    #[tokio::test]
    async fn a_key_is_its_holders_until_it_is_revoked_and_is_not_stored() {
        let alice = PrincipalId::parse("alice").unwrap();
        let asked = alice.clone();
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let (key, before, stranger, listed, revoked, again, after) =
            in_store(&[SCHEMA], move |tx| {
                let key = make(tx, &asked, Some("laptop"), now)?;
                let before = holder(tx, &key.text)?;
                let stranger = holder(tx, "csk_0")?;
                let listed = list(tx)?;
                let revoked = revoke(tx, &key.id, now)?;
                let again = revoke(tx, &key.id, now)?;
                let after = holder(tx, &key.text)?;
                Ok((key, before, stranger, listed, revoked, again, after))
            })
            .await;
        assert_eq!((before, stranger, after), (Some(alice.clone()), None, None));
        assert!(revoked && !again);
        let [shown] = &listed[..] else {
            panic!("{listed:?}");
        };
        assert_eq!(shown.principal, alice);
        assert!(key.text.len() == 68 && key.text.ends_with(&shown.ending));
    }
}
