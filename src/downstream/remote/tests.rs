//! What is said to a server over HTTP, and what may be said of how it went. The
//! server is a script: it answers each request as the test says.

mod asking;
mod following;
mod once;
mod resuming;
mod script;

use super::Remote;
use super::Transport;
use crate::downstream::CallLine;
use crate::downstream::Downstream;
use crate::downstream::Era;
use crate::downstream::OutgoingCall;
use crate::downstream::Place;
use crate::downstream::Sent;
use crate::downstream::Settings;
use crate::downstream::State;
use crate::permit::testing::countersigned;
use crate::pins;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::Mirrored;
use script::Asked;
use script::Reply;
use script::Script;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const TOOLS: &str = r#"{"tools":[{"name":"pay","inputSchema":{}}]}"#;
const PAID: &str = r#"{"content":[{"type":"text","text":"paid"}]}"#;

/// A server of 2025-11-25 that gives its answers to calls by `call`.
fn legacy(asked: &Asked, call: impl Fn(&Asked) -> Reply) -> Reply {
    match asked.method.as_str() {
        "server/discover" => Reply::json(400, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no session"}}"#),
        "initialize" => Reply::result(
            asked,
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}"#,
        )
        .with("Mcp-Session-Id", "one"),
        "tools/list" => Reply::result(asked, TOOLS),
        "tools/call" => call(asked),
        _ => Reply::json(202, ""),
    }
}

/// The same of 2026-07-28.
fn modern(asked: &Asked, call: impl Fn(&Asked) -> Reply) -> Reply {
    match asked.method.as_str() {
        "server/discover" => Reply::result(
            asked,
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#,
        ),
        "tools/list" => Reply::result(asked, TOOLS),
        "tools/call" => call(asked),
        _ => Reply::json(404, ""),
    }
}

fn settings(url: &str, headers: &[(&str, &str)], transport: Transport) -> Settings {
    let headers: BTreeMap<String, String> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Settings {
        name: "there".parse().unwrap(),
        place: Place::Remote(Remote::new(url, &headers, transport).unwrap()),
        timeout: Duration::from_secs(60),
        start_timeout: Duration::from_secs(20),
        max_message: 100_000,
        declared: None,
        spread: crate::downstream::Spread::default(),
        instances: crate::downstream::Instances::default(),
        keeper: None,
    }
}

/// A server that is ready.
async fn ready(script: &Script) -> Downstream {
    let settings = settings(&script.url("/mcp"), &[("X-Key", "k")], Transport::Either);
    let (news, _unheard) = mpsc::unbounded_channel();
    let server = Downstream::start(settings, news);
    server.settled().await;
    assert!(server.state().is_ready(), "{:?}", server.state());
    server
}

fn line() -> CallLine {
    CallLine::silent()
}

