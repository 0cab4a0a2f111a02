//! Requests that something before us could take for another one, and the exact
//! answer to each. Every one carries a payment that is executed if it is read so.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const MODERN: [(&str, &str); 3] = [
    ("mcp-protocol-version", "2026-07-28"),
    ("mcp-method", "tools/call"),
    ("mcp-name", APPROVE),
];

fn pay() -> String {
    let pay = json!({"name": APPROVE, "arguments": payment(9_000)});
    request(7, "tools/call", &modern_params(pay))
}

/// The answer as a row of a table.
fn row(name: &str, answer: &Answer) -> String {
    format!("{name}: {}\n  {}\n", answer.status, answer.body)
}

#[test]
fn a_header_that_says_something_else_than_the_body_or_says_it_twice_is_refused() {
    let desk = Desk::new();
    let other = format!("=?base64?{}?=", STANDARD.encode(GET));
    let right = format!("=?base64?{}?=", STANDARD.encode(APPROVE));
    let list = format!("{GET}, {APPROVE}");
    let changed = |place: usize, value| {
        let mut headers = MODERN.to_vec();
        headers[place].1 = value;
        headers
    };
    let more = |name, value| [MODERN.as_slice(), &[(name, value)]].concat();
    let less = |place| {
        let mut headers = MODERN.to_vec();
        headers.remove(place);
        headers
    };
    let mut table = String::new();
    for (name, headers) in [
        ("another revision", changed(0, "2025-11-25")),
        ("no revision", less(0)),
        (
            "the revision twice",
            more("mcp-protocol-version", "2026-07-28"),
        ),
        ("another method", changed(1, "tools/list")),
        ("the method in capitals", changed(1, "TOOLS/CALL")),
        ("no method", less(1)),
        ("the method twice", more("mcp-method", "tools/call")),
        ("another method beside it", more("mcp-method", "ping")),
        ("another tool", changed(2, GET)),
        ("another tool in base64", changed(2, &other)),
        ("a list of tools", changed(2, &list)),
        ("no tool", less(2)),
        ("the tool twice", more("mcp-name", APPROVE)),
        ("the tool in base64 beside it", more("mcp-name", &right)),
        ("another tool beside it", more("mcp-name", GET)),
        ("base64 that is none", changed(2, "=?base64?*?=")),
        (
            "two sessions",
            [
                more("countersign-session", "a"),
                vec![("countersign-session", "b")],
            ]
            .concat(),
        ),
        (
            "the session twice",
            [
                more("countersign-session", "a"),
                vec![("countersign-session", "a")],
            ]
            .concat(),
        ),
        ("two keys", more("authorization", "Bearer csk_0")),
        ("compressed", more("content-encoding", "gzip")),
    ] {
        table.push_str(&row(name, &desk.talk().post_with("/mcp", &headers, &pay())));
    }
    insta::assert_snapshot!("hostile_headers", table);
    assert!(desk.world.paid().is_empty());
    let paid = desk.talk().post_with("/mcp", &changed(2, &right), &pay());
    assert!(said(&paid).starts_with("Paid"), "{paid:?}");
    assert_eq!(desk.world.paid(), [900_000]);
}

