//! Resources that are followed over HTTP.

use super::*;
use crate::downstream::Standing;
use crate::downstream::Update;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const UPDATED: &str = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b","x":1e2}}"#;

async fn subscribes(server: &Downstream) -> (Sent, Option<Standing>) {
    subscribes_with(server, Vec::new()).await
}

async fn subscribes_with(
    server: &Downstream,
    rest: Vec<(Box<str>, Box<str>)>,
) -> (Sent, Option<Standing>) {
    let definition = pins::fixed(&"there".parse().unwrap(), Asking::Subscribe).unwrap();
    let call = OutgoingCall {
        asking: Asking::Subscribe,
        pinned: definition.id.name,
        rest,
        answers: None,
        task: None,
        caller: crate::principal::PrincipalId::parse("alice").unwrap(),
        session: crate::session::SessionId::from_bytes([0; 16]),
        task_of: None,
        declared: Arc::default(),
        log: None,
        name: "a:b".into(),
        definition: definition.digest,
        mirrored: Arc::default(),
        arguments: Some(r#"{"uri":"a:b"}"#.into()),
        meta: None,
        deadline: Some(PATIENCE),
    };
    let permit = countersigned(CallId::from_bytes([7; 16]));
    server.subscribe(permit, call).await
}

/// A server that is ready, and what it says of what is followed.
async fn heard(script: &Script) -> (Downstream, mpsc::UnboundedReceiver<Update>) {
    let server = ready(script).await;
    let (sender, updates) = mpsc::unbounded_channel();
    server.updates_to(sender);
    (server, updates)
}

#[tokio::test]
async fn a_legacy_server_that_lost_the_session_tells_again_on_a_new_stream() {
    let script = Script::start(|asked, before| {
        let before = |method: &str| before.iter().filter(|a| a.method == method).count();
        let first = asked.header("mcp-session-id") == Some("one");
        match (asked.verb.as_str(), asked.method.as_str()) {
            // Its stream ends, and after the subscription so does the session.
            ("GET", _) if first && before("resources/subscribe") == 0 => Reply::events(&[]),
            ("GET", _) if first => Reply::json(404, ""),
            ("GET", _) => Reply::Stream("/none"),
            (_, "initialize") => Reply::result(
                asked,
                r#"{"protocolVersion":"2025-11-25","capabilities":{"resources":{"subscribe":true}}}"#,
            )
            .with("Mcp-Session-Id", ["one", "two"][before("initialize").min(1)]),
            (_, "resources/list") => Reply::result(asked, r#"{"resources":[]}"#),
            (_, "resources/subscribe" | "resources/unsubscribe") => Reply::result(asked, "{}"),
            _ => legacy(asked, |_| Reply::Told(UPDATED.to_owned())),
        }
    })
    .await;
    let (server, mut updates) = heard(&script).await;
    let (sent, standing) = subscribes(&server).await;
    assert!(matches!(sent, Sent::Result { .. }), "{sent:?}");
    let mut standing = standing.unwrap();
    timeout(PATIENCE, standing.ended()).await.unwrap();
    // What was begun in it, and what was said meanwhile.
    let gone = timeout(PATIENCE, updates.recv()).await.unwrap();
    assert!(matches!(gone, Some(Update::Gone { .. })), "{gone:?}");
    let missed = timeout(PATIENCE, updates.recv()).await.unwrap();
    assert!(matches!(missed, Some(Update::Missed { .. })), "{missed:?}");

    let (_sent, standing) = subscribes(&server).await;
    let _invalid = pays(&server, line(), PATIENCE).await;
    let said = timeout(PATIENCE, updates.recv()).await.unwrap();
    let Some(Update::Said {
        uri,
        params,
        followed,
        ..
    }) = said
    else {
        panic!("{said:?}");
    };
    assert_eq!((&*uri, &*params), ("a:b", r#"{"uri":"a:b","x":1e2}"#));
    assert_eq!(followed, None);
    standing.unwrap().end().await;
    let left = script.asked("resources/unsubscribe");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].header("mcp-session-id"), Some("two"));
    server.stop().await;
}

#[tokio::test]
async fn a_modern_server_is_asked_by_a_request_of_its_own_for_each_resource() {
    let script = Script::start(|asked, _| match asked.method.as_str() {
        "server/discover" => Reply::result(
            asked,
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"resources":{"subscribe":true}}}"#,
        ),
        "resources/list" => Reply::result(asked, r#"{"resources":[]}"#),
        "subscriptions/listen" => {
            let tag = format!(
                r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{}}}"#,
                asked.id
            );
            // It ends at once, after it has told of one change.
            Reply::events(&[
                &format!(r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{{tag},"notifications":{{"resourceSubscriptions":["a:b"]}}}}}}"#),
                &format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{{tag},"uri":"a:b/c"}}}}"#),
            ])
        }
        _ => modern(asked, |_| Reply::Close),
    })
    .await;
    let (server, mut updates) = heard(&script).await;
    let (sent, _ended) = subscribes(&server).await;
    // Whether it still stands is for who keeps it to see.
    assert!(
        matches!(sent, Sent::Result { .. } | Sent::Lost { .. }),
        "{sent:?}"
    );
    let said = timeout(PATIENCE, updates.recv()).await.unwrap();
    let Some(Update::Said { uri, followed, .. }) = said else {
        panic!("{said:?}");
    };
    assert_eq!((&*uri, followed.as_deref()), ("a:b/c", Some("a:b")));
    let asked = script.asked("subscriptions/listen");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("mcp-method"), Some("subscriptions/listen"));
    assert_eq!(asked[0].header("mcp-name"), None);
    assert!(
        asked[0]
            .body
            .contains(r#"{"resourceSubscriptions":["a:b"]}"#)
    );
    server.stop().await;
}

#[tokio::test]
async fn what_a_legacy_client_adds_to_a_subscription_makes_no_filter_of_a_modern_server() {
    let script = Script::start(|asked, _| match asked.method.as_str() {
        "server/discover" => Reply::result(
            asked,
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"resources":{"subscribe":true}}}"#,
        ),
        "resources/list" => Reply::result(asked, r#"{"resources":[]}"#),
        _ => modern(asked, |_| Reply::Close),
    })
    .await;
    let (server, _updates) = heard(&script).await;
    // Policy was asked about `a:b` only, and most readers take the last of two keys.
    let more = r#"{"resourceSubscriptions":["a:b","a:secret"]}"#;
    let rest = ["notifications", "Notifications"].map(|key| (key.into(), more.into()));
    let _refused = subscribes_with(&server, rest.into()).await;
    let asked = script.asked("subscriptions/listen");
    assert!(!asked[0].body.contains("secret"), "{}", asked[0].body);
    server.stop().await;
}
