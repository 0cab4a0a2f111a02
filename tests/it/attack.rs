//! What was tried against the promise and once went through.

use crate::world::APPROVE;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use countersign::app::MIGRATIONS;
use countersign::outcome::Outcome;
use countersign::store::Dead;
use countersign::store::Store;
use countersign::store::Writer;
use jiff::Timestamp;
use serde_json::json;
use std::fs::File;

fn release(world: &World) {
    std::fs::remove_file(world.path("hold")).unwrap();
}

/// A world with a second server, whose one tool is described by a file, and who
/// may use it.
fn described(who: &str) -> World {
    let world = World::new();
    world.write("says", "harmless");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/acting.sh");
    let (says, done) = (world.path("says"), world.path("done"));
    let config = world.read("countersign.toml");
    world.write(
        "countersign.toml",
        &format!(
            "{config}\n[servers.other]\ncommand = \"sh\"\nargs = [{script:?}]\nenv = {{ SAYS = {says:?}, DONE = {done:?} }}\n"
        ),
    );
    world.write(
        "policies/other.cedar",
        &format!(
            "@id(\"other.all\")\npermit (principal in Broker::Role::\"{who}\", action in Broker::Action::\"server:other\", resource);\n"
        ),
    );
    world
}

/// Sends a payment and returns its request once it was executed.
fn pays(world: &World, broker: &mut Wire, dollars: i64) -> u64 {
    let call = json!({"name": APPROVE, "arguments": payment(dollars)});
    let id = broker.request("tools/call", call);
    world.wait_until_paid(1);
    id
}

