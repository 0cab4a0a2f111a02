//! Events and escalations told to others: by whichever broker claims a delivery first.
//! One task for each target, so that one that is slow keeps no other waiting.

use super::Broker;
use super::events::event_json;
use super::notify;
use super::notify::Notices;
use crate::cause::Chain;
use crate::crash;
use crate::downstream::Hook;
use crate::downstream::Note;
use crate::events;
use crate::events::Outbox;
use crate::events::Target;
use crate::notices::Form;
use crate::outbox;
use crate::outbox::Attempt;
use crate::outbox::Claimed;
use crate::outbox::Ended;
use crate::outbox::To;
use crate::outbox::Topic;
use crate::sessions;
use crate::store::Committed;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::Version;
use jiff::Timestamp;
use serde_json::json as value;
use std::sync::Arc;
use std::time::Duration;

/// How often a target is looked after: something may be due, of this process or
/// another.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Who is told of events and escalations, and how.
#[derive(Clone, Debug, Default)]
pub struct Webhooks {
    outbox: Outbox,
    hooks: Vec<Hook>,
    notices: Notices,
}

impl Webhooks {
    /// Adds one. Its name is none of another's, and no secret.
    pub fn add(&mut self, name: &str, kinds: Vec<String>, hook: Hook) {
        self.outbox.targets.push(Target {
            name: name.into(),
            kinds,
        });
        self.hooks.push(hook);
    }

    /// Who is told of what.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The same, with those who are told of escalations.
    pub fn with(self, notices: Notices) -> Self {
        Self { notices, ..self }
    }

    /// Who is told of escalations.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    fn tellers(&self) -> impl Iterator<Item = Teller> {
        let events = self.outbox.targets.iter().zip(&self.hooks);
        let events = events.map(|(target, hook)| Teller {
            topic: Topic::Event,
            name: target.name.clone(),
            form: Form::Json,
            arguments: true,
            hook: hook.clone(),
        });
        let readers = self.notices.readers.iter().map(|reader| Teller {
            topic: Topic::Escalation,
            name: reader.name.clone(),
            form: reader.form,
            arguments: reader.arguments,
            hook: reader.hook.clone(),
        });
        events.chain(readers)
    }
}

/// What tells one target of one topic.
struct Teller {
    topic: Topic,
    name: Box<str>,
    form: Form,
    arguments: bool,
    hook: Hook,
}

impl Teller {
    fn to(&self) -> To<'_> {
        To {
            topic: self.topic,
            target: &self.name,
        }
    }
}

impl Broker {
    /// Forwards what happens while the broker runs.
    pub(super) fn forward(self: &Arc<Self>) {
        for teller in self.settings.webhooks.tellers() {
            let broker = Arc::clone(self);
            self.tasks.spawn(async move {
                let stopping = broker.stopping.clone();
                let tells = broker.forward_to(&teller);
                let _stopped = stopping.run_until_cancelled(tells).await;
            });
        }
    }

