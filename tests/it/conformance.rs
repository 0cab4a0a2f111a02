//! The official conformance suite against a server of our own, directly and
//! with Countersign in front of it. Whatever passes directly passes through us,
//! and reaches the suite as the server behind says it.
//!
//! `tests/run` installs the suite; without it these tests are ignored.

mod compare;
mod exchange;
mod recorder;
mod rewrites;
mod suite;

use std::collections::BTreeMap;
use suite::Behind;
use suite::Check;
use suite::Fixture;
use suite::Run;

/// Scenarios that do not pass through us, each with its reason. There is none.
const EXCUSED: &[(&str, &str)] = &[];

/// Checks that the suite makes only of a server that does what we need not do:
/// scenario, check, reason. That they are not made is no failure.
const NOT_MADE: &[(&str, &str, &str)] = &[
    (
        "server-sse-multiple-streams",
        "server-sse-streams-functional",
        "an answer without anything before it is JSON, and streams are looked at only where there are some",
    ),
    (
        "server-sse-polling",
        "server-sse-disconnect-resume",
        "where the server behind hangs up, we come back for the answer, and keep the client's stream",
    ),
];

/// Runs one requirement set against the server alone, and with Countersign in
/// front of it.
fn run_both(revision: &str, behind: Behind) -> (Run, Run) {
    let server = Fixture::start(behind);
    let direct = suite::against(server.address(), revision);
    let bad = failed(&direct.scenarios);
    assert!(
        direct.succeeded && bad.is_empty(),
        "directly:\n{}",
        bad.join("\n")
    );
    drop(server);
    // Afresh: the suite leaves lists changed and tasks behind.
    let server = Fixture::start(behind);
    let (_world, serving) = suite::in_front_of(&server);
    let through = suite::against(serving.address(), revision);
    (direct, through)
}

/// Fails with everything that is not as it is directly.
fn holds(direct: &Run, through: &Run) {
    let mut wrong = failed(&through.scenarios);
    wrong.extend(lost(&direct.scenarios, &through.scenarios));
    wrong.extend(compare::differences(&direct.exchanges, &through.exchanges));
    let required = match through.succeeded {
        true => "every required scenario passes",
        false => "required scenarios fail",
    };
    assert!(
        through.succeeded && wrong.is_empty(),
        "{required}:\n{}\n",
        wrong.join("\n")
    );
}

/// Every check that failed or was warned of.
fn failed(scenarios: &BTreeMap<String, Vec<Check>>) -> Vec<String> {
    let mut found = Vec::new();
    for (scenario, checks) in scenarios {
        let bad = checks.iter().filter(|check| check.failed());
        let bad = bad.filter(|_| !EXCUSED.iter().any(|(known, _)| known == scenario));
        found.extend(bad.map(|check| {
            let Check { name, status, said } = check;
            format!("{scenario}: {status} {name}: {said}")
        }));
    }
    found
}

/// Every check that succeeds directly and was not even made through us: a
/// scenario must not pass because it found nothing to look at.
fn lost(
    direct: &BTreeMap<String, Vec<Check>>,
    through: &BTreeMap<String, Vec<Check>>,
) -> Vec<String> {
    let count = |checks: Option<&Vec<Check>>, name: &str| {
        let same = checks
            .into_iter()
            .flatten()
            .filter(|check| check.name == name);
        same.filter(|check| check.status == "SUCCESS").count()
    };
    let mut found = Vec::new();
    for (scenario, checks) in direct {
        let came = through.get(scenario);
        let names = checks.iter().map(|check| check.name.as_str());
        let mut names: Vec<&str> = names.filter(|name| !not_made(scenario, name)).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (expected, came) = (count(Some(checks), name), count(came, name));
            if came < expected {
                found.push(format!(
                    "{scenario}: {name} succeeds {expected} times directly, {came} through us"
                ));
            }
        }
    }
    found
}

fn not_made(scenario: &str, check: &str) -> bool {
    let mut known = NOT_MADE.iter();
    known.any(|(where_, name, _)| *where_ == scenario && check.starts_with(name))
}

#[test]
#[ignore = "needs the conformance suite from npm: tests/run installs it"]
fn clients_of_2026_07_28_see_the_server_behind() {
    let (direct, through) = run_both("2026-07-28", Behind::Both);
    holds(&direct, &through);
}

#[test]
#[ignore = "needs the conformance suite from npm: tests/run installs it"]
fn clients_of_2025_11_25_see_the_server_behind() {
    let (direct, through) = run_both("2025-11-25", Behind::Legacy);
    holds(&direct, &through);
}

/// We speak the newer revision to a server that has both, so everything that a
/// server of the older one asks and tells on its own is translated.
#[test]
#[ignore = "needs the conformance suite from npm: tests/run installs it"]
fn clients_of_2025_11_25_are_served_by_a_server_of_both_revisions() {
    let (direct, through) = run_both("2025-11-25", Behind::Both);
    holds(&direct, &through);
}
