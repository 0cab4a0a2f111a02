//! What is said of calls that policy stops, and of those on which a person decides.

use super::Reader;
use super::Reply;
use super::failed;
use super::own_task;
use super::reference;
use super::shown;
use crate::broker::Requested;
use crate::broker::Settled;
use crate::escalations::Decision;
use crate::escalations::EscalationId;
use crate::json::quoted;
use crate::policy::Denial;
use crate::policy::Escalation;
use crate::tool::CallId;
use jiff::SignedDuration;
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
            task,
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
            if let Some(task) = task {
                return own_task::begun((task, *id), (&lines, decision), reader);
            }
        }
    }
    lines.push(reference(call));
    failed(&lines, Some(decision), reader)
}

/// What became of a call that waited for a decision, and has no answer of a server.
pub(super) fn settled(id: EscalationId, settled: &Settled, reader: Reader) -> Reply {
    let (code, mut lines) = match settled {
        Settled::Approved { decision, until } => ("approved", approved(decision, *until)),
        Settled::NotSent {
            decision,
            why,
            until,
        } => {
            let by = decision.as_ref().map(said_yes);
            let by = by.map_or_else(String::new, |by| format!("{by} "));
            let why = shown(why, REASON);
            let mut lines = vec![format!("{by}The call was not sent: {why}.")];
            lines.push(match until {
                Some(until) => again(*until),
                None => "This is final for this request.".to_owned(),
            });
            ("not_sent", lines)
        }
        Settled::Elsewhere { call } => (
            "used",
            vec![format!(
                "Approved, and its caller made the call meanwhile ({call}): its answer went there."
            )],
        ),
        Settled::TooLarge { call } => (
            "answer_too_large",
            vec![
                format!("Approved and made ({call}); the answer was too large to keep."),
                "Do not repeat it: look at what it did.".to_owned(),
            ],
        ),
        Settled::Expired => (
            "expired",
            vec!["Expired: nobody decided in time. Nothing was sent.".to_owned()],
        ),
    };
    lines.push(format!("Reference: {id}"));
    let decision = json!({"code": code, "escalation": id.to_string()});
    failed(&lines, Some(decision), reader)
}

/// What its client is told that makes an approved call.
fn approved(decision: &Decision, until: Option<Timestamp>) -> Vec<String> {
    let by = said_yes(decision);
    match until {
        Some(until) => vec![format!("{by} Nothing was sent yet."), again(until)],
        None => vec![format!(
            "{by} It was used since, taken back, or not used in time."
        )],
    }
}

fn said_yes(decision: &Decision) -> String {
    let reason = decision.reason.as_deref();
    let reason = reason.map_or_else(String::new, |text| format!(": {}", quoted(text, REASON)));
    format!("Approved by {}{reason}.", decision.by)
}

fn again(until: Timestamp) -> String {
    format!(
        "Make the same call again, with exactly the same arguments: it passes once, until {}.",
        until.strftime("%Y-%m-%d %H:%MZ")
    )
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

/// `3 days`, `1 hour`, `20 minutes`: rounded down, to one unit.
fn length(time: SignedDuration) -> String {
    let minutes = time.as_secs() / 60;
    let (count, unit) = match minutes {
        ..=0 => return "less than a minute".to_owned(),
        1..120 => (minutes, "minute"),
        120..2880 => (minutes / 60, "hour"),
        _ => (minutes / 1440, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_something_is_open_is_said_in_one_unit() {
        for (seconds, expected) in [
            (-5, "less than a minute"),
            (59, "less than a minute"),
            (60, "1 minute"),
            (3_600, "60 minutes"),
            (7_200, "2 hours"),
            (86_400, "24 hours"),
            (259_200, "3 days"),
        ] {
            assert_eq!(length(SignedDuration::from_secs(seconds)), expected);
        }
    }
}
