//! Tasks towards clients: by ids of ours, and only towards those that know them.

use super::Client;
use super::answer::Reader;
use super::answer::Reply;
use super::answer::own_task;
use super::answer::session_refused;
use super::connection::Connection;
use super::parse::Ask;
use super::parse::Meta;
use super::work::Call;
use super::work::Outgoing;
use super::work::send;
use super::write::Fault;
use super::write::INTERNAL_ERROR;
use super::write::INVALID_PARAMS;
use super::write::MISSING_CAPABILITY;
use super::write::error;
use super::write::result;
use crate::broker::Answer;
use crate::broker::CallLine;
use crate::cause::Chain;
use crate::json;
use crate::json::Object;
use crate::json::Splice;
use crate::session::Found;
use crate::session::SessionId;
use crate::tool::Asking;
use crate::tool::Extension;
use crate::tool::TaskAsk;
use serde_json::Value;
use serde_json::json as value;
use std::sync::Arc;
use tokio::task::JoinSet;

/// The member of a message's `_meta` that names the task that it belongs to
/// (MCP 2025-11-25, tasks).
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// By which method a modern client hears of a task that it follows (ext-tasks, task
/// status notifications).
pub(super) const TOLD: &str = "notifications/tasks";

/// What 2025-11-25 says of a task in other words than 2026-07-28.
const OLDER: [(&str, &str); 2] = [("ttl", "ttlMs"), ("pollInterval", "pollIntervalMs")];

/// The result of a call that became a task, under our id. It has a type of its own
/// in 2026-07-28, and none before.
pub(super) fn begun(result: &str, id: &str, client: Client) -> String {
    let own = renamed(result, id);
    match client {
        Client::Legacy => own,
        Client::Modern => {
            let members = Object::parse(&own).ok();
            let nested = members.as_ref().and_then(|members| members.get("task"));
            if let Some(task) = nested {
                return flat(task, part(&own, "_meta"));
            }
            match members.and_then(|members| members.get("resultType")) {
                Some(_) => own,
                None => Splice::new(&own)
                    .add_member(&own, "resultType", "\"task\"")
                    .finish(),
            }
        }
    }
}

/// The task that a server of 2025-11-25 began, as 2026-07-28 has it.
fn flat(task: &str, meta: Option<&str>) -> String {
    let mut newer = renewed(task).unwrap_or_else(|| task.to_owned());
    let has_ttl = part(&newer, "ttlMs").is_some();
    let members = [
        ("ttlMs", Some("null").filter(|_| !has_ttl)),
        ("_meta", meta.filter(|_| part(task, "_meta").is_none())),
        ("resultType", Some("\"task\"")),
    ];
    for (key, value) in members {
        if let Some(value) = value {
            newer = Splice::new(&newer).add_member(&newer, key, value).finish();
        }
    }
    newer
}

fn part<'a>(of: &'a str, key: &str) -> Option<&'a str> {
    Object::parse(of).ok()?.get(key)
}

/// What is said of one task, under our id, wherever it is named: by itself, as a
/// record, and in `_meta`.
pub(super) fn renamed(result: &str, id: &str) -> String {
    let id = Value::from(id).to_string();
    let mut splice = Splice::new(result);
    let places = [
        part(result, "taskId"),
        part(result, "task").and_then(|task| part(task, "taskId")),
        part(result, "_meta")
            .and_then(|meta| part(meta, RELATED))
            .and_then(|related| part(related, "taskId")),
    ];
    for place in places.into_iter().flatten() {
        if json::text(place).is_some() {
            splice = splice.replace(place, id.clone());
        }
    }
    splice.finish()
}

/// The refusal of a request about a task by a client that did not say that it
/// knows of tasks (ext-tasks, capability negotiation).
pub(super) fn not_declared() -> Fault {
    Fault {
        code: MISSING_CAPABILITY,
        message: format!(
            "declare the extension `{}` in the client's capabilities",
            Extension::Tasks.id()
        ),
        data: Some(value!({"requiredCapabilities": {"extensions": {Extension::Tasks.id(): {}}}})),
    }
}

