//! `countersign meter`: what the meters have counted.

use super::Form;
use super::one_line;
use super::published;
use super::session;
use crate::app;
use crate::config::Config;
use crate::meters;
use crate::meters::Shown;
use crate::principal::PrincipalId;
use crate::tool::Per;
use crate::tool::Window;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fmt::Write as _;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show the totals as they are now
    Show(Show),
}

/// Totals of several scopes are shown together where several are named.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Only the totals of this session, by its id or handle
    #[arg(long)]
    session: Option<String>,
    /// Whose handle it is, where several principals have it
    #[arg(long, value_name = "NAME", value_parser = PrincipalId::parse, requires = "session")]
    owner: Option<PrincipalId>,
    /// Only the totals of this principal
    #[arg(long, value_name = "NAME", value_parser = PrincipalId::parse)]
    principal: Option<PrincipalId>,
    /// Only the totals of this role
    #[arg(long)]
    role: Option<String>,
    /// Only this meter: its name, or `server/tool#argument` for a tool's own
    #[arg(long, value_name = "NAME")]
    meter: Option<String>,
}

impl Command {
    pub(super) fn run(self, config: &Config, form: Form) -> anyhow::Result<()> {
        match self {
            Self::Show(show) => show.run(config, form),
        }
    }
}

impl Show {
    fn run(&self, config: &Config, form: Form) -> anyhow::Result<()> {
        let store = app::existing_store(&config.store)?;
        let mut scopes = Vec::new();
        if let Some(session) = &self.session {
            let session = session::find(&store, session, self.owner.as_ref())?;
            scopes.push((Per::Session, session.id.to_string()));
        }
        let principal = self.principal.as_ref();
        let rules = &config.rules;
        super::note(principal.and_then(|who| app::unknown_principal(who, rules)));
        let role = self.role.as_deref();
        super::note(role.and_then(|role| app::unknown_role(role, rules)));
        scopes.extend(principal.map(|who| (Per::Principal, who.to_string())));
        scopes.extend(self.role.clone().map(|role| (Per::Role, role)));
        let now = Timestamp::now();
        let (declared, zone) = (&config.broker.meters, &config.broker.zone);
        let mut shown = store.read(|tx| meters::all(tx, declared, (now, zone)))?;
        if let Some(meter) = &self.meter {
            must_be_there(config, meter, &shown)?;
            shown.retain(|one| one.meter.name() == meter);
        }
        if !scopes.is_empty() {
            let asked = |one: &Shown| {
                let mut scopes = scopes.iter();
                scopes.any(|(per, of)| one.per == *per && one.of == *of)
            };
            shown.retain(asked);
        }
        let units = config.broker.units();
        if form == Form::Json {
            return super::print_json(&published::meters(&shown, units, now));
        }
        let mut text = String::new();
        for one in &shown {
            let whose = format!("{} {}", one.per, one.of);
            writeln!(
                text,
                "{:<32}  {:<46}  {:<12}  {}",
                one_line(one.meter.name()),
                one_line(&whose),
                in_words(one.window),
                units.shown(one)
            )?;
        }
        if shown.is_empty() {
            text.push_str("nothing was counted yet\n");
        }
        super::print(&text)
    }
}

/// A name that is none would show nothing, as if nothing had been counted.
fn must_be_there(config: &Config, meter: &str, shown: &[Shown]) -> anyhow::Result<()> {
    let mut known = BTreeSet::new();
    known.extend(
        config
            .broker
            .meters
            .iter()
            .map(|meter| meter.name.to_string()),
    );
    for (server, rules) in &config.broker.servers {
        for (tool, rules) in &rules.tools {
            let arguments = rules.meters.iter();
            known.extend(arguments.map(|argument| format!("{server}/{tool}#{argument}")));
        }
    }
    known.extend(shown.iter().map(|one| one.meter.name().to_owned()));
    let listed: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let listed = match listed.is_empty() {
        true => "none is declared".to_owned(),
        false => format!("they are {}", listed.join(", ")),
    };
    anyhow::ensure!(
        known.contains(meter),
        "there is no meter `{}`: {}",
        one_line(meter),
        one_line(&listed)
    );
    Ok(())
}

fn in_words(window: Window) -> String {
    match window {
        Window::Always => "all time".to_owned(),
        Window::Day => "today".to_owned(),
        Window::Sliding(time) => format!("last {time:#}"),
    }
}
