//! Sending one call: once its server is there and lists what was decided on, over
//! the connection that is opened for its client.

use super::CallLine;
use super::Cause;
use super::Downstream;
use super::Era;
use super::OutgoingCall;
use super::Phase;
use super::Sent;
use super::State;
use super::catalog::Remembered;
use super::link;
use super::offers::Offers;
use super::reach::Reach;
use super::siblings::Kind;
use super::siblings::Opener;
use crate::permit::Permit;
use crate::tool::Asking;
use crate::tool::Declared;
use crate::tool::Digest;
use crate::tool::Kind as ClientKind;
use crate::tool::TaskAsk;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const WAITS_FOR_ANSWER: &str =
    "it works on another call of this session, and may wait for an answer to what it asked there";

const NO_PLACE: &str = "every place for a session whose client can be asked something is taken";

const TOO_MANY_KINDS: &str = "too many kinds of clients use the server";

/// As what kinds of clients one server is looked at, at most.
const MOST_KINDS: usize = 8;

/// A server that takes calls.
pub(super) struct Ready {
    pub(super) link: Reach,
    pub(super) era: Era,
    pub(super) offers: Offers,
    /// What it lists under the name that was asked for.
    pub(super) listed: Option<Digest>,
}

impl Downstream {
    /// Has its lists read as this kind of client too, for as long as it runs.
    /// Returns whether that may be waited for: there was a place for it, and the
    /// server is not known to be away.
    pub fn look_as(&self, kind: &ClientKind) -> bool {
        if kind.is_asked_nothing() {
            return false;
        }
        self.desk
            .kinds
            .send_if_modified(|kinds| kinds.len() < MOST_KINDS && kinds.insert(kind.clone()));
        self.desk.kinds.borrow().contains(kind)
            && !matches!(
                &*self.desk.phase.borrow(),
                Phase::Failed(_) | Phase::Stopped
            )
    }

    /// Whether it is looked at as this kind of client beside the one that can be
    /// asked nothing, and says how long what it lists is fresh.
    pub fn looks_again_as(&self, kind: &ClientKind) -> bool {
        let looked = match &*self.desk.phase.borrow() {
            Phase::Ready { kinds, .. } => kinds.contains_key(kind),
            Phase::Starting | Phase::Failed(_) | Phase::Stopped => false,
        };
        looked && !kind.is_asked_nothing()
    }

