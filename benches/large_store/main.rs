//! What a large store costs: start-up, opening a session, a call, memory, beside the
//! same of a small store in the same run.
//!
//!   cargo bench --bench large_store                       1,000,000 sessions, 10,000,000 records
//!   cargo bench --bench large_store -- --sessions 100000  a tenth of both
//!
//! The stores are filled through the public interface of the crate; each record has
//! its arguments beside it, as by default. `docs/performance.md` has the figures.
// Always true here. It tells clippy that helpers are test code as well, so that
// the permissions for tests in `.clippy.toml` hold for them.
#![cfg(test)]

mod asked;
#[path = "../shared/folder.rs"]
mod folder;
mod serving;

use asked::Asked;
use countersign::app;
use countersign::journal;
use countersign::outcome::Outcome;
use countersign::principal::PrincipalId;
use countersign::session::Found;
use countersign::session::Rule;
use countersign::sessions;
use countersign::store::Store;
use countersign::store::Tx;
use countersign::store::Writer;
use countersign::store::WriterId;
use countersign::tool::CallId;
use countersign::tool::Digest;
use jiff::Timestamp;
use jiff::ToSpan;
use serving::Serving;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;
use tempfile::TempDir;

/// Sessions of the small store, and how many of the large one are used.
const HOT: usize = 1_000;
const EACH_SESSION: usize = 10;
/// Sessions for each transaction while filling.
const BATCH: usize = 1_000;
const ROUNDS: usize = 5;
/// Sessions that are opened, and calls that are made, in each round.
const OPENED: usize = 500;
const CALLS: usize = 20_000;
/// How long nobody used a store before a round. A session that was used within the last
/// minute is opened without noting that, and those of the small store were used in the
/// round before, all of them.
const UNUSED: Duration = Duration::from_secs(61);

fn main() -> ExitCode {
    match asked::asked(std::env::args().skip(1)) {
        Ok(Asked::Sessions(sessions)) => measure(sessions),
        Ok(Asked::Usage) => print!("{}", asked::USAGE),
        Err(wrong) => {
            eprint!("{wrong}\n\n{}", asked::USAGE);
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn measure(sessions: usize) {
    let mut stores = [Filled::with(HOT), Filled::with(sessions)];
    let mut measured = [Vec::new(), Vec::new()];
    // In turn, so that what else the machine does meets both.
    for round in 0..ROUNDS {
        for (store, measured) in stores.iter_mut().zip(&mut measured) {
            measured.push(store.measured(round));
        }
    }
    let [of_small, of_large] = measured;
    println!("| | {HOT} sessions | {sessions} sessions | ratio |");
    println!("| --- | --- | --- | --- |");
    for (place, (name, unit)) in ROWS.iter().enumerate() {
        let (small, large) = (median(&of_small, place), median(&of_large, place));
        let ratio = large / small;
        println!("| {name}, {unit} | {small:.2} | {large:.2} | {ratio:.2} |");
    }
}

const ROWS: [(&str, &str); 7] = [
    ("start-up", "ms"),
    ("opening a session that is there, median", "ms"),
    ("opening a session that is there, p99", "ms"),
    ("opening a new session, median", "ms"),
    ("a call, median", "ms"),
    ("a call, p99", "ms"),
    ("memory, highest", "MiB"),
];

type Measured = [f64; ROWS.len()];

fn median(all: &[Measured], place: usize) -> f64 {
    let mut values: Vec<f64> = all.iter().map(|one| one[place]).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A store of so many sessions.
struct Filled {
    sessions: usize,
    key: String,
    folder: TempDir,
    /// When a round ended.
    used: Option<Instant>,
}

impl Filled {
    fn with(sessions: usize) -> Self {
        let folder = folder::shipped("process");
        let begun = Instant::now();
        let store = app::open_store(&folder.path().join("countersign.db")).unwrap();
        let now = Timestamp::now();
        let writer = Writer::enlist(&store, now).unwrap();
        for first in (0..sessions).step_by(BATCH) {
            fill(&store, writer.id(), first..sessions.min(first + BATCH));
        }
        drop(store);
        let bytes = std::fs::metadata(folder.path().join("countersign.db")).unwrap();
        eprintln!(
            "{sessions} sessions and {} records: {} MiB, filled in {:.0} s",
            sessions * EACH_SESSION,
            bytes.len() >> 20,
            begun.elapsed().as_secs_f64()
        );
        let key = serving::key(folder.path());
        Self {
            sessions,
            key,
            folder,
            used: None,
        }
    }

    fn measured(&mut self, round: usize) -> Measured {
        let unused = self.used.map_or(UNUSED, |used| used.elapsed());
        std::thread::sleep(UNUSED.saturating_sub(unused));
        let begun = Instant::now();
        let serving = Serving::start(self.folder.path(), &self.key);
        let mut line = serving.line();
        line.call("claim-0");
        let start = begun.elapsed();
        // Spread over the whole store, others in each round.
        let step = self.sessions / OPENED;
        let old = (0..OPENED).map(|place| format!("claim-{}", place * step + round % step));
        let old = timed(old, |handle| line.call(handle));
        let new = (0..OPENED).map(|place| format!("new-{round}-{place}"));
        let new = timed(new, |handle| line.call(handle));
        let hot = (0..CALLS).map(|place| format!("claim-{}", place % HOT));
        let calls = timed(hot, |handle| line.call(handle));
        let memory = serving.peak_memory();
        serving.end();
        self.used = Some(Instant::now());
        [
            millis(start),
            at(&old, 50),
            at(&old, 99),
            at(&new, 50),
            at(&calls, 50),
            at(&calls, 99),
            memory,
        ]
    }
}

fn fill(store: &Store, writer: WriterId, numbers: std::ops::Range<usize>) {
    let work = move |tx: &Tx<'_>| {
        let alice = PrincipalId::parse("alice").unwrap();
        for number in numbers {
            // Over the last ninety days, the oldest first.
            let minutes = i64::try_from(number % 120_000).unwrap();
            let at = Timestamp::now() - (129_600 - minutes).minutes();
            let handle = format!("claim-{number}").parse().unwrap();
            let session = sessions::create(tx, &alice, Some(&handle), at)?;
            for call in 0..EACH_SESSION {
                let arguments = format!(r#"{{"amount":50000,"claim_id":"{number}","n":{call}}}"#);
                let subject = journal::Subject {
                    call: CallId::next(),
                    session,
                    principal: alice.clone(),
                    tool: "claims/approve_payment".to_owned(),
                    arguments: Digest::of(arguments.as_bytes()),
                    policies: Digest::of(b"policies"),
                    found: Some(Found::by(Rule::Option).into()),
                };
                let detail = serde_json::json!({ "policies": ["claims.limit"] });
                let what = (&subject, Outcome::Denied, &detail);
                journal::refuse(tx, writer, what, at)?;
                journal::keep(tx, subject.call, journal::Part::Arguments, &arguments)?;
            }
        }
        Ok(())
    };
    store.write_blocking("fill", work).unwrap();
}

/// How long each took, the shortest first.
fn timed(what: impl Iterator<Item = String>, mut run: impl FnMut(&str)) -> Vec<Duration> {
    let mut took: Vec<Duration> = what
        .map(|one| {
            let begun = Instant::now();
            run(&one);
            begun.elapsed()
        })
        .collect();
    took.sort();
    took
}

fn at(sorted: &[Duration], percent: usize) -> f64 {
    millis(sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)])
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The configuration of a folder.
fn config(folder: &Path) -> std::path::PathBuf {
    folder.join("countersign.toml")
}
