//! One client on a pipe, a real broker, and a server that is a script.

mod batches;
mod ends;
mod failures;

use super::*;
use crate::broker::Carrier;
use crate::broker::testing::World;
use crate::broker::testing::alice;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::BufReader;
use tokio::io::DuplexStream;
use tokio::io::Lines as ReadLines;
use tokio::task::JoinHandle;

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

/// A client at the other end of a pipe.
struct Client {
    shutdown: CancellationToken,
    write: Option<DuplexStream>,
    read: ReadLines<BufReader<DuplexStream>>,
    serving: JoinHandle<Result<(), StdioError>>,
}

impl Client {
    fn new(world: &World) -> Self {
        Self::with(world, |_| {})
    }

    fn with(world: &World, change: impl FnOnce(&mut Settings)) -> Self {
        let (write, reader) = tokio::io::duplex(1 << 16);
        let (writer, read) = tokio::io::duplex(1 << 16);
        let broker = Arc::clone(&world.broker);
        let shutdown = CancellationToken::new();
        let mut settings = Settings::new(alice());
        change(&mut settings);
        let serving = serve(broker, settings, reader, writer, shutdown.clone());
        Self {
            serving: tokio::spawn(serving),
            shutdown,
            write: Some(write),
            read: BufReader::new(read).lines(),
        }
    }

    /// One that has said `initialize`.
    async fn legacy(world: &World) -> Self {
        let mut client = Self::new(world);
        client
            .say(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#)
            .await;
        client.hear().await;
        client
    }

    async fn say(&mut self, line: &str) {
        let write = self.write.as_mut().unwrap();
        write.write_all(line.as_bytes()).await.unwrap();
        write.write_all(b"\n").await.unwrap();
    }

    async fn hear(&mut self) -> String {
        self.read
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    async fn ask(&mut self, line: &str) -> String {
        self.say(line).await;
        self.hear().await
    }

    /// Closes the client's end, and returns what it still hears.
    async fn end(mut self) -> Vec<String> {
        self.write = None;
        let mut heard = Vec::new();
        while let Some(line) = self.read.next_line().await.unwrap() {
            heard.push(line.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
        }
        self.serving.await.unwrap().unwrap();
        heard
    }
}

fn legacy(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}}}}}"#)
}

