//! One who is told of changes: a legacy client, or one stream of a modern one.

use super::Recipient;
use crate::downstream::ClientId;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::tool::Declared;
use crate::tool::ServerName;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// From how many waiting messages on a newer one of the same resource takes the
/// place of an older: both say to read it again.
const MANY: usize = 64;

/// How many messages wait for a client at most.
const MOST: usize = 1_024;

/// How long a client may read nothing before it counts as gone. A client over
/// HTTP may open its stream late, or lose it and come back.
const UNREAD: Duration = Duration::from_secs(5 * 60);

/// Who is told of changes of resources and tasks.
#[derive(Debug)]
pub struct Listener {
    principal: PrincipalId,
    /// Which client it is.
    client: ClientId,
    /// What its client can be asked.
    declared: Arc<Declared>,
    /// Who reads what it is told.
    recipient: Recipient,
    waiting: Mutex<VecDeque<(u64, Heard)>>,
    /// The number of the next message.
    number: AtomicU64,
    more: Notify,
    /// Cancelled when it is gone.
    ended: CancellationToken,
    /// Cancelled when it lost a subscription that it had.
    cut: CancellationToken,
    readers: watch::Sender<()>,
    read: AtomicU64,
    /// Whether somebody waits for its end.
    watched: Mutex<bool>,
}

/// Something that is read while this lives.
#[derive(Debug)]
pub struct Reading {
    _counted: watch::Receiver<()>,
}

/// How it is seen as gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// For good.
    Ended,
    /// It was read so often, and for long no more.
    Unread(u64),
}

/// What something is said of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Of {
    /// A resource that the listener follows.
    Resource,
    /// A task that it follows, which it knows by an id of ours.
    Task,
    /// A task that it follows or began, in the words of a server of the older era.
    Status,
    /// A page that its client was asked to have opened.
    Page,
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Of a resource: the `params` of `notifications/resources/updated`, an object, as
    /// its server wrote them.
    Resource(Arc<str>),
    /// Of a task: the `params` of `notifications/tasks` likewise.
    Task {
        /// What the client calls it.
        id: Arc<str>,
        /// The parameters.
        params: Arc<str>,
    },
    /// Of a task, by a server of the older era: the `params` of
    /// `notifications/tasks/status` likewise.
    Status {
        /// What the client calls it.
        id: Arc<str>,
        /// The parameters.
        params: Arc<str>,
    },
    /// Of a page that it was asked to have opened: the `params` of
    /// `notifications/elicitation/complete`, an object, as its server wrote them.
    Page(Arc<str>),
}

/// What a server said, for one listener.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) of: Of,
    pub(super) server: ServerName,
    /// The resource that the listener follows, or our id of the task.
    pub(super) followed: Arc<str>,
    /// In which session it does.
    pub(super) session: SessionId,
    /// The resource that changed.
    pub(super) uri: Box<str>,
    pub(super) params: Arc<str>,
}

impl Heard {
    /// What its client hears of it.
    pub(super) fn word(&self) -> Word {
        let params = Arc::clone(&self.params);
        let id = Arc::clone(&self.followed);
        match self.of {
            Of::Resource => Word::Resource(params),
            Of::Task => Word::Task { id, params },
            Of::Status => Word::Status { id, params },
            Of::Page => Word::Page(params),
        }
    }
}

impl Listener {
    /// One of this principal, until `ended` is cancelled.
    #[cfg(test)]
    pub(super) fn new(principal: PrincipalId, ended: CancellationToken) -> Arc<Self> {
        Self::of((principal, Arc::default(), Recipient::default()), ended)
    }

