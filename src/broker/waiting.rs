//! Tasks that stand for calls on which a person decides: how one stands, and what is
//! answered to whoever asks after it.

use super::Answer;
use super::Broker;
use super::CallLine;
use super::Refusal;
use super::ToolCall;
use super::catalogue::Route;
use super::close::Held;
use super::escalations::Ground;
use super::own::OWN;
use super::own::Own;
use super::retry;
use super::ruled::Way;
use crate::cause::Chain;
use crate::escalations;
use crate::escalations::Decision;
use crate::escalations::Escalation;
use crate::escalations::EscalationId;
use crate::escalations::State;
use crate::escalations::waiting;
use crate::escalations::waiting::Came;
use crate::escalations::waiting::Waiting;
use crate::escalations::waiting::Wish;
use crate::journal;
use crate::journal::Closing;
use crate::journal::Flight;
use crate::journal::Subject;
use crate::meters::Charges;
use crate::outcome::Outcome;
use crate::permit::Permit;
use crate::session::Label;
use crate::store::Committed;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tasks;
use crate::tasks::Task;
use crate::tool::CallId;
use crate::tool::OnApproval;
use crate::tool::ServerName;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often somebody who waits for the end looks whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A task that was begun for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BegunTask {
    /// What its client knows it by.
    pub id: Box<str>,
    /// Since when.
    pub at: Timestamp,
}

/// How a task of the broker's own stands.
#[derive(Debug)]
pub struct TaskView {
    /// What its client knows it by.
    pub id: Box<str>,
    /// What somebody decides on.
    pub escalation: EscalationId,
    /// Since when it is there.
    pub begun: Timestamp,
    /// Since when it stands so.
    pub changed: Timestamp,
    /// Where it stands.
    pub stands: TaskStands,
    /// Whether it stood so before this was asked.
    pub before: bool,
}

/// What tells that a task stands otherwise than before.
pub(super) type Mark = (Timestamp, &'static str);

impl TaskView {
    pub(super) fn mark(&self) -> Mark {
        let word = match &self.stands {
            TaskStands::Waits(_) => "waits",
            TaskStands::Approved => "approved",
            TaskStands::Runs => "runs",
            TaskStands::Withdrawn => "withdrawn",
            TaskStands::Ended(_) => "ended",
        };
        (self.changed, word)
    }
}

/// Where a task of the broker's own stands.
#[derive(Debug)]
pub enum TaskStands {
    /// Nobody has decided, until then.
    Waits(Timestamp),
    /// It was approved, and the call is about to be made.
    Approved,
    /// The call is made at this moment.
    Runs,
    /// Its caller took it back.
    Withdrawn,
    /// It ended so.
    Ended(Box<Answer>),
}

impl TaskStands {
    /// Whether something may still become of it.
    pub fn is_working(&self) -> bool {
        matches!(self, Self::Waits(_) | Self::Approved | Self::Runs)
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Waits(_) | Self::Approved | Self::Runs => "working",
            Self::Withdrawn => "cancelled",
            Self::Ended(_) => "completed",
        }
    }
}

/// What became of a request whose call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was approved, and its client makes the call.
    Approved {
        /// By whom, and why.
        decision: Decision,
        /// Until when, where it was not used and still holds.
        until: Option<Timestamp>,
    },
    /// It was approved, and the call was not sent for it.
    NotSent {
        /// By whom, and why.
        decision: Option<Decision>,
        /// Why not.
        why: String,
        /// Until when the approval holds, where it does.
        until: Option<Timestamp>,
    },
    /// It was approved, and its caller made the call before it was made for it.
    Elsewhere {
        /// That call.
        call: CallId,
    },
    /// The call was made and answered, and the answer was too large to keep.
    TooLarge {
        /// That call.
        call: CallId,
    },
    /// Nobody decided in time.
    Expired,
}

/// Begins a task for a request, or finds the one that stands for it.
pub(super) fn begun(
    tx: &Tx<'_>,
    (id, subject): (EscalationId, &Subject),
    (wish, labels): (&Wish, &BTreeSet<Label>),
    now: Timestamp,
) -> Result<Option<BegunTask>, StoreError> {
    if let Some(known) = waiting::of(tx, id)? {
        let id = known.task.into();
        let at = known.begun;
        return Ok(Some(BegunTask { id, at }));
    }
    let Ok(server) = OWN.parse::<ServerName>() else {
        return Ok(None);
    };
    let task = Task {
        server,
        native: id.to_string().into(),
        call: subject.call,
        labels: labels.clone(),
        replica: None,
    };
    let task = tasks::begin(tx, &subject.principal, &task, now)?;
    waiting::begin(tx, (id, &task), wish, now)?;
    let id = task.into();
    Ok(Some(BegunTask { id, at: now }))
}