fn modern(id: &str, method: &str, params: &str) -> String {
    let comma = if params.is_empty() { "" } else { "," };
    legacy(id, method, &format!(r#"{params}{comma}"_meta":{{{META}}}"#))
}

fn cancel(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    )
}

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Requests, each with whether `initialize` went before it.
fn eras() -> Vec<(bool, String)> {
    let initialize = |version: &str| {
        legacy(
            "1",
            "initialize",
            &format!(r#""protocolVersion":"{version}","capabilities":{{}}"#),
        )
    };
    vec![
        (false, legacy("\"p\"", "ping", "")),
        (false, legacy("1", "tools/list", "")),
        (false, legacy("1", "tools/call", r#""name":"play__echo""#)),
        (false, legacy("1", "server/discover", "")),
        (false, modern("1", "server/discover", "")),
        (false, modern("1", "tools/list", "")),
        (
            false,
            modern(
                "1",
                "tools/call",
                r#""name":"play__echo","arguments":{"a": 1}"#,
            ),
        ),
        (false, modern("1", "ping", "")),
        (false, modern("1", "initialize", "")),
        (false, modern("1", "logging/setLevel", "")),
        (
            false,
            modern("1", "tools/list", "").replace("2026-07-28", "2027-01-01"),
        ),
        (
            false,
            modern("1", "tools/list", "").replace("2026-07-28", "2025-11-25"),
        ),
        (false, initialize("2025-06-18")),
        (false, initialize("2025-11-25")),
        (false, initialize("2023-01-01")),
        (false, initialize("2026-07-28")),
        (true, legacy("1", "tools/list", "")),
        (
            true,
            legacy(
                "1",
                "tools/call",
                r#""name":"play__echo","arguments":{"a": 1}"#,
            ),
        ),
        (true, legacy("1", "tools/call", r#""name":"hidden""#)),
        (true, legacy("1", "resources/list", "")),
        (true, modern("1", "tools/call", r#""name":"play__echo""#)),
    ]
}

#[tokio::test]
async fn each_request_is_served_in_its_own_era() {
    let world = World::new().await;
    let mut said = Vec::new();
    for (opened, request) in eras() {
        let mut client = if opened {
            Client::legacy(&world).await
        } else {
            Client::new(&world)
        };
        let answer = client.ask(&request).await;
        said.push(format!("{request}\n{answer}\n").replace(META, "MODERN"));
        assert_eq!(client.end().await, Vec::<String>::new());
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
{"jsonrpc":"2.0","id":"p","method":"ping","params":{}}
{"jsonrpc":"2.0","id":"p","result":{}}

{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"send `initialize` first, or put `io.modelcontextprotocol/protocolVersion` and `io.modelcontextprotocol/clientCapabilities` into `params._meta` of each request"}}

{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"play__echo"}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"send `initialize` first, or put `io.modelcontextprotocol/protocolVersion` and `io.modelcontextprotocol/clientCapabilities` into `params._meta` of each request"}}

{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"`params._meta` needs `io.modelcontextprotocol/protocolVersion`: \"2026-07-28\""}}

{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"capabilities":{"tools":{"listChanged":true}},"instructions":"Every tool call is checked against the operator's policy before it is sent. A refused call says whether the decision is final or who can approve exactly that call; ask that person instead of trying other ways. Do not split, rephrase or repeat a refused call.","ttlMs":3600000,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"}}}}

{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","tools":[{"name":"play__echo","inputSchema":{"type":"object"}},{"name":"play__pay","inputSchema":{"type":"object","properties":{"amount":{"type":"number"}},"required":["amount"]}},{"name":"play__repay","inputSchema":{"type":"object","properties":{"amount":{"type":"number"}},"required":["amount"]}},{"name":"play__slow","inputSchema":{"type":"object"}},{"name":"play__steps","inputSchema":{"type":"object"}},{"name":"play__wait","inputSchema":{"type":"object"}}],"ttlMs":60000,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"}}}}

{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"play__echo","arguments":{"a": 1},"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[{"type":"text","text":"{\"a\": 1}"}]}}

{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"`ping` is of MCP 2025-11-25, and this request of 2026-07-28: any request shows whether this side is there"}}

{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"`initialize` is of MCP 2025-11-25, and this request of 2026-07-28: each request says its own revision, and nothing is opened; or open an older one by `initialize` without `_meta`"}}

{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"`logging/setLevel` is of MCP 2025-11-25, and this request of 2026-07-28: put `io.modelcontextprotocol/logLevel` into `params._meta` of each request"}}

{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2027-01-01","io.modelcontextprotocol/clientCapabilities":{}}}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"protocol version `2027-01-01` is not served; use one of `data.supported`","data":{"requested":"2027-01-01","supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"]}}}

{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{}}}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"`2025-11-25` is opened by an `initialize` that names it as its own `protocolVersion`, without `_meta`; a request that stands by itself names `2026-07-28`","data":{"requested":"2025-11-25","supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"]}}}

{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{}}}
{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"},"instructions":"Every tool call is checked against the operator's policy before it is sent. A refused call says whether the decision is final or who can approve exactly that call; ask that person instead of trying other ways. Do not split, rephrase or repeat a refused call."}}

{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}
{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"},"instructions":"Every tool call is checked against the operator's policy before it is sent. A refused call says whether the decision is final or who can approve exactly that call; ask that person instead of trying other ways. Do not split, rephrase or repeat a refused call."}}

{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2023-01-01","capabilities":{}}}
{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"},"instructions":"Every tool call is checked against the operator's policy before it is sent. A refused call says whether the decision is final or who can approve exactly that call; ask that person instead of trying other ways. Do not split, rephrase or repeat a refused call."}}

{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2026-07-28","capabilities":{}}}
{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"},"instructions":"Every tool call is checked against the operator's policy before it is sent. A refused call says whether the decision is final or who can approve exactly that call; ask that person instead of trying other ways. Do not split, rephrase or repeat a refused call."}}

{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}
{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"play__echo","inputSchema":{"type":"object"}},{"name":"play__pay","inputSchema":{"type":"object","properties":{"amount":{"type":"number"}},"required":["amount"]}},{"name":"play__repay","inputSchema":{"type":"object","properties":{"amount":{"type":"number"}},"required":["amount"]}},{"name":"play__slow","inputSchema":{"type":"object"}},{"name":"play__steps","inputSchema":{"type":"object"}},{"name":"play__wait","inputSchema":{"type":"object"}}]}}

{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"play__echo","arguments":{"a": 1}}}
{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"{\"a\": 1}"}]}}

