//! Calls whose server asks something in the middle, and whose client answers with
//! another request. Until it comes the call stays open.

use super::CallLine;
use super::Question;
use crate::downstream::Ask;
use crate::downstream::Asks;
use crate::downstream::Downstream;
use crate::downstream::OutgoingCall;
use crate::downstream::Reply;
use crate::downstream::Sent;
use crate::json::Object;
use crate::permit::Permit;
use crate::principal::PrincipalId;
use crate::tool::Access;
use crate::tool::CallId;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

/// How many calls may wait for answers at once. One more takes the place of the
/// one that waits longest of those of whoever has the most.
const MOST: usize = 1024;

/// How long a call waits for an answer before it is taken back.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The calls that wait for an answer, each under the id of the call that asked.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    waiting: Mutex<HashMap<CallId, OpenCall>>,
    /// Those that a request is answering at this moment.
    answering: Mutex<HashSet<CallId>>,
}

/// Where the open call is that a request answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// It answers none.
    #[default]
    None,
    /// Here, and it waits for nobody else's answer.
    Here(CallId),
    /// Here, and another request is answering it.
    Answered(CallId),
    /// Not here: it has ended, or another broker has it.
    Absent(CallId),
}

impl OpenCalls {
    /// Finds the open call that a request answers, and keeps it for that request until
    /// it is [let go](Self::let_go).
    pub(super) fn reserve(&self, asked: Option<CallId>) -> Place {
        let Some(asked) = asked else {
            return Place::None;
        };
        let mut answering = self.answering();
        if answering.contains(&asked) {
            return Place::Answered(asked);
        }
        if !self.waiting().contains_key(&asked) {
            return Place::Absent(asked);
        }
        answering.insert(asked);
        Place::Here(asked)
    }

    /// The request that it was kept for has answered it, or does not.
    pub(super) fn let_go(&self, place: Place) {
        if let Place::Here(asked) = place {
            self.answering().remove(&asked);
        }
    }

    /// Keeps a call until it is answered.
    pub(super) fn keep(&self, asked: CallId, call: OpenCall) {
        let mut waiting = self.waiting();
        waiting.retain(|_, other| !other.sent.is_finished() && other.since.elapsed() < PATIENCE);
        if waiting.len() >= MOST {
            let all = waiting.iter();
            let all = all.map(|(id, other)| (*id, &other.caller, other.since));
            // Dropped, it is taken back.
            gives_way(all).and_then(|id| waiting.remove(&id));
        }
        waiting.insert(asked, call);
    }

    /// Takes a call out, to go on with it.
    pub(super) fn take(&self, asked: CallId) -> Option<OpenCall> {
        self.waiting().remove(&asked)
    }

    /// Takes every call back.
    pub(super) fn clear(&self) {
        self.waiting().clear();
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<CallId, OpenCall>> {
        // Each change is whole before the lock is given back.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answering(&self) -> MutexGuard<'_, HashSet<CallId>> {
        // Only single operations happen under the lock.
        self.answering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call that runs by itself. Dropped, it is taken back.
#[derive(Debug)]
pub(super) struct OpenCall {
    sent: JoinHandle<Sent>,
    asked: mpsc::UnboundedReceiver<Ask>,
    progress: mpsc::Receiver<Box<str>>,
    logs: mpsc::Receiver<Box<str>>,
    cancelled: CancellationToken,
    _taken_back_with_this: DropGuard,
    /// What is asked and was not answered yet.
    open: Vec<(Question, oneshot::Sender<Reply>)>,
    questions: u64,
    caller: PrincipalId,
    since: Instant,
}

/// Which of these calls makes room for another: the one that waits longest of those of
/// whoever has the most, so that nobody loses one because others ask for more.
fn gives_way<'a>(all: impl Iterator<Item = (CallId, &'a PrincipalId, Instant)>) -> Option<CallId> {
    let mut of: BTreeMap<&PrincipalId, Vec<(Instant, CallId)>> = BTreeMap::new();
    for (id, caller, since) in all {
        of.entry(caller).or_default().push((since, id));
    }
    let most = of.into_values().max_by_key(Vec::len)?;
    most.into_iter().min().map(|(_since, id)| id)
}

/// What a call came to.
pub(super) enum Came {
    /// To its end.
    Ended(Sent),
    /// To questions.
    Asks(Vec<Question>),
}

impl OpenCall {
    /// Sends a call that may ask something on its way.
    pub(super) fn send(
        permit: Permit,
        downstream: &Downstream,
        call: OutgoingCall,
        (line, tasks): (&CallLine, &TaskTracker),
    ) -> Self {
        let (questions, asked) = mpsc::unbounded_channel();
        let (reports, progress) = mpsc::channel(CallLine::ROOM);
        let (lines, logs) = mpsc::channel(CallLine::ROOM);
        let cancelled = CancellationToken::new();
        let own = CallLine {
            progress: line.progress.is_some().then_some(reports),
            asks: Some(Arc::new(Asks::new(questions, Arc::clone(&call.declared)))),
            logs: line.logs.is_some().then_some(lines),
            cancelled: cancelled.clone(),
            // Who asks for the call is not who waits for its end.
            gone: CancellationToken::new(),
        };
        let downstream = downstream.clone();
        let caller = call.caller.clone();
        let sent = tasks.spawn(async move { downstream.call(permit, call, own).await });
        Self {
            sent,
            asked,
            progress,
            logs,
            _taken_back_with_this: cancelled.clone().drop_guard(),
            cancelled,
            open: Vec::new(),
            questions: 0,
            caller,
            since: Instant::now(),
        }
    }

