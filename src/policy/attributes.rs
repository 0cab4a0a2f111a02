//! What the operator says of the principals, held against itself.

use super::annotations;
use super::schema::BASE_ATTRIBUTES;
use crate::principal::Agent;
use crate::principal::Attribute;
use crate::principal::Principals;
use std::collections::BTreeMap;
use std::mem::discriminant;

/// The further attributes of users, each with one value that shows its type.
pub(super) fn of_users<'a>(
    principals: &'a Principals,
    problems: &mut Vec<String>,
) -> BTreeMap<String, &'a Attribute> {
    let mut types: BTreeMap<String, (&Attribute, String)> = BTreeMap::new();
    let mut agents: BTreeMap<&str, (&Agent, String)> = BTreeMap::new();
    for (id, principal) in &principals.by_id {
        if *id != principal.id {
            problems.push(format!(
                "the principal `{id}` is entered as `{}`",
                principal.id
            ));
        }
        if !principals.roles.contains_key(&principal.role) {
            problems.push(format!(
                "the principal `{id}` has the role `{}`, which nobody declared: the roles are {}",
                principal.role,
                annotations::listed(
                    &principals
                        .roles
                        .keys()
                        .map(String::as_str)
                        .collect::<Vec<_>>()
                )
            ));
        }
        if let Some(agent) = &principal.agent {
            let (first, whose) = agents
                .entry(&agent.name)
                .or_insert_with(|| (agent, id.to_string()));
            if *first != agent {
                problems.push(format!(
                    "the agent `{}` is described differently for the principals `{whose}` and `{id}`: describe it alike, or give it two names",
                    agent.name
                ));
            }
        }
        for (name, value) in &principal.attributes {
            if BASE_ATTRIBUTES.contains(&name.as_str()) {
                problems.push(format!(
                    "the principal `{id}` has an attribute `{name}`, which every user has anyway: choose another name"
                ));
                continue;
            }
            let (first, whose) = types
                .entry(name.clone())
                .or_insert_with(|| (value, id.to_string()));
            if discriminant(*first) != discriminant(value) {
                problems.push(format!(
                    "the attribute `{name}` is of one type for the principal `{whose}` and of another for `{id}`: give it one type"
                ));
            }
        }
    }
    types
        .into_iter()
        .map(|(name, (value, _))| (name, value))
        .collect()
}
