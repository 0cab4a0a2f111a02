//! The policies that can match one action on one resource, and Cedar's answer
//! from them.
//!
//! Cedar skips a policy that fails to evaluate, so a forbid that fails would
//! let the call through. Here any failure is part of the answer, and denies.

use super::annotations::Stop;
use super::entities::Types;
use super::load::Loaded;
use super::message::Known;
use super::message::Message;
use super::reads::Reads;
use super::verdict::Confirmation;
use super::verdict::Denial;
use super::verdict::Reason;
use crate::principal::PrincipalId;
use cedar_policy::ActionConstraint;
use cedar_policy::Authorizer;
use cedar_policy::Context;
use cedar_policy::Decision;
use cedar_policy::Effect;
use cedar_policy::Entities;
use cedar_policy::EntityUid;
use cedar_policy::PartialEntities;
use cedar_policy::PartialEntityUid;
use cedar_policy::PartialRequest;
use cedar_policy::Policy;
use cedar_policy::PolicyId;
use cedar_policy::PolicySet;
use cedar_policy::Request;
use cedar_policy::ResourceConstraint;
use cedar_policy::Schema;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// The built-in forbid of tools that changed.
const UNPINNED: &str = "countersign.unpinned-tool";

/// What is the same for all slices of a bundle.
#[derive(Debug)]
pub(super) struct World {
    pub(super) authorizer: Authorizer,
    pub(super) types: Types,
    pub(super) schema: Schema,
    pub(super) entities: Entities,
    /// The same entities, for decisions without a context.
    pub(super) partial: PartialEntities,
    /// Every principal as an entity.
    pub(super) users: BTreeMap<PrincipalId, EntityUid>,
    /// The role that each was given.
    pub(super) roles: BTreeMap<PrincipalId, String>,
    /// Those for whom the operator named the agent software that acts for them.
    pub(super) with_agents: BTreeSet<PrincipalId>,
    /// The limits of each, by the name that policies know them by.
    pub(super) limits: BTreeMap<PrincipalId, BTreeMap<String, i64>>,
    /// How many decimals money has.
    pub(super) money_scale: u8,
}

/// One action on one resource.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) action: EntityUid,
    pub(super) resource: EntityUid,
}

/// The policies that can match one target.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) target: Target,
    pub(super) policies: PolicySet,
    permits: PolicySet,
    /// What each forbid says.
    stops: BTreeMap<String, Stop>,
    /// Forbids that could match and could not be loaded: the target is closed
    /// until they can.
    withheld: Vec<String>,
    pub(super) reads: Reads,
}

/// Cedar's answer, in a fixed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) decision: Decision,
    /// Ids of the determining policies, sorted.
    pub(super) determining: Vec<String>,
    /// Ids of the policies that failed, sorted.
    pub(super) errors: Vec<String>,
}

impl Slice {
    /// Takes from all policies those that can match.
    pub(super) fn cut(
        world: &World,
        target: Target,
        all: &[(Loaded, Option<Stop>)],
        quarantined: &[Loaded],
    ) -> Result<Self, String> {
        let mut slice = Self {
            policies: PolicySet::new(),
            permits: PolicySet::new(),
            stops: BTreeMap::new(),
            withheld: Vec::new(),
            reads: Reads::default(),
            target,
        };
        for (loaded, stop) in all {
            let policy = &loaded.policy;
            if !slice.target.can_match(policy, &world.entities) {
                continue;
            }
            slice.reads.add(policy);
            if policy.effect() == Effect::Permit {
                slice
                    .permits
                    .add(policy.clone())
                    .map_err(|e| e.to_string())?;
            }
            slice
                .policies
                .add(policy.clone())
                .map_err(|e| e.to_string())?;
            if let Some(stop) = stop {
                slice.stops.insert(loaded.id.clone(), stop.clone());
            }
        }
        for loaded in quarantined {
            let stops = loaded.policy.effect() == Effect::Forbid;
            if stops && slice.target.can_match(&loaded.policy, &world.entities) {
                slice.withheld.push(loaded.id.clone());
            }
        }
        Ok(slice)
    }

    /// Asks the policies of this slice.
    pub(super) fn ask(&self, world: &World, user: &EntityUid, context: Context) -> Answer {
        self.ask_of(&self.policies, world, user, context)
    }

