//! What comes back for one message, and what comes with it.

use super::HttpLink;
use super::LAST_EVENT;
use super::PARTING;
use super::RESUME;
use super::RESUME_AT_MOST;
use super::RESUMED;
use crate::downstream::Era;
use crate::downstream::asks::Asks;
use crate::downstream::message;
use crate::downstream::message::Answer;
use crate::downstream::message::Message;
use crate::downstream::message::Unreadable;
use crate::downstream::pages::Asked;
use crate::downstream::remote::Company;
use crate::downstream::remote::events::Broken;
use crate::downstream::remote::events::Events;
use crate::downstream::remote::exchange::Exchange;
use crate::downstream::remote::exchange::Said;
use crate::downstream::remote::exchange::broken;
use crate::downstream::remote::pool::Answered;
use crate::downstream::subscriptions::Ear;
use crate::downstream::subscriptions::Updates;
use crate::downstream::wire::Control;
use crate::downstream::wire::Frame;
use crate::json::Object;
use crate::tool::Inquiry;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use tokio::sync::mpsc;

/// How many questions of a server may be open in one call. What it asks beyond that is
/// passed over.
const QUESTIONS: usize = 256;

/// Who waits for an answer.
pub(super) struct Waits<'a> {
    pub(super) id: u64,
    pub(super) progress: Option<&'a mpsc::Sender<Box<str>>>,
    pub(super) logs: Option<&'a mpsc::Sender<Box<str>>>,
    pub(super) asks: Option<&'a Asks>,
    pub(super) ear: Option<&'a Ear>,
}

impl Waits<'_> {
    /// Beside this request, whose answer comes elsewhere.
    pub(super) fn beside(_request: u64) -> Self {
        // No request has this number.
        Self::of(0)
    }

    /// Nobody hears what comes beside the answer.
    pub(super) fn of(id: u64) -> Self {
        Self {
            id,
            progress: None,
            logs: None,
            asks: None,
            ear: None,
        }
    }
}

/// Why a request has no answer.
pub(super) enum Failed {
    NotSent(String),
    Refused { status: StatusCode, why: String },
    Lost(String),
    Invalid(String),
}

/// What a server asked on the stream of a call, each on its way to an answer while
/// the stream is read on. Dropped with the call.
#[derive(Default)]
struct Questions<'a> {
    open: Vec<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>,
}

impl Questions<'_> {
    /// Answers them, as long as it is waited for.
    async fn answered(&mut self) -> std::convert::Infallible {
        poll_fn(|cx| {
            self.open
                .retain_mut(|question| question.as_mut().poll(cx).is_pending());
            Poll::Pending
        })
        .await
    }
}

fn is_error(answer: &Answer) -> bool {
    matches!(answer, Answer::Error(_))
}

impl HttpLink {
    /// What became of a request, once its answer is there or nothing can come
    /// any more.
    pub(super) async fn concluded(
        &self,
        exchange: Exchange,
        waits: &Waits<'_>,
    ) -> Result<Answer, Failed> {
        match exchange {
            Exchange::Messages(messages) => {
                let answer = self.take_all(messages, Some(waits)).await;
                answer.ok_or_else(|| {
                    Failed::Invalid("the answer is to another request, or none".to_owned())
                })
            }
            Exchange::Stream(events) => Box::pin(self.streamed(events, waits)).await,
            Exchange::Accepted => Err(Failed::Invalid("the answer is empty".to_owned())),
            Exchange::Refused { status, said, why } => {
                let (own, others): (Vec<Said>, Vec<Said>) =
                    said.into_iter().partition(|said| said.to == Some(waits.id));
                let own = own.into_iter().map(|said| said.answer);
                let mut all =
                    own.chain(others.into_iter().map(|said| said.answer).filter(is_error));
                all.next().ok_or(Failed::Refused { status, why })
            }
            Exchange::NotSent(why) => Err(Failed::NotSent(why)),
            Exchange::Lost(why) => Err(Failed::Lost(why)),
            Exchange::Down(why) => {
                if self.company == Company::AmongOthers {
                    // The next call goes to another, and this one is opened anew.
                    self.down.store(true, Ordering::Relaxed);
                    self.end(why.clone());
                }
                Err(Failed::Lost(why))
            }
            Exchange::Invalid(why) => Err(Failed::Invalid(why)),
        }
    }

    /// Reads a stream up to the answer. One that breaks before is taken up again
    /// where the server gave its events ids (2025-11-25, transports,
    /// resumability).
    async fn streamed(
        &self,
        mut events: Events<Answered>,
        waits: &Waits<'_>,
    ) -> Result<Answer, Failed> {
        let mut left = RESUMED;
        let mut last: Option<HeaderValue> = None;
        let mut questions = Questions::default();
        loop {
            let next = tokio::select! {
                // First what was asked, so that nothing overtakes it.
                biased;
                never = questions.answered() => match never {},
                next = events.next() => next,
            };
            let why = match next {
                Ok(Some(event)) => {
                    let messages = self.asked_in(message::read(&event.data), waits, &mut questions);
                    if let Some(answer) = self.take_all(messages, Some(waits)).await {
                        return Ok(answer);
                    }
                    continue;
                }
                Ok(None) => "the stream ended before the answer".to_owned(),
                Err(Broken::TooLong) => return Err(Failed::Invalid(broken(&Broken::TooLong))),
                Err(why) => broken(&why),
            };
            // One that is lost before it says anything is taken up where it was before.
            if let Some(id) = events.last_id() {
                last = HeaderValue::from_str(id).ok();
            }
            let legacy = matches!(self.era.get(), Some(Era::Legacy(_)));
            let Some(last) = last.clone().filter(|_| legacy && left > 0) else {
                return Err(Failed::Lost(why));
            };
            left -= 1;
            let pause = events.retry().unwrap_or(RESUME);
            tokio::select! {
                () = tokio::time::sleep(pause.min(RESUME_AT_MOST)) => {}
                never = questions.answered() => match never {},
            }
            let mut headers = self.with_session(self.fixed_headers());
            headers.insert(LAST_EVENT, last);
            events = match self.exchanges.get(headers).await {
                Ok(events) => events,
                Err((_status, _why)) => return Err(Failed::Lost(why)),
            };
        }
    }

