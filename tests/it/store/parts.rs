//! What is not as we made it: parts of the store, and what lies beside it.

use super::in_use;
use crate::http::initialize;
use crate::http::talk::Talk;
use crate::world::GET;
use crate::world::World;
use crate::world::text_of;
use countersign::app::MIGRATIONS;
use countersign::store::Store;
use serde_json::json;

/// SQLite writes the text of a table anew with each step.
#[test]
fn a_store_of_any_version_is_as_we_make_it_once_it_is_up_to_date() {
    for version in 1..=MIGRATIONS.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        drop(Store::open(&path, &MIGRATIONS[..version]).unwrap());
        let store = Store::open(&path, &MIGRATIONS).unwrap();
        let besides = store.must_be_whole(&MIGRATIONS).unwrap();
        assert!(besides.is_empty(), "{version}: {besides:?}");
    }
}

/// With columns of the same names, and by its version it is the right one.
#[test]
fn a_store_whose_parts_are_others_is_told_of_and_starts_nothing() {
    let (world, broker) = in_use();
    assert!(broker.end());
    let store = world.path("countersign.db");
    std::fs::copy(&store, world.path("whole.db")).unwrap();
    let changed = |change: &dyn Fn(&rusqlite::Connection)| {
        std::fs::copy(world.path("whole.db"), &store).unwrap();
        change(&rusqlite::Connection::open(&store).unwrap());
        [&["store", "check"][..], &["doctor"], &["stdio"]].map(|command| world.run(command))
    };
    let made_anew = |store: &rusqlite::Connection| {
        let made = "SELECT sql FROM sqlite_schema WHERE name = 'attempt'";
        let made: String = store.query_row(made, [], |row| row.get(0)).unwrap();
        let lax = made.replace(" NOT NULL", "");
        assert_ne!(made, lax);
        let drop = "PRAGMA foreign_keys = OFF; DROP TABLE attempt";
        let index = "CREATE INDEX attempt_by_time ON attempt (at)";
        store
            .execute_batch(&format!("{drop}; {lax}; {index}"))
            .unwrap();
    };
    let spied = |store: &rusqlite::Connection| {
        let spy = "CREATE TRIGGER spy AFTER INSERT ON journal BEGIN DELETE FROM meter; END";
        store.execute_batch(spy).unwrap();
    };
    let anew = "the table `attempt` is not the one that we made";
    let spy = "the trigger `spy` is none of ours, and may change what is written: take it out with `DROP TRIGGER`";
    for (change, told) in [
        (&made_anew as &dyn Fn(&rusqlite::Connection), anew),
        (&spied, spy),
    ] {
        for (went_well, printed) in changed(change) {
            assert!(!went_well && printed.contains(told), "{printed}");
        }
    }
    let [check, doctor, _] = changed(&|store| {
        let index = "CREATE INDEX mine ON journal (at)";
        store.execute_batch(index).unwrap();
    });
    let mine = "the index `mine` is none of ours";
    assert!(
        check.0 && check.1.contains(&format!("NOTE    {mine}")),
        "{}",
        check.1
    );
    assert!(doctor.1.contains(mine), "{}", doctor.1);
    assert!(world.broker().initialized().end());
    assert!(world.read("broker.log").contains(mine));
}

/// Where something else is in its place, it is no sign of a full disk.
#[test]
fn without_its_reserve_a_broker_works_and_says_so() {
    let world = World::new();
    let key = format!("Bearer {}", world.key("alice"));
    let reserve = world.path("countersign.db-writers").join("reserve");
    std::fs::create_dir_all(&reserve).unwrap();
    let broker = world.serve();
    let mut talk = Talk::new(broker.address()).with("authorization", &key);
    let params = json!({"name": GET, "arguments": {"claim_id": "99"}});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let opened = talk.post("/s/claim-99/mcp", &initialize("2025-11-25"));
    let id = opened.header("mcp-session-id").unwrap().to_owned();
    let answer = talk.post_with("/mcp", &[("mcp-session-id", &*id)], &call.to_string());
    assert!(
        text_of(&answer.json()).starts_with("Claim 99"),
        "{answer:?}"
    );
    let ready = talk.send("GET", "/readyz", &[], "");
    assert_eq!(ready.status, 200);
    let told = "ready, but something else is in the place of the reserve of the store";
    assert!(ready.body.starts_with(told), "{}", ready.body);
    let (_, printed) = world.run(&["doctor"]);
    let told = "reserve is no file that the broker may write, so nothing is reserved";
    assert!(printed.contains(told), "{printed}");
    std::fs::remove_dir(&reserve).unwrap();
    let ready = talk.send("GET", "/readyz", &[], "");
    assert_eq!((ready.status, &*ready.body), (200, "ready\n"));
}