    /// Asks whether any permit matches, whatever forbids it.
    pub(super) fn permits(&self, world: &World, user: &EntityUid, context: Context) -> Answer {
        self.ask_of(&self.permits, world, user, context)
    }

    /// What the forbid of this id says.
    pub(super) fn stop(&self, id: &str) -> Option<&Stop> {
        self.stops.get(id)
    }

    /// What the forbids of this slice say, to models and to people: by id and
    /// annotation.
    pub(super) fn messages(&self) -> impl Iterator<Item = ((&str, &'static str), &Message)> {
        self.stops.iter().flat_map(|(id, stop)| {
            let said = [("message", &stop.message), ("confirm", &stop.confirm)];
            let said = said.into_iter();
            said.filter_map(|(annotation, said)| Some(((id.as_str(), annotation), said.as_ref()?)))
        })
    }

    /// What the person in front of the client is asked, where each forbid that is
    /// this answer asks that.
    pub(super) fn confirmation(&self, answer: &Answer, known: &Known<'_>) -> Option<Confirmation> {
        if answer.decision == Decision::Allow || !answer.errors.is_empty() {
            return None;
        }
        let mut asks = Vec::new();
        for id in &answer.determining {
            let asked = self.stop(id)?.confirm.as_ref()?.filled(known);
            if !asks.contains(&asked) {
                asks.push(asked);
            }
        }
        (!asks.is_empty()).then_some(Confirmation { asks })
    }

    /// The denial that these answers are.
    pub(super) fn denial(&self, answer: &Answer, known: &Known<'_>) -> Denial {
        let forbids: &[String] = match answer.decision {
            Decision::Deny => &answer.determining,
            Decision::Allow => &[],
        };
        let reasons: Vec<Reason> = forbids
            .iter()
            .map(|id| Reason {
                policy: id.clone(),
                code: self
                    .stop(id)
                    .map_or_else(|| id.clone(), |stop| stop.code.clone()),
                message: self
                    .stop(id)
                    .and_then(|stop| stop.message.as_ref())
                    .map(|message| message.filled(known)),
            })
            .collect();
        let code = match (answer.errors.is_empty(), reasons.first()) {
            (false, _) => "policy_error".to_owned(),
            (true, Some(first)) => first.code.clone(),
            (true, None) => "not_permitted".to_owned(),
        };
        Denial {
            code,
            reasons,
            errors: answer.errors.clone(),
            unseen: Vec::new(),
        }
    }

    /// The forbids of this slice, by id.
    pub(super) fn stops(&self) -> impl Iterator<Item = (&str, &Stop)> {
        self.stops.iter().map(|(id, stop)| (id.as_str(), stop))
    }

    /// Whether a permit could ever match for this user, whatever forbids it.
    pub(super) fn could_permit(&self, world: &World, user: &EntityUid) -> bool {
        self.is_possible_of(&self.permits, world, user)
    }

    /// Whether this user could ever be allowed, whatever the context.
    /// Fails closed: what cannot be decided is not possible.
    pub(super) fn is_possible(&self, world: &World, user: &EntityUid) -> bool {
        self.is_possible_by(&self.policies, world, user)
    }

    /// The same, were the tool still what was reviewed.
    pub(super) fn was_possible(&self, world: &World, user: &EntityUid) -> bool {
        let mut policies = self.policies.clone();
        let id = PolicyId::new(UNPINNED);
        policies.remove_static(id).is_ok() && self.is_possible_by(&policies, world, user)
    }

    fn is_possible_by(&self, policies: &PolicySet, world: &World, user: &EntityUid) -> bool {
        self.withheld.is_empty() && self.is_possible_of(policies, world, user)
    }

    fn is_possible_of(&self, policies: &PolicySet, world: &World, user: &EntityUid) -> bool {
        let Some(request) = self.without_context(world, user) else {
            return false;
        };
        match policies.tpe(&request, &world.partial, &world.schema) {
            Ok(response) => {
                let failed = response.error_permits().next().is_some()
                    || response.error_forbids().next().is_some();
                !failed && response.decision() != Some(Decision::Deny)
            }
            Err(_) => false,
        }
    }

    /// The forbids that stop this user whatever the context.
    pub(super) fn closing(&self, world: &World, user: &EntityUid) -> Vec<String> {
        let mut closing = self.withheld.clone();
        if let Some(request) = self.without_context(world, user)
            && let Ok(response) = self.policies.tpe(&request, &world.partial, &world.schema)
        {
            let stops = response.true_forbids().chain(response.error_forbids());
            closing.extend(stops.map(name_of));
        }
        closing
    }

    fn without_context(&self, world: &World, user: &EntityUid) -> Option<PartialRequest> {
        let request = PartialRequest::new(
            PartialEntityUid::from_concrete(user.clone()),
            self.target.action.clone(),
            PartialEntityUid::from_concrete(self.target.resource.clone()),
            None,
            &world.schema,
        );
        request.ok()
    }

    /// Every policy and all of the context, for tests to compare with.
    #[cfg(test)]
    pub(super) fn uncut(target: Target, all: &[Loaded]) -> Self {
        Self {
            policies: PolicySet::from_policies(all.iter().map(|loaded| loaded.policy.clone()))
                .unwrap(),
            permits: PolicySet::new(),
            stops: BTreeMap::new(),
            withheld: Vec::new(),
            reads: Reads::everything(),
            target,
        }
    }

    /// The same slice without one of its policies: a mistake that tests must
    /// notice.
    #[cfg(test)]
    pub(super) fn without(&self, id: &str) -> Self {
        let mut mutilated = self.clone();
        let id = PolicyId::new(id);
        mutilated.policies.remove_static(id).unwrap();
        mutilated
    }

    fn ask_of(
        &self,
        policies: &PolicySet,
        world: &World,
        user: &EntityUid,
        context: Context,
    ) -> Answer {
        if !self.withheld.is_empty() {
            return Answer::failed(self.withheld.clone());
        }
        let Target { action, resource } = self.target.clone();
        // No schema: the reader guarantees the types of the context, and the
        // entities were checked when they were built.
        let Ok(request) = Request::new(user.clone(), action, resource, context, None) else {
            return Answer::failed(vec!["countersign.request".to_owned()]);
        };
        let response = world
            .authorizer
            .is_authorized(&request, policies, &world.entities);
        let diagnostics = response.diagnostics();
        let mut determining: Vec<String> = diagnostics.reason().map(name_of).collect();
        let mut errors: Vec<String> = diagnostics
            .errors()
            .map(|error| match error {
                cedar_policy::AuthorizationError::PolicyEvaluationError(error) => {
                    name_of(error.policy_id())
                }
            })
            .collect();
        determining.sort();
        errors.sort();
        Answer {
            decision: response.decision(),
            determining,
            errors,
        }
    }
}

impl Answer {
    /// An answer that denies because something failed.
    pub(super) fn failed(errors: Vec<String>) -> Self {
        Self {
            decision: Decision::Deny,
            determining: Vec::new(),
            errors,
        }
    }

