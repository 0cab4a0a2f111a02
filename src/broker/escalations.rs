//! Deciding on escalations: who may see one, who may approve or refuse it, and what
//! its caller hears of that.

mod leave;
mod passing;
mod published;

pub use published::escalation_json;
pub use published::escalation_value;

use super::Catalogue;
use super::Settings;
use super::own::Own;
use super::ruled::Ruled;
use super::ruled::Way;
use super::ruled::Word;
use crate::escalations;
use crate::escalations::Approve;
use crate::escalations::Decision;
use crate::escalations::Escalation;
use crate::escalations::EscalationId;
use crate::escalations::Filter;
use crate::escalations::MAX_REASON;
use crate::escalations::State;
use crate::escalations::Stop;
use crate::policy::Denial;
use crate::principal::PrincipalId;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::visible::unseen;
use jiff::Timestamp;
use serde_json::json;

/// What a decision is made on: the policies in force, how totals are counted, and in
/// whose chain it is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The policies.
    pub catalogue: &'a Catalogue,
    /// How the broker is set.
    pub settings: &'a Settings,
    /// The process that decides.
    pub writer: WriterId,
}

/// Why a decision was not taken. The text is for whoever decides.
#[derive(Debug, thiserror::Error)]
pub enum DecisionRefusal {
    /// There is none of this id, or none that they may know of: the same to them.
    #[error(
        "there is no such escalation for you: `countersign escalation list` names those that there are"
    )]
    Unknown,
    /// Nothing can be decided any more.
    #[error("it is {} already: nothing can be decided any more{}", .0.as_str(), left_to_do(*.0))]
    Over(State),
    /// It is their own.
    #[error("nobody decides on their own call")]
    Own,
    /// Policy does not let them decide so.
    #[error("policy does not let you decide so: {}", told(.0))]
    Denied(Denial),
    /// With their approval policy would not let the call pass.
    #[error("your approval would not let this call pass: {}", told(.0))]
    NotEnough(Denial),
    /// More stops the call than it was asked for: the request says so by now.
    #[error(
        "more stops this call now than when it was asked for: {}. Look at it again, and decide on all of it",
        told(.0)
    )]
    More(Denial),
    /// The same, and nobody knows whether whoever decides has read it since.
    #[error(
        "more stops this call by now than when it was asked for; all that does: {}. Look at it again, and decide on all of it",
        stopping(.0)
    )]
    Grown(Vec<Stop>),
    /// What it was asked for is not so any more.
    #[error("nothing can be approved: {0}")]
    Stale(&'static str),
    /// The reason cannot be kept.
    #[error("a reason has at most {MAX_REASON} bytes, and no characters that cannot be seen")]
    Reason,
    /// The store failed.
    #[error("the decision could not be recorded: try it again in a moment")]
    NotRecorded,
}

impl DecisionRefusal {
    /// The word for it, for programs and the record.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_escalation",
            Self::Over(_) => "escalation_over",
            Self::Own => "own_call",
            Self::Denied(_) => "may_not_decide",
            Self::NotEnough(_) => "approval_not_enough",
            Self::More(_) | Self::Grown(_) => "escalation_changed",
            Self::Stale(_) => "escalation_stale",
            Self::Reason => "unfit_reason",
            Self::NotRecorded => "not_recorded",
        }
    }
}

/// What can still be done about one that is decided on, for a person.
fn left_to_do(state: State) -> &'static str {
    match state {
        State::Approved => {
            ". Until the call is made, whoever asked can withdraw it, and `countersign session freeze` stops their session"
        }
        _ => "",
    }
}

/// What stops a call, for a person.
fn stopping(stops: &[Stop]) -> String {
    let stops = stops.iter();
    let said: Vec<String> = stops
        .map(|stop| said(&stop.policy, &stop.message))
        .collect();
    said.join(" ")
}

/// What a denial says to a person.
pub(super) fn told(denial: &Denial) -> String {
    let reasons = denial.reasons.iter();
    let said: Vec<String> = reasons
        .map(|reason| said(&reason.policy, &reason.message))
        .collect();
    match said.is_empty() {
        true => denial.code.clone(),
        false => said.join(" "),
    }
}

/// What one policy says.
fn said(policy: &str, message: &Option<String>) -> String {
    match message {
        Some(message) => format!("{message} ({policy})"),
        None => policy.to_owned(),
    }
}

/// Somebody's ruling on an escalation.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// Yes or no.
    pub approve: Approve,
    /// Why.
    pub reason: Option<String>,
    /// By which way it comes.
    pub way: Way,
}

impl Ruling {
    /// The same as arguments of our tool, which policy is asked about whatever way it
    /// comes.
    fn arguments(&self, id: EscalationId) -> String {
        let decision = match self.approve {
            Approve::Yes => "approve",
            Approve::No => "refuse",
        };
        let mut arguments = json!({"id": id.to_string(), "decision": decision});
        if let (Some(reason), Some(members)) = (&self.reason, arguments.as_object_mut()) {
            members.insert("reason".to_owned(), json!(reason));
        }
        arguments.to_string()
    }

