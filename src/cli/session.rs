//! `countersign session`.

use super::Form;
use super::journal::call_line;
use super::journal::ending;
use super::published;
use crate::app;
use crate::config::Config;
use crate::journal;
use crate::meters;
use crate::meters::Total;
use crate::policy;
use crate::principal::PrincipalId;
use crate::session::Handle;
use crate::session::SessionId;
use crate::sessions;
use crate::sessions::Session;
use crate::store::Store;
use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use std::fmt::Write;
use std::str::FromStr;

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
    /// Refuse every further call of a session, in every running broker
    Freeze(Which),
    /// Let a frozen session go on
    Thaw(Which),
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
    pub(super) fn run(self, config: &Config, form: Form) -> anyhow::Result<()> {
        let store = app::existing_store(&config.store)?;
        match self {
            Self::List { owner } => list(&store, owner.as_ref(), form),
            Self::Show(which) => show(config, &store, &which.find(&store)?, form),
            Self::Freeze(which) => which.freeze(&store, Some(Timestamp::now())),
            Self::Thaw(which) => which.freeze(&store, None),
        }
    }
}

impl Which {
    fn find(&self, store: &Store) -> anyhow::Result<Session> {
        if let Ok(id) = SessionId::from_str(&self.session) {
            return store
                .read(|tx| sessions::by_id(tx, id))?
                .with_context(|| format!("there is no session {id}"));
        }
        let handle = Handle::from_str(&self.session)?;
        let mut named = store.read(|tx| sessions::list(tx, self.owner.as_ref()))?;
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

    fn freeze(&self, store: &Store, since: Option<Timestamp>) -> anyhow::Result<()> {
        let session = self.find(store)?;
        let id = session.id;
        store.write_blocking("freeze", move |tx| sessions::freeze(tx, id, since))?;
        let word = if since.is_some() { "frozen" } else { "thawed" };
        super::print(&format!("{} is {word}\n", title(&session)))
    }
}

fn list(store: &Store, owner: Option<&PrincipalId>, form: Form) -> anyhow::Result<()> {
    let sessions = store.read(|tx| sessions::list(tx, owner))?;
    if form == Form::Json {
        let sessions: Value = sessions.iter().map(published::session).collect();
        return super::print_json(&json!({ "sessions": sessions }));
    }
    let mut text = String::new();
    for session in &sessions {
        let used = session.used.strftime("%Y-%m-%d %H:%MZ");
        let frozen = if session.frozen.is_some() {
            "  frozen"
        } else {
            ""
        };
        writeln!(
            text,
            "{}  {:<20}  {:<16}  used {used}{frozen}",
            session.id,
            session.handles.join(","),
            session.owner,
        )?;
    }
    if sessions.is_empty() {
        text.push_str("no sessions yet\n");
    }
    super::print(&text)
}

fn show(config: &Config, store: &Store, session: &Session, form: Form) -> anyhow::Result<()> {
    let living = store.living_writers()?;
    let filter = journal::Filter {
        session: Some(session.id),
        ..journal::Filter::default()
    };
    let (totals, calls) = store.read(|tx| {
        Ok((
            meters::of_session(tx, session.id)?,
            journal::calls(tx, &filter)?,
        ))
    })?;
    if form == Form::Json {
        let calls: Vec<_> = calls
            .into_iter()
            .map(|call| {
                let ending = ending(&call, &living);
                (call, ending)
            })
            .collect();
        return super::print_json(&published::session_whole(session, &totals, &calls));
    }
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
    for total in totals {
        writeln!(text, "total     {} {}", total.meter, shown(config, &total))?;
    }
    writeln!(text, "calls     {}", calls.len())?;
    for call in &calls {
        writeln!(text, "  {}", call_line(call, &living))?;
    }
    super::print(&text)
}

/// A total as people write it: of money with its minor units behind a point.
fn shown(config: &Config, total: &Total) -> String {
    let of_money = config.broker.servers.iter().any(|(server, rules)| {
        let tools = rules.tools.iter();
        let money = tools.flat_map(|(tool, rules)| rules.money.iter().map(move |arg| (tool, arg)));
        money
            .map(|(tool, argument)| format!("{server}/{tool}#{argument}"))
            .any(|meter| meter == total.meter)
    });
    match of_money {
        true => policy::amount(total.total, config.broker.money_scale),
        false => total.total.to_string(),
    }
}

fn title(session: &Session) -> String {
    if session.handles.is_empty() {
        session.id.to_string()
    } else {
        session.handles.join(", ")
    }
}
