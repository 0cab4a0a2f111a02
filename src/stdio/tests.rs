use super::*;
use serde_json::Value;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::BufReader;
use tokio::io::DuplexStream;
use tokio::io::Lines as ReadLines;
use tokio::task::JoinHandle;

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

/// A client at the other end of a pipe.
struct Client {
    broker: Arc<Broker>,
    shutdown: CancellationToken,
    write: Option<DuplexStream>,
    read: ReadLines<BufReader<DuplexStream>>,
    serving: JoinHandle<Result<(), StdioError>>,
}

impl Client {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let (write, reader) = tokio::io::duplex(1 << 16);
        let (writer, read) = tokio::io::duplex(1 << 16);
        let broker = Arc::new(Broker::default());
        let shutdown = CancellationToken::new();
        let mut settings = Settings::new(PrincipalId::parse("alice").unwrap());
        change(&mut settings);
        let serving = serve(
            Arc::clone(&broker),
            settings,
            reader,
            writer,
            shutdown.clone(),
        );
        Self {
            serving: tokio::spawn(serving),
            broker,
            shutdown,
            write: Some(write),
            read: BufReader::new(read).lines(),
        }
    }

    /// One that has said `initialize`.
    async fn legacy() -> Self {
        let mut client = Self::new(|_| {});
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
        (false, legacy("1", "tools/call", r#""name":"echo""#)),
        (false, legacy("1", "server/discover", "")),
        (false, modern("1", "server/discover", "")),
        (false, modern("1", "tools/list", "")),
        (
            false,
            modern("1", "tools/call", r#""name":"echo","arguments":{"a": 1}"#),
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
        (false, initialize("2024-11-05")),
        (false, initialize("2026-07-28")),
        (true, legacy("1", "tools/list", "")),
        (
            true,
            legacy("1", "tools/call", r#""name":"echo","arguments":{"a": 1}"#),
        ),
        (true, legacy("1", "tools/call", r#""name":"hidden""#)),
        (true, legacy("1", "resources/list", "")),
        (true, modern("1", "tools/call", r#""name":"echo""#)),
    ]
}

#[tokio::test]
async fn each_request_is_served_in_its_own_era() {
    let mut said = Vec::new();
    for (opened, request) in eras() {
        let mut client = if opened {
            Client::legacy().await
        } else {
            Client::new(|_| {})
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

{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"send `initialize` first, or put `io.modelcontextprotocol/protocolVersion` and `io.modelcontextprotocol/clientCapabilities` into `params._meta` of each request"}}

{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"`params._meta` needs `io.modelcontextprotocol/protocolVersion`: \"2026-07-28\""}}

{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25","2025-06-18"],"capabilities":{"tools":{"listChanged":true}},"instructions":"Every tool call is checked against the operator's policy before it is sent. A refused call says whether the decision is final or who can approve exactly that call; ask that person instead of trying other ways. Do not split, rephrase or repeat a refused call.","ttlMs":3600000,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"}}}}

{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","tools":[{"name":"echo","inputSchema":{"type":"object"}}],"ttlMs":60000,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"}}}}

{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a": 1},"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[{"type":"text","text":"{\"a\": 1}"}]}}

{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"`ping` is not served: this version serves tools only"}}

{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"`initialize` is not served: this version serves tools only"}}

{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"`logging/setLevel` is not served: this version serves tools only"}}

{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2027-01-01","io.modelcontextprotocol/clientCapabilities":{}}}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"protocol version `2027-01-01` is not served; use one of `data.supported`","data":{"requested":"2027-01-01","supported":["2026-07-28","2025-11-25","2025-06-18"]}}}

{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{}}}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"`2025-11-25` opens with `initialize`; a request by itself names `2026-07-28`","data":{"requested":"2025-11-25","supported":["2026-07-28","2025-11-25","2025-06-18"]}}}

{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{}}}
{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"},"instructions":"Every tool call is checked against the operator's policy before it is sent. A refused call says whether the decision is final or who can approve exactly that call; ask that person instead of trying other ways. Do not split, rephrase or repeat a refused call."}}

{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}
{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"},"instructions":"Every tool call is checked against the operator's policy before it is sent. A refused call says whether the decision is final or who can approve exactly that call; ask that person instead of trying other ways. Do not split, rephrase or repeat a refused call."}}

{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{}}}
{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"},"instructions":"Every tool call is checked against the operator's policy before it is sent. A refused call says whether the decision is final or who can approve exactly that call; ask that person instead of trying other ways. Do not split, rephrase or repeat a refused call."}}

{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2026-07-28","capabilities":{}}}
{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"countersign","title":"Countersign","version":"VERSION"},"instructions":"Every tool call is checked against the operator's policy before it is sent. A refused call says whether the decision is final or who can approve exactly that call; ask that person instead of trying other ways. Do not split, rephrase or repeat a refused call."}}

{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}
{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}}

