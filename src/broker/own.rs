//! The broker's own tools: what a session is and what was done in it, and what is
//! written down in it. They are decided and recorded like any other, and answered
//! here, in the session of the call and in no other.

mod answers;
mod decisions;
pub(super) mod pages;

pub use pages::percent_decoded;

pub(super) use decisions::digest_json;
pub(super) use decisions::digest_line;

use super::Answer;
use super::Broker;
use super::Keep;
use super::Refusal;
use super::ToolCall;
use super::catalogue::Route;
use super::close::Held;
use super::escalations::Ground;
use super::labels::Unread;
use super::names;
use super::retry;
use super::settle;
use crate::cause::Chain;
use crate::downstream::Era;
use crate::downstream::Sent;
use crate::journal;
use crate::meters::Charges;
use crate::permit::Permit;
use crate::pins;
use crate::retries;
use crate::session::Label;
use crate::session::SessionId;
use crate::sessions;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::Access;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::ServerName;
use crate::tool::TaskAsk;
use crate::tool::ToolDefinition;
use crate::tool::ToolId;
use answers::Said;
use answers::change;
use answers::look;
use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::LazyLock;

/// The server that the broker itself is.
pub(super) const OWN: &str = "countersign";

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Own {
    Status,
    History,
    Pause,
    Resume,
    Put,
    Get,
    List,
    Delete,
    AddNote,
    Notes,
    Events,
    /// Waiting for a decision on a call of one's own.
    Wait,
    Withdraw,
    /// What waits for somebody's decision.
    Escalations,
    Decide,
    /// Reading one of our own resources.
    Page,
    /// Being told of its changes.
    Follow,
    /// Asking after a task that waits for a decision.
    TaskGet,
    /// Waiting for its end.
    TaskResult,
    /// Answering what it asks, which is nothing.
    TaskUpdate,
    /// Taking it back.
    TaskCancel,
}

impl Own {
    /// The tools.
    const ALL: [Self; 15] = [
        Self::Status,
        Self::History,
        Self::Pause,
        Self::Resume,
        Self::Put,
        Self::Get,
        Self::List,
        Self::Delete,
        Self::AddNote,
        Self::Notes,
        Self::Events,
        Self::Wait,
        Self::Withdraw,
        Self::Escalations,
        Self::Decide,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Status => "session_status",
            Self::History => "session_history",
            Self::Pause => "session_pause",
            Self::Resume => "session_resume",
            Self::Put => "memory_put",
            Self::Get => "memory_get",
            Self::List => "memory_list",
            Self::Delete => "memory_delete",
            Self::AddNote => "note_add",
            Self::Notes => "note_list",
            Self::Events => "event_list",
            Self::Wait => "escalation_wait",
            Self::Withdraw => "escalation_withdraw",
            Self::Escalations => "escalation_list",
            Self::Decide => "escalation_decide",
            Self::Page => Asking::Read.method(),
            Self::Follow => Asking::Subscribe.method(),
            Self::TaskGet => Asking::Task(TaskAsk::Get).method(),
            Self::TaskResult => Asking::Task(TaskAsk::Result).method(),
            Self::TaskUpdate => Asking::Task(TaskAsk::Update).method(),
            Self::TaskCancel => Asking::Task(TaskAsk::Cancel).method(),
        }
    }

    pub(super) fn access(self) -> Access {
        match self {
            Self::Status
            | Self::History
            | Self::Get
            | Self::List
            | Self::Notes
            | Self::Events
            | Self::Wait
            | Self::Escalations
            | Self::Page
            | Self::Follow
            | Self::TaskGet
            | Self::TaskResult => Access::Read,
            Self::Pause
            | Self::Resume
            | Self::Put
            | Self::Delete
            | Self::AddNote
            | Self::Withdraw
            | Self::Decide
            | Self::TaskUpdate
            | Self::TaskCancel => Access::Write,
        }
    }

    /// How much harm it can do. What is `reserved` needs a permit of the operator's;
    /// the built-in one covers everything else.
    pub(super) fn risk(self) -> &'static str {
        match self {
            Self::Escalations | Self::Decide => "reserved",
            _ => "low",
        }
    }

    /// What its effect must survive.
    fn durability(self) -> Durability {
        match self {
            Self::Withdraw | Self::Decide => Durability::Power,
            _ => Durability::Process,
        }
    }
}

