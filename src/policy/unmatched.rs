//! Policies that no call can match. A forbid that stops nothing looks like one that does.

use super::annotations::Stop;
use super::build::Compiled;
use super::lifting;
use super::load;
use super::load::Loaded;
use super::schema;
use super::schema::BROKER;
use super::slice::Target;
use super::slice::World;
use super::truth;
use super::validation;

use cedar_policy::EntityUid;
use cedar_policy::Policy;
use cedar_policy::ResourceConstraint;
use serde_json::Value;

/// What is said of a policy that matches nothing.
pub(super) const NONE: &str = "it matches none of today's tools";

/// Warns of the policies that no call can match by its action and its resource, and of
/// comparisons with those that never come true.
pub(super) fn note(
    live: &[(Loaded, Option<Stop>)],
    world: &World,
    tools: &[Compiled<'_>],
    warnings: &mut Vec<String>,
) {
    // Of rules for servers there is nothing to tell while there is none.
    if validation::has_no_server(tools) {
        return;
    }
    let targets = targets(world, tools);
    for (loaded, _) in live.iter().filter(|(loaded, _)| !load::is_own(&loaded.id)) {
        let whole = loaded.policy.to_json().unwrap_or_default();
        let conditions = whole.get("conditions").and_then(Value::as_array);
        let conditions = conditions.map(Vec::as_slice).unwrap_or_default();
        let matches = |target: &Target| {
            let matches = target.can_match(&loaded.policy, &world.entities);
            matches && conditions.iter().all(|one| may_hold(one, target, world))
        };
        let dead = !targets.iter().any(matches);
        let never = never(&loaded.policy, conditions);
        // Cedar may have found that it matches nothing, and never why.
        let told = format!("policy `{}`: {NONE}", loaded.id);
        let is_told = warnings.iter().any(|warning| warning.ends_with(&told));
        let dead = dead || is_told;
        let why = never
            .iter()
            .map(|one| one.told((&loaded.policy, world), &targets));
        let why = why.collect::<Vec<_>>().join("; ");
        match (dead, why.is_empty()) {
            (false, true) => {}
            (true, true) if is_told => {}
            (true, true) => warnings.push(loaded.problem(NONE)),
            (true, false) => {
                warnings.retain(|warning| !warning.ends_with(&told));
                warnings.push(loaded.problem(format_args!("{NONE}: {why}")));
            }
            (false, false) => warnings.push(loaded.problem(why)),
        }
    }
}

/// What is right in place of an action that is a group.
pub(super) fn group(action: &EntityUid) -> Option<String> {
    let id = action.id().unescaped();
    let is_group = action.type_name().basename() == "Action" && schema::is_group(id);
    is_group.then(|| {
        format!(
            "`{id}` is a group of actions, and the action of no call: write `action in {action}`"
        )
    })
}

/// Everything that policy is asked about.
fn targets(world: &World, tools: &[Compiled<'_>]) -> Vec<Target> {
    let of_tools = tools.iter().map(|tool| {
        let id = tool.id().to_string();
        Target {
            action: world.types.action(&id),
            resource: world.types.tool(&id),
        }
    });
    let of_broker = [schema::OPEN, schema::JOIN, schema::EVENT].map(|action| Target {
        action: world.types.action(action),
        resource: world.types.server(BROKER),
    });
    of_tools.chain(of_broker).collect()
}

/// Whether a condition may come true for a target, as far as that depends on its action
/// and on its resource.
fn may_hold(condition: &Value, target: &Target, world: &World) -> bool {
    let body = condition.get("body").unwrap_or(&Value::Null);
    let holds = truth::of(body, &|part| {
        let (operator, operands) = part.as_object()?.iter().next()?;
        match operator.as_str() {
            "==" => Some(is(operands, target)?),
            "!=" => Some(!is(operands, target)?),
            "in" => {
                let what = subject(operands.get("left")?, target)?;
                let groups = operands.get("right")?;
                let groups = match groups.get("Set").and_then(Value::as_array) {
                    Some(groups) => groups.iter().map(lifting::entity).collect(),
                    None => Some(vec![lifting::entity(groups)?]),
                };
                Some(
                    groups?
                        .iter()
                        .any(|group| group == what || world.entities.is_ancestor_of(group, what)),
                )
            }
            _ => None,
        }
    });
    match condition.get("kind").and_then(Value::as_str) {
        Some("unless") => holds != Some(true),
        _ => holds != Some(false),
    }
}

fn is(operands: &Value, target: &Target) -> Option<bool> {
    let (left, right) = (operands.get("left")?, operands.get("right")?);
    match (subject(left, target), subject(right, target)) {
        (Some(one), None) => Some(*one == lifting::entity(right)?),
        (None, Some(one)) => Some(*one == lifting::entity(left)?),
        _ => None,
    }
}

fn subject<'t>(expression: &Value, target: &'t Target) -> Option<&'t EntityUid> {
    match expression.get("Var")?.as_str()? {
        "action" => Some(&target.action),
        "resource" => Some(&target.resource),
        _ => None,
    }
}

/// A comparison that no call makes true.
#[derive(PartialEq, Eq)]
enum Never {
    /// The resource is a server.
    Server(EntityUid),
    /// The action is a group.
    Group(EntityUid),
}

impl Never {
    fn of(variable: &str, entity: EntityUid) -> Option<Self> {
        let kind = entity.type_name().basename();
        let id = entity.id().unescaped();
        match (variable, kind) {
            ("resource", "Server") if id != BROKER => Some(Self::Server(entity)),
            ("action", "Action") if schema::is_group(id) => Some(Self::Group(entity)),
            _ => None,
        }
    }

    fn told(&self, (policy, world): (&Policy, &World), targets: &[Target]) -> String {
        let server = match self {
            Self::Group(action) => return group(action).unwrap_or_default(),
            Self::Server(server) => server,
        };
        let would = targets.iter().any(|target| {
            target.is_action_of(policy, &world.entities)
                && world.entities.is_ancestor_of(server, &target.resource)
        });
        let meant = match would {
            true => format!(" (did you mean `resource in {server}`?)"),
            false => String::new(),
        };
        format!(
            "`resource == {server}` is never so: the resource of a call is its tool, and the only server that is ever one is `{BROKER}`, where sessions are opened, joined and sent events{meant}"
        )
    }
}

/// What a policy compares that is never so.
fn never(policy: &Policy, conditions: &[Value]) -> Vec<Never> {
    let mut found = Vec::new();
    if let ResourceConstraint::Eq(resource) = policy.resource_constraint() {
        found.extend(Never::of("resource", resource));
    }
    conditions
        .iter()
        .for_each(|condition| visit(condition, &mut found));
    found
}

fn visit(expression: &Value, found: &mut Vec<Never>) {
    match expression {
        Value::Object(children) => {
            for (operator, operands) in children {
                if operator == "==" || operator == "!=" {
                    for (one, other) in [("left", "right"), ("right", "left")] {
                        let variable = operands.get(one).and_then(|one| one.get("Var"));
                        let variable = variable.and_then(Value::as_str);
                        let entity = operands.get(other).and_then(lifting::entity);
                        let never = variable.zip(entity);
                        let never =
                            never.and_then(|(variable, entity)| Never::of(variable, entity));
                        if let Some(never) = never.filter(|never| !found.contains(never)) {
                            found.push(never);
                        }
                    }
                }
                visit(operands, found);
            }
        }
        Value::Array(children) => children.iter().for_each(|child| visit(child, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
