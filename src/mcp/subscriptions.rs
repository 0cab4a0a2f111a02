//! Telling a client of changes: of its lists, and of the resources and tasks that it
//! follows.

use super::answer::Came;
use super::answer::Reader;
use super::answer::Reply;
use super::answer::answer;
use super::answer::session_refused;
use super::connection::Connection;
use super::list::Followed;
use super::list::Follower;
use super::list::Who;
use super::parse::Ask;
use super::parse::Meta;
use super::parse::Wanted;
use super::tasks;
use super::work::Call;
use super::work::Outgoing;
use super::work::send;
use super::write::Outbound;
use super::write::error;
use super::write::notification;
use super::write::result;
use super::write::server_info;
use crate::broker::Answer;
use crate::broker::Listener;
use crate::broker::ToolCall;
use crate::broker::Word;
use crate::json::Object;
use crate::json::Splice;
use crate::session::Found;
use crate::session::SessionId;
use crate::tool::Asking;
use crate::tool::TaskAsk;
use serde_json::json as value;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const UPDATED: &str = "notifications/resources/updated";
const TAG: &str = "io.modelcontextprotocol/subscriptionId";

impl Connection {
    /// Has a legacy client told of a resource.
    pub(super) async fn subscribe(&self, call: Call<'_>, ask: Ask, out: &Outgoing) {
        let reader = Reader {
            client: call.meta.client(),
            asking: Asking::Subscribe,
        };
        let uri = ask.name.clone();
        let reply = match self.session(&call.meta).await {
            Err(refusal) => Some(session_refused(&refusal, reader)),
            Ok(session) => {
                let asked = self.asked(session, &call.meta, ask);
                let answered = self.broker.subscribe(asked, self.listener()).await;
                match answer(answered, reader) {
                    Came::Ended(reply) => Some(reply),
                    // Nothing is asked before a subscription.
                    Came::Asks(..) | Came::TakenBack => None,
                }
            }
        };
        if call.cancelled.is_cancelled() {
            self.broker.unsubscribe(self.listener(), &uri);
            return;
        }
        match reply {
            Some(Reply::Result(object)) => send(out, result(call.id, &object)).await,
            Some(Reply::Error(object) | Reply::MissingCapability(object)) => {
                send(out, error(call.id, &object)).await;
            }
            None => {}
        }
    }

