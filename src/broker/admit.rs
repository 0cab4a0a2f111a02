//! Admission: decide a call and open its record as one transaction.

use super::Catalogue;
use super::Origin;
use super::Refusal;
use super::Settings;
use super::catalogue::Route;
use super::confirming::Confirming;
use super::confirming::Lifted;
use super::denied::Again;
use super::earlier::Before;
use super::earlier::Follows;
use super::earlier::Patience;
use super::entry::Entry;
use super::escalate::Decided;
use super::escalations::DecisionRefusal;
use super::kept;
use super::kept::KeptText;
use super::labels;
use super::metered;
use super::open_calls::Place;
use super::paused;
use super::settlement::Charged;
use super::settlement::Taken;
use crate::escalations::waiting;
use crate::journal;
use crate::journal::Effect;
use crate::journal::OpenEntry;
use crate::journal::Part;
use crate::journal::Subject;
use crate::meters::After;
use crate::meters::Charges;
use crate::meters::Held;
use crate::outcome::Outcome;
use crate::policy::Allowed;
use crate::policy::Bundle;
use crate::policy::Confirmation;
use crate::policy::Denial;
use crate::policy::Escalation;
use crate::policy::Facts;
use crate::policy::Reading;
use crate::policy::Reason;
use crate::policy::Verdict;
use crate::retries;
use crate::retries::IdempotencyKey;
use crate::session::Label;
use crate::session::SessionFacts;
use crate::sessions;
use crate::sessions::Brought;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A call that is about to be decided.
pub(super) struct Candidate {
    pub(super) subject: Subject,
    pub(super) route: Arc<Route>,
    pub(super) reading: Reading,
    /// What its client calls it.
    pub(super) key: Option<IdempotencyKey>,
    /// The call that it goes on from.
    pub(super) continues: Option<CallId>,
    /// When it came.
    pub(super) came: Timestamp,
    /// Whether it waits for an earlier one.
    pub(super) patience: Patience,
    /// Where the open call is that it answers.
    pub(super) place: Place,
    /// Labels of what may reach the client before the call ends: they join with a yes.
    pub(super) early: BTreeSet<Label>,
    /// By what way it came.
    pub(super) origin: Origin,
    /// The arguments as they came, where somebody may be asked to decide on them.
    pub(super) to_decide_on: Option<Box<str>>,
    /// Why nothing can come of it, where it decides on a request that is over, or that there
    /// is none of for its caller.
    pub(super) decides_in_vain: Option<DecisionRefusal>,
    /// What it brings towards a confirmation.
    pub(super) confirming: Confirming,
    /// The arguments to keep beside the record.
    pub(super) kept_arguments: Option<KeptText>,
}

/// What an admitted call holds: the two halves of its permit, and what it was
/// charged.
pub(super) struct Admitted {
    pub(super) allowed: Allowed,
    pub(super) entry: OpenEntry,
    pub(super) charged: Charged,
    /// Whether it may be sent because of what a person was shown of it.
    pub(super) shown: bool,
}

/// What policy said to a call.
pub(super) enum Judged {
    Allowed(Allowed),
    /// With the outcome and the detail that are recorded.
    Refused(Outcome, Value, Box<Refusal>),
    /// Somebody can lift that.
    Liftable(Denial, Escalation),
    /// The person in front of the client can.
    Confirmable(Denial, Confirmation),
}

impl Judged {
    /// What still stops the call.
    pub(super) fn left(&self) -> &[Reason] {
        match self {
            Self::Liftable(denial, _) | Self::Confirmable(denial, _) => &denial.reasons,
            Self::Allowed(_) | Self::Refused(..) => &[],
        }
    }
}

/// Why a call is not sent: what is recorded, and what its caller learns.
pub(super) type Said = (Outcome, Value, Box<Refusal>);

pub(super) type Admission = Result<Admitted, Refusal>;

impl Candidate {
    /// What the commit must survive: whatever a limit depends on, a power cut.
    pub(super) fn durability(&self, settings: &Settings, bundle: &Bundle) -> Durability {
        // Who gives a key relies on it.
        let keyed = self.key.is_some() && self.effect() == Effect::Possible;
        // What a person was asked or decided must not be forgotten.
        let gate = &self.route.gate;
        let may_ask = gate.may_escalate() || gate.may_confirm() || self.answers();
        let may_ask = may_ask || self.origin.resumes.is_some();
        if !self.is_limited(bundle) && !keyed && !may_ask && self.early.is_empty() {
            settings.durability
        } else {
            Durability::Power
        }
    }

