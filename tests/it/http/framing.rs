//! What HTTP itself says of a request: methods, media types, statuses, and the
//! header of the revision.

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");

fn code(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json()["error"]["code"].clone())
}

#[test]
fn what_a_client_cannot_read_is_not_sent() {
    let desk = Desk::new();
    let session = opened(&mut desk.talk(), "/mcp");
    let mut talk = desk.talk().with("mcp-session-id", &session);
    let pay = call(2, APPROVE, &payment(1));
    for accept in [
        "text/html",
        "application/json",
        "text/event-stream",
        "application/json, text/event-stream;q=0",
        "*/*;q=0",
        "",
    ] {
        let refused = talk.post_with("/mcp", &[("accept", accept)], &pay);
        assert_eq!(code(&refused), (406, json!(-32600)), "{accept}");
    }
    assert!(desk.world.paid().is_empty());
    for accept in [
        "*/*",
        "application/*, text/*;q=0.1",
        "text/event-stream, application/json;q=0.9",
    ] {
        let pinged = talk.post_with(
            "/mcp",
            &[("accept", accept)],
            &request(3, "ping", &json!({})),
        );
        assert_eq!(pinged.status, 200, "{accept}");
    }
    for path in ["/mcp", "/sse"] {
        let json = [("accept", "application/json")];
        assert_eq!(talk.send("GET", path, &json, "").status, 406, "{path}");
    }
}

#[test]
fn a_body_is_json_in_utf_8_as_it_stands() {
    let desk = Desk::new();
    let session = opened(&mut desk.talk(), "/mcp");
    let mut talk = desk.talk().with("mcp-session-id", &session);
    let ping = request(3, "ping", &json!({}));
    for media in [
        "application/json; charset=utf-8",
        "Application/JSON;charset=\"UTF-8\"",
    ] {
        let headers = [("content-type", media)];
        assert_eq!(talk.send("POST", "/mcp", &headers, &ping).status, 200);
    }
    for media in [
        "text/plain",
        "application/jsonl",
        "application/json; charset=utf-16",
        "",
    ] {
        let headers = [("content-type", media)];
        let refused = talk.send("POST", "/mcp", &headers, &ping);
        assert_eq!(code(&refused), (415, json!(-32600)), "{media}");
    }
    assert_eq!(talk.send("POST", "/mcp", &[], &ping).status, 415);
    let packed = [JSON, ("content-encoding", "gzip")];
    assert_eq!(talk.send("POST", "/mcp", &packed, &ping).status, 415);
}

#[test]
fn a_method_that_is_not_served_is_told_which_are() {
    let desk = Desk::new();
    let mut talk = desk.talk();
    for verb in ["PUT", "PATCH", "OPTIONS"] {
        let refused = talk.send(verb, "/mcp", &[], "");
        assert_eq!(refused.status, 405, "{verb}");
        assert_eq!(refused.header("allow"), Some("GET, POST, DELETE"));
    }
    let mut talk = desk.talk();
    talk.write("HEAD", "/mcp", &[], "");
    let (status, headers) = talk.head().unwrap();
    assert_eq!(status, 405);
    assert!(headers.contains(&("allow".to_owned(), "GET, POST, DELETE".to_owned())));
    let modern = [("mcp-protocol-version", "2026-07-28")];
    for verb in ["GET", "DELETE"] {
        // Whatever belongs to an older revision changes nothing.
        let headers = [modern[0], ("mcp-session-id", "1"), ("last-event-id", "1")];
        let refused = desk.talk().send(verb, "/mcp", &headers, "");
        assert_eq!(refused.header("allow"), Some("POST"));
        assert_eq!(refused.status, 405);
        assert_eq!(refused.header("mcp-session-id"), None);
    }
    let mut talk = desk.talk();
    assert_eq!(talk.send("POST", "/sse", &[JSON], "{}").status, 405);
    assert_eq!(talk.send("GET", "/messages", &[], "").status, 405);
}

#[test]
fn what_is_no_message_or_a_batch_is_refused_in_its_own_words() {
    let desk = Desk::new();
    let older = desk.talk().post("/mcp", &initialize("2025-03-26"));
    let older = older.header("mcp-session-id").unwrap().to_owned();
    let newer = opened(&mut desk.talk(), "/mcp");
    let ping = request(3, "ping", &json!({}));
    let version = ("mcp-protocol-version", "2026-07-28");
    for headers in [
        vec![],
        vec![version],
        vec![("mcp-session-id", &*older)],
        vec![("mcp-session-id", &*newer)],
    ] {
        let mut talk = desk.talk();
        for body in ["{", "", "[", "{\"a\":1}{}", "\u{feff}{}"] {
            let refused = talk.post_with("/mcp", &headers, body);
            assert_eq!(code(&refused), (400, json!(-32700)), "{headers:?} {body}");
        }
        for body in ["1", "\"a\"", "{}", "[]"] {
            let refused = talk.post_with("/mcp", &headers, body);
            assert_eq!(code(&refused), (400, json!(-32600)), "{headers:?} {body}");
        }
        let batch = talk.post_with("/mcp", &headers, &format!("[{ping}]"));
        let has_batches = headers.contains(&("mcp-session-id", &*older));
        match has_batches {
            true => assert_eq!(batch.events()[0]["id"], 3),
            false => assert_eq!(code(&batch), (400, json!(-32600)), "{headers:?}"),
        }
    }
}