fn files_of_writers(world: &World) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(world.path("countersign.db-writers")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn a_call_whose_broker_died_is_not_repeated_through_one_that_lives() {
    let world = World::holding();
    let mut dies = world.broker().initialized();
    let mut lives = world.broker().initialized();
    lives.ask("tools/list", json!({}));
    pays(&world, &mut dies, 5_000);
    dies.kill();
    release(&world);

    let answer = lives.call(APPROVE, payment(5_000));
    assert!(answer.contains("nobody saw how it ended"), "{answer}");
    assert_eq!(world.paid(), [500_000]);
}

#[test]
fn a_broker_that_lives_is_not_taken_for_dead_by_one_that_came_over_a_link() {
    let world = World::holding();
    let mut first = world.broker().initialized();
    let id = pays(&world, &mut first, 5_000);

    std::os::unix::fs::symlink(world.path("countersign.db"), world.path("link.db")).unwrap();
    world.edit("countersign.toml", "\"countersign.db\"", "\"link.db\"");
    let mut second = world.broker().initialized();
    second.ask("tools/list", json!({}));
    release(&world);
    first.answer_to(id).expect("the broker ended");
    assert!(first.end() && second.end());
    let calls = world.calls("claim-99");
    assert_eq!(calls[0].outcome, Some(Outcome::Completed));
}

#[test]
fn a_broker_that_was_taken_for_dead_sends_nothing_any_more() {
    let world = World::new();
    let mut first = world.broker().initialized();
    assert!(first.call(APPROVE, payment(1)).starts_with("Paid"));
    for file in files_of_writers(&world) {
        std::fs::remove_file(file).unwrap();
    }
    let mut second = world.broker().initialized();
    assert!(second.call(APPROVE, payment(2)).starts_with("Paid"));

    let answer = first.call(APPROVE, payment(3));
    assert!(answer.contains("could not be recorded"), "{answer}");
    world.wait_for_log("took this one for dead");
    assert_eq!(world.paid(), [100, 200]);
    assert!(world.journal_problems().is_empty());
}

#[test]
fn a_dead_writer_is_dead_to_all_who_look_at_once() {
    let world = World::new();
    let store = Store::open(&world.path("countersign.db"), &MIGRATIONS).unwrap();
    let dead = Writer::enlist(&store, Timestamp::now()).unwrap();
    let id = dead.id();
    drop(dead);
    let mut files = files_of_writers(&world).into_iter();
    let is_lock = |file: &std::path::PathBuf| file.extension().is_some_and(|end| end == "lock");
    let looked_at = File::open(files.find(is_lock).unwrap()).unwrap();
    looked_at.lock_shared().unwrap();

    let writer = Writer::enlist(&store, Timestamp::now()).unwrap();
    let found = writer.dead_others(&store).unwrap();
    assert_eq!(found.iter().map(Dead::id).collect::<Vec<_>>(), [id]);
}

#[test]
fn the_first_call_after_a_start_does_not_reach_a_tool_that_changed_meanwhile() {
    let world = described("Junior");
    let mut broker = world.broker().initialized();
    broker.ask("tools/list", json!({}));
    assert_eq!(broker.call("other__act", json!({})), "done");
    assert!(broker.end());

    world.write("says", "evil");
    let mut broker = world.broker().initialized();
    let answer = broker.call("other__act", json!({}));
    assert!(answer.starts_with("error: "), "{answer}");
    assert_eq!(world.read("done"), "done\n");
}

#[test]
fn a_call_that_was_taken_back_after_it_was_sent_is_told_of_when_it_comes_again() {
    let world = World::holding();
    let mut broker = world.broker().initialized();
    let id = pays(&world, &mut broker, 5_000);
    broker.tell("notifications/cancelled", json!({"requestId": id}));
    world.wait_for_log("outcome=\"cancelled\"");
    release(&world);

    let answer = broker.call(APPROVE, payment(5_000));
    assert!(answer.contains("nobody saw how it ended"), "{answer}");
    assert_eq!(world.paid(), [500_000]);
    // Who was told and sends it all the same means a new call.
    assert!(broker.call(APPROVE, payment(5_000)).starts_with("Paid"));
}

#[test]
fn who_may_not_see_a_tool_does_not_learn_of_it_by_its_change() {
    let world = described("Manager");
    let mut manager = world.broker_with(|command| {
        command.args(["--principal", "mia"]);
    });
    manager.initialize();
    manager.ask("tools/list", json!({}));
    assert_eq!(manager.call("other__act", json!({})), "done");
    assert!(manager.end());

    world.write("says", "evil");
    let mut broker = world.broker().initialized();
    broker.ask("tools/list", json!({}));
    world.wait_for_log("it is refused until");
    let hidden = broker.call("other__act", json!({}));
    let absent = broker.call("other__art", json!({}));
    assert_eq!(hidden.replace("act", "art"), absent);

    let mut manager = world.broker_with(|command| {
        command.args(["--principal", "mia"]);
    });
    manager.initialize();
    let told = manager.call("other__act", json!({}));
    assert!(told.contains("changed since it was reviewed"), "{told}");
}

#[test]
fn what_a_client_calls_a_tool_does_not_move_the_cursor_of_who_reads_of_it() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    let name = "x\u{1b}[2J\nPROBLEM none\u{9b}31m\u{202e}";
    broker.call(name, json!({"a\u{9b}31m": "\u{202e}"}));
    let call = world.calls("claim-99")[0].call.to_string();
    for command in [&["journal", "show", &call][..], &["journal", "tail"]] {
        let (shown, printed) = world.run(command);
        assert!(shown, "{printed}");
        let harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(printed.chars().all(harmless), "{printed:?}");
        assert!(!printed.contains("\nPROBLEM"), "{printed}");
    }
}

#[test]
fn what_a_server_says_of_its_tool_cannot_forge_what_its_reviewer_reads() {
    let world = described("Junior");
    let mut broker = world.broker().initialized();
    broker.ask("tools/list", json!({}));
    assert!(broker.end());
    world.write("says", "a\u{9b}31m\u{202e}b\",\r \"title\":\"t");
    let mut broker = world.broker().initialized();
    broker.ask("tools/list", json!({}));
    world.wait_for_log("it is refused until");
    let (listed, printed) = world.run(&["pin", "list"]);
    assert!(listed && printed.contains("CHANGED other/act"), "{printed}");
    assert!(printed.contains(r"a\u{9b}31m\u{202e}b"), "{printed}");
    let harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    assert!(printed.chars().all(harmless), "{printed:?}");
}

#[test]
fn totals_in_cents_are_not_continued_in_dollars() {
    let world = World::new();
    let mut broker = world.broker().initialized();
    assert!(broker.call(APPROVE, payment(9_000)).starts_with("Paid"));
    world.edit("countersign.toml", "money_scale = 2", "money_scale = 3");
    let (started, said) = world.run(&["stdio"]);
    assert!(
        !started && said.contains("`policy.money_scale` is 3"),
        "{said}"
    );
}

#[test]
fn all_who_open_a_new_store_at_once_get_it() {
    for _round in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let begin = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _opener in 0..8 {
                scope.spawn(|| {
                    begin.wait();
                    Store::open(&path, &MIGRATIONS).unwrap();
                });
            }
        });
    }
}
