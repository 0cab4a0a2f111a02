//! A server of the official Rust SDK, in both eras: what we write is what
//! another implementation understands.

use super::super::catalog;
use super::super::wire::Control;
use super::*;
use rmcp::ErrorData;
use rmcp::ServerHandler;
use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::model::CallToolResponse;
use rmcp::model::CallToolResult;
use rmcp::model::ContentBlock;
use rmcp::model::Implementation;
use rmcp::model::ListToolsResult;
use rmcp::model::PaginatedRequestParams;
use rmcp::model::ProgressNotificationParam;
use rmcp::model::ProtocolVersion;
use rmcp::model::ServerCapabilities;
use rmcp::model::ServerConfig;
use rmcp::model::SubscriptionFilter;
use rmcp::model::Tool;
use rmcp::service::RequestContext;
use rmcp::service::RoleServer;
use rmcp::service::SubscriptionContext;
use std::borrow::Cow;
use tokio::sync::Notify;

struct Claims {
    versions: Vec<ProtocolVersion>,
    changed: Notify,
}

impl ServerHandler for Claims {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("claims", "9"))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Owned(self.versions.clone())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = Arc::new(serde_json::Map::new());
        let tools = vec![Tool::new("pay", "pays", schema)];
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(token) = context.meta.get_progress_token() {
            let progress = ProgressNotificationParam::new(token, 1.0);
            context.peer.notify_progress(progress).await.unwrap();
        }
        self.changed.notify_one();
        let heard = serde_json::json!({"arguments": request.arguments, "meta": context.meta});
        let heard = ContentBlock::text(heard.to_string());
        Ok(CallToolResult::success(vec![heard]).into())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.changed.notified().await;
        context.sink().notify_tool_list_changed().await.unwrap();
        context.cancelled().await;
        Ok(())
    }
}

fn serves(versions: &[ProtocolVersion]) -> (Arc<Link>, JoinSet<()>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (from, to) = tokio::io::split(ours);
    let (link, mut tasks) = Link::open("claims".parse().unwrap(), MAX_LINE, from, to);
    let server = Claims {
        versions: versions.to_vec(),
        changed: Notify::new(),
    };
    tasks.spawn(async move {
        server.serve(theirs).await.unwrap().waiting().await.unwrap();
    });
    (link, tasks)
}

#[tokio::test]
async fn a_server_of_the_sdk_is_opened_listed_and_called_in_both_eras() {
    for (versions, era) in [
        (
            vec![ProtocolVersion::V_2026_07_28],
            Era::Modern("2026-07-28".to_owned()),
        ),
        (
            ProtocolVersion::KNOWN_VERSIONS.to_vec(),
            Era::Modern("2026-07-28".to_owned()),
        ),
        (
            vec![ProtocolVersion::V_2025_11_25],
            Era::Legacy("2025-11-25".to_owned()),
        ),
        (
            vec![ProtocolVersion::V_2024_11_05],
            Era::Legacy("2024-11-05".to_owned()),
        ),
    ] {
        let (link, mut tasks) = serves(&versions);
        let greeting = opens(&link).await.unwrap().unwrap();
        assert_eq!(greeting.era, era);
        assert_eq!(greeting.server, "claims 9");
        assert!(greeting.offers.tools && greeting.offers.tells_changes);
        if let Era::Modern(_) = era {
            let listener = Arc::clone(&link);
            tasks.spawn(async move {
                let offers = greeting.offers;
                drop(listener.request(Control::Listen { offers }).await);
            });
        }
        let listing = catalog::list(
            &Reach::Pipe(Arc::clone(&link)),
            &"claims".parse().unwrap(),
            (&era, greeting.offers),
            &Declared::default(),
        )
        .await;
        assert_eq!(listing.unwrap().definitions.len(), 1);

        let call = OutgoingCall {
            mirrored: Arc::default(),
            arguments: Some(r#"{"amount":5}"#.into()),
            meta: Some(r#"{"traceparent":"00-a","progressToken":"theirs"}"#.into()),
            ..outgoing("pay")
        };
        let (progress, mut heard) = mpsc::channel(CallLine::ROOM);
        let line = CallLine {
            progress: Some(progress),
            ..line()
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        let sent = link.call(permit(), &call, line, deadline).await;
        let Sent::Result { json, .. } = sent else {
            panic!("{sent:?}");
        };
        let result: Value = serde_json::from_str(&json).unwrap();
        let text = result["content"][0]["text"].as_str().unwrap();
        let got: Value = serde_json::from_str(text).unwrap();
        assert_eq!(got["arguments"], serde_json::json!({"amount": 5}));
        assert_eq!(got["meta"]["traceparent"], "00-a");
        assert!(soon(heard.recv()).await.unwrap().contains("progressToken"));
        if let Era::Modern(_) = era {
            soon(link.tools_changed()).await;
        }
    }
}
