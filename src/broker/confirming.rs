//! Calls that the person in front of the client is asked about first. The call ends by
//! asking; another one, with the answer, is decided anew. An answer is taken once, in the
//! transaction that decides the call which brings it.

mod question;

pub use question::Said;

use super::Catalogue;
use super::Continued;
use super::Left;
use super::Question;
use super::Refusal;
use super::ToolCall;
use super::admit::Candidate;
use super::admit::Judged;
use super::admit::Said as Told;
use super::admit::denied_detail;
use super::catalogue::Leads;
use super::catalogue::Route;
use super::earlier::Follows;
use super::escalate::Decided;
use super::escalate::Grant;
use super::escalations::DecisionRefusal;
use super::escalations::Ground;
use super::own::Own;
use crate::downstream::can_be_asked;
use crate::escalations;
use crate::escalations::State;
use crate::escalations::confirming;
use crate::escalations::confirming::About;
use crate::escalations::confirming::Shown;
use crate::outcome::Outcome;
use crate::policy::Confirmation;
use crate::policy::Denial;
use crate::policy::Facts;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::Inquiry;
use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// How long an answer is taken that comes with another request, at least. Who is asked
/// while their call waits has as long as the call.
const OPEN: SignedDuration = SignedDuration::from_mins(15);

/// The largest arguments that somebody is asked about, in bytes: they are shown whole,
/// because a yes is to all of them.
const MOST: usize = 8 << 10;

/// What a call brings towards a confirmation.
pub(super) enum Confirming {
    /// Its client can ask the person, who is to be shown this.
    MayAsk(question::Sent),
    /// Nobody is asked.
    Not(Unasked),
    /// That call asked, and this was said.
    Answered(CallId, Said),
}

/// Why nobody is asked whether a call shall be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// The client did not declare that it can ask the person.
    Client,
    /// A call of the broker's own, or what is no call that could wait.
    Nobody,
    /// The person could not be shown all that is sent.
    NotAll,
    /// The call goes on from one that was not confirmed.
    Midway,
}

/// Why a call that needs a confirmation has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconfirmed {
    /// Nobody is asked.
    Unasked(Unasked),
    /// The person was asked.
    Said(Said),
    /// They said yes to less than what stops the call by now.
    Less,
    /// The question was answered before, or too long ago.
    Over,
}

impl Unconfirmed {
    /// The word that is recorded and published.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unasked(Unasked::Client) => "not-asked-by-client",
            Self::Unasked(Unasked::Nobody) => "not-asked",
            Self::Unasked(Unasked::NotAll) => "not-asked-of-all",
            Self::Unasked(Unasked::Midway) => "not-asked-midway",
            Self::Said(said) => said.word(),
            Self::Less => "asked-of-less",
            Self::Over => "over",
        }
    }
}

/// The confirmation that a call is made with.
#[derive(Debug)]
pub(super) struct Confirmed {
    /// The call that asked; where it is carried, the round before.
    call: CallId,
    /// Whether an earlier round of the same call had it.
    carried: bool,
    /// What the yes was to.
    shown: Shown,
}

impl Confirmed {
    /// What is recorded of it.
    fn detail(&self) -> Value {
        let word = if self.carried { "carried" } else { "confirmed" };
        detail(word, Some(self.call))
    }
}

/// What people said to a call that is made, besides its caller.
#[derive(Debug, Default)]
pub(super) struct Lifted {
    pub(super) grant: Option<Grant>,
    pub(super) confirmed: Option<Confirmed>,
}

impl Lifted {
    /// Uses it up, in the transaction that opens the record of this call.
    ///
    /// # Errors
    ///
    /// When it cannot be, and so the call must not be sent.
    pub(super) fn use_up(
        &self,
        tx: &Tx<'_>,
        about: About<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(grant) = &self.grant {
            grant.use_up(tx, about.subject.call, now)?;
        }
        let Some(Confirmed {
            call,
            carried,
            shown,
        }) = &self.confirmed
        else {
            return Ok(());
        };
        if !carried {
            return confirming::have(tx, (about, shown), now);
        }
        // It was read in this transaction, so nobody else can have gone on with it.
        match confirming::carry(tx, *call, (about, shown), now)? {
            true => Ok(()),
            false => Err(StoreError::Damaged {
                what: format!("the confirmation of the call {call}"),
            }),
        }
    }

