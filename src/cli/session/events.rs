//! `countersign session event`, `events` and `deliveries`.

use super::Form;
use super::one_line;
use super::published;
use super::title;
use crate::config::Config;
use crate::events;
use crate::events::Event;
use crate::events::MAX_BODY;
use crate::events::New;
use crate::json;
use crate::outbox::Attempt;
use crate::outbox::Ended;
use crate::sessions;
use crate::sessions::By;
use crate::sessions::Session;
use crate::store::Store;
use crate::store::Tx;
use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Read as _;
use uuid::Uuid;

/// How many deliveries are shown, the newest.
const SHOWN: u32 = 100;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Sent {
    /// What it is, one word: `verification`
    #[arg(long)]
    kind: String,
    /// Its name, so that sending it again is no second event; one of ours where it is left out
    #[arg(long)]
    id: Option<String>,
    /// What it says: JSON, or any other text; `-` reads it from stdin
    #[arg(long, value_name = "TEXT|-")]
    body: Option<String>,
}

impl Sent {
    /// Sends it to a session, as the operator.
    pub(super) fn send(
        self,
        (store, config): (&Store, &Config),
        session: &Session,
        form: Form,
    ) -> anyhow::Result<()> {
        let body = match self.body.as_deref() {
            None => "null".to_owned(),
            Some("-") => as_json(&from_stdin()?),
            Some(text) => as_json(text),
        };
        let id = self.id.unwrap_or_else(|| Uuid::new_v4().to_string());
        let new = New::read(&id, &self.kind, &body)?;
        let settings = config.broker.clone();
        let id = session.id;
        let taken = store.write_blocking("event", move |tx: &Tx<'_>| {
            let by = (By::Operator, Timestamp::now());
            match sessions::state(tx, id)? {
                Some(state) => events::take(tx, &state, &new, settings.follows(), by),
                None => Ok(Err(events::Refused::Over)),
            }
        })?;
        let event = taken.with_context(|| title(session))?;
        if form == Form::Json {
            return super::super::print_json(&published::event(&event));
        }
        let goes_on = if event.resumed {
            ", and it goes on"
        } else {
            ""
        };
        super::super::print(&format!(
            "{}: event {} ({}) arrived{goes_on}\n",
            title(session),
            event.number,
            one_line(&event.id)
        ))
    }
}

/// What is JSON stays as it is; all else is a text.
fn as_json(text: &str) -> String {
    match json::check(text.as_bytes()) {
        Ok(checked) => checked.to_owned(),
        Err(_no_json) => Value::from(text).to_string(),
    }
}

fn from_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    // One more than fits, so that too much is seen as such.
    let most = u64::try_from(MAX_BODY + 2).unwrap_or(u64::MAX);
    let read = std::io::stdin().lock().take(most).read_to_string(&mut text);
    read.context("cannot read the body from stdin")?;
    Ok(text.strip_suffix('\n').map_or(text.clone(), str::to_owned))
}

/// Shows what arrived.
pub(super) fn list(store: &Store, session: &Session, form: Form) -> anyhow::Result<()> {
    let found = store.read(|tx| events::list(tx, session.id, None, events::MAX_EVENTS))?;
    if form == Form::Json {
        let events: Value = found.iter().map(published::event).collect();
        return super::super::print_json(&serde_json::json!({ "events": events }));
    }
    let mut text = String::new();
    for event in &found {
        writeln!(text, "{}", event_line(event))?;
    }
    if found.is_empty() {
        text.push_str("nothing arrived yet\n");
    }
    super::super::print(&text)
}

/// One event as a line.
fn event_line(event: &Event) -> String {
    format!(
        "{}  {:>4}  {:<20}  {}  {}: {}",
        event.at.strftime("%Y-%m-%d %H:%M:%SZ"),
        event.number,
        event.kind,
        one_line(&event.by),
        one_line(&event.id),
        one_line(&event.words())
    )
}

/// Shows what was told to others, and how that went.
pub(super) fn deliveries(
    store: &Store,
    session: Option<&Session>,
    form: Form,
) -> anyhow::Result<()> {
    let of = session.map(|session| session.id);
    let found = store.read(|tx| events::deliveries(tx, of, SHOWN))?;
    if form == Form::Json {
        let deliveries: Value = found.iter().map(published::delivery).collect();
        return super::super::print_json(&serde_json::json!({ "deliveries": deliveries }));
    }
    let mut text = String::new();
    for delivery in &found {
        let (number, id, kind) = &delivery.event;
        writeln!(
            text,
            "{}  {number} {kind} {} to {}: {}",
            delivery.session,
            one_line(id),
            one_line(&delivery.target),
            delivered(delivery.ended, delivery.due)
        )?;
        tries(&mut text, &delivery.tries)?;
    }
    if found.is_empty() {
        text.push_str("nothing was forwarded: `[[session.webhooks]]` says to whom\n");
    }
    super::super::print(&text)
}

/// How a delivery stands.
pub(in crate::cli) fn delivered(ended: Option<Ended>, due: Option<Timestamp>) -> String {
    match (ended, due) {
        (Some(Ended::Delivered), _) => "delivered".to_owned(),
        (Some(Ended::GivenUp), _) | (None, None) => "given up".to_owned(),
        (None, Some(due)) => format!("due {}", due.strftime("%Y-%m-%d %H:%M:%SZ")),
    }
}

/// What was tried, a line each.
pub(in crate::cli) fn tries(text: &mut String, tries: &[Attempt]) -> std::fmt::Result {
    for attempt in tries {
        let at = attempt.at.strftime("%Y-%m-%d %H:%M:%SZ");
        let how = attempt.problem.as_deref().unwrap_or("taken");
        writeln!(text, "  {at}  {}", one_line(how))?;
    }
    Ok(())
}
