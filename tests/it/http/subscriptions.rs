//! Streams that tell of changes, over HTTP, for several clients at once.

use super::*;
use crate::subscriptions::TAG;
use crate::subscriptions::following;
use crate::subscriptions::wait_until_heard;

pub(super) const EVENTS: (&str, &str) = ("accept", "text/event-stream");

pub(super) fn talk(broker: &Serving, key: &str) -> Talk {
    Talk::new(broker.address()).with("authorization", &format!("Bearer {key}"))
}

/// The next message of a stream that fits.
fn wait_for(stream: &mut Talk, fits: impl Fn(&Value) -> bool) -> Value {
    loop {
        let chunk = stream.chunk().expect("the stream ended");
        let data = chunk.lines().find_map(|line| line.strip_prefix("data: "));
        let message = data.and_then(|data| serde_json::from_str(data).ok());
        if let Some(message) = message.filter(&fits) {
            return message;
        }
    }
}

fn method<'a>(name: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |message| message["method"] == name
}

pub(super) fn updated(stream: &mut Talk) -> Value {
    wait_for(stream, |message| message.get("method").is_some())["params"].take()
}

/// Listens, and returns what is honoured.
pub(super) fn listen(stream: &mut Talk, id: u64, wanted: Value) -> Value {
    let params = modern_params(json!({ "notifications": wanted }));
    let headers = [
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
    ];
    let body = request(id, "subscriptions/listen", &params);
    stream.write("POST", "/mcp", &headers, &body);
    assert_eq!(stream.head().unwrap().0, 200);
    let mut first = wait_for(stream, |_any| true);
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["_meta"][TAG], id);
    first["params"]["notifications"].take()
}

/// A legacy client with its stream open.
pub(super) fn legacy(broker: &Serving, key: &str) -> (Talk, Talk) {
    let id = opened(&mut talk(broker, key), "/mcp");
    let mut stream = talk(broker, key).with("mcp-session-id", &id);
    stream.write("GET", "/mcp", &[EVENTS], "");
    assert_eq!(stream.head().unwrap().0, 200);
    (talk(broker, key).with("mcp-session-id", &id), stream)
}

pub(super) fn own(talk: &mut Talk, tool: &str, uri: &str) {
    let params = json!({"name": format!("own__{tool}"), "arguments": {"uri": uri}});
    let called = modern(talk, "tools/call", params);
    assert_eq!(
        called.json()["result"]["isError"],
        Value::Null,
        "{called:?}"
    );
}

