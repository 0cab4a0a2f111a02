//! Policies held against the schema, and what an operator is told of it.

use super::annotations::Stop;
use super::build::Compiled;
use super::bundle::Inputs;
use super::decimals;
use super::load;
use super::load::Loaded;
use super::mistakes;
use super::places;
use super::schema::BASE_ACTIONS;
use super::schema::BROKER;
use super::unmatched;
use crate::tool::ToolId;
use cedar_policy::ActionConstraint;
use cedar_policy::EntityUid;
use cedar_policy::Policy;
use cedar_policy::PolicySet;
use cedar_policy::Schema;
use cedar_policy::ValidationMode;
use cedar_policy::ValidationWarning;
use cedar_policy::Validator;

/// Validates strictly. Of Cedar's warnings only one is let pass, as a warning of
/// ours: a policy on a group of actions that matches none of today's tools.
pub(super) fn validate(
    live: &[(Loaded, Option<Stop>)],
    schema: &Schema,
    (inputs, tools): (&Inputs<'_>, &[Compiled<'_>]),
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let policies = live.iter().map(|(loaded, _)| loaded.policy.clone());
    let set = PolicySet::from_policies(policies).map_err(|e| e.to_string())?;
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let text_of = |loaded: &Loaded| {
        let file = inputs.files.iter().find(|file| file.name == loaded.file);
        file.map(|file| file.text.as_str())
    };
    let place = |id: &str, message: &dyn miette::Diagnostic| {
        let mut loaded = live
            .iter()
            .map(|(loaded, _)| loaded)
            .find(|loaded| loaded.id == id)?
            .clone();
        let text = text_of(&loaded);
        loaded.line = text
            .and_then(|text| load::line_of(message, text))
            .unwrap_or(loaded.line);
        let full = load::in_full(message);
        let bare = full
            .strip_prefix(&format!("for policy `{id}`, "))
            .unwrap_or(&full);
        Some((loaded, bare.to_owned()))
    };
    let mut wrong = Vec::new();
    for error in result.validation_errors() {
        let id: &str = error.policy_id().as_ref();
        let Some((loaded, what)) = place(id, error) else {
            continue;
        };
        let about = about(&loaded.policy, tools);
        let what = mistakes::told((error, &what), text_of(&loaded), about.clone());
        let hint = decimals::hint(&loaded.policy, about.map(|tool| tool.fields));
        let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
        wrong.push((loaded, what, hint));
    }
    problems.extend(in_order(wrong));
    for warning in result.validation_warnings() {
        let id: &str = warning.policy_id().as_ref();
        let matches_nothing = matches!(
            warning,
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_)
        );
        let Some((loaded, what)) = place(id, warning) else {
            continue;
        };
        match loaded.policy.action_constraint() {
            // Countersign's own match nothing while there is no tool.
            _ if matches_nothing && load::is_own(id) => {}
            // Nor does any other, and that says nothing of it.
            ActionConstraint::In(_) if matches_nothing && has_no_server(tools) => {}
            ActionConstraint::In(_) if matches_nothing => {
                // Cedar says it twice.
                let line = loaded.problem(unmatched::NONE);
                if warnings.last() != Some(&line) {
                    warnings.push(line);
                }
            }
            ActionConstraint::Eq(action) if matches_nothing => {
                let hint = unmatched::group(&action).map(|hint| format!(" ({hint})"));
                let hint = hint.unwrap_or_default();
                problems.push(loaded.problem(format_args!("{what}{hint}")));
            }
            _ => problems.push(loaded.problem(what)),
        }
    }
    warnings.extend(live.iter().flat_map(|(loaded, _)| {
        let about = about(&loaded.policy, tools);
        places::as_written(loaded, about)
    }));
    Ok(())
}

/// Problems with their hints, by their places: Cedar has them in any order, and some
/// once for each operand.
fn in_order(mut wrong: Vec<(Loaded, String, String)>) -> Vec<String> {
    wrong.sort_by(|(one, what, _), (other, than, _)| {
        let place = |loaded: &Loaded| (loaded.file.clone(), loaded.line, loaded.id.clone());
        place(one).cmp(&place(other)).then_with(|| what.cmp(than))
    });
    wrong.dedup_by(|(later, what, hint), (first, than, before)| {
        let of_operands = [&*what, &*than]
            .iter()
            .all(|one| one.contains("unexpected type"));
        let is_hinted = of_operands && !hint.is_empty() && hint == before;
        later.id == first.id && (what == than || is_hinted && later.line == first.line)
    });
    let lines = wrong.iter();
    let lines = lines.map(|(loaded, what, hint)| loaded.problem(format_args!("{what}{hint}")));
    lines.collect()
}

/// The tools that a policy can be about.
fn about<'a>(
    policy: &'a Policy,
    tools: &'a [Compiled<'_>],
) -> impl Iterator<Item = places::Tool<'a>> + Clone {
    let about = tools.iter().filter(|tool| is_about(policy, tool.id()));
    about.map(Compiled::seen)
}

/// Whether there are the broker's own tools only.
pub(super) fn has_no_server(tools: &[Compiled<'_>]) -> bool {
    tools.iter().all(|tool| tool.id().server.as_str() == BROKER)
}

/// Whether a policy can be about a tool, as far as its action says.
fn is_about(policy: &Policy, tool: &ToolId) -> bool {
    let names = |action: &EntityUid| {
        let id = action.id().unescaped().to_owned();
        match id.strip_prefix("server:") {
            Some(server) => server == tool.server.as_str(),
            None => id == tool.to_string() || BASE_ACTIONS.contains(&id.as_str()),
        }
    };
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(action) => names(&action),
        ActionConstraint::In(actions) => actions.iter().any(names),
    }
}
