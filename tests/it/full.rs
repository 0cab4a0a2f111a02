//! A disk that fills up while a call is with its server: the client is told what came of
//! it, nothing more takes effect, and the record is closed once there is room; or the
//! outcome is unknown, where the broker ends before.

use crate::http::initialize;
use crate::http::talk::Talk;
use crate::preload::Preload;
use crate::world::APPROVE;
use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use countersign::outcome::Outcome;
use serde_json::Value;
use serde_json::json;
use std::process::Stdio;
use std::time::Instant;

/// A world whose disk fills up while a payment of $1,000 is being executed, and the
/// broker that has told its client of it.
fn full_in_flight(full: &Preload, durability: &str, key: Option<&str>) -> (World, Wire) {
    let world = World::holding();
    world.edit(
        "countersign.toml",
        "durability = \"process\"",
        &format!("durability = {durability:?}"),
    );
    let mut broker = world
        .broker_with(|command| {
            full.stands_before(command)
                .env("FULLDISK_STORE", world.path("countersign.db"))
                .env("FULLDISK_WHILE", world.path("full"));
        })
        .initialized();
    let paying = broker.request("tools/call", pay(1_000, key));
    world.wait_until_paid(1);
    world.write("full", "");
    std::fs::remove_file(world.path("hold")).unwrap();
    let answer = broker.answer_to(paying).unwrap();
    // It was done, and that is what its client reads.
    assert!(text_of(&answer).starts_with("Paid $1000.00"), "{answer}");
    for dollars in [1_000, 2_000] {
        let refused = broker.call(APPROVE, payment(dollars));
        assert!(refused.contains("disk is full"), "{refused}");
    }
    assert_eq!(world.paid(), [100_000]);
    (world, broker)
}

fn pay(dollars: i64, key: Option<&str>) -> Value {
    let mut params = json!({"name": APPROVE, "arguments": payment(dollars)});
    if let Some(key) = key {
        params["_meta"] = json!({"dev.countersign/idempotency-key": key});
    }
    params
}

/// Each call with its outcome.
fn outcomes(world: &World) -> Vec<Option<Outcome>> {
    let calls = world.calls("claim-99");
    calls.iter().map(|call| call.outcome).collect()
}

const DURABILITIES: [&str; 2] = ["process", "power"];

#[test]
fn a_call_that_was_sent_before_the_disk_was_full_is_closed_once_there_is_room() {
    let full = Preload::build("fulldisk");
    for durability in DURABILITIES {
        let (world, mut broker) = full_in_flight(&full, durability, None);
        std::fs::remove_file(world.path("full")).unwrap();
        world.wait_until_closed();
        assert_eq!(outcomes(&world), [Some(Outcome::Completed)], "{durability}");
        // Its amount was charged once: 19,000 of 20,000 are left.
        for (dollars, passes) in [(9_999, true), (9_002, false), (9_001, true)] {
            let answer = broker.call(APPROVE, payment(dollars));
            assert_eq!(answer.starts_with("Paid"), passes, "{answer}");
        }
        assert!(broker.end());
        assert!(world.journal_problems().is_empty());
    }
}

#[test]
fn a_call_under_a_key_is_not_made_again_where_the_disk_was_full_at_its_end() {
    let full = Preload::build("fulldisk");
    for durability in DURABILITIES {
        let (world, mut broker) = full_in_flight(&full, durability, Some("k"));
        std::fs::remove_file(world.path("full")).unwrap();
        let again = broker.ask("tools/call", pay(1_000, Some("k")));
        assert!(text_of(&again).starts_with("Paid $1000.00"), "{again}");
        assert!(broker.end());
        assert_eq!(world.paid(), [100_000], "{durability}");
        assert!(world.journal_problems().is_empty());
    }
}

#[test]
fn a_broker_that_ends_on_a_full_disk_leaves_what_was_sent_as_unknown() {
    let full = Preload::build("fulldisk");
    for durability in DURABILITIES {
        for is_killed in [true, false] {
            for key in [None, Some("k")] {
                let (world, mut broker) = full_in_flight(&full, durability, key);
                match is_killed {
                    true => broker.kill(),
                    false => assert!(broker.end(), "{durability}"),
                }
                std::fs::remove_file(world.path("full")).unwrap();
                let mut next = world.broker().initialized();
                let told = text_of(&next.ask("tools/call", pay(1_000, key)));
                assert!(told.starts_with("error: "), "{told}");
                assert!(told.contains("Nothing was sent now"), "{told}");
                assert_eq!(world.paid(), [100_000], "{durability}");
                let first = outcomes(&world)[0];
                assert_eq!(first, Some(Outcome::Unknown), "{durability}");
                // What may have taken effect stays charged.
                for (dollars, passes) in [(9_999, true), (9_002, false), (9_001, true)] {
                    let answer = next.call(APPROVE, payment(dollars));
                    assert_eq!(answer.starts_with("Paid"), passes, "{answer}");
                }
                assert!(next.end());
                assert!(world.journal_problems().is_empty());
            }
        }
    }
}

/// Though the last try was a while ago.
#[test]
fn a_broker_that_ends_once_there_is_room_closes_what_was_sent() {
    let full = Preload::build("fulldisk");
    for durability in DURABILITIES {
        let (world, broker) = full_in_flight(&full, durability, None);
        world.wait_for_log("it is tried again");
        std::fs::remove_file(world.path("full")).unwrap();
        assert!(broker.end());
        assert_eq!(outcomes(&world), [Some(Outcome::Completed)], "{durability}");
        assert!(world.journal_problems().is_empty());
    }
}

