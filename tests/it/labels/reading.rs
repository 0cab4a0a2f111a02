//! Labels follow what is read: whoever reads what stands in a session takes its labels
//! along from then on, however long ago they came there.

use super::READ;
use super::TAINTED;
use super::claim;
use super::done;
use super::world;
use crate::http::talk::Talk;
use crate::serving::Serving;
use crate::subscriptions::following;
use crate::world::APPROVE;
use crate::world::GET;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use serde_json::Value;
use serde_json::json;

const WEB: &str = "untrusted-web";

/// What each label sticks by is over, as if days had gone by.
fn days_go_by(world: &World) {
    let database = rusqlite::Connection::open(world.path("countersign.db")).unwrap();
    database
        .execute("UPDATE session_label SET until = 0", [])
        .unwrap();
}

/// A client of 2026-07-28, which names the session of each request.
struct Client {
    wire: Wire,
    sessions: u32,
}

impl Client {
    fn of(world: &World, who: &str) -> Self {
        let wire = world.broker_with(|command| {
            command.args(["--principal", who]);
        });
        Self { wire, sessions: 0 }
    }

    fn ask(&mut self, method: &str, mut params: Value, session: &str) -> Value {
        let extensions = json!({"io.modelcontextprotocol/tasks": {}});
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"extensions": extensions},
            "dev.countersign/session": session,
        });
        if let Some(key) = params["key"].as_str() {
            meta["dev.countersign/idempotency-key"] = json!(key);
        }
        params.as_object_mut().unwrap().remove("key");
        params["_meta"] = meta;
        self.wire.ask(method, params)["result"].clone()
    }

    fn call(&mut self, name: &str, arguments: Value, session: &str) -> Value {
        self.ask(
            "tools/call",
            json!({"name": name, "arguments": arguments}),
            session,
        )
    }

    fn own(&mut self, name: &str, arguments: Value, session: &str) -> Value {
        self.call(&format!("countersign__{name}"), arguments, session)
    }

    fn labels(&mut self, session: &str) -> Vec<String> {
        let status = self.own("session_status", json!({}), session);
        let labels = &status["structuredContent"]["labels"];
        serde_json::from_value(labels.clone()).unwrap_or_else(|_none| panic!("{status}"))
    }

    /// What a new session begins with.
    fn begins_with(&mut self) -> Vec<String> {
        self.sessions += 1;
        let session = format!("claim-new-{}", self.sessions);
        self.labels(&session)
    }
}

/// A session that read a page of the web, and in which something is written down; and
/// days later.
fn days_later() -> (World, Client) {
    let world = world();
    let mut client = Client::of(&world, "alice");
    let read = client.call(GET, claim(), "claim-99");
    assert!(read.to_string().contains("Claim 99"), "{read}");
    client.own(
        "memory_put",
        json!({"key": "web", "value": "said the web"}),
        "claim-99",
    );
    client.own("note_add", json!({"text": "said the web"}), "claim-99");
    let event = [
        "session", "event", "claim-99", "--kind", "mail", "--id", "web-1",
    ];
    done(&world, &event);
    client.own(
        "session_pause",
        json!({"waiting_for": "what the web says"}),
        "claim-99",
    );
    days_go_by(&world);
    (world, client)
}

/// Each way to read in `claim-99` what stands there, by its method and parameters.
fn readings() -> Vec<(&'static str, Value)> {
    let tool = |name: &str, arguments: Value| {
        let name = format!("countersign__{name}");
        ("tools/call", json!({"name": name, "arguments": arguments}))
    };
    let page = |uri: &str| ("resources/read", json!({"uri": uri}));
    vec![
        tool("session_status", json!({})),
        tool("session_history", json!({})),
        tool("memory_get", json!({"key": "web"})),
        tool("memory_list", json!({})),
        tool("note_list", json!({})),
        tool("event_list", json!({})),
        page("session://status"),
        page("session://memory"),
        page("session://memory/web"),
        page("session://notes"),
        page("session://events"),
        ("server/discover", json!({})),
        // It is refused, and says what the session waits for.
        ("tools/call", json!({"name": GET, "arguments": claim()})),
    ]
}

