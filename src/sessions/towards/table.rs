//! The table of transport sessions with servers.

use super::Towards;
use crate::session::Resumed;
use crate::session::Stay;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::ServerName;
use jiff::Timestamp;
use rusqlite::params;

/// What version 17 of the store adds.
pub const SCHEMA_17: &str = "
CREATE TABLE towards_server (        -- transport sessions that servers gave us
    server TEXT NOT NULL,
    holder TEXT NOT NULL,            -- session:<id>, principal:<key>, or empty
    replica TEXT NOT NULL,           -- digest of the URL
    id TEXT NOT NULL,                -- who has it can speak in it
    revision TEXT NOT NULL,
    says TEXT NOT NULL,              -- name and version of the server
    capabilities TEXT,               -- JSON
    told INTEGER NOT NULL,           -- 1: the server knows which session it is for
    writer INTEGER NOT NULL,         -- who speaks in it
    used INTEGER NOT NULL,           -- ms since 1970 UTC
    PRIMARY KEY (server, holder, replica)
) STRICT, WITHOUT ROWID;
";

/// What version 22 of the store adds: in which stay an instance was told. What was told
/// before that was told in the stay that goes on.
pub const SCHEMA_22: &str = "
ALTER TABLE towards_server ADD COLUMN stay INTEGER;  -- since when: ms since 1970 UTC
UPDATE towards_server SET stay = (
    SELECT since FROM placement
    WHERE placement.server = towards_server.server
      AND placement.holder = towards_server.holder)
WHERE told = 1;
";

/// How `told` says that nobody knows whether it was told.
const BEGUN: i64 = 2;

fn resumed(told: i64, stay: Stay) -> Resumed {
    match told {
        1 => Resumed::In(stay),
        BEGUN => Resumed::Begun,
        _ => Resumed::Never,
    }
}

fn told(resumed: Resumed) -> (i64, Stay) {
    match resumed {
        Resumed::Never => (0, None),
        Resumed::In(stay) => (1, stay),
        Resumed::Begun => (BEGUN, None),
    }
}

pub(super) fn all(tx: &Tx<'_>) -> Result<Vec<(WriterId, Towards)>, StoreError> {
    let read = || {
        tx.sql()
            .prepare(
                "SELECT writer, server, holder, replica, id, revision, says, capabilities, told,
                     stay
                 FROM towards_server",
            )?
            .query_map([], |row| {
                let server: String = row.get(1)?;
                Ok((
                    WriterId::from_number(row.get(0)?),
                    server.parse().map(|server| Towards {
                        server,
                        holder: row.get(2).unwrap_or_default(),
                        replica: row.get(3).unwrap_or_default(),
                        id: row.get(4).unwrap_or_default(),
                        revision: row.get(5).unwrap_or_default(),
                        says: row.get(6).unwrap_or_default(),
                        capabilities: row.get(7).unwrap_or_default(),
                        resumed: resumed(
                            row.get(8).unwrap_or_default(),
                            row.get(9).unwrap_or_default(),
                        ),
                    }),
                ))
            })?
            .collect::<Result<Vec<_>, _>>()
    };
    let rows = read().map_err(StoreError::sql("read the transport sessions with servers"))?;
    rows.into_iter()
        .map(|(writer, towards)| match towards {
            Ok(towards) => Ok((writer, towards)),
            Err(_no_name) => Err(StoreError::Damaged {
                what: "the server of a transport session".to_owned(),
            }),
        })
        .collect()
}

/// Whoever had it before.
pub(super) fn insert(
    tx: &Tx<'_>,
    own: WriterId,
    towards: &Towards,
    now: Timestamp,
) -> Result<(), StoreError> {
    write(tx, (own, towards, now), "true")
}

/// Another writer's stays.
pub(super) fn insert_own(
    tx: &Tx<'_>,
    own: WriterId,
    towards: &Towards,
    now: Timestamp,
) -> Result<(), StoreError> {
    write(tx, (own, towards, now), "writer = excluded.writer")
}

fn write(
    tx: &Tx<'_>,
    (own, towards, now): (WriterId, &Towards, Timestamp),
    replaces: &str,
) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO towards_server
             (server, holder, replica, id, revision, says, capabilities, told, writer,
              used, stay)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (server, holder, replica) DO UPDATE
         SET id = excluded.id, revision = excluded.revision, says = excluded.says,
             capabilities = excluded.capabilities, told = excluded.told,
             writer = excluded.writer, used = excluded.used, stay = excluded.stay
         WHERE {replaces}"
    );
    let (told, stay) = told(towards.resumed);
    tx.sql()
        .execute(
            &sql,
            params![
                towards.server.as_str(),
                towards.holder,
                towards.replica,
                towards.id,
                towards.revision,
                towards.says,
                towards.capabilities,
                told,
                own.number(),
                now.as_millisecond(),
                stay
            ],
        )
        .map(|_row_or_none| ())
        .map_err(StoreError::sql("keep a transport session with a server"))
}

pub(super) fn delete(
    tx: &Tx<'_>,
    own: WriterId,
    (server, holder, replica): (&ServerName, &str, &str),
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM towards_server
             WHERE server = ?1 AND holder = ?2 AND replica = ?3 AND writer = ?4",
            params![server.as_str(), holder, replica, own.number()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql("forget a transport session with a server"))
}

pub(super) fn delete_of(tx: &Tx<'_>, holder: &str) -> Result<(), StoreError> {
    tx.sql()
        .execute("DELETE FROM towards_server WHERE holder = ?1", [holder])
        .map(|_rows| ())
        .map_err(StoreError::sql(
            "forget the transport sessions of a session",
        ))
}

pub(super) fn forget_unused(tx: &Tx<'_>, since: Timestamp) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "DELETE FROM towards_server WHERE used < ?1",
            [since.as_millisecond()],
        )
        .map(|_rows| ())
        .map_err(StoreError::sql(
            "forget old transport sessions with servers",
        ))
}
