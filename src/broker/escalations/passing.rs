//! Whether a call would pass with an approval, before that is taken.

use super::DecisionRefusal;
use super::Ground;
use crate::broker::escalate::renewed;
use crate::broker::metered::Weighed;
use crate::broker::own;
use crate::escalations;
use crate::escalations::Escalation;
use crate::journal::Subject;
use crate::pins;
use crate::policy::Facts;
use crate::policy::Verdict;
use crate::principal::PrincipalId;
use crate::sessions;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::Digest;
use crate::tool::ToolId;
use jiff::Timestamp;

/// What another broker pinned, this one takes in within ten seconds.
const NOT_YET: &str = "the tool is not known here yet, because another broker saw it first: try again in a few seconds, and if that goes on look whether its server is in this configuration";

impl Ground<'_> {
    /// Whether somebody may approve it now: the call would pass with that, and they were
    /// shown all that it would lift. Where they were not, they are by this answer.
    pub(super) fn may_approve(
        &self,
        tx: &Tx<'_>,
        escalation: &Escalation,
        by: &PrincipalId,
        now: Timestamp,
    ) -> Result<Result<(), DecisionRefusal>, StoreError> {
        let id = escalation.id;
        let was_shown = escalations::was_shown(tx, id, by)?;
        let refused = match self.would_pass(tx, escalation, by, now)? {
            Ok(()) if was_shown => return Ok(Ok(())),
            Err(DecisionRefusal::More(denial)) if was_shown => DecisionRefusal::More(denial),
            Ok(()) | Err(DecisionRefusal::More(_)) => {
                let says = escalations::find(tx, id)?;
                DecisionRefusal::Grown(says.map(|says| says.stops).unwrap_or_default())
            }
            refused => return Ok(refused),
        };
        escalations::shown(tx, id, by)?;
        Ok(Err(refused))
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
        let Some(definition) = definition(tx, &tool)? else {
            return stale(gone);
        };
        let Some(gate) = bundle.gate(&tool) else {
            return stale(NOT_YET);
        };
        if definition != escalation.definition {
            return stale("the tool is not what it was when the call was stopped");
        }
        let state = sessions::state(tx, escalation.session)?;
        let Some(mut state) = state.filter(|state| state.ended.is_none()) else {
            return stale("the session of the call is over");
        };
        let caller = &escalation.principal;
        sessions::as_called_in(tx, &mut state.facts, caller, now)?;
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
        let judge = |facts: &Facts| gate.decide(subject.call, caller, &reading, facts, now);
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
