//! Events told to others: webhooks and commands.

use super::done;
use super::read;
use crate::receiver::Post;
use crate::receiver::SECRET;
use crate::world::GET;
use crate::world::PATIENCE;
use crate::world::World;
use serde_json::Value;
use std::net::TcpListener;
use std::time::Instant;

fn send(world: &World, id: &str, kind: &str) {
    let event = ["session", "event", "claim-99", "--kind", kind, "--id", id];
    done(world, &[&event[..], &["--body", "{\"ok\":1.10}"]].concat());
}

/// A world whose events go to a listener, and a command.
fn forwarding() -> (World, TcpListener) {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    world.write("secret", SECRET);
    world.append(
        "countersign.toml",
        &format!(
            "\n[[session.webhooks]]\nurl = {url:?}\nsecret = \"${{file:secret}}\"\nkinds = [\"verification\"]\n\
             \n[[session.webhooks]]\ncommand = \"sh\"\nargs = [\"-c\", \"cat >> told; echo >> told; test -e taken\"]\n"
        ),
    );
    let mut agent = world.broker().initialized();
    agent.call(GET, read());
    assert!(agent.end());
    (world, listener)
}

#[test]
fn an_event_is_posted_signed_until_it_is_taken_by_whichever_broker_runs() {
    let (world, listener) = forwarding();
    let broker = world.broker().initialized();
    send(&world, "n-1", "note");
    send(&world, "v-1", "verification");
    let first = Post::take(&listener);
    assert!(first.is_signed(), "{:?}", first.headers);
    let told = first.json();
    assert_eq!(told["type"], "session.event");
    assert_eq!(told["data"]["session"]["owner"], "alice");
    assert_eq!(told["data"]["session"]["handles"][0], "claim-99");
    let event = &told["data"]["event"];
    assert_eq!(
        (&event["id"], &event["kind"]),
        (&"v-1".into(), &"verification".into())
    );
    assert!(first.body.contains("{\"ok\":1.10}"), "{}", first.body);
    let id = first.headers["webhook-id"].clone();
    first.answer(500);
    // It comes again under the same name; nobody hears what is answered then.
    let second = Post::take(&listener);
    assert!(second.is_signed());
    assert_eq!(second.headers["webhook-id"], id);
    let mut broker = broker;
    broker.kill();
    drop(second);
    // The next one brings what was in the middle.
    let next = world.broker().initialized();
    let third = Post::take(&listener);
    assert!(third.is_signed());
    assert_eq!((&third.headers["webhook-id"], third.json()), (&id, told));
    third.answer(204);
    let begun = Instant::now();
    let delivered = loop {
        let shown = done(&world, &["session", "deliveries", "claim-99"]);
        if shown.contains(": delivered") {
            break shown;
        }
        assert!(begun.elapsed() < PATIENCE, "{shown}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert!(delivered.contains("it answered 500"), "{delivered}");
    assert!(delivered.contains("  taken"), "{delivered}");
    assert!(!delivered.contains(SECRET));
    assert!(next.end());
}

#[test]
fn a_command_is_told_and_its_status_counts() {
    let (world, listener) = forwarding();
    drop(listener);
    let broker = world.broker().initialized();
    send(&world, "n-1", "note");
    let begun = Instant::now();
    while !world.path("told").exists() || world.read("told").lines().count() < 2 {
        assert!(begun.elapsed() < PATIENCE, "it is not told again");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    world.write("taken", "");
    loop {
        let shown = done(&world, &["session", "deliveries"]);
        if shown.contains(": delivered") {
            assert!(shown.contains("it ended with status 1"), "{shown}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{shown}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let told = world.read("told");
    let first: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(first["data"]["event"]["id"], "n-1");
    assert!(broker.end());
}
