//! What came back from a server, and what it means for the record.

use super::Answer;
use super::Asked;
use super::Keep;
use super::Refusal;
use super::catalogue::Route;
use super::kept;
use crate::downstream::Sent;
use crate::journal::Closing;
use crate::outcome::Outcome;
use crate::tool::CallId;
use crate::tool::Digest;
use serde_json::Value;
use serde_json::json;

/// The closing record of a call and the answer to its caller.
pub(super) fn judged(call: CallId, route: &Route, sent: Sent, keep: Keep) -> (Closing, Answer) {
    let server = route.tool.server.clone();
    let close = |outcome, result: Option<&str>, detail| {
        closing((call, route), outcome, (result, keep), detail)
    };
    let unsent = |detail, refusal| {
        let closing = close(Outcome::FailedBeforeSending, None, detail);
        (closing, Answer::Refused(refusal))
    };
    match sent {
        Sent::Result { json, era, failed } => {
            let outcome = match failed {
                true => Outcome::ToolFailed,
                false => Outcome::Completed,
            };
            let closing = close(outcome, Some(&json), json!({}));
            (closing, Answer::Result { json, era })
        }
        Sent::Task { json, id, at } => (
            close(Outcome::Completed, Some(&json), json!({ "task": &id })),
            Answer::Task { json, id, at },
        ),
        Sent::InputRequired { json } => (
            close(Outcome::InputRequired, Some(&json), json!({})),
            Answer::Asks {
                call,
                asked: Asked::Result(json),
            },
        ),
        Sent::Error { json } => {
            let detail = json!({"protocol_error": true});
            let closing = close(Outcome::ToolFailed, Some(&json), detail);
            (closing, Answer::ServerError { json })
        }
        Sent::NotSent { why } => unsent(
            json!({ "why": &why }),
            Refusal::ServerUnavailable { call, server, why },
        ),
        Sent::Busy { why } => unsent(
            json!({ "why": why }),
            Refusal::ServerBusy { call, server, why },
        ),
        Sent::NotAsked => unsent(json!({ "code": "not_asked" }), Refusal::NotAsked),
        Sent::Changed => {
            let changed = Refusal::ToolChanged { call };
            unsent(json!({ "code": "tool_changed" }), changed)
        }
        Sent::Lost { why } => (
            close(Outcome::Unknown, None, json!({ "why": why })),
            Answer::Refused(Refusal::OutcomeUnknown { call, server, why }),
        ),
        Sent::TimedOut => {
            let after = route.deadline();
            let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            let closing = close(Outcome::TimedOut, None, json!({ "after_ms": ms }));
            let refusal = Refusal::TimedOut {
                call,
                server,
                after,
            };
            (closing, Answer::Refused(refusal))
        }
        Sent::Cancelled => (
            close(Outcome::Cancelled, None, json!({})),
            Answer::Cancelled,
        ),
        Sent::Unbridged { what, why } => (
            close(Outcome::Unknown, None, json!({ "unbridged": why })),
            Answer::Refused(Refusal::Unbridged { call, server, what }),
        ),
        // It answered, so it may well have done it.
        Sent::Invalid { why } => (
            close(Outcome::Unknown, None, json!({ "invalid_answer": why })),
            Answer::Refused(Refusal::InvalidAnswer { call, server, why }),
        ),
    }
}

/// The closing record and the answer of a call that is to be a task, by a client that
/// wants none.
pub(super) fn only_as_task(call: CallId, route: &Route, keep: Keep) -> (Closing, Answer) {
    let detail = json!({ "code": "only_as_task" });
    let outcome = Outcome::FailedBeforeSending;
    let server = route.tool.server.clone();
    (
        closing((call, route), outcome, (None, keep), detail),
        Answer::Refused(Refusal::OnlyAsTask { call, server }),
    )
}

fn closing(
    (call, route): (CallId, &Route),
    outcome: Outcome,
    (result, keep): (Option<&str>, Keep),
    detail: Value,
) -> Closing {
    let keeping = &route.gate.rules().keeping;
    let kept = result.and_then(|text| kept::result(keep, keeping, text));
    Closing {
        call,
        outcome,
        result: result.map(|text| Digest::of(text.as_bytes())),
        detail: kept::noted(detail, kept.as_ref()),
        kept: kept.map(|kept| kept.text),
        goes_on: false,
    }
}

/// The closing record and the answer of a call that asks for more and stays as it
/// is until it is answered.
pub(super) fn asks(call: CallId, asked: Asked) -> (Closing, Answer) {
    // A server that asks in the middle may go on without an answer.
    let goes_on = matches!(asked, Asked::Open(_));
    let closing = Closing {
        call,
        outcome: Outcome::InputRequired,
        result: None,
        kept: None,
        detail: json!({}),
        goes_on,
    };
    (closing, Answer::Asks { call, asked })
}
