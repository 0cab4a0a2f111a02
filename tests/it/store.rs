//! The care of the store: copies made while it is in use and brought back, a disk
//! without room, and files that are damaged.

mod parts;

use crate::preload::Preload;
use crate::world::APPROVE;
use crate::world::GET;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

fn read_claim(broker: &mut Wire) -> String {
    broker.call(GET, json!({"claim_id": "99"}))
}

/// A payment was made and a claim read, and the broker goes on.
pub(crate) fn in_use() -> (World, Wire) {
    let world = World::new();
    let mut broker = world.broker().initialized();
    assert!(broker.call(APPROVE, payment(9_000)).starts_with("Paid"));
    assert!(read_claim(&mut broker).starts_with("Claim 99"));
    (world, broker)
}

pub(crate) fn backup(world: &World, name: &str) -> (bool, String) {
    world.run(&["store", "backup", world.path(name).to_str().unwrap()])
}

pub(crate) fn restore(world: &World, name: &str) -> (bool, String) {
    world.run(&["store", "restore", world.path(name).to_str().unwrap()])
}

#[test]
fn a_backup_is_made_while_the_broker_runs_and_lacks_nothing() {
    let (world, mut broker) = in_use();
    for number in 1..=3 {
        read_claim(&mut broker);
        let name = format!("backup-{number}.db");
        let (made, printed) = backup(&world, &name);
        assert!(made, "{printed}");
        let path = world.path(&name);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let copy = rusqlite::Connection::open(path).unwrap();
        let count = "SELECT count(*) FROM journal";
        let records: i64 = copy.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(records, 4 + 2 * number);
        assert!(printed.contains(&format!("{records} records")), "{printed}");
    }
    assert!(broker.call(APPROVE, payment(100)).starts_with("Paid"));
    // What is there is not written over.
    let (made, printed) = backup(&world, "backup-1.db");
    let told = "is there already, and nothing is written over: name another file";
    assert!(!made && printed.contains(told), "{printed}");
    let (made, printed) = backup(&world, "absent/backup.db");
    assert!(
        !made && printed.contains("make it first, `mkdir -p "),
        "{printed}"
    );
    assert!(broker.end());
}

