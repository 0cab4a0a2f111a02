//! What is said of calls that policy stops, and of those on which a person decides.

use super::Reader;
use super::Reply;
use super::failed;
use super::own_task;
use super::reference;
use super::shown;
use crate::broker::Again;
use crate::broker::Paused;
use crate::broker::Requested;
use crate::broker::Settled;
use crate::escalations::Decision;
use crate::escalations::EscalationId;
use crate::json::quoted;
use crate::policy::Denial;
use crate::policy::Escalation;
use crate::policy::Unseen;
use crate::span::in_words;
use crate::tool::CallId;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

/// How much of a person's reason is shown, in characters.
const REASON: usize = 500;

/// How many arguments are named.
const UNSEEN: usize = 8;

/// What a frozen session waits for, and what the model should do.
const UNTIL_THAWED: &str = "nothing more is sent until the operator lets the session go on (`countersign session thaw`). Stop, and say so to the person you work for.";

/// A no that nobody can lift.
pub(super) fn denied(call: &CallId, (denial, again): (&Denial, Again), reader: Reader) -> Reply {
    let mut lines = messages(denial);
    if again.before > 0 {
        let times = match again.before {
            Again::MOST.. => format!("more than {} times", Again::MOST),
            before => format!("{} times", before + 1),
        };
        lines.push(format!("Refused {times} by now; do not repeat it."));
    } else if denial.reasons.len() == 1 && !denial.unseen.is_empty() {
        // The only no that another call of the same kind is right for.
        lines.push("Leave that out, if the call means the same without it; where it is needed, ask the operator to let it pass.".to_owned());
        lines.push("As it is, the call is refused whenever it is made.".to_owned());
    } else {
        lines.push("This decision is final for this call.".to_owned());
        lines.push("Do not split, rephrase or repeat it.".to_owned());
    }
    if again.freezes {
        lines.push(format!(
            "Too much was refused in this session, so it is frozen now: {UNTIL_THAWED}"
        ));
    } else if denial.is_freeze() {
        lines.push(format!("As long as it is frozen, {UNTIL_THAWED}"));
    }
    lines.push(reference(call));
    let mut decision = decision(call, denial, &[]);
    if again.before > 0 {
        add(
            &mut decision,
            [("tries", again.before.saturating_add(1).into())],
        );
    }
    failed(&lines, Some(decision), reader)
}

