//! What policy is asked about, and what it answers.

use crate::principal::PrincipalId;
use crate::session::SessionFacts;
use crate::tool::CallId;
use jiff::SignedDuration;

/// What is true at the moment of a call besides its arguments. The broker reads
/// it in the transaction that also records the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The session the call runs in.
    pub session: SessionFacts,
    /// One for each metered argument of the tool, in the order of
    /// `Reading::amounts`.
    pub totals: Vec<Totals>,
    /// The total of each declared meter that counts the tool, in the order of
    /// `Reading::counts`, this call and all calls in flight included.
    pub meters: Vec<i64>,
    /// How many calls of the session were denied lately; 0 where no policy of the tool
    /// [reads](crate::policy::Gate::reads_denials) it.
    pub denied_lately: u32,
    /// Whose unused approval fits exactly this call.
    pub approval: Option<PrincipalId>,
    /// Whether the person in front of the client was asked about exactly this call, and
    /// said yes.
    pub confirmed: bool,
}

impl Facts {
    /// Where nothing is known but the session: nothing was counted, denied, approved or
    /// confirmed.
    pub fn only_of(session: SessionFacts) -> Self {
        Self {
            session,
            totals: Vec::new(),
            meters: Vec::new(),
            denied_lately: 0,
            approval: None,
            confirmed: false,
        }
    }
}

/// Totals of one metered argument, in its units (cents for money), this call
/// and all calls in flight included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Of the session.
    pub session_after: i64,
    /// Of the principal's calendar day.
    pub day_after: i64,
}

/// Policy's answer to one call.
#[derive(Debug)]
pub enum Verdict {
    /// The call may be sent.
    Allow(Allowed),
    /// It may not, and nobody can lift that.
    Deny(Denial),
    /// It may not, and one of these roles can lift that for exactly this call.
    Escalate(Denial, Escalation),
    /// It may not, and would if the person in front of the client says yes to exactly
    /// this call.
    Confirm(Denial, Confirmation),
}

/// Proof that policy allowed one call. Only this room makes it, and a
/// permit cannot be had without it.
#[derive(Debug)]
pub struct Allowed {
    call: CallId,
    policies: Vec<String>,
}

impl Allowed {
    /// INVARIANT: called where Cedar answered Allow without any error, and
    /// nowhere else.
    pub(super) fn new(call: CallId, policies: Vec<String>) -> Self {
        Self { call, policies }
    }

    /// Which call was allowed.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// The ids of the permits that allowed it, sorted.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }
}

/// Why a call was not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Stable machine code: the `@reason` of the first reason, `not_permitted`
    /// where no permit matched, `policy_error` where a policy failed.
    pub code: String,
    /// Every forbid that stopped the call, sorted by policy id. Empty where
    /// nothing permitted it.
    pub reasons: Vec<Reason>,
    /// Ids of policies that failed to evaluate, sorted. Any of these denies.
    pub errors: Vec<String>,
    /// The arguments of the call that policy cannot see, where one of the reasons asks
    /// for them.
    pub unseen: Vec<Unseen>,
}

/// The built-in forbid of calls in a session that waits.
const PAUSED: &str = "countersign.paused";

/// The built-in forbid of calls in a session that was stopped.
const FROZEN: &str = "countersign.frozen";

impl Denial {
    /// The policies that stop the call now, and are not among what is left of them once
    /// somebody said yes.
    pub fn lifted(&self, left: &[Reason]) -> Vec<String> {
        let is_left = |policy: &str| left.iter().any(|reason| reason.policy == policy);
        let policies = self.reasons.iter().map(|reason| &*reason.policy);
        policies
            .filter(|policy| !is_left(policy))
            .map(str::to_owned)
            .collect()
    }

    /// Whether the session of the call was stopped, whatever else stops the call.
    pub fn is_freeze(&self) -> bool {
        let mut reasons = self.reasons.iter();
        reasons.any(|reason| reason.policy == FROZEN)
    }

    /// Whether nothing but that its session waits stopped the call.
    pub fn is_pause(&self) -> bool {
        self.errors.is_empty()
            && !self.reasons.is_empty()
            && self.reasons.iter().all(|reason| reason.policy == PAUSED)
    }
}

/// An argument that is there and that policy cannot see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// Its place, `line_items[].note`; the client may have made it up.
    pub argument: String,
    /// Why policy cannot see it.
    pub why: String,
}

/// One forbid that stopped a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The policy's id.
    pub policy: String,
    /// Its `@reason`, or its id where it has none.
    pub code: String,
    /// Its `@message`, written by the operator for the model.
    pub message: Option<String>,
}

/// What the person in front of the client is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The `@confirm` of each forbid that stopped the call, in the operator's words, by
    /// policy id; each once.
    pub asks: Vec<String>,
}

/// Who can lift a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// Roles of which one member's approval suffices, sorted.
    pub roles: Vec<String>,
    /// How long the request stays open, the shortest of the policies'.
    pub expires: SignedDuration,
}
