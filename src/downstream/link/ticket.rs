//! Who waits for an answer, and what an answer is worth.

use super::CANCELLED_UNSENT;
use super::EXPIRED_UNSENT;
use super::Kind;
use super::Link;
use crate::downstream::Era;
use crate::downstream::OutgoingCall;
use crate::downstream::Sent;
use crate::downstream::Unbridged;
use crate::downstream::asks;
use crate::downstream::message::Answer;
use crate::downstream::shown;
use crate::downstream::wire::Control;
use crate::downstream::wire::Slot;
use crate::json;
use crate::json::Object;
use crate::tool::Asking;
use crate::tool::Extension;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Somebody waits for an answer. Dropped, it leaves nothing behind.
pub(super) struct Ticket<'l> {
    pub(super) link: &'l Link,
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) slot: Arc<Slot>,
    pub(super) answer: oneshot::Receiver<Answer>,
}

/// Why nobody waits any more.
#[derive(Clone, Copy, Debug)]
pub(super) enum GivenUp {
    Cancelled,
    TimedOut,
    Dropped,
}

/// What became of a request that nobody waits for any more.
#[derive(Debug)]
enum Left {
    Unsent,
    Sent,
    /// Its answer, or the end of the link, was there already.
    Settled,
}

impl Ticket<'_> {
    /// Stops waiting, and says what became of the call.
    pub(super) fn give_up(mut self, reason: GivenUp, (era, call): (&Era, &OutgoingCall)) -> Sent {
        match (self.leave(reason), reason) {
            (Left::Unsent, GivenUp::TimedOut) => Sent::not_sent(EXPIRED_UNSENT),
            (Left::Unsent, _) => Sent::not_sent(CANCELLED_UNSENT),
            (Left::Sent, GivenUp::TimedOut) => Sent::TimedOut,
            (Left::Sent, _) => Sent::Cancelled,
            (Left::Settled, _) => match self.answer.try_recv() {
                Ok(answer) => judge(answer, era, call),
                Err(_) => self.unanswered(),
            },
        }
    }

    /// The link gave the request up.
    pub(super) fn unanswered(&self) -> Sent {
        let why = self.link.why();
        match self.slot.withdraw() {
            true => Sent::NotSent { why },
            false => Sent::Lost { why },
        }
    }

    fn leave(&self, reason: GivenUp) -> Left {
        if self.link.pending().remove(&self.id).is_none() {
            return Left::Settled;
        }
        if self.slot.withdraw() {
            return Left::Unsent;
        }
        // Only for what was asked in somebody's name: `initialize` must not be cancelled, and a list or a
        // probe that was given up costs the server nothing.
        if matches!(self.kind, Kind::Call | Kind::Subscription) {
            self.link.notify(Control::Cancelled {
                request: self.id,
                reason: match reason {
                    GivenUp::Cancelled => "the client cancelled the call",
                    GivenUp::TimedOut => "the deadline of the call passed",
                    GivenUp::Dropped => "nobody waits for the call any more",
                },
            });
        }
        Left::Sent
    }
}

// Not the place for effects, but the only one that a dropped future passes: the
// entry must go, and a call that was sent is taken back like any other.
impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.leave(GivenUp::Dropped);
    }
}

/// What an answer to a call is worth.
pub(in crate::downstream) fn judge(answer: Answer, era: &Era, call: &OutgoingCall) -> Sent {
    let json = match answer {
        Answer::Result(json) => json,
        Answer::Error(json) => return Sent::Error { json },
        Answer::Invalid(why) => return Sent::Invalid { why },
    };
    let unbridged = |what, why: String| Sent::Unbridged { what, why };
    let members = Object::parse(&json).ok();
    let kind = match era {
        Era::Modern(_) => members.as_ref().and_then(result_type),
        // The word is unknown there, and whatever it says means nothing.
        Era::Legacy(_) => None,
    };
    let task = members
        .as_ref()
        .and_then(|result| task(result, kind.as_deref(), call));
    let failed = members.as_ref().and_then(|result| result.get("isError")) == Some("true");
    drop(members);
    if let Some(id) = task {
        return Sent::Task { json, id, at: None };
    }
    match (kind.as_deref(), call.asking) {
        // What a task asks stands in what is said of it (ext-tasks, tasks/get);
        // some say that it is of the type that made it.
        (None | Some("complete" | "task"), Asking::Task(_)) => {
            match asks::check_task(&json, &call.declared) {
                Ok(()) => Sent::Result {
                    json,
                    era: era.clone(),
                    failed,
                },
                Err(why) => unbridged(
                    Unbridged::Question,
                    format!("the task asks for more, and {why}"),
                ),
            }
        }
        // None at all counts as complete (2026-07-28, basic, result responses).
        (None | Some("complete"), _) => Sent::Result {
            json,
            era: era.clone(),
            failed,
        },
        // Only these may ask (2026-07-28, basic/patterns/mrtr).
        (Some("input_required"), Asking::Tool | Asking::Prompt | Asking::Read) => {
            match asks::check_inquiries(&json, &call.declared) {
                Ok(()) => Sent::InputRequired { json },
                Err(why) => unbridged(
                    Unbridged::Question,
                    format!("the result asks for more, and {why}"),
                ),
            }
        }
        (Some(kind), _) => unbridged(
            Unbridged::Result,
            format!("the result is of the type `{kind}`, which was not asked for"),
        ),
    }
}

/// The id of the task that was made of a call, where the client knows of tasks: of
/// 2026-07-28 by the type of the result, of 2025-11-25 by its member.
fn task(result: &Object<'_>, kind: Option<&str>, call: &OutgoingCall) -> Option<Box<str>> {
    if call.asking != Asking::Tool {
        return None;
    }
    let of_itself = kind == Some("task") && call.declared.knows(Extension::Tasks);
    let id = match (of_itself, kind, &call.task) {
        (true, _, _) => result.get("taskId"),
        (false, None, Some(_asked_for)) => Object::parse(result.get("task")?).ok()?.get("taskId"),
        (false, _, _) => None,
    };
    id.and_then(json::text).map(Into::into)
}

fn result_type(result: &Object<'_>) -> Option<String> {
    let raw = result.get("resultType")?;
    Some(match json::text(raw) {
        Some(kind) => shown(&kind, 80),
        None => shown(raw, 80),
    })
}
