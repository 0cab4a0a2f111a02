//! The client of the Rust SDK, which knows tasks, waits over an end of the broker.

use super::MUCH;
use super::approved;
use crate::world::APPROVE;
use crate::world::PATIENCE;
use crate::world::World;
use crate::world::payment;
use rmcp::RoleClient;
use rmcp::model::CallToolRequestParams;
use rmcp::model::CallToolResponse;
use rmcp::model::ClientCapabilities;
use rmcp::model::ClientConfig;
use rmcp::model::GetTaskParams;
use rmcp::model::Implementation;
use rmcp::model::ProtocolVersion;
use rmcp::model::TaskPayload;
use rmcp::service::ClientLifecycleMode;
use rmcp::service::ClientServiceExt;
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use std::time::Duration;
use std::time::Instant;

type Client = RunningService<RoleClient, ClientConfig>;

async fn opens(url: String, key: &str) -> Client {
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(key.to_owned());
    let transport = StreamableHttpClientTransport::from_config(config);
    let capabilities = ClientCapabilities::builder().enable_tasks().build();
    let client = ClientConfig::new(capabilities, Implementation::new("test", "1"));
    let lifecycle = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    let client = client.serve_with_lifecycle(transport, lifecycle);
    client.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_client_waits_over_an_end_of_the_broker_and_gets_the_result() {
    let world = World::new();
    world.edit(
        "countersign.toml",
        "risk = \"high\"",
        "risk = \"high\"\non_approval = \"resume\"",
    );
    let [alice, mia] = ["alice", "mia"].map(|name| world.key(name));
    let broker = world.serve();
    let client = opens(broker.url("/mcp"), &alice).await;
    let arguments = payment(MUCH).as_object().unwrap().clone();
    let asked = CallToolRequestParams::new(APPROVE).with_arguments(arguments);
    let begun = client.call_tool_once(asked).await.unwrap();
    let CallToolResponse::Task(begun) = begun else {
        panic!("no task: {begun:?}");
    };
    let task = begun.task.task_id.clone();
    let meta = serde_json::to_value(&begun.meta).unwrap();
    let id = meta["dev.countersign/decision"]["escalation"].as_str();
    let id = id.unwrap().to_owned();
    let got = client.get_task(GetTaskParams::new(&task)).await.unwrap();
    assert_eq!(got.task.payload, TaskPayload::Working);

    let broker = world.restarted(broker);
    let got = client.get_task(GetTaskParams::new(&task)).await.unwrap();
    assert_eq!(got.task.payload, TaskPayload::Working);
    approved(&world, &mia, &id);
    let begun = Instant::now();
    let result = loop {
        let got = client.get_task(GetTaskParams::new(&task)).await.unwrap();
        match got.task.payload {
            TaskPayload::Completed { result } => break result,
            TaskPayload::Working => {}
            other => panic!("{other:?}"),
        }
        assert!(begun.elapsed() < PATIENCE, "the task never ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let text = &result["content"][0]["text"];
    assert_eq!(text, "Paid $50000.00 to ACME on claim 99.");
    client.cancel().await.unwrap();
    assert_eq!(world.paid(), [5_000_000]);
    drop(broker);
}
