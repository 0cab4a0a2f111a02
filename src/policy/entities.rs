//! The entities that policy reasons about: users with their roles, teams and
//! agents, and servers with their tools. Built and checked once for a bundle.

use super::bundle::Inputs;
use super::bundle::PolicyTool;
use super::schema::BROKER;
use crate::principal::Attribute;
use crate::principal::Principal;
use cedar_policy::Entities;
use cedar_policy::Entity;
use cedar_policy::EntityId;
use cedar_policy::EntityTypeName;
use cedar_policy::EntityUid;
use cedar_policy::RestrictedExpression;
use cedar_policy::Schema;
use std::collections::BTreeMap;
use std::str::FromStr;

/// The entity types of the base schema.
#[derive(Debug)]
pub(super) struct Types {
    action: EntityTypeName,
    agent: EntityTypeName,
    role: EntityTypeName,
    server: EntityTypeName,
    team: EntityTypeName,
    tool: EntityTypeName,
    user: EntityTypeName,
}

impl Types {
    pub(super) fn new() -> Result<Self, String> {
        let named = |name: &str| {
            EntityTypeName::from_str(&format!("Broker::{name}")).map_err(|e| e.to_string())
        };
        Ok(Self {
            action: named("Action")?,
            agent: named("Agent")?,
            role: named("Role")?,
            server: named("Server")?,
            team: named("Team")?,
            tool: named("Tool")?,
            user: named("User")?,
        })
    }

    pub(super) fn action(&self, id: &str) -> EntityUid {
        uid(&self.action, id)
    }

    pub(super) fn role(&self, id: &str) -> EntityUid {
        uid(&self.role, id)
    }

    pub(super) fn server(&self, id: &str) -> EntityUid {
        uid(&self.server, id)
    }

    pub(super) fn tool(&self, id: &str) -> EntityUid {
        uid(&self.tool, id)
    }

    pub(super) fn user(&self, id: &str) -> EntityUid {
        uid(&self.user, id)
    }
}

fn uid(name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
}

/// Builds all entities, checked against the schema.
pub(super) fn build(
    types: &Types,
    inputs: &Inputs<'_>,
    schema: &Schema,
) -> Result<Entities, String> {
    let unusable =
        |source: &dyn std::fmt::Display| format!("the entities cannot be built: {source}");
    let principals = inputs.principals;
    let mut entities = Vec::new();
    for (role, includes) in &principals.roles {
        let parents = includes.iter().map(|included| types.role(included));
        entities.push(Entity::new_no_attrs(types.role(role), parents.collect()));
    }
    let mut by_uid = BTreeMap::new();
    for principal in principals.by_id.values() {
        for team in &principal.teams {
            let team = uid(&types.team, team);
            by_uid.insert(team.to_string(), Entity::with_uid(team));
        }
        if let Some(agent) = &principal.agent {
            let agent_uid = uid(&types.agent, &agent.name);
            let attributes = [
                ("client".to_owned(), text(&agent.client)),
                (
                    "trusted".to_owned(),
                    RestrictedExpression::new_bool(agent.trusted),
                ),
            ];
            let entity = Entity::new(agent_uid.clone(), attributes.into(), [].into())
                .map_err(|e| unusable(&e))?;
            by_uid.insert(agent_uid.to_string(), entity);
        }
        entities.push(user(types, principal).map_err(|e| unusable(&e))?);
    }
    entities.extend(by_uid.into_values());
    let others = inputs.servers.iter().map(|server| {
        let tools = server.tools.as_deref().unwrap_or_default();
        (server.name.as_str(), server.trust.as_str(), tools)
    });
    for (name, trust, tools) in others.chain([(BROKER, "self", inputs.own)]) {
        let attributes = [("trust".to_owned(), text(trust))];
        let server = types.server(name);
        let entity =
            Entity::new(server.clone(), attributes.into(), [].into()).map_err(|e| unusable(&e))?;
        entities.push(entity);
        for tool in tools {
            entities.push(tool_entity(types, tool, &server).map_err(|e| unusable(&e))?);
        }
    }
    Entities::from_entities(entities, Some(schema)).map_err(|e| unusable(&e))
}

fn user(types: &Types, principal: &Principal) -> Result<Entity, String> {
    let limits = principal.limits;
    let long = RestrictedExpression::new_long;
    let mut attributes = vec![
        ("role".to_owned(), text(&principal.role)),
        ("limit".to_owned(), long(limits.call)),
        ("sessionLimit".to_owned(), long(limits.session)),
        ("dayLimit".to_owned(), long(limits.day)),
    ];
    if let Some(agent) = &principal.agent {
        let agent = RestrictedExpression::new_entity_uid(uid(&types.agent, &agent.name));
        attributes.push(("agent".to_owned(), agent));
    }
    for (name, attribute) in &principal.attributes {
        let value = match attribute {
            Attribute::Text(value) => text(value),
            Attribute::Flag(value) => RestrictedExpression::new_bool(*value),
            Attribute::Number(value) => long(*value),
            Attribute::Texts(values) => {
                RestrictedExpression::new_set(values.iter().map(|value| text(value)))
            }
        };
        attributes.push((name.clone(), value));
    }
    let mut parents = vec![types.role(&principal.role)];
    parents.extend(principal.teams.iter().map(|team| uid(&types.team, team)));
    let tags = principal.named_limits.iter();
    Entity::new_with_tags(
        types.user(&principal.id.to_string()),
        attributes,
        parents,
        tags.map(|(name, limit)| (name.clone(), long(*limit))),
    )
    .map_err(|e| e.to_string())
}

fn tool_entity(types: &Types, tool: &PolicyTool, server: &EntityUid) -> Result<Entity, String> {
    let flag = RestrictedExpression::new_bool;
    let hints = tool.definition.hints;
    let hints = RestrictedExpression::new_record([
        ("readOnly".to_owned(), flag(hints.read_only)),
        ("destructive".to_owned(), flag(hints.destructive)),
        ("openWorld".to_owned(), flag(hints.open_world)),
    ]);
    let mut attributes = vec![
        ("risk".to_owned(), text(&tool.rules.risk)),
        ("pinned".to_owned(), flag(tool.pinned)),
    ];
    // Three different names cannot clash; were it so, the schema would refuse
    // the entity for the attribute it lacks.
    attributes.extend(hints.ok().map(|hints| ("hints".to_owned(), hints)));
    Entity::new(
        types.tool(&tool.definition.id.to_string()),
        attributes.into_iter().collect(),
        [server.clone()].into(),
    )
    .map_err(|e| e.to_string())
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}
