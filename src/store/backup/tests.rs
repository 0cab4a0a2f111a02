use super::*;
use crate::store::Inspection;
use crate::store::Writer;
use jiff::Timestamp;
use std::fs;
use std::sync::mpsc;
use std::time::Duration;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn put_back(from: &Path, to: &Path, time: &str) -> Result<Option<PathBuf>, StoreError> {
    Place::alone(to)?.copy(from)?.put(time)
}

/// A store, and a copy of it.
fn copied() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let [path, copy] = ["store.db", "copy.db"].map(|name| folder.path().join(name));
    let store = Store::open(&path, &[]).unwrap();
    store.copy_to(&copy).unwrap();
    (folder, path, copy)
}

#[test]
fn what_is_open_anywhere_is_not_replaced() {
    let (_folder, path, copy) = copied();
    // Commands are no writers; several have it open at once.
    let store = Store::open(&path, &[]).unwrap();
    let other = Store::open(&path, &[]).unwrap();
    let refused = put_back(&copy, &path, "1");
    assert!(
        matches!(refused, Err(StoreError::Busy { .. })),
        "{refused:?}"
    );
    drop(other);
    let writer = Writer::enlist(&store, NOW).unwrap();
    let refused = put_back(&copy, &path, "2");
    assert!(
        matches!(refused, Err(StoreError::InUse { .. })),
        "{refused:?}"
    );
    drop((writer, store));
    let looked = Inspection::of(&path, &[]).unwrap();
    let refused = put_back(&copy, &path, "3");
    assert!(
        matches!(refused, Err(StoreError::Busy { .. })),
        "{refused:?}"
    );
    drop(looked);
    let old = put_back(&copy, &path, "4").unwrap().unwrap();
    assert_eq!(old, beside(&path.canonicalize().unwrap(), ".replaced-4"));
    assert!(!beside(&copy, ".lock").exists());
}

#[test]
fn who_starts_while_a_store_is_replaced_has_the_new_one() {
    let (_folder, path, copy) = copied();
    let path = path.canonicalize().unwrap();
    let place = Place::alone(&path).unwrap();
    let (opened, opens) = mpsc::channel();
    let late = path.clone();
    let starts = std::thread::spawn(move || {
        opened.send(None).unwrap();
        opened.send(Some(Store::open(&late, &[]))).unwrap();
    });
    assert!(opens.recv().unwrap().is_none());
    let two = Hold::alone(&path);
    assert!(matches!(two, Err(StoreError::Busy { .. })), "{two:?}");
    place.copy(&copy).unwrap().put("1").unwrap();
    let early = opens.recv_timeout(Duration::from_millis(50));
    assert!(early.is_err(), "it did not wait");
    drop(place);
    let store = opens.recv().unwrap().unwrap().unwrap();
    starts.join().unwrap();
    let _writer = Writer::enlist(&store, NOW).unwrap();
    let now = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let writers: u32 = now
        .query_row("SELECT count(*) FROM writer", [], |row| row.get(0))
        .unwrap();
    assert_eq!(writers, 1);
}

#[test]
fn what_was_looked_at_is_put_in_place_whatever_becomes_of_the_backup() {
    let (_folder, path, copy) = copied();
    let path = path.canonicalize().unwrap();
    let old = fs::read(&path).unwrap();
    let place = Place::alone(&path).unwrap();
    let looked_at = place.copy(&copy).unwrap();
    assert!(Inspection::of(looked_at.path(), &[]).is_ok());
    // Meanwhile nobody opens the store, and what is done to the backup comes too late.
    let other = Hold::alone(&path);
    assert!(matches!(other, Err(StoreError::Busy { .. })), "{other:?}");
    fs::write(&copy, "something else").unwrap();
    let aside = looked_at.put("1").unwrap().unwrap();
    drop(place);
    assert!(fs::read(aside).unwrap() == old);
    Store::open(&path, &[]).unwrap();
}

