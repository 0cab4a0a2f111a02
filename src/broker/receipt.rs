//! Whether the answer of a call was read. One that was not, of a call that may have
//! changed something, is kept for the client that makes the same call again.

use super::Answer;
use super::Broker;
use super::retry;
use crate::cause::Chain;
use crate::journal;
use crate::journal::Closing;
use crate::journal::Effect;
use crate::journal::Subject;
use crate::meters;
use crate::outcome::Outcome;
use crate::retries;
use crate::retries::Ending;
use crate::store::Durability;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// How long a call waits until it is known whether those read it who are told of earlier
/// ones, all together.
const PATIENCE: Duration = Duration::from_secs(5);

/// Until when a call waits for that, which begins to now.
pub(super) fn told_by() -> Instant {
    Instant::now() + PATIENCE
}

/// What is known of an answer.
const READ: u8 = 1;
/// Nobody is there to read it now.
const GONE: u8 = 2;
/// Nobody can come for it any more.
const LOST: u8 = 4;
/// Somebody waits until it is known whether it was read.
const AWAITED: u8 = 8;

/// Goes with an answer to where it is written.
#[derive(Clone, Debug, Default)]
pub struct Receipt(Option<Held>);

#[derive(Clone, Debug)]
struct Held {
    /// None where the answer only waits for somebody to come for it.
    _present: Option<Arc<Guard>>,
    kept: Arc<Guard>,
}

/// Learns what became of an answer.
#[derive(Clone, Debug)]
pub struct Awaited(Arc<Fate>);

/// What became of an answer.
#[derive(Debug, Default)]
struct Fate {
    known: AtomicU8,
    /// When it was handed on last to be written, in µs since 1970 UTC, and 0 where it was
    /// not. What was written before that was lost. Whoever reads may be quick, so it is
    /// not when we knew that it was read.
    handed_on: AtomicI64,
    news: Notify,
}

/// Has it known when the last who holds it is gone.
#[derive(Debug)]
struct Guard {
    fate: Arc<Fate>,
    then: u8,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.fate.becomes(self.then);
    }
}

impl Fate {
    fn becomes(&self, what: u8) {
        self.known.fetch_or(what, Ordering::AcqRel);
        self.news.notify_waiters();
    }

    fn is(&self, what: u8) -> bool {
        self.known.load(Ordering::Acquire) & what != 0
    }

    fn hands_on(&self) {
        let now = Timestamp::now().as_microsecond();
        self.handed_on.store(now, Ordering::Release);
    }

    /// Since when it could be read. What was never handed on: since now.
    fn since(&self) -> Timestamp {
        if self.handed_on.load(Ordering::Acquire) == 0 {
            self.hands_on();
        }
        let at = self.handed_on.load(Ordering::Acquire);
        // Every time that was stored is one.
        Timestamp::from_microsecond(at).unwrap_or(Timestamp::MAX)
    }

    /// Whether it was read, once it was or `over` is so.
    async fn is_read_before(&self, over: u8) -> bool {
        loop {
            // Before it is looked, so that no news is missed.
            let news = self.news.notified();
            if self.is(READ | over) {
                // Who read it is gone after that.
                return self.is(READ);
            }
            news.await;
        }
    }
}

impl Receipt {
    /// A receipt, and who waits for it.
    pub fn new() -> (Self, Awaited) {
        let fate = Arc::<Fate>::default();
        let guard = |then| {
            let fate = Arc::clone(&fate);
            Arc::new(Guard { fate, then })
        };
        let held = Held {
            _present: Some(guard(GONE)),
            kept: guard(LOST),
        };
        (Self(Some(held)), Awaited(fate))
    }

    /// For an answer that is kept where nobody may be there to read it: with all others
    /// gone the call is noted, and the note goes when somebody comes and reads it.
    pub fn later(&self) -> Self {
        Self(self.0.as_ref().map(|held| Held {
            _present: None,
            kept: Arc::clone(&held.kept),
        }))
    }

    /// Whether anybody waits for it. Who does not by the time that the answer is handed
    /// on never will.
    pub fn is_awaited(&self) -> bool {
        let held = self.0.as_ref();
        held.is_some_and(|held| held.kept.fate.is(AWAITED))
    }

    /// Notes that the last of the answer is about to be written.
    pub fn hand_on(&self) {
        if let Some(held) = self.0.as_ref().filter(|_| self.is_awaited()) {
            held.kept.fate.hands_on();
        }
    }

    /// The answer has left us for the client, as far as one can know.
    pub fn read(self) {
        if let Some(held) = self.0 {
            held.kept.fate.since();
            held.kept.fate.becomes(READ);
        }
    }
}