/// How a task stands. None where nothing is known of it any more.
pub(super) fn view(
    tx: &Tx<'_>,
    task: &Task,
    own: WriterId,
    now: Timestamp,
) -> Result<Option<TaskView>, StoreError> {
    let Ok(id) = task.native.parse::<EscalationId>() else {
        return Ok(None);
    };
    let (Some(found), Some(waiting)) = (escalations::find(tx, id)?, waiting::of(tx, id)?) else {
        return Ok(None);
    };
    let stands = stands(tx, (&found, &waiting), own, now)?;
    let times = [
        waiting.not_made.as_ref().map(|(at, _)| *at),
        found.ended.as_ref().map(|(at, _)| *at),
        found.decision.as_ref().map(|decision| decision.at),
    ];
    Ok(Some(TaskView {
        changed: times.into_iter().flatten().max().unwrap_or(waiting.begun),
        id: waiting.task.into(),
        escalation: id,
        begun: waiting.begun,
        before: !stands.is_working(),
        stands,
    }))
}

// INVARIANT: what was an end stays one. So an approval that its client is to use ends
// the task, whatever becomes of it after that.
fn stands(
    tx: &Tx<'_>,
    (found, waiting): (&Escalation, &Waiting),
    own: WriterId,
    now: Timestamp,
) -> Result<TaskStands, StoreError> {
    let state = found.state_at(now);
    let until = (state == State::Approved).then_some(found.expires);
    let settled = |settled| {
        let id = found.id;
        let refusal = Refusal::Settled { id, settled };
        TaskStands::Ended(Box::new(Answer::Refused(refusal)))
    };
    if let Some(call) = waiting.call {
        return of_call(tx, (found, waiting, call), own, now);
    }
    let decision = found.decision.clone();
    if let Some((_, why)) = &waiting.not_made {
        let why = why.clone();
        return Ok(settled(Settled::NotSent {
            decision,
            why,
            until,
        }));
    }
    if let (OnApproval::Retry, Some(decision)) = (waiting.wish.on_approval, &decision)
        && state != State::Refused
    {
        let decision = decision.clone();
        return Ok(settled(Settled::Approved { decision, until }));
    }
    Ok(match (state, decision) {
        (State::Pending, _) => TaskStands::Waits(found.expires),
        (State::Approved, _) => TaskStands::Approved,
        (State::Withdrawn, _) => TaskStands::Withdrawn,
        (State::Expired, _) => settled(Settled::Expired),
        (State::Used, _) => settled(Settled::Elsewhere {
            call: found.used_by.unwrap_or(found.call),
        }),
        (State::Refused, Some(decision)) => {
            let refusal = Refusal::TurnedDown {
                call: found.call,
                id: found.id,
                decision,
                until: found.expires,
            };
            TaskStands::Ended(Box::new(Answer::Refused(refusal)))
        }
        (State::Void | State::Refused, decision) => {
            let why = found.ended.as_ref().and_then(|(_, why)| why.clone());
            settled(Settled::NotSent {
                decision,
                why: why.unwrap_or_default(),
                until: None,
            })
        }
    })
}

/// How a task stands whose call was made.
fn of_call(
    tx: &Tx<'_>,
    (found, waiting, call): (&Escalation, &Waiting, CallId),
    own: WriterId,
    now: Timestamp,
) -> Result<TaskStands, StoreError> {
    let refused = |refusal| TaskStands::Ended(Box::new(Answer::Refused(refusal)));
    let settled = |settled| {
        refused(Refusal::Settled {
            id: found.id,
            settled,
        })
    };
    match &waiting.came {
        Some(Came::Answered(kept)) => {
            return Ok(TaskStands::Ended(Box::new(retry::again(kept.clone()))));
        }
        Some(Came::TooLarge) => return Ok(settled(Settled::TooLarge { call })),
        None => {}
    }
    match journal::in_flight_with(tx, call, own)? {
        // Recovery will say what became of an orphan.
        Flight::Living | Flight::Orphan => return Ok(TaskStands::Runs),
        Flight::Over => {}
    }
    let outcome = journal::ending_of(tx, call)?.map(|(outcome, _at)| outcome);
    if outcome == Some(Outcome::FailedBeforeSending) {
        let holds = found.state_at(now) == State::Approved;
        return Ok(settled(Settled::NotSent {
            decision: found.decision.clone(),
            why: "its server was not there, or not free for it".to_owned(),
            until: holds.then_some(found.expires),
        }));
    }
    let server = found.tool.split('/').next().unwrap_or_default().parse();
    Ok(match server {
        Ok(server) => refused(Refusal::OutcomeUnknown {
            call,
            server,
            why: String::new(),
        }),
        Err(_no_server) => settled(Settled::TooLarge { call }),
    })
}

