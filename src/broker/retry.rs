//! Calls that are made again under the key of an earlier one: they wait for it, and
//! are given what it came to.

use super::Answer;
use super::Broker;
use super::Refusal;
use super::ToolCall;
use super::catalogue::Route;
use super::labels;
use crate::downstream::CallLine;
use crate::downstream::Era;
use crate::journal;
use crate::journal::Effect;
use crate::journal::Subject;
use crate::meters::Charges;
use crate::outcome::Outcome;
use crate::permit::Permit;
use crate::retries;
use crate::retries::Attempt;
use crate::retries::Ending;
use crate::retries::Form;
use crate::retries::Kept;
use crate::session::Label;
use crate::sessions::Brought;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// How soon the first call is looked at again, and how seldom at most.
const SOON: Duration = Duration::from_millis(2);
const SELDOM: Duration = Duration::from_millis(100);

/// How much longer than the call may take its end is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// How often a call is decided whose key was freed while it waited.
const MOST_ATTEMPTS: u32 = 8;

/// What a call came to before anything was sent.
pub(super) enum Once {
    /// It may be sent. What is known of it, where it may have to be told of later.
    Admitted(Box<(Charges, Permit, Option<Subject>)>),
    /// It was made before, and this is what it comes to.
    Before(Answer),
}

/// How an earlier call under the same key stands.
enum Earlier {
    /// It has not ended.
    Runs,
    /// Its broker died in the middle of it.
    Orphan,
    Answered(Kept),
    /// It ended, and its answer was too large to keep.
    Lost,
    Unknown,
    /// Nothing was sent.
    Free,
}

impl Broker {
    /// Steps 5 to 8 of a call that may have been made before under the same key: then
    /// it is not sent, and given what the first came to.
    pub(super) async fn admit_once(
        &self,
        (call, route): (&ToolCall, &Arc<Route>),
        (labels, line): (&BTreeSet<Label>, &CallLine),
        (came, now): (Instant, Timestamp),
    ) -> Result<Once, Refusal> {
        for _ in 0..MOST_ATTEMPTS {
            let mut candidate = self.read_arguments(call, route, now).await?;
            candidate.early = labels::heard_before_the_end(labels, line);
            let wanted = call.key.is_some() || candidate.effect() == Effect::Possible;
            let subject = wanted.then(|| candidate.subject.clone());
            match (self.admit(candidate, (came, now)).await, subject) {
                (Err(Refusal::Attempted { earlier }), Some(subject)) => {
                    let led = (&**route, labels, line);
                    // In a box, because most calls need no room for it.
                    let before = Box::pin(self.made_before(subject, earlier, led));
                    if let Some(answer) = before.await {
                        return answer.map(Once::Before);
                    }
                }
                (Err(Refusal::Unread { earlier, kept }), subject) => {
                    if let Some(subject) = subject {
                        self.join_labels(brought(&subject, labels))
                            .await
                            .map_err(super::not_recorded)?;
                    }
                    let answer = Box::new(again(kept));
                    return Ok(Once::Before(Answer::Replayed { earlier, answer }));
                }
                (admitted, subject) => {
                    let (charges, permit) = admitted?;
                    return Ok(Once::Admitted(Box::new((charges, permit, subject))));
                }
            }
        }
        Err(Refusal::NotRecorded)
    }

    /// What a call comes to that was made before under the same key. None where the
    /// first was not sent after all: then this one may be.
    async fn made_before(
        &self,
        subject: Subject,
        earlier: CallId,
        (route, labels, line): (&Route, &BTreeSet<Label>, &CallLine),
    ) -> Option<Result<Answer, Refusal>> {
        let call = subject.call;
        let ended = tokio::select! {
            biased;
            () = line.cancelled.cancelled() => return Some(Ok(Answer::Cancelled)),
            ended = self.end_of(earlier, route.deadline().saturating_add(GRACE)) => ended,
        };
        let tool = subject.tool.clone();
        let came = match ended {
            Err(error) => return Some(Err(super::not_recorded(error))),
            Ok(Earlier::Free) => return None,
            Ok(Earlier::Answered(kept)) => Ok(Answer::Replayed {
                earlier,
                answer: Box::new(again(kept)),
            }),
            Ok(Earlier::Lost) => Err(Refusal::EarlierLost { call, earlier }),
            Ok(Earlier::Runs | Earlier::Orphan | Earlier::Unknown) => {
                Err(Refusal::EarlierUnknown {
                    call,
                    earlier,
                    tool,
                })
            }
        };
        let outcome = match came {
            Ok(_) => Outcome::Replayed,
            Err(_) => Outcome::Denied,
        };
        let code = if came.is_ok() {
            "replayed"
        } else {
            "earlier_unknown"
        };
        let detail = json!({ "code": code, "earlier": earlier.to_string() });
        let brought = labels::come_with(outcome).then(|| brought(&subject, labels));
        let recorded = self.record_refused(subject, outcome, detail, Timestamp::now());
        let recorded = recorded.await;
        if let Some(brought) = brought
            && let Err(error) = self.join_labels(brought).await
        {
            return Some(Err(super::not_recorded(error)));
        }
        Some(recorded.and(came))
    }