    /// Answers what was asked, by leave of the call that brings the answers.
    /// `responses` is the text of an object, by the keys of the questions; others
    /// in it mean nothing (MCP 2026-07-28, basic/patterns/mrtr, error handling).
    pub(super) fn answer(&mut self, permit: Permit, responses: Option<&str>) {
        tracing::debug!(call.id = %permit.call(), "answering what a server asked");
        let responses = responses.and_then(|text| Object::parse(text).ok());
        let said = |key: &str| responses.as_ref().and_then(|responses| responses.get(key));
        for (question, reply) in std::mem::take(&mut self.open) {
            match said(&question.key) {
                // An error says that the server waits no longer.
                Some(result) => drop(reply.send(Reply::Result(result.into()))),
                None => self.open.push((question, reply)),
            }
        }
    }

    /// Goes on until the call ends or asks something. What was asked before and
    /// not answered is asked again at once.
    pub(super) async fn go_on(&mut self, line: &CallLine, access: Access) -> Came {
        self.open.retain(|(_, reply)| !reply.is_closed());
        if !self.open.is_empty() {
            return self.asks();
        }
        let mut may_stop = true;
        loop {
            tokio::select! {
                biased;
                Some(params) = self.progress.recv() => pass(line.progress.as_ref(), params),
                Some(params) = self.logs.recv() => pass(line.logs.as_ref(), params),
                Some(ask) = self.asked.recv() => {
                    self.note(ask);
                    // What it asks at one time is answered at one time.
                    while let Ok(ask) = self.asked.try_recv() {
                        self.note(ask);
                    }
                    return self.asks();
                }
                sent = &mut self.sent => {
                    return Came::Ended(sent.unwrap_or_else(|fault| Sent::Lost {
                        why: format!("the call ended by a fault of ours: {fault}"),
                    }));
                }
                () = line.cancelled.cancelled(), if may_stop => {
                    may_stop = false;
                    self.cancelled.cancel();
                }
                // What only reads may stop where nobody waits for it.
                () = line.gone.cancelled(), if may_stop && access == Access::Read => {
                    may_stop = false;
                    self.cancelled.cancel();
                }
            }
        }
    }

    fn note(&mut self, ask: Ask) {
        self.questions += 1;
        let question = Question {
            key: format!("q{}", self.questions),
            inquiry: ask.inquiry,
            params: ask.params,
        };
        self.open.push((question, ask.reply));
    }

    fn asks(&mut self) -> Came {
        self.since = Instant::now();
        let questions = self.open.iter().map(|(question, _)| question.clone());
        Came::Asks(questions.collect())
    }
}

fn pass(to: Option<&mpsc::Sender<Box<str>>>, params: Box<str>) {
    if let Some(to) = to {
        // An error says that the client listens no longer.
        let _unheard = to.try_send(params);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> OpenCall {
        let cancelled = CancellationToken::new();
        OpenCall {
            sent: tokio::spawn(std::future::pending()),
            asked: mpsc::unbounded_channel().1,
            progress: mpsc::channel(1).1,
            logs: mpsc::channel(1).1,
            _taken_back_with_this: cancelled.clone().drop_guard(),
            cancelled,
            open: Vec::new(),
            questions: 0,
            caller: PrincipalId::parse("alice").unwrap(),
            since: Instant::now(),
        }
    }

    #[tokio::test]
    async fn an_open_call_is_answered_by_one_request_at_a_time() {
        let calls = OpenCalls::default();
        let asked = CallId::from_bytes([1; 16]);
        assert_eq!(calls.reserve(None), Place::None);
        assert_eq!(calls.reserve(Some(asked)), Place::Absent(asked));
        calls.keep(asked, open());
        let first = calls.reserve(Some(asked));
        assert_eq!(first, Place::Here(asked));
        let second = calls.reserve(Some(asked));
        assert_eq!(second, Place::Answered(asked));
        // Who was told so has nothing to let go.
        calls.let_go(second);
        assert_eq!(calls.reserve(Some(asked)), second);
        calls.let_go(first);
        assert_eq!(calls.reserve(Some(asked)), first);
        assert!(calls.take(asked).is_some());
        assert_eq!(calls.reserve(Some(asked)), second);
        calls.let_go(first);
        assert_eq!(calls.reserve(Some(asked)), Place::Absent(asked));
    }

    #[test]
    fn who_has_the_most_open_calls_makes_room_for_another() {
        let begun = Instant::now();
        let call = |number: u8| CallId::from_bytes([number; 16]);
        let alice = PrincipalId::parse("alice").unwrap();
        let bob = PrincipalId::parse("bob").unwrap();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let all = [
            (call(1), &bob, at(0)),
            (call(2), &alice, at(2)),
            (call(3), &alice, at(1)),
        ];
        assert_eq!(gives_way(all.into_iter()), Some(call(3)));
        assert_eq!(gives_way(std::iter::empty()), None);
    }
}
