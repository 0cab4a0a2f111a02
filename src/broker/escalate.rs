//! What becomes of a call that policy stopped and somebody may lift that for: it is
//! asked for once, and an approval is used up in the transaction that opens the record.

mod approved;

pub(super) use approved::renewed;

use super::Catalogue;
use super::Refusal;
use super::admit::Candidate;
use super::admit::Judged;
use super::admit::Said;
use super::confirming::Lifted;
use super::denied::Again;
use super::earlier::Follows;
use super::own::Own;
use super::ruled::Ruled;
use super::ruled::Way;
use super::ruled::Word;
use super::waiting;
use super::waiting::BegunTask;
use crate::escalations;
use crate::escalations::Decision;
use crate::escalations::EscalationId;
use crate::escalations::Opened;
use crate::escalations::Request;
use crate::escalations::State;
use crate::escalations::Stop;
use crate::escalations::waiting::Wish;
use crate::outcome::Outcome;
use crate::policy::Allowed;
use crate::policy::Denial;
use crate::policy::Escalation;
use crate::policy::Facts;
use crate::principal::PrincipalId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

/// Why an approval is void.
pub(super) const LAPSED_TOOL: &str = "the tool is not what it was when the call was escalated";

/// What a caller is told of the request that stands for its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// Somebody may decide on it now.
    Waits {
        /// Its id.
        id: EscalationId,
        /// How often the call was made, this time included.
        tries: u32,
        /// For how long.
        expires_in: SignedDuration,
        /// What became of an approval that was given before, where it fits no more.
        lapsed: Option<&'static str>,
        /// What the tool is called that waits for the decision, where the caller has
        /// it.
        wait: Option<Box<str>>,
        /// The task by which its client waits, where it knows tasks.
        task: Option<Box<BegunTask>>,
    },
    /// Too many of the caller's requests wait already: this one was not stored.
    TooMany,
}

/// A no that somebody can lift.
struct Liftable<'a> {
    denial: Denial,
    escalation: Escalation,
    /// What is decided on.
    arguments: &'a str,
    /// What the tool is called that waits for the decision.
    wait: Option<Box<str>>,
    /// Whether its client waits by a task.
    takes_task: bool,
}

/// An approval that lets a call pass.
#[derive(Debug)]
pub(super) struct Grant {
    id: EscalationId,
    decision: Decision,
    /// The policies that would stop the call without it.
    lifts: Vec<String>,
    /// The call that used it up, where this one goes on from it.
    carried: Option<CallId>,
}

impl Grant {
    /// One that was not used yet.
    pub(super) fn fresh(id: EscalationId, decision: Decision, lifts: Vec<String>) -> Self {
        Self {
            id,
            decision,
            lifts,
            carried: None,
        }
    }

    /// Uses it up, in the transaction that opens the record of this call.
    ///
    /// # Errors
    ///
    /// When it cannot be, and so the call must not be sent.
    pub(super) fn use_up(
        &self,
        tx: &Tx<'_>,
        call: CallId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let used = match self.carried {
            Some(before) => escalations::carry(tx, self.id, (before, call))?,
            None => escalations::consume(tx, self.id, call, now)?,
        };
        // It was read in this transaction, so nobody else can have used it.
        match used {
            true => Ok(()),
            false => Err(StoreError::Damaged {
                what: format!("the escalation {}", self.id),
            }),
        }
    }

    /// Who gave it.
    pub(super) fn by(&self) -> &PrincipalId {
        &self.decision.by
    }

    /// What is recorded of it.
    pub(super) fn detail(&self) -> Value {
        json!({
            "escalation": self.id.to_string(),
            "by": self.decision.by.to_string(),
            "at": self.decision.at.to_string(),
            "reason": self.decision.reason,
            "lifts": self.lifts,
        })
    }
}

/// What was decided of a call, with what was decided of it by people.
pub(super) enum Decided {
    /// It may be sent, with what is to be used up where it needed that.
    Allowed(Allowed, Lifted),
    /// It may not.
    Refused(Said),
}

