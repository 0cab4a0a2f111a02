//! The tools by which an agent waits for a decision, and a person decides.

use super::answers::Arguments;
use super::answers::Said;
use crate::broker::Broker;
use crate::broker::ToolCall;
use crate::broker::escalations::DecisionRefusal;
use crate::broker::escalations::Ground;
use crate::broker::escalations::Ruling;
use crate::broker::escalations::escalation_value;
use crate::broker::labels;
use crate::broker::ruled::Way;
use crate::escalations::Approve;
use crate::escalations::Escalation;
use crate::escalations::EscalationId;
use crate::escalations::Filter;
use crate::escalations::IdError;
use crate::escalations::State;
use crate::json::Object;
use crate::json::canonical;
use crate::json::named;
use crate::json::quoted;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use crate::visible;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;

/// How long the wait is where nobody says how long, and at most, in seconds: clients
/// give up after a minute.
const WAIT: u32 = 25;
const WAIT_AT_MOST: u32 = 50;
/// How many are listed where nobody says how many.
const LISTED: u32 = 50;
const LISTED_AT_MOST: u32 = 200;
/// How much of somebody's text is shown, in characters.
const SHOWN: usize = 500;
/// How much of each argument is shown, in characters, and how many of them.
const ARGUMENT: usize = 300;
const ARGUMENTS: usize = 40;

impl Arguments<'_> {
    fn id(&self) -> Result<EscalationId, Said> {
        let id = self.text("id").unwrap_or_default();
        id.parse().map_err(|error: IdError| Said::failed(error))
    }
}

impl Broker {
    /// Waits for a decision. It takes time, so it is no work of a transaction.
    pub(super) async fn waited(&self, call: &ToolCall) -> Said {
        let arguments = Arguments::of(call);
        let id = match arguments.id() {
            Ok(id) => id,
            Err(said) => return said,
        };
        let seconds = match arguments.number("seconds") {
            Ok(seconds) => seconds.unwrap_or(WAIT),
            Err(said) => return said,
        };
        let patience = Duration::from_secs(u64::from(seconds.min(WAIT_AT_MOST)));
        let own = self.await_decision(&call.principal, id, patience).await;
        match own {
            Ok(found) if found.principal == call.principal => {
                let mut said = of_own(&found, Timestamp::now());
                said.from
                    .extend(found.has_reason().then_some(found.session));
                said
            }
            Ok(_) => Said::failed(DecisionRefusal::Unknown),
            Err(refusal) => Said::failed(refusal),
        }
    }
}

/// What an agent is told of its own request.
fn of_own(found: &Escalation, now: Timestamp) -> Said {
    let state = found.state_at(now);
    let decided = found.decision.as_ref().map(|decision| {
        let reason = decision.reason.as_deref();
        let reason = reason.map_or_else(String::new, |text| format!(": {}", quoted(text, SHOWN)));
        (decision.by.to_string(), reason)
    });
    let (by, reason) = decided.unwrap_or_else(|| ("nobody".to_owned(), String::new()));
    let text = match state {
        State::Pending => format!(
            "Still pending. Go on with other work, and wait again later; it is open until {}.",
            found.expires.strftime("%Y-%m-%d %H:%MZ")
        ),
        State::Approved => format!(
            "Approved by {by}{reason}. Make the same call of {} again now, with exactly the same arguments: it passes once.",
            found.tool
        ),
        State::Refused => format!(
            "Refused by {by}{reason}. This is final for this call: do not split, rephrase or repeat it."
        ),
        State::Used => "Approved, and used: the call was made with it.".to_owned(),
        State::Expired => {
            "Expired: nobody decided in time, or the call was not made in time.".to_owned()
        }
        State::Withdrawn => "Withdrawn by its caller.".to_owned(),
        State::Void => {
            let why = found.ended.as_ref().and_then(|(_, why)| why.as_deref());
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            format!("Void{why}.")
        }
    };
    Said::new(text, &escalation_value(found, now))
}

/// Takes one's own request back.
pub(super) fn withdrawn(
    tx: &Tx<'_>,
    ground: Ground<'_>,
    (call, of): (&ToolCall, CallId),
    now: Timestamp,
) -> Result<Said, StoreError> {
    let id = match Arguments::of(call).id() {
        Ok(id) => id,
        Err(said) => return Ok(said),
    };
    Ok(
        match ground.withdraw(tx, (&call.principal, id), &Way::Call(of), now)? {
            Ok(ended) => {
                if ended.has_reason() {
                    let told = (call.session, &call.principal, of);
                    let stick = (ground.settings.labels_stick, now);
                    labels::told_in(tx, ended.session, told, stick)?;
                }
                Said::new("Withdrawn.", &escalation_value(&ended, now))
            }
            Err(refusal) => Said::failed(refusal),
        },
    )
}

