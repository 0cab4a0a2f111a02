//! The tables of the pins.

use super::Besides;
use super::Changed;
use super::Pin;
use super::definition;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::Digest;
use crate::tool::Kind;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;
use jiff::Timestamp;
use rusqlite::OptionalExtension;
use rusqlite::params;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

/// The tables of this room, as of version 1 of the store.
pub const SCHEMA: &str = "
CREATE TABLE pinned_server (         -- servers that answered at least once
    server TEXT PRIMARY KEY,
    first_seen INTEGER NOT NULL      -- ms since 1970 UTC
) STRICT, WITHOUT ROWID;
CREATE TABLE pin (
    server TEXT NOT NULL,
    tool TEXT NOT NULL,
    definition TEXT NOT NULL,        -- the entry of tools/list that was let in
    since INTEGER NOT NULL,          -- ms
    changed TEXT,                    -- the entry now, where it differs
    changed_digest BLOB,
    changed_seen INTEGER,            -- ms
    listed INTEGER NOT NULL,         -- 1 while the server lists it
    PRIMARY KEY (server, tool)
) STRICT, WITHOUT ROWID;
";

/// What version 8 of the store added: what a server offers to some clients only,
/// and what it has besides pins.
pub const SCHEMA_8: &str = "
ALTER TABLE pinned_server ADD COLUMN logs INTEGER NOT NULL DEFAULT 0;  -- 1: it logs to its clients
ALTER TABLE pinned_server ADD COLUMN pages INTEGER NOT NULL DEFAULT 0; -- 1: it has pages to show
CREATE TABLE kind_seen (             -- kinds of clients that a server listed its tools to
    server TEXT NOT NULL,
    kind TEXT NOT NULL,              -- the capabilities of the client, a JSON object
    PRIMARY KEY (server, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE pin_offered (           -- what it listed to them
    server TEXT NOT NULL,
    kind TEXT NOT NULL,
    tool TEXT NOT NULL,
    PRIMARY KEY (server, kind, tool)
) STRICT, WITHOUT ROWID;
";

pub(super) fn server_seen(
    tx: &Tx<'_>,
    server: &ServerName,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT OR IGNORE INTO pinned_server (server, first_seen) VALUES (?1, ?2)",
            params![server.as_str(), now.as_millisecond()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("note that a server was seen"))
}

pub(super) fn server_known(tx: &Tx<'_>, server: &ServerName) -> Result<bool, StoreError> {
    tx.sql()
        .query_row(
            "SELECT 1 FROM pinned_server WHERE server = ?1",
            [server.as_str()],
            |_row| Ok(()),
        )
        .optional()
        .map(|found| found.is_some())
        .map_err(StoreError::sql("look for a server"))
}

pub(super) fn pins(tx: &Tx<'_>, server: &ServerName) -> Result<Vec<Pin>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT definition, since, changed, changed_digest, changed_seen, listed, tool
                 FROM pin WHERE server = ?1 ORDER BY tool",
            )?
            .query_map([server.as_str()], |row| Ok(read_pin(row, server)))?
            .collect::<Result<Vec<_>, _>>()
    };
    let mut pins: Vec<Pin> = read()
        .map_err(StoreError::sql("read the pins"))?
        .into_iter()
        .collect::<Result<_, _>>()?;
    let mut offered = offered(tx, server)?;
    for pin in &mut pins {
        pin.offered = offered.remove(&*pin.definition.id.name).unwrap_or_default();
    }
    Ok(pins)
}

/// To which kinds of clients a server lists each of its tools.
fn offered(
    tx: &Tx<'_>,
    server: &ServerName,
) -> Result<HashMap<String, BTreeSet<Kind>>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT tool, kind FROM pin_offered WHERE server = ?1")?
            .query_map([server.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(String, String)>, _>>()
    };
    let rows = read().map_err(StoreError::sql("read to whom tools are offered"))?;
    let mut offered: HashMap<String, BTreeSet<Kind>> = HashMap::new();
    for (tool, kind) in rows {
        let kind = read_kind(server, &kind)?;
        offered.entry(tool).or_default().insert(kind);
    }
    Ok(offered)
}

fn read_kind(server: &ServerName, text: &str) -> Result<Kind, StoreError> {
    Kind::read(text).ok_or_else(|| StoreError::Damaged {
        what: format!("a kind of clients of `{server}`"),
    })
}

/// The kinds of clients that a server listed its tools to.
pub(super) fn kinds(tx: &Tx<'_>, server: &ServerName) -> Result<BTreeSet<Kind>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT kind FROM kind_seen WHERE server = ?1")?
            .query_map([server.as_str()], |row| row.get(0))?
            .collect::<Result<Vec<String>, _>>()
    };
    let rows = read().map_err(StoreError::sql("read the kinds of clients"))?;
    rows.iter().map(|kind| read_kind(server, kind)).collect()
}