/// What is offered of the broker's own tools.
#[derive(Clone, Debug, Default)]
pub struct OwnTools {
    /// Whether they are offered at all.
    pub offered: bool,
    /// What some of them are called, by their own names (`memory_put`).
    pub names: BTreeMap<String, String>,
}

impl OwnTools {
    /// Their own names, as a configuration may use them.
    pub fn known() -> impl Iterator<Item = &'static str> {
        Own::ALL.into_iter().map(Own::name)
    }

    /// What clients see it under.
    pub(super) fn name(&self, own: Own, tool: &ToolId) -> String {
        let given = self.names.get(own.name());
        given.map_or_else(|| names::exposed(tool, usize::MAX), Clone::clone)
    }
}

/// What there is to say of each.
pub(super) fn definitions() -> Vec<(Own, Arc<ToolDefinition>)> {
    static DEFINITIONS: LazyLock<Vec<(Own, Arc<ToolDefinition>)>> = LazyLock::new(read);
    DEFINITIONS.clone()
}

/// Which tool one of them is.
pub(super) fn id(own: Own) -> Option<ToolId> {
    let known = definitions().into_iter().find(|(known, _)| *known == own);
    known.map(|(_, definition)| definition.id.clone())
}

/// A test holds that each is there.
fn read() -> Vec<(Own, Arc<ToolDefinition>)> {
    let entries: Vec<Value> =
        serde_json::from_str(include_str!("own/tools.json")).unwrap_or_default();
    let Ok(server) = OWN.parse::<ServerName>() else {
        return Vec::new();
    };
    let definitions = entries.iter().filter_map(|entry| {
        // On one line: it goes into messages as it is.
        let definition = pins::definition(&server, &entry.to_string()).ok()?;
        let own = Own::ALL.into_iter();
        let own = own
            .into_iter()
            .find(|own| own.name() == &*definition.id.name)?;
        Some((own, Arc::new(definition)))
    });
    let asked = [
        (Own::Page, Asking::Read),
        (Own::Follow, Asking::Subscribe),
        (Own::TaskGet, Asking::Task(TaskAsk::Get)),
        (Own::TaskResult, Asking::Task(TaskAsk::Result)),
        (Own::TaskUpdate, Asking::Task(TaskAsk::Update)),
        (Own::TaskCancel, Asking::Task(TaskAsk::Cancel)),
    ];
    let resources = asked.into_iter().filter_map(|(own, asking)| {
        let definition = pins::fixed(&server, asking).ok()?;
        Some((own, Arc::new(definition)))
    });
    definitions.chain(resources).collect()
}

