//! Every method that a client of any revision can send, and what becomes of it.
//! What reaches a server in somebody's name is decided; nothing else reaches one.

use countersign::mcp::Body;
use countersign::mcp::Message;
use countersign::mcp::Notification;
use countersign::mcp::parse;
use countersign::tool::Asking;
use countersign::tool::TaskAsk;
use std::collections::BTreeSet;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    /// It is decided, recorded, and then sent to a server.
    Decided,
    /// We answer it ourselves.
    Answered,
    /// That method is not served in this era.
    Unserved,
}

use Becomes::Answered;
use Becomes::Decided;
use Becomes::Unserved;

/// The requests of the schemas 2024-11-05 to 2026-07-28 and of the tasks extension,
/// with parameters that fit: what becomes of them of a client before 2026-07-28, and
/// of one of that revision.
const REQUESTS: [(&str, &str, Becomes, Becomes); 20] = [
    ("tools/call", r#""name":"x""#, Decided, Decided),
    ("prompts/get", r#""name":"x""#, Decided, Decided),
    ("resources/read", r#""uri":"a:b""#, Decided, Decided),
    ("resources/subscribe", r#""uri":"a:b""#, Decided, Unserved),
    // It takes something back, and tells a server nothing else.
    (
        "resources/unsubscribe",
        r#""uri":"a:b""#,
        Answered,
        Unserved,
    ),
    (
        "completion/complete",
        r#""ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":""}"#,
        Decided,
        Decided,
    ),
    ("tasks/get", r#""taskId":"t""#, Decided, Decided),
    ("tasks/cancel", r#""taskId":"t""#, Decided, Decided),
    ("tasks/result", r#""taskId":"t""#, Decided, Unserved),
    (
        "tasks/update",
        r#""taskId":"t","inputResponses":{}"#,
        Unserved,
        Decided,
    ),
    // Each task in it is asked after by a `tasks/get`, which is decided.
    ("tasks/list", "", Answered, Unserved),
    ("tools/list", "", Answered, Answered),
    ("prompts/list", "", Answered, Answered),
    ("resources/list", "", Answered, Answered),
    ("resources/templates/list", "", Answered, Answered),
    (
        "initialize",
        r#""protocolVersion":"2025-11-25""#,
        Answered,
        Unserved,
    ),
    ("ping", "", Answered, Unserved),
    ("logging/setLevel", r#""level":"info""#, Answered, Unserved),
    ("server/discover", "", Unserved, Answered),
    // Each resource in it is decided by itself.
    (
        "subscriptions/listen",
        r#""notifications":{}"#,
        Unserved,
        Answered,
    ),
];

const MODERN: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// What becomes of a request, by the type that it is read as: there is one arm for
/// each, so that a new one does not compile before somebody says what it is.
fn becomes(body: &Body) -> (Becomes, Option<Asking>) {
    match body {
        Body::Ask(ask) => (Decided, Some(ask.asking)),
        Body::Subscribe(ask) => (Decided, Some(ask.asking)),
        Body::Unsubscribe(_)
        | Body::Initialize { .. }
        | Body::Ping
        | Body::Discover
        | Body::List(_)
        | Body::SetLevel { .. }
        | Body::Tasks(_)
        | Body::Listen(_) => (Answered, None),
        Body::Unknown { .. } => (Unserved, None),
    }
}

fn read(method: &str, params: &str) -> Option<Body> {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#);
    match parse(text.as_bytes()) {
        Ok(Message::Request(request)) => Some(request.body),
        Ok(other) => panic!("{method} was read as {other:?}"),
        Err(_refused) => None,
    }
}

#[test]
fn what_reaches_a_server_in_somebodys_name_is_decided() {
    let mut decided = BTreeSet::new();
    for (method, params, legacy, modern) in REQUESTS {
        let both = [params, MODERN].map(str::to_owned);
        let with_meta = both.into_iter().filter(|part| !part.is_empty());
        let with_meta = with_meta.collect::<Vec<_>>().join(",");
        for (params, expected) in [(params, legacy), (&*with_meta, modern)] {
            let (found, asking) = match read(method, params) {
                Some(body) => becomes(&body),
                // Refused, because it needs what only the other era has.
                None => (Unserved, None),
            };
            assert_eq!(found, expected, "{method} {params}");
            if let Some(asking) = asking {
                assert_eq!(asking.method(), method);
                decided.insert(asking);
            }
        }
    }
    // Whatever can be sent under a permit was on the list.
    let tasks = TaskAsk::ALL.map(Asking::Task);
    let all = [
        Asking::Tool,
        Asking::Prompt,
        Asking::Read,
        Asking::Subscribe,
        Asking::Complete,
    ];
    assert_eq!(decided, all.into_iter().chain(tasks).collect());
}

#[test]
fn a_notification_of_a_client_reaches_no_server() {
    for (method, params) in [
        ("notifications/cancelled", r#"{"requestId":1}"#),
        ("notifications/initialized", "{}"),
        (
            "notifications/progress",
            r#"{"progressToken":1,"progress":1}"#,
        ),
        ("notifications/roots/list_changed", "{}"),
        ("notifications/tasks/status", "{}"),
        ("notifications/message", "{}"),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
        let Ok(Message::Notification(read)) = parse(text.as_bytes()) else {
            panic!("{method}");
        };
        // Taking a request back is told to a server in words of our own.
        let own = matches!(
            read,
            Notification::Cancelled { .. } | Notification::Initialized | Notification::Ignored
        );
        assert!(own, "{method}");
    }
}