async fn pays(server: &Downstream, line: CallLine, deadline: Duration) -> Sent {
    let entry = r#"{"name":"pay","inputSchema":{}}"#;
    let definition = pins::definition(&"there".parse().unwrap(), entry).unwrap();
    let call = OutgoingCall {
        asking: Asking::Tool,
        pinned: "pay".into(),
        rest: Vec::new(),
        answers: None,
        task: None,
        caller: crate::principal::PrincipalId::parse("alice").unwrap(),
        session: crate::session::SessionId::from_bytes([0; 16]),
        task_of: None,
        declared: Arc::default(),
        log: None,
        name: "pay".into(),
        definition: definition.digest,
        mirrored: Arc::default(),
        arguments: Some(r#"{ "amount" : 1e3 }"#.into()),
        meta: None,
        deadline: Some(deadline),
    };
    let permit = countersigned(CallId::from_bytes([7; 16]));
    server.call(permit, call, line).await
}

#[tokio::test]
async fn what_a_modern_server_wants_repeated_in_headers_is_and_a_tool_with_a_bad_wish_is_not_offered()
 {
    let tools = r#"{"tools":[
        {"name":"pay","inputSchema":{"properties":{"amount":{"type":"integer","x-mcp-header":"Amount"}}}},
        {"name":"bad","inputSchema":{"properties":{"amount":{"type":"number","x-mcp-header":"Amount"}}}}
    ]}"#;
    let script = Script::start(move |asked, _before| match asked.method.as_str() {
        "tools/list" => Reply::result(asked, tools),
        _ => modern(asked, |asked| Reply::result(asked, PAID)),
    })
    .await;
    let settings = settings(&script.url("/mcp"), &[], Transport::Either);
    let (news, mut told) = mpsc::unbounded_channel();
    let server = Downstream::start(settings, news);
    server.settled().await;
    let Some(crate::downstream::News::Tools {
        definitions,
        refused,
        ..
    }) = told.recv().await
    else {
        panic!("no list");
    };
    assert_eq!(definitions.len(), 1);
    assert!(
        refused[0].starts_with("`bad`: `x-mcp-header` may only"),
        "{refused:?}"
    );
    let call = OutgoingCall {
        asking: Asking::Tool,
        pinned: "pay".into(),
        rest: Vec::new(),
        answers: None,
        task: None,
        caller: crate::principal::PrincipalId::parse("alice").unwrap(),
        session: crate::session::SessionId::from_bytes([0; 16]),
        task_of: None,
        declared: Arc::default(),
        log: None,
        name: "pay".into(),
        definition: definitions[0].digest,
        mirrored: Mirrored::of(&definitions[0].input_schema).unwrap().into(),
        arguments: Some(r#"{ "amount" : 1e3 }"#.into()),
        meta: None,
        deadline: Some(Duration::from_secs(30)),
    };
    let permit = countersigned(CallId::from_bytes([7; 16]));
    let sent = server.call(permit, call, line()).await;
    assert!(matches!(sent, Sent::Result { .. }), "{sent:?}");
    let asked = script.asked("tools/call");
    assert_eq!(asked[0].header("mcp-param-amount"), Some("1000"));
    server.stop().await;
}

/// How a call ends that nothing hurries.
async fn paid(script: &Script) -> Sent {
    let server = ready(script).await;
    let sent = pays(&server, line(), Duration::from_secs(30)).await;
    server.stop().await;
    sent
}

fn is_paid(sent: &Sent) -> bool {
    matches!(sent, Sent::Result { json, .. } if &**json == PAID)
}

#[tokio::test]
async fn a_modern_server_gets_headers_that_say_what_the_body_says() {
    let script = Script::start(|asked, _| modern(asked, |asked| Reply::result(asked, PAID))).await;
    let sent = paid(&script).await;
    assert!(is_paid(&sent), "{sent:?}");
    let Sent::Result { era, .. } = sent else {
        panic!("no result");
    };
    assert_eq!(era, Era::Modern("2026-07-28".to_owned()));
    let call = script.asked("tools/call").pop().unwrap();
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "pay"),
        ("x-key", "k"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(call.header(name), Some(value), "{name}");
    }
    assert!(call.body.contains(r#""arguments":{ "amount" : 1e3 }"#));
    assert_eq!(call.header("mcp-session-id"), None);
}

#[tokio::test]
async fn a_legacy_server_gets_its_session_and_the_agreed_revision() {
    let script = Script::start(|asked, _| legacy(asked, |asked| Reply::result(asked, PAID))).await;
    let sent = paid(&script).await;
    assert!(is_paid(&sent), "{sent:?}");
    let call = script.asked("tools/call").pop().unwrap();
    assert_eq!(call.header("mcp-session-id"), Some("one"));
    assert_eq!(call.header("mcp-protocol-version"), Some("2025-11-25"));
    assert_eq!(call.header("mcp-method"), None);
    assert_eq!(script.asked("notifications/initialized").len(), 1);
}

#[tokio::test]
async fn an_answer_may_come_as_a_stream_with_progress_before_it() {
    let script = Script::start(|asked, _| {
        legacy(asked, |asked| {
            let progress = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{},"progress":1}}}}"#,
                asked.id
            );
            let other = progress.replace(&format!("\"progressToken\":{}", asked.id), "\"progressToken\":99");
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{PAID}}}"#, asked.id);
            Reply::events(&[&progress, &other, &answer])
        })
    })
    .await;
    let server = ready(&script).await;
    let (progress, mut reported) = mpsc::channel(CallLine::ROOM);
    let line = CallLine {
        progress: Some(progress),
        ..line()
    };
    let sent = pays(&server, line, Duration::from_secs(30)).await;
    assert!(is_paid(&sent), "{sent:?}");
    assert!(reported.recv().await.unwrap().contains("\"progress\":1"));
    assert_eq!(reported.recv().await, None);
}

