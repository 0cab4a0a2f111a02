//! Streams whose connection is lost, and found again.

use super::*;
use crate::relay;

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

/// A stream in the middle of being read.
struct Stream {
    talk: Talk,
    status: u16,
    headers: Vec<(String, String)>,
}

/// One event of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    id: Option<String>,
    data: String,
}

impl Event {
    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_else(|| panic!("{self:?}"))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

impl Stream {
    fn of(mut talk: Talk) -> Self {
        let (status, headers) = talk.head().unwrap();
        Self {
            talk,
            status,
            headers,
        }
    }

    fn post(mut talk: Talk, body: &str) -> Self {
        let headers = [("content-type", "application/json")];
        talk.write("POST", "/mcp", &headers, body);
        Self::of(talk)
    }

    fn open(mut talk: Talk) -> Self {
        talk.write("GET", "/mcp", &[EVENTS], "");
        Self::of(talk)
    }

    fn again(mut talk: Talk, after: &Event) -> Self {
        let headers = [EVENTS, ("last-event-id", after.id())];
        talk.write("GET", "/mcp", &headers, "");
        Self::of(talk)
    }

    /// The next event, or none where the stream ended.
    fn next(&mut self) -> Option<Event> {
        assert_eq!(self.status, 200);
        let kind = ("content-type".to_owned(), "text/event-stream".to_owned());
        let at_once = ("x-accel-buffering".to_owned(), "no".to_owned());
        assert!(self.headers.contains(&kind) && self.headers.contains(&at_once));
        let text = self.talk.chunk()?;
        let line = |name| text.lines().find_map(|line| line.strip_prefix(name));
        Some(Event {
            id: line("id: ").map(str::to_owned),
            data: line("data: ")
                .unwrap_or_else(|| panic!("{text:?}"))
                .to_owned(),
        })
    }

    fn event(&mut self) -> Event {
        self.next().expect("the stream ended")
    }

    fn method(&mut self) -> (Event, String) {
        let event = self.event();
        let method = event.json()["method"].as_str().unwrap().to_owned();
        (event, method)
    }
}

/// Opens a transport session of a client that can be asked, and returns its id.
fn askable(desk: &Desk, revision: &str) -> String {
    let params = json!({
        "protocolVersion": revision,
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "t", "version": "1"},
    });
    let answer = desk.talk().post("/mcp", &request(1, "initialize", &params));
    let id = answer.header("mcp-session-id").unwrap().to_owned();
    let level = request(2, "logging/setLevel", &json!({"level": "info"}));
    let headers = [("mcp-session-id", &*id)];
    let told = desk.talk().post_with("/mcp", &headers, &level);
    assert_eq!(told.status, 200);
    id
}

#[test]
fn a_stream_is_read_to_its_end_over_as_many_connections_as_it_takes() {
    let desk = Desk::on(relay::world());
    let session = askable(&desk, "2025-11-25");
    let talk = || desk.talk().with("mcp-session-id", &session);
    let mut stream = Stream::post(talk(), &call(2, "own__ask", &json!({})));
    let primes = stream.event();
    assert_eq!(primes.data, "");
    drop(stream);

    // Lost before the first message, and again before the question.
    let mut stream = Stream::again(talk(), &primes);
    let (logged, method) = stream.method();
    assert_eq!(method, "notifications/message");
    drop(stream);
    let mut stream = Stream::again(talk(), &logged);
    let (asked, method) = stream.method();
    assert_eq!(method, "elicitation/create");
    drop(stream);

    // The call ends while nobody reads.
    let reply = json!({"jsonrpc": "2.0", "id": asked.json()["id"],
        "result": {"action": "accept", "content": {"name": "Ann"}}});
    let taken = talk().post("/mcp", &reply.to_string());
    assert_eq!((taken.status, &*taken.body), (202, ""));
    desk.world.wait_until_all_closed();
    let mut stream = Stream::again(talk(), &asked);
    let answer = stream.event();
    assert_eq!(answer.json()["id"], 2);
    assert_eq!(answer.json()["result"]["heard"]["result"], reply["result"]);
    assert_eq!(stream.next(), None);

    // Nothing twice on one way, and all of it for who has read nothing.
    let mut stream = Stream::again(talk(), &primes);
    assert_eq!(stream.event(), logged);
    assert_eq!(stream.event(), asked);
    assert_eq!(stream.event(), answer);
    assert_eq!(stream.next(), None);
    assert_eq!(Stream::again(talk(), &answer).status, 204);
}

