//! `countersign session`.

mod events;
pub(super) mod explain;
mod label;
mod standstill;

pub(super) use events::delivered;
pub(super) use events::tries;

use super::Form;
use super::journal::call_id;
use super::journal::call_line;
use super::journal::decision_line;
use super::journal::ending;
use super::one_line;
use super::published;
use crate::app;
use crate::broker::Standing;
use crate::config::Config;
use crate::journal;
use crate::journal::CallView;
use crate::meters;
use crate::principal::PrincipalId;
use crate::session::Handle;
use crate::session::SessionId;
use crate::sessions;
use crate::sessions::By;
use crate::sessions::Change;
use crate::sessions::Frozen;
use crate::sessions::Pause;
use crate::sessions::Session;
use crate::sessions::Why;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use anyhow::Context;
use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use std::fmt::Write;
use std::str::FromStr;

/// How many events are shown beside the calls of a session, the newest.
const ARRIVED: u32 = 10;
/// How much of what became of a session is shown, the newest.
const CHANGES: u32 = 20;

/// How the names of the broker's own tools begin.
const OWN: &str = "countersign/";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the sessions, the last used first
    List {
        /// Only those of this principal
        #[arg(long, value_name = "NAME", value_parser = PrincipalId::parse)]
        owner: Option<PrincipalId>,
    },
    /// Show one session: its totals and what was called in it
    Show(Which),
    /// Say which rule found the session of a call
    Explain {
        /// The id of the call
        #[arg(value_parser = call_id)]
        call: CallId,
    },
    /// Give a session one more name
    Name {
        #[command(flatten)]
        which: Which,
        /// The name
        handle: Handle,
    },
    /// Have a session wait: nothing is sent in it until it is resumed
    Pause {
        #[command(flatten)]
        which: Which,
        /// What it waits for, for whoever comes back to it
        #[arg(long, value_name = "TEXT")]
        waiting_for: Option<String>,
    },
    /// Let a paused session go on
    Resume(Which),
    /// Refuse every further call of a session, in every running broker
    Freeze(Which),
    /// Let a frozen session go on
    Thaw(Which),
    /// Say what a session came in touch with, or that it holds no longer
    Label(label::Labelling),
    /// End a session for good
    End(Which),
    /// Send an event to a session: what it waits for; a paused one goes on
    Event {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        sent: events::Sent,
    },
    /// Show what arrived in a session
    Events(Which),
    /// Show to whom events were forwarded, and how that went
    Deliveries {
        /// The session's id or handle; all sessions where it is left out
        session: Option<String>,
        /// Whose handle it is, where several principals have it
        #[arg(long, value_name = "NAME", value_parser = PrincipalId::parse)]
        owner: Option<PrincipalId>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The session's id or handle
    session: String,
    /// Whose handle it is, where several principals have it
    #[arg(long, value_name = "NAME", value_parser = PrincipalId::parse)]
    owner: Option<PrincipalId>,
}

impl Command {
    /// Of whom it is asked.
    fn owner(&self) -> Option<&PrincipalId> {
        let owner = match self {
            Self::List { owner } | Self::Deliveries { owner, .. } => owner,
            Self::Show(which)
            | Self::Resume(which)
            | Self::Freeze(which)
            | Self::Thaw(which)
            | Self::End(which)
            | Self::Events(which)
            | Self::Name { which, .. }
            | Self::Pause { which, .. }
            | Self::Event { which, .. } => &which.owner,
            Self::Label(labelling) => return labelling.owner(),
            Self::Explain { .. } => return None,
        };
        owner.as_ref()
    }