    /// One of this principal, whose client can be asked this and is told on these
    /// streams, until `ended` is cancelled.
    pub fn of(
        (principal, declared, recipient): (PrincipalId, Arc<Declared>, Recipient),
        ended: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            principal,
            client: ClientId::next(),
            declared,
            recipient,
            waiting: Mutex::default(),
            more: Notify::new(),
            ended,
            cut: CancellationToken::new(),
            readers: watch::Sender::new(()),
            read: AtomicU64::new(0),
            watched: Mutex::new(false),
            number: AtomicU64::new(0),
        })
    }

    /// Who it is.
    pub(super) fn principal(&self) -> &PrincipalId {
        &self.principal
    }

    /// Which client it is.
    pub(super) fn client(&self) -> ClientId {
        self.client
    }

    /// What its client can be asked.
    pub(super) fn declared(&self) -> &Arc<Declared> {
        &self.declared
    }

    /// Who reads what it is told.
    pub(super) fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// Says that somebody reads what it is told, while the value lives.
    pub fn reading(&self) -> Reading {
        self.read.fetch_add(1, Ordering::Relaxed);
        Reading {
            _counted: self.readers.subscribe(),
        }
    }

    /// Waits until it has lost a subscription that it had.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// It lost a subscription.
    pub(super) fn cut_off(&self) {
        self.cut.cancel();
    }

    /// Has it follow something more, which shows that it is there. Returns whether
    /// nobody waits for its end yet; then the caller has to.
    pub(super) fn joins(&self, join: impl FnOnce()) -> bool {
        let mut watched = self.watched();
        self.read.fetch_add(1, Ordering::Relaxed);
        join();
        !std::mem::replace(&mut *watched, true)
    }

    /// Has it follow nothing any more, and nobody wait for its end; unless it was read
    /// or followed something since it was seen as gone. Returns whether it is so.
    // INVARIANT: under one lock with `joins`. What it joined just before it left would
    // else be taken away again, and its client has been told that it stands.
    pub(super) fn leaves(&self, seen: Gone, leave: impl FnOnce()) -> bool {
        let mut watched = self.watched();
        let came_back = match seen {
            Gone::Ended => false,
            Gone::Unread(read) => {
                read != self.read.load(Ordering::Relaxed) || self.readers.receiver_count() > 0
            }
        };
        if came_back {
            return false;
        }
        leave();
        *watched = false;
        true
    }

    fn watched(&self) -> MutexGuard<'_, bool> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is gone for good.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Returns when it is gone, or nobody reads what it is told.
    pub(super) async fn gone(&self) -> Gone {
        let unread = async {
            loop {
                self.readers.closed().await;
                let before = self.read.load(Ordering::Relaxed);
                tokio::time::sleep(UNREAD).await;
                let same = self.read.load(Ordering::Relaxed) == before;
                if same && self.readers.receiver_count() == 0 {
                    return Gone::Unread(before);
                }
            }
        };
        let unread = self.ended.run_until_cancelled(unread).await;
        unread.unwrap_or(Gone::Ended)
    }

    /// Tells it.
    pub(super) fn push(&self, heard: Heard) {
        let mut waiting = self.waiting();
        let full = waiting.len() >= MOST;
        let same = |older: &Heard| {
            (older.of, &older.uri, &older.followed) == (heard.of, &heard.uri, &heard.followed)
        };
        let older = match waiting.len() < MANY {
            true => None,
            false => waiting.iter_mut().find(|(_, older)| same(older)),
        };
        // A number of its own also in the place of another: who looks at that one now
        // has not seen this.
        let numbered = (self.number.fetch_add(1, Ordering::Relaxed), heard);
        match older {
            Some(older) => *older = numbered,
            None if full => {
                tracing::warn!(principal = %self.principal, "a client does not read what it follows; some of it is dropped");
            }
            None => waiting.push_back(numbered),
        }
        drop(waiting);
        self.more.notify_one();
    }

    /// The next that it is told, with its number. It waits on until it is taken.
    pub(super) async fn next(&self) -> (u64, Heard) {
        loop {
            let more = self.more.notified();
            if let Some(numbered) = self.waiting().front() {
                return numbered.clone();
            }
            more.await;
        }
    }

    /// Takes the next away, where it is still the one of this number.
    pub(super) fn take(&self, number: u64) -> bool {
        let mut waiting = self.waiting();
        let is_next = waiting.front().is_some_and(|(next, _)| *next == number);
        is_next && waiting.pop_front().is_some()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(u64, Heard)>> {
        // Only single operations happen under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(uri: &str, params: &str) -> Heard {
        Heard {
            of: Of::Resource,
            server: "own".parse().unwrap(),
            followed: uri.into(),
            session: SessionId::random(),
            uri: uri.into(),
            params: params.into(),
        }
    }

    fn listener() -> Arc<Listener> {
        let alice = PrincipalId::parse("alice").unwrap();
        Listener::new(alice, CancellationToken::new())
    }

    #[tokio::test]
    async fn a_slow_client_hears_of_each_resource_and_not_of_each_change() {
        let listener = listener();
        for number in 0..10_000 {
            let uri = format!("note://{}", number % 100);
            listener.push(heard(&uri, &number.to_string()));
        }
        let told = listener.waiting().len();
        assert!((100..=MANY + 100).contains(&told), "{told}");
        let (number, next) = listener.next().await;
        assert_eq!(&*next.params, "9900");
        // Who is stopped after it was looked at finds it again.
        assert_eq!(listener.next().await.0, number);
        listener.push(next);
        assert!(!listener.take(number), "a newer one stands in its place");
        assert!(listener.take(listener.next().await.0));
        for number in 0..10_000 {
            listener.push(heard(&format!("note://x/{number}"), "{}"));
        }
        assert_eq!(listener.waiting().len(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_for_long_is_gone() {
        let listener = listener();
        let begun = tokio::time::Instant::now();
        let reading = listener.reading();
        let reads = async {
            tokio::time::sleep(UNREAD * 3).await;
            drop(reading);
            tokio::time::sleep(UNREAD / 2).await;
            drop(listener.reading());
        };
        let (_, gone) = tokio::join!(reads, listener.gone());
        // What it follows at this very instant stands.
        assert!(listener.joins(|| {}));
        assert!(!listener.leaves(gone, || panic!("it has just joined")));
        let gone = listener.gone().await;
        assert!(listener.leaves(gone, || {}) && listener.joins(|| {}));
        let begun = begun + UNREAD;
        assert!(begun.elapsed() >= UNREAD * 4, "{:?}", begun.elapsed());
        assert!(begun.elapsed() <= UNREAD * 5, "{:?}", begun.elapsed());
    }
}
