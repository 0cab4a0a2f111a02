//! The work of the writer thread: what waits, in one transaction after the other.

use super::StoreError;
use super::Tx;
use super::last::Last;
use super::room::Room;
use super::spool::Spool;
use super::thread::Durability;
use super::thread::Job;
use super::thread::Order;
use super::thread::Purpose;
use super::thread::Report;
use crate::cause::Chain;
use crate::crash;
use rusqlite::Connection;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use std::time::Instant;

/// How many jobs share one transaction at most, so that the first of them does
/// not wait long for the last.
const MAX_BATCH: usize = 256;

/// How long a record waits in the spool at most, where no transaction and no
/// slice of records comes sooner: as long as the journal may be behind for others.
const FOLD_EVERY: Duration = Duration::from_millis(50);

/// How soon folding is tried again that went wrong.
const FOLD_AGAIN: Duration = Duration::from_secs(1);

/// What the thread works with.
pub(super) struct Desk {
    connection: Connection,
    store: PathBuf,
    mode: Option<Durability>,
    spool: Option<Arc<Spool>>,
    room: Room,
}

impl Desk {
    /// For this store. `last` tells others what became of what was written.
    pub(super) fn at(connection: Connection, store: &Path, last: Arc<Last>) -> Self {
        Self {
            connection,
            store: store.to_owned(),
            mode: None,
            spool: None,
            room: Room::of(store, last),
        }
    }

    /// Works until nobody can give orders any more.
    pub(super) fn run(mut self, orders: &mpsc::Receiver<Order>) {
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
            let jobs = self.admitted(jobs);
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
            let goes_on = went_well && !self.room.is_in_doubt();
            let pause = if goes_on { FOLD_EVERY } else { FOLD_AGAIN };
            due = match due.filter(|due| *due > Instant::now()) {
                _ if rests => None,
                Some(due) => Some(due),
                None => Some(Instant::now() + pause),
            };
        }
    }

    /// Whether there is nothing to do that nobody asked for.
    fn rests(&self) -> bool {
        !self.room.is_in_doubt() && self.spool.as_ref().is_none_or(|spool| spool.rests())
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

    /// Looks how much room there is, and leaves out of the jobs those for which there is
    /// none. Their callers see `NotBegun`.
    fn admitted(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let looked = self.room.look(&self.connection);
        if let Some(spool) = self.spool.as_ref().filter(|_| looked) {
            spool.keep_within(self.room.for_spool());
        }
        if !self.room.is_short() {
            return jobs;
        }
        if let Some(spool) = &self.spool {
            spool.stall();
        }
        let ends = |job: &Job| job.what.purpose == Purpose::End;
        jobs.into_iter().filter(ends).collect()
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        // A batch has one durability. What need not wait for the disk goes
        // first; two jobs of one caller keep their order, because a caller
        // waits for the one before it hands in the next.
        let (power, process): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| job.what.durability == Durability::Power);
        for (durability, batch) in [(Durability::Process, process), (Durability::Power, power)] {
            if !batch.is_empty() {
                self.commit_batch(durability, batch);
            }
        }
    }

    /// Commits what waits in the spool and these jobs. False where that failed.
    fn commit_batch(&mut self, durability: Durability, batch: Vec<Job>) -> bool {
        let named: Vec<&'static str> = batch.iter().map(|job| job.what.doing).collect();
        let was_in_doubt = self.room.is_in_doubt();
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
        match &why {
            // It was only tried whether the store can be written again.
            Some(Why { text, .. }) if was_in_doubt && named.is_empty() => {
                tracing::debug!(error = %text, "the store cannot be written yet");
            }
            Some(Why { text, .. }) => {
                tracing::error!(error = %text, "a transaction of the store was not committed");
            }
            None => {}
        }
        match (&why, &self.spool) {
            (Some(_), Some(spool)) => spool.stall(),
            (None, Some(spool)) => {
                crash::step("spool", "fold", "before-emptying");
                spool.folded();
                crash::step("spool", "fold", "after-emptying");
                if self.room.is_missing() {
                    spool.stall();
                }
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
        match self.room.is_why(source) {
            true => Why {
                text: format!("there is no room for it where the store lies ({source}): make some"),
                full: true,
            },
            false => Why {
                text: source.to_string(),
                full: false,
            },
        }
    }

    /// Why the spool was not folded.
    fn why_not_folded(&self, error: &StoreError) -> Why {
        let full = match error {
            StoreError::Sql { source, .. } => self.room.is_why(source),
            other => other.is_full(),
        };
        let text = Chain(error).to_string();
        Why { text, full }
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
                folded.map_err(|error| self.why_not_folded(&error))?;
            }
            for job in batch {
                run("SAVEPOINT job")?;
                let (keep, report) = (job.work)(&Tx { connection, store });
                if job.what.doing == "admit" && crash::mutated("ack-before-commit") {
                    report(Ok(()));
                    crash::linger();
                } else {
                    reports.push(report);
                }
                let is_skipped = job.what.doing == "close" && crash::mutated("skip-close");
                if !keep || is_skipped {
                    run("ROLLBACK TO job")?;
                }
                run("RELEASE job")?;
                crash::step("store", job.what.doing, "before-commit");
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
