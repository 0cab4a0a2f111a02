//! What an operator should know of policies that are valid: escalations that
//! nobody could lift, and servers that nobody could call.

use super::bundle::Bundle;
use super::gate::Gate;
use super::lifting;
use super::lifting::Heard;
use super::load::Loaded;
use super::schema::BROKER;
use super::verdict::Facts;
use super::verdict::Verdict;
use crate::principal::PrincipalId;
use crate::session::NO_SESSION;
use crate::session::SessionFacts;
use crate::tool::CallId;
use crate::tool::ServerName;
use cedar_policy::EntityUid;
use cedar_policy::PolicySet;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

/// The broker's own tool by which somebody decides.
const DECIDE: &str = "escalation_decide";

/// An approval with all that can be said of one.
const APPROVES: &str = r#"{"id":"esc-4k7m-2qpx-9d3h","decision":"approve","reason":"seen"}"#;

/// A forbid whose `@escalate` helps nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEscalation {
    /// Where it stands, and why nobody could lift it.
    pub told: String,
    /// Its id.
    pub policy: String,
    /// The role that it names.
    pub role: String,
    /// Whether no principal has that role.
    pub has_nobody: bool,
    /// Whether it stands in the policies that were named as shipped, as it is.
    pub is_shipped: bool,
}

/// Why nobody could lift a forbid.
enum Dead {
    Nobody,
    Only(String),
    Unasked,
    OfOthers,
}

impl Dead {
    /// The same in words, with what to do.
    fn why(&self, role: &str) -> String {
        match self {
            Self::Nobody => "which no principal has: declare somebody who has it".to_owned(),
            Self::Only(only) => format!(
                "which only `{only}` has, and nobody else could be stopped by this: nobody lifts their own calls. Give the role to one more of the principals"
            ),
            Self::Unasked => format!(
                "and no approval lifts this forbid, so nobody is ever asked: add `unless {{ context.call has approval && context.call.approval.by in Broker::Role::{role:?} && context.call.approval.by != principal }}`"
            ),
            Self::OfOthers => format!(
                "and this forbid takes the approval of nobody who has it, so nobody is ever asked: write `context.call.approval.by in Broker::Role::{role:?}`, or let `@escalate` name the role whose approval it takes"
            ),
        }
    }
}

impl Bundle {
    /// The forbids whose `@escalate` helps nobody. `shipped` is the text of policies that
    /// nobody here wrote. Asks policy for each principal and tool, so it is for commands,
    /// not for each reload.
    pub fn dead_escalations(&self, shipped: &str) -> Vec<DeadEscalation> {
        // Of rules for servers there is nothing to tell while there is none.
        if self.gates.keys().all(|tool| tool.server.as_str() == BROKER) {
            return Vec::new();
        }
        let mut callers: BTreeMap<&str, BTreeSet<&PrincipalId>> = BTreeMap::new();
        let mut roles: BTreeMap<&str, &str> = BTreeMap::new();
        for gate in self.gates.values() {
            let permitted: Vec<&PrincipalId> = self.permitted(gate).collect();
            for (id, stop) in gate.slice.stops() {
                if let Some(role) = &stop.escalate {
                    roles.insert(id, role);
                    callers.entry(id).or_default().extend(&permitted);
                }
            }
        }
        let shipped = PolicySet::from_str(shipped).unwrap_or_default();
        let stopping = self.loaded.iter().filter_map(|loaded| {
            let role = roles.get(loaded.id.as_str())?;
            let callers = callers.get(loaded.id.as_str())?;
            let dead = self.nobody_lifts(loaded, role, callers)?;
            let why = dead.why(role);
            let what =
                format!("`@escalate` names the role `{role}`, {why}, or leave `@escalate` out");
            let own = loaded.policy.to_json().ok();
            let mut shipped = shipped.policies();
            Some(DeadEscalation {
                told: loaded.problem(what),
                policy: loaded.id.clone(),
                role: (*role).to_owned(),
                has_nobody: matches!(dead, Dead::Nobody),
                is_shipped: shipped.any(|one| one.to_json().ok() == own),
            })
        });
        stopping.collect()
    }

