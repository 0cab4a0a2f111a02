//! Calls that are made again: under the key of an earlier one they wait for it, and are
//! given what it came to; without a key they wait where the answer of the earlier one is
//! on its way to somebody, and are given it if that one did not read it.

use super::Answer;
use super::Asked;
use super::Awaited;
use super::Broker;
use super::NotKept;
use super::Refusal;
use super::Shown;
use super::ToolCall;
use super::catalogue::Route;
use super::earlier::Earlier;
use super::earlier::Patience;
use super::labels;
use super::labels::Meets;
use super::open_calls::Place;
use super::receipt;
use super::settlement::Charged;
use crate::downstream;
use crate::downstream::CallLine;
use crate::downstream::Era;
use crate::journal;
use crate::journal::Closing;
use crate::journal::Effect;
use crate::journal::Subject;
use crate::outcome::Outcome;
use crate::permit::Permit;
use crate::retries::Ending;
use crate::retries::Form;
use crate::retries::Kept;
use crate::session::Label;
use crate::sessions::Brought;
use crate::store::StoreError;
use crate::tasks::Task;
use crate::tool::Asking;
use crate::tool::CallId;
use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use tokio::time::Instant as Deadline;

/// How soon the first call is looked at again, and how seldom at most.
const SOON: Duration = Duration::from_millis(2);
const SELDOM: Duration = Duration::from_millis(100);

/// How much longer than the call may take its end is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// What a call came to before anything was sent.
pub(super) enum Once {
    /// It may be sent.
    Cleared(Box<Cleared>),
    /// It was made before, and this is what it comes to.
    Before(Box<Answer>),
}

/// A call that may be sent.
pub(super) struct Cleared {
    pub(super) permit: Permit,
    pub(super) charged: Charged,
    pub(super) route: Arc<Route>,
    pub(super) task: Option<Task>,
    /// What it may bring into its session.
    pub(super) labels: BTreeSet<Label>,
    /// What is known of it, where it may have to be told of later.
    pub(super) subject: Option<Subject>,
}

/// What a call waits for before it is decided.
#[derive(Clone, Copy)]
enum Awaits {
    /// The end of the one under its key.
    End(CallId),
    /// Whether somebody else reads the answer of this one, which is the same.
    Reading(CallId),
}

/// How waiting for an earlier call ended.
enum Waited {
    /// What was awaited came.
    ForIt,
    /// It may not have come, and nobody waits longer.
    InVain,
    /// The client took its call back.
    TakenBack,
}

impl Broker {
    /// Steps 4 to 8. A call that was made before under the same key waits for the end
    /// of that one, and then is routed and decided like any that comes now: what was
    /// frozen or changed meanwhile holds for it.
    ///
    /// An answer to a call that its server keeps open is decided only where that call
    /// is: else it would use up what people said to it, and reach nobody.
    pub(super) async fn clear(
        &self,
        call: &mut ToolCall,
        line: &CallLine,
        came: Instant,
    ) -> Result<(Once, Place), Refusal> {
        let place = self.open_calls.reserve(call.answers());
        let once = self.clear_at(call, place, (line, came)).await;
        if !matches!(once, Ok(Once::Cleared(_))) {
            self.open_calls.let_go(place);
        }
        once.map(|once| (once, place))
    }