    fn fits(&self) -> bool {
        let reason = self.reason.as_deref().unwrap_or_default();
        reason.len() <= MAX_REASON && !reason.contains(|c| unseen(c) && c != '\n')
    }
}

impl Ground<'_> {
    /// The escalations that somebody may know of, the oldest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn list(
        &self,
        tx: &Tx<'_>,
        (who, way): (&PrincipalId, &Way),
        filter: &Filter,
        now: Timestamp,
    ) -> Result<Vec<Escalation>, StoreError> {
        // How many there are besides is nobody's to know, so the limit comes last.
        let all = Filter {
            newest: None,
            ..filter.clone()
        };
        let mut found = escalations::list(tx, &all)?;
        let asks = self.asks(tx, who, way)?;
        found.retain(|one| asks.may_know_of(one, now));
        let most = filter.newest.map_or(usize::MAX, |newest| newest as usize);
        found.drain(..found.len().saturating_sub(most));
        Ok(found)
    }

    /// One of them. What the person in front of a client is asked before it reads the
    /// list, they are not asked about one that is named.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn find(
        &self,
        tx: &Tx<'_>,
        who: &PrincipalId,
        id: EscalationId,
        now: Timestamp,
    ) -> Result<Option<Escalation>, StoreError> {
        let asks = self.asks_in_person(who);
        let found = escalations::find(tx, id)?;
        Ok(found.filter(|one| asks.may_know_of(one, now)))
    }

    /// Takes somebody's ruling on an escalation, and records it, as well as one that is
    /// not taken. An approval is taken only where policy, asked now, lets the call pass
    /// with it.
    ///
    /// # Errors
    ///
    /// When the store fails; then nothing was decided.
    pub fn decide(
        &self,
        tx: &Tx<'_>,
        (by, id): (&PrincipalId, EscalationId),
        ruling: &Ruling,
        now: Timestamp,
    ) -> Result<Result<Escalation, DecisionRefusal>, StoreError> {
        let Some(escalation) = self.find(tx, by, id, now)? else {
            return Ok(Err(DecisionRefusal::Unknown));
        };
        let ruled = self.rule(tx, (by, &escalation), ruling, now)?;
        let word = Word::Decided(ruling.approve, &ruled);
        let record = self.ruled(by, &ruling.way);
        record.record(tx, &escalation, word, now)?;
        Ok(ruled)
    }

    fn ruled<'a>(&self, by: &'a PrincipalId, way: &'a Way) -> Ruled<'a> {
        Ruled {
            writer: self.writer,
            by,
            way,
            policies: self.catalogue.bundle().digest(),
        }
    }

    fn rule(
        &self,
        tx: &Tx<'_>,
        (by, escalation): (&PrincipalId, &Escalation),
        ruling: &Ruling,
        now: Timestamp,
    ) -> Result<Result<Escalation, DecisionRefusal>, StoreError> {
        let id = escalation.id;
        if *by == escalation.principal {
            return Ok(Err(DecisionRefusal::Own));
        }
        let asks = self.asks(tx, by, &ruling.way)?;
        if let Err(denied) = asks.may(Own::Decide, &ruling.arguments(id), now) {
            return Ok(Err(match denied {
                Some(denial) => DecisionRefusal::Denied(denial),
                None => DecisionRefusal::Unknown,
            }));
        }
        if escalations::lapsed(tx, escalation, now)? {
            return Ok(Err(DecisionRefusal::Over(State::Expired)));
        }
        match escalation.state {
            State::Pending => {}
            over => return Ok(Err(DecisionRefusal::Over(over))),
        }
        if !ruling.fits() {
            return Ok(Err(DecisionRefusal::Reason));
        }
        if ruling.approve == Approve::Yes
            && let Err(refused) = self.may_approve(tx, escalation, by, now)?
        {
            return Ok(Err(refused));
        }
        let decision = Decision {
            by: by.clone(),
            at: now,
            reason: ruling.reason.clone().filter(|text| !text.trim().is_empty()),
        };
        if !escalations::decide(tx, id, (ruling.approve, &decision))? {
            return Ok(Err(DecisionRefusal::Over(State::Expired)));
        }
        let decided = escalations::find(tx, id)?;
        Ok(decided.ok_or(DecisionRefusal::Unknown))
    }

    /// Takes a request of somebody's own back, and records that.
    ///
    /// # Errors
    ///
    /// When the store fails; then it is as it was.
    pub fn withdraw(
        &self,
        tx: &Tx<'_>,
        (who, id): (&PrincipalId, EscalationId),
        way: &Way,
        now: Timestamp,
    ) -> Result<Result<Escalation, DecisionRefusal>, StoreError> {
        let own = escalations::find(tx, id)?.filter(|one| one.principal == *who);
        let Some(own) = own else {
            return Ok(Err(DecisionRefusal::Unknown));
        };
        let state = own.state_at(now);
        if !state.is_live() || !escalations::withdraw(tx, id, now)? {
            return Ok(Err(DecisionRefusal::Over(state)));
        }
        self.ruled(who, way)
            .record(tx, &own, Word::Withdrawn, now)?;
        let ended = escalations::find(tx, id)?;
        Ok(ended.ok_or(DecisionRefusal::Unknown))
    }
}