/// What somebody may decide on.
pub(super) fn listed(
    tx: &Tx<'_>,
    ground: Ground<'_>,
    (call, of): (&ToolCall, CallId),
    now: Timestamp,
) -> Result<Said, StoreError> {
    let arguments = Arguments::of(call);
    let limit = match arguments.number("limit") {
        Ok(limit) => limit.unwrap_or(LISTED),
        Err(said) => return Ok(said),
    };
    let filter = Filter {
        session: None,
        live: arguments.raw("all") != Some("true"),
        newest: Some(limit.min(LISTED_AT_MOST)),
    };
    let who = (&call.principal, &Way::Call(of));
    let found = ground.list(tx, who, &filter, now)?;
    let lines: Vec<String> = found.iter().map(|one| line(one, now)).collect();
    let values: Vec<Value> = found.iter().map(|one| escalation_value(one, now)).collect();
    let text = match lines.is_empty() {
        true => "Nothing waits for a decision.".to_owned(),
        false => lines.join("\n"),
    };
    let mut said = Said::new(text, &json!({ "escalations": values }));
    said.from
        .extend(found.iter().filter_map(Escalation::told_from));
    Ok(said)
}

/// One of them for a person, or a model that decides.
fn line(one: &Escalation, now: Timestamp) -> String {
    let codes: Vec<&str> = one.stops.iter().map(|stop| stop.code.as_str()).collect();
    format!(
        "- {} {}: {} of {} ({}), until {}, with{}",
        one.id,
        one.state_at(now).as_str(),
        one.tool,
        one.principal,
        codes.join(", "),
        one.expires.strftime("%Y-%m-%d %H:%MZ"),
        shown(one.body.as_deref())
    )
}

/// The arguments, each on a line of its own, so that a long one hides no other and none
/// passes for another: what an approval is bound to, with no escape in the place of what
/// can be written as it is.
fn shown(body: Option<&str>) -> String {
    let canonical = body.and_then(|body| canonical(body).ok());
    let members = canonical
        .as_deref()
        .and_then(|body| Object::parse(body).ok());
    let Some(members) = members else {
        return " arguments that are not kept any more".to_owned();
    };
    let count = members.iter().count();
    if count == 0 {
        return " no arguments".to_owned();
    }
    let mut text = ":".to_owned();
    for (name, value) in members.iter().take(ARGUMENTS) {
        let (name, value) = (named(name, SHOWN), visible::cut_line(value, ARGUMENT));
        text.push_str(&format!("\n    {name}: {value}"));
    }
    let more = count.saturating_sub(ARGUMENTS);
    if more > 0 {
        text.push_str(&format!(
            "\n    and {more} more arguments: see `countersign escalation show`"
        ));
    }
    text
}

/// Takes somebody's word.
pub(super) fn decided(
    tx: &Tx<'_>,
    ground: Ground<'_>,
    (call, of): (&ToolCall, CallId),
    now: Timestamp,
) -> Result<Said, StoreError> {
    let arguments = Arguments::of(call);
    let id = match arguments.id() {
        Ok(id) => id,
        Err(said) => return Ok(said),
    };
    let approve = match arguments.text("decision").as_deref() {
        Some("approve") => Approve::Yes,
        Some("refuse") => Approve::No,
        _ => return Ok(Said::failed("`decision` is `approve` or `refuse`")),
    };
    let ruling = Ruling {
        approve,
        reason: arguments.text("reason"),
        way: Way::Call(of),
    };
    Ok(
        match ground.decide(tx, (&call.principal, id), &ruling, now)? {
            Ok(decided) => {
                let state = decided.state.as_str();
                let text = format!("{id} is {state}.");
                Said::new(text, &escalation_value(&decided, now))
            }
            Err(refusal) => Said::failed(refusal),
        },
    )
}

/// How a person is told of one, for the digest of a session.
pub(in crate::broker) fn digest_line(one: &Escalation, now: Timestamp) -> Option<String> {
    let state = one.state_at(now);
    let decision = one.decision.as_ref();
    let by = decision.map_or_else(String::new, |decision| {
        let reason = decision.reason.as_deref();
        let reason = reason.map_or_else(String::new, |text| format!(": {}", quoted(text, SHOWN)));
        format!(" by {}{reason}", decision.by)
    });
    let what = format!("{} of {} by {}", one.id, one.tool, one.principal);
    let until = one.expires.strftime("%Y-%m-%d %H:%MZ");
    Some(match state {
        State::Pending => format!("Waiting for a decision until {until}: {what}."),
        State::Approved => {
            format!("Approved{by}, open until {until}: {what}. The same call passes once.")
        }
        State::Refused => format!("Refused{by}: {what}."),
        State::Expired => format!("Expired without a decision: {what}."),
        State::Used | State::Withdrawn | State::Void => return None,
    })
}

/// How it stands in the digest for programs.
pub(in crate::broker) fn digest_json(one: &Escalation, now: Timestamp) -> Value {
    json!({
        "id": one.id.to_string(),
        "state": one.state_at(now).as_str(),
        "tool": one.tool,
        "by": one.principal.to_string(),
        "expires": one.expires.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_is_shown_as_what_is_approved_on_a_line_of_its_own() {
        let raw = format!(
            r#"{{"payee":"\u0041CME\n    b: 2","o":{{{}"to":"x"}},"amount: 5, \u200b":1}}"#,
            " ".repeat(2_000)
        );
        assert_eq!(
            shown(Some(&raw)),
            r#":
    "amount: 5, \u200b": 1
    o: {"to":"x"}
    payee: "ACME\n    b: 2""#
        );
        let long = json!({"a": "x".repeat(400), "b": 1}).to_string();
        let said = shown(Some(&long));
        assert!(
            said.ends_with("x… (102 more characters)\n    b: 1"),
            "{said}"
        );
        assert_eq!(shown(Some("{}")), " no arguments");
        assert_eq!(shown(None), " arguments that are not kept any more");
    }
}