impl Broker {
    /// Answers what the broker itself is asked, about a task or else.
    pub(super) async fn own(
        self: &Arc<Self>,
        permit: Permit,
        own: (Own, &Arc<Route>),
        (call, task, labels): (ToolCall, Option<Task>, BTreeSet<Label>),
        line: &CallLine,
    ) -> Answer {
        match task {
            Some(task) => {
                let about = (call, task, labels);
                Box::pin(self.serve_task(permit, own, about, line)).await
            }
            None => self.serve(permit, own, call).await,
        }
    }

    /// Answers what is asked about a task of our own. What it changes and the end of
    /// its record are one transaction.
    async fn serve_task(
        self: &Arc<Self>,
        permit: Permit,
        (own, route): (Own, &Arc<Route>),
        (call, task, labels): (ToolCall, Task, BTreeSet<Label>),
        line: &CallLine,
    ) -> Answer {
        let id = permit.call();
        let seen = match own {
            Own::TaskResult => self.awaited_end(&task, line).await,
            Own::TaskCancel => self.take_back(id, task, &call).await,
            _ => self.look_at_task(task).await,
        };
        let (closing, answer) = match seen {
            Ok(Some(view)) => {
                let detail = json!({ "state": view.stands.word() });
                let closing = ended(id, Outcome::Completed, detail);
                (closing, Answer::OwnTask(Box::new(view)))
            }
            Ok(None) => (ended(id, Outcome::Cancelled, json!({})), Answer::Cancelled),
            Err(error) => {
                tracing::error!(call.id = %id, error = %Chain(&error), "a task of our own could not be read");
                let detail = json!({"why": "the store failed"});
                let closing = ended(id, Outcome::FailedBeforeSending, detail);
                (closing, Answer::Refused(Refusal::NotRecorded))
            }
        };
        let has_result = matches!(&answer, Answer::OwnTask(view) if !view.stands.is_working());
        let held = Held {
            charged: Charges::none(call.session, call.principal.clone()).into(),
            labels: if has_result { labels } else { BTreeSet::new() },
        };
        let ending = call.key.is_some().then(|| retry::ending(&closing, &answer));
        self.close(route, (closing, ending), held, answer).await
    }

    async fn look_at_task(&self, task: Task) -> Result<Option<TaskView>, StoreError> {
        let (store, own) = (Arc::clone(&self.store), self.writer.id());
        let look = tokio::task::spawn_blocking(move || {
            store.read(|tx| view(tx, &task, own, Timestamp::now()))
        });
        look.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Waits until a task has ended. None where its client waits no longer.
    async fn awaited_end(
        &self,
        task: &Task,
        line: &CallLine,
    ) -> Result<Option<TaskView>, StoreError> {
        loop {
            let view = self.look_at_task(task.clone()).await?;
            let ended = view.as_ref().is_none_or(|view| !view.stands.is_working());
            if ended || self.stopping.is_cancelled() {
                return Ok(view);
            }
            tokio::select! {
                biased;
                () = line.cancelled.cancelled() => return Ok(None),
                () = line.gone.cancelled() => return Ok(None),
                () = self.stopping.cancelled() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Takes back what waits. What was decided stays.
    async fn take_back(
        &self,
        id: CallId,
        task: Task,
        call: &ToolCall,
    ) -> Result<Option<TaskView>, StoreError> {
        let (own, who) = (self.writer.id(), call.principal.clone());
        let (catalogue, settings) = (self.catalogue.load_full(), Arc::clone(&self.settings));
        let work = move |tx: &Tx<'_>| {
            let now = Timestamp::now();
            let before = view(tx, &task, own, now)?;
            let working = before.is_some_and(|before| before.stands.is_working());
            if let (true, Ok(escalation)) = (working, task.native.parse()) {
                let ground = Ground {
                    catalogue: &catalogue,
                    settings: &settings,
                    writer: own,
                };
                // Where it was just used, nothing is taken back.
                let _ended = ground.withdraw(tx, (&who, escalation), &Way::Call(id), now)?;
            }
            let mut after = view(tx, &task, own, now)?;
            if let Some(after) = &mut after {
                after.before = !working;
                let detail = json!({ "state": after.stands.word() });
                journal::close(tx, own, &ended(id, Outcome::Completed, detail), now)?;
            }
            Ok(after)
        };
        let taken = self.store.write("withdraw", Durability::Power, work).await;
        taken.map(Committed::into_inner)
    }
}

fn ended(call: CallId, outcome: Outcome, detail: serde_json::Value) -> Closing {
    Closing {
        call,
        outcome,
        result: None,
        kept: None,
        detail,
        goes_on: false,
    }
}
