//! What forbids close altogether, though a permit opens it.

use super::bundle::Bundle;
use super::bundle::PolicySummary;
use super::gate::Gate;
use super::load;
use super::schema::BROKER;
use crate::principal::PrincipalId;
use crate::tool::ServerName;
use cedar_policy::ActionConstraint;
use cedar_policy::Effect;
use cedar_policy::EntityUid;
use cedar_policy::PrincipalConstraint;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Bundle {
    /// The forbids that stop a principal at every tool of a server that a permit would
    /// let them call, whatever the arguments and the session are. None where something
    /// can be called, and where nothing is permitted.
    pub fn stopped(&self, principal: &PrincipalId) -> Vec<PolicySummary> {
        let user = self.world.users.get(principal);
        let closed = user.and_then(|user| self.closed_to(self.of_servers(), &[user]));
        self.summaries(&closed.unwrap_or_default())
    }

    /// The servers of which nobody can call anything that a permit would let them call,
    /// and the forbids that do this.
    pub fn closed(&self) -> BTreeMap<ServerName, Vec<PolicySummary>> {
        let users: Vec<&EntityUid> = self.world.users.values().collect();
        let servers: BTreeSet<&ServerName> =
            self.of_servers().map(|gate| &gate.tool.server).collect();
        let closed = servers.into_iter().filter_map(|server| {
            let gates = self.of_servers();
            let gates = gates.filter(|gate| gate.tool.server == *server);
            let closing = self.closed_to(gates, &users)?;
            // Tools that changed are told of as such.
            let is_own = closing.iter().all(|id| load::is_own(id));
            (!is_own).then(|| (server.clone(), self.summaries(&closing)))
        });
        closed.collect()
    }

    /// Whether a policy permits what is declared as reading, to others than one.
    pub fn permits_reading(&self, id: &str) -> bool {
        let read = self.world.types.action("read");
        let mut loaded = self.loaded.iter();
        loaded.any(|loaded| {
            let policy = &loaded.policy;
            let of_one = matches!(policy.principal_constraint(), PrincipalConstraint::Eq(_));
            let reads = match policy.action_constraint() {
                ActionConstraint::In(actions) => actions.contains(&read),
                ActionConstraint::Any | ActionConstraint::Eq(_) => false,
            };
            loaded.id == id && policy.effect() == Effect::Permit && reads && !of_one
        })
    }

    fn of_servers(&self) -> impl Iterator<Item = &Arc<Gate>> {
        let gates = self.gates.values();
        gates.filter(|gate| gate.tool.server.as_str() != BROKER)
    }

    /// The forbids that stop all of these people at all that is permitted to them here;
    /// none where one of them could call something, and where nothing is permitted.
    fn closed_to<'a>(
        &self,
        gates: impl Iterator<Item = &'a Arc<Gate>>,
        users: &[&EntityUid],
    ) -> Option<BTreeSet<String>> {
        let mut closing = BTreeSet::new();
        for gate in gates {
            for user in users {
                if gate.slice.is_possible(&self.world, user) {
                    return None;
                }
                if gate.slice.could_permit(&self.world, user) {
                    closing.extend(gate.slice.closing(&self.world, user));
                }
            }
        }
        (!closing.is_empty()).then_some(closing)
    }

    fn summaries(&self, ids: &BTreeSet<String>) -> Vec<PolicySummary> {
        let policies = self.policies();
        policies.filter(|policy| ids.contains(&policy.id)).collect()
    }
}
