//! The table of the URIs that servers listed.

use super::Uris;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::ServerName;
use rusqlite::params;

/// What version 10 of the store added.
pub const SCHEMA_10: &str = "
CREATE TABLE listed_uri (            -- whose a URI is, while its server is not there
    server TEXT NOT NULL,
    template INTEGER NOT NULL,       -- 1: a template of URIs
    uri TEXT NOT NULL,
    PRIMARY KEY (server, template, uri)
) STRICT, WITHOUT ROWID;
";

pub(super) fn uris(tx: &Tx<'_>, server: &ServerName) -> Result<Uris, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT template, uri FROM listed_uri WHERE server = ?1")?
            .query_map([server.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(bool, String)>, _>>()
    };
    let mut uris = Uris::default();
    for (template, uri) in read().map_err(StoreError::sql("read the URIs of a server"))? {
        let of = match template {
            true => &mut uris.templates,
            false => &mut uris.listed,
        };
        of.insert(uri.into());
    }
    Ok(uris)
}

pub(super) fn uris_replace(
    tx: &Tx<'_>,
    server: &ServerName,
    uris: &Uris,
) -> Result<(), StoreError> {
    let replace = || -> rusqlite::Result<()> {
        tx.sql().execute(
            "DELETE FROM listed_uri WHERE server = ?1",
            [server.as_str()],
        )?;
        let mut insert = tx
            .sql()
            .prepare_cached("INSERT INTO listed_uri (server, template, uri) VALUES (?1, ?2, ?3)")?;
        for (template, of) in [(true, &uris.templates), (false, &uris.listed)] {
            for uri in of {
                insert.execute(params![server.as_str(), template, uri])?;
            }
        }
        Ok(())
    };
    replace().map_err(StoreError::sql("note the URIs of a server"))
}
