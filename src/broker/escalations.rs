//! Deciding on escalations: who may see one, who may approve or refuse it, and what
//! its caller hears of that.

use super::Catalogue;
use super::Settings;
use super::escalate::renewed;
use super::metered::Weighed;
use super::own;
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
use crate::journal::Subject;
use crate::pins;
use crate::policy::Denial;
use crate::policy::Facts;
use crate::policy::Verdict;
use crate::principal::PrincipalId;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::sessions;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::Digest;
use crate::tool::ToolId;
use crate::visible::hidden;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;

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
    #[error("it is {} already: nothing can be decided any more", .0.as_str())]
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
            Self::More(_) => "escalation_changed",
            Self::Stale(_) => "escalation_stale",
            Self::Reason => "unfit_reason",
            Self::NotRecorded => "not_recorded",
        }
    }
}

/// What a denial says to a person.
pub(super) fn told(denial: &Denial) -> String {
    let messages = denial.reasons.iter().map(|reason| match &reason.message {
        Some(message) => format!("{message} ({})", reason.policy),
        None => reason.policy.clone(),
    });
    let messages: Vec<String> = messages.collect();
    match messages.is_empty() {
        true => denial.code.clone(),
        false => messages.join(" "),
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
        reason.len() <= MAX_REASON && !reason.contains(|c| hidden(c) && c != '\n')
    }
}

impl Ground<'_> {
    /// Whether somebody may know of an escalation: its caller, and whoever has one of
    /// its roles and is let to the list.
    pub fn shows(&self, who: &PrincipalId, escalation: &Escalation, now: Timestamp) -> bool {
        let of_role = || {
            let tool = tool_of(escalation);
            let gate = tool.and_then(|tool| self.catalogue.bundle().gate(&tool));
            gate.is_some_and(|gate| gate.has_role(who, &escalation.roles))
        };
        *who == escalation.principal
            || (of_role() && self.may(who, (Own::Escalations, "{}"), now).is_ok())
    }

    /// Asks policy whether somebody may call one of our own tools with these arguments,
    /// by whichever way they come, in no session.
    fn may(
        &self,
        who: &PrincipalId,
        (own, arguments): (Own, &str),
        now: Timestamp,
    ) -> Result<(), Option<Denial>> {
        let tool = own::id(own).ok_or(None)?;
        let gate = self.catalogue.bundle().gate(&tool).ok_or(None)?;
        let reading = gate.read(arguments).map_err(|_unfit| None)?;
        let facts = Facts {
            session: SessionFacts {
                id: SessionId::from_bytes([0; 16]),
                owner: who.clone(),
                labels: BTreeSet::new(),
                frozen: false,
                paused: false,
            },
            totals: Vec::new(),
            meters: Vec::new(),
            denied_lately: 0,
            approval: None,
            confirmed: false,
        };
        match gate.decide(CallId::next(), who, &reading, &facts, now) {
            Verdict::Allow(_) => Ok(()),
            Verdict::Deny(denial) | Verdict::Escalate(denial, _) | Verdict::Confirm(denial, _) => {
                Err(Some(denial))
            }
        }
    }

    /// The escalations that somebody may know of, the oldest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn list(
        &self,
        tx: &Tx<'_>,
        who: &PrincipalId,
        filter: &Filter,
        now: Timestamp,
    ) -> Result<Vec<Escalation>, StoreError> {
        // How many there are besides is nobody's to know, so the limit comes last.
        let all = Filter {
            newest: None,
            ..filter.clone()
        };
        let mut found = escalations::list(tx, &all)?;
        found.retain(|one| self.shows(who, one, now));
        let most = filter.newest.map_or(usize::MAX, |newest| newest as usize);
        found.drain(..found.len().saturating_sub(most));
        Ok(found)
    }

    /// One of them.
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
        let found = escalations::find(tx, id)?;
        Ok(found.filter(|one| self.shows(who, one, now)))
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
        if let Err(denied) = self.may(by, (Own::Decide, &ruling.arguments(id)), now) {
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
            && let Err(refused) = self.would_pass(tx, escalation, by, now)?
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

    /// Whether the call would pass now with this approval.
    fn would_pass(
        &self,
        tx: &Tx<'_>,
        escalation: &Escalation,
        by: &PrincipalId,
        now: Timestamp,
    ) -> Result<Result<(), DecisionRefusal>, StoreError> {
        let stale = |why| Ok(Err(DecisionRefusal::Stale(why)));
        let gone = "the tool is not there any more";
        let Some(tool) = tool_of(escalation) else {
            return stale(gone);
        };
        let bundle = self.catalogue.bundle();
        let (Some(gate), Some(definition)) = (bundle.gate(&tool), definition(tx, &tool)?) else {
            return stale(gone);
        };
        if definition != escalation.definition {
            return stale("the tool is not what it was when the call was stopped");
        }
        let state = sessions::state(tx, escalation.session)?;
        let Some(state) = state.filter(|state| state.ended.is_none()) else {
            return stale("the session of the call is over");
        };
        let body = escalation.body.as_deref();
        let Some(reading) = body.and_then(|body| gate.read(body).ok()) else {
            return stale("its arguments do not fit the tool any more");
        };
        let subject = Subject {
            call: CallId::next(),
            session: escalation.session,
            principal: escalation.principal.clone(),
            tool: escalation.tool.clone(),
            arguments: escalation.arguments,
            policies: bundle.digest(),
            found: None,
        };
        let weighed = Weighed {
            subject: &subject,
            gate,
            reading: &reading,
        };
        let charges = weighed.charges(tx, self.settings, now)?;
        let Ok(after) = charges.totals_after(tx)? else {
            return stale("its amount does not fit a total");
        };
        let denials = self.settings.denials;
        let denied_lately = denials.read_by(gate, tx, (subject.session, now))?;
        let facts = Facts {
            session: state.facts,
            totals: after.totals,
            meters: after.counts,
            denied_lately,
            approval: None,
            confirmed: false,
        };
        let judge = |facts: &Facts| {
            let principal = &escalation.principal;
            gate.decide(subject.call, principal, &reading, facts, now)
        };
        let without = judge(&facts);
        let left = match judge(&Facts {
            approval: Some(by.clone()),
            ..facts
        }) {
            Verdict::Allow(_) => Vec::new(),
            // That is asked of its caller, when the call is made.
            Verdict::Confirm(left, _) => left.reasons,
            Verdict::Deny(denial) | Verdict::Escalate(denial, _) => {
                return Ok(Err(DecisionRefusal::NotEnough(denial)));
            }
        };
        Ok(match without {
            Verdict::Escalate(mut denial, asked) if !escalation.names(&denial.lifted(&left)) => {
                renewed(tx, escalation, (&denial, &asked), now)?;
                let known = |policy: &String| escalation.names(std::slice::from_ref(policy));
                denial.reasons.retain(|reason| !known(&reason.policy));
                Err(DecisionRefusal::More(denial))
            }
            // Nobody is asked about that when the call is made.
            Verdict::Deny(denial) => Err(DecisionRefusal::NotEnough(denial)),
            Verdict::Allow(_) | Verdict::Escalate(..) | Verdict::Confirm(..) => Ok(()),
        })
    }
}

