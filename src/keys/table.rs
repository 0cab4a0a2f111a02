//! The table of the keys.

use super::Key;
use super::Shown;
use crate::principal::PrincipalId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::Digest;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

/// The table of this room, as of version 4 of the store.
pub const SCHEMA: &str = "
CREATE TABLE api_key (
    digest BLOB PRIMARY KEY,         -- SHA-256 of the key
    id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    name TEXT,
    ending TEXT NOT NULL,            -- its last characters
    created INTEGER NOT NULL,        -- ms since 1970 UTC
    revoked INTEGER
) STRICT, WITHOUT ROWID;
";

/// What version 5 of the store adds.
pub const SCHEMA_5: &str = "
CREATE TABLE sealing_key (           -- one row
    only INTEGER PRIMARY KEY CHECK (only = 1),
    key BLOB NOT NULL
) STRICT;
";

/// Notes the key where none was noted, and returns the one that was.
pub(super) fn sealing(tx: &Tx<'_>, fresh: &[u8; 32]) -> Result<[u8; 32], StoreError> {
    let note = || {
        tx.sql().execute(
            "INSERT OR IGNORE INTO sealing_key (only, key) VALUES (1, ?1)",
            [fresh],
        )?;
        tx.sql()
            .query_row("SELECT key FROM sealing_key", [], |row| row.get(0))
    };
    note().map_err(StoreError::sql("read the key that seals"))
}

pub(super) fn key_insert(tx: &Tx<'_>, digest: &Digest, key: &Key) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO api_key (digest, id, principal, name, ending, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                digest.as_bytes(),
                key.id,
                key.principal.to_string(),
                key.name,
                key.ending,
                key.created.as_millisecond()
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("keep a key"))
}

pub(super) fn key_shown(tx: &Tx<'_>, digest: &Digest) -> Result<Option<Shown>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT id, principal FROM api_key WHERE digest = ?1 AND revoked IS NULL",
            )?
            .query_row([digest.as_bytes()], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })
            .optional()
    };
    let found = read().map_err(StoreError::sql("look a key up"))?;
    let shown = |(id, holder): (String, String)| {
        let principal = principal(&holder)?;
        Ok(Shown { id, principal })
    };
    found.map(shown).transpose()
}

pub(super) fn key_is_valid(tx: &Tx<'_>, id: &str) -> Result<bool, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM api_key WHERE id = ?1 AND revoked IS NULL)",
            )?
            .query_row([id], |row| row.get(0))
    };
    read().map_err(StoreError::sql("look a key up by its id"))
}

pub(super) fn keys(tx: &Tx<'_>) -> Result<Vec<Key>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT id, principal, name, ending, created, revoked FROM api_key
                 ORDER BY created, id",
            )?
            .query_map([], |row| Ok(read_key(row)))?
            .collect::<Result<Vec<_>, _>>()
    };
    let keys = read().map_err(StoreError::sql("list the keys"))?;
    keys.into_iter().collect()
}

pub(super) fn key_revoke(tx: &Tx<'_>, id: &str, now: Timestamp) -> Result<bool, StoreError> {
    tx.sql()
        .execute(
            "UPDATE api_key SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL",
            params![id, now.as_millisecond()],
        )
        .map(|rows| rows == 1)
        .map_err(StoreError::sql("revoke a key"))
}

fn read_key(row: &Row<'_>) -> Result<Key, StoreError> {
    let sql = StoreError::sql("read a key");
    let moment = |ms: i64| {
        Timestamp::from_millisecond(ms).map_err(|_range| StoreError::Damaged {
            what: "the time of a key".to_owned(),
        })
    };
    let holder: String = row.get(1).map_err(&sql)?;
    let revoked: Option<i64> = row.get(5).map_err(&sql)?;
    Ok(Key {
        id: row.get(0).map_err(&sql)?,
        principal: principal(&holder)?,
        name: row.get(2).map_err(&sql)?,
        ending: row.get(3).map_err(&sql)?,
        created: moment(row.get(4).map_err(&sql)?)?,
        revoked: revoked.map(moment).transpose()?,
    })
}

fn principal(text: &str) -> Result<PrincipalId, StoreError> {
    PrincipalId::parse(text).map_err(|_no_key| StoreError::Damaged {
        what: "the principal of a key".to_owned(),
    })
}
