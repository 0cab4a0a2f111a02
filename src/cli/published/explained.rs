//! The JSON form of how the session of a call was found.

use super::time;
use crate::journal;
use crate::journal::CallView;
use crate::session::Choice;
use crate::session::Found;
use crate::sessions::Session;
use serde_json::Value;
use serde_json::json;

/// How the session of a call was found. `found` is null where its record does not say
/// it.
pub(in crate::cli) fn explained(view: &CallView, session: Option<&Session>) -> Value {
    let handles = session.map(|session| session.handles.as_slice());
    json!({
        "call": view.call.to_string(),
        "decided": time(Some(view.at)),
        "tool": view.tool,
        "principal": view.principal,
        "session": view.session.to_string(),
        "handles": handles.unwrap_or_default(),
        "owner": session.map(|session| session.owner.to_string()),
        "found": journal::found(&view.detail).map(|found| published(&found)),
    })
}

fn published(found: &Found) -> Value {
    let agreed = found.agreed.iter().map(|rule| rule.as_str());
    json!({
        "by": found.chosen.by.as_str(),
        "named": found.chosen.named.as_deref(),
        "agreed": agreed.collect::<Value>(),
        "otherwise": found.otherwise.as_ref().map(choice),
    })
}

fn choice(choice: &Choice) -> Value {
    json!({
        "by": choice.by.as_str(),
        "named": choice.named.as_deref(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::PrincipalId;
    use crate::session::SessionId;
    use crate::store::WriterId;
    use crate::tool::CallId;
    use jiff::Timestamp;

    fn view(detail: Value) -> CallView {
        let at: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        CallView {
            call: CallId::from_bytes([2; 16]),
            at,
            writer: WriterId::from_number(1),
            session: SessionId::from_bytes([1; 16]),
            principal: "mia".to_owned(),
            tool: "claims/get_claim".to_owned(),
            outcome: None,
            ended: None,
            detail,
            close_detail: None,
            arguments: None,
        }
    }

    #[test]
    fn how_a_session_was_found_is_published_as_it_is() {
        let view = view(json!({"found": {
            "by": "path",
            "named": "alice/claim-99",
            "agreed": ["header"],
            "otherwise": {"by": "transport"},
        }}));
        let session = Session {
            id: view.session,
            owner: PrincipalId::parse("alice").unwrap(),
            handles: vec!["claim-99".to_owned()],
            created: view.at,
            used: view.at,
            frozen: None,
            paused: None,
            ended: None,
            labels: Default::default(),
        };
        insta::assert_json_snapshot!(explained(&view, Some(&session)), @r#"
        {
          "call": "02020202-0202-0202-0202-020202020202",
          "decided": "2026-11-24T12:00:00Z",
          "tool": "claims/get_claim",
          "principal": "mia",
          "session": "01010101-0101-0101-0101-010101010101",
          "handles": [
            "claim-99"
          ],
          "owner": "alice",
          "found": {
            "by": "path",
            "named": "alice/claim-99",
            "agreed": [
              "header"
            ],
            "otherwise": {
              "by": "transport",
              "named": null
            }
          }
        }
        "#);
    }

    #[test]
    fn a_record_that_does_not_say_it_is_published_without_it() {
        let old = explained(&view(json!({"policies": ["p"]})), None);
        assert_eq!(old["found"], Value::Null);
        assert_eq!(old["handles"], json!([]));
    }
}
