//! The story's MCP client: rmcp's, with Countersign as its child process.

use anyhow::Context;
use rmcp::RoleClient;
use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::model::CallToolResult;
use rmcp::model::ProtocolVersion;
use rmcp::service::ClientLifecycleMode;
use rmcp::service::ClientServiceExt;
use rmcp::service::Peer;
use rmcp::service::RunningService;
use rmcp::transport::TokioChildProcess;
use serde_json::Value;
use std::fs::OpenOptions;
use std::path::Path;
use tokio::process::Command;

/// How the client opens the connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Opening {
    /// `initialize`, as of revision 2025-11-25.
    Initialize,
    /// `server/discover`, as of revision 2026-07-28.
    Discover,
}

/// One agent process that works through Countersign.
pub(super) struct Agent {
    service: RunningService<RoleClient, ()>,
    broker: u32,
}

/// What a tool call came back with.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) is_error: bool,
    pub(super) text: String,
}

impl Agent {
    pub(super) async fn start(
        program: &Path,
        folder: &Path,
        opening: Opening,
    ) -> anyhow::Result<Self> {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(folder.join("broker.log"))?;
        let mut command = Command::new(program);
        command
            .arg("stdio")
            .arg("--config")
            .arg(folder.join("countersign.toml"));
        let (transport, _no_stderr) = TokioChildProcess::builder(command).stderr(log).spawn()?;
        let broker = transport.id().context("the broker ended at once")?;
        let service = match opening {
            Opening::Initialize => ServiceExt::serve((), transport).await?,
            Opening::Discover => {
                let lifecycle = ClientLifecycleMode::Discover {
                    preferred_versions: vec![ProtocolVersion::V_2026_07_28],
                };
                ().serve_with_lifecycle(transport, lifecycle).await?
            }
        };
        Ok(Self { service, broker })
    }

    pub(super) async fn tools(&self) -> anyhow::Result<Vec<String>> {
        let tools = self.service.list_all_tools().await?;
        Ok(tools
            .into_iter()
            .map(|tool| tool.name.into_owned())
            .collect())
    }

    pub(super) async fn call(&self, tool: &'static str, arguments: Value) -> anyhow::Result<Reply> {
        call(self.service.peer(), tool, arguments).await
    }

    /// A second handle for calls at the same time.
    pub(super) fn peer(&self) -> Peer<RoleClient> {
        self.service.peer().clone()
    }

    /// Kills the broker as `kill -9` does.
    pub(super) fn kill_broker(&self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.broker)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("the broker has no process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        Ok(())
    }

    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.service.cancel().await?;
        Ok(())
    }
}

pub(super) async fn call(
    peer: &Peer<RoleClient>,
    tool: &'static str,
    arguments: Value,
) -> anyhow::Result<Reply> {
    let Value::Object(arguments) = arguments else {
        anyhow::bail!("arguments are an object");
    };
    let asked = CallToolRequestParams::new(tool).with_arguments(arguments);
    let result: CallToolResult = peer.call_tool(asked).await?;
    let texts = result.content.iter().filter_map(|block| block.as_text());
    let texts: Vec<_> = texts.map(|text| text.text.as_str()).collect();
    Ok(Reply {
        is_error: result.is_error == Some(true),
        text: texts.join("\n"),
    })
}