{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hidden"}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: hidden"}}

{"jsonrpc":"2.0","id":1,"method":"resources/list","params":{}}
{"jsonrpc":"2.0","id":1,"result":{"resources":[]}}

{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"play__echo","_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[{"type":"text","text":"none"}]}}
"#);
}

#[tokio::test]
async fn one_process_serves_both_eras_side_by_side() {
    let world = World::new().await;
    let mut client = Client::new(&world);
    let echo = r#""name":"play__echo""#;
    let is_modern = |answer: &str| answer.contains("resultType");
    assert!(is_modern(
        &client.ask(&modern("1", "tools/call", echo)).await
    ));
    // A modern request opens nothing for an older one after it.
    let refused = client.ask(&legacy("2", "tools/call", echo)).await;
    assert!(refused.contains(r#""error":{"code":-32600"#), "{refused}");
    let initialize = r#""protocolVersion":"2025-11-25","capabilities":{}"#;
    let opened = client.ask(&legacy("3", "initialize", initialize)).await;
    assert!(opened.contains(r#""protocolVersion":"2025-11-25""#));
    for id in ["4", "5"] {
        let answer = client.ask(&legacy(id, "tools/call", echo)).await;
        assert!(answer.contains("result") && !is_modern(&answer), "{answer}");
        assert!(is_modern(
            &client.ask(&modern(id, "tools/call", echo)).await
        ));
    }
    assert_eq!(client.end().await, Vec::<String>::new());
    assert_eq!(world.trail(), ["play/echo completed"; 5]);
}

#[tokio::test]
async fn a_request_runs_in_the_session_it_names() {
    let call = |meta: &str| {
        legacy(
            "1",
            "tools/call",
            &format!(r#""name":"play__echo","_meta":{{{meta}}}"#),
        )
    };
    let named = call(r#""dev.countersign/session":"claim-99""#);
    let world = World::new().await;
    let mut client = Client::legacy(&world).await;
    for request in [&call(""), &call(""), &named, &call(META), &call(META)] {
        client.ask(request).await;
    }
    let refused = client.ask(&named.replace("claim-99", "nobodys")).await;
    assert!(
        refused.contains("There is no session `nobodys`"),
        "{refused}"
    );
    let carrier = Carrier::Named("claim-99".to_owned());
    let claim = world.broker.session(&alice(), &carrier).await.unwrap();
    let default = world.broker.session(&alice(), &Carrier::Default).await;
    let default = default.unwrap();
    let used: Vec<_> = world.calls().iter().map(|call| call.session).collect();
    let own = used[0];
    assert_eq!(used, [own, own, claim, default, default]);
    let mut kept: Vec<_> = world.sessions().iter().map(|session| session.id).collect();
    let mut expected = vec![own, claim, default];
    kept.sort();
    expected.sort();
    assert_eq!(kept, expected);

    let mut client = Client::with(&world, |settings| {
        settings.session = Some("claim-1".to_owned());
    });
    client.ask(&call(META)).await;
    let last = world.calls().pop().unwrap().session;
    let sessions = world.sessions();
    let configured = sessions.iter().find(|session| session.id == last);
    assert_eq!(configured.unwrap().handles, ["claim-1"]);
}

#[tokio::test]
async fn a_cancelled_request_is_not_answered() {
    let mut world = World::new().await;
    let mut client = Client::legacy(&world).await;
    client
        .say(&legacy(
            "\"\\u0061\"",
            "tools/call",
            r#""name":"play__wait""#,
        ))
        .await;
    assert_eq!(world.server.hears().await, "wait none");
    client.say(&cancel("\"a\"")).await;
    client.say(&cancel("0")).await;
    client.say(&cancel("99")).await;
    assert_eq!(world.server.hears().await, "cancelled");
    assert_eq!(client.end().await, Vec::<String>::new());
    assert_eq!(world.trail(), ["play/wait cancelled"]);
}

#[tokio::test]
async fn an_id_in_flight_is_not_used_twice() {
    let world = World::new().await;
    let mut client = Client::legacy(&world).await;
    client
        .say(&legacy("5", "tools/call", r#""name":"play__wait""#))
        .await;
    let answer = client
        .ask(&legacy("5", "tools/call", r#""name":"play__echo""#))
        .await;
    insta::assert_snapshot!(answer, @r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"a request with the id 5 is still in flight: use another id"}}"#);
    client.say(&cancel("5")).await;
    assert_eq!(client.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let mut world = World::new().await;
    let mut client = Client::legacy(&world).await;
    for id in 1..=256 {
        let call = legacy(&id.to_string(), "tools/call", r#""name":"play__wait""#);
        client.say(&call).await;
    }
    let list = legacy("257", "tools/list", "");
    let refused = client.ask(&list).await;
    insta::assert_snapshot!(refused, @r#"{"jsonrpc":"2.0","id":257,"error":{"code":-32603,"message":"256 requests are in flight: wait for an answer"}}"#);
    let served = client.ask(&legacy("258", "ping", "")).await;
    assert!(served.contains("258"), "{served}");
    for _ in 1..=256 {
        assert_eq!(world.server.hears().await, "wait none");
    }
    client.say(&cancel("1")).await;
    let trail = world.ended(1).await;
    assert!(trail.contains(&"play/wait cancelled".to_owned()));
    // The record is closed a moment before the request is no longer in flight.
    let served = async { while client.ask(&list).await == refused {} };
    timeout(Duration::from_secs(60), served).await.unwrap();
}

#[tokio::test]
async fn progress_comes_in_order_before_the_answer_under_the_clients_token() {
    let world = World::new().await;
    let mut client = Client::legacy(&world).await;
    let meta = r#""name":"play__steps","_meta":{"progressToken":"t\u0031"}"#;
    client.say(&legacy("1", "tools/call", meta)).await;
    insta::assert_snapshot!(client.end().await.join("\n"), @r#"
{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t\u0031","progress":1}}
{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t\u0031","progress":2}}
{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t\u0031","progress":3}}
{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"none"}]}}
"#);
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_next_one_is_served() {
    let world = World::new().await;
    let mut client = Client::with(&world, |settings| settings.max_line = 100);
    let answer = client.ask(&"x".repeat(1000)).await;
    insta::assert_snapshot!(answer, @r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"a message may have at most 100 bytes: send less at once"}}"#);
    assert_eq!(
        client.ask(&legacy("1", "ping", "")).await,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
    );
}

#[tokio::test]
async fn a_legacy_client_hears_of_each_change_of_its_list_and_of_nothing_else() {
    let world = World::new().await;
    let mut client = Client::legacy(&world).await;
    client.say(INITIALIZED).await;
    client.ask(&legacy("1", "tools/list", "")).await;
    // The list moved and is the same.
    world.reload().await;
    let pong = client.ask(&legacy("2", "ping", "")).await;
    assert!(pong.contains("\"id\":2"), "{pong}");
    world.server.lists(&[]);
    assert_eq!(
        client.hear().await,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#
    );
    world.reload().await;
    let list = client.ask(&legacy("3", "tools/list", "")).await;
    assert_eq!(list, r#"{"jsonrpc":"2.0","id":3,"result":{"tools":[]}}"#);
    assert_eq!(client.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_subscription_is_acknowledged_tagged_and_ended() {
    let world = World::new().await;
    let mut client = Client::new(&world);
    let filter = r#""notifications":{"toolsListChanged":true,"promptsListChanged":true}"#;
    let listen = |id: &str, filter: &str| modern(id, "subscriptions/listen", filter);
    let mut heard = vec![client.ask(&listen("\"s\"", filter)).await];
    world.server.lists(&[]);
    heard.push(client.hear().await);
    heard.push(client.ask(&listen("8", r#""notifications":{}"#)).await);
    client.say(&cancel("8")).await;
    heard.extend(client.end().await);
    insta::assert_snapshot!(heard.join("\n"), @r#"
{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"},"notifications":{"toolsListChanged":true}}}
{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}}
{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":8},"notifications":{}}}
{"jsonrpc":"2.0","id":"s","result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":"s","io.modelcontextprotocol/serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"}}}}
{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"},"requestId":"s"}}
"#);
}
