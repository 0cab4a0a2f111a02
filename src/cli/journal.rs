//! `countersign journal`.

mod decisions;
mod export;
mod verify;

pub(super) use decisions::decision_line;

use super::Form;
use super::one_line;
use super::published;
use super::session::explain;
use crate::app;
use crate::config::Config;
use crate::journal;
use crate::journal::CallView;
use crate::journal::DecisionView;
use crate::journal::Filter;
use crate::outcome::Outcome;
use crate::session::SessionId;
use crate::sessions;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use anyhow::Context;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;
use uuid::Uuid;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show the last calls, and the decisions on calls that waited for one
    Tail {
        /// How many
        #[arg(long, short = 'n', default_value_t = 20, value_parser = count)]
        lines: u32,
    },
    /// Show one call, or one decision: who, where, what was decided and why, how it ended
    Show {
        /// The id of the call
        #[arg(value_parser = call_id)]
        call: CallId,
    },
    /// Recompute every chain, check every checkpoint, and say what does not hold
    Verify(verify::Verify),
    /// Write the journal as lines of JSON, which can be verified without the store
    Export(export::Export),
    /// Print the public key that checkpoints are checked with
    Key,
}

impl Command {
    /// Why it has no document to print; none where it has one.
    pub(super) fn has_no_json(&self) -> Option<&'static str> {
        match self {
            Self::Export(export) if export.is_printed() => Some(
                "`journal export` prints lines of JSON by itself where no `--out FILE` takes them",
            ),
            Self::Tail { .. }
            | Self::Show { .. }
            | Self::Verify(_)
            | Self::Export(_)
            | Self::Key => None,
        }
    }

    pub(super) fn run(
        self,
        load: impl FnOnce() -> anyhow::Result<Config>,
        form: Form,
    ) -> anyhow::Result<ExitCode> {
        match self {
            Self::Tail { lines } => tail(&app::existing_store(&load()?.store)?, lines, form)?,
            Self::Show { call } => show(&app::existing_store(&load()?.store)?, call, form)?,
            Self::Verify(verify) => return verify.run(load, form),
            Self::Export(export) => export.run(&load()?, form)?,
            Self::Key => key(&load()?, form)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn count(text: &str) -> Result<u32, &'static str> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or("it is no number of calls: write a whole number from 1 on, like `20`")
}

fn key(config: &Config, form: Form) -> anyhow::Result<()> {
    let public = journal::Signer::at(&config.broker.custody.key)?.public();
    match form {
        Form::Json => super::print_json(&published::public_key(&public)),
        Form::Text => super::print(&format!("{public}\n")),
    }
}

pub(super) fn call_id(text: &str) -> Result<CallId, String> {
    let id: Result<Uuid, _> = text.parse();
    id.map(|id| CallId::from_bytes(id.into_bytes()))
        .map_err(|_| {
            let text = one_line(text);
            format!("`{text}` is no id of a call: `countersign journal tail` shows the last ones with theirs")
        })
}

/// Calls and decisions, and the handles of their sessions.
struct Looked {
    calls: Vec<CallView>,
    decisions: Vec<DecisionView>,
    handles: Handles,
}

impl Looked {
    /// What there is of this, the newest where that says how many.
    fn at(tx: &Tx<'_>, filter: &Filter<'_>) -> Result<Self, StoreError> {
        let (mut calls, mut decisions) =
            (journal::calls(tx, filter)?, journal::decisions(tx, filter)?);
        if let Some(newest) = filter.newest {
            let mut ids: Vec<CallId> = calls.iter().map(|call| call.call).collect();
            ids.extend(decisions.iter().map(|decision| decision.id));
            ids.sort();
            let over = ids.len().saturating_sub(newest as usize);
            if let Some(first) = ids.get(over) {
                calls.retain(|call| call.call >= *first);
                decisions.retain(|decision| decision.id >= *first);
            }
        }
        let sessions = calls.iter().map(|call| call.session);
        let sessions = sessions.chain(decisions.iter().map(|decision| decision.session));
        let handles = handles(tx, sessions.collect())?;
        Ok(Self {
            calls,
            decisions,
            handles,
        })
    }

    fn handles(&self, session: SessionId) -> &[String] {
        self.handles.get(&session).map_or(&[][..], Vec::as_slice)
    }
}

fn handles(tx: &Tx<'_>, ids: BTreeSet<SessionId>) -> Result<Handles, StoreError> {
    let mut handles = Handles::new();
    for id in ids {
        let session = sessions::by_id(tx, id)?;
        handles.insert(
            id,
            session.map(|session| session.handles).unwrap_or_default(),
        );
    }
    Ok(handles)
}

type Handles = BTreeMap<SessionId, Vec<String>>;

fn tail(store: &Store, lines: u32, form: Form) -> anyhow::Result<()> {
    let living = store.living_writers()?;
    let filter = Filter {
        newest: Some(lines),
        ..Filter::default()
    };
    let looked = store.read(|tx| Looked::at(tx, &filter))?;
    if form == Form::Json {
        let calls = looked.calls.iter().map(|call| {
            let handles = looked.handles(call.session);
            published::call(call, &ending(call, &living), handles)
        });
        let decisions = looked.decisions.iter();
        let decisions = decisions
            .map(|decision| published::decision(decision, looked.handles(decision.session)));
        return super::print_json(&json!({
            "calls": calls.collect::<Value>(),
            "decisions": decisions.collect::<Value>(),
        }));
    }
    let calls = looked.calls.iter().map(|call| {
        let who = (&*call.principal, call.session);
        (call.call, call_line(call, &living), who)
    });
    let decisions = looked.decisions.iter().map(|decision| {
        let who = (&*decision.principal, decision.session);
        (decision.id, decision_line(decision), who)
    });
    let mut lines: Vec<_> = calls.chain(decisions).collect();
    lines.sort_by_key(|(id, _line, _who)| *id);
    let mut text = String::new();
    for (_id, line, (principal, session)) in &lines {
        let session = match looked.handles(*session) {
            [] => session.to_string(),
            handles => handles.join(","),
        };
        writeln!(text, "{line}  {principal}  session {session}")?;
    }
    if lines.is_empty() {
        text.push_str("no calls yet\n");
    }
    super::print(&text)
}

fn show(store: &Store, call: CallId, form: Form) -> anyhow::Result<()> {
    let living = store.living_writers()?;
    let filter = Filter {
        call: Some(call),
        ..Filter::default()
    };
    let looked = store.read(|tx| Looked::at(tx, &filter))?;
    if let Some(decision) = looked.decisions.first() {
        let handles = looked.handles(decision.session);
        return match form {
            Form::Json => super::print_json(&published::decision(decision, handles)),
            Form::Text => super::print(&decisions::whole(decision, handles)?),
        };
    }
    let view = looked.calls.first().with_context(|| {
        format!("there is no call {call}: `countersign journal tail` shows the last")
    })?;
    let handles = looked.handles(view.session);
    if form == Form::Json {
        return super::print_json(&published::call(view, &ending(view, &living), handles));
    }
    let mut text = String::new();
    writeln!(text, "call       {}", view.call)?;
    writeln!(text, "decided    {}", view.at)?;
    writeln!(text, "principal  {}", view.principal)?;
    match handles {
        [] => writeln!(text, "session    {}", view.session)?,
        _ => writeln!(text, "session    {} ({})", handles.join(", "), view.session)?,
    }
    writeln!(text, "found by   {}", explain::rule(view))?;
    writeln!(text, "tool       {}", one_line(&view.tool))?;
    writeln!(text, "outcome    {}", ending(view, &living))?;
    if let Some(ended) = view.ended {
        writeln!(text, "ended      {ended}")?;
    }
    writeln!(text, "decision   {}", one_line(&view.detail.to_string()))?;
    if let Some(detail) = &view.close_detail {
        writeln!(text, "ending     {}", one_line(&detail.to_string()))?;
    }
    if let Some(arguments) = &view.arguments {
        writeln!(text, "arguments  {}", one_line(arguments))?;
    }
    super::print(&text)
}

/// One call as one line.
pub(super) fn call_line(call: &CallView, living: &[WriterId]) -> String {
    let mut line = format!(
        "{}  {:<21} {:<32}  {}",
        call.at.strftime("%Y-%m-%d %H:%M:%SZ"),
        ending(call, living),
        call.tool.escape_debug().to_string(),
        call.call,
    );
    if let Some(code) = call.detail.get("code").and_then(|code| code.as_str()) {
        line.push_str("  ");
        line.push_str(code);
    }
    line
}

/// How a call ended. One that a dead broker left open is unknown, even before
/// the next start writes that down.
pub(super) fn ending(call: &CallView, living: &[WriterId]) -> String {
    match call.outcome {
        Some(outcome) => outcome.to_string(),
        None if living.contains(&call.writer) => "running".to_owned(),
        None => format!("{} (not recovered)", Outcome::Unknown),
    }
}