    /// The forbids on deciding that stop whoever could lift them too. A call that they
    /// stop is asked for, and nobody can decide on that.
    pub fn circular_escalations(&self, now: Timestamp) -> Vec<String> {
        let mut gates = self.gates.values();
        let is_deciding = |gate: &&Arc<Gate>| {
            let tool = &gate.tool;
            tool.server.as_str() == BROKER && &*tool.name == DECIDE
        };
        let Some(gate) = gates.find(is_deciding) else {
            return Vec::new();
        };
        let stops = gate.slice.stops();
        let circular = stops.filter_map(|(id, stop)| {
            let role = stop.escalate.as_deref()?;
            let holders = self.holders(role);
            let mut holders = holders
                .into_iter()
                .filter(|(_, user)| gate.slice.could_permit(&self.world, user))
                .peekable();
            holders.peek()?;
            holders
                .all(|(who, _)| stops_deciding(gate, id, who, now))
                .then_some((id, role))
        });
        let told = circular.filter_map(|(id, role)| {
            let loaded = self.loaded.iter().find(|loaded| loaded.id == id)?;
            Some(loaded.problem(format_args!(
                "whoever has the role `{role}` is stopped by this too when they decide on the request that its `@escalate` makes, and who decides by a key is asked for no approval: so nobody lifts it. Leave them out of it, as in `unless {{ principal in Broker::Role::{role:?} }}`, or leave `@escalate` out"
            )))
        });
        told.collect()
    }

    /// Who has a role.
    fn holders(&self, role: &str) -> Vec<(&PrincipalId, &EntityUid)> {
        let role = self.world.types.role(role);
        let users = self.world.users.iter();
        let holders = users.filter(|(_, user)| self.world.entities.is_ancestor_of(&role, user));
        holders.collect()
    }

    /// The servers with tools of which no permit could ever cover one, whatever
    /// forbids it.
    pub fn uncovered(&self) -> BTreeSet<ServerName> {
        let servers = |covered: bool| {
            let gates = self.gates.values();
            let gates = gates.filter(|gate| self.permitted(gate).next().is_some() == covered);
            let servers = gates.map(|gate| gate.tool.server.clone());
            servers.collect::<BTreeSet<_>>()
        };
        &servers(false) - &servers(true)
    }

    /// Who could ever be permitted to call a tool, whatever forbids it.
    fn permitted<'a>(&'a self, gate: &'a Arc<Gate>) -> impl Iterator<Item = &'a PrincipalId> {
        let users = self.world.users.iter();
        users
            .filter(|(_, user)| gate.slice.could_permit(&self.world, user))
            .map(|(id, _)| id)
    }

    /// Why no approval could ever be had for the calls of these; none where one
    /// could, or where nobody calls.
    fn nobody_lifts(
        &self,
        forbid: &Loaded,
        role: &str,
        callers: &BTreeSet<&PrincipalId>,
    ) -> Option<Dead> {
        let holders = self.holders(role).into_iter();
        let (holders, users): (Vec<&PrincipalId>, Vec<&EntityUid>) = holders.unzip();
        let mut callers = callers.iter().peekable();
        callers.peek()?;
        match holders[..] {
            [] => Some(Dead::Nobody),
            [only] if callers.all(|caller| *caller == only) => Some(Dead::Only(only.to_string())),
            _ => match lifting::heard(&forbid.policy, &self.world, &users) {
                Heard::Never => Some(Dead::Unasked),
                Heard::OfNobody => Some(Dead::OfOthers),
                Heard::Perhaps => None,
            },
        }
    }
}

/// Whether this forbid stops somebody who comes with a key and approves.
fn stops_deciding(gate: &Gate, policy: &str, who: &PrincipalId, now: Timestamp) -> bool {
    let Ok(reading) = gate.read(APPROVES) else {
        return false;
    };
    let facts = Facts {
        confirmed: true,
        ..Facts::only_of(SessionFacts::untouched(NO_SESSION, who))
    };
    match gate.decide(CallId::next(), who, &reading, &facts, now) {
        Verdict::Allow(_) => false,
        Verdict::Deny(denial) | Verdict::Escalate(denial, _) | Verdict::Confirm(denial, _) => {
            denial.reasons.iter().any(|reason| reason.policy == policy)
        }
    }
}
