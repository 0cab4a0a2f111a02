//! The list of tools as one client sees it, and what tells the client that it
//! is no longer what it was.

use super::Client;
use super::LEGACY;
use super::MODERN;
use super::agreed;
use super::write::Outbound;
use super::write::notification;
use super::write::server_info;
use crate::broker::Broker;
use crate::principal::PrincipalId;
use crate::tool::Digest;
use serde_json::json;
use tokio::sync::watch;

/// How long a modern client may take a list for fresh, in milliseconds. Short,
/// because what a principal sees follows policy and pins.
const LIST_TTL_MS: u32 = 60_000;
/// The same for what is served at all, which changes with the program.
const DISCOVER_TTL_MS: u32 = 3_600_000;

/// Told to every model, whatever it asks later.
const INSTRUCTIONS: &str = "Every tool call is checked against the operator's policy before it is sent. \
    A refused call says whether the decision is final or who can approve exactly that call; \
    ask that person instead of trying other ways. \
    Do not split, rephrase or repeat a refused call.";

/// The list of tools of one principal at one moment.
#[derive(Debug)]
pub(super) struct List {
    entries: String,
}

impl List {
    /// Asks for it.
    pub(super) async fn of(broker: &Broker, principal: &PrincipalId) -> Self {
        Self {
            entries: broker.tools(principal).await.join(","),
        }
    }

    /// What two equal lists have in common.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(self.entries.as_bytes())
    }

    /// The result of `tools/list`.
    pub(super) fn result(&self, client: Client) -> String {
        let entries = &self.entries;
        match client {
            Client::Legacy => format!(r#"{{"tools":[{entries}]}}"#),
            Client::Modern => {
                let meta = json!({"io.modelcontextprotocol/serverInfo": server_info()});
                format!(
                    r#"{{"resultType":"complete","tools":[{entries}],"ttlMs":{LIST_TTL_MS},"cacheScope":"private","_meta":{meta}}}"#
                )
            }
        }
    }
}

/// The result of `initialize`.
pub(super) fn initialized(requested: &str) -> String {
    json!({
        "protocolVersion": agreed(requested),
        "capabilities": {"tools": {"listChanged": true}},
        "serverInfo": server_info(),
        "instructions": INSTRUCTIONS,
    })
    .to_string()
}

/// The result of `server/discover`.
pub(super) fn discovered() -> String {
    let versions: Vec<&str> = std::iter::once(MODERN).chain(LEGACY).collect();
    json!({
        "resultType": "complete",
        "supportedVersions": versions,
        "capabilities": {"tools": {"listChanged": true}},
        "instructions": INSTRUCTIONS,
        "ttlMs": DISCOVER_TTL_MS,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": server_info()},
    })
    .to_string()
}

/// The notification that the list changed; `meta` is the text of an object.
pub(super) fn changed(meta: Option<&str>) -> Outbound {
    let params = meta.map(|meta| format!(r#"{{"_meta":{meta}}}"#));
    notification("notifications/tools/list_changed", params.as_deref())
}

/// Follows one list for one client, so that it hears of every change and of
/// nothing else.
#[derive(Debug)]
pub(super) struct Follower {
    changes: watch::Receiver<u64>,
    told: Digest,
}

impl Follower {
    /// Starts with the list as it is.
    pub(super) async fn start(broker: &Broker, principal: &PrincipalId) -> Self {
        // In this order: a change between the two is then seen twice, not never.
        let changes = broker.changes();
        let told = List::of(broker, principal).await.digest();
        Self { changes, told }
    }

    /// Waits until the list may have changed; for ever where nothing changes it
    /// any more.
    pub(super) async fn moved(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The client was sent the list of this digest.
    pub(super) fn sent(&mut self, list: Digest) {
        self.told = list;
    }

    /// Whether the list differs from what the client knows. From then on it
    /// counts as told.
    pub(super) async fn differs(&mut self, broker: &Broker, principal: &PrincipalId) -> bool {
        let now = List::of(broker, principal).await.digest();
        let differs = now != self.told;
        self.told = now;
        differs
    }
}
