//! URIs that servers listed. They are no pins: nobody reviews them, and what stands
//! behind one may change. They say whose a URI is while its server is not there to
//! say so itself.

mod table;

pub use table::SCHEMA_10;

use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::ServerName;
use std::collections::BTreeSet;

/// How many of one server are kept, and how many bytes of them.
const MOST: usize = 10_000;
const MOST_BYTES: usize = 1 << 20;

/// What a server lists of its resources, as far as it says whose a URI is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uris {
    /// The resources.
    pub listed: BTreeSet<Box<str>>,
    /// The templates by which others are made.
    pub templates: BTreeSet<Box<str>>,
}

impl Uris {
    /// As many of them as are kept. The templates first, because one of them stands
    /// for many.
    fn bounded(&self) -> Self {
        let mut left = (MOST, MOST_BYTES);
        let mut some = |all: &BTreeSet<Box<str>>| {
            let mut kept = BTreeSet::new();
            for uri in all {
                let (Some(places), Some(bytes)) =
                    (left.0.checked_sub(1), left.1.checked_sub(uri.len()))
                else {
                    break;
                };
                left = (places, bytes);
                kept.insert(uri.clone());
            }
            kept
        };
        let templates = some(&self.templates);
        let listed = some(&self.listed);
        Self { listed, templates }
    }
}

/// Keeps what a server lists now in the place of what it listed before.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn keep_uris(tx: &Tx<'_>, server: &ServerName, uris: &Uris) -> Result<(), StoreError> {
    let uris = uris.bounded();
    if table::uris(tx, server)? == uris {
        return Ok(());
    }
    table::uris_replace(tx, server, &uris)
}

/// What a server listed when it was last seen.
///
/// # Errors
///
/// When the store cannot be read.
pub fn uris(tx: &Tx<'_>, server: &ServerName) -> Result<Uris, StoreError> {
    table::uris(tx, server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::in_store;

    fn set(uris: impl IntoIterator<Item = String>) -> BTreeSet<Box<str>> {
        uris.into_iter().map(String::into_boxed_str).collect()
    }

    #[tokio::test]
    async fn what_a_server_lists_is_kept_until_it_lists_something_else_and_not_without_end() {
        in_store(&[SCHEMA_10], |tx| {
            let [own, other] = ["own", "other"].map(|name| name.parse::<ServerName>().unwrap());
            let first = Uris {
                listed: set(["note://one".to_owned()]),
                templates: set(["note://{id}".to_owned(), "note://one".to_owned()]),
            };
            keep_uris(tx, &own, &first)?;
            keep_uris(tx, &own, &first)?;
            assert_eq!(uris(tx, &own)?, first);
            assert_eq!(uris(tx, &other)?, Uris::default());
            let many = Uris {
                listed: set((0..MOST + 10).map(|number| format!("note://{number}"))),
                templates: first.templates,
            };
            keep_uris(tx, &own, &many)?;
            let kept = uris(tx, &own)?;
            assert_eq!(kept.templates, many.templates);
            assert_eq!(kept.listed.len() + kept.templates.len(), MOST);
            keep_uris(tx, &own, &Uris::default())?;
            assert_eq!(uris(tx, &own)?, Uris::default());
            Ok(())
        })
        .await;
    }
}
