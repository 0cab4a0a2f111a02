//! The JSON forms of what commands print, for programs: stable names, times as
//! RFC 3339, amounts in minor units. One place, so that a change shows.

mod clients;
mod explained;
mod journal;

pub(super) use clients::Connected;
pub(super) use clients::Server;
pub(super) use explained::explained;
pub(super) use journal::decision;
pub(super) use journal::public_key;
pub(super) use journal::store;
pub(super) use journal::verified;

use super::difference;
use super::difference::Difference;
use crate::broker::Unit;
use crate::broker::Units;
use crate::events::Delivery;
use crate::events::Event;
use crate::journal::CallView;
use crate::meters::Shown;
use crate::meters::Total;
use crate::outbox;
use crate::outbox::Attempt;
use crate::outbox::Ended;
use crate::pins::Pin;
use crate::sessions::Change;
use crate::sessions::Session;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| at.to_string().into())
}

/// One session.
pub(super) fn session(session: &Session) -> Value {
    json!({
        "id": session.id.to_string(),
        "handles": session.handles,
        "owner": session.owner.to_string(),
        "created": time(Some(session.created)),
        "used": time(Some(session.used)),
        "labels": session.labels,
        "frozen": time(session.frozen),
        "paused": session.paused.as_ref().map(|pause| json!({
            "since": time(Some(pause.since)),
            "waiting_for": pause.waiting_for,
        })),
        "ended": session.ended.map(|end| json!({
            "at": time(Some(end.at)),
            "why": end.why.as_str(),
        })),
    })
}

/// One session with its totals, its calls and how each ended, what arrived last, and
/// what became of it last.
pub(super) fn session_whole(
    whole: &Session,
    (totals, calls): (&[Total], &[(CallView, String)]),
    (arrived, changes): (&[Event], &[Change]),
) -> Value {
    let mut value = session(whole);
    let totals = totals
        .iter()
        .map(|total| json!({"meter": total.meter, "total": total.total}));
    let calls = calls
        .iter()
        .map(|(view, ending)| call(view, ending, &whole.handles));
    if let Some(members) = value.as_object_mut() {
        members.insert("totals".to_owned(), totals.collect());
        members.insert("calls".to_owned(), calls.collect());
        members.insert("events".to_owned(), arrived.iter().map(event).collect());
        members.insert("changes".to_owned(), changes.iter().map(change).collect());
    }
    value
}

/// What became of a session.
fn change(change: &Change) -> Value {
    json!({
        "at": time(Some(change.at)),
        "what": change.what.as_str(),
        "by": change.by,
        "detail": change.detail,
    })
}

/// The totals of meters as they are at one instant.
pub(super) fn meters(shown: &[Shown], units: Units<'_>, at: Timestamp) -> Value {
    let totals = shown.iter().map(|one| {
        let unit = match units.unit(&one.meter) {
            Unit::Calls => "calls",
            Unit::Money => "money",
            Unit::Whole => "whole",
        };
        json!({
            "meter": one.meter.name(),
            "per": one.per.as_str(),
            "of": one.of,
            "window": one.window.to_string(),
            "unit": unit,
            "total": one.total,
        })
    });
    json!({
        "at": time(Some(at)),
        "money_scale": units.scale,
        "totals": totals.collect::<Value>(),
    })
}

/// One call, in a session of these handles.
pub(super) fn call(call: &CallView, ending: &str, handles: &[String]) -> Value {
    json!({
        "id": call.call.to_string(),
        "decided": time(Some(call.at)),
        "ended": time(call.ended),
        "outcome": ending,
        "principal": call.principal,
        "session": call.session.to_string(),
        "handles": handles,
        "tool": call.tool,
        "decision": call.detail,
        "ending": call.close_detail,
        "arguments": call.arguments,
    })
}

/// One event from outside. What it says stands there as the text that it was, since
/// a number may be more exact than its readers.
pub(super) fn event(event: &Event) -> Value {
    json!({
        "number": event.number,
        "id": event.id,
        "kind": event.kind,
        "at": time(Some(event.at)),
        "by": event.by,
        "resumed": event.resumed,
        "body": event.body,
    })
}