    async fn end_of(&self, earlier: CallId, patience: Duration) -> Result<Earlier, StoreError> {
        let begun = Instant::now();
        let mut pause = SOON;
        loop {
            match self.look_at(earlier).await? {
                Earlier::Orphan => self.bury_the_dead().await?,
                Earlier::Runs if begun.elapsed() < patience => tokio::time::sleep(pause).await,
                ended => return Ok(ended),
            }
            pause = (pause * 2).min(SELDOM);
        }
    }

    async fn look_at(&self, earlier: CallId) -> Result<Earlier, StoreError> {
        let (store, own) = (Arc::clone(&self.store), self.writer.id());
        let look = tokio::task::spawn_blocking(move || {
            store.read(|tx| {
                Ok(match retries::attempt(tx, earlier)? {
                    Attempt::Free => Earlier::Free,
                    Attempt::Ended(Some(kept)) => Earlier::Answered(kept),
                    Attempt::Ended(None) => Earlier::Lost,
                    Attempt::Open => match journal::in_flight_with(tx, earlier, own)? {
                        journal::Flight::Living => Earlier::Runs,
                        journal::Flight::Orphan => Earlier::Orphan,
                        journal::Flight::Over => Earlier::Unknown,
                    },
                })
            })
        });
        // Where the runtime ends, nobody is told anything any more.
        look.await.unwrap_or(Ok(Earlier::Unknown))
    }

    async fn bury_the_dead(&self) -> Result<(), StoreError> {
        let own = self.writer.id();
        let buried = self
            .store
            .write("recover", Durability::Process, move |tx: &Tx<'_>| {
                journal::recover_dead(tx, own, Timestamp::now())
            });
        buried.await.map(|_committed| ())
    }
}

/// What an answer brings that was given to an earlier call.
fn brought(subject: &Subject, labels: &BTreeSet<Label>) -> Brought {
    Brought {
        labels: labels.clone(),
        session: subject.session,
        principal: subject.principal.clone(),
        call: subject.call,
    }
}

/// How a call under a key ended, by its outcome and its answer.
pub(super) fn ending(outcome: Outcome, answer: &Answer, effect: Effect) -> Ending {
    let kept = |form, era: &str, body: &str| {
        Ending::Answered(Kept {
            form,
            era: era.to_owned(),
            body: body.into(),
        })
    };
    match (outcome, answer) {
        (_, Answer::Result { json, era }) => kept(Form::Result, &written(era), json),
        (_, Answer::ServerError { json }) => kept(Form::Error, "", json),
        (_, Answer::Task { json, id, .. }) => {
            let pair = json!([id, json]).to_string();
            kept(Form::Task, "", &pair)
        }
        (Outcome::FailedBeforeSending | Outcome::InputRequired, _) => Ending::Free,
        // What only reads may be sent again.
        _ if effect == Effect::None => Ending::Free,
        _ => Ending::Unknown,
    }
}

fn written(era: &Era) -> String {
    match era {
        Era::Legacy(revision) => format!("legacy {revision}"),
        Era::Modern(revision) => format!("modern {revision}"),
    }
}

fn again(kept: Kept) -> Answer {
    let json = kept.body;
    match kept.form {
        Form::Error => Answer::ServerError { json },
        Form::Result => Answer::Result {
            json,
            era: match kept.era.split_once(' ') {
                Some(("modern", revision)) => Era::Modern(revision.to_owned()),
                Some((_, revision)) => Era::Legacy(revision.to_owned()),
                None => Era::Legacy(String::new()),
            },
        },
        Form::Task => {
            let (id, json) = serde_json::from_str::<(Box<str>, Box<str>)>(&json)
                .unwrap_or_else(|_damaged| (Box::default(), "{}".into()));
            Answer::Task { json, id, at: None }
        }
    }
}