/// What is sent, with `HEAD` for a request line and all headers but those of its
/// length, and `PAY` for a whole request that pays.
#[rustfmt::skip]
fn frames() -> Vec<(&'static str, &'static str)> {
    vec![
        ("a length, and chunks with a request after them", "HEADcontent-length: LEN\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nPAY"),
        ("chunks, and a length with a request after them", "HEADtransfer-encoding: chunked\r\ncontent-length: LEN\r\n\r\n0\r\n\r\nPAY"),
        ("two lengths", "HEADcontent-length: 2\r\ncontent-length: LEN\r\n\r\n{}PAY"),
        ("a list of lengths", "HEADcontent-length: 2, 2\r\n\r\n{}PAY"),
        ("a length with a sign", "HEADcontent-length: +2\r\n\r\n{}PAY"),
        ("a length below nothing", "HEADcontent-length: -2\r\n\r\n{}PAY"),
        ("chunks that are not the last coding", "HEADtransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\nPAY"),
        ("a coding that is none", "HEADtransfer-encoding: xchunked\r\n\r\n0\r\n\r\nPAY"),
        ("a coding that is none, and a length", "HEADtransfer-encoding: identity\r\ncontent-length: 2\r\n\r\n{}PAY"),
        ("a chunk that is longer than it says", "HEADtransfer-encoding: chunked\r\n\r\n2\r\n{}PAY\r\n0\r\n\r\n"),
        ("a chunk whose length is no number", "HEADtransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\nPAY"),
        ("a chunk without end", "HEADtransfer-encoding: chunked\r\n\r\nffffffffffffffff1\r\n{}\r\n0\r\n\r\nPAY"),
        ("a body that is longer than it says", "HEADcontent-length: 2\r\n\r\n{}}}PAY"),
        ("a body that is shorter than it says", "HEADcontent-length: 9999\r\n\r\n{}"),
        ("a header over two lines", "HEADx-a: b\r\n content-length: 2\r\n\r\n{}PAY"),
        ("a space before the colon", "HEADcontent-length : 2\r\n\r\n{}PAY"),
        ("NUL in a header", "HEADx-a: \0\r\ncontent-length: 2\r\n\r\n{}PAY"),
        ("a bare carriage return in a header", "HEADx-a: b\rcontent-length: 9\r\ncontent-length: 2\r\n\r\n{}PAY"),
        ("a line that is no header", "HEADx-a\r\ncontent-length: 2\r\n\r\n{}PAY"),
        ("another host in the target", "POST http://evil.example/mcp HTTP/1.1\r\nHEADERScontent-length: 2\r\n\r\n{}"),
        ("a second host", "HEADhost: evil.example\r\ncontent-length: 2\r\n\r\n{}"),
        ("no version of HTTP", "POST /mcp\r\nHEADERScontent-length: 2\r\n\r\n{}PAY"),
        ("chunks in HTTP/1.0", "POST /mcp HTTP/1.0\r\nHEADERStransfer-encoding: chunked\r\n\r\n0\r\n\r\nPAY"),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nPAY"),
        ("another way to write the path", "POST /%6dcp HTTP/1.1\r\nHEADERScontent-length: 2\r\n\r\n{}"),
        ("a path with a way back", "POST /s/a/../../mcp HTTP/1.1\r\nHEADERScontent-length: 2\r\n\r\n{}"),
        ("a path with NUL", "POST /mcp%00 HTTP/1.1\r\nHEADERScontent-length: 2\r\n\r\n{}"),
    ]
}

#[test]
fn a_request_that_is_framed_in_two_ways_is_not_two_requests() {
    let desk = Desk::configured("body_timeout = \"300ms\"");
    let headers = |more: &[(&str, &str)]| {
        let (address, key) = (desk.broker.address(), &desk.key);
        let mut text = format!(
            "host: {address}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        );
        for (name, value) in more {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text
    };
    let body = pay();
    let paying = format!(
        "POST /mcp HTTP/1.1\r\n{}content-length: {}\r\n\r\n{body}",
        headers(&MODERN),
        body.len()
    );
    let mut table = String::new();
    for (name, frame) in frames() {
        let text = frame
            .replace("HEADERS", &headers(&[]))
            .replace("HEAD", &format!("POST /mcp HTTP/1.1\r\n{}", headers(&[])))
            .replace("LEN", &(5 + paying.len()).to_string())
            .replace("PAY", &paying);
        let mut talk = desk.talk();
        talk.raw(text.as_bytes());
        table.push_str(&format!("{name}\n"));
        while let Some(answer) = talk.next() {
            table.push_str(&format!("  {} {}\n", answer.status, answer.body));
            // Where the connection goes on, this is its end.
            let ends = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            talk.raw(ends.as_bytes());
        }
    }
    insta::assert_snapshot!("hostile_frames", table);
    // What follows a whole request on its connection is another one; nothing else is.
    assert!(desk.world.paid().is_empty());
}

#[test]
fn a_state_of_another_principal_opens_nothing() {
    let desk = Desk::new();
    let sams = format!("Bearer {}", desk.world.key("sam"));
    for key in [&desk.talk().always("authorization"), &sams] {
        let params =
            json!({"name": APPROVE, "arguments": payment(9_000), "requestState": "rs1.AAAA.AAAA"});
        let body = request(7, "tools/call", &modern_params(params));
        let talk = Talk::new(desk.broker.address());
        let answer = talk
            .with("authorization", key)
            .post_with("/mcp", &MODERN, &body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()["error"]["code"], -32602);
    }
    assert!(desk.world.paid().is_empty());
}