    async fn forward_to(&self, teller: &Teller) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut known = Known::default();
        loop {
            look.tick().await;
            match self.is_due(teller.to(), &mut known) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "nobody can say what is to be forwarded");
                    continue;
                }
            }
            while let Some(done) = self.forward_one(teller).await {
                if let Err(error) = done {
                    tracing::error!(error = %Chain(&error), "a delivery could not be claimed or recorded");
                    break;
                }
            }
        }
    }

    /// Whether a delivery is due. The store is read only where it changed.
    fn is_due(&self, to: To<'_>, known: &mut Known) -> Result<bool, StoreError> {
        let version = self.store.version()?;
        if known.version != Some(version) {
            known.due = self.store.read(|tx| outbox::next_due(tx, to))?;
            known.version = Some(version);
        }
        Ok(known.due.is_some_and(|due| due <= Timestamp::now()))
    }

    /// Claims a delivery, tries it, and records how it went. None where nothing is
    /// due.
    async fn forward_one(&self, teller: &Teller) -> Option<Result<(), StoreError>> {
        let writer = self.writer.id();
        let (topic, name) = (teller.topic, teller.name.clone());
        let (form, arguments) = (teller.form, teller.arguments);
        let settings = Arc::clone(&self.settings);
        let claim = move |tx: &Tx<'_>| {
            let (now, target) = (Timestamp::now(), &*name);
            let Some(claimed) = outbox::claim(tx, writer, To { topic, target }, now)? else {
                return Ok(None);
            };
            let told = notify::Told {
                form,
                arguments,
                link: settings.webhooks.notices.link.as_deref(),
            };
            let said = said(tx, &claimed, told, now)?;
            Ok(Some((claimed, said)))
        };
        let claimed = self.store.write("claim", Durability::Process, claim).await;
        let (claimed, said) = match claimed.map(Committed::into_inner) {
            Ok(claimed) => claimed?,
            Err(error) => return Some(Err(error)),
        };
        crash::point("deliver.before-tell");
        let at = Timestamp::now();
        let attempt = match said {
            None => Attempt {
                at,
                status: None,
                problem: Some("what it is about is forgotten".to_owned()),
            },
            Some((id, note)) => {
                let told = teller.hook.tell(&id, note, at).await;
                Attempt {
                    at,
                    status: told.status,
                    problem: told.problem,
                }
            }
        };
        crash::point("deliver.after-tell");
        let (matter, problem) = (claimed.matter.clone(), attempt.problem.clone());
        let record = move |tx: &Tx<'_>| outbox::record(tx, writer, &claimed, &attempt);
        let recorded = self.store.write("tried", Durability::Process, record).await;
        match recorded.map(Committed::into_inner) {
            Ok(ended) => log(teller, &matter, ended, problem),
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(()))
    }
}

fn log(teller: &Teller, matter: &str, ended: Option<Ended>, problem: Option<String>) {
    let (topic, target) = (teller.topic.as_str(), &*teller.name);
    match ended {
        Some(Ended::GivenUp) => tracing::error!(
            delivery.topic = topic,
            delivery.matter = matter,
            webhook.target = target,
            "something could not be told for a day and is given up"
        ),
        None => tracing::warn!(
            delivery.topic = topic,
            delivery.matter = matter,
            webhook.target = target,
            "what was told was not taken and is told again later: {}",
            problem.unwrap_or_default()
        ),
        Some(Ended::Delivered) => {}
    }
}

/// What a target is told, and what that is called. None where it is forgotten.
fn said(
    tx: &Tx<'_>,
    claimed: &Claimed,
    told: notify::Told<'_>,
    now: Timestamp,
) -> Result<Option<(String, Note)>, StoreError> {
    match claimed.topic {
        Topic::Event => event(tx, &claimed.matter).map(Some),
        Topic::Escalation => {
            let note = notify::note(tx, &claimed.matter, told, now)?;
            Ok(note.map(|note| (notify::name(&claimed.matter), note)))
        }
    }
}

/// What was last read of the deliveries to a target.
#[derive(Debug, Default)]
struct Known {
    version: Option<Version>,
    due: Option<Timestamp>,
}

/// What is told of an event: the text of an object (Standard Webhooks, payload
/// structure).
fn event(tx: &Tx<'_>, matter: &str) -> Result<(String, Note), StoreError> {
    let (id, event) = events::delivered(tx, matter)?;
    let session = sessions::by_id(tx, id)?;
    let session = session.map_or_else(
        || value!({ "id": id.to_string() }),
        |session| {
            value!({
                "id": session.id.to_string(),
                "handles": session.handles,
                "owner": session.owner.to_string(),
            })
        },
    );
    let at = value!(event.at.to_string());
    let text = format!(
        r#"{{"type":"session.event","timestamp":{at},"data":{{"session":{session},"event":{}}}}}"#,
        event_json(&event)
    );
    let note = Note {
        title: String::new(),
        text,
    };
    Ok((format!("evt_{id}_{}", event.number), note))
}
