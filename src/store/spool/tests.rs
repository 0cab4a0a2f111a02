use super::*;
use crate::store::Migration;
use crate::store::Store;
use crate::store::Writer;
use jiff::Timestamp;
use std::sync::Arc;
use tempfile::TempDir;

const MIGRATIONS: [Migration; 1] = [Migration {
    number: 1,
    sql: &["CREATE TABLE kept (place INTEGER PRIMARY KEY, writer INTEGER, body TEXT) STRICT;"],
}];

/// A record of these letters goes into the table as it is; `bad` cannot.
fn keep(tx: &Tx<'_>, writer: WriterId, records: &[&[u8]]) -> Result<(), StoreError> {
    for record in records {
        let body = std::str::from_utf8(record).unwrap();
        if body == "bad" {
            let what = body.to_owned();
            return Err(StoreError::Damaged { what });
        }
        tx.sql()
            .execute(
                "INSERT INTO kept (writer, body) VALUES (?1, ?2)",
                params![writer.number(), body],
            )
            .map_err(StoreError::sql("keep"))?;
    }
    Ok(())
}

struct World {
    store: Store,
    writer: Writer,
    spool: Arc<Spool>,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db"), &MIGRATIONS).unwrap();
        let writer = Writer::enlist(&store, Timestamp::UNIX_EPOCH).unwrap();
        let spool = writer.spool(&store, keep).unwrap().unwrap();
        Self {
            store,
            writer,
            spool,
            folder,
        }
    }

    fn append(&self, text: &str) -> bool {
        let mut record = Record::with_capacity(text.len());
        record.push(text.as_bytes());
        self.spool.append("test", record, || ()).is_some()
    }

    fn kept(&self) -> String {
        let kept = self.store.read(|tx| {
            tx.sql()
                .query_row(
                    "SELECT coalesce(group_concat(body, ' '), '') FROM
                         (SELECT body FROM kept ORDER BY place)",
                    [],
                    |row| row.get(0),
                )
                .map_err(StoreError::sql("read"))
        });
        kept.unwrap()
    }

    fn files(&self) -> [PathBuf; 2] {
        let folder = self.folder.path().join("store.db-writers");
        let files = std::fs::read_dir(folder).unwrap();
        let lock = files
            .map(|file| file.unwrap().path())
            .find(|path| path.extension().is_some_and(|ending| ending == "lock"));
        paths(&lock.unwrap())
    }

    /// The files as another process would find them, were this one killed now.
    fn left(&self) -> Vec<Vec<u8>> {
        self.files().map(|path| std::fs::read(path).unwrap()).into()
    }

    /// Somebody folds what a killed writer left.
    fn replay(&self, left: Vec<Vec<u8>>) -> usize {
        let writer = self.writer.id();
        let folded = self
            .store
            .write_blocking("test", move |tx| fold(tx, (writer, keep), &left));
        folded.unwrap()
    }
}

#[test]
fn records_come_into_the_tables_in_their_order_and_before_a_later_transaction() {
    let world = World::new();
    for text in ["a", "b", "c"] {
        assert!(world.append(text));
    }
    let last = world
        .store
        .write_blocking("test", |tx| keep(tx, WriterId::from_number(1), &[b"d"]));
    last.unwrap();
    world.append("e");
    world.store.catch_up().unwrap();
    assert_eq!(world.kept(), "a b c d e");
    assert!(world.left().iter().all(Vec::is_empty));
}

#[test]
fn a_record_is_folded_soon_without_anybody_asking_for_it() {
    let world = World::new();
    world.append("a");
    let begun = std::time::Instant::now();
    while world.kept().is_empty() {
        assert!(begun.elapsed().as_secs() < 60, "it never comes");
        std::thread::yield_now();
    }
}

#[test]
fn what_was_folded_is_not_folded_again() {
    let world = World::new();
    world.append("a");
    world.append("b");
    let left = world.left();
    world.store.catch_up().unwrap();
    assert_eq!(world.replay(left), 0);
    assert_eq!(world.kept(), "a b");
}

#[test]
fn a_record_that_was_cut_short_was_never_there() {
    let world = World::new();
    let long = "b".repeat(100);
    world.append("a");
    world.append(&long);
    let [whole, _empty] = world.files().map(|path| std::fs::read(path).unwrap());
    let other = WriterId::from_number(99);
    assert_eq!(parse(world.writer.id(), &whole).len(), 2);
    assert_eq!(parse(other, &whole).len(), 0);
    let first = HEAD + 1;
    for cut in first..whole.len() {
        let records = parse(world.writer.id(), whole.get(..cut).unwrap());
        assert_eq!(records, [(1, &b"a"[..])], "{cut}");
    }
    for place in first..whole.len() {
        let mut altered = whole.clone();
        *altered.get_mut(place).unwrap() ^= 1;
        assert_eq!(parse(world.writer.id(), &altered).len(), 1, "{place}");
    }
}

