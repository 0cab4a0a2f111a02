//! Whether somebody's approval could ever lift a forbid, by what it says of approvals.

use super::reads;
use super::slice::World;
use super::truth;
use cedar_policy::EntityUid;
use cedar_policy::Policy;
use serde_json::Value;

/// What a forbid makes of approvals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It asks for none, so none changes anything.
    Never,
    /// It takes none of these people's.
    OfNobody,
    /// It may take one.
    Perhaps,
}

/// What a forbid makes of an approval by one of these, who is never the caller.
pub(super) fn heard(policy: &Policy, world: &World, by: &[&EntityUid]) -> Heard {
    let Ok(policy) = policy.to_json() else {
        return Heard::Perhaps;
    };
    let conditions = policy.get("conditions").and_then(Value::as_array);
    let asking: Vec<&Value> = conditions
        .into_iter()
        .flatten()
        .filter(|condition| reads::condition_reads(condition, "approval"))
        .collect();
    if asking.is_empty() {
        return Heard::Never;
    }
    // What asks for no approval holds with one as it did without.
    let lifts = |by: &EntityUid| {
        let approval = Approval { world, by };
        asking.iter().any(|condition| approval.may_lift(condition))
    };
    match by.iter().any(|by| lifts(by)) {
        true => Heard::Perhaps,
        false => Heard::OfNobody,
    }
}

/// One that was given by somebody who is not the caller.
struct Approval<'a> {
    world: &'a World,
    by: &'a EntityUid,
}

impl Approval<'_> {
    fn may_lift(&self, condition: &Value) -> bool {
        let kind = condition.get("kind").and_then(Value::as_str);
        let holds = condition.get("body").and_then(|body| self.holds(body));
        match kind {
            Some("when") => holds != Some(true),
            Some("unless") => holds != Some(false),
            _ => true,
        }
    }

    /// Whether an expression holds; none where that depends on the call.
    fn holds(&self, expression: &Value) -> Option<bool> {
        truth::of(expression, &|part| self.is_known(part))
    }

    fn is_known(&self, expression: &Value) -> Option<bool> {
        let (operator, operands) = expression.as_object()?.iter().next()?;
        let left = || operands.get("left");
        let right = || operands.get("right");
        match operator.as_str() {
            "has" => match *reads::context_path(expression)? {
                ["call", "approval"] | ["call", "approval", "by"] => Some(true),
                _ => None,
            },
            "==" => self.is(left()?, right()?),
            "!=" => Some(!self.is(left()?, right()?)?),
            "in" if is_approver(left()?) => {
                let group = entity(right()?)?;
                let entities = &self.world.entities;
                Some(group == *self.by || entities.is_ancestor_of(&group, self.by))
            }
            _ => None,
        }
    }

    /// Whether the approver is who the other side names.
    fn is(&self, left: &Value, right: &Value) -> Option<bool> {
        let other = match (is_approver(left), is_approver(right)) {
            (true, false) => right,
            (false, true) => left,
            _ => return None,
        };
        match other.get("Var").and_then(Value::as_str) {
            Some("principal") => Some(false),
            _ => Some(entity(other)? == *self.by),
        }
    }
}

fn is_approver(expression: &Value) -> bool {
    expression.get(".").is_some()
        && reads::context_path(expression).is_some_and(|path| path == ["call", "approval", "by"])
}

/// The entity that an expression names.
pub(super) fn entity(expression: &Value) -> Option<EntityUid> {
    EntityUid::from_json(expression.get("Value")?.clone()).ok()
}