{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a": 1}}}
{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"{\"a\": 1}"}]}}

{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hidden"}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: hidden"}}

{"jsonrpc":"2.0","id":1,"method":"resources/list","params":{}}
{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"`resources/list` is not served: this version serves tools only"}}

{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_meta":{MODERN}}}
{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[{"type":"text","text":"none"}]}}
"#);
}

#[tokio::test]
async fn a_request_runs_in_the_session_it_names() {
    let call = |meta: &str| {
        legacy(
            "1",
            "tools/call",
            &format!(r#""name":"echo","_meta":{{{meta}}}"#),
        )
    };
    let named = call(r#""dev.countersign/session":"claim-99""#);
    let mut client = Client::legacy().await;
    client.ask(&call("")).await;
    client.ask(&call("")).await;
    client.ask(&named).await;
    client.ask(&call(META)).await;
    let refused = client.ask(&named.replace("claim-99", "nobodys")).await;
    assert!(
        refused.contains("There is no session `nobodys`"),
        "{refused}"
    );
    let carriers = format!("{:?}", client.broker.carriers.lock().unwrap());
    assert_eq!(
        carriers,
        r#"[New, Named("claim-99"), Default, Named("nobodys")]"#
    );

    let mut client = Client::new(|settings| settings.session = Some("claim-1".to_owned()));
    client.ask(&call(META)).await;
    let carriers = format!("{:?}", client.broker.carriers.lock().unwrap());
    assert_eq!(carriers, r#"[Named("claim-1")]"#);
}

#[tokio::test]
async fn a_cancelled_request_is_not_answered() {
    let mut client = Client::legacy().await;
    client
        .say(&legacy("\"\\u0061\"", "tools/call", r#""name":"wait""#))
        .await;
    // Answered when the call has begun.
    client.ask(&legacy("2", "ping", "")).await;
    client.say(&cancel("\"a\"")).await;
    client.say(&cancel("0")).await;
    client.say(&cancel("99")).await;
    let broker = Arc::clone(&client.broker);
    assert_eq!(client.end().await, Vec::<String>::new());
    assert_eq!(*broker.ended.lock().unwrap(), ["wait cancelled"]);
}

#[tokio::test]
async fn an_id_in_flight_is_not_used_twice() {
    let mut client = Client::legacy().await;
    client
        .say(&legacy("5", "tools/call", r#""name":"wait""#))
        .await;
    let answer = client
        .ask(&legacy("5", "tools/call", r#""name":"echo""#))
        .await;
    insta::assert_snapshot!(answer, @r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"a request with the id 5 is still in flight: use another id"}}"#);
    client.say(&cancel("5")).await;
    client.end().await;
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let mut client = Client::legacy().await;
    for id in 1..=256 {
        let call = legacy(&id.to_string(), "tools/call", r#""name":"wait""#);
        client.say(&call).await;
    }
    let refused = client.ask(&legacy("257", "tools/list", "")).await;
    insta::assert_snapshot!(refused, @r#"{"jsonrpc":"2.0","id":257,"error":{"code":-32603,"message":"256 requests are in flight: wait for an answer"}}"#);
    client.say(&cancel("1")).await;
    let served = client.ask(&legacy("258", "ping", "")).await;
    assert!(served.contains("258"), "{served}");
    let served = client.ask(&legacy("259", "tools/list", "")).await;
    assert!(served.contains("\"tools\""), "{served}");
}

#[tokio::test]
async fn progress_comes_in_order_before_the_answer_under_the_clients_token() {
    let mut client = Client::legacy().await;
    let meta = r#""name":"steps","_meta":{"progressToken":"t\u0031"}"#;
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
    let mut client = Client::new(|settings| settings.max_line = 100);
    let answer = client.ask(&"x".repeat(1000)).await;
    insta::assert_snapshot!(answer, @r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"a message may have at most 100 bytes: send less at once"}}"#);
    assert_eq!(
        client.ask(&legacy("1", "ping", "")).await,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
    );
}

#[tokio::test]
async fn a_legacy_client_hears_of_each_change_of_its_list_and_of_nothing_else() {
    let mut client = Client::legacy().await;
    client.say(INITIALIZED).await;
    client.ask(&legacy("1", "tools/list", "")).await;
    let broker = Arc::clone(&client.broker);
    // The list moved and is the same.
    broker.moved.send_modify(|n| *n += 1);
    assert!(
        client
            .ask(&legacy("2", "ping", ""))
            .await
            .contains("\"id\":2")
    );
    broker.set_list(&[]);
    assert_eq!(
        client.hear().await,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#
    );
    broker.moved.send_modify(|n| *n += 1);
    let list = client.ask(&legacy("3", "tools/list", "")).await;
    assert_eq!(list, r#"{"jsonrpc":"2.0","id":3,"result":{"tools":[]}}"#);
    assert_eq!(client.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_subscription_is_acknowledged_tagged_and_ended() {
    let mut client = Client::new(|_| {});
    let filter = r#""notifications":{"toolsListChanged":true,"promptsListChanged":true}"#;
    let mut heard = vec![
        client
            .ask(&modern("\"s\"", "subscriptions/listen", filter))
            .await,
    ];
    client.broker.set_list(&[]);
    heard.push(client.hear().await);
    heard.push(
        client
            .ask(&modern(
                "8",
                "subscriptions/listen",
                r#""notifications":{}"#,
            ))
            .await,
    );
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

#[tokio::test(start_paused = true)]
async fn calls_in_flight_end_after_the_last_message() {
    let mut client = Client::legacy().await;
    client
        .say(&legacy("1", "tools/call", r#""name":"slow""#))
        .await;
    let broker = Arc::clone(&client.broker);
    // The drain of 30 seconds is shorter than the minute the call takes.
    assert_eq!(client.end().await, Vec::<String>::new());
    assert_eq!(*broker.ended.lock().unwrap(), ["slow cancelled"]);

    let mut client = Client::new(|settings| settings.drain = Duration::from_secs(90));
    client
        .say(&modern("1", "tools/call", r#""name":"slow""#))
        .await;
    let heard = client.end().await;
    assert!(
        heard.len() == 1 && heard[0].contains("\"id\":1"),
        "{heard:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_calls_end() {
    let mut client = Client::new(|settings| settings.drain = Duration::from_secs(90));
    client
        .say(&modern("1", "tools/call", r#""name":"slow""#))
        .await;
    client.ask(&legacy("2", "ping", "")).await;
    client.shutdown.cancel();
    let answer: Value = serde_json::from_str(&client.hear().await).unwrap();
    assert_eq!(answer["id"], 1);
    client.serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_go_on_when_the_client_is_gone() {
    let mut client = Client::new(|settings| settings.drain = Duration::from_secs(90));
    client
        .say(&modern("1", "tools/call", r#""name":"slow""#))
        .await;
    client.ask(&legacy("2", "ping", "")).await;
    drop(client.read);
    client
        .write
        .as_mut()
        .unwrap()
        .write_all(b"{}\n")
        .await
        .unwrap();
    client.serving.await.unwrap().unwrap();
    assert_eq!(*client.broker.ended.lock().unwrap(), ["slow answered"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_does_not_hold_the_process() {
    let mut client = Client::new(|_| {});
    let params = r#""name":"steps","_meta":{"progressToken":1,"#.to_owned() + META + "}";
    let filler = format!(r#","arguments":{{"x":"{}"}}"#, "y".repeat(9000));
    for id in 0..30 {
        let line = legacy(&id.to_string(), "tools/call", &format!("{params}{filler}"));
        client.say(&line).await;
    }
    client.write = None;
    client.serving.await.unwrap().unwrap();
}