    /// Decides the call on what is true now, and records it either way.
    ///
    /// # Errors
    ///
    /// When the store fails: then nothing was recorded and nothing may be sent.
    pub(super) fn admit(
        &self,
        tx: &Tx<'_>,
        writer: WriterId,
        (settings, catalogue): (&Settings, &Catalogue),
        now: Timestamp,
    ) -> Result<Admission, StoreError> {
        let subject = &self.subject;
        if let Some(id) = self.origin.resumes
            && !waiting::is_due(tx, id, now)?
        {
            return Ok(Err(Refusal::Overtaken));
        }
        let refuse = |outcome, detail: Value, refusal| {
            let refusal = self.again(tx, refusal)?;
            let detail = self.noted(detail);
            journal::refuse(tx, writer, (subject, outcome, &detail), now)?;
            self.keep_arguments(tx)?;
            Ok(Err(self.freeze(tx, refusal, (settings, now))?))
        };
        let who = (subject.session, &subject.principal);
        let entry = Entry::to_use(tx, who, (catalogue, settings.expire), now)?;
        let session = match standing(entry, subject) {
            Ok(facts) => facts,
            Err(Stopped::Over(refusal)) if self.origin.finds_anew => return Ok(Err(*refusal)),
            Err(Stopped::Over(refusal)) => {
                let detail = json!({ "code": "session_ended" });
                return refuse(Outcome::Denied, detail, *refusal);
            }
            // A stranger leaves nothing in it, not even that he asked.
            Err(Stopped::Stranger(refusal)) => return Ok(Err(*refusal)),
        };
        if let Some((outcome, detail, refusal)) = self.resumes_no_more((tx, writer), now)? {
            return refuse(outcome, detail, *refusal);
        }
        // A no is taken whatever an earlier call came to.
        let before = match self.says_no() {
            true => Before::Nothing,
            false => self.before(tx, writer, &session, (settings, now))?,
        };
        let follows = match before {
            Before::Nothing => None,
            Before::Follows(follows) => Some(follows),
            Before::Runs(earlier) => return Ok(Err(Refusal::Attempted { earlier })),
            Before::Given(earlier) => return Ok(Err(Refusal::BeingGiven { earlier })),
            Before::Said((outcome, detail, refusal)) => return refuse(outcome, detail, *refusal),
        };
        let metered = self.metered(tx, settings, follows, now)?;
        let (charging, after) = match metered {
            Ok(metered) => metered,
            Err(overflow) => {
                let (detail, refusal) = metered::overflowed(subject.call, &overflow);
                return refuse(Outcome::InvalidArguments, detail, refusal);
            }
        };
        let facts = self.facts(tx, (&session, after), (settings, now))?;
        let decided = self.decided((tx, writer), (facts, catalogue), follows, now)?;
        match self.reaching((tx, writer), decided, now)? {
            Decided::Allowed(allowed, lifted) => {
                lifted.use_up(tx, self.about(), now)?;
                self.made(tx)?;
                self.revived(tx, now)?;
                let charged = charging.charge(tx)?;
                self.label(tx, &session, (settings, now))?;
                let charged = self.take_place(tx, follows, charged, now)?;
                let detail = self.allowed_detail(&allowed, &charged.charges, (follows, &lifted));
                let opening = (subject, self.effect(), &detail);
                let entry = journal::open(tx, writer, opening, &allowed, now)?;
                self.keep_arguments(tx)?;
                Ok(Ok(Admitted {
                    allowed,
                    entry,
                    charged,
                    shown: lifted.grant.is_some() || lifted.confirmed.is_some(),
                }))
            }
            Decided::Refused((outcome, detail, refusal)) => {
                let refusal = paused::told(tx, *refusal, subject, catalogue)?;
                labels::told(tx, &refusal, subject, (settings.labels_stick, now))?;
                refuse(outcome, detail, refusal)
            }
        }
    }