    /// Notes it in the record.
    pub(super) fn note(&self, detail: &mut Map<String, Value>) {
        if let Some(grant) = &self.grant {
            detail.insert("approval".to_owned(), grant.detail());
        }
        if let Some(confirmed) = &self.confirmed {
            detail.insert(CONFIRMATION.to_owned(), confirmed.detail());
        }
    }
}

impl ToolCall {
    /// What this call brings towards a confirmation.
    pub(super) fn confirming(&self, route: &Route, arguments: &str) -> Confirming {
        let waits = match self.asking {
            Asking::Tool | Asking::Prompt | Asking::Read => self.origin.resumes.is_none(),
            Asking::Subscribe | Asking::Complete | Asking::Task(_) => false,
        };
        if !waits {
            return Confirming::Not(Unasked::Nobody);
        }
        // Also where policy would not ask by now: a no must hold.
        if let Some(Continued {
            call: Some(asked),
            left: Left::Confirmation,
            responses,
        }) = &self.continued
        {
            // The state that comes with it binds no more than the arguments.
            let said = match self.rest.is_empty() {
                true => question::said(responses.as_deref()),
                false => Said::Unreadable,
            };
            return Confirming::Answered(*asked, said);
        }
        Confirming::Not(if !route.gate.may_confirm() {
            Unasked::Nobody
        } else if !self.rest.is_empty() || arguments.len() > MOST {
            Unasked::NotAll
        } else if self.continued.is_some() {
            Unasked::Midway
        } else if !can_be_asked(&self.declared, Inquiry::Elicit, None) {
            Unasked::Client
        } else {
            return Confirming::MayAsk(question::Sent {
                arguments: arguments.into(),
                decides_on: Vec::new(),
            });
        })
    }
}