    pub(super) fn run(self, config: &Config, form: Form) -> anyhow::Result<()> {
        let store = app::existing_store(&config.store)?;
        if let Some(owner) = self.owner() {
            super::note(app::unknown_principal(owner, &config.rules));
        }
        match self {
            Self::List { owner } => list((config, &store), owner.as_ref(), form),
            Self::Show(which) => show(config, &store, &which.find(&store)?, form),
            Self::Explain { call } => explain::explain(&store, call, form),
            Self::Name { which, handle } => which.name(&store, handle, form),
            Self::Pause { which, waiting_for } => {
                let pauses = move |tx: &Tx<'_>, id, now| {
                    sessions::pause(tx, id, waiting_for.as_deref(), (By::Operator, now))
                };
                which.change(&store, pauses, ("paused", "is over"), form)
            }
            Self::Resume(which) => {
                let resumes = |tx: &Tx<'_>, id, now| sessions::resume(tx, id, (By::Operator, now));
                let (now_it, before_it) = which.resuming(&which.find(&store)?);
                let words = (&*now_it, &*before_it);
                which.change(&store, resumes, words, form)
            }
            Self::Freeze(which) => {
                let freezes = |tx: &Tx<'_>, id, now| {
                    sessions::freeze(tx, id, Frozen::Yes, (By::Operator, now))
                };
                which.change(&store, freezes, ("frozen", "is frozen already"), form)
            }
            Self::Thaw(which) => {
                let thaws = |tx: &Tx<'_>, id, now| {
                    sessions::freeze(tx, id, Frozen::No, (By::Operator, now))
                };
                which.change(&store, thaws, ("thawed", "was not frozen"), form)
            }
            Self::Label(labelling) => labelling.run(config, &store, form),
            Self::End(which) => {
                let ends =
                    |tx: &Tx<'_>, id, now| sessions::end(tx, id, Why::Ended, (By::Operator, now));
                which.change(&store, ends, ("ended", "is over already"), form)
            }
            Self::Event { which, sent } => {
                let session = which.find(&store)?;
                sent.send((&store, config), &session, form)
            }
            Self::Events(which) => events::list(&store, &which.find(&store)?, form),
            Self::Deliveries { session, owner } => {
                let which = session.map(|session| Which { session, owner });
                let session = which.map(|which| which.find(&store)).transpose()?;
                events::deliveries(&store, session.as_ref(), form)
            }
        }
    }
}

impl Which {
    fn find(&self, store: &Store) -> anyhow::Result<Session> {
        find(store, &self.session, self.owner.as_ref())
    }

