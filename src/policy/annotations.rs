//! What the operator writes over a policy: its id, what is said when it stops a
//! call, and who may lift it.

use super::message::Lifts;
use super::message::Message;
use super::reads;
use super::reads::Mentioned;
use cedar_policy::Effect;
use cedar_policy::Policy;
use jiff::SignedDuration;
use jiff::Span;
use jiff::SpanRelativeTo;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// How long an escalation stays open where its policy does not say.
pub(super) const DEFAULT_EXPIRY: SignedDuration = SignedDuration::from_hours(72);

const KEYS: [&str; 6] = ["confirm", "escalate", "expires", "id", "message", "reason"];

/// Codes that are not any policy's.
const RESERVED_CODES: [&str; 2] = ["not_permitted", "policy_error"];

/// What a forbid says when it stops a call.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) code: String,
    pub(super) message: Option<Message>,
    /// The role whose approval lifts it; without one nobody can.
    pub(super) escalate: Option<String>,
    pub(super) expires: SignedDuration,
    /// What the person in front of the client is asked, whose yes lifts it.
    pub(super) confirm: Option<Message>,
    /// Whether it asks for arguments that policy cannot see.
    pub(super) asks_unseen: bool,
}

/// Reads the annotations of a policy. Returns what is wrong with them.
pub(super) fn read(policy: &Policy, roles: &BTreeSet<&str>) -> Result<Option<Stop>, Vec<String>> {
    let annotations: BTreeMap<&str, &str> = policy.annotations().collect();
    let mut wrong = Vec::new();
    for (key, value) in &annotations {
        if !KEYS.contains(key) {
            wrong.push(format!(
                "`@{key}` is no annotation: allowed are @confirm, @escalate, @expires, @id, @message, @reason"
            ));
        } else if value.trim().is_empty() {
            let hint = match *key {
                "confirm" => ": write in it what the person is asked",
                _ => "",
            };
            wrong.push(format!("`@{key}` is empty{hint}"));
        }
        if policy.effect() == Effect::Permit && *key != "id" && KEYS.contains(key) {
            wrong.push(format!(
                "`@{key}` stands on a permit: it belongs on a forbid, on a permit only @id is allowed"
            ));
        }
    }
    let escalate = annotations.get("escalate").copied();
    if let Some(role) = escalate
        && !roles.contains(role)
    {
        let roles = listed(roles);
        wrong.push(format!(
            "`@escalate` names the role `{role}`, which nobody declared: the roles are {roles}"
        ));
    }
    let expires = match (annotations.get("expires"), escalate) {
        (None, _) => DEFAULT_EXPIRY,
        (Some(_), None) => {
            wrong.push("`@expires` stands without `@escalate`: without it nothing is left to expire".to_owned());
            DEFAULT_EXPIRY
        }
        (Some(text), Some(_)) => duration(text).unwrap_or_else(|| {
            wrong.push(format!(
                "`@expires` is `{text}`: write an ISO 8601 duration of weeks, days, hours, minutes or seconds, from PT1S to P366D, like `P3D` or `PT1H`"
            ));
            DEFAULT_EXPIRY
        }),
    };
    if let Some(code) = annotations.get("reason")
        && RESERVED_CODES.contains(code)
    {
        wrong.push(format!(
            "`@reason` is `{code}`, which Countersign uses itself: choose another"
        ));
    }
    let hard_stop = policy.effect() == Effect::Forbid && escalate.is_none();
    if hard_stop && reads::mentions(policy, "approval") {
        wrong.push("a forbid without `@escalate` mentions `approval`, which nobody would be asked for: add `@escalate`, or leave `approval` out".to_owned());
    }
    if policy.effect() == Effect::Forbid {
        wrong.extend(confirming(policy, &annotations));
    }
    let lifts = Lifts {
        role: escalate,
        expires,
    };
    let mut read = |key: &str| {
        let text = annotations.get(key)?;
        let message = Message::read((key, text), policy, lifts);
        message.map_err(|unread| wrong.extend(unread)).ok()
    };
    let (message, confirm) = (read("message"), read("confirm"));
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let text = |key: &str| annotations.get(key).map(|text| (*text).to_owned());
    Ok((policy.effect() == Effect::Forbid).then(|| Stop {
        code: text("reason").unwrap_or_else(|| AsRef::<str>::as_ref(policy.id()).to_owned()),
        message,
        escalate: text("escalate"),
        expires,
        confirm,
        asks_unseen: reads::mentions(policy, "opaque"),
    }))
}

/// What is wrong with how a forbid is lifted by a confirmation.
fn confirming(policy: &Policy, annotations: &BTreeMap<&str, &str>) -> Option<String> {
    let says = |key: &str| annotations.contains_key(key);
    let wrong = match (says("confirm"), reads::call(policy, "confirmed")) {
        (true, _) if says("escalate") => {
            "`@confirm` stands beside `@escalate`: a forbid is lifted by the person in front of the client or by a role; write one forbid for each, where it takes both"
        }
        (true, Mentioned::Never) => {
            "`@confirm` lifts nothing here: the forbid must not match where the person said yes; add `unless { context.call.confirmed }`"
        }
        (false, Mentioned::ByName) => {
            "a forbid without `@confirm` mentions `context.call.confirmed`, which nobody would be asked for: add `@confirm`, or leave `confirmed` out"
        }
        (true, Mentioned::ByName | Mentioned::Perhaps)
        | (false, Mentioned::Never | Mentioned::Perhaps) => return None,
    };
    Some(wrong.to_owned())
}

