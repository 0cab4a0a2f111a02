//! People told of escalations: each change is handed to those who want to know of it,
//! and told by whichever broker claims it.

use super::Broker;
use super::escalations::escalation_value;
use super::forward::LOOK_EVERY;
use crate::cause::Chain;
use crate::downstream::Hook;
use crate::downstream::Note;
use crate::escalations;
use crate::escalations::Change;
use crate::escalations::Escalation;
use crate::escalations::EscalationId;
use crate::escalations::State;
use crate::notices::Form;
use crate::notices::Notice;
use crate::outbox;
use crate::outbox::To;
use crate::outbox::Topic;
use crate::sessions;
use crate::store::Committed;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::Timestamp;
use serde_json::json;
use std::sync::Arc;

/// How many changes are handed on in one transaction.
const AT_ONCE: u32 = 100;

/// How large arguments are that a webhook or a command is told, in bytes.
const ARGUMENTS: usize = 16 << 10;

/// Who is told of escalations, and how.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    /// Each with a name of its own.
    pub readers: Vec<Reader>,
    /// Where people look at escalations: the address before the id.
    pub link: Option<Box<str>>,
}

/// One who is told of escalations.
#[derive(Clone, Debug)]
pub struct Reader {
    /// What they are known by in the store. No secret.
    pub name: Box<str>,
    /// What they are told of.
    pub states: Vec<State>,
    /// Of which roles one must be able to lift it; empty for any.
    pub roles: Vec<String>,
    /// Whether they are told the arguments.
    pub arguments: bool,
    /// In which form.
    pub form: Form,
    /// By which way.
    pub hook: Hook,
}

impl Reader {
    fn wants(&self, state: State, escalation: &Escalation) -> bool {
        let for_them = |role| self.roles.contains(role);
        self.states.contains(&state)
            && (self.roles.is_empty() || escalation.roles.iter().any(for_them))
    }
}

impl Notices {
    /// Hands the oldest changes to those who want to know of them. Returns whether there
    /// were any.
    fn spread(&self, tx: &Tx<'_>, now: Timestamp) -> Result<bool, StoreError> {
        let changes = escalations::take_changes(tx, AT_ONCE)?;
        for Change { id, state } in &changes {
            let Some(escalation) = escalations::find(tx, *id)? else {
                continue;
            };
            for reader in &self.readers {
                if reader.wants(*state, &escalation) {
                    let to = To {
                        topic: Topic::Escalation,
                        target: &reader.name,
                    };
                    let matter = matter(*id, *state, escalations::version(tx, *id)?);
                    outbox::enqueue(tx, to, &matter, now)?;
                }
            }
        }
        Ok(!changes.is_empty())
    }
}

impl Broker {
    /// Hands changes on while the broker runs. Where nobody is to be told they are
    /// dropped, so that whoever is named later is not told of long ago.
    pub(super) fn notify(self: &Arc<Self>) {
        let broker = Arc::clone(self);
        self.tasks.spawn(async move {
            let stopping = broker.stopping.clone();
            let _stopped = stopping.run_until_cancelled(broker.hand_on()).await;
        });
    }

    async fn hand_on(&self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut known = None;
        loop {
            look.tick().await;
            if let Err(error) = self.hand_on_once(&mut known).await {
                tracing::warn!(error = %Chain(&error), "nobody can say who is to be told of escalations");
            }
        }
    }

    /// The store is read only where it changed.
    async fn hand_on_once(
        &self,
        known: &mut Option<crate::store::Version>,
    ) -> Result<(), StoreError> {
        let version = self.store.version()?;
        if *known == Some(version) {
            return Ok(());
        }
        while self.store.read(escalations::changed)? {
            let settings = Arc::clone(&self.settings);
            let work = move |tx: &Tx<'_>| settings.webhooks.notices().spread(tx, Timestamp::now());
            let spread = self.store.write("notify", Durability::Process, work).await;
            if !spread.map(Committed::into_inner)? {
                break;
            }
        }
        *known = Some(version);
        Ok(())
    }
}

/// What of it is told, and how.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) form: Form,
    pub(super) arguments: bool,
    pub(super) link: Option<&'a str>,
}

/// What is told: that an escalation is in a state, and where it said more meanwhile,
/// with which of its versions.
fn matter(id: EscalationId, state: State, version: u32) -> String {
    match version {
        1 => format!("{id}/{}", state.as_str()),
        later => format!("{id}/{}/{later}", state.as_str()),
    }
}

/// The name of a change for those who are told: the same at each try.
pub(super) fn name(matter: &str) -> String {
    format!("ntf_{}", matter.replace('/', "_"))
}

/// What is told of a change. None where the escalation is forgotten.
pub(super) fn note(
    tx: &Tx<'_>,
    matter: &str,
    told: Told<'_>,
    now: Timestamp,
) -> Result<Option<Note>, StoreError> {
    let mut parts = matter.split('/');
    let named = parts.next().zip(parts.next());
    let named =
        named.and_then(|(id, state)| Some((id.parse::<EscalationId>().ok()?, State::read(state)?)));
    let (id, state) = named.ok_or_else(|| StoreError::Damaged {
        what: format!("the delivery of the escalation {matter}"),
    })?;
    let Some(mut escalation) = escalations::find(tx, id)? else {
        return Ok(None);
    };
    if !told.arguments {
        escalation.body = None;
    }
    let handles = sessions::handles(tx, escalation.session)?;
    let notice = Notice {
        escalation: &escalation,
        handles: &handles,
        state,
        link: told.link,
    };
    let text = match told.form {
        Form::Json => published(&notice, now),
        Form::Slack => notice.for_slack(now),
        Form::Teams => notice.for_teams(now),
        Form::Mail => notice.text(now),
    };
    let title = notice.line();
    Ok(Some(Note { title, text }))
}

/// What a webhook or a command is told: the text of an object (Standard Webhooks,
/// payload structure).
fn published(notice: &Notice<'_>, now: Timestamp) -> String {
    let one = notice.escalation;
    let word = match notice.state {
        State::Pending => "asked",
        other => other.as_str(),
    };
    let body = one.body.as_deref();
    let whole = body.filter(|body| body.len() <= ARGUMENTS);
    let text = json!(notice.text(now));
    format!(
        r#"{{"type":"escalation.{word}","timestamp":{},"data":{{"escalation":{},"handles":{},"arguments":{},"argumentsBytes":{},"link":{},"command":{},"text":{text}}}}}"#,
        json!(now.to_string()),
        escalation_value(one, now),
        json!(notice.handles),
        whole.unwrap_or("null"),
        json!(body.map(str::len)),
        json!(notice.url()),
        json!(notice.command()),
    )
}