#[test]
fn the_revision_is_the_one_that_the_session_agreed_on_or_the_header_is_wrong() {
    let desk = Desk::new();
    let session = opened(&mut desk.talk(), "/mcp");
    let mut talk = desk.talk().with("mcp-session-id", &session);
    let ping = request(3, "ping", &json!({}));
    assert_eq!(talk.post("/mcp", &ping).status, 200);
    for version in ["2025-11-25", "2025-06-18"] {
        let headers = [("mcp-protocol-version", version)];
        assert_eq!(talk.post_with("/mcp", &headers, &ping).status, 200);
    }
    for version in ["1999-01-01", "", "2025-11-25, 2025-11-25"] {
        let headers = [("mcp-protocol-version", version), ("accept", "*/*")];
        for verb in ["POST", "GET"] {
            let headers = [&headers[..], &[JSON]].concat();
            let refused = talk.send(verb, "/mcp", &headers, &ping);
            assert_eq!(code(&refused), (400, json!(-32600)), "{verb} {version:?}");
        }
    }
    let known = ("mcp-protocol-version", "2025-11-25");
    assert_eq!(talk.post_with("/mcp", &[known, known], &ping).status, 400);
    // Without a session nothing was agreed on.
    assert_eq!(desk.talk().post("/mcp", &ping).status, 400);
    // A revision that nobody knows is told which there are.
    let mut params = modern_params(json!({}));
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("1999-01-01");
    let headers = [
        ("mcp-protocol-version", "1999-01-01"),
        ("mcp-method", "tools/list"),
    ];
    let refused = desk
        .talk()
        .post_with("/mcp", &headers, &request(4, "tools/list", &params));
    assert_eq!(code(&refused), (400, json!(-32022)));
    let data = &refused.json()["error"]["data"];
    assert_eq!(data["requested"], "1999-01-01");
    assert_eq!(data["supported"].as_array().unwrap().len(), 5);
    // Methods of the older era are none of the newer one.
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "no/such",
    ] {
        let refused = modern(&mut desk.talk(), method, json!({}));
        assert_eq!(code(&refused), (404, json!(-32601)), "{method}");
        assert_eq!(refused.json()["id"], 7);
    }
}

#[test]
fn what_wants_no_answer_is_taken_in_and_a_request_is_taken_back_in_its_own_post() {
    let world = World::holding();
    let desk = Desk::on(world);
    let session = opened(&mut desk.talk(), "/s/claim-99/mcp");
    let talk = || desk.talk().with("mcp-session-id", &session);
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/no/such"}"#,
        r#"{"jsonrpc":"2.0","id":"nobody-asked","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":9,"error":{"code":1,"message":""}}"#,
    ] {
        let taken = talk().post("/mcp", body);
        assert_eq!((taken.status, &*taken.body), (202, ""), "{body}");
    }
    let mut paying = talk();
    paying.write("POST", "/mcp", &[JSON], &call(2, APPROVE, &payment(9_000)));
    desk.world.wait_until_paid(1);
    let back = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": 2}});
    let taken = talk().post("/mcp", &back.to_string());
    assert_eq!((taken.status, &*taken.body), (202, ""));
    // Nothing is due any more.
    let unanswered = paying.read();
    assert_eq!((unanswered.status, &*unanswered.body), (202, ""));
    std::fs::remove_file(desk.world.path("hold")).unwrap();
    desk.world.wait_until_closed();
}

#[test]
fn a_modern_request_says_what_its_client_can_and_need_not_say_who_it_is() {
    let desk = Desk::new();
    let mut talk = desk.talk();
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/list"),
    ];
    let version = "io.modelcontextprotocol/protocolVersion";
    let can = "io.modelcontextprotocol/clientCapabilities";
    for (meta, missing) in [
        (json!({ version: "2026-07-28" }), can),
        (json!({ can: {} }), version),
        (json!({}), version),
    ] {
        let body = request(7, "tools/list", &json!({ "_meta": meta }));
        let refused = talk.post_with("/mcp", &headers, &body);
        assert_eq!(code(&refused), (400, json!(-32602)), "{meta}");
        let said = refused.json()["error"]["message"].to_string();
        assert!(said.contains(missing), "{said}");
    }
    let body = request(7, "tools/list", &modern_params(json!({})));
    assert_eq!(talk.post_with("/mcp", &headers, &body).status, 200);
}
