//! The tables of what those who decide were shown.

use crate::escalations::EscalationId;
use crate::principal::PrincipalId;
use crate::store::StoreError;
use crate::store::Tx;
use rusqlite::OptionalExtension as _;
use rusqlite::params;

/// What version 28 of the store adds.
pub const SCHEMA_28: &str = "
CREATE TABLE escalation_version (    -- of those that said more later
    escalation TEXT PRIMARY KEY,
    version INTEGER NOT NULL         -- 2 when they first did
) STRICT, WITHOUT ROWID;
CREATE TABLE escalation_shown (      -- who was answered with what it says by then
    escalation TEXT NOT NULL,
    principal TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (escalation, principal)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER escalation_forgotten AFTER DELETE ON escalation BEGIN
    DELETE FROM escalation_version WHERE escalation = old.id;
    DELETE FROM escalation_shown WHERE escalation = old.id;
END;
";

pub(super) fn raise(tx: &Tx<'_>, id: EscalationId) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO escalation_version (escalation, version) VALUES (?1, 2)
             ON CONFLICT DO UPDATE SET version = version + 1",
            [id.to_string()],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note that an escalation says more"))
}

pub(super) fn version(tx: &Tx<'_>, id: EscalationId) -> Result<u32, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached("SELECT version FROM escalation_version WHERE escalation = ?1")?
            .query_row([id.to_string()], |row| row.get(0))
            .optional()
    };
    let version: Option<u32> =
        read().map_err(StoreError::sql("read how often an escalation said more"))?;
    Ok(version.unwrap_or(1))
}

pub(super) fn seen(
    tx: &Tx<'_>,
    id: EscalationId,
    by: &PrincipalId,
) -> Result<Option<u32>, StoreError> {
    tx.sql()
        .query_row(
            "SELECT version FROM escalation_shown WHERE escalation = ?1 AND principal = ?2",
            params![id.to_string(), by.to_string()],
            |row| row.get(0),
        )
        .optional()
        .map_err(StoreError::sql("read who was shown an escalation"))
}

pub(super) fn see(
    tx: &Tx<'_>,
    (id, version): (EscalationId, u32),
    by: &PrincipalId,
) -> Result<(), StoreError> {
    tx.sql()
        .execute(
            "INSERT INTO escalation_shown (escalation, principal, version) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET version = excluded.version",
            params![id.to_string(), by.to_string(), version],
        )
        .map(|_one_row| ())
        .map_err(StoreError::sql("note who was shown an escalation"))
}
