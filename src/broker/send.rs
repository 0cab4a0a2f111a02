//! Sending a call that may be sent, and what comes back.

use super::Answer;
use super::Asked;
use super::Broker;
use super::CallLine;
use super::Left;
use super::ToolCall;
use super::catalogue::Route;
use super::open_calls::Came;
use super::open_calls::OpenCall;
use super::settle;
use crate::downstream;
use crate::downstream::Answers;
use crate::downstream::Downstream;
use crate::downstream::OutgoingCall;
use crate::downstream::Sent;
use crate::journal::Closing;
use crate::permit::Permit;
use crate::tasks::Task;
use crate::tool::Access;
use crate::tool::Asking;
use crate::tool::CallId;
use std::sync::Arc;

impl Broker {
    /// Steps 9 and 10: send, and see what came back.
    pub(super) async fn send(
        &self,
        permit: Permit,
        (route, server, task): (&Route, &Downstream, Option<Task>),
        call: ToolCall,
        line: CallLine,
    ) -> (Closing, Answer) {
        let id = permit.call();
        if self.lacks_task(route, &call) {
            return settle::only_as_task(id, route, self.settings.keep);
        }
        let access = route.gate.rules().access;
        // A client that is not asked in the middle of a call answers with another.
        let answers_later = line.asks.is_none() && !call.declared.asks_nothing();
        let declared = Arc::clone(&call.declared);
        let left = call.continued.as_ref().map(|continued| &continued.left);
        let came = match left {
            Some(Left::Open) => {
                let continued = call.continued.as_ref();
                let asked = continued.and_then(|continued| continued.call);
                let Some(mut open) = asked.and_then(|asked| self.open_calls.take(asked)) else {
                    return settle::judged(id, route, Sent::not_open(), self.settings.keep);
                };
                open.answer(permit, continued.and_then(|c| c.responses.as_deref()));
                self.go_on(id, open, (&line, access)).await
            }
            Some(Left::State(_) | Left::Nothing | Left::Confirmation) | None => {
                let outgoing = outgoing((route, task), call);
                match answers_later && server.may_ask_in_a_call() {
                    true => {
                        let line_of = (&line, &self.tasks);
                        let open = OpenCall::send(permit, server, outgoing, line_of);
                        self.go_on(id, open, (&line, access)).await
                    }
                    false => Came::Ended(sent(permit, (route, server), outgoing, line).await),
                }
            }
        };
        match came {
            Came::Asks(questions) => settle::asks(id, Asked::Open(questions)),
            Came::Ended(Sent::Error { json })
                if answers_later && downstream::wants_pages(&json, &declared) =>
            {
                settle::asks(id, Asked::Pages(json))
            }
            Came::Ended(sent) => settle::judged(id, route, sent, self.settings.keep),
        }
    }

    /// Goes on with a call that may ask something; then it is kept until it is
    /// answered.
    async fn go_on(
        &self,
        id: CallId,
        mut open: OpenCall,
        (line, access): (&CallLine, Access),
    ) -> Came {
        let came = open.go_on(line, access).await;
        if let Came::Asks(_) = &came {
            self.open_calls.keep(id, open);
        }
        came
    }
}

/// Sends a call that nobody is asked anything in.
async fn sent(
    permit: Permit,
    (route, server): (&Route, &Downstream),
    outgoing: OutgoingCall,
    line: CallLine,
) -> Sent {
    let access = route.gate.rules().access;
    let (cancelled, gone) = (line.cancelled.clone(), line.gone.clone());
    let mut call = std::pin::pin!(server.call(permit, outgoing, line));
    tokio::select! {
        biased;
        sent = &mut call => sent,
        // What only reads may stop where nobody waits for it; an effect that
        // was begun is seen to its end.
        () = gone.cancelled(), if access == Access::Read => {
            cancelled.cancel();
            call.await
        }
    }
}

/// A call as it goes to its server, and the task that it is about.
pub(super) fn outgoing((route, task): (&Route, Option<Task>), call: ToolCall) -> OutgoingCall {
    let task_of = task.as_ref().map(|task| task.call);
    let name = task.map_or_else(|| native(route, &call), |task| task.native);
    let answers = call.continued.and_then(|continued| match continued.left {
        Left::State(state) => Some(Answers {
            responses: continued.responses,
            state,
        }),
        // The server takes the whole call, and knows of no answers.
        Left::Open | Left::Nothing | Left::Confirmation => None,
    });
    OutgoingCall {
        asking: call.asking,
        name,
        pinned: Arc::clone(&route.tool.name),
        definition: route.definition,
        mirrored: Arc::clone(&route.mirrored),
        arguments: call.arguments,
        rest: call.rest,
        answers: answers.filter(|answers| *answers != Answers::default()),
        task: call.task,
        caller: call.principal,
        session: call.session,
        task_of,
        declared: call.declared,
        log: call.log,
        meta: call.meta,
        deadline: Some(route.deadline()),
    }
}

/// What the server calls it.
fn native(route: &Route, call: &ToolCall) -> Arc<str> {
    match call.asking {
        Asking::Tool | Asking::Prompt => route.tool.native().into(),
        Asking::Read | Asking::Subscribe | Asking::Complete | Asking::Task(_) => {
            call.name.as_ref().into()
        }
    }
}
