//! `countersign session explain`: which rule found the session of a call.

use crate::cli::Form;
use crate::cli::one_line;
use crate::cli::print;
use crate::cli::print_json;
use crate::cli::published;
use crate::journal;
use crate::journal::CallView;
use crate::session::Choice;
use crate::session::Rule;
use crate::sessions;
use crate::sessions::Session;
use crate::store::Store;
use crate::tool::CallId;
use anyhow::Context;
use std::fmt::Write;

/// What is said of a call whose record does not say it.
const NOT_RECORDED: &str = "not recorded: the call was made before that was kept";

pub(super) fn explain(store: &Store, call: CallId, form: Form) -> anyhow::Result<()> {
    let filter = journal::Filter {
        call: Some(call),
        ..journal::Filter::default()
    };
    let (calls, session) = store.read(|tx| {
        let calls = journal::calls(tx, &filter)?;
        let session = match calls.first() {
            Some(call) => sessions::by_id(tx, call.session)?,
            None => None,
        };
        Ok((calls, session))
    })?;
    let view = calls.into_iter().next().with_context(|| {
        format!("there is no call {call}: `countersign journal tail` shows the last")
    })?;
    match form {
        Form::Json => print_json(&published::explained(&view, session.as_ref())),
        Form::Text => print(&text(&view, session.as_ref())?),
    }
}

fn text(view: &CallView, session: Option<&Session>) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "call       {}", view.call)?;
    writeln!(text, "decided    {}", view.at)?;
    writeln!(text, "tool       {}", one_line(&view.tool))?;
    writeln!(text, "principal  {}", one_line(&view.principal))?;
    let handles = session.map(|session| session.handles.join(", "));
    match handles.filter(|handles| !handles.is_empty()) {
        Some(handles) => writeln!(text, "session    {handles} ({})", view.session)?,
        None => writeln!(text, "session    {}", view.session)?,
    }
    if let Some(session) = session {
        writeln!(text, "owner      {}", session.owner)?;
    }
    let Some(found) = journal::found(&view.detail) else {
        writeln!(text, "found by   {NOT_RECORDED}")?;
        return Ok(text);
    };
    writeln!(text, "found by   {}", choice(&found.chosen))?;
    for agreed in &found.agreed {
        writeln!(text, "also       {}, which said the same", words(*agreed))?;
    }
    if let Some(otherwise) = &found.otherwise {
        writeln!(text, "otherwise  {}", choice(otherwise))?;
    }
    Ok(text)
}

/// The rule that found the session of a call.
pub(in crate::cli) fn rule(view: &CallView) -> String {
    journal::found(&view.detail)
        .map_or_else(|| NOT_RECORDED.to_owned(), |found| choice(&found.chosen))
}

fn choice(choice: &Choice) -> String {
    let words = words(choice.by);
    match &choice.named {
        Some(named) => format!("{words}: {}", one_line(named)),
        None => words.to_owned(),
    }
}

fn words(rule: Rule) -> &'static str {
    match rule {
        Rule::Path => "the path of the URL",
        Rule::Header => "the header `Countersign-Session`",
        Rule::Meta => "`dev.countersign/session` in `_meta` of the request",
        Rule::Option => "what its broker was started with (`--session` or `stdio.session`)",
        Rule::Opening => "what was named when its transport session or stream was opened",
        Rule::Transport => "its transport session (`Mcp-Session-Id`), which stays with one session",
        Rule::Connection => "its connection: a session of its own, since none was named",
        Rule::Default => "the session that the principal used last, since none was named",
        Rule::Broker => "the call that caused it: the broker made it by itself",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionId;
    use crate::store::WriterId;
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn a_call_from_before_it_was_kept_is_said_to_be_one() {
        let at: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let old = CallView {
            call: CallId::from_bytes([2; 16]),
            at,
            writer: WriterId::from_number(1),
            session: SessionId::from_bytes([1; 16]),
            principal: "alice".to_owned(),
            tool: "claims/get_claim".to_owned(),
            outcome: None,
            ended: None,
            detail: json!({"policies": ["p"]}),
            close_detail: None,
            arguments: None,
        };
        let text = text(&old, None).unwrap();
        assert!(
            text.ends_with(&format!("found by   {NOT_RECORDED}\n")),
            "{text}"
        );
        assert_eq!(rule(&old), NOT_RECORDED);
    }
}