impl Connection {
    /// The wish for a task that a client of 2026-07-28 cannot say: there it is enough
    /// that it knows of tasks. Where a server of 2025-11-25 takes no call without one,
    /// it is made in its name.
    pub(super) fn wish(&self, meta: &Meta, ask: &Ask) -> Option<Box<str>> {
        let wishes = ask.asking == Asking::Tool
            && meta.client() == Client::Modern
            && meta.declared.knows(Extension::Tasks)
            && self.broker.only_as_task(&ask.name);
        wishes.then(|| "{}".into())
    }

    /// The caller's tasks, a page of them, each as its server says of it now: each is
    /// asked after in the caller's name, decided and recorded as any `tasks/get`. A
    /// server itself would list the tasks of everybody. One that its server knows no
    /// longer, or of which the caller may not know, is left out.
    pub(super) async fn tasks(&self, call: Call<'_>, after: Option<Box<str>>, out: &Outgoing) {
        let asking = Asking::Task(TaskAsk::Get);
        let client = call.meta.client();
        let session = match self.session(&call.meta).await {
            Ok(session) => session,
            Err(refusal) => {
                let reader = Reader { client, asking };
                let (Reply::Error(object)
                | Reply::Result(object)
                | Reply::MissingCapability(object)) = session_refused(&refusal, reader);
                return send(out, error(call.id, &object)).await;
            }
        };
        let page = match self.broker.tasks(&self.principal, after).await {
            Ok(Some(page)) => page,
            Ok(None) => {
                let message =
                    "`cursor` is not known: leave it out, or use the `nextCursor` of a page";
                let fault = Fault::new(INVALID_PARAMS, message);
                return send(out, error(call.id, &fault.json())).await;
            }
            Err(problem) => {
                tracing::error!(error = %Chain(&problem), "tasks could not be listed");
                let fault = Fault::new(INTERNAL_ERROR, "the tasks could not be listed");
                return send(out, error(call.id, &fault.json())).await;
            }
        };
        let mut asked = JoinSet::new();
        for (place, id) in page.ids.into_iter().enumerate() {
            let asks = self.asks_after(session.clone(), &call, id.clone());
            asked.spawn(async move { Some((place, renamed(&asks.await?, &id))) });
        }
        let mut known: Vec<(usize, String)> =
            asked.join_all().await.into_iter().flatten().collect();
        if call.cancelled.is_cancelled() {
            return;
        }
        known.sort_unstable();
        let known: Vec<String> = known.into_iter().map(|(_, task)| task).collect();
        let next = page.next.map(Value::from);
        let next = next.map_or_else(String::new, |next| format!(",\"nextCursor\":{next}"));
        let listed = format!("{{\"tasks\":[{}]{next}}}", known.join(","));
        send(out, result(call.id, &listed)).await;
    }

    /// What is said of a task, as 2026-07-28 has it: with what it came to, which a
    /// server of 2025-11-25 is asked for by `tasks/result`, decided and recorded as any.
    /// What that revision cannot say stays as it was.
    pub(super) async fn whole(&self, call: &Call<'_>, id: &str, state: String) -> String {
        let Some(newer) = renewed(&state) else {
            return state;
        };
        let is_over = matches!(status(&state).as_deref(), Some("completed" | "failed"));
        let session = match is_over {
            true => self.session(&call.meta).await.ok(),
            false => None,
        };
        let Some(session) = session else {
            return newer;
        };
        let asked = self.asked_of_task(session, call, (TaskAsk::Result, id.to_owned()));
        match asked.await {
            Answer::Result { json, .. } => {
                ended(&newer, ("completed", "result"), &renamed(&json, id))
            }
            Answer::ServerError { json } => ended(&newer, ("failed", "error"), &json),
            _ => newer,
        }
    }