#[test]
fn a_full_disk_is_named_wherever_something_cannot_be_kept_and_until_there_is_room() {
    let full = Preload::build("fulldisk");
    let world = World::new();
    let key = format!("Bearer {}", world.key("alice"));
    let broker = world.serve_with(|command| {
        full.stands_before(command)
            .env("FULLDISK_STORE", world.path("countersign.db"))
            .env("FULLDISK_WHILE", world.path("full"));
    });
    let mut talk = Talk::new(broker.address()).with("authorization", &key);
    let opened = talk.post("/s/claim-99/mcp", &initialize("2025-11-25"));
    let id = opened.header("mcp-session-id").unwrap().to_owned();
    let call = |id: u64| {
        let params = json!({"name": APPROVE, "arguments": payment(1)});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
    };
    let named = ("mcp-session-id", &*id);
    let paid = talk.post_with("/mcp", &[named], &call(2));
    assert!(text_of(&paid.json()).starts_with("Paid"), "{paid:?}");
    world.write("full", "");
    let another = [named, ("countersign-session", "claim-98")];
    let event = r#"{"id":"e-1","kind":"paid","body":{}}"#;
    for (path, headers, body, status) in [
        ("/mcp", &[][..], initialize("2025-11-25"), 503),
        ("/api/sessions/claim-99/events", &[], event.to_owned(), 503),
        ("/mcp", &another, call(3), 200),
        ("/mcp", &[named], call(4), 200),
    ] {
        let refused = talk.post_with(path, headers, &body);
        assert_eq!(refused.status, status, "{path} {body}: {refused:?}");
        let says = refused.body.contains("disk") && refused.body.contains("full");
        assert!(says, "{path} {body}: {refused:?}");
    }
    let mut ready = || talk.send("GET", "/readyz", &[], "");
    let waits = ready();
    let due = "not ready: the disk that holds the store is full\n";
    assert_eq!((waits.status, &*waits.body), (503, due));
    std::fs::remove_file(world.path("full")).unwrap();
    let begun = Instant::now();
    while ready().status != 200 {
        assert!(
            begun.elapsed() < PATIENCE,
            "it never sees that there is room"
        );
    }
    let opened = talk.post("/mcp", &initialize("2025-11-25"));
    assert_eq!(opened.status, 200, "{opened:?}");
    assert_eq!(world.paid(), [100]);
}

/// The disk itself has room: the file system was aborted, say, and takes no writes.
#[test]
fn a_store_that_cannot_be_written_is_not_ready_until_it_can_be() {
    let full = Preload::build("fulldisk");
    let world = World::new();
    let key = format!("Bearer {}", world.key("alice"));
    let broker = world.serve_with(|command| {
        full.stands_before(command)
            .env("FULLDISK_STORE", world.path("countersign.db"))
            .env("FULLDISK_WHILE", world.path("full"))
            .env("FULLDISK_ERROR", "EROFS");
    });
    let mut talk = Talk::new(broker.address()).with("authorization", &key);
    let opened = talk.post("/s/claim-99/mcp", &initialize("2025-11-25"));
    let id = opened.header("mcp-session-id").unwrap().to_owned();
    let params = json!({"name": APPROVE, "arguments": payment(1)});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let mut pay = || talk.post_with("/mcp", &[("mcp-session-id", &*id)], &call.to_string());
    let paid = pay();
    assert!(text_of(&paid.json()).starts_with("Paid"), "{paid:?}");
    world.write("full", "");
    let refused = pay();
    assert!(
        refused.body.contains("could not be recorded"),
        "{refused:?}"
    );
    let mut ready = || talk.send("GET", "/readyz", &[], "");
    let waits = ready();
    let due = "not ready: the store cannot be written\n";
    assert_eq!((waits.status, &*waits.body), (503, due));
    std::fs::remove_file(world.path("full")).unwrap();
    let begun = Instant::now();
    while ready().status != 200 {
        assert!(begun.elapsed() < PATIENCE, "it never sees that it can");
    }
    assert_eq!(world.paid(), [100]);
}

#[test]
fn a_broker_that_cannot_start_for_want_of_room_says_so() {
    let full = Preload::build("fulldisk");
    for error in ["ENOSPC", "EDQUOT"] {
        let world = World::new();
        assert!(world.broker().initialized().end());
        world.write("full", "");
        let mut command = world.command(&["stdio"]);
        full.stands_before(&mut command)
            .env("FULLDISK_STORE", world.path("countersign.db"))
            .env("FULLDISK_WHILE", world.path("full"))
            .env("FULLDISK_ERROR", error);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = "for the user that this runs as (some file systems keep a part for root): make room, and start again";
        assert!(!output.status.success() && said.contains(told), "{said}");
    }
}

#[test]
fn a_volume_that_the_log_of_the_store_fills_is_used_again() {
    let full = Preload::build("fulldisk");
    let world = World::new();
    // What is there already needs no room.
    world.key("alice");
    let mut broker = world
        .broker_with(|command| {
            full.stands_before(command)
                .env("FULLDISK_STORE", world.path("countersign.db"))
                .env("FULLDISK_LOG", "1000000");
        })
        .initialized();
    let begun = Instant::now();
    let (mut paid, mut refused) = (0, 0);
    while refused < 2 {
        assert!(
            begun.elapsed() < PATIENCE * 2,
            "{paid} paid, {refused} refused"
        );
        let answer = broker.call(APPROVE, payment(1));
        if answer.starts_with("Paid") {
            paid += 1;
            continue;
        }
        assert!(answer.contains("disk is full"), "{answer}");
        refused += 1;
        while !broker.call(APPROVE, payment(1)).starts_with("Paid") {
            assert!(begun.elapsed() < PATIENCE * 2, "there is never room again");
        }
        paid += 1;
    }
    assert!(broker.end());
    assert_eq!(world.paid().len(), paid);
    assert!(world.journal_problems().is_empty());
}
