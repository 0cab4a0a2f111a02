//! The writer thread: group commit with one durability for each transaction.

use super::StoreError;
use super::Tx;
use super::desk::Desk;
use super::last::Last;
use super::spool::Fold;
use super::spool::Spool;
use super::writers::WriterId;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// What a committed change survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The end of the process, by whatever signal. A power cut may lose the
    /// last moments.
    Process,
    /// A power cut: flushed to the disk before the commit is reported.
    Power,
}

/// Proof that what made this value was committed. Only this room makes it.
#[derive(Debug)]
pub struct Committed<T>(T);

impl<T> Committed<T> {
    /// What stands for a record that was appended to the spool.
    pub(super) fn spooled(made: T) -> Self {
        Self(made)
    }

    /// What was committed.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// Gives the proof up for the value.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// Carries the proof over to what the value is made into.
    pub fn map<A>(self, make: impl FnOnce(T) -> A) -> Committed<A> {
        Committed(make(self.0))
    }

    /// Takes one part out, and carries the proof over to the other.
    pub fn split<A, B>(self, parts: impl FnOnce(T) -> (A, B)) -> (A, Committed<B>) {
        let (taken, kept) = parts(self.0);
        (taken, Committed(kept))
    }
}

impl<T, E> Committed<Result<T, E>> {
    /// Carries the proof into the result.
    ///
    /// # Errors
    ///
    /// The error that was committed.
    pub fn transpose(self) -> Result<Committed<T>, E> {
        self.0.map(Committed)
    }
}

/// What a change is for, where there is little room left for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It begins something that must come to an end: the reserve is not for it.
    Begin,
    /// It ends something that was begun, or a person asked for it.
    End,
}

/// Reports how the commit ended to the one who waits.
pub(super) type Report = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Runs in the transaction; true where its changes are to be kept.
pub(super) type Work = Box<dyn FnOnce(&Tx<'_>) -> (bool, Report) + Send>;

/// What is to be written: how it is called in errors, and how it is committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct What {
    pub(super) doing: &'static str,
    pub(super) durability: Durability,
    pub(super) purpose: Purpose,
}

impl What {
    pub(super) fn new(doing: &'static str, durability: Durability, purpose: Purpose) -> Self {
        Self {
            doing,
            durability,
            purpose,
        }
    }
}

pub(super) struct Job {
    pub(super) what: What,
    pub(super) work: Work,
}

/// What the thread is told.
pub(super) enum Order {
    /// To do this in a transaction.
    Job(Job),
    /// To fold this spool from now on.
    Spool(Arc<Spool>),
    /// That there is something in the spool, or enough to fold it at once.
    Fold,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Job(job) => job.what.doing,
            Self::Spool(_) => "spool",
            Self::Fold => "fold",
        })
    }
}

#[derive(Debug)]
pub(super) struct WriterThread {
    orders: Option<mpsc::Sender<Order>>,
    spool: OnceLock<Arc<Spool>>,
    thread: Option<JoinHandle<()>>,
    last: Arc<Last>,
}

impl WriterThread {
    pub(super) fn start(connection: Connection, store: &Path) -> Result<Self, StoreError> {
        let (orders, waiting) = mpsc::channel();
        let last = Arc::new(Last::default());
        let desk = Desk::at(connection, store, Arc::clone(&last));
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || desk.run(&waiting))
            .map_err(|_no_thread| StoreError::Closed)?;
        Ok(Self {
            orders: Some(orders),
            spool: OnceLock::new(),
            thread: Some(thread),
            last,
        })
    }

    /// The spool of a writer in this process: the first one has it.
    pub(super) fn spool(
        &self,
        lock: &Path,
        (writer, fold): (WriterId, Fold),
    ) -> Result<Option<Arc<Spool>>, StoreError> {
        if self.spool.get().is_some() {
            return Ok(None);
        }
        let orders = self.orders.as_ref().ok_or(StoreError::Closed)?;
        let spool = Spool::create(lock, (writer, fold), orders.clone())?;
        let spool = Arc::new(spool);
        if self.spool.set(Arc::clone(&spool)).is_err() {
            return Ok(None);
        }
        let told = orders.send(Order::Spool(Arc::clone(&spool)));
        told.map_err(|_thread_ended| StoreError::Closed)?;
        Ok(Some(spool))
    }

    /// Returns when what is in the spool now is in the tables.
    pub(super) fn catch_up(&self) -> Result<(), StoreError> {
        let (done, wait) = mpsc::channel();
        let report: Report = Box::new(move |commit| {
            // Whoever asked is there until it is told.
            let _told = done.send(commit);
        });
        let what = What::new("fold", Durability::Process, Purpose::End);
        let work = Box::new(move |_tx: &Tx<'_>| (true, report));
        self.order(Job { what, work })?;
        wait.recv().map_err(|_not_run| self.not_begun("fold"))?
    }

    /// Whether there was no room for what was written last.
    pub(super) fn is_full(&self) -> bool {
        self.last.is_full()
    }

    /// Whether what was written last could not be.
    pub(super) fn has_failed(&self) -> bool {
        self.last.has_failed()
    }

    fn not_begun(&self, doing: &'static str) -> StoreError {
        let full = self.is_full();
        StoreError::NotBegun { doing, full }
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        what: What,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Committed<T>, StoreError> {
        self.submit(what, work)?
            .await
            .map_err(|_not_run| self.not_begun(what.doing))?
    }

    pub(super) fn write_blocking<T: Send + 'static>(
        &self,
        what: What,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Committed<T>, StoreError> {
        self.submit(what, work)?
            .blocking_recv()
            .map_err(|_not_run| self.not_begun(what.doing))?
    }

    fn submit<T: Send + 'static>(
        &self,
        what: What,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<Committed<T>, StoreError>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move |tx: &Tx<'_>| {
            let done = work(tx);
            let keep = done.is_ok();
            let report: Report = Box::new(move |commit| {
                // Nobody waits any more where the client went away; the change
                // is in the store all the same.
                let _gone = reply.send(commit.and_then(|()| done.map(Committed)));
            });
            (keep, report)
        });
        self.order(Job { what, work })?;
        Ok(answer)
    }

    fn order(&self, job: Job) -> Result<(), StoreError> {
        let orders = self.orders.as_ref().ok_or(StoreError::Closed)?;
        let sent = orders.send(Order::Job(job));
        sent.map_err(|_thread_ended| StoreError::Closed)
    }
}

impl Drop for WriterThread {
    /// Lets the thread finish what it was given: an answer that was already
    /// passed on must not lose its record to the end of the process.
    fn drop(&mut self) {
        if let Some(spool) = self.spool.get() {
            // It can give orders too.
            spool.seal();
        }
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
