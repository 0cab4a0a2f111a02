//! What is said of calls that policy stops, and of those on which a person decides.

use super::Reader;
use super::Reply;
use super::failed;
use super::reference;
use crate::broker::Requested;
use crate::escalations::Decision;
use crate::escalations::EscalationId;
use crate::json::quoted;
use crate::notices::length;
use crate::policy::Denial;
use crate::policy::Escalation;
use crate::tool::CallId;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

/// How much of a person's reason is shown, in characters.
const REASON: usize = 500;

/// A no that nobody can lift.
pub(super) fn denied(call: &CallId, denial: &Denial, reader: Reader) -> Reply {
    let mut lines = messages(denial);
    lines.push("This decision is final for this call.".to_owned());
    lines.push("Do not split, rephrase or repeat it.".to_owned());
    lines.push(reference(call));
    failed(&lines, Some(decision(call, denial, &[])), reader)
}

/// A no that somebody can lift, and whether they are asked.
pub(super) fn escalated(
    call: &CallId,
    (denial, escalation): (&Denial, &Escalation),
    requested: &Requested,
    reader: Reader,
) -> Reply {
    let mut lines = messages(denial);
    let mut decision = decision(call, denial, &escalation.roles);
    let roles = one_of(&escalation.roles);
    match requested {
        Requested::TooMany => {
            lines.push(format!(
                "{roles} could lift this, but too many calls of this caller wait for a decision already. Nothing was sent, and nobody was asked."
            ));
            lines.push(
                "Wait until those are decided, or take some back; then make the call again."
                    .to_owned(),
            );
        }
        Requested::Waits {
            id,
            tries,
            expires_in,
            lapsed,
            wait,
        } => {
            if let Some(why) = lapsed {
                lines.push(format!("It was approved before, and that is void: {why}."));
            }
            if *tries == 1 {
                lines.push(format!(
                    "{roles} may decide on exactly this call, and is asked: {id}, open for {}. Nothing was sent.",
                    length(*expires_in)
                ));
                lines.push(next(wait.as_deref()));
                lines.push(
                    "Until then do not split, rephrase or repeat it; go on with other work."
                        .to_owned(),
                );
            } else {
                lines.push(format!(
                    "Still waiting for a decision: {id}, asked {tries} times. Nothing was sent, and repeating it changes nothing."
                ));
                lines.push(next(wait.as_deref()));
            }
            let members = [
                ("escalation", id.to_string().into()),
                ("tries", (*tries).into()),
                // In seconds, as OAuth has it.
                ("expiresIn", expires_in.as_secs().into()),
            ];
            add(&mut decision, members);
        }
    }
    lines.push(reference(call));
    failed(&lines, Some(decision), reader)
}

/// Somebody was asked, and said no.
pub(super) fn turned_down(
    call: &CallId,
    id: EscalationId,
    (decision, until): (&Decision, Timestamp),
    reader: Reader,
) -> Reply {
    let reason = decision.reason.as_deref();
    let reason = reason.map_or_else(String::new, |text| format!(": {}", quoted(text, REASON)));
    let lines = [
        format!(
            "{} refused this call{reason}. Nothing was sent.",
            decision.by
        ),
        "This decision is final for this call. Do not split, rephrase or repeat it.".to_owned(),
        reference(call),
    ];
    let decision = json!({
        "call": call.to_string(),
        "decision": "deny",
        "code": "escalation_refused",
        "final": true,
        "escalation": id.to_string(),
        "reasons": [],
        "roles": [],
        "until": until.to_string(),
    });
    failed(&lines, Some(decision), reader)
}

/// What to do while somebody is asked.
fn next(wait: Option<&str>) -> String {
    match wait {
        Some(tool) => format!(
            "The tool `{tool}` with this id waits for the decision. Once it is approved, make the same call again, unchanged: it passes once."
        ),
        None => {
            "Once it is approved, make the same call again, unchanged: it passes once.".to_owned()
        }
    }
}

fn decision(call: &CallId, denial: &Denial, roles: &[String]) -> Value {
    let codes: Vec<&str> = denial.reasons.iter().map(|reason| &*reason.code).collect();
    let may_be_lifted = !roles.is_empty();
    json!({
        "call": call.to_string(),
        "decision": if may_be_lifted { "escalate" } else { "deny" },
        "code": denial.code,
        "final": !may_be_lifted,
        "reasons": codes,
        "roles": roles,
    })
}

fn add<const N: usize>(decision: &mut Value, members: [(&str, Value); N]) {
    if let Some(known) = decision.as_object_mut() {
        known.extend(members.map(|(key, value)| (key.to_owned(), value)));
    }
}

/// The operator's messages, each once; where there is none, what is known.
pub(super) fn messages(denial: &Denial) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for message in denial
        .reasons
        .iter()
        .filter_map(|reason| reason.message.as_ref())
    {
        if !lines.contains(message) {
            lines.push(message.clone());
        }
    }
    if lines.is_empty() {
        lines.push(if denial.errors.is_empty() {
            format!("Not allowed by policy ({}). Nothing was sent.", denial.code)
        } else {
            "Policy could not be evaluated for this call, so nothing was sent. Tell the operator."
                .to_owned()
        });
    }
    lines
}

/// `A Manager or an Auditor`.
fn one_of(roles: &[String]) -> String {
    let named: Vec<String> = roles
        .iter()
        .map(|role| {
            let vowel = role.starts_with(|c: char| "AEIOUaeiou".contains(c));
            format!("{} {role}", if vowel { "an" } else { "a" })
        })
        .collect();
    let joined = named.join(" or ");
    match joined.strip_prefix('a') {
        Some(rest) => format!("A{rest}"),
        None => "A person with the right role".to_owned(),
    }
}
