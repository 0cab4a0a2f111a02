//! Tasks that calls began: where the id of one leads, and keeping a new one.

use super::Answer;
use super::Broker;
use super::Refusal;
use super::ToolCall;
use super::catalogue::Route;
use crate::cause::Chain;
use crate::downstream::Replica;
use crate::journal::Closing;
use crate::outcome::Outcome;
use crate::principal::PrincipalId;
use crate::store::Durability;
use crate::store::StoreError;
use crate::tasks;
use crate::tasks::Task;
use jiff::Timestamp;
use std::sync::Arc;

/// Where a request leads, and the task that it is about.
pub(super) type Led = (Arc<Route>, Option<Task>);

impl Broker {
    /// The task that a request is about. None where it is not the caller's, or
    /// never was.
    fn task(&self, call: &ToolCall) -> Result<Option<Task>, StoreError> {
        self.store
            .read(|tx| tasks::of(tx, &call.principal, &call.name))
    }

    /// Where a task leads, and which it is.
    pub(super) fn leads_to_task(&self, call: &ToolCall) -> Result<Option<Led>, StoreError> {
        let Some(task) = self.task(call)? else {
            return Ok(None);
        };
        let route = self.catalogue.load().other(&task.server, call.asking);
        Ok(route.map(|route| (route, Some(task))))
    }

    /// Keeps a task that a call began, before anybody is told of it. One that
    /// cannot be kept cannot be asked after, so nobody will know how it ended.
    pub(super) async fn keep_task(
        &self,
        (principal, route, replica): (&PrincipalId, &Route, &Replica),
        (mut closing, answer): (Closing, Answer),
    ) -> (Closing, Answer) {
        let Answer::Task { json, id } = answer else {
            return (closing, answer);
        };
        let (call, server) = (closing.call, route.tool.server.clone());
        let task = Task {
            server: server.clone(),
            native: id.into(),
            call,
            labels: route.gate.rules().labels.clone(),
            replica: Some(replica.url())
                .filter(|url| !url.is_empty())
                .map(Into::into),
        };
        let principal = principal.clone();
        let kept = self.store.write("task", Durability::Power, move |tx| {
            tasks::begin(tx, &principal, &task, Timestamp::now())
        });
        match kept.await {
            Ok(id) => {
                let id = id.into_inner().into();
                (closing, Answer::Task { json, id })
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
