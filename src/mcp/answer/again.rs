//! What is said of a call that was made before, and of a session that is over.

use crate::broker::NotKept;
use crate::broker::StillOpen;
use crate::json::Object;
use crate::json::Splice;
use crate::mcp::shown;
use crate::sessions::End;
use crate::sessions::Why;
use crate::tool::CallId;
use crate::tool::ServerName;
use serde_json::json;

/// In `_meta` of a result: it is that of an earlier call under the same key.
const REPLAYED: &str = "dev.countersign/replayed";

/// A result that was given before, marked so.
pub(super) fn replayed(result: &str, earlier: &CallId) -> String {
    let mark = json!({ "call": earlier.to_string() }).to_string();
    let meta = Object::parse(result)
        .ok()
        .and_then(|members| members.get("_meta"));
    let splice = Splice::new(result);
    match meta.filter(|meta| Object::parse(meta).is_ok()) {
        Some(meta) => splice.add_member(meta, REPLAYED, &mark),
        None => {
            let meta = json!({ REPLAYED: { "call": earlier.to_string() } }).to_string();
            splice.add_member(result, "_meta", &meta)
        }
    }
    .finish()
}

/// What is said where there is no such session for the caller, since when ever.
pub(super) fn no_session(text: &str) -> [String; 2] {
    [
        format!(
            "There is no session `{}` for this caller. Nothing was sent.",
            shown(text, 80)
        ),
        "Check its name, or leave it out to use the caller's own session.".to_owned(),
    ]
}

/// What is said of a session that is over.
pub(super) fn ended(end: End) -> [String; 2] {
    let at = end.at.strftime("%Y-%m-%d %H:%MZ");
    let why = match end.why {
        Why::Ended => format!("This session was ended on {at}."),
        Why::Expired => format!("Nobody used this session for long, so it ended on {at}."),
    };
    [
        format!("{why} Nothing was sent, and nothing more can be done in it."),
        "Name another session to go on, or ask the operator.".to_owned(),
    ]
}

/// What is said of a key that belongs to another call.
pub(super) fn key_reused() -> [String; 2] {
    [
        "The idempotency key was used for another call in this session. Nothing was sent."
            .to_owned(),
        "Use a key of its own for each thing that you want done, and the same key only to repeat exactly the same call.".to_owned(),
    ]
}

/// What is said where the answer of the first call was not kept.
pub(super) fn lost(earlier: &CallId) -> [String; 2] {
    [
        format!(
            "The same call was made before under this key and has ended ({earlier}). Nothing was sent now."
        ),
        "Its answer was too large to be kept: read what it changed instead of repeating it."
            .to_owned(),
    ]
}

/// What is said where a call could not be repeated that ended unknown.
pub(super) fn unsent(earlier: &CallId, server: &ServerName) -> [String; 3] {
    [
        format!(
            "The server `{server}` cannot be reached, so nothing was sent now. The same call was sent before under this key, and nobody saw how it ended: it may have taken effect, and counts towards the limits."
        ),
        "The call may be made again later under the same key.".to_owned(),
        format!("Earlier call: {earlier}"),
    ]
}

/// What is said where the server of the first call waits for an answer.
pub(super) fn asks(earlier: &CallId) -> [String; 2] {
    [
        format!(
            "The same call was made before under this key ({earlier}), and its server asked something in the middle of it, which was not answered. Nothing was sent now."
        ),
        "Answer what it asked. If that cannot be answered any more, find out whether the call took effect, or ask a person, before it is made under another key.".to_owned(),
    ]
}

/// What is said of an answer that does not reach the call that it is for.
pub(super) fn open(earlier: &CallId, why: StillOpen) -> [String; 3] {
    let (what, next) = match why {
        StillOpen::Elsewhere => (
            "The server waits for this answer in a call that another process of the broker has, if it waits still. Nothing was sent now, and nothing was used up.",
            "Send the same request again by the connection on which the question came. Where that is not possible, find out whether the call took effect before it is made anew.",
        ),
        StillOpen::Answered => (
            "Another request answers this question at this moment. Nothing was sent now, and nothing was used up.",
            "Wait for the answer of the other request.",
        ),
    };
    [
        what.to_owned(),
        next.to_owned(),
        format!("Earlier call: {earlier}"),
    ]
}

/// What is said of a call that is like one whose answer may not have been read.
pub(super) fn unread(earlier: &CallId, tool: &str, why: NotKept) -> [String; 3] {
    let (why, next) = match why {
        NotKept::Ended => (
            "the broker ended right after it, so the answer may not have arrived",
            INSTEAD,
        ),
        NotKept::TooLarge => (
            "the answer did not arrive, and was too large to be kept",
            INSTEAD,
        ),
        NotKept::BeingGiven => (
            "its answer is on its way to another call that is the same, and may not have arrived yet",
            "Read what it changed instead of repeating it. Made again a little later, the same call is given that answer if it arrived nowhere, and is sent if it did.",
        ),
    };
    [
        format!(
            "The same call of `{}` was made a moment ago in this session, and took effect as its server said; {why}. Nothing was sent now.",
            shown(tool, 128)
        ),
        next.to_owned(),
        format!("Earlier call: {earlier}"),
    ]
}

/// What to do instead of a call whose answer cannot be given.
const INSTEAD: &str = "Read what it changed instead of repeating it. If another call that is the same is meant, make it once more.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waited_for_the_answer_of_another_reads_what_becomes_of_the_same_call() {
        let earlier = CallId::from_bytes([2; 16]);
        let lines = unread(&earlier, "claims/pay", NotKept::BeingGiven);
        insta::assert_snapshot!(lines.join("\n"), @r"
        The same call of `claims/pay` was made a moment ago in this session, and took effect as its server said; its answer is on its way to another call that is the same, and may not have arrived yet. Nothing was sent now.
        Read what it changed instead of repeating it. Made again a little later, the same call is given that answer if it arrived nowhere, and is sent if it did.
        Earlier call: 02020202-0202-0202-0202-020202020202
        ");
    }

    #[test]
    fn whose_repeat_is_not_sent_reads_that_the_first_may_have_taken_effect() {
        let earlier = CallId::from_bytes([2; 16]);
        let lines = unsent(&earlier, &"claims".parse().unwrap());
        insta::assert_snapshot!(lines.join("\n"), @r"
        The server `claims` cannot be reached, so nothing was sent now. The same call was sent before under this key, and nobody saw how it ended: it may have taken effect, and counts towards the limits.
        The call may be made again later under the same key.
        Earlier call: 02020202-0202-0202-0202-020202020202
        ");
    }
}
