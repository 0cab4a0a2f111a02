//! Tasks: calls that go on by themselves after their server has answered. A client
//! knows a task by a random id of ours, which is of use to its principal only; the
//! server by its own.

mod table;

pub use table::SCHEMA;
pub use table::SCHEMA_7;
pub use table::SCHEMA_11;

use crate::principal::PrincipalId;
use crate::session::Label;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::tool::ServerName;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// How long a task is known. Servers forget theirs far sooner.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);

/// A task as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Which server has it.
    pub server: ServerName,
    /// What the server calls it.
    pub native: Arc<str>,
    /// The call that became it.
    pub call: CallId,
    /// What its result brings into the session of whoever asks for it, as it was
    /// said of the tool when the task began.
    pub labels: BTreeSet<Label>,
    /// At which replica of the server it was begun, where that has several.
    pub replica: Option<Box<str>>,
}

/// Keeps a task that a call of this principal began. Returns the id that the
/// client knows it by: 122 random bits from the system's generator.
///
/// # Errors
///
/// When it cannot be kept; then nobody must be told of it.
pub fn begin(
    tx: &Tx<'_>,
    principal: &PrincipalId,
    task: &Task,
    now: Timestamp,
) -> Result<String, StoreError> {
    if let Ok(long_ago) = now.checked_sub(KEPT) {
        table::tasks_delete_before(tx, long_ago)?;
    }
    let id = format!("task-{}", Uuid::new_v4().simple());
    table::task_insert(tx, &id, (principal, task), now)?;
    Ok(id)
}

/// The task of this id, if it is this principal's.
///
/// # Errors
///
/// When the store cannot be read.
pub fn of(tx: &Tx<'_>, principal: &PrincipalId, id: &str) -> Result<Option<Task>, StoreError> {
    table::task(tx, principal, id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::in_store;

    #[tokio::test]
    async fn a_task_is_its_principals_only_and_forgotten_in_the_end() {
        let task = Task {
            server: "claims".parse().unwrap(),
            native: "1".into(),
            call: CallId::from_bytes([1; 16]),
            labels: BTreeSet::from(["pii".parse().unwrap()]),
            replica: Some("http://a/".into()),
        };
        let kept = task.clone();
        let principal = |name: &str| PrincipalId::parse(name).unwrap();
        let (own, others, unknown, later) = in_store(&[SCHEMA, SCHEMA_7, SCHEMA_11], move |tx| {
            let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
            let whose = &principal("alice");
            let id = begin(tx, whose, &kept, now)?;
            let own = of(tx, &principal("alice"), &id)?;
            let others = of(tx, &principal("bob"), &id)?;
            let unknown = of(tx, &principal("alice"), "1")?;
            begin(tx, whose, &kept, now + SignedDuration::from_hours(24 * 91))?;
            Ok((own, others, unknown, of(tx, &principal("alice"), &id)?))
        })
        .await;
        assert_eq!((own, others), (Some(task), None));
        assert_eq!((unknown, later), (None, None));
    }
}
