//! That a call is sent once, whatever the server says of it.

use super::*;

#[tokio::test]
async fn a_redirect_within_the_server_is_followed_at_the_opening_and_calls_go_there() {
    for status in [307, 308] {
        let script = Script::start(move |asked, _| match asked.path.as_str() {
            "/mcp" => Reply::json(status, "").with("Location", "/new"),
            _ => modern(asked, |asked| Reply::result(asked, PAID)),
        })
        .await;
        let sent = paid(&script).await;
        assert!(is_paid(&sent), "{sent:?}");
        let calls = script.asked("tools/call");
        let paths: Vec<&str> = calls.iter().map(|asked| &*asked.path).collect();
        assert_eq!(paths, ["/new"], "{status}");
    }
}

#[tokio::test]
async fn a_call_that_is_redirected_is_not_repeated_and_the_next_one_goes_there() {
    // The server moves between the opening and the first call.
    let script = Script::start(|asked, before| {
        let moved = before.iter().any(|asked| asked.method == "tools/call");
        match (asked.path.as_str(), asked.method.as_str()) {
            ("/mcp", "tools/call") => Reply::json(307, "").with("Location", "/new"),
            ("/mcp", _) if moved => Reply::json(307, "").with("Location", "/new"),
            _ => modern(asked, |asked| Reply::result(asked, PAID)),
        }
    })
    .await;
    let server = ready(&script).await;
    let sent = pays(&server, line(), Duration::from_secs(30)).await;
    assert!(
        matches!(&sent, Sent::NotSent { why } if why.contains("307")),
        "{sent:?}"
    );
    assert_eq!(script.asked("tools/call").len(), 1);
    let sent = pays(&server, line(), Duration::from_secs(30)).await;
    assert!(is_paid(&sent), "{sent:?}");
    let calls = script.asked("tools/call");
    let paths: Vec<&str> = calls.iter().map(|asked| &*asked.path).collect();
    assert_eq!(paths, ["/mcp", "/new"]);
    server.stop().await;
}

#[tokio::test]
async fn a_lost_transport_session_is_opened_anew_once_for_all_calls() {
    // Every call in the first session meets a server that has forgotten it.
    let script = Script::start(|asked, before| {
        let opened = before.iter().filter(|a| a.method == "initialize").count();
        match asked.method.as_str() {
            "initialize" => legacy(asked, |_| Reply::Close)
                .with("Mcp-Session-Id", ["one", "two"][opened.min(1)]),
            "tools/call" if asked.header("mcp-session-id") == Some("one") => Reply::json(404, ""),
            _ => legacy(asked, |asked| Reply::result(asked, PAID)),
        }
    })
    .await;
    let server = ready(&script).await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let server = server.clone();
        all.spawn(async move { pays(&server, line(), Duration::from_secs(30)).await });
    }
    for sent in all.join_all().await {
        assert!(is_paid(&sent), "{sent:?}");
    }
    assert_eq!(script.asked("initialize").len(), 2);
    let taken_in = script.asked("tools/call");
    let taken_in = taken_in
        .iter()
        .filter(|a| a.header("mcp-session-id") == Some("two"));
    assert_eq!(taken_in.count(), 8);
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_is_answered_with_404_is_not_sent_again_and_the_next_session_is_opened() {
    let error = r#""error":{"code":-32001,"message":"no such session"}"#;
    let result = format!(r#""result":{PAID}"#);
    for (told, is_answered) in [(error, true), (&result, true), (error, false)] {
        let told = told.to_owned();
        let script = Script::start(move |asked, before| {
            let opened = before.iter().filter(|a| a.method == "initialize").count();
            let is_lost = asked.header("mcp-session-id") == Some("one");
            let has_called = before.iter().any(|asked| asked.method == "tools/call");
            match asked.method.as_str() {
                "initialize" => legacy(asked, |_| Reply::Close)
                    .with("Mcp-Session-Id", ["one", "two"][opened.min(1)]),
                "tools/call" if is_lost => {
                    let id = if is_answered { &*asked.id } else { "null" };
                    Reply::json(404, &format!(r#"{{"jsonrpc":"2.0","id":{id},{told}}}"#))
                }
                _ if is_lost && has_called => Reply::json(404, ""),
                _ => legacy(asked, |asked| Reply::result(asked, PAID)),
            }
        })
        .await;
        let server = ready(&script).await;
        let sent = pays(&server, line(), Duration::from_secs(30)).await;
        let calls = script.asked("tools/call").len();
        match (is_answered, is_paid(&sent)) {
            (true, true) | (false, true) => {}
            (true, false) => assert!(matches!(sent, Sent::Error { .. }), "{sent:?}"),
            (false, false) => panic!("{sent:?}"),
        }
        assert_eq!(calls, if is_answered { 1 } else { 2 });
        // The session is opened anew, however it was said that it is lost.
        let sent = pays(&server, line(), Duration::from_secs(30)).await;
        assert!(is_paid(&sent), "{sent:?}");
        let last = script.asked("tools/call").pop().unwrap();
        assert_eq!(last.header("mcp-session-id"), Some("two"));
        server.stop().await;
    }
}

/// How a call ends that is answered with this status, this type and this body, in which
/// `ID` is the id of the call, and is sent on to there.
async fn redirected((status, location): (u16, &'static str), (media, body): (&str, &str)) -> Sent {
    let (media, body) = (media.to_owned(), body.to_owned());
    let script = Script::start(move |asked, _| {
        modern(asked, |asked| {
            let body = body.replace("ID", &asked.id);
            let reply = Reply::json(status, &body).with("Location", location);
            reply.with("Content-Type", &media)
        })
    })
    .await;
    let sent = paid(&script).await;
    assert_eq!(script.asked("tools/call").len(), 1);
    sent
}

#[tokio::test]
async fn a_redirect_that_brings_an_answer_is_never_called_not_sent() {
    let json = "application/json";
    let answer = format!(r#"{{"jsonrpc":"2.0","id":ID,"result":{PAID}}}"#);
    let events = format!("data: {answer}\n\n");
    for location in ["/elsewhere", "http://other.example/mcp"] {
        for status in [301, 302, 303, 307, 308] {
            let to = (status, location);
            for said in [(json, &*answer), ("text/event-stream", &*events)] {
                let sent = redirected(to, said).await;
                assert!(is_paid(&sent), "{to:?}: {sent:?}");
            }
            let twice = answer.replace(r#""id":ID"#, r#""id":ID,"id":ID"#);
            for said in [(json, &*twice), ("text/event-stream", "")] {
                let sent = redirected(to, said).await;
                assert!(matches!(sent, Sent::Lost { .. }), "{to:?}: {sent:?}");
            }
        }
        // What says nothing of the call is what HTTP says of such a status.
        for status in [307, 308] {
            let to = (status, location);
            for said in [
                (json, ""),
                (json, r#"{"detail":"moved"}"#),
                ("text/html", "<html>308 Permanent Redirect</html>"),
            ] {
                let sent = redirected(to, said).await;
                assert!(matches!(sent, Sent::NotSent { .. }), "{to:?}: {sent:?}");
            }
        }
    }
}
