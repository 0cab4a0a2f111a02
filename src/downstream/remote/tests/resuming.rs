//! The stream of a call that is lost before the answer, and taken up again.

use super::*;

/// What is said on a stream, and what with the call: which events a stream is taken up
/// after, the transport session that is named, and how often the call was sent.
fn streams(script: &Script) -> (Vec<(String, String)>, usize) {
    let all = script.asked("");
    let again = all.iter().filter(|asked| asked.verb == "GET");
    let again = again.filter_map(|asked| {
        let session = asked.header("mcp-session-id").unwrap_or_default();
        Some((
            asked.header("last-event-id")?.to_owned(),
            session.to_owned(),
        ))
    });
    (again.collect(), script.asked("tools/call").len())
}

fn progress(call: &Asked, done: u32) -> String {
    let id = &call.id;
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id},"progress":{done}}}}}"#
    )
}

#[tokio::test]
async fn a_stream_that_is_lost_in_the_middle_of_a_call_is_taken_up_after_its_last_event() {
    let script = Script::start(|asked, before| {
        let call = before.iter().find(|asked| asked.method == "tools/call");
        match (asked.verb.as_str(), asked.header("last-event-id"), call) {
            ("GET", Some("a2"), Some(call)) => {
                let said = progress(call, 2);
                Reply::Cut(format!("id: a3\ndata: {said}\n\nid: a4\ndata: {{\"json"))
            }
            ("GET", Some("a3"), Some(_)) if !before.iter().any(|a| a.header("last-event-id") == Some("a3")) => {
                Reply::Cut(": nothing yet\n\n".to_owned())
            }
            ("GET", Some("a3"), Some(call)) => {
                let id = &call.id;
                let said = progress(call, 3);
                let body = format!(
                    "id: a4\ndata: {said}\n\nid: a5\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{PAID}}}\n\n"
                );
                Reply::json(200, &body).with("Content-Type", "text/event-stream")
            }
            ("GET", ..) => Reply::json(405, ""),
            _ => legacy(asked, |call| {
                let said = progress(call, 1);
                Reply::Cut(format!("id: a1\nretry: 10\ndata:\n\nid: a2\ndata: {said}\n\n"))
            }),
        }
    })
    .await;
    let server = ready(&script).await;
    let (reports, mut reported) = mpsc::channel(8);
    let line = CallLine {
        progress: Some(reports),
        ..line()
    };
    let sent = pays(&server, line, Duration::from_secs(30)).await;
    assert!(is_paid(&sent), "{sent:?}");
    let mut heard = Vec::new();
    while let Some(params) = reported.recv().await {
        let params: serde_json::Value = serde_json::from_str(&params).unwrap();
        heard.push(params["progress"].as_u64());
    }
    assert_eq!(heard, [Some(1), Some(2), Some(3)]);
    let again = ["a2", "a3", "a3"].map(|id| (id.to_owned(), "one".to_owned()));
    assert_eq!(streams(&script), (again.to_vec(), 1));
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_lost_for_good_leaves_its_call_unknown_and_unsent_a_second_time() {
    // Without an id, with one that is not known any more, and of a server that loses it
    // again and again.
    let lost = |id: &'static str, again: Reply| async move {
        let script = Script::start(move |asked, _before| match asked.verb.as_str() {
            "GET" => match asked.header("last-event-id") {
                Some(_) => again.clone(),
                None => Reply::json(405, ""),
            },
            _ => legacy(asked, |_call| {
                Reply::Cut(format!("{id}retry: 1\ndata:\n\n"))
            }),
        })
        .await;
        let sent = paid(&script).await;
        assert!(matches!(sent, Sent::Lost { .. }), "{sent:?}");
        let (again, calls) = streams(&script);
        assert_eq!(calls, 1);
        again.len()
    };
    let cut = || Reply::Cut("id: a2\nretry: 1\ndata:\n\n".to_owned());
    assert_eq!(lost("", cut()).await, 0);
    assert_eq!(lost("id: a1\n", Reply::json(404, "")).await, 1);
    assert_eq!(lost("id: a1\n", cut()).await, 5);
}
