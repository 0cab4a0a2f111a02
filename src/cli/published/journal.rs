//! The forms of what is told of the journal and of the store.

use super::time;
use crate::app::StoreFacts;
use crate::journal::DecisionView;
use crate::journal::PublicKey;
use crate::journal::Verified;
use serde_json::Value;
use serde_json::json;

/// What a verification found, and what is worth knowing of the files that it read.
pub(in crate::cli) fn verified(found: &Verified, notes: &[String]) -> Value {
    let heads = found.heads.iter().map(|(writer, (records, hash))| {
        let begin = found.begins.get(writer).unwrap_or(&0);
        json!({
            "writer": writer.number(),
            "begins_after": begin,
            "records": records,
            "last_hash": hash.to_string(),
        })
    });
    let problems = found.problems.iter().map(ToString::to_string);
    let keys = found.keys.iter().map(ToString::to_string);
    let last = found
        .last
        .map(|(number, at)| json!({"number": number, "at": time(Some(at))}));
    json!({
        "records": found.records,
        "hidden": found.hidden,
        "under_checkpoints": found.covered,
        "in_flight": found.in_flight,
        "heads": heads.collect::<Value>(),
        "checkpoints": {
            "number": found.checkpoints,
            "last": last,
            "keys": keys.collect::<Vec<_>>(),
        },
        "problems": problems.collect::<Vec<_>>(),
        "notes": notes,
    })
}

/// One decision on a call that waited for it, in a session of these handles.
pub(in crate::cli) fn decision(decision: &DecisionView, handles: &[String]) -> Value {
    json!({
        "id": decision.id.to_string(),
        "at": time(Some(decision.at)),
        "principal": decision.principal,
        "session": decision.session.to_string(),
        "handles": handles,
        "tool": decision.tool,
        "decision": decision.detail,
    })
}

/// The key that checkpoints are checked with.
pub(in crate::cli) fn public_key(key: &PublicKey) -> Value {
    json!({"algorithm": "Ed25519", "key": key.to_string(), "pem": key.pem()})
}

/// What a look at the store found. What nobody looked at, because the file is damaged, is
/// null.
pub(in crate::cli) fn store(facts: &StoreFacts) -> Value {
    let holds = facts.holds.as_ref();
    json!({
        "version": facts.version,
        "bytes": facts.bytes,
        "log_bytes": facts.log_bytes,
        "records": holds.and_then(|holds| holds.records),
        "brokers": holds.map(|holds| json!({"running": holds.living, "dead": holds.dead})),
        "settled": holds.map(|holds| holds.settled),
        "besides": facts.besides,
        "problems": facts.problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Problem;
    use crate::session::SessionId;
    use crate::store::WriterId;
    use crate::tool::CallId;
    use crate::tool::Digest;

    #[test]
    fn the_published_form_of_a_decision_stays_as_it_is() {
        let view = DecisionView {
            id: CallId::from_bytes([1; 16]),
            at: "2026-11-24T12:00:00Z".parse().unwrap(),
            session: SessionId::from_bytes([2; 16]),
            principal: "mia".to_owned(),
            tool: "claims/approve_payment".to_owned(),
            detail: json!({"decision": "approve"}),
        };
        insta::assert_json_snapshot!(decision(&view, &["claim-99".to_owned()]), @r#"
        {
          "id": "01010101-0101-0101-0101-010101010101",
          "at": "2026-11-24T12:00:00Z",
          "principal": "mia",
          "session": "02020202-0202-0202-0202-020202020202",
          "handles": [
            "claim-99"
          ],
          "tool": "claims/approve_payment",
          "decision": {
            "decision": "approve"
          }
        }
        "#);
    }

    #[test]
    fn the_published_form_of_a_verification_stays_as_it_is() {
        let key: PublicKey = "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw="
            .parse()
            .unwrap();
        let writer = WriterId::from_number(1);
        let found = Verified {
            records: 7,
            hidden: 2,
            covered: 6,
            heads: [(writer, (11, Digest::from_bytes([1; 32])))].into(),
            begins: [(writer, 4)].into(),
            checkpoints: 3,
            last: Some((3, "2026-11-24T12:00:00Z".parse().unwrap())),
            keys: [key].into(),
            in_flight: 1,
            problems: vec![Problem::Gap { writer, seq: 9 }],
        };
        insta::assert_json_snapshot!(verified(&found, &["a note".to_owned()]), @r#"
        {
          "records": 7,
          "hidden": 2,
          "under_checkpoints": 6,
          "in_flight": 1,
          "heads": [
            {
              "writer": 1,
              "begins_after": 4,
              "records": 11,
              "last_hash": "0101010101010101010101010101010101010101010101010101010101010101"
            }
          ],
          "checkpoints": {
            "number": 3,
            "last": {
              "number": 3,
              "at": "2026-11-24T12:00:00Z"
            },
            "keys": [
              "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw="
            ]
          },
          "problems": [
            "writer 1: record 9 is missing"
          ],
          "notes": [
            "a note"
          ]
        }
        "#);
    }
}
