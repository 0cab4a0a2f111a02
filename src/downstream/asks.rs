//! What a server asks of the client while it works on a call.

use super::connected::ClientId;
use super::message;
use super::shown;
use crate::json;
use crate::json::Object;
use crate::session::SessionId;
use crate::tool::Declared;
use crate::tool::Inquiry;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a client, and the person before it, may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

const PAGES_FIRST: i64 = -32042;

/// One question, on its way to the client.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub inquiry: Inquiry,
    /// The parameters, an object, as the text they were.
    pub params: Option<Box<str>>,
    /// Takes the answer.
    pub reply: oneshot::Sender<Reply>,
}

/// What the client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The text of its result, an object.
    Result(Box<str>),
    /// The text of its error, an object.
    Error(Box<str>),
}

/// The way of a server's questions to the client of one call. While one is open
/// the deadline of the call waits.
#[derive(Debug)]
pub struct Asks {
    questions: mpsc::UnboundedSender<Ask>,
    declared: Arc<Declared>,
    /// Who hears of it when a page was dealt with, and in which session it is asked.
    heard_by: Option<(ClientId, SessionId)>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: usize,
    /// When the last answer came.
    answered: Option<Instant>,
}

impl Asks {
    /// Questions that a client who declared this can be asked go to `questions`.
    pub fn new(questions: mpsc::UnboundedSender<Ask>, declared: Arc<Declared>) -> Self {
        Self {
            questions,
            declared,
            heard_by: None,
            state: Mutex::new(State {
                open: 0,
                answered: None,
            }),
        }
    }

    /// The same, in a session of a client that hears of it when a page was dealt with
    /// that it was asked to have opened.
    #[must_use]
    pub fn told(self, of: (ClientId, SessionId)) -> Self {
        Self {
            heard_by: Some(of),
            ..self
        }
    }

    /// See [`told`](Self::told).
    pub(super) fn heard_by(&self) -> Option<(ClientId, SessionId)> {
        self.heard_by
    }

    /// What the client can be asked.
    pub(super) fn declared(&self) -> &Declared {
        &self.declared
    }

