//! The records of the journal that are decisions.

use super::DecisionView;
use crate::journal::Filter;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::Timestamp;
use rusqlite::params;

/// What version 21 of the store changes: records may be decisions. Only the text of a
/// constraint is another then, and no byte of a record, so it is changed where the
/// tables are declared (`PRAGMA writable_schema` is SQLite's word for that): to copy the
/// journal would take as long as it is large.
pub const SCHEMA_21: &str = "
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
    SET sql = replace(sql, '(''open'', ''close'', ''refused'')',
                           '(''open'', ''close'', ''refused'', ''decision'')')
    WHERE type = 'table' AND name = 'journal';
PRAGMA writable_schema = RESET;
CREATE INDEX journal_decisions ON journal (call) WHERE kind = 'decision';
";

pub(super) fn decisions(tx: &Tx<'_>, filter: &Filter<'_>) -> Result<Vec<DecisionView>, StoreError> {
    let read = || {
        tx.sql()
            .prepare_cached(
                "SELECT call, at, session, principal, tool, detail FROM journal
                 WHERE kind = 'decision' AND (?1 IS NULL OR session = ?1)
                     AND (?2 IS NULL OR call = ?2)
                 ORDER BY call DESC LIMIT ?3",
            )?
            .query_map(
                params![
                    filter.session.as_ref().map(SessionId::as_bytes),
                    filter.call.as_ref().map(CallId::as_bytes),
                    filter.newest.map_or(-1, i64::from),
                ],
                columns,
            )?
            .collect::<Result<Vec<Columns>, _>>()
    };
    let found = read().map_err(StoreError::sql("list the decisions"))?;
    found.into_iter().rev().map(view).collect()
}

type Columns = ([u8; 16], i64, [u8; 16], String, String, String);

fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<Columns> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
    ))
}

fn view((id, at, session, principal, tool, detail): Columns) -> Result<DecisionView, StoreError> {
    let id = CallId::from_bytes(id);
    let damaged = |what: &str| StoreError::Damaged {
        what: format!("{what} of the decision {id}"),
    };
    Ok(DecisionView {
        id,
        at: Timestamp::from_millisecond(at).map_err(|_range| damaged("the time"))?,
        session: SessionId::from_bytes(session),
        principal,
        tool,
        detail: serde_json::from_str(&detail).map_err(|_no_json| damaged("the detail"))?,
    })
}