/// The tool of an escalation.
fn tool_of(escalation: &Escalation) -> Option<ToolId> {
    let (server, name) = escalation.tool.split_once('/')?;
    Some(ToolId {
        server: server.parse().ok()?,
        name: name.into(),
    })
}

/// The digest of a tool's definition as it is pinned.
fn definition(tx: &Tx<'_>, tool: &ToolId) -> Result<Option<Digest>, StoreError> {
    if tool.server.as_str() == own::OWN {
        let mut known = own::definitions().into_iter();
        return Ok(known
            .find(|(_, definition)| definition.id == *tool)
            .map(|(_, definition)| definition.digest));
    }
    if !matches!(tool.asking(), Asking::Tool | Asking::Prompt) {
        // What is asked by a method of its own is described by us.
        let fixed = pins::fixed(&tool.server, tool.asking());
        return Ok(fixed.ok().map(|definition| definition.digest));
    }
    let pins = pins::of_server(tx, &tool.server)?.unwrap_or_default();
    let pin = pins.into_iter().find(|pin| pin.definition.id == *tool);
    Ok(pin.map(|pin| pin.definition.digest))
}

/// An escalation as it is published: the text of an object, with the arguments as they
/// were sent.
pub fn escalation_json(escalation: &Escalation, now: Timestamp) -> String {
    let value = escalation_value(escalation, now).to_string();
    let arguments = escalation.body.as_deref().unwrap_or("null");
    match value.strip_suffix('}') {
        Some(open) => format!(r#"{open},"arguments":{arguments}}}"#),
        None => value,
    }
}

/// The same without the arguments.
pub fn escalation_value(escalation: &Escalation, now: Timestamp) -> Value {
    let stops = escalation
        .stops
        .iter()
        .map(|stop| json!({"policy": stop.policy, "code": stop.code, "message": stop.message}));
    let decision = escalation.decision.as_ref().map(|decision| {
        json!({
            "by": decision.by.to_string(),
            "at": decision.at.to_string(),
            "reason": decision.reason,
        })
    });
    json!({
        "id": escalation.id.to_string(),
        "state": escalation.state_at(now).as_str(),
        "session": escalation.session.to_string(),
        "principal": escalation.principal.to_string(),
        "tool": escalation.tool,
        "call": escalation.call.to_string(),
        "argumentsDigest": escalation.arguments.to_string(),
        "roles": escalation.roles,
        "reasons": stops.collect::<Vec<_>>(),
        "asked": escalation.asked.to_string(),
        "expires": escalation.expires.to_string(),
        "tries": escalation.tries,
        "decision": decision,
        "usedBy": escalation.used_by.map(|call| call.to_string()),
    })
}
