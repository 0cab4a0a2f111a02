//! The same call made right after somebody was warned of it, or given its answer.

use super::is_replayed;
use super::writes_payment;
use crate::http::talk::Talk;
use crate::world::APPROVE;
use crate::world::PATIENCE;
use crate::world::SETTLES;
use crate::world::SETTLES_AT_ONCE;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;

/// How long a call may take here.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long a warning settles as the example has it.
const SETTLED: Duration = Duration::from_millis(100);

fn said(talk: &mut Talk, dollars: i64) -> String {
    writes_payment(talk, dollars);
    text_of(&talk.read().json())
}

#[test]
fn the_same_call_right_after_a_warning_is_warned_too_and_is_sent_a_little_later() {
    let world = World::holding();
    world.edit("countersign.toml", SETTLES_AT_ONCE, SETTLES);
    world.edit("countersign.toml", "timeout = \"60s\"", "timeout = \"1s\"");
    let key = format!("Bearer {}", world.key("alice"));
    let serving = world.serve();
    let connects = || Talk::new(serving.address()).with("authorization", &key);
    // As often as it takes until the second comes soon enough to say which it must be.
    for dollars in 1..=20 {
        world.write("hold", "");
        let (mut one, mut other) = (connects(), connects());
        let begun = Instant::now();
        let lost = said(&mut one, dollars);
        assert!(lost.contains("may have taken effect"), "{lost}");
        std::fs::remove_file(world.path("hold")).unwrap();
        let mut same = said(&mut other, dollars);
        // Nobody could read of the first before its time was over.
        let is_soon = begun.elapsed() < TIMEOUT + SETTLED;
        let is_warned = same.contains("nobody saw how it ended");
        assert!(is_warned || !is_soon, "{same}");
        while same.contains("nobody saw how it ended") {
            assert!(begun.elapsed() < PATIENCE, "it is never sent");
            same = said(&mut other, dollars);
        }
        assert!(same.starts_with("Paid"), "{same}");
        let cents = dollars * 100;
        let paid = world.paid().into_iter();
        assert_eq!(paid.filter(|paid| *paid == cents).count(), 2);
        if is_soon {
            break;
        }
    }
    assert!(world.journal_problems().is_empty());
}

#[test]
fn of_two_calls_of_one_message_one_is_given_the_answer_and_the_other_is_sent() {
    let world = World::holding();
    let key = format!("Bearer {}", world.key("alice"));
    let serving = world.serve();
    let connects = || Talk::new(serving.address()).with("authorization", &key);
    let mut lost = connects();
    writes_payment(&mut lost, 900);
    world.wait_until_paid(1);
    drop(lost);
    std::fs::remove_file(world.path("hold")).unwrap();
    world.wait_until_noted();

    let opening = crate::http::initialize("2025-03-26");
    let opened = connects().post("/s/claim-99/mcp", &opening);
    let id = opened.header("mcp-session-id").unwrap().to_owned();
    let call = |id: u64| {
        let params = json!({"name": APPROVE, "arguments": payment(900)});
        crate::http::request(id, "tools/call", &params)
    };
    let mut batch = connects().with("mcp-session-id", &id);
    let both = format!("[{},{}]", call(2), call(3));
    let answers = batch.post("/s/claim-99/mcp", &both).events();
    assert_eq!(answers.len(), 2, "{answers:?}");
    let replayed = answers.iter().filter(|answer| is_replayed(answer));
    assert_eq!(replayed.count(), 1, "{answers:?}");
    // On a machine on which that answer takes long to leave the other is told so.
    let on_its_way = |answer: &&Value| text_of(answer).contains("is on its way to another");
    let late = answers.iter().filter(on_its_way).count();
    assert_eq!(world.paid().len(), 2 - late);
    assert!(world.journal_problems().is_empty());
}
