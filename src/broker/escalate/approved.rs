//! Calls that an approval was given for: what becomes of them with it, and requests whose
//! call is stopped by more than they say.

use super::Decided;
use super::Grant;
use super::Liftable;
use super::allowed_with;
use super::stops_of;
use crate::broker::admit::Candidate;
use crate::broker::admit::Judged;
use crate::broker::earlier::Follows;
use crate::escalations;
use crate::escalations::Decision;
use crate::policy::Denial;
use crate::policy::Escalation;
use crate::policy::Facts;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;

const LAPSED_POLICY: &str = "with this approval policy does not allow the call any more";
const LAPSED_MORE: &str = "more stops the call now than what was approved";

impl Candidate {
    /// What becomes of a call that was approved, by what policy says to it with that; or
    /// why the approval does not fit any more.
    pub(super) fn approved(
        &self,
        tx: &Tx<'_>,
        (standing, decision): (&escalations::Escalation, Decision),
        (judged, stopped): (Judged, &Liftable<'_>),
        now: Timestamp,
    ) -> Result<Result<Decided, &'static str>, StoreError> {
        let lifts = stopped.denial.lifted(judged.left());
        Ok(match judged {
            Judged::Refused(outcome, detail, refusal) => {
                Ok(Decided::Refused((outcome, detail, refusal)))
            }
            Judged::Liftable(..) => Err(LAPSED_POLICY),
            _ if !standing.names(&lifts) => Err(LAPSED_MORE),
            Judged::Confirmable(denial, confirmation) => {
                let asked = self.ask_person(tx, (denial, confirmation), now)?;
                Ok(Decided::Refused(asked))
            }
            Judged::Allowed(allowed) => {
                let grant = Grant::fresh(standing.id, decision, lifts);
                Ok(allowed_with(allowed, Some(grant)))
            }
        })
    }

    /// A round of the same call goes on with the approval of the one before. A call that
    /// is made again because nobody saw how it ended does not: it would be sent twice.
    pub(super) fn carried(
        &self,
        tx: &Tx<'_>,
        (facts, denial): (&mut Facts, &Denial),
        follows: Option<Follows>,
        now: Timestamp,
    ) -> Result<Option<Decided>, StoreError> {
        if let Some(Follows::Asked(earlier)) = follows
            && let Some(used) = escalations::used_by(tx, earlier)?
            && used.expires > now
            && used.definition == self.route.definition
            && let Some(decision) = used.decision.clone()
        {
            facts.approval = Some(decision.by.clone());
            let lifts = denial.lifted(&[]);
            if used.names(&lifts)
                && let Judged::Allowed(allowed) = self.judge(facts, now)
            {
                let grant = Grant {
                    carried: Some(earlier),
                    ..Grant::fresh(used.id, decision, lifts)
                };
                return Ok(Some(allowed_with(allowed, Some(grant))));
            }
        }
        Ok(None)
    }
}

/// Has a request that waits say all that stops its call now, where that is more than it
/// says: who decides must be shown it. Returns until when it waits.
///
/// # Errors
///
/// When it cannot be written.
pub(in crate::broker) fn renewed(
    tx: &Tx<'_>,
    waits: &escalations::Escalation,
    (denial, escalation): (&Denial, &Escalation),
    now: Timestamp,
) -> Result<Timestamp, StoreError> {
    if waits.names(&denial.lifted(&[])) {
        return Ok(waits.expires);
    }
    let until = now.saturating_add(escalation.expires).unwrap_or(now);
    let until = until.min(waits.expires);
    let (stops, roles) = (stops_of(denial), &escalation.roles);
    escalations::renew(tx, waits.id, (&stops, roles), until)?;
    Ok(until)
}