/// One event on its way to one target.
pub(super) fn delivery(delivery: &Delivery) -> Value {
    let (number, id, kind) = &delivery.event;
    json!({
        "session": delivery.session.to_string(),
        "event": {"number": number, "id": id, "kind": kind},
        "target": delivery.target,
        "due": time(delivery.due),
        "ended": delivery.ended.map(Ended::as_str),
        "tries": tries(&delivery.tries),
    })
}

/// What became of an escalation, on its way to one who is told of it.
pub(super) fn notice(delivery: &outbox::Delivery) -> Value {
    let (id, state) = delivery.matter.split_once('/').unwrap_or_default();
    json!({
        "escalation": id,
        "state": state,
        "target": delivery.target,
        "due": time(delivery.due),
        "ended": delivery.ended.map(Ended::as_str),
        "tries": tries(&delivery.tries),
    })
}

fn tries(tries: &[Attempt]) -> Value {
    let tries = tries.iter().map(|attempt| {
        json!({
            "at": time(Some(attempt.at)),
            "status": attempt.status,
            "problem": attempt.problem,
        })
    });
    tries.collect()
}

/// One pinned tool.
pub(super) fn pin(pin: &Pin) -> Value {
    let state = match (&pin.changed, pin.listed) {
        (Some(_), _) => "changed",
        (None, true) => "pinned",
        (None, false) => "gone",
    };
    let changed = pin.changed.as_ref();
    let found = changed.map(|changed| difference::between(&pin.definition.json, &changed.json));
    let found = found.unwrap_or_default();
    let differences = found.iter().map(Difference::published);
    json!({
        "tool": pin.definition.id.to_string(),
        "state": state,
        "since": time(Some(pin.since)),
        "digest": pin.definition.digest.to_string(),
        "changed_digest": pin.changed.as_ref().map(|changed| changed.digest.to_string()),
        "differences": differences.collect::<Value>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::ServerRules;
    use crate::meters::Source;
    use crate::outcome::Outcome;
    use crate::principal::PrincipalId;
    use crate::session::SessionId;
    use crate::store::WriterId;
    use crate::tool::CallId;
    use crate::tool::Counted;
    use crate::tool::Meter;
    use crate::tool::Per;
    use crate::tool::ServerName;
    use crate::tool::ToolRules;
    use crate::tool::Window;
    use jiff::SignedDuration;
    use std::collections::BTreeMap;

    /// Totals of declared meters and of arguments, in every unit.
    fn totals_of_meters() -> [Shown; 4] {
        let refunds = Meter {
            name: "refunds".into(),
            tools: vec![Counted {
                server: "claims".parse().unwrap(),
                tool: Some("approve_payment".into()),
            }],
            sum: Some("amount".into()),
            per: Per::Role,
            window: Window::Sliding(SignedDuration::from_hours(24)),
        };
        let calls = Meter {
            name: "calls".into(),
            sum: None,
            per: Per::Tool,
            window: Window::Day,
            ..refunds.clone()
        };
        let shown = |meter: Source, per, of: &str, window, total| Shown {
            meter,
            per,
            of: of.to_owned(),
            window,
            total,
        };
        let (role, day) = (refunds.window, Window::Day);
        let of_tool = |argument: &str| Source::OfTool(format!("claims/approve_payment#{argument}"));
        let (calls, refunds) = (
            Source::Declared(calls.into()),
            Source::Declared(refunds.into()),
        );
        let tool = "claims/approve_payment";
        [
            shown(refunds, Per::Role, "Junior", role, 900_000),
            shown(calls, Per::Tool, tool, day, 3),
            shown(of_tool("amount"), Per::Principal, "alice", day, 1_250),
            shown(of_tool("items"), Per::Session, "s", Window::Always, 7),
        ]
    }

    /// The operator's word that the payments are money.
    fn money() -> BTreeMap<ServerName, ServerRules> {
        let pay = ToolRules {
            money: vec!["amount".to_owned()],
            ..ToolRules::default()
        };
        let claims = ServerRules {
            tools: [("approve_payment".to_owned(), pay)].into(),
            ..ServerRules::default()
        };
        [("claims".parse().unwrap(), claims)].into()
    }

    #[test]
    fn the_published_form_of_meters_stays_as_it_is() {
        let servers = money();
        let units = Units {
            servers: &servers,
            scale: 2,
        };
        let at = "2026-11-24T12:00:00Z".parse().unwrap();
        insta::assert_json_snapshot!(meters(&totals_of_meters(), units, at), @r#"
        {
          "at": "2026-11-24T12:00:00Z",
          "money_scale": 2,
          "totals": [
            {
              "meter": "refunds",
              "per": "role",
              "of": "Junior",
              "window": "PT24H",
              "unit": "money",
              "total": 900000
            },
            {
              "meter": "calls",
              "per": "tool",
              "of": "claims/approve_payment",
              "window": "day",
              "unit": "calls",
              "total": 3
            },
            {
              "meter": "claims/approve_payment#amount",
              "per": "principal",
              "of": "alice",
              "window": "day",
              "unit": "money",
              "total": 1250
            },
            {
              "meter": "claims/approve_payment#items",
              "per": "session",
              "of": "s",
              "window": "all",
              "unit": "whole",
              "total": 7
            }
          ]
        }
        "#);
    }

    fn a_total() -> Total {
        Total {
            meter: "claims/approve_payment#amount".to_owned(),
            total: 900_000,
        }
    }

    fn an_event(at: Timestamp) -> Event {
        Event {
            number: 1,
            id: "e1".to_owned(),
            kind: "verification".to_owned(),
            body: "{\"ok\": 1.10}".to_owned(),
            by: "operator".to_owned(),
            at,
            resumed: false,
        }
    }

    fn a_session(at: Timestamp) -> Session {
        Session {
            id: SessionId::from_bytes([1; 16]),
            owner: PrincipalId::parse("alice").unwrap(),
            handles: vec!["claim-99".to_owned()],
            created: at,
            used: at,
            frozen: None,
            paused: None,
            ended: None,
            labels: Default::default(),
        }
    }

    #[test]
    fn published_forms_stay_as_they_are() {
        let at: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let one = a_session(at);
        let view = CallView {
            call: CallId::from_bytes([2; 16]),
            at,
            writer: WriterId::from_number(1),
            session: one.id,
            principal: "alice".to_owned(),
            tool: "claims/get_claim".to_owned(),
            outcome: Some(Outcome::Completed),
            ended: Some(at),
            detail: json!({"policies": ["p"]}),
            close_detail: Some(json!({})),
            arguments: Some("{}".to_owned()),
        };
        let (calls, arrived) = ([(view, "completed".to_owned())], [an_event(at)]);
        let whole = session_whole(&one, (&[a_total()], &calls), (&arrived, &[]));
        insta::assert_json_snapshot!(whole, @r#"
        {
          "id": "01010101-0101-0101-0101-010101010101",
          "handles": [
            "claim-99"
          ],
          "owner": "alice",
          "created": "2026-11-24T12:00:00Z",
          "used": "2026-11-24T12:00:00Z",
          "labels": [],
          "frozen": null,
          "paused": null,
          "ended": null,
          "totals": [
            {
              "meter": "claims/approve_payment#amount",
              "total": 900000
            }
          ],
          "calls": [
            {
              "id": "02020202-0202-0202-0202-020202020202",
              "decided": "2026-11-24T12:00:00Z",
              "ended": "2026-11-24T12:00:00Z",
              "outcome": "completed",
              "principal": "alice",
              "session": "01010101-0101-0101-0101-010101010101",
              "handles": [
                "claim-99"
              ],
              "tool": "claims/get_claim",
              "decision": {
                "policies": [
                  "p"
                ]
              },
              "ending": {},
              "arguments": "{}"
            }
          ],
          "events": [
            {
              "number": 1,
              "id": "e1",
              "kind": "verification",
              "at": "2026-11-24T12:00:00Z",
              "by": "operator",
              "resumed": false,
              "body": "{\"ok\": 1.10}"
            }
          ],
          "changes": []
        }
        "#);
    }

    #[test]
    fn what_became_of_a_session_is_published_as_it_is() {
        let at: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let moved = Change {
            at,
            what: crate::sessions::What::Moved,
            by: "server:claims".to_owned(),
            detail: Some("claims: from a to b, because it is not there".to_owned()),
        };
        insta::assert_json_snapshot!(change(&moved), @r#"
        {
          "at": "2026-11-24T12:00:00Z",
          "what": "moved",
          "by": "server:claims",
          "detail": "claims: from a to b, because it is not there"
        }
        "#);
    }
}