    /// Tells a modern client of what it asked for until it takes that back.
    pub(super) async fn listen(&self, call: Call<'_>, wanted: Wanted, out: &Outgoing) {
        let id = call.id;
        let ended = CancellationToken::new();
        let declared = self.declared(&call.meta);
        let listener = self.listener_of(&declared, ended.clone());
        // Also where nobody runs this to its end, because the client went away.
        let _ends = ended.drop_guard();
        let _reads = listener.reading();
        let uris = (Asking::Subscribe, wanted.uris);
        let uris = match self.followed(&call.meta, uris, &listener).await {
            Ok(uris) => uris,
            Err(object) => return send(out, error(id, &object)).await,
        };
        // Where tasks are not served, none is honoured.
        let ids = Some(wanted.tasks).filter(|_| self.serves_tasks(&call.meta));
        let ids = (Asking::Task(TaskAsk::Get), ids.unwrap_or_default());
        let ids = match self.followed(&call.meta, ids, &listener).await {
            Ok(ids) => ids,
            Err(object) => return send(out, error(id, &object)).await,
        };
        // What there is nobody knows before.
        self.broker.first_sight().await;
        let has = self.broker.has();
        let honoured = [
            (wanted.tools, Followed::Tools, "toolsListChanged"),
            (
                wanted.prompts && has.prompts,
                Followed::Prompts,
                "promptsListChanged",
            ),
            (
                wanted.resources && has.resources,
                Followed::Resources,
                "resourcesListChanged",
            ),
        ];
        let honoured = honoured.into_iter().filter(|(honoured, ..)| *honoured);
        let (followed, mut named): (Vec<_>, Vec<_>) = honoured
            .map(|(_, list, name)| (list, format!("\"{name}\":true")))
            .unzip();
        for (key, names) in [("resourceSubscriptions", uris), ("taskIds", ids)] {
            if !names.is_empty() {
                named.push(format!("\"{key}\":{}", value!(names)));
            }
        }
        let who = (&self.principal, &*declared);
        let mut follower = Follower::start(&self.broker, who, followed).await;
        let tag = format!("{{\"{TAG}\":{id}}}");
        let named = named.join(",");
        let params = format!(r#"{{"_meta":{tag},"notifications":{{{named}}}}}"#);
        let acknowledged = "notifications/subscriptions/acknowledged";
        send(out, notification(acknowledged, Some(&params))).await;
        loop {
            tokio::select! {
                biased;
                () = call.cancelled.cancelled() => return,
                () = self.closing.cancelled() => break,
                // It would wait for word that never comes: what it may follow now
                // it learns by asking again.
                () = listener.cut() => break,
                () = follower.moved() => {
                    for list in self.to_tell(&mut follower, who).await {
                        send(out, list.changed(Some(&tag))).await;
                    }
                }
                word = self.broker.heard(&listener) => {
                    let word = call.cancelled.run_until_cancelled(self.modern(&call, word));
                    if let Some(Some((method, params))) = word.await {
                        let params = tagged(&params, id.as_str());
                        send(out, notification(method, Some(&params))).await;
                    }
                }
            }
        }
        // The specification asks for the first in one place and for the second
        // in another (patterns/subscriptions, patterns/cancellation); a client
        // that knows one of them passes over the other.
        let meta = value!({"io.modelcontextprotocol/serverInfo": server_info()}).to_string();
        let meta = Splice::new(&meta)
            .add_member(&meta, TAG, id.as_str())
            .finish();
        let ended = format!(r#"{{"resultType":"complete","_meta":{meta}}}"#);
        send(out, result(id, &ended)).await;
        let params = format!(r#"{{"_meta":{tag},"requestId":{id}}}"#);
        send(out, notification("notifications/cancelled", Some(&params))).await;
    }

    /// The lists that are to be told of, once whoever reads that by no right hears no
    /// more.
    async fn to_tell(&self, follower: &mut Follower, who: Who<'_>) -> Vec<Followed> {
        let differing = follower.differing(&self.broker, who).await;
        if !differing.is_empty() {
            let checked = self.broker.recheck_recipient(&self.recipient);
            let _checked_or_ended = self.closing.run_until_cancelled(checked).await;
        }
        differing
    }

    /// What a modern client is told, and by which method.
    async fn modern(&self, call: &Call<'_>, word: Word) -> Option<(&'static str, String)> {
        Some(match word {
            Word::Resource(params) => (UPDATED, params.to_string()),
            Word::Task { id, params } | Word::Status { id, params } => {
                let state = Splice::new(&params).remove_member(&params, "resultType");
                let state = tasks::renamed(&state.finish(), &id);
                (tasks::TOLD, self.whole(call, &id, state).await)
            }
            // There pages have no ids (2026-07-28, client/elicitation).
            Word::Page(_) => return None,
        })
    }

    /// Follows resources or tasks, and returns those that lead somewhere and that the
    /// caller may follow; or the error that is due.
    async fn followed(
        &self,
        meta: &Meta,
        (asking, names): (Asking, Vec<Box<str>>),
        listener: &Arc<Listener>,
    ) -> Result<Vec<Box<str>>, String> {
        if names.is_empty() {
            return Ok(names);
        }
        let key = match asking {
            Asking::Task(_) => "taskId",
            _ => "uri",
        };
        let reader = Reader {
            client: meta.client(),
            asking,
        };
        let session = match self.session(meta).await {
            Ok(session) => session,
            Err(refusal) => match session_refused(&refusal, reader) {
                Reply::Error(object) | Reply::Result(object) | Reply::MissingCapability(object) => {
                    return Err(object);
                }
            },
        };
        let mut asked_for = JoinSet::new();
        for (place, name) in names.iter().enumerate() {
            let ask = Ask {
                asking,
                name: name.clone(),
                arguments: Some(value!({ key: name }).to_string().into()),
                rest: Vec::new(),
                answers: None,
                task: None,
            };
            let asked = self.asked(session.clone(), meta, ask);
            let (broker, listener) = (Arc::clone(&self.broker), Arc::clone(listener));
            asked_for.spawn(async move {
                let answer = broker.subscribe(asked, &listener).await;
                let honoured = matches!(answer, Answer::Result { .. } | Answer::Joined);
                honoured.then_some(place)
            });
        }
        let mut honoured = asked_for.join_all().await;
        honoured.sort_unstable();
        let honoured = honoured.into_iter().flatten();
        Ok(honoured
            .filter_map(|place| names.get(place).cloned())
            .collect())
    }

    pub(super) fn asked(
        &self,
        (session, found): (SessionId, Arc<Found>),
        meta: &Meta,
        ask: Ask,
    ) -> ToolCall {
        ToolCall {
            principal: self.principal.clone(),
            session,
            found,
            asking: ask.asking,
            name: ask.name,
            arguments: ask.arguments,
            rest: ask.rest,
            continued: None,
            task: None,
            declared: self.declared(meta),
            log: None,
            key: None,
            awaited: None,
            meta: meta.text.clone(),
            origin: self.origin(false),
        }
    }

    /// Tells a legacy client of changes to its lists, and of the resources that it
    /// follows.
    pub(super) async fn follow(&self, out: &Outgoing) {
        let listener = Arc::clone(self.listener());
        let _reads = listener.reading();
        let mut listed = self.listed.subscribe();
        let all = [Followed::Tools, Followed::Prompts, Followed::Resources];
        let declared = self.legacy_declared();
        let who = (&self.principal, &*declared);
        let mut follower = Follower::start(&self.broker, who, all).await;
        // A list that was sent before now is older than what was just read.
        listed.mark_changed();
        loop {
            let resent = tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                Ok(()) = listed.changed() => true,
                () = follower.moved() => listed.has_changed().unwrap_or(false),
                word = self.broker.heard(&listener) => {
                    send(out, said(&word)).await;
                    continue;
                }
            };
            if resent && let Some(sent) = *listed.borrow_and_update() {
                follower.sent(sent);
            }
            for list in self.to_tell(&mut follower, who).await {
                send(out, list.changed(None)).await;
            }
        }
    }
}

/// What a legacy client is told (of a task: MCP 2025-11-25, tasks, status
/// notifications).
fn said(word: &Word) -> Outbound {
    match word {
        Word::Resource(params) => notification(UPDATED, Some(&untagged(params))),
        Word::Task { id, params } | Word::Status { id, params } => {
            let params = tasks::renamed(params, id);
            notification("notifications/tasks/status", Some(&params))
        }
        Word::Page(params) => notification("notifications/elicitation/complete", Some(params)),
    }
}

/// The parameters under the client's own tag.
fn tagged(params: &str, id: &str) -> String {
    let splice = Splice::new(params);
    let members = Object::parse(params).ok();
    let meta = members.and_then(|members| members.get("_meta"));
    let splice = match meta.map(|meta| (meta, Object::parse(meta))) {
        Some((meta, Ok(members))) => match members.get(TAG) {
            Some(theirs) => splice.replace(theirs, id),
            None => splice.add_member(meta, TAG, id),
        },
        Some((meta, Err(_no_object))) => splice.replace(meta, format!("{{\"{TAG}\":{id}}}")),
        None => splice.add_member(params, "_meta", &format!("{{\"{TAG}\":{id}}}")),
    };
    splice.finish()
}

/// The parameters without a tag, which means nothing to a legacy client.
fn untagged(params: &str) -> String {
    let members = Object::parse(params).ok();
    match members.and_then(|members| members.get("_meta")) {
        Some(meta) => Splice::new(params).remove_member(meta, TAG).finish(),
        None => params.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_tag_stays_as_it_was() {
        for (came, modern, legacy) in [
            (
                r#"{ "uri":"a:b", "x":1e2 }"#,
                r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}, "uri":"a:b", "x":1e2 }"#,
                r#"{ "uri":"a:b", "x":1e2 }"#,
            ),
            (
                r#"{"_meta":{"y" : 1e2},"uri":"a:b"}"#,
                r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"s","y" : 1e2},"uri":"a:b"}"#,
                r#"{"_meta":{"y" : 1e2},"uri":"a:b"}"#,
            ),
            (
                r#"{"_meta":{"y":1e2, "io.modelcontextprotocol/subscriptionId" : 7 , "z":2},"uri":"a:b"}"#,
                r#"{"_meta":{"y":1e2, "io.modelcontextprotocol/subscriptionId" : "s" , "z":2},"uri":"a:b"}"#,
                r#"{"_meta":{"y":1e2 , "z":2},"uri":"a:b"}"#,
            ),
            (
                r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"uri":"a:b"}"#,
                r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"},"uri":"a:b"}"#,
                r#"{"_meta":{},"uri":"a:b"}"#,
            ),
            (
                r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":7, "z":2},"uri":"a:b"}"#,
                r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"s", "z":2},"uri":"a:b"}"#,
                r#"{"_meta":{ "z":2},"uri":"a:b"}"#,
            ),
        ] {
            assert_eq!(tagged(came, "\"s\""), modern);
            assert_eq!(untagged(came), legacy);
        }
    }
}