    /// What the server of a task says of it, where it says anything.
    pub(super) fn asks_after(
        &self,
        session: (SessionId, Arc<Found>),
        call: &Call<'_>,
        id: String,
    ) -> impl Future<Output = Option<Box<str>>> + Send + use<> {
        let asked = self.asked_of_task(session, call, (TaskAsk::Get, id));
        let reader = Reader {
            client: call.meta.client(),
            asking: Asking::Task(TaskAsk::Get),
        };
        async move {
            match asked.await {
                Answer::Result { json, .. } => Some(json),
                Answer::OwnTask(view) => match own_task::told(*view, reader) {
                    Reply::Result(told) => Some(told.into()),
                    Reply::Error(_) | Reply::MissingCapability(_) => None,
                },
                _ => None,
            }
        }
    }

    /// Asks something of the server of a task, in the caller's name.
    fn asked_of_task(
        &self,
        session: (SessionId, Arc<Found>),
        call: &Call<'_>,
        (what, id): (TaskAsk, String),
    ) -> impl Future<Output = Answer> + Send + use<> {
        let ask = Ask {
            asking: Asking::Task(what),
            arguments: Some(value!({ "taskId": id }).to_string().into()),
            name: id.into(),
            answers: None,
            task: None,
            rest: Vec::new(),
        };
        let asked = self.asked(session, &call.meta, ask);
        let line = CallLine {
            cancelled: call.cancelled.clone(),
            ..CallLine::silent()
        };
        let broker = Arc::clone(&self.broker);
        async move { broker.call_tool(asked, line).await }
    }
}

fn status(state: &str) -> Option<String> {
    json::text(part(state, "status")?).map(Into::into)
}

/// What a server of 2025-11-25 says of a task, in the words of 2026-07-28. None where it
/// is of that revision already.
fn renewed(state: &str) -> Option<String> {
    let members = Object::parse(state).ok()?;
    if members.get("ttlMs").is_some() || members.get("ttl").is_none() {
        return None;
    }
    let mut newer = state.to_owned();
    for (old, new) in OLDER {
        if let Some(value) = members.get(old) {
            let without = Splice::new(&newer).remove_member(&newer, old).finish();
            newer = Splice::new(&without)
                .add_member(&without, new, value)
                .finish();
        }
    }
    Some(newer)
}

/// What a task came to. There it failed only where it ended in an error of the protocol.
fn ended(state: &str, (status, member): (&str, &str), with: &str) -> String {
    let mut splice = Splice::new(state);
    if let Some(said) = part(state, "status") {
        splice = splice.replace(said, format!("\"{status}\""));
    }
    splice.add_member(state, member, with).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_our_id_everywhere_and_else_as_it_was() {
        let flat = r#"{ "resultType":"task","taskId":"7", "ttlMs":1e3}"#;
        assert_eq!(
            begun(flat, "task-1", Client::Modern),
            r#"{ "resultType":"task","taskId":"task-1", "ttlMs":1e3}"#
        );
        let nested = r#"{"task":{"taskId":"7","x":1},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"7"}}}"#;
        assert_eq!(
            begun(nested, "task-1", Client::Legacy),
            r#"{"task":{"taskId":"task-1","x":1},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"task-1"}}}"#
        );
        assert_eq!(renamed(r#"{"taskId":7}"#, "task-1"), r#"{"taskId":7}"#);
        for (older, newer) in [
            (
                r#"{"task":{"taskId":"7", "ttl":1e3,"pollInterval":5,"x":1},"_meta":{"y":1}}"#,
                r#"{"resultType":"task","_meta":{"y":1},"pollIntervalMs":5,"ttlMs":1e3,"taskId":"task-1","x":1}"#,
            ),
            (
                r#"{"task":{"taskId":"7"}}"#,
                r#"{"resultType":"task","ttlMs":null,"taskId":"task-1"}"#,
            ),
        ] {
            assert_eq!(begun(older, "task-1", Client::Modern), newer);
        }
    }
}