/// Names in backticks, for messages.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn duration(text: &str) -> Option<SignedDuration> {
    // The parser also takes a friendlier notation, which is not the contract.
    let span: Span = text.starts_with('P').then(|| text.parse().ok()).flatten()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let allowed = SignedDuration::from_secs(1)..=SignedDuration::from_hours(366 * 24);
    allowed.contains(&duration).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lint(text: &str) -> Vec<String> {
        let policy = Policy::parse(None, text).unwrap();
        read(&policy, &BTreeSet::from(["Junior", "Manager"]))
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn every_rule_of_the_annotations_is_held() {
        let body = "(principal, action, resource)";
        let approval = "when { context.call has approval }";
        for (text, expected) in [
            (format!("@id(\"a\") permit{body};"), ""),
            (
                format!(
                    "@id(\"a\") @message(\"m\") @reason(\"r\") @escalate(\"Manager\") @expires(\"PT1H\") forbid{body};"
                ),
                "",
            ),
            (
                format!("@id(\"a\") @escalate(\"Manager\") forbid{body} {approval};"),
                "",
            ),
            (format!("@id(\"a\") permit{body} {approval};"), ""),
            (format!("@id(\"\") forbid{body};"), "`@id` is empty"),
            (
                format!("@id(\"a\") @escalated(\"Manager\") forbid{body};"),
                "`@escalated` is no annotation",
            ),
            (
                format!("@id(\"a\") @escalate(\"Boss\") forbid{body};"),
                "the roles are `Junior`, `Manager`",
            ),
            (
                format!("@id(\"a\") @expires(\"P3D\") forbid{body};"),
                "without `@escalate`",
            ),
            (
                format!("@id(\"a\") @message(\"m\") permit{body};"),
                "stands on a permit",
            ),
            (
                format!("@id(\"a\") @escalate(\"Manager\") permit{body};"),
                "stands on a permit",
            ),
            (
                format!("@id(\"a\") @confirm(\"Sure?\") permit{body};"),
                "stands on a permit",
            ),
            (
                format!("@id(\"a\") @reason(\"r\") permit{body};"),
                "stands on a permit",
            ),
            (
                format!("@id(\"a\") @reason(\"policy_error\") forbid{body};"),
                "choose another",
            ),
            (
                format!("@id(\"a\") forbid{body} {approval};"),
                "mentions `approval`",
            ),
        ] {
            is_told(&text, expected);
        }
    }

    #[test]
    fn a_confirmation_says_what_is_asked_and_lifts_its_forbid_alone() {
        let body = "(principal, action, resource)";
        let confirmed = "unless { context.call.confirmed }";
        for (text, expected) in [
            (
                format!("@id(\"a\") @confirm(\"Sure?\") forbid{body} {confirmed};"),
                "",
            ),
            (
                format!("@id(\"a\") @confirm forbid{body} {confirmed};"),
                "write in it what the person is asked",
            ),
            (
                format!("@id(\"a\") @confirm(\" \") forbid{body} {confirmed};"),
                "`@confirm` is empty",
            ),
            (
                format!(
                    "@id(\"a\") @confirm(\"Sure?\") @escalate(\"Manager\") forbid{body} {confirmed};"
                ),
                "beside `@escalate`",
            ),
            (
                format!("@id(\"a\") @confirm(\"Sure?\") forbid{body};"),
                "add `unless { context.call.confirmed }`",
            ),
            (
                format!("@id(\"a\") @confirm(\"{{who}}?\") forbid{body} {confirmed};"),
                "`@confirm` has `{who}`",
            ),
            (
                format!("@id(\"a\") @confirm(\"Ask {{role}}.\") forbid{body} {confirmed};"),
                "`@confirm` says `{role}`",
            ),
            (
                format!("@id(\"a\") forbid{body} {confirmed};"),
                "mentions `context.call.confirmed`",
            ),
            (
                format!("@id(\"a\") forbid{body} when {{ context.input.confirmed }};"),
                "",
            ),
        ] {
            is_told(&text, expected);
        }
    }

    /// A policy with one thing wrong, or with none.
    fn is_told(text: &str, expected: &str) {
        let wrong = lint(text);
        if expected.is_empty() {
            assert_eq!(wrong, Vec::<String>::new(), "{text}");
        } else {
            assert_eq!(wrong.len(), 1, "{text}: {wrong:?}");
            assert!(wrong[0].contains(expected), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn an_expiry_is_an_iso_duration_within_a_year() {
        assert_eq!(duration("P3D"), Some(DEFAULT_EXPIRY));
        assert_eq!(duration("P1W"), Some(SignedDuration::from_hours(168)));
        assert_eq!(duration("PT90M"), Some(SignedDuration::from_mins(90)));
        for text in [
            "", "3 days", "P0D", "-P1D", "P1M", "P1Y", "P400D", "P", "PT1e9H",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
