//! What becomes of a call.

use super::*;

#[tokio::test]
async fn a_result_is_the_text_that_the_server_wrote() {
    let (link, mut peer) = legacy(1 << 16);
    let call = calls(&link);
    assert_eq!(
        peer.hears_text().await.unwrap(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{}}}"#
    );
    let odd = r#"{ "content":[{"type":"new kind","n":1e3}], "isError" : true,"x":"\u0041" }"#;
    peer.answers(1, odd).await;
    assert_eq!(call.await.unwrap(), result(odd));

    let call = calls(&link);
    let id = peer.asked("tools/call").await;
    peer.fails(id, r#"{"code": -32602,"message":"m","data":[1]}"#)
        .await;
    assert_eq!(
        call.await.unwrap(),
        Sent::Error {
            json: r#"{"code": -32602,"message":"m","data":[1]}"#.into()
        }
    );
}

#[tokio::test]
async fn absent_arguments_stay_absent() {
    let (link, mut peer) = legacy(1 << 16);
    let sender = Arc::clone(&link);
    let call = tokio::spawn(async move {
        let call = OutgoingCall {
            arguments: None,
            ..outgoing("pay")
        };
        let deadline = Instant::now() + Duration::from_secs(600);
        sender.call(permit(), &call, line(), deadline).await
    });
    assert_eq!(
        peer.hears_text().await.unwrap(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay"}}"#
    );
    peer.answers(1, "{}").await;
    assert_eq!(call.await.unwrap(), result("{}"));
}

#[tokio::test]
async fn of_a_modern_result_only_a_complete_one_passes() {
    for (json, passes) in [
        ("{}", true),
        (r#"{"resultType":"complete","content":[]}"#, true),
        (r#"{"resultType":"input_required"}"#, false),
        (
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}"#,
            false,
        ),
        (r#"{"resultType":"task","taskId":"1"}"#, false),
        (r#"{"resultType":"x\u0007"}"#, false),
        (r#"{"resultType":null}"#, false),
        (r#"{"resultType":["complete"]}"#, false),
    ] {
        let (link, mut peer) = modern();
        let call = calls(&link);
        let id = peer.asked("tools/call").await;
        peer.answers(id, json).await;
        match call.await.unwrap() {
            Sent::Result {
                json: text, era, ..
            } => {
                assert!(passes, "{json}");
                assert_eq!(&*text, json);
                assert_eq!(era, Era::Modern("2026-07-28".to_owned()));
            }
            Sent::Unbridged { why, .. } => {
                assert!(!passes, "{json}");
                let named = why.contains("of the type `") || why.contains("asks for more");
                assert!(named, "{why}");
            }
            other => panic!("{other:?}"),
        }
        let (link, mut peer) = legacy(1 << 16);
        let call = calls(&link);
        let id = peer.asked("tools/call").await;
        peer.answers(id, json).await;
        assert_eq!(call.await.unwrap(), result(json));
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_invalid_at_once() {
    for says in [
        r#""result":{},"error":{"code":1,"message":""}"#,
        r#""result":[]"#,
        r#""error":"no""#,
        r#""result":{"a":1,"a":2}"#,
    ] {
        let (link, mut peer) = legacy(1 << 16);
        let call = calls(&link);
        let id = peer.asked("tools/call").await;
        peer.says(&format!(r#"{{"jsonrpc":"2.0","id":{id},{says}}}"#))
            .await;
        let sent = call.await.unwrap();
        assert!(matches!(sent, Sent::Invalid { .. }), "{says}: {sent:?}");
    }
}

#[tokio::test]
async fn noise_between_call_and_answer_changes_nothing() {
    let (link, mut peer) = legacy(1 << 16);
    let call = calls(&link);
    let id = peer.asked("tools/call").await;
    for noise in [
        "",
        "   ",
        "Listening on port 8080",
        "{",
        r#"{"jsonrpc":"2.0","id":99,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"1","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1.0,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"x"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
    ] {
        peer.says(noise).await;
    }
    peer.says.write_all(b"\xff\xfe\n").await.unwrap();
    peer.answers(id, r#"{"first":1}"#).await;
    peer.answers(id, r#"{"second":1}"#).await;
    assert_eq!(call.await.unwrap(), result(r#"{"first":1}"#));

    let call = calls(&link);
    let id = peer.asked("tools/call").await;
    peer.answers(id, "{}").await;
    assert_eq!(call.await.unwrap(), result("{}"));
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let (link, mut peer) = legacy(1 << 16);
    let (one, two) = (calls(&link), calls(&link));
    let (first, second) = (
        peer.asked("tools/call").await,
        peer.asked("tools/call").await,
    );
    peer.says(&format!(r#"[{{"jsonrpc":"2.0","id":{second},"result":{{"n":2}}}},{{"jsonrpc":"2.0","id":{first},"result":{{"n":1}}}}]"#)).await;
    assert_eq!(one.await.unwrap(), result(r#"{"n":1}"#));
    assert_eq!(two.await.unwrap(), result(r#"{"n":2}"#));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_not_moved_by_progress_and_the_server_is_told() {
    let (link, mut peer) = legacy(1 << 16);
    let (progress, mut heard) = mpsc::channel(CallLine::ROOM);
    let line = CallLine {
        progress: Some(progress),
        ..line()
    };
    let call = calls_on(&link, line, Duration::from_secs(30));
    let id = peer.asked("tools/call").await;
    tokio::time::advance(Duration::from_secs(29)).await;
    peer.says(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id},"progress":1}}}}"#)).await;
    assert!(soon(heard.recv()).await.is_some());
    assert_eq!(call.await.unwrap(), Sent::TimedOut);
    let told = peer.hears().await;
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], id);
    // The late answer belongs to nobody, above all not to the next call.
    let next = calls(&link);
    let next_id = peer.asked("tools/call").await;
    peer.answers(id, r#"{"late":1}"#).await;
    peer.answers(next_id, "{}").await;
    assert_eq!(next.await.unwrap(), result("{}"));
}

#[tokio::test]
async fn a_cancelled_call_is_taken_back_from_the_server() {
    let (link, mut peer) = legacy(1 << 16);
    let line = line();
    let cancelled = line.cancelled.clone();
    let call = calls_on(&link, line, Duration::from_secs(600));
    let id = peer.asked("tools/call").await;
    cancelled.cancel();
    assert_eq!(call.await.unwrap(), Sent::Cancelled);
    let told = peer.hears().await;
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], id);
}

#[tokio::test]
async fn a_call_cancelled_in_the_queue_was_never_sent() {
    // The first call fills the pipe with its first bytes.
    let (link, mut peer) = legacy(8);
    let first = calls(&link);
    tokio::task::yield_now().await;
    let line = line();
    let cancelled = line.cancelled.clone();
    let second = calls_on(&link, line, Duration::from_secs(600));
    tokio::task::yield_now().await;
    cancelled.cancel();
    assert!(matches!(second.await.unwrap(), Sent::NotSent { .. }));
    let third = calls(&link);
    assert_eq!(peer.asked("tools/call").await, 1);
    assert_eq!(peer.asked("tools/call").await, 3);
    peer.answers(1, "{}").await;
    peer.answers(3, "{}").await;
    assert_eq!(first.await.unwrap(), result("{}"));
    assert_eq!(third.await.unwrap(), result("{}"));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_before_the_first_byte_and_after_it_are_two_things() {
    let (link, mut peer) = legacy(8);
    let begun = calls_on(&link, line(), Duration::from_secs(5));
    tokio::task::yield_now().await;
    let queued = calls_on(&link, line(), Duration::from_secs(5));
    assert!(matches!(queued.await.unwrap(), Sent::NotSent { .. }));
    assert_eq!(begun.await.unwrap(), Sent::TimedOut);
    // What was begun is written to its end: half a line would spoil the next.
    assert_eq!(peer.asked("tools/call").await, 1);
    assert_eq!(peer.hears().await["method"], "notifications/cancelled");
}

#[tokio::test]
async fn a_call_cancelled_before_it_began_is_not_sent() {
    let (link, mut peer) = legacy(1 << 16);
    let line = line();
    line.cancelled.cancel();
    let call = calls_on(&link, line, Duration::from_secs(600));
    assert!(matches!(call.await.unwrap(), Sent::NotSent { .. }));
    link.close_input();
    assert_eq!(peer.hears_text().await, None);
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_behind() {
    let (link, mut peer) = legacy(1 << 16);
    let call = calls(&link);
    let id = peer.asked("tools/call").await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    let told = peer.hears().await;
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], id);
    let next = calls(&link);
    let next_id = peer.asked("tools/call").await;
    peer.answers(id, "{}").await;
    peer.answers(next_id, r#"{"n":1}"#).await;
    assert_eq!(next.await.unwrap(), result(r#"{"n":1}"#));
}

#[tokio::test]
async fn a_server_that_ends_after_a_byte_was_written_loses_the_call() {
    let (link, mut peer) = legacy(1 << 16);
    let call = calls(&link);
    peer.asked("tools/call").await;
    let _tasks = peer.ends();
    let sent = call.await.unwrap();
    assert!(matches!(sent, Sent::Lost { .. }), "{sent:?}");
}

#[tokio::test]
async fn a_server_that_ends_before_a_byte_was_written_gets_no_call() {
    // One call is half written, one waits behind it.
    let (link, peer) = legacy(8);
    let begun = calls(&link);
    tokio::task::yield_now().await;
    let queued = calls(&link);
    tokio::task::yield_now().await;
    let _tasks = peer.ends();
    let (begun, queued) = (begun.await.unwrap(), queued.await.unwrap());
    assert!(matches!(begun, Sent::Lost { .. }), "{begun:?}");
    assert!(matches!(queued, Sent::NotSent { .. }), "{queued:?}");
    link.ended().await;
    let after = calls(&link).await.unwrap();
    assert!(matches!(after, Sent::NotSent { .. }), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_its_input_gets_no_call_and_its_last_answer_is_read() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (input, gone) = tokio::io::duplex(1 << 16);
    let (from, _) = tokio::io::split(ours);
    let (link, _tasks) = Link::open("claims".parse().unwrap(), MAX_LINE, from, input);
    link.settle(Era::Legacy("2025-11-25".to_owned()));
    let (mut hears, _) = tokio::io::split(gone);
    let (_, mut says) = tokio::io::split(theirs);
    let answered = calls(&link);
    let mut request = Lines::new(&mut hears, 1 << 20);
    request.next().await.unwrap().unwrap();
    let lost = calls(&link);
    request.next().await.unwrap().unwrap();
    drop(hears);
    // Both halves of the other direction must go for the pipe to break.
    let unsent = calls(&link);
    tokio::task::yield_now().await;
    says.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n")
        .await
        .unwrap();
    assert_eq!(answered.await.unwrap(), result("{}"));
    assert!(matches!(unsent.await.unwrap(), Sent::NotSent { .. }));
    assert!(matches!(lost.await.unwrap(), Sent::Lost { .. }));
}

#[tokio::test]
async fn a_line_that_is_too_long_ends_the_link_only_if_somebody_waits() {
    let long = format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, "x".repeat(TOO_LONG));
    let (link, mut peer) = legacy(1 << 16);
    peer.says(&long).await;
    peer.says(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#)
        .await;
    assert_eq!(peer.hears().await["id"], "p");
    assert!(!link.has_ended());

    let call = calls(&link);
    peer.asked("tools/call").await;
    peer.says(&long).await;
    let Sent::Lost { why } = call.await.unwrap() else {
        panic!("the call was not lost");
    };
    assert!(why.contains("more than 4096 bytes"), "{why}");
    link.ended().await;
}

#[tokio::test]
async fn a_server_may_ping_and_may_ask_for_nothing_else() {
    let (_link, mut peer) = legacy(1 << 16);
    peer.says(r#"{"jsonrpc":"2.0","id":"a\u0041","method":"ping"}"#)
        .await;
    assert_eq!(
        peer.hears_text().await.unwrap(),
        r#"{"jsonrpc":"2.0","id":"a\u0041","result":{}}"#
    );
    for method in [
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
        "tools/call",
        "no/such",
    ] {
        peer.says(&format!(
            r#"{{"jsonrpc":"2.0","id":5,"method":"{method}","params":{{}}}}"#
        ))
        .await;
        let refused = peer.hears().await;
        assert_eq!(refused["id"], 5);
        assert_eq!(refused["error"]["code"], -32601);
    }
}

#[tokio::test]
async fn a_modern_server_that_asks_is_not_answered() {
    let (link, mut peer) = modern();
    peer.says(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)
        .await;
    let call = calls(&link);
    let id = peer.asked("tools/call").await;
    peer.answers(id, "{}").await;
    assert!(matches!(call.await.unwrap(), Sent::Result { .. }));
}

#[tokio::test]
async fn a_server_that_asks_and_never_reads_gets_no_more_than_its_share_of_memory() {
    let (link, mut peer) = legacy(1 << 16);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    // More than the pipe and the waiting answers hold together.
    for _ in 0..4000 {
        peer.says(ping).await;
    }
    peer.says(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#)
        .await;
    soon(link.tools_changed()).await;
    link.close_input();
    let mut answered = 0;
    while peer.hears_text().await.is_some() {
        answered += 1;
    }
    assert!(answered < 2500, "{answered}");
}

#[tokio::test]
async fn progress_reaches_its_own_call_and_no_other() {
    let (link, mut peer) = legacy(1 << 16);
    let listened = |link| {
        let (progress, heard) = mpsc::channel(CallLine::ROOM);
        let line = CallLine {
            progress: Some(progress),
            ..line()
        };
        (calls_on(link, line, Duration::from_secs(600)), heard)
    };
    let (one, mut first) = listened(&link);
    let (two, mut second) = listened(&link);
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let request = peer.hears().await;
        assert_eq!(request["params"]["_meta"]["progressToken"], request["id"]);
        tokens.push(request["id"].as_u64().unwrap());
    }
    for (token, n) in [("\"1\"", 0), ("99", 0), ("2", 2), ("1", 1)] {
        peer.says(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress": {n}}}}}"#)).await;
    }
    for id in tokens {
        peer.answers(id, "{}").await;
    }
    assert_eq!(one.await.unwrap(), result("{}"));
    assert_eq!(two.await.unwrap(), result("{}"));
    assert_eq!(
        soon(first.recv()).await.as_deref(),
        Some(r#"{"progressToken":1,"progress": 1}"#)
    );
    assert_eq!(soon(first.recv()).await, None);
    assert_eq!(
        soon(second.recv()).await.as_deref(),
        Some(r#"{"progressToken":2,"progress": 2}"#)
    );
    assert_eq!(soon(second.recv()).await, None);
}

#[tokio::test]
async fn an_answer_to_a_call_that_was_not_written_yet_is_nobodys() {
    let (link, mut peer) = legacy(8);
    let begun = calls(&link);
    tokio::task::yield_now().await;
    let queued = calls(&link);
    tokio::task::yield_now().await;
    // The pipe holds eight bytes each way, so this waits for the reader.
    peer.answers(2, r#"{"guessed":1}"#).await;
    assert_eq!(peer.asked("tools/call").await, 1);
    assert_eq!(peer.asked("tools/call").await, 2);
    peer.answers(1, "{}").await;
    peer.answers(2, r#"{"real":1}"#).await;
    assert_eq!(begun.await.unwrap(), result("{}"));
    assert_eq!(queued.await.unwrap(), result(r#"{"real":1}"#));
}
