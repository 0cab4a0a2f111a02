//! The same call made right after somebody was warned of it.

use super::writes_payment;
use crate::http::talk::Talk;
use crate::world::PATIENCE;
use crate::world::SETTLES;
use crate::world::SETTLES_AT_ONCE;
use crate::world::World;
use crate::world::text_of;
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