    /// Changes the session, and says what it is now, or was already.
    fn change(
        &self,
        store: &Store,
        change: impl FnOnce(&Tx<'_>, SessionId, Timestamp) -> Result<bool, StoreError> + Send + 'static,
        (now_it, before_it): (&str, &str),
        form: Form,
    ) -> anyhow::Result<()> {
        let session = self.find(store)?;
        let id = session.id;
        let now = Timestamp::now();
        let title = title(&session);
        let changed = store.write_blocking("session", move |tx| change(tx, id, now))?;
        match (form, changed) {
            (Form::Json, _) => print_changed(store, id, changed),
            (Form::Text, true) => super::print(&format!("{title} is {now_it}\n")),
            (Form::Text, false) => super::print(&format!("{title} {before_it}\n")),
        }
    }

    fn name(&self, store: &Store, handle: Handle, form: Form) -> anyhow::Result<()> {
        let session = self.find(store)?;
        let (title, owner, id) = (title(&session), session.owner.clone(), session.id);
        let given = handle.clone();
        let named = store.write_blocking("session", move |tx| {
            sessions::name(tx, &session, &given, (By::Operator, Timestamp::now()))
        })?;
        anyhow::ensure!(
            named,
            "{owner} has a session `{handle}` already: a name stays with its session"
        );
        match form {
            Form::Json => print_changed(store, id, true),
            Form::Text => super::print(&format!("{title} is also named {handle}\n")),
        }
    }
}

/// A session as it is after a command, and whether that changed it, for programs.
fn print_changed(store: &Store, id: SessionId, changed: bool) -> anyhow::Result<()> {
    let session = store.read(|tx| sessions::by_id(tx, id))?;
    let session = session.as_ref().map(published::session);
    super::print_json(&json!({ "changed": changed, "session": session }))
}

/// The session of this id or handle.
pub(super) fn find(
    store: &Store,
    session: &str,
    owner: Option<&PrincipalId>,
) -> anyhow::Result<Session> {
    if let Ok(id) = SessionId::from_str(session) {
        return store
            .read(|tx| sessions::by_id(tx, id))?
            .with_context(|| format!("there is no session {id}"));
    }
    let handle = Handle::from_str(session)?;
    let mut named = store.read(|tx| sessions::list(tx, owner))?;
    named.retain(|session| session.handles.iter().any(|name| name == handle.as_str()));
    let found = named.pop().with_context(|| {
        format!("there is no session `{handle}`: `countersign session list` shows them")
    })?;
    anyhow::ensure!(
        named.is_empty(),
        "several principals have a session `{handle}`: say whose with `--owner NAME`"
    );
    Ok(found)
}

fn list(
    (config, store): (&Config, &Store),
    owner: Option<&PrincipalId>,
    form: Form,
) -> anyhow::Result<()> {
    let sessions = store.read(|tx| sessions::list(tx, owner))?;
    if form == Form::Json {
        let sessions: Value = sessions.iter().map(published::session).collect();
        return super::print_json(&json!({ "sessions": sessions }));
    }
    let mut text = String::new();
    for session in &sessions {
        let used = session.used.strftime("%Y-%m-%d %H:%MZ");
        let state = state(session, config.broker.expire);
        writeln!(
            text,
            "{}  {:<20}  {:<16}  used {used}{state}",
            session.id,
            session.handles.join(","),
            session.owner,
        )?;
    }
    if sessions.is_empty() {
        match owner {
            Some(owner) => writeln!(text, "no sessions of {owner}")?,
            None => text.push_str("no sessions yet\n"),
        }
    }
    super::print(&text)
}

fn show(config: &Config, store: &Store, session: &Session, form: Form) -> anyhow::Result<()> {
    let living = store.living_writers()?;
    let filter = journal::Filter {
        session: Some(session.id),
        ..journal::Filter::default()
    };
    let (totals, calls, decisions, mut standing, arrived, changes) = store.read(|tx| {
        Ok((
            meters::of_session(tx, session.id)?,
            journal::calls(tx, &filter)?,
            journal::decisions(tx, &filter)?,
            Standing::read(tx, session.id, Timestamp::now())?,
            crate::events::list(tx, session.id, None, ARRIVED)?,
            sessions::history(tx, session.id, CHANGES)?,
        ))
    })?;
    // That a session is used is noted once a minute; its calls say it exactly.
    let mut session = session.clone();
    session.used = calls
        .iter()
        .map(|call| call.at)
        .fold(session.used, Timestamp::max);
    if let Some(standing) = &mut standing {
        standing.session.used = session.used;
    }
    let session = &session;
    let units = config.broker.units();
    if form == Form::Json {
        let calls: Vec<_> = calls
            .into_iter()
            .map(|call| {
                let ending = ending(&call, &living);
                (call, ending)
            })
            .collect();
        let mut whole = published::session_whole(session, (&totals, &calls), (&arrived, &changes));
        if let Some(members) = whole.as_object_mut() {
            let decisions = decisions.iter();
            let decisions =
                decisions.map(|decision| published::decision(decision, &session.handles));
            members.insert("decisions".to_owned(), decisions.collect());
        }
        return super::print_json(&whole);
    }
    let mut text = head(session)?;
    for total in totals {
        writeln!(text, "total     {} {}", total.meter, units.amount(&total))?;
    }
    for change in &changes {
        writeln!(text, "history   {}", change_line(change))?;
    }
    if let Some(last) = arrived.last() {
        writeln!(text, "events    {}", last.number)?;
    }
    writeln!(text, "calls     {}", counted(&calls))?;
    for call in &calls {
        writeln!(text, "  {}", call_line(call, &living))?;
    }
    if !decisions.is_empty() {
        writeln!(text, "decisions {}", decisions.len())?;
    }
    for decision in &decisions {
        let by = one_line(&decision.principal);
        writeln!(text, "  {}  {by}", decision_line(decision))?;
    }
    if let Some(standing) = standing {
        writeln!(text, "digest    for a client that comes back:")?;
        for line in standing.text(units).lines() {
            writeln!(text, "  {line}")?;
        }
    }
    super::print(&text)
}

/// How many calls there were. Those of the broker's own tools the digest leaves out.
fn counted(calls: &[CallView]) -> String {
    let own = calls.iter().filter(|call| call.tool.starts_with(OWN));
    match own.count() {
        0 => calls.len().to_string(),
        own => format!(
            "{}: {} of servers, and {own} of Countersign's own tools",
            calls.len(),
            calls.len() - own
        ),
    }
}

/// What a session is, apart from what happened in it.
fn head(session: &Session) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "session   {}", title(session))?;
    writeln!(text, "id        {}", session.id)?;
    writeln!(text, "owner     {}", session.owner)?;
    writeln!(
        text,
        "opened    {}",
        session.created.strftime("%Y-%m-%d %H:%M:%SZ")
    )?;
    writeln!(
        text,
        "used      {}",
        session.used.strftime("%Y-%m-%d %H:%M:%SZ")
    )?;
    if let Some(frozen) = session.frozen {
        writeln!(text, "frozen    {}", frozen.strftime("%Y-%m-%d %H:%M:%SZ"))?;
    }
    if let Some(pause) = &session.paused {
        writeln!(
            text,
            "paused    {}{}",
            pause.since.strftime("%Y-%m-%d %H:%M:%SZ"),
            waits(pause)
        )?;
    }
    if let Some(end) = session.ended {
        writeln!(
            text,
            "ended     {} ({})",
            end.at.strftime("%Y-%m-%d %H:%M:%SZ"),
            end.why.as_str()
        )?;
    }
    if !session.labels.is_empty() {
        writeln!(text, "labels    {}", label::listed(&session.labels))?;
    }
    Ok(text)
}