#[test]
fn an_event_of_another_session_or_principal_or_time_is_unknown() {
    let desk = Desk::on(relay::world());
    let session = askable(&desk, "2025-11-25");
    let talk = |desk: &Desk| desk.talk().with("mcp-session-id", &session);
    let mut stream = Stream::post(talk(&desk), &call(2, "own__ask", &json!({})));
    let primes = stream.event();
    let get = |mut talk: Talk, id: &str| {
        let headers = [EVENTS, ("last-event-id", id)];
        let answer = talk.send("GET", "/mcp", &headers, "");
        assert_eq!(answer.json()["error"]["code"], -32600, "{answer:?}");
        (answer.status, answer.body)
    };
    let unknown = get(talk(&desk), "1");
    assert_eq!(unknown.0, 404);
    assert!(unknown.1.contains("`Last-Event-ID`"), "{unknown:?}");
    // Another session of alice's.
    let other = askable(&desk, "2025-11-25");
    let other = desk.talk().with("mcp-session-id", &other);
    assert_eq!(get(other, primes.id()), unknown);
    // Sam, with a session of his own, with alice's, and with none.
    let sams = format!("Bearer {}", desk.world.key("sam"));
    let sam = || Talk::new(desk.broker.address()).with("authorization", &sams);
    let own = opened(&mut sam(), "/mcp");
    assert_eq!(
        get(sam().with("mcp-session-id", &own), primes.id()),
        unknown
    );
    let theirs = get(sam().with("mcp-session-id", &session), primes.id());
    let nobodys = "0123456789abcdef0123456789abcdef";
    let nobodys = get(sam().with("mcp-session-id", nobodys), primes.id());
    assert_eq!((theirs.0, &theirs), (404, &nobodys));
    assert_eq!(get(sam(), primes.id()).0, 400);
    // Two ids are none.
    let mut twice = talk(&desk).with("last-event-id", primes.id());
    let twice = twice.send("GET", "/mcp", &[EVENTS, ("last-event-id", "1")], "");
    assert_eq!((twice.status, twice.body), unknown);
    // It is still read by its owner.
    assert!(stream.event().data.contains("asking"));

    // After a restart the session goes on, and the stream does not.
    let desk = desk.restarted();
    assert_eq!(get(talk(&desk), primes.id()), unknown);
    let ping = talk(&desk).post("/mcp", &request(3, "ping", &json!({})));
    assert_eq!(ping.status, 200);
    // Ended, it has no streams at all.
    assert_eq!(talk(&desk).send("DELETE", "/mcp", &[], "").status, 204);
    assert_eq!(get(talk(&desk), primes.id()).1, nobodys.1);
}

#[test]
fn each_revision_gets_the_events_that_it_knows() {
    let desk = Desk::on(relay::world());
    // Clients before 2025-11-25 cannot read an event without a message.
    for revision in ["2025-06-18", "2025-03-26"] {
        let session = askable(&desk, revision);
        let talk = || desk.talk().with("mcp-session-id", &session);
        let mut stream = Stream::post(talk(), &call(2, "own__ask", &json!({})));
        let (logged, method) = stream.method();
        assert_eq!(method, "notifications/message");
        drop(stream);
        let mut stream = Stream::again(talk(), &logged);
        let (asked, method) = stream.method();
        assert_eq!(method, "elicitation/create");
        let reply = json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": {}});
        assert_eq!(talk().post("/mcp", &reply.to_string()).status, 202);
        assert_eq!(stream.event().json()["id"], 2);
        assert_eq!(stream.next(), None);
    }
    // Streams of 2026-07-28 have no ids, and nothing is found by one.
    let listens = modern_params(json!({"notifications": {"toolsListChanged": true}}));
    let headers = [
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
        ("last-event-id", "1"),
        ("mcp-session-id", "1"),
    ];
    let mut talk = desk.talk();
    let body = request(7, "subscriptions/listen", &listens);
    talk.write("POST", "/mcp", &headers, &body);
    let mut stream = Stream::of(talk);
    assert_eq!(stream.event().id, None);
    let session = stream
        .headers
        .iter()
        .find(|(name, _)| name == "mcp-session-id");
    assert_eq!(session, None);
}

