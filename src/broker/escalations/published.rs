//! An escalation as programs are shown it.

use crate::escalations::Escalation;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

/// An escalation as it is published: the text of an object, with the arguments as they
/// were sent.
pub fn escalation_json(escalation: &Escalation, now: Timestamp) -> String {
    let value = escalation_value(escalation, now).to_string();
    let arguments = escalation.body.as_deref().unwrap_or("null");
    match value.strip_suffix('}') {
        Some(open) => format!(r#"{open},"arguments":{arguments}}}"#),
        None => value,
    }
}

/// The same without the arguments.
pub fn escalation_value(escalation: &Escalation, now: Timestamp) -> Value {
    let stops = escalation
        .stops
        .iter()
        .map(|stop| json!({"policy": stop.policy, "code": stop.code, "message": stop.message}));
    let decision = escalation.decision.as_ref().map(|decision| {
        json!({
            "by": decision.by.to_string(),
            "at": decision.at.to_string(),
            "reason": decision.reason,
        })
    });
    json!({
        "id": escalation.id.to_string(),
        "state": escalation.state_at(now).as_str(),
        "session": escalation.session.to_string(),
        "principal": escalation.principal.to_string(),
        "tool": escalation.tool,
        "call": escalation.call.to_string(),
        "argumentsDigest": escalation.arguments.to_string(),
        "roles": escalation.roles,
        "reasons": stops.collect::<Vec<_>>(),
        "asked": escalation.asked.to_string(),
        "expires": escalation.expires.to_string(),
        "tries": escalation.tries,
        "decision": decision,
        "usedBy": escalation.used_by.map(|call| call.to_string()),
    })
}