#[test]
fn a_backup_comes_back_only_where_no_broker_runs_and_the_old_store_stays() {
    let (world, mut broker) = in_use();
    assert!(backup(&world, "backup.db").0);
    assert!(broker.call(APPROVE, payment(9_000)).starts_with("Paid"));
    let (restored, printed) = restore(&world, "backup.db");
    assert!(
        !restored && printed.contains("a broker runs on the store"),
        "{printed}"
    );
    // It did not even end orderly.
    broker.kill();
    let (restored, printed) = restore(&world, "backup.db");
    assert!(restored, "{printed}");
    assert!(
        printed.contains("what was used of a limit since can be used again"),
        "{printed}"
    );
    let old = std::fs::read_dir(world.path(".")).unwrap().flatten();
    let old = old.map(|file| file.file_name().into_string().unwrap());
    let old: Vec<_> = old
        .filter(|name| name.starts_with("countersign.db.replaced-") && name.ends_with('Z'))
        .collect();
    assert_eq!(old.len(), 1);

    let (holds, printed) = world.run(&["store", "check"]);
    assert!(holds, "{printed}");
    let mut broker = world.broker().initialized();
    // The limit of the session is 20,000, and only the first payment is known.
    assert!(broker.call(APPROVE, payment(9_001)).starts_with("Paid"));
    assert!(
        broker
            .call(APPROVE, payment(9_002))
            .contains("Session Limit")
    );
    assert!(broker.end());
    assert!(world.journal_problems().is_empty());

    // The old one has what it had.
    world.edit(
        "countersign.toml",
        "\"countersign.db\"",
        &format!("{:?}", old[0]),
    );
    world.edit(
        "countersign.toml",
        "# key = \"countersign.db-key\"",
        "key = \"countersign.db-key\"",
    );
    let mut broker = world.broker().initialized();
    assert!(
        broker
            .call(APPROVE, payment(9_003))
            .contains("Session Limit")
    );
    assert!(broker.end());
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_call_in_flight_at_the_backup_is_unknown_where_that_comes_back() {
    let world = World::holding();
    let mut broker = world.broker().initialized();
    broker.request(
        "tools/call",
        json!({"name": APPROVE, "arguments": payment(9_000)}),
    );
    world.wait_until_paid(1);
    assert!(backup(&world, "backup.db").0);
    broker.kill();
    let (restored, printed) = restore(&world, "backup.db");
    assert!(restored, "{printed}");
    std::fs::remove_file(world.path("hold")).unwrap();
    let mut broker = world.broker().initialized();
    let answer = broker.call(APPROVE, payment(9_000));
    assert!(answer.contains("nobody saw how it ended"), "{answer}");
    assert_eq!(world.paid(), [900_000]);
}

#[test]
fn what_is_no_backup_does_not_come_back() {
    let (world, broker) = in_use();
    rusqlite::Connection::open(world.path("foreign.db"))
        .and_then(|other| other.execute_batch("CREATE TABLE other (a)"))
        .unwrap();
    for (name, what) in [
        ("absent.db", "there is no file `"),
        (".", "there is no file `"),
        ("countersign.toml", "is no store: "),
        ("foreign.db", "is no store: "),
    ] {
        let (restored, printed) = restore(&world, name);
        let told = "name one that `countersign store backup FILE` made; nothing was changed";
        assert!(
            !restored && printed.contains(what) && printed.contains(told),
            "{printed}"
        );
        assert!(
            !printed.contains("store restore"),
            "it would be circular: {printed}"
        );
    }
    assert!(backup(&world, "backup.db").0);
    assert!(broker.end());
    world.write(
        "none.db",
        "not a database at all, and longer than a header of one must be",
    );
    let foreign = rusqlite::Connection::open(world.path("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE t (a)").unwrap();
    let edited = rusqlite::Connection::open(world.path("backup.db")).unwrap();
    let guard = "SELECT sql FROM sqlite_schema WHERE name = 'journal_no_update'";
    let guard: String = edited.query_row(guard, [], |row| row.get(0)).unwrap();
    let edit = "DROP TRIGGER journal_no_update; UPDATE journal SET principal = 'mia' WHERE seq = 1";
    edited.execute_batch(&format!("{edit}; {guard}")).unwrap();
    drop(edited);
    for (name, says) in [
        ("none.db", "is no store: "),
        ("foreign.db", "is no store: "),
        ("backup.db", "record 1 was altered"),
        ("absent.db", "there is no file"),
    ] {
        let (restored, printed) = restore(&world, name);
        assert!(!restored && printed.contains(says), "{name}: {printed}");
        let told = "nothing was changed";
        assert!(printed.contains(told), "{name}: {printed}");
        assert!(!world.path("countersign.db.restoring").exists(), "{name}");
    }
    let (restored, printed) = restore(&world, "countersign.db");
    let told = "is the store itself: name one that";
    assert!(!restored && printed.contains(told), "{printed}");
    assert!(world.journal_problems().is_empty());
}

/// The file is whole by itself then, and its version is the right one.
#[test]
fn a_store_that_lacks_a_part_is_told_of_and_does_not_come_back() {
    let (world, broker) = in_use();
    assert!(backup(&world, "backup.db").0);
    assert!(broker.end());
    for (part, told) in [
        ("TABLE checkpoint", "the table `checkpoint` is missing"),
        (
            "TRIGGER journal_no_delete",
            "the trigger `journal_no_delete` is missing",
        ),
        ("TABLE meter", "the table `meter` is missing"),
        (
            "TRIGGER journal_no_update; CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal BEGIN SELECT 1; END",
            "the trigger `journal_no_update` is not the one that we made",
        ),
    ] {
        std::fs::copy(world.path("backup.db"), world.path("less.db")).unwrap();
        let less = rusqlite::Connection::open(world.path("less.db")).unwrap();
        less.execute_batch(&format!("PRAGMA foreign_keys = OFF; DROP {part}"))
            .unwrap();
        drop(less);
        let (restored, printed) = restore(&world, "less.db");
        let nothing = "cannot be brought back, and nothing was changed";
        assert!(
            !restored && printed.contains(told) && printed.contains(nothing),
            "{printed}"
        );
        world.edit("countersign.toml", "\"countersign.db\"", "\"less.db\"");
        let (holds, printed) = world.run(&["store", "check"]);
        assert!(
            !holds && printed.contains(&format!("PROBLEM {told}")),
            "{printed}"
        );
        // What nobody looked at is not said to be nothing.
        let (_, printed) = world.run(&["store", "check", "--json"]);
        let facts: Value = serde_json::from_str(&printed).unwrap();
        let unknown = [&facts["records"], &facts["brokers"], &facts["settled"]];
        assert_eq!(
            (unknown, &facts["problems"]),
            ([&Value::Null; 3], &json!([told]))
        );
        let (started, printed) = world.run(&["stdio"]);
        let advice = format!("is damaged ({told}): `countersign store check` says where, and");
        assert!(!started && printed.contains(&advice), "{printed}");
        world.edit("countersign.toml", "\"less.db\"", "\"countersign.db\"");
    }
    let (holds, printed) = world.run(&["store", "check"]);
    assert!(holds, "{printed}");
}

/// As many as a script makes, one right after the other.
#[test]
fn each_restore_keeps_the_store_that_was_there() {
    let (world, broker) = in_use();
    assert!(backup(&world, "backup.db").0);
    assert!(broker.end());
    for round in 1..=4 {
        let (restored, printed) = restore(&world, "backup.db");
        assert!(restored, "{round}: {printed}");
        let all = std::fs::read_dir(world.path(".")).unwrap().flatten();
        let kept = all.map(|file| file.file_name().into_string().unwrap());
        // Not what lies beside it.
        let of_store = |name: &String| {
            let time = name.strip_prefix("countersign.db.replaced-");
            let (_, number) = time
                .and_then(|time| time.split_once('Z'))
                .unwrap_or(("", "x"));
            number.chars().all(|c| c == '-' || c.is_ascii_digit())
        };
        let kept = kept.filter(of_store);
        assert_eq!(kept.count(), round);
    }
}

#[test]
fn a_full_disk_refuses_calls_says_why_and_loses_nothing() {
    let full = Preload::build("fulldisk");
    // SQLite knows of a quota only that writing failed.
    for (durability, error, said) in [
        ("process", "ENOSPC", "database or disk is full"),
        ("power", "ENOSPC", "database or disk is full"),
        ("process", "EDQUOT", "disk I/O error"),
        ("power", "EDQUOT", "disk I/O error"),
    ] {
        let world = World::new();
        let key = "durability = \"process\"";
        world.edit(
            "countersign.toml",
            key,
            &format!("durability = {durability:?}"),
        );
        let mut broker = world
            .broker_with(|command| {
                full.stands_before(command)
                    .env("FULLDISK_STORE", world.path("countersign.db"))
                    .env("FULLDISK_WHILE", world.path("full"))
                    .env("FULLDISK_ERROR", error);
            })
            .initialized();
        assert!(broker.call(APPROVE, payment(1_000)).starts_with("Paid"));
        read_claim(&mut broker);
        for _ in 0..2 {
            world.write("full", "");
            for (tool, arguments) in [
                (APPROVE, payment(2_000)),
                (GET, json!({"claim_id": "99"})),
                (APPROVE, payment(90_000)),
            ] {
                let answer = broker.call(tool, arguments);
                assert!(answer.contains("disk is full"), "{answer}");
            }
            assert!(world.read("broker.log").contains(said));
            std::fs::remove_file(world.path("full")).unwrap();
            assert!(read_claim(&mut broker).starts_with("Claim 99"));
        }
        assert!(broker.call(APPROVE, payment(3_000)).starts_with("Paid"));
        assert!(broker.end());
        assert_eq!(world.paid(), [100_000, 300_000]);
        assert!(world.journal_problems().is_empty());
        // Refused payments were charged nothing: 16,000 of 20,000 are left.
        let mut broker = world.broker().initialized();
        assert!(broker.call(APPROVE, payment(8_000)).starts_with("Paid"));
        assert!(broker.call(APPROVE, payment(8_000)).starts_with("Paid"));
    }
}

/// Writes bytes into a file of the world.
fn damage(world: &World, name: &str, at: usize, bytes: &[u8]) {
    let mut whole = std::fs::read(world.path(name)).unwrap();
    whole[at..at + bytes.len()].copy_from_slice(bytes);
    std::fs::write(world.path(name), whole).unwrap();
}

#[test]
fn what_is_no_store_or_no_key_is_told_by_check_and_left_alone() {
    let world = World::new();
    world.write("countersign.db", "notes of mine\n");
    world.write("countersign.db-key", "no key\n");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(world.path("countersign.db-key"), mode).unwrap();
    let text = "countersign.db` is a text and no store of countersign: check `store.path`";
    for command in ["check", "stdio"] {
        let (holds, printed) = world.run(&[command]);
        assert!(!holds && printed.contains(text), "{command}: {printed}");
        assert!(!printed.contains("store restore"), "{command}: {printed}");
    }
    let (_, printed) = world.run(&["check"]);
    let no_key = "countersign.db-key` is no Ed25519 key";
    assert!(printed.contains(no_key), "{printed}");
    assert!(printed.contains("`journal.key`: "), "{printed}");
    assert_eq!(world.read("countersign.db"), "notes of mine\n");
    assert!(!world.path("countersign.db-writers").exists());
}

#[test]
fn a_damaged_file_refuses_to_start_and_says_what_to_do() {
    let (world, broker) = in_use();
    assert!(backup(&world, "backup.db").0);
    assert!(broker.end());
    let database = rusqlite::Connection::open(world.path("countersign.db")).unwrap();
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'journal'";
    let page: u32 = database.query_row(root, [], |row| row.get(0)).unwrap();
    drop(database);
    for at in [0, (page as usize - 1) * 4096] {
        damage(&world, "countersign.db", at, &[0xff; 16]);
        let (started, printed) = world.run(&["stdio"]);
        assert!(!started, "{printed}");
        for says in [
            "is damaged",
            "countersign store check",
            "countersign store restore",
        ] {
            assert!(printed.contains(says), "{printed}");
        }
        let (holds, printed) = world.run(&["store", "check"]);
        assert!(
            !holds && printed.contains("countersign store restore"),
            "{printed}"
        );
        let (restored, printed) = restore(&world, "backup.db");
        assert!(restored, "{printed}");
        assert!(world.broker().initialized().end());
        // So that the next one has a name of its own.
        for file in std::fs::read_dir(world.path(".")).unwrap().flatten() {
            let name = file.file_name().into_string().unwrap();
            if name.contains(".replaced-") && !name.ends_with("-writers") {
                std::fs::remove_file(file.path()).unwrap();
            } else if name.contains(".replaced-") {
                std::fs::remove_dir_all(file.path()).unwrap();
            }
        }
    }
}

#[test]
fn a_log_that_is_damaged_in_its_middle_refuses_to_start_too() {
    let (world, mut broker) = in_use();
    assert!(backup(&world, "backup.db").0);
    broker.kill();
    let log = world.path("countersign.db-wal").metadata().unwrap().len();
    damage(
        &world,
        "countersign.db-wal",
        usize::try_from(log / 2).unwrap(),
        &[0xff; 8],
    );
    let (holds, printed) = world.run(&["store", "check"]);
    assert!(
        !holds && printed.contains("log is damaged in its middle"),
        "{printed}"
    );
    let (started, printed) = world.run(&["stdio"]);
    assert!(
        !started && printed.contains("countersign store restore"),
        "{printed}"
    );
    let (restored, printed) = restore(&world, "backup.db");
    assert!(restored, "{printed}");
    assert!(world.broker().initialized().end());
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_check_has_one_form_for_programs() {
    let (world, broker) = in_use();
    assert!(broker.end());
    let (_, printed) = world.run(&["store", "check", "--json"]);
    let mut facts: Value = serde_json::from_str(&printed).unwrap();
    facts["bytes"] = json!(0);
    facts["log_bytes"] = json!(0);
    let version = app_version();
    let brokers = json!({"running": 0, "dead": 0});
    assert_eq!(
        facts,
        json!({"version": version, "bytes": 0, "log_bytes": 0, "records": 4, "brokers": brokers,
            "settled": true, "besides": [], "problems": []})
    );
}

fn app_version() -> u32 {
    countersign::app::MIGRATIONS.last().unwrap().number
}
