//! `countersign doctor`.

use super::Form;
use super::on_runtime;
use super::one_line;
use super::print;
use super::print_json;
use crate::app;
use crate::app::Finding;
use crate::app::Level;
use crate::config::Config;
use serde_json::Value;
use serde_json::json;
use std::process::ExitCode;

/// Says what is wrong and what to do. Status 1 where something must be mended.
pub(super) fn run(config: anyhow::Result<Config>, form: Form) -> anyhow::Result<ExitCode> {
    let around = super::around().ok();
    let findings = on_runtime(async { Ok(app::doctor(config, around).await) })?;
    match form {
        Form::Json => {
            let findings: Value = findings.iter().map(published).collect();
            print_json(&json!({ "findings": findings }))?;
        }
        Form::Text => print(&findings.iter().map(line).collect::<String>())?,
    }
    let ill = |finding: &Finding| finding.level == Level::Problem;
    Ok(match findings.iter().any(ill) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Good => "ok",
        Level::Note => "note",
        Level::Warning => "WARNING",
        Level::Problem => "PROBLEM",
    }
}

fn line(finding: &Finding) -> String {
    let advice = match finding.advice.is_empty() {
        true => String::new(),
        false => format!("         do: {}\n", one_line(&finding.advice)),
    };
    // Servers and clients name things, and a line is one finding.
    let what = one_line(&finding.what);
    format!("{:<8} {what}\n{advice}", word(finding.level))
}

fn published(finding: &Finding) -> Value {
    json!({
        "level": word(finding.level).to_lowercase(),
        "what": finding.what,
        "advice": finding.advice,
    })
}