#[test]
fn clients_share_one_subscription_and_nobody_hears_what_they_may_not() {
    for era in ["legacy", "modern"] {
        let world = following(era);
        let (alice, sam) = (world.key("alice"), world.key("sam"));
        let broker = world.serve();
        let mut calling = talk(&broker, &alice);
        let (mut asks, mut streams) = legacy(&broker, &alice);
        let params = json!({"uri": "note://alice"});
        let asked = asks.post("/mcp", &request(2, "resources/subscribe", &params));
        assert!(asked.json()["result"].is_object(), "{asked:?}");
        let mut listens = talk(&broker, &alice);
        let both = json!({"resourceSubscriptions": ["note://alice", "note://one", "note://alice"]});
        let honoured = listen(&mut listens, 5, both.clone());
        let expected = json!({"resourceSubscriptions": ["note://alice", "note://one"]});
        assert_eq!(honoured, expected);
        let mut sams = talk(&broker, &sam);
        let honoured = listen(&mut sams, 5, both);
        assert_eq!(honoured, json!({"resourceSubscriptions": ["note://one"]}));
        let (mut sam_asks, _sams_stream) = legacy(&broker, &sam);
        let refused = sam_asks.post("/mcp", &request(2, "resources/subscribe", &params));
        assert_eq!(refused.json()["error"]["code"], 403, "{refused:?}");
        let heard = world.read("heard");
        let mut heard: Vec<&str> = heard.lines().collect();
        heard.sort_unstable();
        assert_eq!(heard, ["follow note://alice", "follow note://one"]);

        own(&mut calling, "change", "note://alice");
        assert_eq!(updated(&mut streams)["uri"], "note://alice");
        let told = updated(&mut listens);
        assert_eq!(
            (&told["uri"], &told["_meta"][TAG]),
            (&json!("note://alice"), &json!(5))
        );
        own(&mut calling, "change", "note://one");
        assert_eq!(updated(&mut listens)["uri"], "note://one");
        // The first that sam hears.
        assert_eq!(updated(&mut sams)["uri"], "note://one");

        // One client goes, one ends; the last of each ends what is followed.
        drop(listens);
        let left = request(3, "resources/unsubscribe", &params);
        assert_eq!(asks.post("/mcp", &left).json()["result"], json!({}));
        drop(sams);
        let begun = std::time::Instant::now();
        while world.read("heard").lines().count() < 4 {
            assert!(begun.elapsed() < crate::world::PATIENCE);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let heard = world.read("heard");
        let mut heard: Vec<&str> = heard.lines().skip(2).collect();
        heard.sort_unstable();
        assert_eq!(heard, ["forget note://alice", "forget note://one"]);
        assert_eq!(world.journal_problems(), []);
    }
}

#[test]
fn a_transport_session_that_ends_takes_its_subscriptions_with_it() {
    let world = following("legacy");
    let key = world.key("alice");
    let broker = world.serve();
    let (mut asks, mut stream) = legacy(&broker, &key);
    let first = stream.chunk().unwrap();
    let read = first.lines().find_map(|line| line.strip_prefix("id: "));
    let params = json!({"uri": "note://one"});
    let asked = asks.post("/mcp", &request(2, "resources/subscribe", &params));
    // As the server said it.
    assert_eq!(asked.json()["result"]["x-own"], 100.0, "{asked:?}");
    // The loss of its stream alone is no end: it hears what came meanwhile,
    // whether or not the loss was noticed by then.
    drop(stream);
    own(&mut talk(&broker, &key), "change", "note://one");
    let id = asks.always("mcp-session-id");
    let mut again = talk(&broker, &key);
    let headers = [
        EVENTS,
        ("mcp-session-id", &*id),
        ("last-event-id", read.unwrap()),
    ];
    again.write("GET", "/mcp", &headers, "");
    assert_eq!(again.head().unwrap().0, 200);
    assert_eq!(updated(&mut again)["uri"], "note://one");
    let ended = asks.send("DELETE", "/mcp", &[], "");
    assert_eq!(ended.status, 204, "{id}");
    wait_until_heard(&world, &["follow note://one", "forget note://one"]);
}

#[test]
fn a_broker_before_a_broker_passes_on_what_is_followed() {
    let behind = following("legacy");
    let key = behind.key("alice");
    let inner = behind.serve();
    let url = inner.url("/mcp");
    let section =
        format!("[servers.own]\nurl = {url:?}\nheaders = {{ Authorization = \"Bearer {key}\" }}\n");
    let policy =
        "@id(\"all\")\npermit (principal, action in Broker::Action::\"server:own\", resource);";
    let world = World::of(&section, policy);
    let key = world.key("alice");
    let outer = world.serve();
    let (mut asks, mut stream) = legacy(&outer, &key);
    let mut listens = talk(&outer, &key);
    let wanted = json!({"resourceSubscriptions": ["note://one", "note://secret"], "resourcesListChanged": true});
    // The broker behind refuses one.
    let honoured = listen(&mut listens, 1, wanted);
    let expected = json!({"resourceSubscriptions": ["note://one"], "resourcesListChanged": true});
    assert_eq!(honoured, expected);
    let params = json!({"uri": "note://one"});
    let asked = asks.post("/mcp", &request(2, "resources/subscribe", &params));
    assert!(asked.json()["result"].is_object(), "{asked:?}");
    wait_until_heard(&behind, &["follow note://one"]);
    own(&mut talk(&outer, &key), "own__change", "note://one");
    let updates = method("notifications/resources/updated");
    for (stream, tag) in [(&mut stream, None), (&mut listens, Some(json!(1)))] {
        let told = wait_for(stream, &updates);
        assert_eq!(told["params"]["_meta"].get(TAG), tag.as_ref());
        assert_eq!(told["params"]["_meta"]["x-own"], 100.0);
    }
    // The one behind comes back and knows nothing of it any more.
    let inner = behind.restarted(inner);
    for stream in [&mut stream, &mut listens] {
        assert_eq!(wait_for(stream, &updates)["params"]["uri"], "note://one");
    }
    wait_until_heard(&behind, &["follow note://one"; 2]);
    drop(listens);
    assert_eq!(asks.send("DELETE", "/mcp", &[], "").status, 204);
    wait_until_heard(
        &behind,
        &[
            "follow note://one",
            "follow note://one",
            "forget note://one",
        ],
    );
    drop(inner);
}

#[test]
fn every_client_hears_of_the_list_that_changed_and_of_no_other() {
    for era in ["legacy", "modern"] {
        let world = following(era);
        let key = world.key("alice");
        let broker = world.serve();
        let mut calling = talk(&broker, &key);
        let all = json!({
            "toolsListChanged": true,
            "promptsListChanged": true,
            "resourcesListChanged": true,
        });
        let (_asks, mut stream) = legacy(&broker, &key);
        let mut first = talk(&broker, &key);
        // There are no prompts.
        let honoured = listen(&mut first, 1, all.clone());
        assert_eq!(
            honoured,
            json!({"toolsListChanged": true, "resourcesListChanged": true})
        );
        let mut second = talk(&broker, &key);
        listen(&mut second, 2, all);
        let mut only_tools = talk(&broker, &key);
        listen(&mut only_tools, 3, json!({"toolsListChanged": true}));
        for _ in 0..3 {
            own(&mut calling, "grow", "");
            let begun = std::time::Instant::now();
            for stream in [&mut stream, &mut first, &mut second] {
                let next = wait_for(stream, |message| message.get("method").is_some());
                assert_eq!(next["method"], "notifications/resources/list_changed");
            }
            println!("{era}: told after {:?}", begun.elapsed());
        }
        drop(broker);
        let heard = only_tools.chunk().unwrap_or_default();
        assert!(!heard.contains("list_changed"), "{heard}");
    }
}

#[test]
fn what_one_principal_read_is_not_given_to_another() {
    let world = following("modern");
    let (alice, sam) = (world.key("alice"), world.key("sam"));
    let broker = world.serve();
    let read = |key: &str| {
        let mut talk = talk(&broker, key);
        let headers = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "resources/read"),
            ("mcp-name", "note://one"),
        ];
        let params = modern_params(json!({"uri": "note://one"}));
        let body = request(7, "resources/read", &params);
        talk.post_with("/mcp", &headers, &body).json()["result"].take()
    };
    // The server says that anybody may have its answer. Policy decided for one.
    let (alices, sams, again) = (read(&alice), read(&sam), read(&alice));
    for (result, reads) in [(&alices, 1), (&sams, 2), (&again, 3)] {
        assert_eq!(result["reads"], reads, "{result}");
        assert_eq!(result["cacheScope"], "private");
        assert_eq!(result["ttlMs"], 60_000);
    }
    let mut talk = talk(&broker, &alice);
    for (list, entries) in [
        ("tools/list", "tools"),
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("server/discover", "supportedVersions"),
    ] {
        let result = modern(&mut talk, list, json!({})).json()["result"].take();
        assert!(result[entries].is_array(), "{result}");
        assert_eq!(result["cacheScope"], "private");
        assert!(result["ttlMs"].as_u64().is_some());
        assert_eq!(result["resultType"], "complete");
    }
}
