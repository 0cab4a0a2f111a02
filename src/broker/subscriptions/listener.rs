//! One who is told of changes: a legacy client, or one stream of a modern one.

use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::tool::ServerName;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
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

/// Who is told of changes of resources.
#[derive(Debug)]
pub struct Listener {
    principal: PrincipalId,
    waiting: Mutex<VecDeque<Heard>>,
    more: Notify,
    /// Cancelled when it is gone.
    ended: CancellationToken,
    /// Cancelled when it lost a subscription that it had.
    cut: CancellationToken,
    readers: watch::Sender<()>,
    read: AtomicU64,
    watched: AtomicBool,
}

/// Something that is read while this lives.
#[derive(Debug)]
pub struct Reading {
    _counted: watch::Receiver<()>,
}

/// What a server said, for one listener.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) server: ServerName,
    /// The resource that the listener follows.
    pub(super) followed: Arc<str>,
    /// In which session it does.
    pub(super) session: SessionId,
    /// The resource that changed.
    pub(super) uri: Box<str>,
    pub(super) params: Arc<str>,
}

impl Listener {
    /// One of this principal, until `ended` is cancelled.
    pub fn new(principal: PrincipalId, ended: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            principal,
            waiting: Mutex::default(),
            more: Notify::new(),
            ended,
            cut: CancellationToken::new(),
            readers: watch::Sender::new(()),
            read: AtomicU64::new(0),
            watched: AtomicBool::new(false),
        })
    }

    /// Who it is.
    pub(super) fn principal(&self) -> &PrincipalId {
        &self.principal
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

    /// Whether somebody waits for its end; from now on somebody does.
    pub(super) fn is_watched(&self) -> bool {
        self.watched.swap(true, Ordering::Relaxed)
    }

    /// Nobody waits for its end any more.
    pub(super) fn unwatched(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    /// Whether it is gone for good.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Returns when it is gone, or nobody reads what it is told.
    pub(super) async fn gone(&self) {
        let unread = async {
            loop {
                self.readers.closed().await;
                let before = self.read.load(Ordering::Relaxed);
                tokio::time::sleep(UNREAD).await;
                let same = self.read.load(Ordering::Relaxed) == before;
                if same && self.readers.receiver_count() == 0 {
                    return;
                }
            }
        };
        let _ended_or_unread = self.ended.run_until_cancelled(unread).await;
    }

    /// Tells it.
    pub(super) fn push(&self, heard: Heard) {
        let mut waiting = self.waiting();
        let full = waiting.len() >= MOST;
        let older = match waiting.len() < MANY {
            true => None,
            false => waiting
                .iter_mut()
                .find(|older| older.uri == heard.uri && older.followed == heard.followed),
        };
        match older {
            Some(older) => *older = heard,
            None if full => {
                tracing::warn!(principal = %self.principal, "a client does not read what it follows; some of it is dropped");
            }
            None => waiting.push_back(heard),
        }
        drop(waiting);
        self.more.notify_one();
    }

    /// The next that it is told.
    pub(super) async fn next(&self) -> Heard {
        loop {
            let more = self.more.notified();
            if let Some(heard) = self.waiting().pop_front() {
                return heard;
            }
            more.await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Heard>> {
        // Only single operations happen under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(uri: &str, params: &str) -> Heard {
        Heard {
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
        assert_eq!(&*listener.next().await.params, "9900");
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
        tokio::join!(reads, listener.gone());
        assert!(begun.elapsed() >= UNREAD * 4, "{:?}", begun.elapsed());
        assert!(begun.elapsed() <= UNREAD * 5, "{:?}", begun.elapsed());
    }
}
