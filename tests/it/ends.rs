//! How `countersign stdio` ends as a process.

use crate::world::APPROVE;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use serde_json::json;

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