/// Something that became of a session.
fn change_line(change: &Change) -> String {
    let at = change.at.strftime("%Y-%m-%d %H:%M:%SZ");
    let what = change.what.as_str();
    let detail = change.detail.as_deref();
    let detail = detail.map_or_else(String::new, |text| format!(" {}", one_line(text)));
    format!("{at} {what} by {}{detail}", one_line(&change.by))
}

/// Whether a session can go on, and what keeps it from that.
fn state(session: &Session, kept: Option<SignedDuration>) -> String {
    let mut words = String::new();
    let unused = Timestamp::now().duration_since(session.used);
    if session.ended.is_none() && kept.is_some_and(|kept| unused > kept) {
        // A broker writes that down once one runs, or at the next call.
        words.push_str("  expired (not recorded yet)");
    }
    if session.frozen.is_some() {
        words.push_str("  frozen");
    }
    if let Some(pause) = &session.paused {
        words.push_str("  paused");
        words.push_str(&waits(pause));
    }
    if let Some(end) = session.ended {
        words.push_str("  ");
        words.push_str(end.why.as_str());
    }
    match words.is_empty() {
        true => "  open".to_owned(),
        false => words,
    }
}

/// What a session waits for, in somebody's words.
fn waits(pause: &Pause) -> String {
    let words = pause.waiting_for.as_deref();
    words.map_or_else(String::new, |words| {
        format!(", waiting for {}", one_line(words))
    })
}

fn title(session: &Session) -> String {
    if session.handles.is_empty() {
        session.id.to_string()
    } else {
        session.handles.join(", ")
    }
}