/// How a call ends where the server answers it so.
async fn ends(reply: Reply) -> Sent {
    let script = Script::start(move |asked, _| modern(asked, |_| reply.clone())).await;
    paid(&script).await
}

#[tokio::test]
async fn what_was_refused_before_any_effect_was_not_sent() {
    for status in [401, 403, 404, 405, 406, 411, 413, 415, 421, 426, 429, 431] {
        let sent = ends(Reply::json(status, "no")).await;
        assert!(
            matches!(&sent, Sent::NotSent { why } if why.contains(&status.to_string())),
            "{status}: {sent:?}"
        );
    }
    let sent = ends(Reply::json(401, "no")).await;
    assert!(matches!(&sent, Sent::NotSent { why } if why.contains("credentials")));
    let sent = ends(Reply::json(307, "").with("Location", "http://other.example/mcp")).await;
    assert!(matches!(&sent, Sent::NotSent { why } if why.contains("not followed")));
}

#[tokio::test]
async fn what_may_have_been_taken_in_is_never_called_not_sent() {
    for status in [408, 409, 422, 500, 502, 503, 504] {
        let sent = ends(Reply::json(status, "oops")).await;
        assert!(matches!(sent, Sent::Lost { .. }), "{status}: {sent:?}");
    }
    // "See other" is how some servers answer a form that they have taken in.
    for status in [301, 302, 303] {
        let sent = ends(Reply::json(status, "").with("Location", "/done")).await;
        assert!(matches!(sent, Sent::Lost { .. }), "{status}: {sent:?}");
    }
    let sent = ends(Reply::Close).await;
    assert!(matches!(sent, Sent::Lost { .. }), "{sent:?}");
    let sent = ends(Reply::events(&[])).await;
    assert!(matches!(sent, Sent::Lost { .. }), "{sent:?}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_invalid() {
    let other = r#"{"jsonrpc":"2.0","id":9999,"result":{}}"#;
    let twice = r#"{"jsonrpc":"2.0","id":3,"id":3,"result":{}}"#;
    for reply in [
        Reply::json(200, other),
        Reply::json(200, twice),
        Reply::json(200, "not JSON"),
        Reply::json(200, ""),
        Reply::json(202, ""),
        Reply::json(200, &"x".repeat(100_001)),
        Reply::json(200, "<html>").with("Content-Type", "text/html"),
        // We accept no coding, and expand none.
        Reply::json(200, "\u{1f}").with("Content-Encoding", "gzip"),
    ] {
        let sent = ends(reply).await;
        assert!(matches!(sent, Sent::Invalid { .. }), "{sent:?}");
    }
}

#[tokio::test]
async fn of_two_answers_to_a_call_the_first_one_counts() {
    let script = Script::start(|asked, _| {
        modern(asked, |asked| {
            let second = r#"{"resultType":"complete","content":[],"isError":true}"#;
            let answer =
                |result| format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, asked.id);
            Reply::json(200, &format!("[{},{}]", answer(PAID), answer(second)))
        })
    })
    .await;
    let sent = paid(&script).await;
    assert!(is_paid(&sent), "{sent:?}");
}

#[tokio::test]
async fn a_protocol_error_is_the_servers_answer_whatever_its_status() {
    for status in [200, 400, 500] {
        let script = Script::start(move |asked, _| {
            modern(asked, |asked| {
                let error = format!(
                    r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32602,"message":"no"}}}}"#,
                    asked.id
                );
                Reply::json(status, &error)
            })
        })
        .await;
        let sent = paid(&script).await;
        assert!(matches!(sent, Sent::Error { .. }), "{status}: {sent:?}");
    }
}