impl Candidate {
    /// Decides the call, asks for an approval where one could help, and finds the one
    /// that was given.
    pub(super) fn lifted(
        &self,
        (tx, writer): (&Tx<'_>, WriterId),
        (mut facts, catalogue): (Facts, &Catalogue),
        follows: Option<Follows>,
        now: Timestamp,
    ) -> Result<Decided, StoreError> {
        let (denial, escalation) = match self.judge(&facts, now) {
            Judged::Allowed(allowed) => {
                return Ok(allowed_with(allowed, self.resumed(tx)?));
            }
            Judged::Refused(outcome, detail, refusal) => {
                return Ok(Decided::Refused((outcome, detail, refusal)));
            }
            Judged::Confirmable(denial, confirmation) => {
                let asked = self.ask_person(tx, (denial, confirmation), now)?;
                return Ok(Decided::Refused(asked));
            }
            Judged::Liftable(denial, escalation) => (denial, escalation),
        };
        if let Some(carried) = self.carried(tx, (&mut facts, &denial), follows, now)? {
            return Ok(carried);
        }
        let Some(arguments) = self.to_decide_on.as_deref() else {
            return Ok(Decided::Refused(self.unasked(denial, &escalation)));
        };
        if let Some(vain) = &self.decides_in_vain {
            let vain = self.stopped(vain.code(), &vain.to_string());
            return Ok(Decided::Refused(vain));
        }
        let stopped = Liftable {
            denial,
            escalation,
            arguments,
            wait: catalogue.own_tool(Own::Wait, &self.subject.principal),
            takes_task: self.origin.takes_task && catalogue.has().decides,
        };
        let Some(standing) = escalations::standing(tx, &self.subject, now)? else {
            return self.ask(tx, stopped, None, now);
        };
        let id = standing.id;
        let void = |why| self.voided((tx, writer), &standing, why, now);
        if standing.state.is_live() && standing.definition != self.route.definition {
            return self.ask(tx, stopped, Some(void(LAPSED_TOOL)?), now);
        }
        match (standing.state, standing.decision.clone()) {
            (State::Approved, Some(decision)) => {
                facts.approval = Some(decision.by.clone());
                let judged = self.judge(&facts, now);
                let why = match self.approved(tx, (&standing, decision), (judged, &stopped), now)? {
                    Ok(decided) => return Ok(decided),
                    Err(why) => void(why)?,
                };
                match self.origin.resumes {
                    // Its client is told, and may ask anew.
                    Some(_) => Ok(Decided::Refused(self.stopped("approval_lapsed", why))),
                    None => self.ask(tx, stopped, Some(why), now),
                }
            }
            (State::Refused, Some(decision)) => {
                escalations::tried_again(tx, id)?;
                let expires = standing.expires;
                Ok(Decided::Refused(self.turned_down(id, decision, expires)))
            }
            _ => {
                escalations::tried_again(tx, id)?;
                let (denial, escalation) = (&stopped.denial, &stopped.escalation);
                let expires = renewed(tx, &standing, (denial, escalation), now)?;
                let requested = Requested::Waits {
                    id,
                    tries: standing.tries.saturating_add(1),
                    expires_in: expires.duration_since(now),
                    lapsed: None,
                    wait: stopped.wait.clone(),
                    task: self.task(tx, (id, stopped.takes_task), now)?,
                };
                Ok(Decided::Refused(self.escalated(stopped, requested)))
            }
        }
    }

    /// What is said to a call that nobody is asked about: what nobody can be shown whole,
    /// nobody can approve.
    fn unasked(&self, denial: Denial, escalation: &Escalation) -> Said {
        let detail = detail_of(&denial, escalation);
        let call = self.subject.call;
        let refusal = Box::new(Refusal::Denied {
            call,
            denial,
            again: Again::default(),
        });
        (Outcome::Denied, detail, refusal)
    }

    /// Ends a request that this call cannot go by any more, and records that. Returns
    /// why.
    pub(super) fn voided(
        &self,
        (tx, writer): (&Tx<'_>, WriterId),
        found: &escalations::Escalation,
        why: &'static str,
        now: Timestamp,
    ) -> Result<&'static str, StoreError> {
        let subject = &self.subject;
        let ruled = Ruled {
            writer,
            by: &subject.principal,
            way: &Way::Call(subject.call),
            policies: subject.policies,
        };
        if escalations::void(tx, found.id, why, now)? {
            ruled.record(tx, found, Word::Void(why), now)?;
        }
        Ok(why)
    }

    /// Whether policy lets the call pass that was made before and is made again: with
    /// the approval that it used up then.
    pub(super) fn judge_again(
        &self,
        tx: &Tx<'_>,
        (mut facts, earlier): (Facts, CallId),
        now: Timestamp,
    ) -> Result<Option<Said>, StoreError> {
        let (denial, escalation) = match self.judge(&facts, now) {
            Judged::Allowed(_) => return Ok(None),
            Judged::Refused(outcome, detail, refusal) => {
                return Ok(Some((outcome, detail, refusal)));
            }
            // Nothing is sent for being told of it.
            Judged::Confirmable(..) => return Ok(None),
            Judged::Liftable(denial, escalation) => (denial, escalation),
        };
        let used = escalations::used_by(tx, earlier)?;
        if let Some(decision) = used.and_then(|used| used.decision) {
            facts.approval = Some(decision.by);
            if let Judged::Allowed(_) | Judged::Confirmable(..) = self.judge(&facts, now) {
                return Ok(None);
            }
        }
        Ok(Some(self.unasked(denial, &escalation)))
    }

    /// Asks for an approval of this call.
    fn ask(
        &self,
        tx: &Tx<'_>,
        stopped: Liftable<'_>,
        lapsed: Option<&'static str>,
        now: Timestamp,
    ) -> Result<Decided, StoreError> {
        let stops = stops_of(&stopped.denial);
        let request = Request {
            subject: &self.subject,
            definition: self.route.definition,
            body: stopped.arguments,
            roles: &stopped.escalation.roles,
            stops: &stops,
            expires: now
                .saturating_add(stopped.escalation.expires)
                .unwrap_or(now),
        };
        let requested = match escalations::open(tx, &request, now)? {
            Opened::New(id) => Requested::Waits {
                id,
                tries: 1,
                expires_in: stopped.escalation.expires,
                lapsed,
                wait: stopped.wait.clone(),
                task: self.task(tx, (id, stopped.takes_task), now)?,
            },
            Opened::TooMany => Requested::TooMany,
        };
        Ok(Decided::Refused(self.escalated(stopped, requested)))
    }

    /// The task by which the client of this call waits for the decision, kept before
    /// anybody is told of it.
    fn task(
        &self,
        tx: &Tx<'_>,
        (id, takes_task): (EscalationId, bool),
        now: Timestamp,
    ) -> Result<Option<Box<BegunTask>>, StoreError> {
        if !takes_task {
            return Ok(None);
        }
        let rules = self.route.gate.rules();
        let wish = Wish {
            on_approval: rules.on_approval.unwrap_or_default(),
            key: self.key.clone(),
            credential: self.origin.credential.as_deref().map(str::to_owned),
        };
        let about = (id, &self.subject);
        let begun = waiting::begun(tx, about, (&wish, &rules.labels), now)?;
        Ok(begun.map(Box::new))
    }

    fn escalated(&self, stopped: Liftable<'_>, requested: Requested) -> Said {
        let Liftable {
            denial, escalation, ..
        } = stopped;
        let mut detail = detail_of(&denial, &escalation);
        let outcome = match &requested {
            Requested::Waits { id, task, .. } => {
                insert(&mut detail, "escalation", json!(id.to_string()));
                if let Some(task) = task {
                    insert(&mut detail, "task", json!(task.id));
                }
                Outcome::Escalated
            }
            Requested::TooMany => Outcome::Denied,
        };
        let refusal = Refusal::Escalated {
            call: self.subject.call,
            denial,
            escalation,
            requested,
        };
        (outcome, detail, Box::new(refusal))
    }

    /// What is said to a call on which somebody decided no.
    fn turned_down(&self, id: EscalationId, decision: Decision, until: Timestamp) -> Said {
        let detail = json!({
            "code": "escalation_refused",
            "escalation": id.to_string(),
            "by": decision.by.to_string(),
        });
        let refusal = Refusal::TurnedDown {
            call: self.subject.call,
            id,
            decision,
            until,
        };
        (Outcome::Denied, detail, Box::new(refusal))
    }
}

/// A call that may be sent, with the approval that it is made with.
fn allowed_with(allowed: Allowed, grant: Option<Grant>) -> Decided {
    let confirmed = None;
    Decided::Allowed(allowed, Lifted { grant, confirmed })
}

/// What somebody has to lift.
fn stops_of(denial: &Denial) -> Vec<Stop> {
    let stops = denial.reasons.iter().map(|reason| Stop {
        policy: reason.policy.clone(),
        code: reason.code.clone(),
        message: reason.message.clone(),
    });
    stops.collect()
}

/// What is recorded of a no that could be lifted.
fn detail_of(denial: &Denial, escalation: &Escalation) -> Value {
    let mut detail = super::admit::denied_detail(denial);
    insert(&mut detail, "roles", json!(escalation.roles));
    detail
}

fn insert(detail: &mut Value, key: &str, value: Value) {
    if let Some(members) = detail.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}
