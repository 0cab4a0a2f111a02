//! How a broker ends as a process.

use crate::serving::listening;
use crate::world::APPROVE;
use crate::world::PATIENCE;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use serde_json::json;
use std::io::BufRead;
use std::io::BufReader;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

#[test]
fn a_process_that_is_told_to_end_sees_its_calls_to_their_end() {
    let world = World::holding();
    let mut broker = world.broker().initialized();
    let pay = json!({"name": APPROVE, "arguments": payment(9_000)});
    let paying = broker.request("tools/call", pay);
    world.wait_until_paid(1);
    broker.terminate();
    std::fs::remove_file(world.path("hold")).unwrap();
    let paid = broker.answer_to(paying).unwrap();
    assert!(text_of(&paid).starts_with("Paid $9000.00"), "{paid}");
    assert!(broker.end());
    let calls = world.calls("claim-99");
    assert_eq!(calls[0].outcome.unwrap().to_string(), "completed");
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_process_whose_log_nobody_reads_any_more_ends_when_it_is_told_to() {
    let world = World::new();
    world.key("alice");
    let mut command = world.command(&["serve", "--listen", "127.0.0.1:0"]);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut broker = command.stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(broker.stderr.take().unwrap());
    let listens = log
        .lines()
        .find(|line| listening(line.as_ref().unwrap()).is_some());
    // The pipe goes with its reader.
    assert!(listens.is_some());
    let pid = rustix::process::Pid::from_child(&broker);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let begun = Instant::now();
    let ended = loop {
        if let Some(ended) = broker.try_wait().unwrap() {
            break Some(ended);
        }
        if begun.elapsed() > PATIENCE {
            broker.kill().unwrap();
            broker.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(ended.is_some_and(|ended| ended.success()), "{ended:?}");
}
