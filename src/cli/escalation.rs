//! `countersign escalation`: calls that wait for a decision, and deciding on them.

use super::Form;
use super::escaped;
use super::one_line;
use super::print;
use super::print_json;
use super::published;
use super::session::delivered;
use super::session::tries;
use crate::app;
use crate::broker::Ground;
use crate::broker::Ruling;
use crate::broker::Way;
use crate::broker::escalation_json;
use crate::config::Config;
use crate::counted::Counted;
use crate::escalations;
use crate::escalations::Approve;
use crate::escalations::Escalation;
use crate::escalations::EscalationId;
use crate::escalations::Filter;
use crate::json;
use crate::json::Object;
use crate::keys;
use crate::outbox;
use crate::outbox::Topic;
use crate::sessions;
use crate::store::Store;
use anyhow::Context;
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json as value;
use std::fmt::Write as _;
use std::path::PathBuf;

/// How many are listed, the newest.
const LISTED: u32 = 200;

/// Where the approver's key is found.
const KEY: &str = "COUNTERSIGN_KEY";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the calls that wait for a decision, or were approved and not made yet
    List {
        /// Those that were refused, used or are over, too
        #[arg(long)]
        all: bool,
    },
    /// Show one, with its arguments and what stopped it
    Show {
        /// Its id: `esc-4k7m-2qpx-9d3h`
        id: EscalationId,
    },
    /// Show who was told of escalations, of one or of all, and how that went
    Deliveries {
        /// Its id: `esc-4k7m-2qpx-9d3h`
        id: Option<EscalationId>,
    },
    /// Let exactly this call pass once, as whoever the key is of
    Approve(Deciding),
    /// Refuse exactly this call, as whoever the key is of
    Refuse(Deciding),
}

#[derive(Debug, clap::Args)]
pub(super) struct Deciding {
    /// Its id: `esc-4k7m-2qpx-9d3h`
    id: EscalationId,
    /// Why, for whoever called and for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The file that holds your key [default: the variable `COUNTERSIGN_KEY`]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl Command {
    pub(super) fn run(self, config: &Config, form: Form) -> anyhow::Result<()> {
        let store = app::existing_store(&config.store)?;
        match self {
            Self::List { all } => list(&store, all, form),
            Self::Show { id } => show(&store, id, form),
            Self::Deliveries { id } => deliveries(&store, id, form),
            Self::Approve(deciding) => deciding.run((config, store), Approve::Yes, form),
            Self::Refuse(deciding) => deciding.run((config, store), Approve::No, form),
        }
    }
}

fn list(store: &Store, all: bool, form: Form) -> anyhow::Result<()> {
    let filter = Filter {
        session: None,
        live: !all,
        newest: Some(LISTED),
    };
    let found = store.read(|tx| escalations::list(tx, &filter))?;
    let now = Timestamp::now();
    if form == Form::Json {
        let found: Vec<String> = found.iter().map(|one| as_json(one, now)).collect();
        let listed = format!("{{\"escalations\":[{}]}}", found.join(","));
        return print_text(&listed);
    }
    if found.is_empty() {
        return print("nothing waits for a decision\n");
    }
    let mut text = String::new();
    for one in &found {
        let codes: Vec<&str> = one.stops.iter().map(|stop| stop.code.as_str()).collect();
        writeln!(
            text,
            "{}  {:<9}  {}  {} by {}: {}",
            one.id,
            one.state_at(now).as_str(),
            one.asked.strftime("%Y-%m-%d %H:%MZ"),
            one_line(&one.tool),
            one.principal,
            one_line(&codes.join(", "))
        )?;
    }
    print(&text)
}

/// As the interface for programs has it, with the arguments as they are decided on: what
/// reads them again would change numbers that it has no room for.
fn as_json(one: &Escalation, now: Timestamp) -> String {
    let canonical = one
        .body
        .as_deref()
        .and_then(|body| json::canonical(body).ok());
    let shown = Escalation {
        body: canonical.map(Into::into),
        ..one.clone()
    };
    escalation_json(&shown, now)
}

/// Prints a text of JSON in which there are no spaces but within strings.
fn print_text(document: &str) -> anyhow::Result<()> {
    print(&format!("{}\n", escaped(document)))
}

fn show(store: &Store, id: EscalationId, form: Form) -> anyhow::Result<()> {
    let (found, handles) = store.read(|tx| {
        let found = escalations::find(tx, id)?;
        let handles = match &found {
            Some(one) => sessions::handles(tx, one.session)?,
            None => Vec::new(),
        };
        Ok((found, handles))
    })?;
    let found = found.with_context(|| {
        format!("there is no escalation {id}: see `countersign escalation list --all`")
    })?;
    let now = Timestamp::now();
    if form == Form::Json {
        return print_text(&as_json(&found, now));
    }
    print(&whole(&found, &handles, now)?)
}

fn deliveries(store: &Store, id: Option<EscalationId>, form: Form) -> anyhow::Result<()> {
    let of = id.map_or_else(String::new, |id| format!("{id}/"));
    let found = store.read(|tx| outbox::deliveries(tx, (Topic::Escalation, &of), LISTED))?;
    if form == Form::Json {
        let deliveries: Value = found.iter().map(published::notice).collect();
        return print_json(&value!({ "deliveries": deliveries }));
    }
    let mut text = String::new();
    for delivery in &found {
        let (id, state) = delivery.matter.split_once('/').unwrap_or_default();
        writeln!(
            text,
            "{id}  {state} to {}: {}",
            one_line(&delivery.target),
            delivered(delivery.ended, delivery.due)
        )?;
        tries(&mut text, &delivery.tries)?;
    }
    if found.is_empty() {
        text.push_str("nobody was told: `[[escalations.notify]]` says who is\n");
    }
    print(&text)
}

