//! What a session was denied: how often one and the same call, and how much lately.
//!
//! Only what policy or a person said no to counts. A call that a pause stopped, that
//! waits for a decision, or that is told of an earlier one was not denied.

mod table;

pub use table::SCHEMA_20;

use super::Subject;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;

/// How many are counted.
pub const MOST_DENIED: u32 = 1_000;

/// How often calls that are the same were denied in this session with this code, at
/// most [`MOST_DENIED`].
///
/// # Errors
///
/// When the store cannot be read.
pub fn denied_before(tx: &Tx<'_>, subject: &Subject, code: &str) -> Result<u32, StoreError> {
    table::denied_same(tx, subject, code)
}

/// How many calls of a session were denied after that instant, at most
/// [`MOST_DENIED`].
///
/// # Errors
///
/// When the store cannot be read.
pub fn denied_since(tx: &Tx<'_>, session: SessionId, since: Timestamp) -> Result<u32, StoreError> {
    table::denied_since(tx, session, since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal;
    use crate::journal::SCHEMA;
    use crate::journal::SCHEMA_12;
    use crate::outcome::Outcome;
    use crate::principal::PrincipalId;
    use crate::store::Migration;
    use crate::store::Store;
    use crate::store::Writer;
    use crate::tool::CallId;
    use crate::tool::Digest;
    use serde_json::Value;
    use serde_json::json;

    const MIGRATIONS: [Migration; 1] = [Migration {
        number: 1,
        sql: &[SCHEMA, SCHEMA_12, SCHEMA_20],
    }];

    fn subject(call: u8, arguments: &str) -> Subject {
        Subject {
            call: CallId::from_bytes([call; 16]),
            session: SessionId::from_bytes([2; 16]),
            principal: PrincipalId::parse("alice").unwrap(),
            tool: "claims/close_claim".to_owned(),
            arguments: Digest::of(arguments.as_bytes()),
            policies: Digest::of(b"policies"),
            found: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn what_is_denied_counts_and_what_is_not_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db"), &MIGRATIONS).unwrap();
        let writer = Writer::enlist(&store, at(0)).unwrap().id();
        let no = |policy: &str| json!({"code": "no", "policies": [policy]});
        let refused: [(&str, Outcome, Value); 7] = [
            ("{}", Outcome::Denied, no("a")),
            ("{}", Outcome::Denied, no("a")),
            (
                "{}",
                Outcome::Denied,
                json!({"code": "other", "policies": []}),
            ),
            ("[]", Outcome::Denied, json!({"code": "escalation_refused"})),
            ("{}", Outcome::Denied, no("countersign.paused")),
            ("{}", Outcome::Denied, json!({"code": "earlier_unknown"})),
            ("{}", Outcome::Escalated, no("a")),
        ];
        let counted = store.write_blocking("refuse", move |tx| {
            for (index, (arguments, outcome, detail)) in (1_u8..).zip(&refused) {
                let refused = (&subject(index, arguments), *outcome, detail);
                journal::refuse(tx, writer, refused, at(i64::from(index)))?;
            }
            let session = subject(1, "{}").session;
            Ok((
                denied_before(tx, &subject(9, "{}"), "no")?,
                denied_before(tx, &subject(9, "[1]"), "no")?,
                [0, 1, 3, 4].map(|since| denied_since(tx, session, at(since)).unwrap()),
                denied_since(tx, SessionId::from_bytes([3; 16]), at(0))?,
            ))
        });
        assert_eq!(counted.unwrap(), (2, 0, [4, 3, 1, 0], 0));
    }
}
