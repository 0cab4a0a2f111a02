//! Tasks that calls began: where the id of one leads, and keeping a new one.

use super::Answer;
use super::Broker;
use super::Catalogue;
use super::Refusal;
use super::ToolCall;
use super::catalogue::Route;
use super::own::OWN;
use super::subscriptions::Begun;
use super::subscriptions::Listener;
use crate::cause::Chain;
use crate::downstream::Replica;
use crate::journal;
use crate::journal::Closing;
use crate::json;
use crate::json::Object;
use crate::meters::Charges;
use crate::outcome::Outcome;
use crate::principal::PrincipalId;
use crate::sessions;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tasks;
use crate::tasks::Page;
use crate::tasks::Task;
use crate::tool::Asking;
use crate::tool::ServerName;
use crate::tool::TaskAsk;
use jiff::Timestamp;
use std::sync::Arc;

/// Where a request leads, and the task that it is about.
pub(super) type Led = (Arc<Route>, Option<Task>);

/// Whether a tool is to be called as a task only, as its server lists it (MCP
/// 2025-11-25, tasks, tool-level negotiation).
pub(super) fn only_as_task(entry: &str) -> bool {
    let support = Object::parse(entry).ok().and_then(|entry| {
        let execution = Object::parse(entry.get("execution")?).ok()?;
        json::text(execution.get("taskSupport")?)
    });
    support.as_deref() == Some("required")
}

impl Catalogue {
    /// Whether a tool is to be called as a task only. What a tool says of it counts
    /// only where its server makes tasks of calls.
    pub(super) fn only_as_task(&self, route: &Route) -> bool {
        let results = Asking::Task(TaskAsk::Result);
        route.only_as_task && self.other(&route.tool.server, results).is_some()
    }
}

impl Broker {
    /// Whether a tool is to be called as a task only (MCP 2025-11-25, tasks).
    pub fn only_as_task(&self, tool: &str) -> bool {
        let catalogue = self.catalogue.load();
        let route = catalogue.route(Asking::Tool, tool);
        route.is_some_and(|route| catalogue.only_as_task(&route))
    }

    /// Whether a call lacks the wish for a task without which its server would not
    /// take it.
    pub(super) fn lacks_task(&self, route: &Route, call: &ToolCall) -> bool {
        call.asking == Asking::Tool
            && call.task.is_none()
            && self.catalogue.load().only_as_task(route)
    }

    /// The task that a request is about, which brings what its session came in touch with
    /// too, into whichever it is asked after. None where it is not the caller's, or never
    /// was.
    fn task(&self, call: &ToolCall) -> Result<Option<Task>, StoreError> {
        self.store.read(|tx| {
            let Some(mut task) = tasks::of(tx, &call.principal, &call.name)? else {
                return Ok(None);
            };
            let session = journal::session_of(tx, task.call)?;
            task.labels.extend(sessions::met_in(tx, session)?);
            Ok(Some(task))
        })
    }

    /// Where a task leads, and which it is.
    pub(super) fn leads_to_task(&self, call: &ToolCall) -> Result<Option<Led>, StoreError> {
        let Some(task) = self.task(call)? else {
            return Ok(None);
        };
        let route = self.catalogue.load().other(&task.server, call.asking);
        Ok(route.map(|route| (route, Some(task))))
    }

    /// Some of a principal's tasks that servers have which make them where they are
    /// asked to (MCP 2025-11-25), after the one of this id; the newest first. None
    /// where that one is not the principal's.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn tasks(
        self: &Arc<Self>,
        principal: &PrincipalId,
        after: Option<Box<str>>,
    ) -> Result<Option<Page>, StoreError> {
        let catalogue = self.catalogue();
        let has = |server: &&ServerName| {
            let result = catalogue.other(server, Asking::Task(TaskAsk::Result));
            result.is_some_and(|route| catalogue.shows(principal, &route))
        };
        let own = OWN.parse::<ServerName>().ok();
        let own = own.filter(|own| catalogue.has().decides && has(&own));
        let servers = self.downstreams.keys().filter(has).cloned();
        let servers = servers.chain(own).collect();
        let (broker, principal) = (Arc::clone(self), principal.clone());
        let read = tokio::task::spawn_blocking(move || {
            let page = |tx: &Tx<'_>| tasks::page(tx, &principal, &servers, after.as_deref());
            broker.store.read(page)
        });
        read.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Has a listener told of the state of a task that was begun just now, as far as
    /// its server speaks of it by itself.
    pub fn hears_of_task(&self, id: &str, listener: &Arc<Listener>) {
        self.subscriptions.begun().hears(id, listener);
    }

    /// Whether a server speaks of its tasks unasked, and only to who began them (MCP
    /// 2025-11-25, tasks).
    pub(super) fn speaks_unasked(&self, server: &ServerName) -> bool {
        let results = Asking::Task(TaskAsk::Result);
        self.catalogue.load().other(server, results).is_some()
    }

    /// Keeps a task that a call began, before anybody is told of it. One that
    /// cannot be kept cannot be asked after, so nobody will know how it ended.
    pub(super) async fn keep_task(
        &self,
        (charges, route, replica): (&Charges, &Route, &Replica),
        (mut closing, answer): (Closing, Answer),
    ) -> (Closing, Answer) {
        let Answer::Task { json, id, at } = answer else {
            return (closing, answer);
        };
        let (call, server) = (closing.call, route.tool.server.clone());
        let native: Arc<str> = id.into();
        let task = Task {
            server: server.clone(),
            native: Arc::clone(&native),
            call,
            labels: route.gate.rules().labels.clone(),
            replica: Some(replica.url())
                .filter(|url| !url.is_empty())
                .map(Into::into),
        };
        let principal = charges.principal.clone();
        let kept = self.store.finish("task", Durability::Power, move |tx| {
            tasks::begin(tx, &principal, &task, Timestamp::now())
        });
        match kept.await {
            Ok(id) => {
                let id = id.into_inner();
                if let Some(at) = at.filter(|_| self.speaks_unasked(&server)) {
                    let begun = Begun::new((server, at), (native, &id), charges.session);
                    self.subscriptions.begun().enter(begun);
                }
                let id = id.into();
                (closing, Answer::Task { json, id, at })
            }
            Err(error) => {
                tracing::error!(call.id = %call, error = %Chain(&error), "a task could not be kept");
                let why = "the task that it began could not be kept".to_owned();
                closing.outcome = Outcome::Unknown;
                let refusal = Refusal::OutcomeUnknown { call, server, why };
                (closing, Answer::Refused(refusal))
            }
        }
    }
}
