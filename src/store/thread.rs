//! The writer thread: group commit with one durability for each transaction.

use super::StoreError;
use super::Tx;
use super::room::Room;
use super::spool::Fold;
use super::spool::Spool;
use super::writers::WriterId;
use crate::cause::Chain;
use crate::crash;
use rusqlite::Connection;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;
use tokio::sync::oneshot;

/// How many jobs share one transaction at most, so that the first of them does
/// not wait long for the last.
const MAX_BATCH: usize = 256;

/// How long a record waits in the spool at most, where no transaction and no
/// slice of records comes sooner: as long as the journal may be behind for others.
const FOLD_EVERY: Duration = Duration::from_millis(50);

/// How soon folding is tried again that went wrong.
const FOLD_AGAIN: Duration = Duration::from_secs(1);

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

/// Reports how the commit ended to the one who waits.
type Report = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Runs in the transaction; true where its changes are to be kept.
type Work = Box<dyn FnOnce(&Tx<'_>) -> (bool, Report) + Send>;

pub(super) struct Job {
    doing: &'static str,
    durability: Durability,
    work: Work,
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
            Self::Job(job) => job.doing,
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
    /// There was no room for what was written last.
    full: Arc<AtomicBool>,
}

impl WriterThread {
    pub(super) fn start(connection: Connection, store: PathBuf) -> Result<Self, StoreError> {
        let (orders, waiting) = mpsc::channel();
        let full = Arc::new(AtomicBool::new(false));
        let room = Room::of(&store, Arc::clone(&full));
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let desk = Desk {
                    connection,
                    store,
                    mode: None,
                    spool: None,
                    room,
                };
                desk.run(&waiting);
            })
            .map_err(|_no_thread| StoreError::Closed)?;
        Ok(Self {
            orders: Some(orders),
            spool: OnceLock::new(),
            thread: Some(thread),
            full,
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
        self.order(Job {
            doing: "fold",
            durability: Durability::Process,
            work: Box::new(move |_tx| (true, report)),
        })?;
        wait.recv().map_err(|_not_run| self.not_begun("fold"))?
    }

    /// Whether there was no room for what was written last.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    fn not_begun(&self, doing: &'static str) -> StoreError {
        let full = self.is_full();
        StoreError::NotBegun { doing, full }
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        durability: Durability,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Committed<T>, StoreError> {
        self.submit(doing, durability, work)?
            .await
            .map_err(|_not_run| self.not_begun(doing))?
    }

    pub(super) fn write_blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        durability: Durability,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Committed<T>, StoreError> {
        self.submit(doing, durability, work)?
            .blocking_recv()
            .map_err(|_not_run| self.not_begun(doing))?
    }

    fn submit<T: Send + 'static>(
        &self,
        doing: &'static str,
        durability: Durability,
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
        self.order(Job {
            doing,
            durability,
            work,
        })?;
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

/// What the thread works with.
struct Desk {
    connection: Connection,
    store: PathBuf,
    mode: Option<Durability>,
    spool: Option<Arc<Spool>>,
    room: Room,
}

impl Desk {
    fn run(mut self, orders: &mpsc::Receiver<Order>) {
        let mut due: Option<Instant> = None;
        loop {
            let first = match due {
                None => orders
                    .recv()
                    .map_err(|_none| RecvTimeoutError::Disconnected),
                Some(due) => orders.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            let ended = matches!(first, Err(RecvTimeoutError::Disconnected));
            let more = orders.try_iter().take(MAX_BATCH - 1);
            let jobs = self.jobs(first.into_iter().chain(more));
            let is_full = self.spool.as_ref().is_some_and(|spool| spool.is_full());
            let is_due = ended || is_full || due.is_some_and(|due| due <= Instant::now());
            let mut went_well = true;
            if !jobs.is_empty() {
                self.commit(jobs);
            } else if is_due && !self.rests() {
                went_well = self.commit_batch(Durability::Process, Vec::new());
            }
            if ended {
                return;
            }
            let rests = self.rests();
            let pause = if went_well { FOLD_EVERY } else { FOLD_AGAIN };
            due = match due.filter(|due| *due > Instant::now()) {
                _ if rests => None,
                Some(due) => Some(due),
                None => Some(Instant::now() + pause),
            };
        }
    }

    /// Whether there is nothing to do that nobody asked for.
    fn rests(&self) -> bool {
        !self.room.is_missing() && self.spool.as_ref().is_none_or(|spool| spool.rests())
    }

    /// The jobs among some orders.
    fn jobs(&mut self, orders: impl Iterator<Item = Order>) -> Vec<Job> {
        let mut jobs = Vec::new();
        for order in orders {
            match order {
                Order::Job(job) => jobs.push(job),
                Order::Spool(spool) => self.spool = Some(spool),
                Order::Fold => {}
            }
        }
        jobs
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        // A batch has one durability. What need not wait for the disk goes
        // first; two jobs of one caller keep their order, because a caller
        // waits for the one before it hands in the next.
        let (power, process): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| job.durability == Durability::Power);
        for (durability, batch) in [(Durability::Process, process), (Durability::Power, power)] {
            if !batch.is_empty() {
                self.commit_batch(durability, batch);
            }
        }
    }

    /// Commits what waits in the spool and these jobs. False where that failed.
    fn commit_batch(&mut self, durability: Durability, batch: Vec<Job>) -> bool {
        let named: Vec<&'static str> = batch.iter().map(|job| job.doing).collect();
        let mut batch = batch.into_iter();
        let mut reports = Vec::with_capacity(batch.len());
        let outcome = set_mode(&self.connection, &mut self.mode, durability)
            .map_err(|source| self.why(&source))
            .and_then(|()| self.run_batch(&mut batch, &mut reports));
        for doing in &named {
            crash::step("store", doing, "after-commit");
        }
        let why = outcome.err();
        // INVARIANT: before anybody is told, so that they are told of it.
        self.room
            .is(&self.connection, why.as_ref().map(|why| why.full));
        if let Some(Why { text, .. }) = &why {
            tracing::error!(error = %text, "a transaction of the store was not committed");
        }
        match (&why, &self.spool) {
            (Some(_), Some(spool)) => spool.stall(),
            (None, Some(spool)) => {
                crash::step("spool", "fold", "before-emptying");
                spool.folded();
                crash::step("spool", "fold", "after-emptying");
            }
            (_, None) => {}
        }
        for (doing, report) in named.into_iter().zip(reports) {
            report(match &why {
                None => Ok(()),
                Some(Why { text, full }) => Err(StoreError::Commit {
                    doing,
                    why: text.clone(),
                    full: *full,
                }),
            });
        }
        // Jobs that never ran are dropped with their batch, which closes their
        // reply: their callers see `NotBegun`, and not before the spool knows.
        drop(batch);
        why.is_none()
    }

    fn why(&self, source: &rusqlite::Error) -> Why {
        Why {
            text: source.to_string(),
            full: self.room.is_why(source),
        }
    }

    /// Folds the spool and runs the jobs of a batch in one transaction. Where a
    /// job fails, what it changed is taken back and the others stay.
    fn run_batch(
        &self,
        batch: &mut impl Iterator<Item = Job>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Why> {
        let (connection, store) = (&self.connection, self.store.as_path());
        let run = |word: &str| execute(connection, word).map_err(|source| self.why(&source));
        run("BEGIN IMMEDIATE")?;
        let ran = (|| {
            self.room
                .tries(connection)
                .map_err(|source| self.why(&source))?;
            if let Some(spool) = &self.spool {
                // INVARIANT: before any job, so that a writer's chain has the
                // order in which its calls went on.
                let folded = spool.fold(&Tx { connection, store });
                folded.map_err(|error| Why {
                    text: Chain(&error).to_string(),
                    full: error.is_full(),
                })?;
            }
            for job in batch {
                run("SAVEPOINT job")?;
                let (keep, report) = (job.work)(&Tx { connection, store });
                if job.doing == "admit" && crash::mutated("ack-before-commit") {
                    report(Ok(()));
                    crash::linger();
                } else {
                    reports.push(report);
                }
                let is_skipped = job.doing == "close" && crash::mutated("skip-close");
                if !keep || is_skipped {
                    run("ROLLBACK TO job")?;
                }
                run("RELEASE job")?;
                crash::step("store", job.doing, "before-commit");
            }
            run("COMMIT")
        })();
        if ran.is_err() && !connection.is_autocommit() {
            // What began must end, or the next batch could not begin. Where even
            // this fails, beginning fails too, and says so to whoever waits.
            let _not_rolled_back = run("ROLLBACK");
        }
        ran
    }
}

/// Why a transaction was not committed, for all that shared it.
struct Why {
    text: String,
    full: bool,
}

/// Begins or ends something. Prepared once: parsing these words again for each call
/// would cost more than what they do.
pub(super) fn execute(connection: &Connection, word: &str) -> Result<(), rusqlite::Error> {
    connection.prepare_cached(word)?.execute([]).map(|_none| ())
}

/// `FULL` flushes the write-ahead log at each commit, `NORMAL` only at
/// checkpoints (SQLite documentation, `PRAGMA synchronous`).
fn set_mode(
    connection: &Connection,
    mode: &mut Option<Durability>,
    durability: Durability,
) -> Result<(), rusqlite::Error> {
    if *mode != Some(durability) {
        let synchronous = match durability {
            Durability::Power if !crash::mutated("no-fsync") => "FULL",
            Durability::Power | Durability::Process => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        *mode = Some(durability);
    }
    Ok(())
}