#[test]
fn what_nobody_asked_for_waits_for_the_client_to_come_back() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/changing.sh");
    let servers = format!("[servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\n");
    let policy = "@id(\"all\")\npermit (principal, action, resource);";
    let desk = Desk::on(World::of(&servers, policy));
    let session = opened(&mut desk.talk(), "/mcp");
    let talk = |desk: &Desk| desk.talk().with("mcp-session-id", &session);
    let mut stream = Stream::open(talk(&desk));
    let primes = stream.event();
    assert_eq!(primes.data, "");
    assert_eq!(Stream::open(talk(&desk)).status, 409);
    drop(stream);

    let grown = talk(&desk).post("/mcp", &call(2, "own__grow", &json!({})));
    assert_eq!(grown.status, 200);
    let mut stream = Stream::again(talk(&desk), &primes);
    let (changed, method) = stream.method();
    assert_eq!(method, "notifications/tools/list_changed");
    drop(stream);

    // What was said while we were not there is not known. A client that comes
    // back hears that it may have missed something, and of what comes then.
    let desk = desk.restarted();
    let mut stream = Stream::again(talk(&desk), &changed);
    assert_eq!(stream.event().data, "");
    assert_eq!(stream.method().1, "notifications/tools/list_changed");
}

#[test]
fn an_answer_that_takes_long_comes_by_a_stream_that_can_be_found_again() {
    let world = World::holding();
    let desk = Desk::on(world);
    let session = opened(&mut desk.talk(), "/s/claim-99/mcp");
    let talk = || desk.talk().with("mcp-session-id", &session);
    let mut stream = Stream::post(talk(), &call(2, APPROVE, &payment(9_000)));
    let primes = stream.event();
    assert_eq!(primes.data, "");
    drop(stream);
    // The loss of a connection is no cancellation.
    std::fs::remove_file(desk.world.path("hold")).unwrap();
    desk.world.wait_until_closed();
    let mut stream = Stream::again(talk(), &primes);
    let paid = stream.event().json();
    assert!(text_of(&paid).starts_with("Paid $9000.00"), "{paid}");
    assert_eq!(desk.world.paid(), [900_000]);
    let outcome = desk.world.calls("claim-99")[0].outcome.unwrap();
    assert_eq!(outcome.to_string(), "completed");
}

#[test]
fn an_answer_that_nobody_was_there_for_is_unread_until_somebody_comes_for_it() {
    let world = World::holding();
    world.append("countersign.toml", "\n[http]\nthreads = 1\n");
    let desk = Desk::on(world);
    let open = || opened(&mut desk.talk(), "/s/claim-99/mcp");
    let pay = |session: &str| {
        let talk = desk.talk().with("mcp-session-id", session);
        Stream::post(talk, &call(2, APPROVE, &payment(900)))
    };
    let lost = |session: &str| {
        let mut stream = pay(session);
        let primes = stream.event();
        drop(stream);
        // One thread serves: what it answers later, it does after it saw that loss.
        let _seen = [open(), open()];
        std::fs::remove_file(desk.world.path("hold")).unwrap();
        desk.world.wait_until_noted_are(1);
        primes
    };
    lost(&open());
    // Another process of the client knows of no stream.
    let mut talk = desk.talk().with("mcp-session-id", &open());
    let again = talk.post("/mcp", &call(2, APPROVE, &payment(900))).json();
    assert!(
        again["result"]["_meta"]
            .get("dev.countersign/replayed")
            .is_some()
    );
    assert_eq!(desk.world.paid(), [90_000]);
    desk.world.wait_until_noted_are(0);

    desk.world.write("hold", "");
    let session = open();
    let primes = lost(&session);
    let mut stream = Stream::again(desk.talk().with("mcp-session-id", &session), &primes);
    let paid = stream.event().json();
    assert!(text_of(&paid).starts_with("Paid $900.00"), "{paid}");
    desk.world.wait_until_noted_are(0);
    // Whoever makes it once more means another.
    let meant = talk.post("/mcp", &call(3, APPROVE, &payment(900))).json();
    assert!(
        meant["result"]["_meta"]
            .get("dev.countersign/replayed")
            .is_none()
    );
    assert_eq!(desk.world.paid(), [90_000; 3]);
    assert!(desk.world.journal_problems().is_empty());
}