/// A server lists these tools to clients of this kind.
pub(super) fn kind_replace(
    tx: &Tx<'_>,
    (server, kind): (&ServerName, &Kind),
    tools: impl Iterator<Item = Arc<str>>,
) -> Result<(), StoreError> {
    let doing = StoreError::sql("note to whom tools are offered");
    let (server, kind) = (server.as_str(), kind.text());
    tx.sql()
        .execute(
            "INSERT OR IGNORE INTO kind_seen (server, kind) VALUES (?1, ?2)",
            params![server, kind],
        )
        .map_err(&doing)?;
    tx.sql()
        .execute(
            "DELETE FROM pin_offered WHERE server = ?1 AND kind = ?2",
            params![server, kind],
        )
        .map_err(&doing)?;
    for tool in tools {
        tx.sql()
            .execute(
                "INSERT OR IGNORE INTO pin_offered (server, kind, tool) VALUES (?1, ?2, ?3)",
                params![server, kind, tool],
            )
            .map_err(&doing)?;
    }
    Ok(())
}

/// What a server has besides pins. None where it was never seen.
pub(super) fn besides(tx: &Tx<'_>, server: &ServerName) -> Result<Option<Besides>, StoreError> {
    tx.sql()
        .query_row(
            "SELECT logs, pages FROM pinned_server WHERE server = ?1",
            [server.as_str()],
            |row| {
                Ok(Besides {
                    logs: row.get(0)?,
                    pages: row.get(1)?,
                })
            },
        )
        .optional()
        .map_err(StoreError::sql("read what a server has"))
}

pub(super) fn besides_replace(
    tx: &Tx<'_>,
    server: &ServerName,
    has: Besides,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE pinned_server SET logs = ?2, pages = ?3 WHERE server = ?1",
            params![server.as_str(), has.logs, has.pages],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("note what a server has"))
}

fn read_pin(row: &rusqlite::Row<'_>, server: &ServerName) -> Result<Pin, StoreError> {
    let sql = StoreError::sql("read a pin");
    let tool: String = row.get(6).map_err(&sql)?;
    let damaged = || StoreError::Damaged {
        what: format!("the pin of `{server}/{tool}`"),
    };
    let json: String = row.get(0).map_err(&sql)?;
    let time = |ms: i64| Timestamp::from_millisecond(ms).map_err(|_range| damaged());
    let changed: Option<String> = row.get(2).map_err(&sql)?;
    let digest: Option<[u8; 32]> = row.get(3).map_err(&sql)?;
    let seen: Option<i64> = row.get(4).map_err(&sql)?;
    let changed = match (changed, digest, seen) {
        (Some(json), Some(digest), Some(seen)) => Some(Changed {
            json: json.into(),
            digest: Digest::from_bytes(digest),
            seen: time(seen)?,
        }),
        (None, None, None) => None,
        _ => return Err(damaged()),
    };
    Ok(Pin {
        definition: Arc::new(definition(server, &json).map_err(|_unreadable| damaged())?),
        since: time(row.get(1).map_err(&sql)?)?,
        changed,
        listed: row.get(5).map_err(&sql)?,
        offered: BTreeSet::new(),
    })
}

pub(super) fn pin_insert(
    tx: &Tx<'_>,
    definition: &ToolDefinition,
    (listed, now): (Listed, Timestamp),
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO pin (server, tool, definition, since, listed) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                definition.id.server.as_str(),
                definition.id.name,
                definition.json,
                now.as_millisecond(),
                listed == Listed::ToAll,
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("pin a tool"))
}

/// To whom a server lists a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// To everybody.
    ToAll,
    /// To clients of some kind only.
    ToSome,
}

/// The server lists a pinned tool: as it was pinned, or as something else since
/// `changed`.
pub(super) fn pin_seen(
    tx: &Tx<'_>,
    definition: &ToolDefinition,
    (listed, changed): (Listed, Option<Timestamp>),
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE pin SET listed = ?6, changed = ?3, changed_digest = ?4, changed_seen = ?5
             WHERE server = ?1 AND tool = ?2",
            params![
                definition.id.server.as_str(),
                definition.id.name,
                changed.map(|_| &definition.json),
                changed.map(|_| definition.digest.as_bytes()),
                changed.map(Timestamp::as_millisecond),
                listed == Listed::ToAll,
            ],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note a changed tool"))
}

pub(super) fn pin_gone(tx: &Tx<'_>, server: &ServerName, tool: &str) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE pin SET listed = 0 WHERE server = ?1 AND tool = ?2",
            params![server.as_str(), tool],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note that a tool is gone"))
}

pub(super) fn pin_replace(
    tx: &Tx<'_>,
    server: &ServerName,
    tool: &str,
    (changed, now): (&Changed, Timestamp),
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "UPDATE pin SET definition = ?3, since = ?4,
                 changed = NULL, changed_digest = NULL, changed_seen = NULL
             WHERE server = ?1 AND tool = ?2",
            params![server.as_str(), tool, changed.json, now.as_millisecond()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("accept a changed tool"))
}