    async fn clear_at(
        &self,
        call: &mut ToolCall,
        place: Place,
        (line, came): (&CallLine, Instant),
    ) -> Result<Once, Refusal> {
        let (mut patience, mut until, mut told_by) = (Patience::Left, None, None);
        let came_at = ago(came.elapsed());
        loop {
            let now = Timestamp::now();
            let (route, task) = self.route(call, now).await?;
            let labels = labels::of(&route, task.as_ref());
            self.complete(call);
            let mut candidate = self.read_arguments(call, &route, now).await?;
            candidate.early = labels::heard_before_the_end(&labels, line);
            candidate.patience = patience;
            candidate.came = came_at;
            candidate.place = place;
            let wanted = call.key.is_some() || candidate.effect() == Effect::Possible;
            let subject = wanted.then(|| candidate.subject.clone());
            if let Some(subject) = &subject {
                self.tellings_end(subject, &mut told_by).await;
            }
            match self.admit(candidate, (came, now)).await {
                Ok((charged, permit, Shown(shown))) => {
                    if shown {
                        call.meta = call.meta.take().and_then(|meta| downstream::traces(&meta));
                    }
                    return Ok(Once::Cleared(Box::new(Cleared {
                        permit,
                        charged,
                        route,
                        task,
                        labels,
                        subject,
                    })));
                }
                Err(refusal) => {
                    let (awaits, until) = match refusal {
                        Refusal::Attempted { earlier } => {
                            let longest = route.deadline().saturating_add(GRACE);
                            let until = until.get_or_insert_with(|| Deadline::now() + longest);
                            (Awaits::End(earlier), *until)
                        }
                        Refusal::BeingGiven { earlier } => {
                            let until = told_by.get_or_insert_with(receipt::told_by);
                            (Awaits::Reading(earlier), *until)
                        }
                        refusal => {
                            let about = subject.map(|subject| (subject, labels));
                            let given = Box::pin(self.given_again(refusal, about, call));
                            return given.await.map(Box::new).map(Once::Before);
                        }
                    };
                    // In a box, because most calls need no room for it.
                    match Box::pin(self.wait_for(awaits, until, line)).await? {
                        Waited::ForIt => {}
                        Waited::InVain => patience = Patience::Over,
                        Waited::TakenBack => return Ok(Once::Before(Box::new(Answer::Cancelled))),
                    }
                }
            }
        }
    }

    /// A prompt whose argument is completed is named as its server names it.
    fn complete(&self, call: &mut ToolCall) {
        if call.asking == Asking::Complete && call.of_prompt() {
            let prompt = self.catalogue.load().route(Asking::Prompt, &call.name);
            call.complete(prompt.as_ref().map_or("", |prompt| prompt.tool.native()));
        }
    }

    /// What goes to the client of a call that nothing was sent for. With the answer of
    /// an earlier one goes a receipt, as it did with the first.
    async fn given_again(
        &self,
        refusal: Refusal,
        about: Option<(Subject, BTreeSet<Label>)>,
        call: &ToolCall,
    ) -> Result<Answer, Refusal> {
        let awaited = call.awaited.clone().unwrap_or_else(Awaited::at_once);
        let (earlier, came) = match refusal {
            Refusal::Replayed { earlier, kept } => {
                let answer = Box::new(again(kept));
                (earlier, Ok(Answer::Replayed { earlier, answer }))
            }
            // What becomes of that answer is for whoever is given it to say.
            Refusal::EarlierUnread {
                why: NotKept::BeingGiven,
                ..
            } => return Err(refusal),
            Refusal::EarlierUnread { earlier, .. } => (earlier, Err(refusal)),
            Refusal::Confirm {
                call,
                question,
                patience,
            } => {
                let asked = Asked::Confirmation { question, patience };
                return Ok(Answer::Asks { call, asked });
            }
            Refusal::EarlierUnknown { earlier, .. } => {
                if let Some((subject, _)) = about {
                    self.await_told(&subject, earlier, awaited);
                }
                return Err(refusal);
            }
            other => return Err(other),
        };
        // A key has an answer of its own, which is given to whoever asks.
        let (alike, meets) = match call.key {
            Some(_) => (None, Meets::Again),
            None => (
                about.as_ref().map(|(subject, _)| subject.clone()),
                Meets::Now,
            ),
        };
        if let (Ok(_), Some((subject, labels))) = (&came, about)
            && let Err(error) = self.reads_of_call(brought(&subject, labels), meets).await
        {
            self.await_rereading(alike.as_ref(), earlier, Awaited::in_vain());
            return Err(super::not_recorded(error));
        }
        self.await_rereading(alike.as_ref(), earlier, awaited);
        came
    }

