//! The writer thread: group commit with one durability for each transaction.

use super::StoreError;
use super::Tx;
use crate::crash;
use rusqlite::Connection;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// How many jobs share one transaction at most, so that the first of them does
/// not wait long for the last.
const MAX_BATCH: usize = 256;

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
    /// What was committed.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// Gives the proof up for the value.
    pub fn into_inner(self) -> T {
        self.0
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

struct Job {
    doing: &'static str,
    durability: Durability,
    work: Work,
}

#[derive(Debug)]
pub(super) struct WriterThread {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterThread {
    pub(super) fn start(connection: Connection, store: PathBuf) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(connection, &store, &waiting))
            .map_err(|_no_thread| StoreError::Closed)?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        durability: Durability,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Committed<T>, StoreError> {
        self.submit(doing, durability, work)?
            .await
            .map_err(|_not_run| StoreError::NotBegun { doing })?
    }

    pub(super) fn write_blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        durability: Durability,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Committed<T>, StoreError> {
        self.submit(doing, durability, work)?
            .blocking_recv()
            .map_err(|_not_run| StoreError::NotBegun { doing })?
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
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(Job {
            doing,
            durability,
            work,
        })
        .map_err(|_thread_ended| StoreError::Closed)?;
        Ok(answer)
    }
}

impl Drop for WriterThread {
    /// Lets the thread finish what it was given: an answer that was already
    /// passed on must not lose its record to the end of the process.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn run(connection: Connection, store: &Path, waiting: &mpsc::Receiver<Job>) {
    let mut mode = None;
    while let Ok(first) = waiting.recv() {
        let mut jobs = vec![first];
        jobs.extend(waiting.try_iter().take(MAX_BATCH - 1));
        // A batch has one durability. What need not wait for the disk goes
        // first; two jobs of one caller keep their order, because a caller
        // waits for the one before it hands in the next.
        let (power, process): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| job.durability == Durability::Power);
        for (durability, batch) in [(Durability::Process, process), (Durability::Power, power)] {
            if !batch.is_empty() {
                commit_batch((&connection, store), &mut mode, durability, batch);
            }
        }
    }
}

fn commit_batch(
    (connection, store): (&Connection, &Path),
    mode: &mut Option<Durability>,
    durability: Durability,
    batch: Vec<Job>,
) {
    let named: Vec<&'static str> = batch.iter().map(|job| job.doing).collect();
    let mut reports = Vec::with_capacity(batch.len());
    let outcome = set_mode(connection, mode, durability)
        .and_then(|()| run_batch((connection, store), batch, &mut reports));
    for doing in &named {
        crash::point(&format!("store.{doing}.after-commit"));
    }
    let why = outcome.err().map(|source| source.to_string());
    if let Some(why) = &why {
        tracing::error!(error = %why, "a transaction of the store was not committed");
    }
    for (doing, report) in named.into_iter().zip(reports) {
        report(match &why {
            None => Ok(()),
            Some(why) => Err(StoreError::Commit {
                doing,
                why: why.clone(),
            }),
        });
    }
    // Jobs that never ran are dropped with their batch, which closes their
    // reply: their callers see `NotBegun`.
}

/// Runs the jobs of a batch in one transaction. Where one of them fails, what it
/// changed is taken back and the others stay.
fn run_batch(
    (connection, store): (&Connection, &Path),
    batch: Vec<Job>,
    reports: &mut Vec<Report>,
) -> Result<(), rusqlite::Error> {
    // Prepared once: parsing these words again for each call would cost more
    // than what they do.
    let run = |word: &str| connection.prepare_cached(word)?.execute([]).map(|_none| ());
    run("BEGIN IMMEDIATE")?;
    let ran = (|| {
        for job in batch {
            run("SAVEPOINT job")?;
            let (keep, report) = (job.work)(&Tx { connection, store });
            if job.doing == "admit" && crash::mutated("ack-before-commit") {
                report(Ok(()));
                crash::linger();
            } else {
                reports.push(report);
            }
            if !keep {
                run("ROLLBACK TO job")?;
            }
            run("RELEASE job")?;
            crash::point(&format!("store.{}.before-commit", job.doing));
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
