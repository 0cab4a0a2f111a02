//! Decisions on escalations, among the calls.

use super::one_line;
use crate::journal::DecisionView;
use serde_json::Value;
use std::fmt::Write;

/// One decision as one line.
pub(in crate::cli) fn decision_line(decision: &DecisionView) -> String {
    let text = |name: &str| one_line(word(decision, name));
    let ended = match decision.detail.get("state") {
        Some(_) => text("state"),
        None => "not-taken".to_owned(),
    };
    let mut line = format!(
        "{}  {ended:<21} {:<32}  {}  {}",
        decision.at.strftime("%Y-%m-%d %H:%M:%SZ"),
        one_line(&decision.tool),
        decision.id,
        text("escalation"),
    );
    let code = text("code");
    if !code.is_empty() {
        line.push_str("  ");
        line.push_str(&code);
    }
    line
}

/// All that is recorded of one.
pub(super) fn whole(
    decision: &DecisionView,
    handles: &[String],
) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "decision   {}", decision.id)?;
    writeln!(text, "decided    {}", decision.at)?;
    writeln!(text, "by         {}", one_line(&decision.principal))?;
    match handles {
        [] => writeln!(text, "session    {}", decision.session)?,
        _ => writeln!(
            text,
            "session    {} ({})",
            handles.join(", "),
            decision.session
        )?,
    }
    writeln!(text, "tool       {}", one_line(&decision.tool))?;
    let members = decision.detail.as_object().into_iter().flatten();
    for (name, value) in members {
        let value = match value {
            Value::String(text) => one_line(text),
            other => one_line(&other.to_string()),
        };
        writeln!(text, "{name:<10} {value}")?;
    }
    Ok(text)
}

fn word<'a>(decision: &'a DecisionView, name: &str) -> &'a str {
    let value = decision.detail.get(name);
    value.and_then(Value::as_str).unwrap_or_default()
}
