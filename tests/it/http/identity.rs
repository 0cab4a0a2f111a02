//! Who may call: whatever is wrong with a caller, the answer is that of the
//! unknown, and nothing is executed.

use super::*;

/// What alice would do, as somebody else tries it.
fn pay() -> String {
    call(2, APPROVE, &payment(9_000))
}

#[test]
fn a_key_is_needed_and_must_be_right_whole_and_alone() {
    let desk = Desk::new();
    let wrong = format!("{}0", desk.key);
    let almost = desk.key.strip_suffix(|_: char| true).unwrap();
    let basic = format!("Basic {}", desk.key);
    for credential in [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer csk_0"),
        Some(&*format!("Bearer {wrong}")),
        Some(&*format!("Bearer {almost}")),
        Some(&*basic),
    ] {
        let mut talk = Talk::new(desk.broker.address());
        if let Some(credential) = credential {
            talk = talk.with("authorization", credential);
        }
        let answer = talk.post("/mcp", &initialize("2025-11-25"));
        assert_eq!(answer.status, 401, "{credential:?}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(!answer.body.contains("csk_0"));
    }
    let mut twice = desk.talk().with("authorization", "Bearer csk_0");
    assert_eq!(twice.post("/mcp", &initialize("2025-11-25")).status, 401);
}

#[test]
fn a_key_that_is_revoked_in_the_middle_of_a_session_is_unknown_at_the_next_request() {
    let desk = Desk::new();
    let id = opened(&mut desk.talk(), "/mcp");
    let mut talk = desk.talk().with("mcp-session-id", &id);
    assert!(said(&talk.post("/mcp", &call(2, APPROVE, &payment(1)))).starts_with("Paid"));
    let unknown = Talk::new(desk.broker.address())
        .with("authorization", "Bearer csk_0")
        .post("/mcp", &pay());

    let (_, listed) = desk.world.run(&["key", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let key = listed["keys"][0]["id"].as_str().unwrap();
    let (revoked, said) = desk.world.run(&["key", "revoke", key]);
    assert!(revoked, "{said}");
    let answer = talk.post("/mcp", &pay());
    assert_eq!((answer.status, &answer.body), (401, &unknown.body));
    assert_eq!(desk.world.paid(), [100]);
    assert!(!desk.world.run(&["key", "revoke", key]).0);
}

#[test]
fn who_was_taken_out_of_the_principals_is_unknown_whatever_keys_are_left() {
    let desk = Desk::new();
    let id = opened(&mut desk.talk(), "/mcp");
    desk.world.edit(
        "principals.toml",
        "subject = \"alice\"",
        "subject = \"alicia\"",
    );
    desk.world.edit(
        "countersign.toml",
        "principal = \"alice\"",
        "principal = \"sam\"",
    );
    let desk = desk.restarted();
    let answer = desk.talk().with("mcp-session-id", &id).post("/mcp", &pay());
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(desk.world.paid().is_empty());
}

#[test]
fn a_transport_session_of_somebody_else_is_as_unknown_as_none() {
    let desk = Desk::new();
    let alices = opened(&mut desk.talk(), "/s/claim-99/mcp");
    let sams = format!("Bearer {}", desk.world.key("sam"));
    let tries = |id: &str| {
        let talk = Talk::new(desk.broker.address()).with("authorization", &sams);
        let mut talk = talk.with("mcp-session-id", id);
        let posted = talk.post("/mcp", &pay());
        let listened = talk.send("GET", "/mcp", &[("accept", "text/event-stream")], "");
        let ended = talk.send("DELETE", "/mcp", &[], "");
        [posted, listened, ended].map(|answer| (answer.status, answer.body))
    };
    let unknown = tries("0123456789abcdef0123456789abcdef");
    assert!(
        unknown.iter().all(|(status, _)| *status == 404),
        "{unknown:?}"
    );
    assert_eq!(tries(&alices), unknown);
    assert_eq!(tries("claim-99"), unknown);
    // Also when it is at hand no longer.
    let desk = desk.restarted();
    let talk = Talk::new(desk.broker.address()).with("authorization", &sams);
    let answer = talk.with("mcp-session-id", &alices).post("/mcp", &pay());
    assert_eq!((answer.status, answer.body), unknown[0]);
    assert!(desk.world.paid().is_empty());
}

#[test]
fn a_guessed_handle_is_a_session_of_ones_own() {
    let desk = Desk::new();
    let alices = opened(&mut desk.talk(), "/s/claim-99/mcp");
    let mut talk = desk.talk().with("mcp-session-id", &alices);
    for _ in 0..2 {
        assert!(said(&talk.post("/mcp", &call(2, APPROVE, &payment(9_999)))).starts_with("Paid"));
    }
    // Sam writes the same handle: alice's totals are not his, nor his hers.
    let sams = format!("Bearer {}", desk.world.key("sam"));
    let mut talk = Talk::new(desk.broker.address()).with("authorization", &sams);
    let id = opened(&mut talk, "/s/claim-99/mcp");
    let mut talk = talk.with("mcp-session-id", &id);
    assert!(said(&talk.post("/mcp", &call(2, APPROVE, &payment(9_999)))).starts_with("Paid"));
    // By its id alice's session is as unknown to him as one that is not there.
    let (_, listed) = desk.world.run(&["session", "list", "--owner", "alice"]);
    let session = listed
        .split_whitespace()
        .find(|word| word.len() == 36)
        .unwrap();
    let unknown = "00000000-0000-4000-8000-000000000000";
    let [theirs, nobodys] = [session, unknown].map(|named| {
        let named = [("countersign-session", named)];
        let body = call(3, GET, &json!({"claim_id": "1"}));
        let answer = talk.post_with("/mcp", &named, &body);
        (answer.status, answer.body.replace(named[0].1, "ID"))
    });
    assert_eq!(theirs, nobodys);
    assert_eq!(desk.world.paid().len(), 3);
}

/// A guest names a session with its owner, in the path as in the header.
#[test]
fn a_guest_is_in_the_session_of_the_path_and_whatever_is_not_shared_is_unknown() {
    let world = World::new();
    world.write(
        "policies/share.cedar",
        "@id(\"share\") permit (principal, action == Broker::Action::\"session/join\", resource)\n\
        when { principal in Broker::Role::\"Manager\" && context.handles.contains(\"claim-99\") };",
    );
    let desk = Desk::on(world);
    for handle in ["claim-99", "own"] {
        let id = opened(&mut desk.talk(), &format!("/s/{handle}/mcp"));
        let mut talk = desk.talk().with("mcp-session-id", &id);
        said(&talk.post("/mcp", &call(2, GET, &json!({"claim_id": "1"}))));
    }
    let key = |who: &str| format!("Bearer {}", desk.world.key(who));
    let (mia, sam) = (key("mia"), key("sam"));
    let reads = |key: &str, path: &str, header: Option<&str>| {
        let mut talk = Talk::new(desk.broker.address()).with("authorization", key);
        let mut headers = vec![
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", GET),
        ];
        headers.extend(header.map(|named| ("countersign-session", named)));
        let params = json!({"name": GET, "arguments": {"claim_id": "1"}});
        let body = request(7, "tools/call", &modern_params(params));
        talk.post_with(path, &headers, &body)
    };
    let both = Some("alice/claim-99");
    for (path, header) in [
        ("/s/alice/claim-99/mcp", None),
        ("/s/alice/claim-99/mcp", both),
        ("/s/alice%2fclaim-99/mcp", both),
        ("/s/local%7Calice/claim-99/mcp", None),
        ("/mcp", both),
    ] {
        let answer = reads(&mia, path, header);
        assert!(said(&answer).starts_with("Claim 1"), "{path}: {answer:?}");
    }
    let answer = reads(&mia, "/s/alice/claim-99/mcp", Some("claim-99"));
    assert_eq!(answer.status, 400, "{answer:?}");
    let (_, listed) = desk.world.run(&["session", "list", "--owner", "mia"]);
    assert!(listed.contains("no sessions of mia"), "{listed}");

    let unknown = |key: &str, named: &str| {
        let answer = reads(key, &format!("/s/{named}/mcp"), None);
        (answer.status, answer.body.replace(named, "NAMED"))
    };
    let none = unknown(&mia, "alice/nosuch");
    for (key, named) in [
        (&mia, "alice/own"),
        (&mia, "nobody/claim-99"),
        (&sam, "alice/claim-99"),
        (&sam, "alice/nosuch"),
    ] {
        assert_eq!(unknown(key, named), none, "{named}");
    }
    let calls = desk.world.run(&["journal", "tail", "--json"]).1;
    assert_eq!(calls.matches("\"principal\":\"mia\"").count(), 5, "{calls}");
    assert_eq!(calls.matches("\"principal\":\"sam\"").count(), 0, "{calls}");
}

#[test]
fn a_wrong_host_alone_and_a_wrong_origin_alone_are_each_refused() {
    let desk =
        Desk::configured("origins = [\"https://app.example\"]\nhosts = [\"broker.example\"]");
    let id = opened(&mut desk.talk(), "/mcp");
    let talk = || desk.talk().with("mcp-session-id", &id);
    for host in [
        "evil.example",
        "evil.example:7420",
        "localhost.evil.example",
        "[::1].evil.example",
        "127.0.0.1:80:80",
        "localhost:evil",
        "",
    ] {
        let answer = talk().under(host).post("/mcp", &pay());
        assert!([400, 403].contains(&answer.status), "{host}: {answer:?}");
        let answer = talk().under(host).send("GET", "/health", &[], "");
        assert!([400, 403].contains(&answer.status), "{host}: {answer:?}");
    }
    let address = desk.broker.address();
    for origin in [
        "http://evil.example",
        "null",
        "https://app.example.evil",
        "http://localhost:1",
        &format!("https://{address}"),
    ] {
        let answer = talk().post_with("/mcp", &[("origin", origin)], &pay());
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert!(desk.world.paid().is_empty());
    for (host, origin) in [
        ("localhost:1", None),
        ("[::1]", None),
        ("BROKER.example:80", None),
        (address, Some(format!("http://{address}"))),
        (address, Some("https://app.example".to_owned())),
    ] {
        let mut talk = talk().under(host);
        if let Some(origin) = &origin {
            talk = talk.with("origin", origin);
        }
        let answer = talk.post("/mcp", &request(4, "ping", &json!({})));
        assert_eq!(answer.status, 200, "{host} {origin:?}: {answer:?}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            origin.as_deref()
        );
    }
}

#[test]
fn a_page_of_a_configured_origin_is_told_what_it_may_send_and_read() {
    let desk = Desk::configured("origins = [\"https://app.example\"]");
    let mut talk = Talk::new(desk.broker.address());
    let asks = |origin| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ]
    };
    let told = talk.send("OPTIONS", "/mcp", &asks("https://app.example"), "");
    assert_eq!(told.status, 204, "{told:?}");
    assert_eq!(
        told.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    let sent = told.header("access-control-allow-headers").unwrap();
    for name in [
        "authorization",
        "mcp-session-id",
        "mcp-protocol-version",
        "mcp-method",
    ] {
        assert!(sent.contains(name), "{sent}");
    }
    let read = told.header("access-control-expose-headers").unwrap();
    assert!(read.contains("mcp-session-id"), "{read}");
    assert_eq!(
        talk.send("OPTIONS", "/mcp", &asks("https://evil.example"), "")
            .status,
        403
    );
}

#[test]
fn nobody_is_let_in_by_mistake() {
    let world = World::new();
    let (started, said) = world.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(!started && said.contains("countersign key new"), "{said}");
    world.append("countersign.toml", "\n[http]\nanonymous = \"alice\"\n");
    let (started, said) = world.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(!started && said.contains("http.anonymous"), "{said}");
    world.edit(
        "countersign.toml",
        "anonymous = \"alice\"",
        "anonymous = \"eve\"",
    );
    let (started, said) = world.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(!started && said.contains("`eve` is not in"), "{said}");
    world.edit(
        "countersign.toml",
        "anonymous = \"eve\"",
        "anonymous = \"alice\"",
    );
    let broker = world.serve();
    let mut talk = Talk::new(broker.address());
    assert_eq!(talk.post("/mcp", &initialize("2025-11-25")).status, 200);
    // A key that is wrong is wrong, also where none is needed.
    let mut talk = Talk::new(broker.address()).with("authorization", "Bearer csk_0");
    assert_eq!(talk.post("/mcp", &initialize("2025-11-25")).status, 401);
}
