//! Which era, and which tools.

use super::super::catalog;
use super::super::handshake::Refusal;
use super::super::offers::Offers;
use super::*;
use std::process::Stdio;

const MODERN: &str = r#"{"resultType":"complete","supportedVersions":["2025-11-25","2026-07-28"],"capabilities":{"tools":{"listChanged":true}},"ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"new","version":"2"}}}"#;

fn initialized(revision: &str) -> String {
    format!(
        r#"{{"protocolVersion":"{revision}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"old","version":"1"}}}}"#
    )
}

const TOOLS: Offers = Offers {
    tools: true,
    prompts: false,
    resources: false,
    subscriptions: false,
    completions: false,
    tasks: false,
    asked_tasks: false,
    apps: false,
    logging: false,
    tells_changes: false,
};

#[tokio::test]
async fn a_modern_server_is_greeted_by_the_probe_alone() {
    let (link, mut peer) = pipe(1 << 16);
    let opened = opens(&link);
    let probe = peer.hears().await;
    assert_eq!(probe["method"], "server/discover");
    let meta = &probe["params"]["_meta"];
    assert_eq!(
        meta["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
    assert_eq!(
        meta["io.modelcontextprotocol/clientInfo"]["name"],
        "countersign"
    );
    assert_eq!(
        meta["io.modelcontextprotocol/clientCapabilities"],
        serde_json::json!({})
    );
    peer.answers(probe["id"].as_u64().unwrap(), MODERN).await;
    assert_eq!(
        opened.await.unwrap().unwrap(),
        Greeting {
            era: Era::Modern("2026-07-28".to_owned()),
            server: "new 2".to_owned(),
            offers: Offers {
                tells_changes: true,
                ..TOOLS
            },
            capabilities: Some(r#"{"tools":{"listChanged":true}}"#.to_owned()),
        }
    );
}

/// What a server says to the probe, where that makes it a legacy one.
const NOT_MODERN: [&str; 8] = [
    r#""error":{"code":-32601,"message":"method not found"}"#,
    r#""error":{"code":-32602,"message":"not initialized"}"#,
    r#""error":{"code":-32000,"message":"no","data":{"supported":["2026-07-28"]}}"#,
    r#""error":{"code":-32022,"message":"no","data":{"supported":["2025-11-25"]}}"#,
    r#""error":{"code":-32020,"message":"no"}"#,
    r#""result":{"supportedVersions":["2025-11-25"]}"#,
    r#""result":{}"#,
    r#""result":null"#,
];

#[tokio::test]
async fn whatever_is_no_modern_answer_leads_to_initialize() {
    for says in NOT_MODERN {
        for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
            let (link, mut peer) = pipe(1 << 16);
            let opened = opens(&link);
            let id = peer.asked("server/discover").await;
            peer.says(&format!(r#"{{"jsonrpc":"2.0","id":{id},{says}}}"#))
                .await;
            let request = peer.hears().await;
            assert_eq!(request["method"], "initialize", "{says}");
            assert_eq!(
                request["params"],
                serde_json::json!({
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": {"name": "countersign", "version": env!("CARGO_PKG_VERSION")}
                })
            );
            let id = request["id"].as_u64().unwrap();
            peer.answers(id, &initialized(revision)).await;
            assert_eq!(
                peer.hears_text().await.unwrap(),
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#
            );
            let greeting = opened.await.unwrap().unwrap();
            assert_eq!(greeting.era, Era::Legacy(revision.to_owned()));
            assert_eq!(greeting.server, "old 1");
        }
    }
}

#[tokio::test]
async fn a_modern_error_that_supports_our_revision_stays_modern() {
    for code in [-32020, -32021, -32022] {
        let (link, mut peer) = pipe(1 << 16);
        let opened = opens(&link);
        let id = peer.asked("server/discover").await;
        let error = format!(
            r#"{{"code":{code},"message":"no","data":{{"supported":["2026-07-28"],"requested":"x"}}}}"#
        );
        peer.fails(id, &error).await;
        let greeting = opened.await.unwrap().unwrap();
        assert_eq!(greeting.era, Era::Modern("2026-07-28".to_owned()));
    }
}

#[tokio::test]
async fn an_error_without_an_id_answers_the_probe() {
    let (link, mut peer) = pipe(1 << 16);
    let opened = opens(&link);
    peer.asked("server/discover").await;
    peer.says(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"?"}}"#)
        .await;
    let id = peer.asked("initialize").await;
    peer.answers(id, &initialized("2025-06-18")).await;
    assert!(opened.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_not_answered_gives_way_to_an_initialize_that_is() {
    let (link, mut peer) = pipe(1 << 16);
    let since = Instant::now();
    let opened = opens(&link);
    let probe = peer.asked("server/discover").await;
    let id = peer.asked("initialize").await;
    assert_eq!(since.elapsed().as_secs(), 10);
    peer.answers(probe, MODERN).await;
    peer.answers(id, &initialized("2025-11-25")).await;
    let greeting = opened.await.unwrap().unwrap();
    assert_eq!(greeting.era, Era::Legacy("2025-11-25".to_owned()));
}

const NO_INITIALIZE: &str =
    r#"{"code":-32022,"message":"the initialize handshake is not accepted"}"#;

#[tokio::test(start_paused = true)]
async fn a_late_answer_to_the_probe_counts_where_initialize_is_refused() {
    for probe_first in [true, false] {
        let (link, mut peer) = pipe(1 << 16);
        let opened = opens(&link);
        let probe = peer.asked("server/discover").await;
        let id = peer.asked("initialize").await;
        if probe_first {
            peer.answers(probe, MODERN).await;
            peer.fails(id, NO_INITIALIZE).await;
        } else {
            peer.fails(id, NO_INITIALIZE).await;
            peer.answers(probe, MODERN).await;
        }
        let greeting = opened.await.unwrap().unwrap();
        assert_eq!(greeting.era, Era::Modern("2026-07-28".to_owned()));
        assert_eq!(greeting.server, "new 2", "{probe_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_to_the_probe_alone_counts_after_a_while() {
    let (link, mut peer) = pipe(1 << 16);
    let opened = opens(&link);
    let probe = peer.asked("server/discover").await;
    peer.asked("initialize").await;
    peer.answers(probe, MODERN).await;
    let greeting = opened.await.unwrap().unwrap();
    assert_eq!(greeting.era, Era::Modern("2026-07-28".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_initialize_that_is_refused_counts_where_the_probe_is_never_answered() {
    let (link, mut peer) = pipe(1 << 16);
    let opened = opens(&link);
    peer.asked("server/discover").await;
    let id = peer.asked("initialize").await;
    peer.fails(id, r#"{"code":-32603,"message":"no licence"}"#)
        .await;
    let Err(Refusal::Failed(why)) = opened.await.unwrap() else {
        panic!("it was opened");
    };
    assert!(why.contains("no licence"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn late_errors_without_an_id_answer_in_the_order_of_the_requests() {
    let (link, mut peer) = pipe(1 << 16);
    let opened = opens(&link);
    peer.asked("server/discover").await;
    let id = peer.asked("initialize").await;
    peer.says(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"?"}}"#)
        .await;
    peer.answers(id, &initialized("2025-06-18")).await;
    assert!(opened.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_server_that_ends_during_the_probe_is_told_apart() {
    let (link, mut peer) = pipe(1 << 16);
    let opened = opens(&link);
    peer.asked("server/discover").await;
    let _tasks = peer.ends();
    assert_eq!(opened.await.unwrap(), Err(Refusal::ProbeKilled));
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_that_ends_of_the_probe_is_told_apart_too() {
    let (link, mut peer) = pipe(1 << 16);
    let opened = opens(&link);
    peer.asked("server/discover").await;
    peer.asked("initialize").await;
    let _tasks = peer.ends();
    assert_eq!(opened.await.unwrap(), Err(Refusal::ProbeKilled));
}

/// Answers nothing before it was sent both, as a server that starts slowly does.
const SLOW: &str = "IFS= read -r probe; IFS= read -r initialize; \
    { printf '%s\\n%s\\n' \"$probe\" \"$initialize\"; cat; } | sh \"$0\"";

#[tokio::test]
async fn a_process_that_is_slower_than_the_probe_is_opened_in_its_era() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/changing.sh");
    for (named, era) in [
        ("modern", Era::Modern("2026-07-28".to_owned())),
        ("legacy", Era::Legacy("2025-06-18".to_owned())),
    ] {
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", SLOW, script])
            .env("ERA", named)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (from, to) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
        let (link, tasks) = Link::open("claims".parse().unwrap(), MAX_LINE, from, to);
        let reach = Reach::Pipe(Arc::clone(&link));
        // Its passing is what the server waits for; it answers only after that.
        let asked = (Duration::from_millis(1), &Declared::default());
        let greeting = soon(handshake::open(&reach, Opening::Probe, asked)).await;
        assert_eq!(greeting.unwrap().era, era);
        let listed = lists(&link, era).await.unwrap();
        assert_eq!(listed.unwrap().definitions.len(), 1);
        drop(tasks);
        soon(child.wait()).await.unwrap();
    }
}

#[tokio::test]
async fn an_initialize_that_fails_or_names_an_unknown_revision_is_refused() {
    for (says, why) in [
        (
            r#""error":{"code":-32603,"message":"no licence\nfound"}"#,
            "`initialize` was answered with the error -32603: no licence found",
        ),
        (
            r#""result":{"protocolVersion":"2099-01-01"}"#,
            "revision `2099-01-01`",
        ),
        (
            r#""result":{"protocolVersion":"2026-07-28"}"#,
            "revision `2026-07-28`",
        ),
        (r#""result":[]"#, "no JSON object"),
    ] {
        let (link, mut peer) = pipe(1 << 16);
        let opened = opens(&link);
        let id = peer.asked("server/discover").await;
        peer.fails(id, r#"{"code":-32601,"message":"no"}"#).await;
        let id = peer.asked("initialize").await;
        peer.says(&format!(r#"{{"jsonrpc":"2.0","id":{id},{says}}}"#))
            .await;
        let Err(Refusal::Failed(said)) = opened.await.unwrap() else {
            panic!("{says}");
        };
        assert!(said.contains(why), "{said}");
    }
}

fn lists(link: &Arc<Link>, era: Era) -> JoinHandle<Result<catalog::Listing, String>> {
    let link = Arc::clone(link);
    tokio::spawn(soon(async move {
        catalog::list(
            &Reach::Pipe(link),
            &"claims".parse().unwrap(),
            (&era, TOOLS),
            &Declared::default(),
        )
        .await
    }))
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    for (era, has_meta) in [
        (Era::Legacy("2025-11-25".to_owned()), false),
        (Era::Modern("2026-07-28".to_owned()), true),
    ] {
        let (link, mut peer) = pipe(1 << 16);
        let listed = lists(&link, era);
        for (cursor, page) in [
            (
                None,
                r#"{"tools":[{"name":"a","inputSchema":{}}],"nextCursor":"\"2"}"#,
            ),
            (
                Some("\"2"),
                r#"{"tools":[{"name":"b","inputSchema":{}}],"nextCursor":"3"}"#,
            ),
            (Some("3"), r#"{"tools":[{"name":"c","inputSchema":{}}]}"#),
        ] {
            let request = peer.hears().await;
            assert_eq!(request["method"], "tools/list");
            assert_eq!(request["params"]["cursor"].as_str(), cursor);
            assert_eq!(request["params"]["_meta"].is_object(), has_meta);
            peer.answers(request["id"].as_u64().unwrap(), page).await;
        }
        let listing = listed.await.unwrap().unwrap();
        let ids: Vec<String> = listing
            .definitions
            .iter()
            .map(|tool| tool.id.to_string())
            .collect();
        assert_eq!(ids, ["claims/a", "claims/b", "claims/c"]);
    }
}

#[tokio::test]
async fn a_list_whose_cursor_comes_again_or_that_fails_is_an_error() {
    let (link, mut peer) = pipe(1 << 16);
    let listed = lists(&link, Era::Legacy("2025-11-25".to_owned()));
    for cursor in ["1", "2", "1"] {
        let id = peer.asked("tools/list").await;
        let page = format!(r#"{{"tools":[],"nextCursor":"{cursor}"}}"#);
        peer.answers(id, &page).await;
    }
    let why = listed.await.unwrap().unwrap_err();
    assert!(why.contains("same cursor"), "{why}");

    let listed = lists(&link, Era::Legacy("2025-11-25".to_owned()));
    let id = peer.asked("tools/list").await;
    peer.fails(id, r#"{"code":-32603,"message":"database is down"}"#)
        .await;
    let why = listed.await.unwrap().unwrap_err();
    assert!(why.contains("database is down"), "{why}");
}

#[tokio::test]
async fn a_change_of_the_tools_is_noticed_in_both_eras() {
    for (link, mut peer) in [legacy(1 << 16), modern()] {
        peer.says(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#)
            .await;
        soon(link.tools_changed()).await;
        peer.says(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#).await;
        soon(link.tools_changed()).await;
    }
}