/// A no that holds as long as the session waits.
pub(super) fn paused(paused: &Paused, reader: Reader) -> Reply {
    let Paused { call, denial, .. } = paused;
    let mut lines = messages(denial);
    let awaited = paused.waiting_for.as_ref();
    let awaited = awaited.map(|text| quoted(text, REASON));
    lines.extend(awaited.map(|text| format!("It waits for {text}.")));
    let once = match paused.waiting_for {
        Some(_) => "Once that is there",
        None => "Where it need not wait any more",
    };
    lines.push(match &paused.resume {
        Some(tool) => format!(
            "{once}, the tool `{tool}` lets the session go on; then make the same call again."
        ),
        None => format!(
            "{once}, the operator lets the session go on (`countersign session resume`); then make the same call again."
        ),
    });
    lines.push(reference(call));
    let mut decision = decision(call, denial, &[]);
    add(&mut decision, [("final", false.into())]);
    failed(&lines, Some(decision), reader)
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
                    in_words(*expires_in)
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

pub(super) fn decision(call: &CallId, denial: &Denial, roles: &[String]) -> Value {
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

pub(super) fn add<const N: usize>(decision: &mut Value, members: [(&str, Value); N]) {
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
    if !lines.is_empty() && !denial.unseen.is_empty() {
        lines.push(unseen(&denial.unseen));
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

/// Which arguments policy cannot see, and why.
fn unseen(unseen: &[Unseen]) -> String {
    let named = unseen.iter().take(UNSEEN);
    let mut named: Vec<String> = named
        .map(|one| format!("`{}` ({})", shown(&one.argument, 80), shown(&one.why, 80)))
        .collect();
    let more = unseen.len().saturating_sub(UNSEEN);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    format!("Policy cannot see {}. Nothing was sent.", named.join(", "))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::Client;
    use crate::policy::Reason;
    use crate::tool::Asking;

    fn stopped_by(code: &str, message: &str) -> Denial {
        Denial {
            code: code.to_owned(),
            reasons: vec![Reason {
                policy: "secret-policy-name".to_owned(),
                code: code.to_owned(),
                message: Some(message.to_owned()),
            }],
            errors: Vec::new(),
            unseen: Vec::new(),
        }
    }

    const READER: Reader = Reader {
        client: Client::Legacy,
        asking: Asking::Tool,
    };

    fn told(reply: Reply) -> (String, Value) {
        let Reply::Result(json) = reply else {
            panic!("a tool's refusal is a result: {reply:?}");
        };
        let result: Value = serde_json::from_str(&json).unwrap();
        let text = result["content"][0]["text"].as_str().unwrap().to_owned();
        let decision = &result["_meta"]["dev.countersign/decision"];
        (text, decision["final"].clone())
    }

    #[test]
    fn a_refusal_in_a_session_that_waits_says_for_what_and_how_it_goes_on() {
        let call = CallId::from_bytes([1; 16]);
        let denial = stopped_by("session_paused", "This session is paused.");
        let said = |waiting_for: Option<&str>, resume: Option<&str>| {
            let stopped = Paused {
                call,
                denial: denial.clone(),
                waiting_for: waiting_for.map(str::to_owned),
                resume: resume.map(Into::into),
            };
            told(paused(&stopped, READER))
        };
        let (text, is_final) = said(Some("the \"invoice\""), Some("resume_it"));
        insta::assert_snapshot!(text, @r#"
        This session is paused.
        It waits for "the \"invoice\"".
        Once that is there, the tool `resume_it` lets the session go on; then make the same call again.
        Reference: 01010101-0101-0101-0101-010101010101
        "#);
        assert_eq!(is_final, false);
        let (text, _) = said(None, None);
        insta::assert_snapshot!(text, @"
        This session is paused.
        Where it need not wait any more, the operator lets the session go on (`countersign session resume`); then make the same call again.
        Reference: 01010101-0101-0101-0101-010101010101
        ");
    }

    #[test]
    fn what_was_refused_before_is_told_shorter_and_counted() {
        let call = CallId::from_bytes([1; 16]);
        let denial = stopped_by("limit", "Too much.");
        let said = |before, freezes| {
            let again = Again { before, freezes };
            told(denied(&call, (&denial, again), READER)).0
        };
        insta::assert_snapshot!(said(2, false), @"
        Too much.
        Refused 3 times by now; do not repeat it.
        Reference: 01010101-0101-0101-0101-010101010101
        ");
        assert!(said(Again::MOST, false).contains("Refused more than 1000 times by now"));
        assert!(said(0, true).contains("This decision is final for this call."));
        assert!(said(0, true).contains("it is frozen now"));
    }

    #[test]
    fn a_refusal_in_a_frozen_session_says_who_lets_it_go_on() {
        let call = CallId::from_bytes([1; 16]);
        let mut denial = stopped_by("session_frozen", "This session is frozen.");
        denial.reasons[0].policy = "countersign.frozen".to_owned();
        let said = |before, freezes| {
            let again = Again { before, freezes };
            told(denied(&call, (&denial, again), READER)).0
        };
        insta::assert_snapshot!(said(0, false), @"
        This session is frozen.
        This decision is final for this call.
        Do not split, rephrase or repeat it.
        As long as it is frozen, nothing more is sent until the operator lets the session go on (`countersign session thaw`). Stop, and say so to the person you work for.
        Reference: 01010101-0101-0101-0101-010101010101
        ");
        let who = "until the operator lets the session go on (`countersign session thaw`)";
        assert!(said(3, false).contains(who));
    }

    #[test]
    fn arguments_that_policy_cannot_see_are_named_with_what_to_do() {
        let call = CallId::from_bytes([1; 16]);
        let mut denial = stopped_by("arguments_not_checkable", "It cannot be checked.");
        denial.unseen = vec![Unseen {
            argument: "me\u{200b}mo".to_owned(),
            why: "it declares no type".to_owned(),
        }];
        let (text, is_final) = told(denied(&call, (&denial, Again::default()), READER));
        insta::assert_snapshot!(text, @"
        It cannot be checked.
        Policy cannot see `me�mo` (it declares no type). Nothing was sent.
        Leave that out, if the call means the same without it; where it is needed, ask the operator to let it pass.
        As it is, the call is refused whenever it is made.
        Reference: 01010101-0101-0101-0101-010101010101
        ");
        assert_eq!(is_final, true);
        denial.reasons.push(Reason {
            policy: "limit".to_owned(),
            code: "limit".to_owned(),
            message: None,
        });
        let (text, _) = told(denied(&call, (&denial, Again::default()), READER));
        assert!(text.contains("This decision is final"), "{text}");
    }
}