impl Candidate {
    /// Whoever is asked before a decision is taken is shown what it is on, as far as its
    /// caller may know of that: the id among the arguments tells a person nothing. Where
    /// nothing can be decided on it any more, or it is not there for them, that is noted.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(super) fn show_what_is_decided(
        &mut self,
        tx: &Tx<'_>,
        ground: Ground<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match self.route.leads {
            Leads::Own(Own::Decide) => {}
            Leads::Own(Own::Withdraw) => return self.see_what_is_withdrawn(tx, now),
            Leads::Own(_) | Leads::Out(_) => return Ok(()),
        }
        let arguments = match &self.confirming {
            Confirming::MayAsk(sent) => Some(&sent.arguments),
            Confirming::Not(_) | Confirming::Answered(..) => self.to_decide_on.as_ref(),
        };
        let Some(arguments) = arguments else {
            return Ok(());
        };
        let found = match question::named_in(arguments) {
            Some(id) => ground.find(tx, &self.subject.principal, id, now)?,
            None => None,
        };
        let Some(found) = found else {
            self.decides_in_vain = Some(DecisionRefusal::Unknown);
            return Ok(());
        };
        let state = found.state_at(now);
        self.decides_in_vain = (state != State::Pending).then_some(DecisionRefusal::Over(state));
        let Confirming::MayAsk(sent) = &mut self.confirming else {
            return Ok(());
        };
        if found.body.as_ref().is_some_and(|body| body.len() > MOST) {
            self.confirming = Confirming::Not(Unasked::NotAll);
        } else {
            sent.decides_on = question::decided_on(&found, now);
        }
        Ok(())
    }

    /// Notes where nothing can be withdrawn.
    fn see_what_is_withdrawn(&mut self, tx: &Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
        let Some(arguments) = self.to_decide_on.as_deref() else {
            return Ok(());
        };
        let found = match question::named_in(arguments) {
            Some(id) => escalations::find(tx, id)?,
            None => None,
        };
        let own = found.filter(|found| found.principal == self.subject.principal);
        let state = own.map(|own| own.state_at(now));
        self.decides_in_vain = match state {
            None => Some(DecisionRefusal::Unknown),
            Some(state) => (!state.is_live()).then_some(DecisionRefusal::Over(state)),
        };
        Ok(())
    }

    /// What a confirmation of this call is about.
    pub(super) fn about(&self) -> About<'_> {
        About {
            subject: &self.subject,
            definition: self.route.definition,
        }
    }

    /// Whether it brings an answer, which is taken by a transaction.
    pub(super) fn answers(&self) -> bool {
        matches!(self.confirming, Confirming::Answered(..))
    }

    /// Whether it brings an answer that is no yes.
    pub(super) fn says_no(&self) -> bool {
        matches!(self.confirming, Confirming::Answered(_, said) if said != Said::Yes)
    }

    /// Decides the call with what the person in front of the client said to it, asks
    /// them where a yes would help, and so with those who can lift a limit.
    pub(super) fn decided(
        &self,
        (tx, writer): (&Tx<'_>, WriterId),
        (mut facts, catalogue): (Facts, &Catalogue),
        follows: Option<Follows>,
        now: Timestamp,
    ) -> Result<Decided, StoreError> {
        let confirmed = match self.confirmed(tx, follows, now)? {
            Ok(confirmed) => confirmed,
            Err((asked, why)) => return Ok(self.declined(&facts, (asked, why), now)),
        };
        let Some(confirmed) = confirmed else {
            return self.lifted((tx, writer), (facts, catalogue), follows, now);
        };
        let mut without = facts.clone();
        facts.confirmed = true;
        let decided = self.lifted((tx, writer), (facts, catalogue), follows, now)?;
        let said = match decided {
            Decided::Allowed(allowed, lifted) => {
                without.approval = lifted.grant.as_ref().map(|grant| grant.by().clone());
                match self.more_than(&confirmed, &without, now) {
                    None => {
                        let confirmed = Some(confirmed);
                        let lifted = Lifted {
                            confirmed,
                            ..lifted
                        };
                        return Ok(Decided::Allowed(allowed, lifted));
                    }
                    Some(said) => said,
                }
            }
            Decided::Refused(said) => said,
        };
        let (outcome, mut noted, refusal) = said;
        if noted.get(CONFIRMATION).is_none() {
            note(&mut noted, confirmed.detail());
        }
        Ok(Decided::Refused((outcome, noted, refusal)))
    }

    /// The no to a call that more stops, but for the yes, than the yes was to: `without`
    /// is what is true, the yes left out.
    fn more_than(&self, confirmed: &Confirmed, without: &Facts, now: Timestamp) -> Option<Told> {
        let denial = match self.judge(without, now) {
            Judged::Allowed(_) => return None,
            Judged::Refused(outcome, noted, refusal) => return Some((outcome, noted, refusal)),
            Judged::Confirmable(denial, confirmation) => {
                if confirmed
                    .shown
                    .covers(&stands_before(&denial, &confirmation))
                {
                    return None;
                }
                denial
            }
            Judged::Liftable(denial, _) => denial,
        };
        Some(self.unconfirmed(denial, (Some(confirmed.call), Unconfirmed::Less)))
    }

    /// The confirmation that the call has, or why it must not be made: which call
    /// asked, and what became of the question.
    fn confirmed(
        &self,
        tx: &Tx<'_>,
        follows: Option<Follows>,
        now: Timestamp,
    ) -> Result<Result<Option<Confirmed>, (CallId, Unconfirmed)>, StoreError> {
        let about = self.about();
        if let Confirming::Answered(asked, said) = self.confirming {
            return Ok(match (confirming::answer(tx, asked, about, now)?, said) {
                (None, _) => Err((asked, Unconfirmed::Over)),
                (Some(shown), Said::Yes) => Ok(Some(Confirmed {
                    call: asked,
                    carried: false,
                    shown,
                })),
                (Some(_), no) => Err((asked, Unconfirmed::Said(no))),
            });
        }
        let before = match follows {
            Some(Follows::Asked(before))
                if self.route.gate.may_confirm()
                    && !matches!(self.confirming, Confirming::Not(Unasked::NotAll)) =>
            {
                before
            }
            Some(Follows::Asked(_) | Follows::Unknown(_)) | None => return Ok(Ok(None)),
        };
        let had = confirming::had(tx, before, about, now)?;
        Ok(Ok(had.map(|shown| Confirmed {
            call: before,
            carried: true,
            shown,
        })))
    }

    /// The no of a call that brings another answer than a yes: it is not made, whatever
    /// policy says to it now.
    fn declined(
        &self,
        facts: &Facts,
        (asked, why): (CallId, Unconfirmed),
        now: Timestamp,
    ) -> Decided {
        let denial = match self.judge(facts, now) {
            Judged::Refused(outcome, mut noted, refusal) => {
                note(&mut noted, detail(why.word(), Some(asked)));
                return Decided::Refused((outcome, noted, refusal));
            }
            Judged::Confirmable(denial, _) | Judged::Liftable(denial, _) => denial,
            Judged::Allowed(_) => Denial {
                code: "not_confirmed".to_owned(),
                reasons: Vec::new(),
                errors: Vec::new(),
                unseen: Vec::new(),
            },
        };
        Decided::Refused(self.unconfirmed(denial, (Some(asked), why)))
    }

    /// Asks the person in front of the client, where that can be done.
    pub(super) fn ask_person(
        &self,
        tx: &Tx<'_>,
        (denial, confirmation): (Denial, Confirmation),
        now: Timestamp,
    ) -> Result<Told, StoreError> {
        let sent = match &self.confirming {
            Confirming::MayAsk(sent) => sent,
            Confirming::Not(why) => {
                let why = Unconfirmed::Unasked(*why);
                return Ok(self.unconfirmed(denial, (None, why)));
            }
            // It has one already, and so is not asked about.
            Confirming::Answered(asked, _) => {
                return Ok(self.unconfirmed(denial, (Some(*asked), Unconfirmed::Over)));
            }
        };
        let patience = self.route.deadline();
        let open = SignedDuration::try_from(patience).map_or(OPEN, |patience| patience.max(OPEN));
        let until = now.saturating_add(open).unwrap_or(now);
        let shown = stands_before(&denial, &confirmation);
        confirming::ask(tx, (self.about(), &shown), (until, now))?;
        let mut noted = denied_detail(&denial);
        note(&mut noted, detail("asked", None));
        let refusal = Box::new(Refusal::Confirm {
            call: self.subject.call,
            question: question::question(&confirmation, &self.subject.tool, sent),
            patience,
        });
        Ok((Outcome::InputRequired, noted, refusal))
    }

    fn unconfirmed(&self, denial: Denial, (asked, why): (Option<CallId>, Unconfirmed)) -> Told {
        let mut noted = denied_detail(&denial);
        note(&mut noted, detail(why.word(), asked));
        let refusal = Refusal::NotConfirmed {
            call: self.subject.call,
            denial,
            why,
        };
        (Outcome::Denied, noted, Box::new(refusal))
    }
}

/// What stands before the person who is asked.
pub(super) fn stands_before(denial: &Denial, confirmation: &Confirmation) -> Shown {
    Shown {
        policies: denial.lifted(&[]),
        asks: confirmation.asks.clone(),
    }
}

/// The member of a record that says what the person said.
const CONFIRMATION: &str = "confirmation";

/// What is recorded of a confirmation.
fn detail(state: &str, asked: Option<CallId>) -> Value {
    match asked {
        Some(call) => json!({ "state": state, "asked": call.to_string() }),
        None => json!({ "state": state }),
    }
}

fn note(noted: &mut Value, confirmation: Value) {
    if let Some(members) = noted.as_object_mut() {
        members.insert(CONFIRMATION.to_owned(), confirmation);
    }
}
