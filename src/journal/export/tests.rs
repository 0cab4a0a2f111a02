use super::super::signer::signer_for_tests;
use super::*;
use crate::journal;
use crate::journal::Part;
use crate::journal::SCHEMA;
use crate::journal::SCHEMA_12;
use crate::journal::SCHEMA_14;
use crate::journal::Subject;
use crate::outcome::Outcome;
use crate::principal::PrincipalId;
use crate::store::Migration;
use crate::store::Writer;
use crate::store::testing;
use crate::tool::CallId;
use jiff::SignedDuration;
use serde_json::json;

const MIGRATIONS: [Migration; 1] = [Migration {
    number: 1,
    sql: &[SCHEMA, SCHEMA_12, SCHEMA_14],
}];

fn day(number: i64) -> Timestamp {
    let begin: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
    let days = SignedDuration::from_hours(24 * number);
    begin.checked_add(days).unwrap()
}

/// A journal of one writer.
struct World {
    store: Store,
    writer: Writer,
    _folder: tempfile::TempDir,
}

impl World {
    /// On each of ten days a call was refused, and what there was by then was signed.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db"), &MIGRATIONS).unwrap();
        let writer = Writer::enlist(&store, day(0)).unwrap();
        let world = Self {
            store,
            writer,
            _folder: folder,
        };
        for number in 0..10 {
            world.refuse(number);
            world.change(move |tx| {
                let made = checkpoint::checkpoint(tx, &signer_for_tests(), day(number))?;
                assert!(made.is_some());
                Ok(())
            });
        }
        world
    }

    fn change(&self, work: impl FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send + 'static) {
        self.store.write_blocking("test", work).unwrap();
    }

    fn refuse(&self, number: i64) {
        let writer = self.writer.id();
        self.change(move |tx| {
            let mut call = *CallId::first_of(day(number)).as_bytes();
            call[15] = 1;
            let subject = Subject {
                call: CallId::from_bytes(call),
                session: SessionId::from_bytes([2; 16]),
                principal: PrincipalId::parse("alice").unwrap(),
                tool: "claims/close_claim".to_owned(),
                arguments: Digest::of(b"{}"),
                policies: Digest::of(b"policies"),
                found: None,
            };
            let refused = (&subject, Outcome::Denied, &json!({}));
            journal::refuse(tx, writer, refused, day(number))?;
            journal::keep(tx, subject.call, Part::Arguments, "{}")
        });
    }

    /// Takes away what was recorded before that day, as far as may be.
    fn trim(&self, before: i64) {
        self.change(move |tx| {
            let trim = || journal::trim_records(tx, day(before), &signer_for_tests(), day(11));
            while trim()?.is_some() {}
            Ok(())
        });
    }

    /// The lines of an export; before each of them `meanwhile` happens.
    fn export(
        &self,
        (rows, bytes): (usize, usize),
        mut meanwhile: impl FnMut(usize),
    ) -> Result<Vec<String>, ExportError> {
        let mut lines = Vec::new();
        let known = ((None, day(20)), Page { rows, bytes });
        by_pages(&self.store, &Asked::default(), known, &mut |line| {
            meanwhile(lines.len());
            lines.push(line.to_owned());
            Ok(())
        })?;
        Ok(lines)
    }
}

const ALL: (usize, usize) = (1_000, 1 << 20);

#[test]
fn nobody_reads_the_store_while_a_line_is_written() {
    let world = World::new();
    let lines = world.export((3, 1 << 20), |line| {
        testing::tamper(&world.store, "UPDATE writer SET pid = pid + 1");
        let is_busy = testing::number(&world.store, "PRAGMA wal_checkpoint(TRUNCATE)");
        assert_eq!(is_busy, 0, "line {line}");
    });
    assert_eq!(lines.unwrap().len(), 1 + 10 + 2 * 10 + 1);
}

#[test]
fn what_is_read_at_once_changes_nothing_and_nor_does_what_is_recorded_meanwhile() {
    let world = World::new();
    let whole = world.export(ALL, |_line| {}).unwrap();
    let pages = [(1, 1 << 20), (3, 1 << 20), (10, 1 << 20), (1_000, 3)];
    let mut day = 100;
    for (number, page) in pages.into_iter().enumerate() {
        let lines = world.export(page, |line| {
            if line < 2 {
                world.refuse(day);
                day += 1;
            }
        });
        let lines = lines.unwrap();
        let before = whole.len() - 1;
        match number {
            // What was recorded during an earlier one belongs to the next.
            0 => assert_eq!(lines, whole),
            _ => assert_eq!(lines.len(), before + 4 * number + 1, "{page:?}"),
        }
    }
}

#[test]
fn an_export_of_what_is_taken_away_meanwhile_says_so() {
    let world = World::new();
    // By the first record two more were read.
    let exported = world.export((3, 1 << 20), |line| {
        if line == 11 {
            world.trim(5);
        }
    });
    assert!(matches!(exported, Err(ExportError::TakenAway)));
    let lines = world.export(ALL, |_line| {}).unwrap();
    let all = lines.join("\n");
    assert!(all.contains("\"begins\""), "{all}");
    // What was written by then may go.
    let exported = world.export((3, 1 << 20), |line| {
        if line + 2 == lines.len() {
            world.trim(8);
        }
    });
    assert_eq!(exported.unwrap().len(), lines.len());
}