#[test]
fn records_that_could_not_be_folded_wait_and_no_more_are_taken() {
    let world = World::new();
    world.append("a");
    world.append("bad");
    assert!(world.store.catch_up().is_err());
    assert!(!world.append("c"), "the tables take nothing");
    assert!(world.store.catch_up().is_err());
    assert_eq!(world.kept(), "");
    // The files hold all of it, in the order of the numbers.
    let left = world.left();
    let mut numbers: Vec<u64> = left
        .iter()
        .flat_map(|bytes| parse(world.writer.id(), bytes))
        .map(|(number, _)| number)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_sealed_spool_takes_nothing_and_what_it_took_is_folded_at_the_end() {
    let world = World::new();
    world.append("a");
    world.spool.seal();
    assert!(!world.append("b"));
    let World { store, folder, .. } = world;
    let path = store.path().to_owned();
    drop(store);
    let store = Store::open(&path, &MIGRATIONS).unwrap();
    let count = store.read(|tx| {
        tx.sql()
            .query_row("SELECT count(*) FROM kept", [], |row| row.get::<_, i64>(0))
            .map_err(StoreError::sql("read"))
    });
    assert_eq!(count.unwrap(), 1);
    drop(folder);
}

#[test]
fn a_command_finds_what_a_dead_writer_left_and_the_next_one_buries_it() {
    let world = World::new();
    world.append("a");
    world.store.catch_up().unwrap();
    // As if it had been killed: its files stay as they are, and no lock is held.
    let World {
        store,
        writer,
        spool,
        folder,
    } = world;
    let mut record = Record::with_capacity(1);
    record.push(b"b");
    let number = record.numbered(writer.id(), 2).unwrap();
    let [first, _second] = {
        let files = std::fs::read_dir(folder.path().join("store.db-writers")).unwrap();
        let lock = files
            .map(|file| file.unwrap().path())
            .find(|path| path.extension().is_some_and(|ending| ending == "lock"));
        paths(&lock.unwrap())
    };
    drop((spool, store, writer));
    std::fs::write(&first, number).unwrap();
    let store = Store::open(&folder.path().join("store.db"), &MIGRATIONS).unwrap();
    assert!(store.settle(keep).unwrap());
    let next = Writer::enlist(&store, Timestamp::UNIX_EPOCH).unwrap();
    let dead = next.dead_others(&store).unwrap();
    assert_eq!(dead.len(), 1);
    for dead in dead {
        dead.buried();
    }
    assert!(!first.exists());
    let kept = store.read(|tx| {
        tx.sql()
            .query_row("SELECT group_concat(body) FROM kept", [], |row| {
                row.get::<_, String>(0)
            })
            .map_err(StoreError::sql("read"))
    });
    assert_eq!(kept.unwrap(), "a,b");
}

#[test]
fn a_commit_of_anybody_is_another_version_and_reading_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::open(&path, &MIGRATIONS).unwrap();
    let other = Store::open(&path, &MIGRATIONS).unwrap();
    let write = |store: &Store| {
        let work = |tx: &Tx<'_>| keep(tx, WriterId::from_number(1), &[b"a"]);
        store.write_blocking("test", work).unwrap();
    };
    let first = store.version().unwrap();
    assert_eq!(store.version().unwrap(), first);
    write(&store);
    let second = store.version().unwrap();
    assert_ne!(second, first);
    write(&other);
    assert_ne!(store.version().unwrap(), second);
}

#[test]
fn many_records_do_not_wait_for_their_time() {
    let world = World::new();
    let lock = world.folder.path().join("other.lock");
    let (orders, told) = mpsc::channel();
    let spool = Spool::create(&lock, (world.writer.id(), keep), orders).unwrap();
    let append = |count| {
        for _ in 0..count {
            let record = Record::with_capacity(0);
            spool.append("test", record, || ()).unwrap();
        }
        (told.try_iter().count(), spool.is_full())
    };
    assert_eq!(append(SLICE - 1), (1, false));
    assert_eq!(append(1), (1, true));
    // What comes while the thread is on its way is folded with the rest.
    assert_eq!(append(SLICE), (0, true));
}