    /// Asks the client, and waits for its answer. None where there will be none.
    pub(super) async fn ask(&self, inquiry: Inquiry, params: Option<Box<str>>) -> Option<Reply> {
        if !can_be_asked(&self.declared, inquiry, params.as_deref()) {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            inquiry,
            params,
            reply,
        };
        let _open = Open::of(self);
        self.questions.send(ask).ok()?;
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Each change is whole before the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open question. Dropped, it is closed, also where its asker went away.
struct Open<'a>(&'a Asks);

impl<'a> Open<'a> {
    fn of(asks: &'a Asks) -> Self {
        asks.state().open += 1;
        Self(asks)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open -= 1;
        state.answered = Some(Instant::now());
    }
}

/// Waits for the deadline of a call. The time that its client took for answers
/// does not count: after the last of them the server has as long again.
pub(super) async fn expired(mut deadline: Instant, allowed: Duration, asks: Option<&Asks>) {
    loop {
        tokio::time::sleep_until(deadline).await;
        let Some(asks) = asks else { return };
        let (open, answered) = {
            let state = asks.state();
            (state.open, state.answered)
        };
        let next = match (open, answered) {
            (0, None) => return,
            (0, Some(answered)) => answered.checked_add(allowed),
            (_, _) => Instant::now().checked_add(allowed),
        };
        match next {
            Some(next) if next > Instant::now() => deadline = next,
            Some(_) | None => return,
        }
    }
}

/// Whether a client that declared this can be asked it (MCP 2026-07-28,
/// client/elicitation and client/sampling): a form or a page of the web is a
/// capability of its own, and so are tools for the model.
pub fn can_be_asked(declared: &Declared, inquiry: Inquiry, params: Option<&str>) -> bool {
    let object = |text: &str| Object::parse(text).is_ok();
    let can = declared.capability(inquiry).map(Object::parse);
    let Some(Ok(can)) = can else {
        return false;
    };
    let params = params.and_then(|text| Object::parse(text).ok());
    let has = |key| can.get(key).is_some_and(object);
    let says = |key| params.as_ref().and_then(|params| params.get(key));
    match inquiry {
        Inquiry::Roots => true,
        Inquiry::Sample => {
            has("tools") || (says("tools").is_none() && says("toolChoice").is_none())
        }
        Inquiry::Elicit => match says("mode").map(json::text) {
            // Before there were modes there were forms only.
            None => has("form") || !has("url"),
            Some(Some(mode)) if mode == "form" => has("form") || !has("url"),
            Some(Some(mode)) if mode == "url" => has("url"),
            Some(_) => false,
        },
    }
}

/// Whether an error of a server says that the person has to open pages first, and
/// the client can be asked that (MCP 2025-11-25, `URLElicitationRequiredError`).
/// The server did nothing yet.
pub fn wants_pages(error: &str, declared: &Declared) -> bool {
    let error = Object::parse(error).ok();
    error.and_then(|error| message::error_code(&error)) == Some(PAGES_FIRST)
        && can_be_asked(declared, Inquiry::Elicit, Some(r#"{"mode":"url"}"#))
}

/// Looks at a result that asks something.
///
/// # Errors
///
/// Why it cannot be passed on: it is not of the shape that the specification
/// gives it, or asks what this client did not say it can be asked (MCP
/// 2026-07-28, basic/patterns/mrtr, server requirements).
pub(super) fn check_inquiries(result: &str, declared: &Declared) -> Result<(), String> {
    let result = Object::parse(result).map_err(|error| error.to_string())?;
    let state = result.get("requestState");
    if state.is_some_and(|state| json::text(state).is_none()) {
        return Err("its `requestState` is no text".to_owned());
    }
    match (result.get("inputRequests"), state) {
        (Some(inquiries), _) => check_each(inquiries, declared),
        (None, Some(_)) => Ok(()),
        (None, None) => Err("it has neither `inputRequests` nor `requestState`".to_owned()),
    }
}

/// Looks at what is said of a task, which may ask something too.
///
/// # Errors
///
/// As [`check_inquiries`].
pub(super) fn check_task(result: &str, declared: &Declared) -> Result<(), String> {
    let result = Object::parse(result).map_err(|error| error.to_string())?;
    match result.get("inputRequests") {
        Some(inquiries) => check_each(inquiries, declared),
        None => Ok(()),
    }
}

/// Whether what is said of a task asks only what a client that declared this can be
/// asked.
pub fn asks_only(said: &str, declared: &Declared) -> bool {
    check_task(said, declared).is_ok()
}

fn check_each(inquiries: &str, declared: &Declared) -> Result<(), String> {
    let inquiries =
        Object::parse(inquiries).map_err(|_| "its `inputRequests` are no object".to_owned())?;
    for (key, inquiry) in inquiries.iter() {
        let key = shown(key, 80);
        let inquiry = Object::parse(inquiry).map_err(|_| format!("`{key}` is no request"))?;
        let method = inquiry.get("method").and_then(json::text);
        let Some(asks) = method.as_deref().and_then(Inquiry::of) else {
            return Err(format!("`{key}` is nothing that a client can be asked"));
        };
        if !can_be_asked(declared, asks, inquiry.get("params")) {
            let method = asks.method();
            return Err(format!(
                "`{key}` is a `{method}` that the client did not say it can be asked"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(capabilities: &str) -> Declared {
        let capabilities = Object::parse(capabilities).unwrap();
        Declared::read(|name| capabilities.get(name), |_| None)
    }

    #[test]
    fn a_client_is_asked_in_the_ways_that_it_declared() {
        let form = Some(r#"{"mode":"form","message":"?"}"#);
        let url = Some(r#"{"mode":"url","message":"?"}"#);
        let tools = Some(r#"{"messages":[],"tools":[]}"#);
        for (capabilities, inquiry, params, expected) in [
            (r#"{"elicitation":{}}"#, Inquiry::Elicit, form, true),
            (r#"{"elicitation":{}}"#, Inquiry::Elicit, None, true),
            (r#"{"elicitation":{}}"#, Inquiry::Elicit, url, false),
            (r#"{"elicitation":{"url":{}}}"#, Inquiry::Elicit, url, true),
            (
                r#"{"elicitation":{"url":{}}}"#,
                Inquiry::Elicit,
                form,
                false,
            ),
            (
                r#"{"elicitation":{"url":{},"form":{}}}"#,
                Inquiry::Elicit,
                form,
                true,
            ),
            (r#"{"sampling":{}}"#, Inquiry::Sample, None, true),
            (r#"{"sampling":{}}"#, Inquiry::Sample, tools, false),
            (r#"{"sampling":{"tools":{}}}"#, Inquiry::Sample, tools, true),
            (r#"{"sampling":{}}"#, Inquiry::Roots, None, false),
            (r#"{"roots":{}}"#, Inquiry::Roots, None, true),
        ] {
            let can = can_be_asked(&declared(capabilities), inquiry, params);
            assert_eq!(can, expected, "{capabilities} {inquiry:?} {params:?}");
        }
    }

    #[test]
    fn a_result_that_asks_what_nobody_can_answer_is_not_passed_on() {
        let can = declared(r#"{"elicitation":{}}"#);
        for good in [
            r#"{"requestState":"x"}"#,
            r#"{"inputRequests":{}}"#,
            r#"{"inputRequests":{"a":{"method":"elicitation/create","params":{}}}}"#,
        ] {
            assert_eq!(check_inquiries(good, &can), Ok(()), "{good}");
        }
        for bad in [
            "{}",
            r#"{"requestState":5}"#,
            r#"{"inputRequests":[]}"#,
            r#"{"inputRequests":{"a":5}}"#,
            r#"{"inputRequests":{"a":{"method":"tools/call","params":{}}}}"#,
            r#"{"inputRequests":{"a":{"method":"roots/list"}}}"#,
            r#"{"inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"url"}}}}"#,
        ] {
            assert!(check_inquiries(bad, &can).is_err(), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_waits_while_the_client_is_asked() {
        let allowed = Duration::from_secs(10);
        let (questions, mut asked) = mpsc::unbounded_channel();
        let can = declared(r#"{"elicitation":{}}"#);
        let asks = Asks::new(questions, can.into());
        let begun = Instant::now();
        let deadline = begun + allowed;
        expired(deadline, allowed, None).await;
        assert_eq!(begun.elapsed(), allowed);

        let begun = Instant::now();
        let question = async {
            let answer = asks.ask(Inquiry::Elicit, None).await;
            assert_eq!(answer, Some(Reply::Result("{}".into())));
        };
        let client = async {
            let ask = asked.recv().await.unwrap();
            tokio::time::sleep(Duration::from_secs(25)).await;
            ask.reply.send(Reply::Result("{}".into())).unwrap();
        };
        let expires = expired(begun + allowed, allowed, Some(&asks));
        tokio::join!(question, client, expires);
        assert_eq!(begun.elapsed(), Duration::from_secs(35));
    }
}
