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
