//! A backup is brought back: killed between any two steps of it, while somebody has the
//! store open, and from a copy that is not all in one file.

use crate::store::backup;
use crate::store::in_use;
use crate::store::restore;
use crate::world::APPROVE;
use crate::world::World;
use crate::world::payment;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// What a killed restore leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    Old,
    /// What nobody opens.
    Half,
    New,
}

/// The points between each two steps.
const POINTS: [(&str, Left); 11] = [
    ("restore.before-copy", Left::Old),
    ("restore.before-check", Left::Old),
    ("restore.before-mark", Left::Old),
    ("restore.before-aside", Left::Half),
    ("restore.wal.before-move", Left::Half),
    ("restore.shm.before-move", Left::Half),
    ("restore.journal.before-move", Left::Half),
    ("restore.writers.before-move", Left::Half),
    ("restore.before-replace", Left::Half),
    ("restore.after-replace", Left::New),
    ("none", Left::New),
];

/// The files of a store that must stay together, each by the end of its name.
fn files(store: &Path) -> BTreeMap<String, Vec<u8>> {
    let beside = |ending: &str| {
        let mut name = store.as_os_str().to_owned();
        name.push(ending);
        std::path::PathBuf::from(name)
    };
    let mut found = BTreeMap::new();
    for ending in ["", "-wal"] {
        if let Ok(bytes) = std::fs::read(beside(ending)) {
            found.insert(ending.to_owned(), bytes);
        }
    }
    for file in std::fs::read_dir(beside("-writers")).into_iter().flatten() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        found.insert(name, std::fs::read(file.path()).unwrap());
    }
    found
}

/// The names in the folder that begin so.
fn names(world: &World, begins: &str) -> Vec<String> {
    let all = std::fs::read_dir(world.path(".")).unwrap().flatten();
    let all = all.map(|file| file.file_name().into_string().unwrap());
    all.filter(|name| name.starts_with(begins)).collect()
}

fn kept_aside(world: &World) -> BTreeMap<String, Vec<u8>> {
    let mut aside = names(world, "countersign.db.replaced-");
    aside.retain(|name| name.ends_with('Z'));
    assert_eq!(aside.len(), 1, "{aside:?}");
    files(&world.path(&aside[0]))
}

#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn a_restore_that_is_killed_leaves_a_whole_store_or_one_that_nobody_opens() {
    for (point, left) in POINTS {
        let (world, mut broker) = in_use();
        assert!(backup(&world, "backup.db").0);
        assert!(broker.call(APPROVE, payment(9_000)).starts_with("Paid"));
        broker.kill();
        let store = world.path("countersign.db");
        let old = files(&store);
        assert!(old["-wal"].len() > 32 && old.len() > 2, "{point}");
        let copy = world.path("backup.db");
        let mut command = world.command(&["store", "restore", copy.to_str().unwrap()]);
        command.env("COUNTERSIGN_CRASH", format!("{point}:1"));
        let output = command.output().unwrap();
        let killed = output.status.signal() == Some(9);
        assert_eq!(killed, point != "none", "{point}: {output:?}");
        match left {
            Left::Old => assert_eq!(files(&store), old, "{point}"),
            Left::Half => {
                for args in [&["stdio"][..], &["store", "check"], &["journal", "verify"]] {
                    let (opened, printed) = world.run(args);
                    let told = "run `countersign store restore FILE` again";
                    assert!(!opened && printed.contains(told), "{point}: {printed}");
                }
            }
            Left::New => {}
        }
        if left != Left::New {
            let (restored, printed) = restore(&world, "backup.db");
            assert!(restored, "{point}: {printed}");
        }
        assert!(kept_aside(&world) == old, "{point}");
        assert!(names(&world, "countersign.db.resto").is_empty(), "{point}");
        let (holds, printed) = world.run(&["store", "check"]);
        assert!(holds, "{point}: {printed}");
        let mut broker = world.broker().initialized();
        // The limit of the session is 20,000, and only the first payment is known.
        assert!(broker.call(APPROVE, payment(9_001)).starts_with("Paid"));
        let refused = broker.call(APPROVE, payment(9_002));
        assert!(refused.contains("Session Limit"), "{point}: {refused}");
        assert!(broker.end());
        assert!(world.journal_problems().is_empty(), "{point}");
    }
}

#[test]
fn a_store_that_a_command_has_open_is_not_replaced() {
    let (world, broker) = in_use();
    assert!(backup(&world, "backup.db").0);
    assert!(broker.end());
    let open = world.store();
    let (restored, printed) = restore(&world, "backup.db");
    let told = "a command of countersign has the store `";
    assert!(!restored && printed.contains(told), "{printed}");
    drop(open);
    let (restored, printed) = restore(&world, "backup.db");
    assert!(restored, "{printed}");
    assert!(names(&world, "backup.db.").is_empty());
}

#[test]
fn a_copy_comes_back_with_its_log_and_not_without_its_spools() {
    let (world, mut broker) = in_use();
    broker.kill();
    for ending in ["", "-wal"] {
        let [from, to] = ["countersign.db", "hand.db"].map(|name| format!("{name}{ending}"));
        std::fs::copy(world.path(&from), world.path(&to)).unwrap();
    }
    let records = |name: &str| -> i64 {
        let store = rusqlite::Connection::open(world.path(name)).unwrap();
        let count = "SELECT count(*) FROM journal";
        store.query_row(count, [], |row| row.get(0)).unwrap()
    };
    std::fs::create_dir(world.path("hand.db-writers")).unwrap();
    world.write("hand.db-writers/one.spool-0", "a record");
    let (restored, printed) = restore(&world, "hand.db");
    let told = "copy it with `countersign store backup FILE`, and bring that back; nothing";
    assert!(!restored && printed.contains(told), "{printed}");
    assert!(names(&world, "countersign.db.re").is_empty());
    world.write("hand.db-writers/one.spool-0", "");
    let (restored, printed) = restore(&world, "hand.db");
    assert!(restored, "{printed}");
    let brought = records("countersign.db");
    assert!(brought > 0);
    assert_eq!(brought, records("hand.db"));
}

/// Of those who wrote to the store that was copied, the copy does not know how they ended.
#[test]
fn a_broker_that_ran_at_the_backup_is_not_said_to_have_died() {
    let (world, mut broker) = in_use();
    assert!(backup(&world, "backup.db").0);
    broker.kill();
    let (_, printed) = world.run(&["store", "check"]);
    let died = "0 running, 1 to be recovered at the next start, because they died";
    assert!(printed.contains(died), "{printed}");
    assert!(restore(&world, "backup.db").0);
    let (holds, printed) = world.run(&["store", "check"]);
    let told = "0 running, 1 to be recovered at the next start: they ran when this store was copied, as far as it says";
    assert!(holds && printed.contains(told), "{printed}");
    // Whoever comes next recovers it.
    assert!(world.broker().initialized().end());
    let (_, printed) = world.run(&["store", "check"]);
    assert!(
        printed.contains("0 running, 0 to be recovered at the next start\n"),
        "{printed}"
    );
}