    /// Whether the call may be sent.
    pub(super) fn allows(&self) -> bool {
        self.decision == Decision::Allow && self.errors.is_empty()
    }
}

fn name_of(id: &PolicyId) -> String {
    AsRef::<str>::as_ref(id).to_owned()
}

impl Target {
    /// Whether a policy's action and resource let it match. Its principal is
    /// not looked at: one slice serves all.
    pub(super) fn can_match(&self, policy: &Policy, entities: &Entities) -> bool {
        let is_in = |what: &EntityUid, group: &EntityUid| {
            what == group || entities.is_ancestor_of(group, what)
        };
        self.is_action_of(policy, entities)
            && match policy.resource_constraint() {
                ResourceConstraint::Any => true,
                ResourceConstraint::Eq(resource) => resource == self.resource,
                ResourceConstraint::In(group) => is_in(&self.resource, &group),
                ResourceConstraint::Is(kind) => kind == *self.resource.type_name(),
                ResourceConstraint::IsIn(kind, group) => {
                    kind == *self.resource.type_name() && is_in(&self.resource, &group)
                }
            }
    }
    /// Whether a policy's action lets it match.
    pub(super) fn is_action_of(&self, policy: &Policy, entities: &Entities) -> bool {
        match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(action) => action == self.action,
            ActionConstraint::In(groups) => groups
                .iter()
                .any(|group| self.action == *group || entities.is_ancestor_of(group, &self.action)),
        }
    }
}