#[tokio::test]
async fn a_deadline_and_a_cancellation_reach_a_legacy_server() {
    let script = Script::start(|asked, _| legacy(asked, |_| Reply::Hang)).await;
    let server = ready(&script).await;
    let sent = pays(&server, line(), Duration::from_millis(50)).await;
    assert_eq!(sent, Sent::TimedOut);
    let cancelled = line();
    let token = cancelled.cancelled.clone();
    let (sent, ()) = tokio::join!(pays(&server, cancelled, Duration::from_secs(30)), async {
        script
            .until(|asked| asked.iter().filter(|a| a.method == "tools/call").count() == 2)
            .await;
        token.cancel();
    });
    assert_eq!(sent, Sent::Cancelled);
    let told = script.asked("notifications/cancelled");
    assert_eq!(told.len(), 2);
    let ids: Vec<String> = script
        .asked("tools/call")
        .iter()
        .map(|a| a.id.clone())
        .collect();
    for (told, id) in told.iter().zip(ids) {
        assert!(
            told.body.contains(&format!("\"requestId\":{id}")),
            "{}",
            told.body
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_modern_server_learns_of_a_cancellation_by_the_end_of_the_connection() {
    let script = Script::start(|asked, _| modern(asked, |_| Reply::Hang)).await;
    let server = ready(&script).await;
    let sent = pays(&server, line(), Duration::from_millis(50)).await;
    assert_eq!(sent, Sent::TimedOut);
    assert_eq!(script.asked("notifications/cancelled").len(), 0);
    script.until_hung_up().await;
    server.stop().await;
}

#[tokio::test]
async fn the_older_pair_is_found_where_nothing_takes_initialize() {
    let script = Script::start(|asked, _| match (asked.verb.as_str(), asked.path.as_str()) {
        ("GET", "/mcp") => Reply::Stream("/messages?sessionId=1"),
        ("POST", "/messages?sessionId=1") => match asked.method.as_str() {
            "server/discover" => Reply::told(asked, "error", r#"{"code":-32601,"message":"no"}"#),
            "initialize" => Reply::told(
                asked,
                "result",
                r#"{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}"#,
            ),
            "tools/list" => Reply::told(asked, "result", TOOLS),
            "tools/call" => Reply::told(asked, "result", PAID),
            _ => Reply::json(202, ""),
        },
        _ => Reply::json(405, ""),
    })
    .await;
    let sent = paid(&script).await;
    assert!(is_paid(&sent), "{sent:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_says_so_without_its_secrets() {
    let url = "http://127.0.0.1:9/mcp?key=s3cret";
    let settings = settings(
        url,
        &[("Authorization", "Bearer s3cret")],
        Transport::Either,
    );
    let (news, _unheard) = mpsc::unbounded_channel();
    let server = Downstream::start(settings, news);
    server.settled().await;
    let State::Failed { why, .. } = server.state() else {
        panic!("{:?}", server.state());
    };
    assert!(why.contains("no connection to http://127.0.0.1:9"), "{why}");
    assert!(!why.contains("s3cret"), "{why}");
    server.stop().await;
}

#[test]
fn a_url_or_header_that_cannot_be_used_is_named_and_its_value_is_not() {
    let remote = |url: &str, name: &str, value: &str| {
        let headers = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Remote::new(url, &headers, Transport::Either)
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(
        remote("https://a.example/mcp?x=1", "Authorization", "Bearer x"),
        None
    );
    for (url, name, value) in [
        ("ftp://a.example/", "X", "v"),
        ("mcp.example", "X", "v"),
        ("https://u:s3cret@a.example/", "X", "v"),
        ("https://a.example/", "Mcp-Session-Id", "s3cret"),
        ("https://a.example/", "content-length", "s3cret"),
        ("https://a.example/", "X Y", "s3cret"),
        ("https://a.example/", "X", "s3cret\n"),
    ] {
        let problem = remote(url, name, value).unwrap();
        assert!(!problem.contains("s3cret"), "{problem}");
    }
}
