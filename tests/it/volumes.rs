//! A store on a small volume of its own, which is filled up: by the store, or by others.

use crate::world::APPROVE;
use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use countersign::outcome::Outcome;
use rustix::fs::statvfs;
use serde_json::json;
use std::io::ErrorKind;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// A file system in memory.
struct Volume {
    at: PathBuf,
}

impl Volume {
    /// One of so many MiB, for the store of this world.
    fn of(world: &World, mebibytes: u32) -> Self {
        let at = world.path("volume");
        std::fs::create_dir(&at).unwrap();
        world.edit(
            "countersign.toml",
            "path = \"countersign.db\"",
            "path = \"volume/countersign.db\"",
        );
        let volume = Self { at };
        volume.mount(&format!("mode=0700,size={mebibytes}m"));
        volume
    }

    fn grow(&self, mebibytes: u32) {
        self.mount(&format!("remount,size={mebibytes}m"));
    }

    fn mount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "countersign-test"]);
        assert!(mount.arg(&self.at).status().unwrap().success());
    }

    fn free(&self) -> u64 {
        let volume = statvfs(&self.at).unwrap();
        volume.f_bfree * volume.f_frsize
    }

    /// How long a file of it is; none where there is no such file.
    fn length(&self, name: &str) -> Option<u64> {
        let file = self.at.join(name).metadata();
        file.ok().map(|file| file.len())
    }

    /// Somebody else takes all that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.at.join("others")).unwrap();
        for size in [1 << 16, 1] {
            let piece = vec![1; size];
            let error = loop {
                if let Err(error) = file.write_all(&piece) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull);
        }
        assert_eq!(self.free(), 0);
    }

    fn empty(&self) {
        std::fs::remove_file(self.at.join("others")).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _stays = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

/// Pays one dollar until it is refused because the disk is full. Returns how often.
fn pay_until_full(broker: &mut Wire) -> usize {
    for paid in 0.. {
        let answer = broker.call(APPROVE, payment(1));
        if !answer.starts_with("Paid") {
            assert!(answer.contains("disk is full"), "{answer}");
            return paid;
        }
    }
    unreachable!("a volume has an end")
}

/// Pays one dollar as soon as there is room.
fn pay_once_there_is_room(broker: &mut Wire) {
    let begun = Instant::now();
    while !broker.call(APPROVE, payment(1)).starts_with("Paid") {
        assert!(begun.elapsed() < PATIENCE, "there is never room again");
    }
}

fn outcomes(world: &World) -> Vec<Option<Outcome>> {
    let calls = world.calls("claim-99");
    calls.iter().map(|call| call.outcome).collect()
}

#[test]
#[ignore = "needs root, to mount a volume"]
fn a_store_has_its_volume_to_the_end_and_goes_on_once_that_grows() {
    const MIB: u64 = 1 << 20;
    let world = World::new();
    let volume = Volume::of(&world, 4);
    let mut broker = world.broker().initialized();
    let mut paid = pay_until_full(&mut broker);
    let (store, log) = ["countersign.db", "countersign.db-wal"]
        .map(|name| volume.length(name).unwrap())
        .into();
    // What was reserved is given up by now.
    let left = format!(
        "{paid} paid; store {store}, log {log}, free {}",
        volume.free()
    );
    assert!(log <= MIB && volume.free() <= MIB, "{left}");
    assert!(store + log + volume.free() + MIB / 4 >= 4 * MIB, "{left}");
    for mebibytes in [6, 8] {
        volume.grow(mebibytes);
        pay_once_there_is_room(&mut broker);
        paid += 1 + pay_until_full(&mut broker);
    }
    let store = volume.length("countersign.db").unwrap();
    assert!(store >= 6 * MIB, "{store}");
    assert!(broker.end());
    assert_eq!(volume.length("countersign.db-wal"), None);
    // One that starts on a full volume says so, and goes on when there is room.
    let mut next = world.broker().initialized();
    assert_eq!(pay_until_full(&mut next), 0);
    volume.grow(10);
    pay_once_there_is_room(&mut next);
    assert!(next.end());
    assert_eq!(world.paid().len(), paid + 1);
    let completed = |outcome: &Option<Outcome>| *outcome == Some(Outcome::Completed);
    let recorded = outcomes(&world);
    assert!(recorded.iter().all(completed));
    assert!(world.journal_problems().is_empty());
}

#[test]
#[ignore = "needs root, to mount a volume"]
fn a_call_in_flight_when_others_fill_the_volume_is_recorded_to_its_end_all_the_same() {
    for durability in ["process", "power"] {
        for key in [None, Some("k")] {
            let world = World::holding();
            world.edit(
                "countersign.toml",
                "durability = \"process\"",
                &format!("durability = {durability:?}"),
            );
            let volume = Volume::of(&world, 8);
            let mut broker = world.broker().initialized();
            let mut params = json!({"name": APPROVE, "arguments": payment(1_000)});
            if let Some(key) = key {
                params["_meta"] = json!({"dev.countersign/idempotency-key": key});
            }
            let paying = broker.request("tools/call", params);
            world.wait_until_paid(1);
            volume.fill();
            std::fs::remove_file(world.path("hold")).unwrap();
            let told = text_of(&broker.answer_to(paying).unwrap());
            assert!(told.starts_with("Paid $1000.00"), "{told}");
            world.wait_until_closed();
            assert_eq!(pay_until_full(&mut broker), 0);
            assert!(broker.end());
            // What was begun is known to have ended, and the next one knows it.
            let mut next = world.broker().initialized();
            assert_eq!(outcomes(&world), [Some(Outcome::Completed)]);
            assert_eq!(pay_until_full(&mut next), 0);
            volume.empty();
            pay_once_there_is_room(&mut next);
            assert!(next.end());
            assert_eq!(world.paid(), [100_000, 100], "{durability} {key:?}");
            assert!(world.journal_problems().is_empty());
        }
    }
}

/// An export into a pipe that nobody empties reads nothing meanwhile; a tool may.
#[test]
#[ignore = "needs root, to mount a volume"]
fn who_reads_for_long_stops_what_begins_while_the_log_still_fits_into_the_store() {
    let world = World::new();
    let volume = Volume::of(&world, 8);
    let mut broker = world.broker().initialized();
    let mut paid = 0;
    for _ in 0..50 {
        pay_once_there_is_room(&mut broker);
        paid += 1;
    }
    let reader = rusqlite::Connection::open(volume.at.join("countersign.db")).unwrap();
    let count = "BEGIN; SELECT count(*) FROM journal";
    reader.execute_batch(count).unwrap();
    paid += pay_until_full(&mut broker);
    let log = volume.length("countersign.db-wal").unwrap();
    let left = format!("log {log}, free {}", volume.free());
    assert!(log > 1 << 20 && volume.free() > 1 << 20, "{left}");
    reader.execute_batch("ROLLBACK").unwrap();
    pay_once_there_is_room(&mut broker);
    paid += 1;
    assert!(volume.length("countersign.db-wal").unwrap() < log);
    assert!(broker.end());
    assert_eq!(world.paid().len(), paid);
    assert!(world.journal_problems().is_empty());
}