    /// Takes out of the messages what the server asks in the middle of a call, to be
    /// answered while its stream is read on: there may be progress meanwhile, and the
    /// answer to the call.
    fn asked_in<'a>(
        &'a self,
        messages: Vec<Result<Message, Unreadable>>,
        waits: &'a Waits<'a>,
        questions: &mut Questions<'a>,
    ) -> Vec<Result<Message, Unreadable>> {
        let mut left = Vec::with_capacity(messages.len());
        for message in messages {
            match message {
                Ok(Message::Request { id, method, params }) if questions.open.len() < QUESTIONS => {
                    let reply =
                        async move { self.reply(&id, (&method, params), Some(waits)).await };
                    questions.open.push(Box::pin(reply));
                }
                Ok(Message::Request { .. }) => {
                    tracing::debug!(server.name = %self.server, "ignored a request: too many questions are open");
                }
                other => left.push(other),
            }
        }
        left
    }

    /// Takes messages in, and returns the answer to who waits: the first, where a
    /// server answers twice, as over a pipe.
    pub(super) async fn take_all(
        &self,
        messages: Vec<Result<Message, Unreadable>>,
        waits: Option<&Waits<'_>>,
    ) -> Option<Answer> {
        let mut found = None;
        for message in messages {
            match message {
                Ok(Message::Answer { id, answer }) if waits.is_some_and(|w| w.id == id) => {
                    found = found.or(Some(answer));
                }
                // An error that names no request can only be to this one, which
                // its response carries.
                Ok(Message::NamelessError(error)) if waits.is_some() => {
                    found = found.or(Some(Answer::Error(error)));
                }
                Ok(Message::Answer { .. } | Message::NamelessError(_)) => {
                    tracing::debug!(server.name = %self.server, "dropped an answer that nobody waits for");
                }
                Ok(Message::Request { id, method, params }) => {
                    // In a box, like all that rarely happens in an answer.
                    Box::pin(self.reply(&id, (&method, params), waits)).await;
                }
                Ok(Message::Notification { method, params }) => {
                    self.take_notification(&method, params, waits);
                }
                Err(reason) => {
                    tracing::warn!(server.name = %self.server, reason = reason.as_str(), "dropped what is no message");
                }
            }
        }
        found
    }

    /// Answers a legacy server's own request; a modern one must not make any.
    async fn reply(
        &self,
        id: &str,
        (method, params): (&str, Option<Box<str>>),
        waits: Option<&Waits<'_>>,
    ) {
        if matches!(self.era.get(), Some(Era::Modern(_))) {
            tracing::warn!(server.name = %self.server, "ignored a request of a server whose protocol has none");
            return;
        }
        let asks = waits.and_then(|waits| waits.asks);
        let answer = match (Inquiry::of(method), asks) {
            (Some(inquiry), Some(asks)) => {
                self.note_pages(Asked::by_question(asks, (inquiry, params.as_deref())));
                asks.ask(inquiry, params).await
            }
            (Some(_) | None, _) => None,
        };
        let reply = match (&answer, method) {
            (Some(reply), _) => Control::Replied { id, reply },
            (None, "ping") => Control::Pong { id },
            (None, _) => Control::Refused { id },
        };
        let replied = self.post_alone(Frame::control(0, reply));
        let _replied_or_late = tokio::time::timeout(PARTING, replied).await;
    }

    fn take_notification(&self, method: &str, params: Option<Box<str>>, waits: Option<&Waits<'_>>) {
        match (method, params) {
            ("notifications/message", Some(params)) => {
                if let Some(logs) = waits.and_then(|waits| waits.logs) {
                    // An error says that the client listens no longer.
                    let _unheard = logs.try_send(params);
                }
            }
            (method, _) if message::is_change(method) => self.note_change(),
            (method, Some(params)) if Ear::hears(method) => {
                let ear = waits.and_then(|waits| waits.ear);
                match (self.updates.get(), ear) {
                    (Some(updates), Some(ear)) => ear.hear((method, &params), updates),
                    (Some(updates), None) if matches!(self.era.get(), Some(Era::Legacy(_))) => {
                        updates.heard(method, &params);
                    }
                    (Some(_) | None, _) => {}
                }
            }
            (method, Some(params)) if Updates::hears(method) => self.take_unasked(method, &params),
            ("notifications/progress", Some(params)) => {
                let token = Object::parse(&params)
                    .ok()
                    .and_then(|params| params.get("progressToken").and_then(message::whole_number));
                let listener = waits.filter(|waits| token == Some(waits.id));
                if let Some(listener) = listener.and_then(|waits| waits.progress) {
                    // An error says that the client listens no longer.
                    let _unheard = listener.try_send(params);
                }
            }
            _ => {
                tracing::debug!(server.name = %self.server, "dropped a notification that nobody asked for");
            }
        }
    }
}