impl PartialEq for Receipt {
    /// Two messages are alike whoever waits for them.
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Receipt {}

impl Awaited {
    /// That nobody will read it.
    pub(super) fn in_vain() -> Self {
        let (_dropped, awaited) = Receipt::new();
        awaited
    }

    /// For what no client is told, which counts as read at once.
    pub(super) fn at_once() -> Self {
        let (receipt, awaited) = Receipt::new();
        receipt.read();
        awaited
    }

    /// Says, before the answer is handed on, that somebody waits for this.
    pub(crate) fn begin(&self) {
        self.0.becomes(AWAITED);
    }

    /// Since when it could be read, by somebody who did.
    fn read_at(&self) -> Timestamp {
        self.0.since()
    }

    /// Whether it was read, once that is known.
    pub(crate) async fn is_read(&self) -> bool {
        self.0.is_read_before(GONE).await
    }

    /// Whether somebody came for it and read it, once that is known.
    pub(crate) async fn is_read_later(&self) -> bool {
        self.0.is_read_before(LOST).await
    }
}

/// What is being told here of calls that ended, until the store has what came of it.
#[derive(Debug, Default)]
pub(super) struct Tellings(Mutex<Vec<Telling>>);

#[derive(Debug)]
struct Telling {
    subject: Subject,
    whom: Whom,
    fate: Arc<Fate>,
    noted: CancellationToken,
}

/// Who is told of a call that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    /// Somebody who is there, as far as one knows.
    Present,
    /// Whoever comes for it, if anybody does: of that it is noted that nobody read it.
    Later,
}

impl Tellings {
    /// Somebody is told until what is returned is dropped.
    fn begin(&self, subject: &Subject, whom: Whom, awaited: &Awaited) -> DropGuard {
        let noted = CancellationToken::new();
        let mut tellings = self.locked();
        tellings.retain(|telling| !telling.noted.is_cancelled());
        tellings.push(Telling {
            subject: subject.clone(),
            whom,
            fate: Arc::clone(&awaited.0),
            noted: noted.clone(),
        });
        noted.drop_guard()
    }

