//! Bounds on what a client may send and hold.

use super::*;

#[test]
fn a_body_that_is_too_long_is_refused_unread() {
    let desk = Desk::configured("max_body = 2000");
    let long = "x".repeat(3_000);
    let told = desk.talk().post("/mcp", &long);
    assert_eq!(told.status, 413, "{told:?}");
    assert!(told.body.contains("2000 bytes"));
    // Also where its length is not told before.
    let mut talk = desk.talk();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        desk.broker.address(),
        desk.key
    );
    talk.raw(format!("{head}bb8\r\n{long}\r\n0\r\n\r\n").as_bytes());
    assert_eq!(talk.read().status, 413);
}

#[test]
fn a_head_without_end_and_a_body_without_end_are_given_up() {
    let desk = Desk::configured("head_timeout = \"300ms\"\nbody_timeout = \"300ms\"");
    let mut talk = desk.talk();
    talk.raw(b"POST /mcp HTTP/1.1\r\nhost: lo");
    assert!(talk.head().is_none_or(|(status, _)| status == 408));
    let mut talk = desk.talk();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{",
        desk.broker.address(),
        desk.key
    );
    talk.raw(head.as_bytes());
    assert_eq!(talk.read().status, 408);
    let mut talk = desk.talk();
    let many = "a: b\r\n".repeat(20_000);
    talk.raw(format!("GET /livez HTTP/1.1\r\n{many}\r\n").as_bytes());
    assert!(talk.head().is_none_or(|(status, _)| status == 431));
}

#[test]
fn one_connection_too_many_is_turned_away_and_the_others_go_on() {
    let desk = Desk::configured("max_connections = 2");
    let (mut first, mut second) = (desk.talk(), desk.talk());
    for talk in [&mut first, &mut second] {
        assert_eq!(talk.send("GET", "/livez", &[], "").status, 200);
    }
    let answer = desk.talk().read();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(first.send("GET", "/livez", &[], "").status, 200);
}

#[test]
fn one_principal_cannot_hold_every_connection() {
    let desk = Desk::configured("max_connections = 8");
    let alices = desk.talk().always("authorization");
    let asks = |key: &str| {
        let mut talk = Talk::new(desk.address()).with("authorization", key);
        let answer = talk.send("GET", "/api/escalations", &[], "");
        (talk, answer)
    };
    let mut idle: Vec<_> = (0..6).map(|_| asks(&alices)).collect();
    assert!(idle.iter().all(|(_, answer)| answer.status == 200));
    let (_closed, refused) = asks(&alices);
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.body.contains("http.max_connections"), "{refused:?}");
    // Whoever has a connection goes on, and others have some.
    let (mut first, _) = idle.remove(0);
    assert_eq!(first.send("GET", "/api/escalations", &[], "").status, 200);
    let sams = format!("Bearer {}", desk.world.key("sam"));
    assert_eq!(asks(&sams).1.status, 200);
    drop(first);
    let begun = std::time::Instant::now();
    while asks(&alices).1.status != 200 {
        assert!(
            begun.elapsed() < crate::world::PATIENCE,
            "its place is never free again"
        );
    }
}

/// A world whose server answers with more than any connection holds back.
fn large(http: &str, env: &str) -> World {
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/large.sh");
    let servers = format!(
        "[servers.own]\ncommand = \"sh\"\nargs = [{server:?}]\nenv = {{ NOTE = \"note\"{env} }}\n\
         [http]\n{http}\n"
    );
    World::of(
        &servers,
        "@id(\"all\")\npermit (principal, action, resource);",
    )
}

#[test]
fn a_client_that_reads_nothing_loses_its_connection_and_its_answer_is_not_read() {
    let desk = Desk::on(large("write_timeout = \"300ms\"", ""));
    let mut idle = desk.talk();
    idle.write("GET", "/sse", &[("accept", "text/event-stream")], "");
    assert_eq!(idle.head().unwrap().0, 200);
    let at = idle.chunk().unwrap();
    let session = opened(&mut desk.talk(), "/s/claim-99/mcp");
    let fetch = call(2, "own__fetch", &json!({}));
    let mut deaf = desk.talk().with("mcp-session-id", &session);
    let json = ("content-type", "application/json");
    deaf.write("POST", "/mcp", &[json], &fetch);
    desk.world.wait_until_noted_are(1);
    // Who makes the call once more is told of it, and it is not made.
    let mut talk = desk.talk().with("mcp-session-id", &session);
    let told = said(&talk.post("/mcp", &fetch));
    assert!(told.contains("too large to be kept"), "{told}");
    assert_eq!(desk.world.read("note"), "called\n");
    // A stream on which nothing was to be written is there.
    let at = at.split_once("data: ").unwrap().1.trim();
    assert_eq!(talk.post(at, &initialize("2024-11-05")).status, 202);
    assert!(idle.chunk().unwrap().contains("protocolVersion"));
    drop(deaf);
}

#[test]
fn it_is_ready_once_each_server_was_tried() {
    let world = large("", ", GATE = \"gate\"");
    let made = std::process::Command::new("mkfifo")
        .arg(world.path("gate"))
        .status();
    assert!(made.unwrap().success());
    let desk = Desk::on(world);
    let mut talk = Talk::new(desk.address());
    let mut asks = |path| {
        let answer = talk.send("GET", path, &[], "");
        (answer.status, answer.body)
    };
    let waits = "not ready: waiting for the first answer of 1 server\n";
    assert_eq!(asks("/readyz"), (503, waits.to_owned()));
    assert_eq!(asks("/livez").0, 200);
    assert_eq!(asks("/health").0, 200);
    desk.world.write("gate", "go\n");
    let begun = std::time::Instant::now();
    while asks("/readyz") != (200, "ready\n".to_owned()) {
        assert!(
            begun.elapsed() < crate::world::PATIENCE,
            "it is never ready"
        );
    }
}

#[test]
fn a_server_that_hangs_at_its_start_is_tried_when_its_time_is_up() {
    let world = large("", ", GATE = \"gate\"");
    world.edit(
        "countersign.toml",
        "env = {",
        "start_timeout = \"1s\"\nenv = {",
    );
    let made = std::process::Command::new("mkfifo")
        .arg(world.path("gate"))
        .status();
    assert!(made.unwrap().success());
    let desk = Desk::on(world);
    let mut talk = Talk::new(desk.address());
    let begun = std::time::Instant::now();
    while talk.send("GET", "/readyz", &[], "").status != 200 {
        assert!(
            begun.elapsed() < crate::world::PATIENCE,
            "it is never ready"
        );
    }
}