    /// Sends one call and waits for its answer, the deadline or the client's
    /// cancellation. It is sent at most once.
    pub async fn call(&self, permit: Permit, call: OutgoingCall, line: CallLine) -> Sent {
        let now = Instant::now();
        let allowed = call.deadline.unwrap_or(self.desk.settings.timeout);
        let deadline = now
            .checked_add(allowed)
            .unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 60 * 60));
        let ready = tokio::select! {
            biased;
            () = line.cancelled.cancelled() => return Sent::not_sent(link::CANCELLED_UNSENT),
            () = line.gone.cancelled() => return Sent::not_sent(link::CANCELLED_UNSENT),
            ready = self.ready(&call.pinned, &call.declared) => ready,
            () = tokio::time::sleep_until(deadline) => return Sent::not_sent(link::EXPIRED_UNSENT),
        };
        if let Ok(ready) = &ready
            && let Some(kind) = self.own_instance(ready, (&call.caller, call.session))
        {
            return self.call_instance(permit, (call, line), &kind).await;
        }
        match ready {
            Ok(ready) if matches!(ready.era, Era::Legacy(_)) => {
                self.call_legacy(permit, (call, line), ready, deadline)
                    .await
            }
            // What was decided on is not what would be called: the server was
            // started again, or has just said so, and the broker is about to
            // compare it with the pin.
            Ok(ready) if ready.listed != Some(call.definition) => Sent::Changed,
            Ok(ready) => ready.link.call(permit, &call, line, deadline).await,
            Err(why) => Sent::NotSent { why },
        }
    }

    /// A legacy server asks in the middle of a call, and only what it was told at
    /// its opening that it may ask; so there is one of it for each session and kind of client
    /// that can be asked something.
    async fn call_legacy(
        &self,
        permit: Permit,
        (mut call, mut line): (OutgoingCall, CallLine),
        ready: Ready,
        deadline: Instant,
    ) -> Sent {
        if call.answers.is_some() {
            // A server that takes answers did nothing before it had them.
            return Sent::NotAsked;
        }
        // Who has no tasks passes over the wish for one (2025-11-25, tasks).
        call.task = call.task.filter(|_| ready.offers.asked_tasks);
        let shared = self.desk.settings.declared.is_none();
        let piped = matches!(ready.link, Reach::Pipe(_));
        let about_task = matches!(call.asking, Asking::Task(_));
        // A task is known where it was begun; that it was not beside the others is told
        // by there being no sibling with it.
        let heard = !about_task && (line.asks.is_some() || line.logs.is_some());
        if shared
            && let Some(began) = call.task_of
            && let Some(sibling) = self.desk.siblings.with_task(began)
        {
            let fetches = call.asking == Asking::Task(TaskAsk::Result);
            let sent = Box::pin(sibling.call(permit, call, line)).await;
            if fetches && matches!(sent, Sent::Result { .. } | Sent::Error { .. }) {
                self.desk.siblings.fetched(began);
            }
            return sent;
        }
        if shared && heard {
            let declared = call.declared.questions();
            let kind = Kind::Heard {
                declared: declared.clone(),
                caller: call.caller.clone(),
                session: call.session,
            };
            let opener = Opener {
                caller: &call.caller,
                declared: &declared,
            };
            let sibling = self.desk.siblings.of(&kind, opener, &self.desk.settings);
            if let Some((sibling, _told)) = sibling {
                sibling.desk.updates.joins(&self.desk.updates);
                let level = self.desk.level.level();
                if let Some(level) = level {
                    Box::pin(sibling.log_from(level)).await;
                }
                let id = permit.call();
                let sent = Box::pin(sibling.call(permit, call, line)).await;
                if matches!(sent, Sent::Task { .. }) {
                    self.desk.siblings.began(&kind, id);
                }
                return sent;
            }
        }
        if ready.listed != Some(call.definition) {
            return match ready.listed {
                // It is there only for whom it was opened as.
                None if shared && heard => Sent::Busy { why: NO_PLACE },
                Some(_) | None => Sent::Changed,
            };
        }
        if shared {
            // Nobody can tell of whose call it speaks.
            (line.asks, line.logs) = (None, None);
        }
        // What nobody hears may go on beside others, and not beside one that is heard.
        let turn = async {
            match (piped && !shared, heard) {
                (true, true) => (Some(self.desk.turn.write().await), None),
                (true, false) => (None, Some(self.desk.turn.read().await)),
                (false, _) => (None, None),
            }
        };
        let _turn = tokio::select! {
            biased;
            turn = turn => turn,
            () = line.cancelled.cancelled() => return Sent::not_sent(link::CANCELLED_UNSENT),
            () = tokio::time::sleep_until(deadline) => return Sent::Busy { why: WAITS_FOR_ANSWER },
        };
        ready.link.call(permit, &call, line, deadline).await
    }

    /// The link to the server and what it lists under this name to this client, or
    /// why there is no link within the time that a start may take.
    pub(super) async fn ready(&self, tool: &str, client: &Declared) -> Result<Ready, String> {
        let mut phase = self.desk.phase.clone();
        let mut woken_at = None;
        let waiting = async {
            loop {
                let missing = match &*phase.borrow_and_update() {
                    Phase::Ready {
                        link,
                        era,
                        offers,
                        listed,
                        kinds,
                        ..
                    } if !link.has_ended() => {
                        let listed = match listed.digest(tool) {
                            Some(digest) => Ok(Some(digest)),
                            None => listed_to((era, kinds), tool, client),
                        };
                        match listed {
                            Ok(listed) => {
                                return Ok(Ready {
                                    link: link.clone(),
                                    era: era.clone(),
                                    offers: *offers,
                                    listed,
                                });
                            }
                            Err(kind) => Some(kind),
                        }
                    }
                    Phase::Stopped => return Err("the server was stopped".to_owned()),
                    Phase::Failed(failure) => {
                        match woken_at {
                            // One call makes one attempt come early, not a storm of
                            // them.
                            None => {
                                woken_at = Some(failure.attempts);
                                self.desk.wake.notify_waiters();
                            }
                            Some(before) if failure.attempts != before => {
                                if failure.cause == Cause::Command {
                                    return Err(failure.why.clone());
                                }
                            }
                            Some(_) => {}
                        }
                        None
                    }
                    Phase::Ready { .. } | Phase::Starting => None,
                };
                if let Some(kind) = missing {
                    self.look_as(&kind);
                    if !self.desk.kinds.borrow().contains(&kind) {
                        return Err(TOO_MANY_KINDS.to_owned());
                    }
                }
                if phase.changed().await.is_err() {
                    return Err("the server was stopped".to_owned());
                }
            }
        };
        match tokio::time::timeout(self.desk.settings.start_timeout, waiting).await {
            Ok(ready) => ready,
            Err(_) => Err(match self.state() {
                State::Failed { why, .. } => format!("the server is not running: {why}"),
                _ => "the server did not become ready within its `start_timeout`".to_owned(),
            }),
        }
    }
}

/// What a server lists under a name to this client and not to all.
///
/// # Errors
///
/// The kind of the client, where the server was not looked at as one yet. What a
/// legacy server lists to some only, those find out that it is opened for.
fn listed_to(
    (era, kinds): (&Era, &BTreeMap<ClientKind, Remembered>),
    tool: &str,
    client: &Declared,
) -> Result<Option<Digest>, ClientKind> {
    if matches!(era, Era::Legacy(_)) || client.asks_nothing() {
        return Ok(None);
    }
    let kind = ClientKind::of(client);
    match kinds.get(&kind) {
        Some(listed) => Ok(listed.digest(tool)),
        None => Err(kind),
    }
}