    /// Cancelled with the end of each that a call like this one depends on.
    fn of(&self, subject: &Subject) -> Vec<CancellationToken> {
        let tellings = self.locked();
        let open = tellings
            .iter()
            .filter(|telling| telling.matters_to(subject));
        open.map(|telling| telling.noted.clone()).collect()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Telling>> {
        // Each change is whole before the lock is given back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Telling {
    fn matters_to(&self, subject: &Subject) -> bool {
        let known = &self.subject;
        let is_same = known.session == subject.session
            && known.arguments == subject.arguments
            && known.tool == subject.tool
            && known.principal == subject.principal;
        is_same
            && match self.whom {
                Whom::Present => true,
                // What nobody came for yet is told to that call.
                Whom::Later => self.fate.is(READ),
            }
    }
}

impl Broker {
    /// Returns when the store has what came of telling somebody here of calls like this
    /// one: whoever read it means another call, and whoever did not is told again.
    /// That is waited for until then, where it was said before, and else for so long
    /// from now.
    pub(super) async fn tellings_end(&self, subject: &Subject, by: &mut Option<Instant>) {
        let open = self.tellings.of(subject);
        if open.is_empty() {
            return;
        }
        let all = async {
            for noted in open {
                noted.cancelled().await;
            }
        };
        let by = *by.get_or_insert_with(told_by);
        let _late = tokio::time::timeout_at(by, all).await;
    }

    /// Somebody is told now that nobody knows how an earlier call ended. It is told to
    /// every call that is the same until it is noted that somebody read it.
    pub(super) fn await_told(&self, subject: &Subject, earlier: CallId, awaited: Awaited) {
        awaited.begin();
        let noted = self.tellings.begin(subject, Whom::Present, &awaited);
        let (store, stopping) = (Arc::clone(&self.store), self.stopping.clone());
        // Before it is known, so that at no time there is none.
        let later = self.tellings.begin(subject, Whom::Later, &awaited);
        let told = awaited.clone();
        let note = move |tx: &Tx<'_>| journal::has_read(tx, earlier, told.read_at());
        self.tasks.spawn(async move {
            if awaited.is_read().await {
                if let Err(error) = store.finish("told", Durability::Process, note).await {
                    tracing::error!(error = %Chain(&error), "it could not be noted that somebody was told of a call");
                }
                drop(noted);
            } else {
                drop(noted);
                read_later(&store, (&awaited, note), &stopping).await;
            }
            drop(later);
        });
    }

    /// Keeps the answer of a call, if nobody reads it and it can be given again.
    pub(super) fn await_reading(
        self: &Arc<Self>,
        (subject, effect): (Subject, Effect),
        (closing, answer): (&Closing, &Answer),
        awaited: Awaited,
    ) {
        let ended = matches!(closing.outcome, Outcome::Completed | Outcome::ToolFailed);
        if effect == Effect::None || !ended {
            return;
        }
        let Ending::Answered(kept) = retry::ending(closing, answer) else {
            return;
        };
        awaited.begin();
        let broker = Arc::clone(self);
        self.tasks.spawn(async move {
            if awaited.is_read().await {
                return;
            }
            // Whoever comes for it may make the same call before the note is gone.
            let _noted = broker.tellings.begin(&subject, Whom::Later, &awaited);
            let (store, call) = (&broker.store, subject.call);
            let now = Timestamp::now();
            let note = move |tx: &Tx<'_>| {
                retries::keep_unread(tx, subject.call, &kept, now)?;
                for old in journal::unread(tx, &subject, now)? {
                    retries::drop_unread(tx, old)?;
                }
                Ok(())
            };
            let noted = store.finish("unread", Durability::Process, note).await;
            if let Err(error) = noted {
                tracing::error!(error = %Chain(&error), "an answer that nobody read could not be kept");
            }
            let note = move |tx: &Tx<'_>| was_read(tx, call);
            read_later(store, (&awaited, note), &broker.stopping).await;
        });
    }

    /// The answer of an earlier call is given now, or that call is told of: it stays
    /// until that was read, and whoever makes the same call meanwhile waits.
    pub(super) fn await_rereading(
        &self,
        subject: Option<&Subject>,
        earlier: CallId,
        awaited: Awaited,
    ) {
        awaited.begin();
        let begin = |subject| self.tellings.begin(subject, Whom::Present, &awaited);
        let told = subject.map(begin);
        let (store, stopping) = (Arc::clone(&self.store), self.stopping.clone());
        self.tasks.spawn(async move {
            let is_read = awaited.is_read().await;
            let note = move |tx: &Tx<'_>| match is_read {
                true => was_read(tx, earlier),
                false => journal::still_unread(tx, earlier),
            };
            let noted = store.finish("reread", Durability::Process, note).await;
            if let Err(error) = noted {
                tracing::error!(error = %Chain(&error), "it could not be noted whether an answer was read");
            }
            drop(told);
            if !is_read {
                let note = move |tx: &Tx<'_>| was_read(tx, earlier);
                read_later(&store, (&awaited, note), &stopping).await;
            }
        });
    }

    /// Forgets what nobody asked for in time: answers that were not read, keys, and
    /// what was charged under those.
    pub(super) async fn forget_retries(&self) {
        let now = Timestamp::now();
        let forget = move |tx: &Tx<'_>| {
            journal::forget_unread(tx, now)?;
            let old = retries::forget(tx, now)?;
            old.into_iter()
                .try_for_each(|call| meters::release(tx, call))
        };
        let forgotten = self
            .store
            .write("forget", Durability::Process, forget)
            .await;
        if let Err(error) = forgotten {
            tracing::warn!(error = %Chain(&error), "old retries could not be forgotten");
        }
    }
}

/// Notes that somebody came for an answer and read it, as soon as that is so. A broker
/// that stops hands nothing on any more, and its notes stay.
async fn read_later(
    store: &Store,
    (awaited, note): (
        &Awaited,
        impl FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    ),
    stopping: &CancellationToken,
) {
    let is_read = tokio::select! {
        biased;
        is_read = awaited.is_read_later() => is_read,
        () = stopping.cancelled() => false,
    };
    if !is_read {
        return;
    }
    if let Err(error) = store.finish("reread", Durability::Process, note).await {
        tracing::error!(error = %Chain(&error), "it could not be noted that an answer was read after all");
    }
}

fn was_read(tx: &Tx<'_>, call: CallId) -> Result<(), StoreError> {
    journal::is_read(tx, call)?;
    retries::drop_unread(tx, call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_in_vain_could_be_read_since_it_was_written_again() {
        let (receipt, awaited) = Receipt::new();
        awaited.begin();
        let later = receipt.later();
        receipt.hand_on();
        drop(receipt);
        let in_vain = awaited.read_at();
        while Timestamp::now() <= in_vain {}
        later.hand_on();
        later.read();
        assert!(awaited.read_at() > in_vain);
    }
}
