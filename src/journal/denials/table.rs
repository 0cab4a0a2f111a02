//! The records of the journal that are denials, found by their session.

use super::MOST_DENIED;
use super::Subject;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;
use rusqlite::params;

/// What version 20 of the store adds: denials are few, and only they are in these.
pub const SCHEMA_20: &str = "
CREATE INDEX journal_denied_same ON journal (session, digest) WHERE outcome = 'denied';
CREATE INDEX journal_denied ON journal (session, at) WHERE outcome = 'denied';
";

pub(super) fn denied_same(tx: &Tx<'_>, subject: &Subject, code: &str) -> Result<u32, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT count(*) FROM (
                     SELECT 1 FROM journal INDEXED BY journal_denied_same
                     WHERE outcome = 'denied' AND session = ?1 AND digest = ?2 AND tool = ?3
                         AND detail ->> 'code' = ?4
                         AND detail ->> 'policies' IS NOT '[\"countersign.paused\"]'
                     LIMIT ?5)",
            )?
            .query_row(
                params![
                    subject.session.as_bytes(),
                    subject.arguments.as_bytes(),
                    subject.tool,
                    code,
                    MOST_DENIED,
                ],
                |row| row.get(0),
            )
    };
    read().map_err(StoreError::sql("count the denials of a call"))
}

pub(super) fn denied_since(
    tx: &Tx<'_>,
    session: SessionId,
    since: Timestamp,
) -> Result<u32, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT count(*) FROM (
                     SELECT 1 FROM journal INDEXED BY journal_denied
                     WHERE outcome = 'denied' AND session = ?1 AND at > ?2
                         AND (detail ->> 'policies' <> '[\"countersign.paused\"]'
                             OR detail ->> 'code' = 'escalation_refused')
                     LIMIT ?3)",
            )?
            .query_row(
                params![session.as_bytes(), since.as_millisecond(), MOST_DENIED],
                |row| row.get(0),
            )
    };
    read().map_err(StoreError::sql("count the denials of a session"))
}