#[test]
fn whoever_reads_what_stands_in_a_labelled_session_takes_its_labels_along() {
    let (world, mut client) = days_later();
    for (method, params) in readings() {
        assert!(client.begins_with().is_empty(), "before {method} {params}");
        let read = client.ask(method, params.clone(), "claim-99");
        assert!(read.to_string().contains("web"), "{read}");
        assert_eq!(client.begins_with(), [WEB], "after {method} {params}");
        days_go_by(&world);
    }
    let refused = client.call(APPROVE, payment(1), "claim-new-2");
    assert!(refused.to_string().contains(TAINTED), "{refused}");
    let mut again = world.broker();
    let opened = again.initialize();
    assert!(opened.to_string().contains("what the web says"), "{opened}");
    assert_eq!(client.begins_with(), [WEB]);
    assert!(world.journal_problems().is_empty());
}

#[test]
fn what_cannot_be_noted_is_not_shown() {
    let (world, mut client) = days_later();
    let database = rusqlite::Connection::open(world.path("countersign.db")).unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON session_label
        BEGIN SELECT raise(ABORT, 'no room'); END";
    database.execute(full, []).unwrap();
    for (method, params) in readings() {
        let read = client.ask(method, params.clone(), "claim-99").to_string();
        let shown = ["said the web", "web says", "web-1"];
        let shown = shown.iter().find(|words| read.contains(**words));
        assert_eq!(shown, None, "{method} {params}: {read}");
    }
    database.execute("DROP TRIGGER full", []).unwrap();
    let read = client.own("memory_get", json!({"key": "web"}), "claim-99");
    assert!(read.to_string().contains("said the web"), "{read}");
    assert!(world.journal_problems().is_empty());
}

#[test]
fn who_reads_that_nothing_stands_there_takes_nothing_along() {
    let world = world();
    let mut client = Client::of(&world, "alice");
    client.call(GET, claim(), "claim-99");
    days_go_by(&world);
    for (method, params) in readings().into_iter().take(12) {
        client.ask(method, params, "claim-99");
    }
    assert!(client.begins_with().is_empty());
    assert_eq!(client.labels("claim-99"), [WEB]);
}

#[test]
fn an_older_session_has_with_the_next_call_what_was_read_in_another() {
    let (_world, mut client) = days_later();
    assert!(client.labels("claim-7").is_empty());
    client.own("memory_get", json!({"key": "web"}), "claim-99");
    let refused = client.call(APPROVE, payment(1), "claim-7");
    assert!(refused.to_string().contains(TAINTED), "{refused}");
    assert_eq!(client.labels("claim-7"), [WEB]);
}

#[test]
fn what_was_taken_off_stays_off_when_what_was_there_before_is_read() {
    let (world, mut client) = days_later();
    // It is in two sessions, and an operator takes it off one of them.
    client.own("memory_get", json!({"key": "web"}), "claim-99");
    client.own(
        "memory_put",
        json!({"key": "web", "value": "as the web says"}),
        "claim-7",
    );
    assert_eq!(client.labels("claim-7"), [WEB]);
    done(&world, &["session", "label", "claim-99", "--remove", WEB]);
    for session in ["claim-99", "claim-7"] {
        client.own("memory_get", json!({"key": "web"}), session);
        client.own("event_list", json!({}), session);
    }
    client.own("note_add", json!({"text": "go on"}), "claim-99");
    assert!(client.labels("claim-99").is_empty());
    assert_eq!(client.begins_with(), [WEB]);
    // In the session that it was taken off nothing is taken along.
    days_go_by(&world);
    client.own("memory_get", json!({"key": "web"}), "claim-99");
    assert!(client.begins_with().is_empty());
    // What is met anew is another matter.
    client.call(GET, claim(), "claim-7");
    client.own("note_add", json!({"text": "go on"}), "claim-99");
    assert_eq!(client.labels("claim-99"), [WEB]);
}

#[test]
fn labels_that_stick_not_at_all_are_not_taken_along() {
    let (world, mut client) = days_later();
    drop(client);
    world.edit(
        "countersign.toml",
        "labels_stick = \"1h\"",
        "labels_stick = \"0s\"",
    );
    client = Client::of(&world, "alice");
    for (method, params) in readings() {
        client.ask(method, params, "claim-99");
    }
    assert!(client.begins_with().is_empty());
}

#[test]
fn an_answer_that_is_given_again_takes_along_what_its_session_has() {
    let (world, mut client) = days_later();
    client.own("session_resume", json!({}), "claim-99");
    let mut get = || {
        let call = json!({"name": "countersign__memory_get", "arguments": {"key": "web"},
            "key": "one"});
        client.ask("tools/call", call, "claim-99")["content"].clone()
    };
    let first = get();
    days_go_by(&world);
    assert_eq!(get(), first);
    assert_eq!(client.begins_with(), [WEB]);
}