impl Broker {
    /// Answers a call of one of our own tools. What it changes and the end of its
    /// record are one transaction: it happened once, or not at all.
    pub(super) async fn serve(
        self: &Arc<Self>,
        permit: Permit,
        (own, route): (Own, &Arc<Route>),
        call: ToolCall,
    ) -> Answer {
        let (id, now) = (permit.call(), Timestamp::now());
        let charged = Charges::none(call.session, call.principal.clone()).into();
        let keep = match own {
            // It shows arguments of others, of which their own records say what is kept.
            Own::Escalations => Keep::Nothing,
            _ => self.settings.keep,
        };
        let keyed = call.key.is_some();
        let answered = match own.access() {
            Access::Read => self.read_own(own, (call, id)).await,
            Access::Write => {
                let route = Arc::clone(route);
                let writer = self.writer.id();
                let (catalogue, settings) =
                    (self.catalogue.load_full(), Arc::clone(&self.settings));
                let work = move |tx: &Tx<'_>| {
                    let ground = Ground {
                        catalogue: &catalogue,
                        settings: &settings,
                        writer,
                    };
                    let said = change(tx, (own, ground, id), &call, now)?;
                    let (closing, answer) = settle::judged(id, &route, sent(&said), keep);
                    journal::close(tx, writer, &closing, now)?;
                    if keyed {
                        let ending = retry::ending(&closing, &answer);
                        retries::end(tx, id, &ending)?;
                    }
                    Ok(answer)
                };
                let written = self.store.write("own", own.durability(), work).await;
                match written {
                    Ok(answer) => return answer.into_inner(),
                    Err(error) => Err(error),
                }
            }
        };
        let is_full = answered.as_ref().is_err_and(StoreError::is_full);
        let (sent, labels) = answered.unwrap_or_else(|error| {
            tracing::error!(call.id = %id, error = %Chain(&error), "a tool of our own failed");
            (not_sent("the store failed"), BTreeSet::new())
        });
        let (closing, answer) = settle::judged(id, route, sent, keep);
        let ending = keyed.then(|| retry::ending(&closing, &answer));
        let held = Held { charged, labels };
        match self.close(route, (closing, ending), held, answer).await {
            Answer::Refused(Refusal::ServerUnavailable { .. }) => Answer::Refused(match is_full {
                true => Refusal::NoRoom,
                false => Refusal::NotRecorded,
            }),
            answer => answer,
        }
    }

    /// Reads on a thread that may wait, after what this process has yet to fold. What is
    /// told of another session brings the labels of that.
    async fn read_own(&self, own: Own, (call, of): (ToolCall, CallId)) -> Result<Read, StoreError> {
        let waited = match own {
            Own::Wait => Some(self.waited(&call).await),
            _ => None,
        };
        let reader = call.principal.clone();
        let (store, settings) = (Arc::clone(&self.store), Arc::clone(&self.settings));
        let (catalogue, writer) = (self.catalogue.load_full(), self.writer.id());
        let read = tokio::task::spawn_blocking(move || {
            store.catch_up()?;
            let units = settings.units();
            store.read(|tx| {
                let told = match (own, &waited) {
                    (Own::Page, _) => pages::read(tx, &call, units)?,
                    (_, Some(waited)) => told(waited),
                    (Own::Escalations, None) => {
                        let ground = Ground {
                            catalogue: &catalogue,
                            settings: &settings,
                            writer,
                        };
                        let asked = (&call, of);
                        told(&decisions::listed(tx, ground, asked, Timestamp::now())?)
                    }
                    (tool, None) => told(&look(tx, tool, &call, units)?),
                };
                unread(tx, told, &call, settings.labels_stick)
            })
        });
        match read.await {
            Ok(unread) => self.read_by(&reader, unread?).await,
            Err(_stopping) => Ok((not_sent("the broker is stopping"), BTreeSet::new())),
        }
    }
}

/// What was read, and the labels that come with it from other sessions.
type Read = (Sent, BTreeSet<Label>);

/// What is told in a call, by the sessions in which it stands.
fn unread(
    tx: &Tx<'_>,
    (sent, mut from): (Sent, BTreeSet<SessionId>),
    call: &ToolCall,
    stick: SignedDuration,
) -> Result<Unread<Read>, StoreError> {
    let here = from.remove(&call.session);
    let read = (sent, sessions::met_in(tx, from)?);
    match here {
        true => Unread::of(tx, read, (call.session, &call.principal), stick),
        false => Ok(Unread::plain(read, call.session)),
    }
}

fn told(said: &Said) -> (Sent, BTreeSet<SessionId>) {
    (sent(said), said.from.clone())
}

fn not_sent(why: &str) -> Sent {
    Sent::NotSent {
        why: why.to_owned(),
    }
}

fn sent(said: &Said) -> Sent {
    Sent::Result {
        json: said.result(),
        era: Era::Legacy(String::new()),
        failed: said.has_failed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_our_own_tools_is_described() {
        let described: Vec<Own> = definitions().into_iter().map(|(own, _)| own).collect();
        let (tools, others) = described.split_at(Own::ALL.len());
        let methods = [
            Own::Page,
            Own::Follow,
            Own::TaskGet,
            Own::TaskResult,
            Own::TaskUpdate,
            Own::TaskCancel,
        ];
        assert_eq!((tools, others), (&Own::ALL[..], &methods[..]));
        for (own, definition) in definitions().into_iter().take(tools.len()) {
            let reads = definition.hints.read_only;
            assert_eq!(reads, own.access() == Access::Read, "{own:?}");
            assert!(!definition.json.contains('\n'), "{own:?}");
        }
    }
}
