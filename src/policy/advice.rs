//! What an operator should know of policies that are valid: escalations that
//! nobody could lift, and servers that nobody could call.

use super::bundle::Bundle;
use super::gate::Gate;
use super::schema::BROKER;
use crate::principal::PrincipalId;
use crate::tool::ServerName;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Bundle {
    /// The forbids whose `@escalate` helps nobody, one line each. Asks policy for
    /// each principal and tool, so it is for commands, not for each reload.
    pub fn dead_escalations(&self) -> Vec<String> {
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
        let stopping = self.loaded.iter().filter_map(|loaded| {
            let role = roles.get(loaded.id.as_str())?;
            let callers = callers.get(loaded.id.as_str())?;
            let why = self.nobody_lifts(role, callers)?;
            let what =
                format!("`@escalate` names the role `{role}`, {why}, or leave `@escalate` out");
            Some(loaded.problem(what))
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
    fn nobody_lifts(&self, role: &str, callers: &BTreeSet<&PrincipalId>) -> Option<String> {
        let role = self.world.types.role(role);
        let users = self.world.users.iter();
        let holders = users.filter(|(_, user)| self.world.entities.is_ancestor_of(&role, user));
        let holders: Vec<&PrincipalId> = holders.map(|(id, _)| id).collect();
        let mut callers = callers.iter().peekable();
        callers.peek()?;
        match holders[..] {
            [] => Some("which no principal has: declare somebody who has it".to_owned()),
            [only] if callers.all(|caller| *caller == only) => Some(format!(
                "which only `{only}` has, and nobody else could be stopped by this: nobody lifts their own calls. Give the role to one more of the principals"
            )),
            _ => None,
        }
    }
}