fn talk(broker: &Serving, key: &str) -> Talk {
    Talk::new(broker.address()).with("authorization", &format!("Bearer {key}"))
}

#[test]
fn over_http_too_the_owner_takes_along_what_is_read() {
    let (world, mut client) = days_later();
    let key = world.key("alice");
    let broker = world.serve();
    let mut alice = talk(&broker, &key);
    let before = "/api/sessions/claim-99/events?before=1";
    assert_eq!(alice.send("GET", before, &[], "").status, 200);
    assert!(client.begins_with().is_empty());
    let events = alice.send("GET", "/api/sessions/claim-99/events", &[], "");
    assert!(events.body.contains("web-1"), "{events:?}");
    assert_eq!(client.begins_with(), [WEB]);
}

/// Alice is stopped in a session that read the web; returns who is asked.
fn asked_for(client: &mut Client) -> String {
    client.call(GET, claim(), "claim-99");
    let stopped = client.call(APPROVE, payment(50_000), "claim-99");
    let id = &stopped["_meta"]["dev.countersign/decision"]["escalation"];
    id.as_str()
        .unwrap_or_else(|| panic!("{stopped}"))
        .to_owned()
}

#[test]
fn whoever_reads_of_a_call_of_another_session_has_its_labels_there() {
    let world = world();
    world.edit(
        "countersign.toml",
        "labels_stick = \"1h\"",
        "labels_stick = \"0s\"",
    );
    let mut alice = Client::of(&world, "alice");
    let id = asked_for(&mut alice);
    let mut mia = Client::of(&world, "mia");
    let decide = json!({"id": id, "decision": "refuse", "reason": "not so"});
    let listed = mia.own("escalation_list", json!({}), "claim-mia");
    assert!(listed.to_string().contains(&id), "{listed}");
    assert_eq!(mia.labels("claim-mia"), [WEB]);
    let remove = [
        "session",
        "label",
        "claim-mia",
        "--owner",
        "mia",
        "--remove",
        WEB,
    ];
    done(&world, &remove);
    let refused = mia.own("escalation_decide", decide, "claim-mia");
    assert_eq!(refused["isError"], false, "{refused}");
    assert!(mia.labels("claim-mia").is_empty());
    // Nothing of it is told any more.
    mia.own("escalation_list", json!({}), "claim-mia");
    assert!(mia.labels("claim-mia").is_empty());

    let waited = alice.own("escalation_wait", json!({"id": id}), "claim-7");
    assert!(waited.to_string().contains("not so"), "{waited}");
    assert_eq!(alice.labels("claim-7"), [WEB]);
    // Made anew elsewhere, the call is told why not.
    let again = alice.call(APPROVE, payment(50_000), "claim-8");
    assert!(again.to_string().contains("not so"), "{again}");
    assert_eq!(alice.labels("claim-8"), [WEB]);
}

#[test]
fn who_takes_a_request_back_is_told_why_it_was_approved_and_takes_its_labels_along() {
    let world = world();
    let mut alice = Client::of(&world, "alice");
    let id = asked_for(&mut alice);
    let approve = json!({"id": id, "decision": "approve", "reason": "as the web says"});
    let approved = Client::of(&world, "mia").own("escalation_decide", approve, "claim-mia");
    assert_eq!(approved["isError"], false, "{approved}");
    days_go_by(&world);
    assert!(alice.labels("claim-7").is_empty());
    let withdrawn = alice.own("escalation_withdraw", json!({"id": id}), "claim-7");
    assert!(withdrawn.to_string().contains("the web"), "{withdrawn}");
    assert_eq!(alice.labels("claim-7"), [WEB]);
}

