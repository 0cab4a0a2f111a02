//! The digest of a policy set.

use super::bundle::Inputs;
use super::bundle::PolicyTool;
use super::load::Loaded;
use crate::tool::Digest;

/// INVARIANT: whatever a decision depends on is in here, and nothing that
/// depends on the order of files, servers or tools.
pub(super) fn of<'a>(
    inputs: &Inputs<'_>,
    live: impl Iterator<Item = &'a Loaded>,
    schema: &str,
) -> Digest {
    let mut parts: Vec<String> = live
        .map(|loaded| format!("policy {:?} {:?}", loaded.id, loaded.policy.to_cedar()))
        .collect();
    for (role, includes) in &inputs.principals.roles {
        parts.push(format!("role {role:?} {includes:?}"));
    }
    for principal in inputs.principals.by_id.values() {
        parts.push(format!("principal {principal:?}"));
    }
    for server in inputs.servers {
        parts.push(format!("server {:?} {:?}", server.name, server.trust));
    }
    let tools = inputs
        .servers
        .iter()
        .flat_map(|server| server.tools.iter().flatten());
    for tool in tools.chain(inputs.own) {
        let PolicyTool {
            definition,
            rules,
            pinned,
        } = tool;
        let digest = definition.digest;
        parts.push(format!(
            "tool {:?} {digest} {pinned} {rules:?}",
            definition.id
        ));
    }
    parts.extend(inputs.meters.iter().map(|meter| format!("meter {meter:?}")));
    parts.sort();
    parts.push(format!("schema {schema}"));
    parts.push(format!("money {}", inputs.money_scale));
    Digest::of_parts(parts.iter().map(String::as_bytes))
}
