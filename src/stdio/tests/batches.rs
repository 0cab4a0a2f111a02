//! Several messages in one line, which one revision has.

use super::*;

async fn opened(world: &World, revision: &str) -> Client {
    let mut client = Client::new(world);
    let params = format!(r#""protocolVersion":"{revision}","capabilities":{{}}"#);
    let opened = client.ask(&legacy("0", "initialize", &params)).await;
    assert!(
        opened.contains(&format!(r#""protocolVersion":"{revision}""#)),
        "{opened}"
    );
    client
}

const OLD: &str = "2025-03-26";

#[tokio::test]
async fn each_message_of_a_batch_is_answered_as_if_it_came_alone() {
    let world = World::new().await;
    let messages = [
        legacy(
            "2",
            "tools/call",
            r#""name":"play__echo","arguments":{"a": 1}"#,
        ),
        legacy("\"p\"", "ping", ""),
        legacy("4", "tools/call", r#""name":"nothing""#),
        legacy("5", "no/such", ""),
        "7".to_owned(),
    ];
    let mut alone = opened(&world, OLD).await;
    let mut expected = Vec::new();
    for message in &messages {
        expected.push(without_reference(&alone.ask(message).await));
    }
    alone.end().await;
    let mut client = opened(&world, OLD).await;
    let batch = format!(" [{}, {INITIALIZED}]", messages.join(","));
    client.say(&batch).await;
    let mut heard = Vec::new();
    for _ in &messages {
        heard.push(without_reference(&client.hear().await));
    }
    expected.sort_unstable();
    heard.sort_unstable();
    assert_eq!(heard, expected);
    assert!(heard.contains(&r#"{"jsonrpc":"2.0","id":"p","result":{}}"#.to_owned()));
    // What wants no answer has none.
    client
        .say(&format!("[{INITIALIZED},{}]", cancel("9")))
        .await;
    let pong = client.ask(&legacy("10", "ping", "")).await;
    assert_eq!(pong, r#"{"jsonrpc":"2.0","id":10,"result":{}}"#);
    assert_eq!(client.end().await, Vec::<String>::new());
}

/// Each call has an id of its own.
fn without_reference(answer: &str) -> String {
    match answer.split_once("Reference: ") {
        Some((before, after)) => {
            let rest = after.split_once('"').map_or("", |(_id, rest)| rest);
            format!("{before}\"{rest}")
        }
        None => answer.to_owned(),
    }
}

#[tokio::test]
async fn what_is_no_batch_is_refused_once_and_nothing_of_it_is_done() {
    let world = World::new().await;
    let mut client = opened(&world, OLD).await;
    let pay = legacy("2", "tools/call", r#""name":"play__echo","arguments":{}"#);
    let many = format!("[{}]", vec![&*pay; 101].join(","));
    let refused = |code: i32, message: &str| {
        format!(r#"{{"jsonrpc":"2.0","error":{{"code":{code},"message":"{message}"}}}}"#)
    };
    for line in ["[]", " [ ] ", &many] {
        let expected = refused(-32600, "a batch has 1 to 100 messages");
        assert_eq!(client.ask(line).await, expected, "{line}");
    }
    let cut = client.ask(&format!("[{pay}")).await;
    assert!(
        cut.starts_with(r#"{"jsonrpc":"2.0","error":{"code":-32700,"#),
        "{cut}"
    );
    assert_eq!(client.end().await, Vec::<String>::new());
    for newer in ["2025-06-18", "2025-11-25", "2024-11-05"] {
        let mut client = opened(&world, newer).await;
        let expected = refused(
            -32600,
            "batches are not served: send each message by itself",
        );
        assert_eq!(client.ask(&format!("[{pay}]")).await, expected);
        assert_eq!(client.end().await, Vec::<String>::new());
    }
    assert!(world.calls().is_empty());
}