#[test]
fn of_requests_over_http_their_caller_takes_labels_along_and_who_decides_does_not() {
    let world = world();
    let mut alice = Client::of(&world, "alice");
    let mut mia = Client::of(&world, "mia");
    let id = asked_for(&mut alice);
    days_go_by(&world);
    let [alices_key, mias_key] = ["alice", "mia"].map(|name| world.key(name));
    let broker = world.serve();
    let [mut alices, mut mias] = [&alices_key, &mias_key].map(|key| talk(&broker, key));
    for path in [
        "/api/escalations".to_owned(),
        format!("/api/escalations/{id}"),
    ] {
        for talk in [&mut mias, &mut alices] {
            assert!(alice.begins_with().is_empty());
            let shown = talk.send("GET", &path, &[], "");
            assert!(shown.body.contains(&id), "{shown:?}");
        }
        assert_eq!(alice.begins_with(), [WEB], "{path}");
        days_go_by(&world);
    }
    assert!(mia.begins_with().is_empty());
    // For whom an agent acts, that is it.
    let subject = "subject = \"mia\"";
    let agent = format!("{subject}\nagent = \"claude\"");
    world.edit("principals.toml", subject, &agent);
    let broker = world.serve();
    let shown = talk(&broker, &mias_key).send("GET", &format!("/api/escalations/{id}"), &[], "");
    assert!(shown.body.contains(&id), "{shown:?}");
    assert_eq!(mia.begins_with(), [WEB]);
}

#[test]
fn what_is_said_of_a_followed_resource_takes_along_what_its_session_has() {
    let world = following("modern");
    let mut wire = world.broker().initialized();
    let subscribed = wire.ask("resources/subscribe", json!({"uri": "note://one"}));
    assert_eq!(subscribed["result"], json!({}), "{subscribed}");
    done(&world, &["session", "label", "claim-99", "--add", "pii"]);
    days_go_by(&world);
    let mut client = Client::of(&world, "alice");
    let mut begins_with = |session: &str| {
        client.call("own__change", json!({"uri": "note://two"}), session);
        done(&world, &["session", "show", session]).contains("labels    pii")
    };
    wire.call("own__change", json!({"uri": "note://two"}));
    assert!(!begins_with("claim-1"));
    wire.call("own__change", json!({"uri": "note://one"}));
    let updated = wire.wait_for(|said| said["method"] == "notifications/resources/updated");
    assert_eq!(updated.unwrap()["params"]["uri"], "note://one");
    assert!(begins_with("claim-2"));
}

#[test]
fn an_event_brings_what_sticks_to_its_sender() {
    let world = World::new();
    let labelled = format!("{READ}\nlabels = [\"untrusted-web\"]");
    world.edit("countersign.toml", READ, &labelled);
    let verifies = r#"@id("verifies") permit (principal == Broker::User::"sam",
        action == Broker::Action::"session/event", resource);"#;
    world.write("policies/verifies.cedar", verifies);
    let key = world.key("sam");
    let mut alice = Client::of(&world, "alice");
    assert!(alice.labels("claim-99").is_empty());
    let broker = world.serve();
    let mut sends = talk(&broker, &key);
    let mut send = |id: &str| {
        let event = json!({"id": id, "kind": "verification", "body": "so it is"});
        sends.post("/api/sessions/alice/claim-99/events", &event.to_string())
    };
    assert_eq!(send("e1").status, 200);
    assert!(alice.labels("claim-99").is_empty());
    Client::of(&world, "sam").call(GET, claim(), "claim-sam");
    // It is the same event.
    assert_eq!(send("e1").status, 200);
    assert!(alice.labels("claim-99").is_empty());
    assert_eq!(send("e2").status, 200);
    assert_eq!(alice.labels("claim-99"), [WEB]);
    assert_eq!(alice.begins_with(), [WEB]);
}

#[test]
fn the_result_of_a_task_brings_what_the_session_met_in_which_it_was_begun() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/tasks.sh");
    let servers = format!(
        "[session]\nlabels_stick = \"0s\"\n[session.tools]\noffer = true\n\
         [servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\nenv = {{ ERA = \"modern\" }}\n"
    );
    let policy =
        r#"@id("all") permit (principal, action in Broker::Action::"server:own", resource);"#;
    let world = World::of("", policy);
    let stdio = "[stdio]\nprincipal = \"alice\"\n\n";
    world.write("countersign.toml", &format!("{stdio}{servers}"));
    let mut client = Client::of(&world, "alice");
    let begun = client.call("own__work", json!({}), "claim-99");
    let id = begun["taskId"].clone();
    let asked = json!({"taskId": id});
    client.ask("tasks/get", asked.clone(), "claim-7");
    assert!(client.labels("claim-7").is_empty());
    done(&world, &["session", "label", "claim-99", "--add", "pii"]);
    client.ask("tasks/get", asked, "claim-7");
    assert_eq!(client.labels("claim-7"), ["pii"]);
}
