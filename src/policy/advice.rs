//! What an operator should know of policies that are valid: escalations that
//! nobody could lift, and servers that nobody could call.

use super::bundle::Bundle;
use super::gate::Gate;
use super::schema::BROKER;
use crate::principal::PrincipalId;
use crate::tool::ServerName;
use cedar_policy::PolicySet;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

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
            let dead = self.nobody_lifts(role, callers)?;
            let why = match &dead {
                Dead::Nobody => "which no principal has: declare somebody who has it".to_owned(),
                Dead::Only(only) => format!(
                    "which only `{only}` has, and nobody else could be stopped by this: nobody lifts their own calls. Give the role to one more of the principals"
                ),
            };
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
    fn nobody_lifts(&self, role: &str, callers: &BTreeSet<&PrincipalId>) -> Option<Dead> {
        let role = self.world.types.role(role);
        let users = self.world.users.iter();
        let holders = users.filter(|(_, user)| self.world.entities.is_ancestor_of(&role, user));
        let holders: Vec<&PrincipalId> = holders.map(|(id, _)| id).collect();
        let mut callers = callers.iter().peekable();
        callers.peek()?;
        match holders[..] {
            [] => Some(Dead::Nobody),
            [only] if callers.all(|caller| *caller == only) => Some(Dead::Only(only.to_string())),
            _ => None,
        }
    }
}
