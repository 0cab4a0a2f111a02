//! The client of the Rust SDK, in each of its ways to open a connection.

use crate::world::APPROVE;
use crate::world::GET;
use crate::world::OWN;
use crate::world::World;
use crate::world::payment;
use rmcp::RoleClient;
use rmcp::model::CallToolRequestParams;
use rmcp::model::ProtocolVersion;
use rmcp::service::ClientLifecycleMode;
use rmcp::service::ClientServiceExt;
use rmcp::service::RunningService;
use rmcp::transport::TokioChildProcess;
use serde_json::Value;
use serde_json::json;
use std::process::Stdio;

type Client = RunningService<RoleClient, ()>;

async fn opens(world: &World, lifecycle: ClientLifecycleMode) -> Client {
    let command = tokio::process::Command::from(world.command(&["stdio"]));
    let (transport, _no_stderr) = TokioChildProcess::builder(command)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    ().serve_with_lifecycle(transport, lifecycle).await.unwrap()
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> (bool, String) {
    let arguments = arguments.as_object().unwrap().clone();
    let asked = CallToolRequestParams::new(tool).with_arguments(arguments);
    let result = client.call_tool(asked).await.unwrap();
    let text = &result.content[0].as_text().unwrap().text;
    (result.is_error == Some(true), text.clone())
}

/// Two processes of the client, one after the other, in one session.
async fn works(lifecycle: ClientLifecycleMode, revision: ProtocolVersion) {
    let world = World::new();
    let client = opens(&world, lifecycle.clone()).await;
    let server = client.peer_info().unwrap();
    assert_eq!(server.protocol_version, revision);
    let tools = client.list_all_tools().await.unwrap();
    let names = tools.iter().map(|tool| &*tool.name);
    let names: Vec<_> = names.filter(|name| !name.starts_with(OWN)).collect();
    assert_eq!(names, [APPROVE, GET]);
    let (failed, text) = call(&client, GET, json!({"claim_id": "99"})).await;
    assert!(!failed && text.starts_with("Claim 99"), "{text}");
    let (failed, text) = call(&client, APPROVE, payment(9_000)).await;
    assert!(!failed, "{text}");
    let (failed, text) = call(&client, APPROVE, payment(50_000)).await;
    assert!(failed && text.starts_with("Limit Exceeded."), "{text}");
    client.cancel().await.unwrap();

    let client = opens(&world, lifecycle).await;
    let (failed, text) = call(&client, APPROVE, payment(9_001)).await;
    assert!(!failed, "{text}");
    let (failed, text) = call(&client, APPROVE, payment(9_002)).await;
    assert!(failed && text.starts_with("Session Limit"), "{text}");
    client.cancel().await.unwrap();
    assert_eq!(world.paid(), [900_000, 900_100]);
}

#[tokio::test]
async fn it_works_with_initialize() {
    let lifecycle = ClientLifecycleMode::Initialize;
    works(lifecycle, ProtocolVersion::V_2025_11_25).await;
}

#[tokio::test]
async fn it_works_with_discover() {
    let lifecycle = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    works(lifecycle, ProtocolVersion::V_2026_07_28).await;
}

#[tokio::test]
async fn it_finds_the_newest_revision_by_itself() {
    let lifecycle = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: None,
    };
    works(lifecycle, ProtocolVersion::V_2026_07_28).await;
}