    /// Notes that this is the call that is made for its client.
    fn made(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        match self.origin.resumes {
            // It was due in this transaction, so nobody else can have made it.
            Some(id) if !waiting::made(tx, id, self.subject.call)? => Err(StoreError::Damaged {
                what: format!("the task of the escalation {id}"),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes the place of the call that this one follows, and binds the key to it. Where
    /// another may follow this one in turn, what it was charged is kept for that.
    fn take_place(
        &self,
        tx: &Tx<'_>,
        follows: Option<Follows>,
        (charges, carried): (Charges, Option<Held>),
        now: Timestamp,
    ) -> Result<Charged, StoreError> {
        let subject = &self.subject;
        let about = (subject, self.key.as_ref());
        let taken = follows.map(|follows| Taken::from(tx, about, (follows, carried), now));
        let taken = taken.transpose()?.map(Box::new);
        if let Some(key) = &self.key {
            retries::begin(tx, subject, key, now)?;
            if self.route.gate.rules().is_repeatable() {
                charges.hold(tx, subject.call)?;
            }
        }
        Ok(Charged { charges, taken })
    }

    /// Who is let into a session takes its labels along, and what the client may hear
    /// before the call ends joins it now.
    fn label(
        &self,
        tx: &Tx<'_>,
        session: &SessionFacts,
        (settings, now): (&Settings, Timestamp),
    ) -> Result<(), StoreError> {
        let (subject, stick) = (&self.subject, settings.labels_stick);
        sessions::guest(tx, session, &subject.principal, (stick, now))?;
        if self.early.is_empty() {
            return Ok(());
        }
        let brought = Brought {
            labels: self.early.clone(),
            session: subject.session,
            principal: subject.principal.clone(),
            call: subject.call,
        };
        brought.join(tx, stick, now)
    }

    /// What policy may know of this call besides its arguments.
    pub(super) fn facts(
        &self,
        tx: &Tx<'_>,
        (session, after): (&SessionFacts, After),
        (settings, now): (&Settings, Timestamp),
    ) -> Result<Facts, StoreError> {
        let gate = &self.route.gate;
        let denied = settings.denials.read_by(gate, tx, (session.id, now));
        Ok(Facts {
            session: session.clone(),
            totals: after.totals,
            meters: after.counts,
            denied_lately: denied?,
            approval: None,
            confirmed: false,
        })
    }

    /// What policy says to this call.
    pub(super) fn judge(&self, facts: &Facts, now: Timestamp) -> Judged {
        let subject = &self.subject;
        let call = subject.call;
        let gate = &self.route.gate;
        match gate.decide(call, &subject.principal, &self.reading, facts, now) {
            Verdict::Allow(allowed) => Judged::Allowed(allowed),
            Verdict::Deny(denial) => {
                let detail = denied_detail(&denial);
                let again = Again::default();
                let refusal = Refusal::Denied {
                    call,
                    denial,
                    again,
                };
                Judged::Refused(Outcome::Denied, detail, Box::new(refusal))
            }
            Verdict::Escalate(denial, escalation) => Judged::Liftable(denial, escalation),
            Verdict::Confirm(denial, confirmation) => Judged::Confirmable(denial, confirmation),
        }
    }

    /// Whether the tool may change anything.
    pub(super) fn effect(&self) -> Effect {
        Effect::of(self.route.gate.rules().access)
    }

    fn keep_arguments(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        match &self.kept_arguments {
            Some(kept) => journal::keep(tx, self.subject.call, Part::Arguments, &kept.text),
            None => Ok(()),
        }
    }

    /// What is recorded of a yes.
    pub(super) fn allowed_detail(
        &self,
        allowed: &Allowed,
        charges: &Charges,
        (follows, lifted): (Option<Follows>, &Lifted),
    ) -> Value {
        let mut detail = Map::new();
        detail.insert("policies".to_owned(), json!(allowed.policies()));
        lifted.note(&mut detail);
        if !charges.amounts.is_empty() {
            let amounts = charges.amounts.iter();
            let charged: Map<String, Value> = amounts
                .map(|(meter, value)| (meter.to_string(), json!(value)))
                .collect();
            detail.insert("day".to_owned(), json!(charges.day.to_string()));
            detail.insert("charged".to_owned(), Value::Object(charged));
        }
        if !charges.counts.is_empty() {
            let counts = charges.counts.iter();
            let counted: Map<String, Value> = counts
                .map(|count| (count.meter.name.to_string(), json!(count.value)))
                .collect();
            detail.insert("counted".to_owned(), Value::Object(counted));
        }
        if let Some(follows) = follows {
            let earlier = follows.call().to_string();
            detail.insert(follows.word().to_owned(), json!(earlier));
        }
        if !self.reading.opaque().is_empty() {
            detail.insert("opaque".to_owned(), json!(self.reading.opaque()));
        }
        self.noted(Value::Object(detail))
    }

    /// A detail, with what is to be said of the arguments that are kept.
    pub(super) fn noted(&self, detail: Value) -> Value {
        kept::noted(detail, self.kept_arguments.as_ref())
    }
}

/// Why nothing is done in the session of a call.
enum Stopped {
    /// It is over.
    Over(Box<Refusal>),
    /// There is none for this caller.
    Stranger(Box<Refusal>),
}

/// What policy may know of the session of a call, or why the call is refused.
fn standing(entry: Entry, subject: &Subject) -> Result<SessionFacts, Stopped> {
    let call = subject.call;
    match entry {
        Entry::Open(state) => Ok(state.facts),
        Entry::Ended(end) => {
            let refusal = Box::new(Refusal::SessionEnded { call, end });
            Err(Stopped::Over(refusal))
        }
        Entry::Gone => Err(Stopped::Stranger(Box::new(Refusal::no_session(subject)))),
    }
}

/// What is recorded of a no.
pub(super) fn denied_detail(denial: &Denial) -> Value {
    let policies: Vec<_> = denial.reasons.iter().map(|reason| &reason.policy).collect();
    let mut detail = Map::new();
    detail.insert("code".to_owned(), json!(denial.code));
    detail.insert("policies".to_owned(), json!(policies));
    if !denial.errors.is_empty() {
        detail.insert("errors".to_owned(), json!(denial.errors));
    }
    if !denial.unseen.is_empty() {
        let unseen = denial.unseen.iter().map(|unseen| &*unseen.argument);
        detail.insert("opaque".to_owned(), unseen.collect());
    }
    Value::Object(detail)
}
