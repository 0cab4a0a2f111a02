//! Who is told of escalations, as `check` and `doctor` look at it.

use super::check::Checked;
use crate::broker::Rules;
use crate::broker::notify::Reader;
use crate::config::Config;
use serde_json::Value;
use serde_json::json;
use std::fmt::Write;

/// Reports who is told, and what of it leads nowhere.
pub(super) fn report(config: &Config, rules: &Rules, checked: &mut Checked) -> anyhow::Result<()> {
    let notices = config.broker.webhooks.notices();
    let told: Value = notices.readers.iter().map(published).collect();
    checked.facts.insert("notified".to_owned(), told);
    if notices.readers.is_empty() {
        return Ok(());
    }
    writeln!(checked.report, "who is told of escalations")?;
    for reader in &notices.readers {
        let roles = match reader.roles.is_empty() {
            true => String::new(),
            false => format!(", for {}", reader.roles.join(" or ")),
        };
        let name = &reader.name;
        writeln!(checked.report, "  {name}: {}{roles}", states(reader))?;
        for role in &reader.roles {
            if !rules.principals.roles.contains_key(role) {
                checked.problems.push(format!(
                    "`escalations.notify`: {name} is told of what a `{role}` may decide, and there is no such role"
                ));
            }
        }
    }
    Ok(())
}

fn states(reader: &Reader) -> String {
    let words = reader.states.iter().map(|state| state.as_str());
    words.collect::<Vec<_>>().join(", ")
}

fn published(reader: &Reader) -> Value {
    let states = reader.states.iter().map(|state| state.as_str());
    json!({
        "name": reader.name,
        "states": states.collect::<Vec<_>>(),
        "roles": reader.roles,
    })
}

/// Asks each way that can be asked without telling anybody anything. Returns those that
/// cannot be gone, with why.
pub(super) async fn unreachable(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for reader in &config.broker.webhooks.notices().readers {
        if let Err(problem) = reader.hook.probe().await {
            found.push(format!(
                "{} cannot be told of escalations: {problem}",
                reader.name
            ));
        }
    }
    found
}
