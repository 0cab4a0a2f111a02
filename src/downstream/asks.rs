//! What a server asks of the client while it works on a call.

use crate::tool::Inquiry;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a client, and the person before it, may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

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
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: usize,
    /// When the last answer came.
    answered: Option<Instant>,
}

impl Asks {
    /// Questions go to `questions`.
    pub fn new(questions: mpsc::UnboundedSender<Ask>) -> Self {
        Self {
            questions,
            state: Mutex::new(State {
                open: 0,
                answered: None,
            }),
        }
    }

    /// Asks the client, and waits for its answer. None where there will be none.
    pub(super) async fn ask(&self, inquiry: Inquiry, params: Option<Box<str>>) -> Option<Reply> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_waits_while_the_client_is_asked() {
        let allowed = Duration::from_secs(10);
        let (questions, mut asked) = mpsc::unbounded_channel();
        let asks = Asks::new(questions);
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
