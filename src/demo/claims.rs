//! The claims server of the story: a small MCP server over stdio that keeps a
//! ledger of what it really executed.

use anyhow::Context;
use rmcp::ErrorData;
use rmcp::ServerHandler;
use rmcp::ServiceExt;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::CallToolResult;
use rmcp::model::ContentBlock;
use rmcp::model::ServerCapabilities;
use rmcp::model::ServerConfig;
use rmcp::schemars::JsonSchema;
use rmcp::tool;
use rmcp::tool_handler;
use rmcp::tool_router;
use serde::Deserialize;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// How often a held payment looks whether it may go on.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// `countersign claims-server`.
#[derive(Clone, Debug)]
pub struct ClaimsServer {
    ledger: PathBuf,
    hold: Option<PathBuf>,
    tool_router: ToolRouter<Self>,
}

impl ClaimsServer {
    /// A server that writes each executed effect to `ledger`. While the file
    /// `hold` exists, a payment is executed but not answered.
    pub fn new(ledger: PathBuf, hold: Option<PathBuf>) -> Self {
        Self {
            ledger,
            hold,
            tool_router: Self::tool_router(),
        }
    }
}

/// One executed effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// `approve_payment` or `close_claim`.
    pub tool: String,
    /// Which claim.
    pub claim_id: String,
    /// How much, in cents; zero for a closed claim.
    pub cents: i64,
}

/// Reads a ledger; one that is not there yet is empty.
///
/// # Errors
///
/// When it cannot be read, or a line is none of ours.
pub fn read_ledger(path: &Path) -> anyhow::Result<Vec<LedgerLine>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context("the ledger cannot be read"),
    };
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct GetClaim {
    /// The claim's number, for example `99`
    claim_id: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct ApprovePayment {
    /// The claim's number
    claim_id: String,
    /// How much, in dollars
    amount: f64,
    /// Who is paid
    payee: String,
    /// A note for the books
    memo: Option<String>,
    /// What the payment is made of
    line_items: Option<Vec<LineItem>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct LineItem {
    /// The position's code
    code: String,
    /// How much of the payment, in dollars
    amount: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct CloseClaim {
    /// The claim's number
    claim_id: String,
    /// Why it is closed
    reason: String,
}

#[tool_router]
impl ClaimsServer {
    #[tool(
        description = "Read one claim",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn get_claim(&self, Parameters(asked): Parameters<GetClaim>) -> CallToolResult {
        text(&format!(
            "Claim {}: water damage in a kitchen, estimated at $50,000.00, reported by ACME Ltd.",
            asked.claim_id
        ))
    }

    #[tool(
        description = "Approve a payment on a claim; the money leaves at once",
        annotations(destructive_hint = true, open_world_hint = false)
    )]
    async fn approve_payment(
        &self,
        Parameters(asked): Parameters<ApprovePayment>,
    ) -> Result<CallToolResult, ErrorData> {
        let cents = (asked.amount * 100.0).round() as i64;
        let items = asked.line_items.as_deref().unwrap_or_default();
        let listed: f64 = items.iter().map(|item| item.amount).sum();
        if let Some(wrong) = items.iter().find(|item| item.code.is_empty()) {
            let problem = format!("a line item of {} has no code", wrong.amount);
            return Ok(CallToolResult::error(vec![ContentBlock::text(problem)]));
        }
        if !items.is_empty() && (listed - asked.amount).abs() >= 0.005 {
            let problem = "the line items do not add up to the amount";
            return Ok(CallToolResult::error(vec![ContentBlock::text(problem)]));
        }
        self.write(&LedgerLine {
            tool: "approve_payment".to_owned(),
            claim_id: asked.claim_id.clone(),
            cents,
        })?;
        while self.hold.as_ref().is_some_and(|hold| hold.exists()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let memo = asked
            .memo
            .map_or(String::new(), |memo| format!(" ({memo})"));
        Ok(text(&format!(
            "Paid ${}.{:02} to {} on claim {}{memo}.",
            cents / 100,
            cents % 100,
            asked.payee,
            asked.claim_id
        )))
    }

    #[tool(
        description = "Close a claim for good",
        annotations(destructive_hint = true, open_world_hint = false)
    )]
    async fn close_claim(
        &self,
        Parameters(asked): Parameters<CloseClaim>,
    ) -> Result<CallToolResult, ErrorData> {
        self.write(&LedgerLine {
            tool: "close_claim".to_owned(),
            claim_id: asked.claim_id.clone(),
            cents: 0,
        })?;
        Ok(text(&format!(
            "Closed claim {}: {}.",
            asked.claim_id, asked.reason
        )))
    }

    /// Writes one line in one piece, so that a reader never sees half of it.
    fn write(&self, line: &LedgerLine) -> Result<(), ErrorData> {
        let write = || -> std::io::Result<()> {
            let line = format!("{}\n", serde_json::to_string(line)?);
            let mut ledger = OpenOptions::new()
                .append(true)
                .create(true)
                .open(&self.ledger)?;
            ledger.write_all(line.as_bytes())
        };
        write().map_err(|error| {
            ErrorData::internal_error(format!("the ledger cannot be written: {error}"), None)
        })
    }

    /// Serves until stdin ends.
    ///
    /// # Errors
    ///
    /// When the client does not speak MCP.
    pub async fn serve(self) -> anyhow::Result<()> {
        let running = ServiceExt::serve(self, rmcp::transport::stdio()).await?;
        running.waiting().await?;
        Ok(())
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for ClaimsServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_instructions("The claims of a small insurer, for the demonstration.")
    }
}

fn text(text: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}