    /// Returns when what is awaited has come, for all one can see from here.
    async fn wait_for(
        &self,
        awaits: Awaits,
        until: Deadline,
        line: &CallLine,
    ) -> Result<Waited, Refusal> {
        let mut pause = SOON;
        loop {
            match self.has_come(awaits).await.map_err(super::not_recorded)? {
                true => return Ok(Waited::ForIt),
                false if Deadline::now() < until => {}
                false => return Ok(Waited::InVain),
            }
            tokio::select! {
                biased;
                () = line.cancelled.cancelled() => return Ok(Waited::TakenBack),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(SELDOM);
        }
    }

    async fn has_come(&self, awaits: Awaits) -> Result<bool, StoreError> {
        let (store, own) = (Arc::clone(&self.store), self.writer.id());
        let look = tokio::task::spawn_blocking(move || {
            store.read(|tx| match awaits {
                Awaits::End(earlier) => {
                    let stands = Earlier::of(tx, earlier, own)?;
                    Ok(!matches!(stands, Earlier::Runs))
                }
                Awaits::Reading(earlier) => Ok(!journal::is_being_given(tx, earlier)?),
            })
        });
        // Where the runtime ends, nobody is told anything any more.
        look.await.unwrap_or(Ok(true))
    }
}

/// What an answer brings that was given to an earlier call.
fn brought(subject: &Subject, labels: BTreeSet<Label>) -> Brought {
    Brought {
        labels,
        session: subject.session,
        principal: subject.principal.clone(),
        call: subject.call,
    }
}

/// How a call under a key ended, by its record and its answer.
pub(super) fn ending(closing: &Closing, answer: &Answer) -> Ending {
    let kept = |form, era: &str, body: &str| {
        Ending::Answered(Kept {
            form,
            era: era.to_owned(),
            body: body.into(),
        })
    };
    match (closing.outcome, answer) {
        (_, Answer::Result { json, era }) => kept(Form::Result, &written(era), json),
        (_, Answer::ServerError { json }) => kept(Form::Error, "", json),
        (_, Answer::Task { json, id, .. }) => {
            let pair = json!([id, json]).to_string();
            kept(Form::Task, "", &pair)
        }
        // It may stand otherwise the next time.
        (_, Answer::OwnTask(_)) | (Outcome::FailedBeforeSending, _) => Ending::Free,
        (Outcome::InputRequired, _) if !closing.goes_on => Ending::Free,
        _ => Ending::Unknown,
    }
}

fn written(era: &Era) -> String {
    match era {
        Era::Legacy(revision) => format!("legacy {revision}"),
        Era::Modern(revision) => format!("modern {revision}"),
    }
}

/// An answer that was kept.
pub(super) fn again(kept: Kept) -> Answer {
    let json = kept.body;
    match kept.form {
        Form::Error => Answer::ServerError { json },
        Form::Result => Answer::Result {
            json,
            era: match kept.era.split_once(' ') {
                Some(("modern", revision)) => Era::Modern(revision.to_owned()),
                Some((_, revision)) => Era::Legacy(revision.to_owned()),
                None => Era::Legacy(String::new()),
            },
        },
        Form::Task => {
            let (id, json) = serde_json::from_str::<(Box<str>, Box<str>)>(&json)
                .unwrap_or_else(|_damaged| (Box::default(), "{}".into()));
            Answer::Task { json, id, at: None }
        }
    }
}

/// When it was so long ago.
fn ago(waited: Duration) -> Timestamp {
    let now = Timestamp::now();
    let waited = SignedDuration::try_from(waited).ok();
    let then = waited.and_then(|waited| now.checked_sub(waited).ok());
    then.unwrap_or(now)
}

#[cfg(test)]
mod tests;
