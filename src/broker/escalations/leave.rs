//! What policy lets somebody do with escalations, whichever way they come. What people
//! said to a call of one of our own tools holds for what is asked within it.

use super::Ground;
use crate::broker::confirming::stands_before;
use crate::broker::own;
use crate::broker::own::Own;
use crate::broker::ruled::Way;
use crate::escalations;
use crate::escalations::Escalation;
use crate::escalations::confirming;
use crate::escalations::confirming::Shown;
use crate::policy::Denial;
use crate::policy::Facts;
use crate::policy::Verdict;
use crate::principal::PrincipalId;
use crate::session::NO_SESSION;
use crate::session::SessionFacts;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::Timestamp;

/// What the person in front of the client said yes to.
#[derive(Debug)]
enum Yes {
    /// To whatever they do: they come themselves, and there is no client between.
    InPerson,
    /// To what stood before them, where they were asked.
    To(Option<Shown>),
}

/// Somebody who asks for something.
#[derive(Debug)]
pub(super) struct Asks<'a> {
    ground: Ground<'a>,
    who: &'a PrincipalId,
    yes: Yes,
    /// The approval that their call was made with.
    approved: Option<Escalation>,
}

impl<'a> Ground<'a> {
    /// Somebody who comes this way.
    pub(super) fn asks(
        self,
        tx: &Tx<'_>,
        who: &'a PrincipalId,
        way: &Way,
    ) -> Result<Asks<'a>, StoreError> {
        match way {
            Way::Command(_) | Way::Api(_) => Ok(self.asks_in_person(who)),
            Way::Call(call) => Ok(Asks {
                ground: self,
                who,
                yes: Yes::To(confirming::made_with(tx, *call)?),
                approved: escalations::used_by(tx, *call)?,
            }),
        }
    }

    /// Somebody who is asked nothing, because they come themselves.
    pub(super) fn asks_in_person(self, who: &'a PrincipalId) -> Asks<'a> {
        Asks {
            ground: self,
            who,
            yes: Yes::InPerson,
            approved: None,
        }
    }
}

impl Asks<'_> {
    /// Whether they may know of an escalation: its caller, and whoever has one of its
    /// roles and is let to the list.
    pub(super) fn may_know_of(&self, escalation: &Escalation, now: Timestamp) -> bool {
        let of_role = || {
            // Who has a role follows from no tool. That of the call another broker may
            // have seen first.
            let gate = own::id(Own::Escalations);
            let gate = gate.and_then(|list| self.ground.catalogue.bundle().gate(&list));
            gate.is_some_and(|gate| gate.has_role(self.who, &escalation.roles))
        };
        *self.who == escalation.principal
            || (of_role() && self.may(Own::Escalations, "{}", now).is_ok())
    }

    /// Asks policy whether they may call one of our own tools with these arguments, in
    /// no session.
    pub(super) fn may(
        &self,
        own: Own,
        arguments: &str,
        now: Timestamp,
    ) -> Result<(), Option<Denial>> {
        let tool = own::id(own).ok_or(None)?;
        let gate = self.ground.catalogue.bundle().gate(&tool).ok_or(None)?;
        let reading = gate.read(arguments).map_err(|_unfit| None)?;
        let judge = |facts: &Facts| gate.decide(CallId::next(), self.who, &reading, facts, now);
        let mut facts = self.facts();
        let mut verdict = judge(&facts);
        if let Verdict::Escalate(denial, _) = &verdict
            && let Some(approved) = &self.approved
            && let Some(decision) = &approved.decision
        {
            facts.approval = Some(decision.by.clone());
            let with = judge(&facts);
            let left = match &with {
                Verdict::Confirm(left, _) => &left.reasons[..],
                Verdict::Allow(_) | Verdict::Deny(_) | Verdict::Escalate(..) => &[],
            };
            // No more than their approver was shown.
            if approved.names(&denial.lifted(left)) {
                verdict = with;
            }
        }
        if let Verdict::Confirm(denial, confirmation) = &verdict {
            let covered = match &self.yes {
                Yes::InPerson => true,
                Yes::To(said) => {
                    let asked = stands_before(denial, confirmation);
                    said.as_ref().is_some_and(|said| said.covers(&asked))
                }
            };
            if covered {
                facts.confirmed = true;
                verdict = judge(&facts);
            }
        }
        match verdict {
            Verdict::Allow(_) => Ok(()),
            Verdict::Deny(denial) | Verdict::Escalate(denial, _) | Verdict::Confirm(denial, _) => {
                Err(Some(denial))
            }
        }
    }

    fn facts(&self) -> Facts {
        Facts::only_of(SessionFacts::untouched(NO_SESSION, self.who))
    }
}