#[test]
fn a_copy_that_is_discarded_leaves_the_old_store_and_nothing_beside_it() {
    let (folder, path, copy) = copied();
    let path = path.canonicalize().unwrap();
    let names = || {
        let all = fs::read_dir(folder.path()).unwrap().flatten();
        let mut all: Vec<_> = all.map(|file| file.file_name()).collect();
        all.sort();
        all
    };
    let place = Place::alone(&path).unwrap();
    let before = names();
    let looked_at = place.copy(&copy).unwrap();
    assert!(Inspection::of(looked_at.path(), &[]).is_ok());
    looked_at.discard().unwrap();
    assert_eq!(names(), before);
    drop(place);
    Store::open(&path, &[]).unwrap();
}

#[test]
fn what_was_left_of_an_earlier_try_stands_in_no_way() {
    let (folder, path, copy) = copied();
    let path = path.canonicalize().unwrap();
    fs::write(beside(&path, FRESH), "half of a copy").unwrap();
    put_back(&copy, &path, "1").unwrap();
    assert!(!beside(&path, FRESH).exists());
    // One that was killed after it had moved the log away.
    fs::copy(&copy, beside(&path, WHOLE)).unwrap();
    let old = beside(&path, ".replaced-2");
    fs::hard_link(&path, &old).unwrap();
    fs::write(beside(&old, "-wal"), "the log").unwrap();
    fs::write(beside(&path, "-wal"), "of somebody else").unwrap();
    let opened = Store::open(&path, &[]).unwrap_err();
    assert!(
        matches!(opened, StoreError::HalfRestored { .. }),
        "{opened:?}"
    );
    let looked = Inspection::of(&path, &[]).unwrap_err();
    assert!(
        matches!(looked, StoreError::HalfRestored { .. }),
        "{looked:?}"
    );
    // The whole new store that waits can be named too.
    let again = put_back(&beside(&path, WHOLE), &path, "3").unwrap();
    assert_eq!(again.as_ref(), Some(&old));
    assert_eq!(fs::read_to_string(beside(&old, "-wal")).unwrap(), "the log");
    let second = beside(&path, ".replaced-3-wal");
    assert_eq!(fs::read_to_string(second).unwrap(), "of somebody else");
    assert!(!beside(&path, WHOLE).exists());
    Store::open(&path, &[]).unwrap();
    drop(folder);
}

#[test]
fn an_error_names_its_file_and_leaves_the_old_store() {
    let (_folder, path, copy) = copied();
    let path = path.canonicalize().unwrap();
    let half = beside(&path, FRESH);
    fs::create_dir(&half).unwrap();
    let refused = put_back(&copy, &path, "2").unwrap_err();
    assert!(refused.to_string().contains(".restoring`"), "{refused}");
    Store::open(&path, &[]).unwrap();
}

/// Two restores within one second have the same time.
#[test]
fn what_was_set_aside_is_never_written_over() {
    let (_folder, path, copy) = copied();
    let path = path.canonicalize().unwrap();
    let mut kept = Vec::new();
    for (round, name) in [".replaced-1", ".replaced-1-2", ".replaced-1-3"]
        .into_iter()
        .enumerate()
    {
        fs::write(beside(&path, "-wal"), format!("log {round}")).unwrap();
        let aside = put_back(&copy, &path, "1").unwrap().unwrap();
        assert_eq!(aside, beside(&path, name));
        kept.push((aside, format!("log {round}")));
    }
    // Where there is no store, what lay beside it is set aside all the same.
    fs::remove_file(&path).unwrap();
    fs::write(beside(&path, "-wal"), "log 3").unwrap();
    assert_eq!(put_back(&copy, &path, "1").unwrap(), None);
    kept.push((beside(&path, ".replaced-1-4"), "log 3".to_owned()));
    fs::write(beside(&path, "-wal"), "log 4").unwrap();
    let last = put_back(&copy, &path, "1").unwrap();
    assert_eq!(last, Some(beside(&path, ".replaced-1-5")));
    for (aside, log) in kept {
        assert_eq!(fs::read_to_string(beside(&aside, "-wal")).unwrap(), log);
    }
}

#[test]
fn the_log_of_a_store_that_is_gone_is_not_taken_for_that_of_the_new_one() {
    let (_folder, path, copy) = copied();
    let path = path.canonicalize().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(beside(&path, "-wal"), "of another").unwrap();
    assert_eq!(put_back(&copy, &path, "1").unwrap(), None);
    assert!(!beside(&path, "-wal").exists() && path.exists());
    assert!(beside(&path, ".replaced-1-wal").exists());
}
