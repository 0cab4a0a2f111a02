//! Lists of a server that says how long they are fresh, and not when they change.

use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::World;
use crate::world::names_of;
use serde_json::Value;
use serde_json::json;
use std::time::Instant;

const POLICY: &str = r#"
@id("all")
permit (principal, action in Broker::Action::"server:own", resource);
"#;

const MORE: &str = r#",{"name":"more","inputSchema":{"type":"object"}}"#;

fn world(ttl: &str) -> World {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/expiring.sh");
    let world = World::of("", POLICY);
    world.append(
        "countersign.toml",
        &format!("[servers.own]\ncommand = \"sh\"\nargs = [{script:?}, \".\"]\n"),
    );
    for (file, text) in [
        ("ttl", ttl),
        ("says", "opens"),
        ("tools", ""),
        ("resources", ""),
        ("asked", ""),
    ] {
        world.write(file, text);
    }
    world
}

fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

fn asks(broker: &mut Wire, method: &str) -> Value {
    broker.ask(method, modern(json!({})))["result"].take()
}

/// Asks for a list until it is as expected, and returns it.
fn until(broker: &mut Wire, method: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let list = asks(broker, method);
        if fits(&list) {
            return list;
        }
        assert!(begun.elapsed() < PATIENCE, "{list}");
    }
}

fn names(list: &Value) -> Vec<String> {
    let list = json!({ "result": list });
    let mut names = names_of(&list);
    names.sort_unstable();
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn what_is_over_is_read_again_when_a_client_asks_and_others_hear_of_it() {
    let world = world("0");
    let mut broker = world.broker();
    let listens =
        json!({"notifications": {"toolsListChanged": true, "resourcesListChanged": true}});
    broker.request("subscriptions/listen", modern(listens));
    let acknowledged = "notifications/subscriptions/acknowledged";
    broker.wait_for(|message| message["method"] == acknowledged);
    let list = asks(&mut broker, "tools/list");
    assert_eq!(names(&list), ["own__open"]);
    // No client may take for fresh what its server does not.
    assert_eq!(
        (&list["ttlMs"], &list["cacheScope"]),
        (&json!(0), &json!("private"))
    );

    world.write("tools", MORE);
    until(&mut broker, "tools/list", |list| {
        names(list) == ["own__more", "own__open"]
    });
    let changed = "notifications/tools/list_changed";
    broker.wait_for(|message| message["method"] == changed);

    // What changes is not what was reviewed, however it is found out.
    world.write("says", "opens everything");
    until(&mut broker, "tools/list", |list| {
        names(list) == ["own__more"]
    });

    world.write("resources", r#"{"uri":"note://one","name":"One"}"#);
    until(&mut broker, "resources/list", |list| {
        list["resources"][0]["uri"] == "note://one"
    });
    let changed = "notifications/resources/list_changed";
    broker.wait_for(|message| message["method"] == changed);
    let read = broker.ask("resources/read", modern(json!({"uri": "note://one"})));
    assert_eq!(read["result"]["ttlMs"], 7000, "{read}");
    assert_eq!(read["result"]["cacheScope"], "private");
    assert!(broker.end());
}

#[test]
fn what_is_fresh_or_has_no_time_is_not_read_again() {
    for (ttl, told) in [("3600000", 60_000), ("", 60_000)] {
        let world = world(ttl);
        let mut broker = world.broker();
        let begun = Instant::now();
        asks(&mut broker, "tools/list");
        world.write("tools", MORE);
        // A good deal longer than what is over would stay.
        while begun.elapsed().as_millis() < 1500 {
            let list = asks(&mut broker, "tools/list");
            assert_eq!(names(&list), ["own__open"]);
            assert_eq!(list["ttlMs"], told);
        }
        assert!(broker.end());
        assert_eq!(world.read("asked").lines().count(), 1);
    }
}

#[test]
fn many_who_ask_at_once_cause_one_reading_and_what_is_left_of_its_time_is_told() {
    let world = world("30000");
    let mut broker = world.broker();
    let left = asks(&mut broker, "tools/list")["ttlMs"].as_u64().unwrap();
    assert!(left <= 30_000, "{left}");
    let lower = until(&mut broker, "tools/list", |list| {
        list["ttlMs"].as_u64() < Some(left)
    });
    assert!(lower["ttlMs"].as_u64() > Some(0), "{lower}");
    assert!(broker.end());

    let world = self::world("0");
    let mut broker = world.broker();
    asks(&mut broker, "tools/list");
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed().as_millis() < 2500 {
        let several: Vec<u64> = (0..20)
            .map(|_| broker.request("tools/list", modern(json!({}))))
            .collect();
        for id in several {
            broker.answer_to(id).unwrap();
            asked += 1;
        }
    }
    assert!(broker.end());
    let read = world.read("asked").lines().count();
    let allowed = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    assert!(
        read > 1 && read <= allowed && asked > read,
        "{read} of {asked}"
    );
}