/// Everything there is to decide on, a line each.
fn whole(one: &Escalation, handles: &[String], now: Timestamp) -> anyhow::Result<String> {
    let mut text = String::new();
    let at = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    writeln!(text, "{}  {}", one.id, one.state_at(now).as_str())?;
    let session = match handles {
        [] => one.session.to_string(),
        named => named.join(", "),
    };
    writeln!(text, "call       {}", one.call)?;
    writeln!(text, "by         {} in session {session}", one.principal)?;
    writeln!(text, "tool       {}", one_line(&one.tool))?;
    arguments(&mut text, one.body.as_deref())?;
    for stop in &one.stops {
        let message = stop.message.as_deref().map(one_line);
        let message = message.map_or_else(String::new, |said| format!(": {said}"));
        let policy = one_line(&stop.policy);
        // Without a reason of its own the code is the policy's id.
        let code = match stop.code == stop.policy {
            true => String::new(),
            false => format!(" ({})", one_line(&stop.code)),
        };
        writeln!(text, "stopped by {policy}{code}{message}")?;
    }
    writeln!(text, "may lift   {}", one_line(&one.roles.join(" or ")))?;
    writeln!(
        text,
        "asked      {}, {}",
        at(one.asked),
        Counted(one.tries, "time")
    )?;
    writeln!(text, "open until {}", at(one.expires))?;
    if let Some(decision) = &one.decision {
        let reason = decision.reason.as_deref().map(one_line);
        let reason = reason.map_or_else(String::new, |said| format!(": {said}"));
        writeln!(
            text,
            "decided    {} by {}{reason}",
            at(decision.at),
            decision.by
        )?;
    }
    if let Some(call) = one.used_by {
        writeln!(text, "used by    {call}")?;
    }
    if let Some((ended, Some(why))) = &one.ended {
        writeln!(text, "ended      {}: {}", at(*ended), one_line(why))?;
    }
    Ok(text)
}

/// All of the arguments, a line each, as an approval is bound to them.
fn arguments(text: &mut String, body: Option<&str>) -> std::fmt::Result {
    let Some(body) = body else {
        return writeln!(text, "arguments  (see the record of the call)");
    };
    let canonical = json::canonical(body).unwrap_or_else(|_unread| body.to_owned());
    let Ok(members) = Object::parse(&canonical) else {
        return writeln!(text, "arguments  {}", one_line(body));
    };
    let mut label = "arguments";
    for (name, value) in members.iter() {
        let name = json::named(name, usize::MAX);
        writeln!(text, "{label:<9}  {name}: {}", one_line(value))?;
        label = "";
    }
    if !label.is_empty() {
        writeln!(text, "arguments  none")?;
    }
    Ok(())
}

impl Deciding {
    fn run(
        self,
        (config, store): (&Config, Store),
        approve: Approve,
        form: Form,
    ) -> anyhow::Result<()> {
        let key = self.key()?;
        let of_nobody = "that key is of nobody here, or was revoked: make one with `countersign key new PRINCIPAL`";
        store
            .read(|tx| keys::holder(tx, key.trim()))?
            .context(of_nobody)?;
        let catalogue = app::catalogue(config, &store)?;
        let settings = config.broker.clone();
        let id = self.id;
        let reason = self.reason;
        let decided = app::record_once(&store, "decide", move |tx, writer| {
            // It may have been revoked meanwhile.
            let Some(shown) = keys::shown(tx, key.trim())? else {
                return Ok(None);
            };
            let ruling = Ruling {
                approve,
                reason,
                way: Way::Command(shown.id),
            };
            let ground = Ground {
                catalogue: &catalogue,
                settings: &settings,
                writer,
            };
            let by = (&shown.principal, id);
            Ok(Some(ground.decide(tx, by, &ruling, Timestamp::now())?))
        })?;
        let decided = decided.context(of_nobody)?;
        let decided = decided.with_context(|| id.to_string())?;
        if form == Form::Json {
            return print_text(&as_json(&decided, Timestamp::now()));
        }
        let by = decided.decision.as_ref().map(|decision| &decision.by);
        let by = by.map_or_else(String::new, |by| format!(" by {by}"));
        let then = match approve {
            Approve::Yes => ": the same call passes once",
            Approve::No => "",
        };
        print(&format!("{id} is {}{by}{then}\n", decided.state.as_str()))
    }

    /// The key of whoever decides. Their name is not enough.
    fn key(&self) -> anyhow::Result<String> {
        if let Some(file) = &self.key_file {
            let shown = file.display();
            let text = std::fs::read_to_string(file)
                .with_context(|| {
                    format!("cannot read the key from `{shown}`: name a file that holds what `countersign key new PRINCIPAL` printed")
                })?;
            let key = keys::only_in(&text).with_context(|| {
                format!("`{shown}` does not hold one key: a word that begins with `csk_`, alone or in what `countersign key new PRINCIPAL` printed, and no second one")
            })?;
            return Ok(key.to_owned());
        }
        let key = std::env::var(KEY).ok().filter(|key| !key.trim().is_empty());
        key.with_context(|| {
            format!("who decides? Put your key into the variable `{KEY}`, or name the file that holds it with `--key-file`; `countersign key new PRINCIPAL` makes one")
        })
    }
}
