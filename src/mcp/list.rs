//! The lists as one client sees them, and what tells the client that they are no
//! longer what they were.

use super::Client;
use super::agreed;
use super::write::Outbound;
use super::write::notification;
use super::write::served;
use super::write::server_info;
use crate::broker::Broker;
use crate::broker::Has;
use crate::broker::Lists;
use crate::json;
use crate::json::Object;
use crate::json::Splice;
use crate::principal::PrincipalId;
use crate::tool::Declared;
use crate::tool::Digest;
use crate::tool::Extension;
use serde_json::Map;
use serde_json::Value;
use serde_json::json as value;
use std::borrow::Cow;
use std::sync::Arc;
use tokio::sync::watch;

/// How long a modern client may take a list for fresh at most, in milliseconds.
/// Short, because what a principal sees follows policy and pins; shorter where a server
/// says so of what it has in it.
const LIST_TTL_MS: u128 = 60_000;
/// The same for what is served at all, which changes with the program.
const DISCOVER_TTL_MS: u32 = 3_600_000;

/// Told to every model, whatever it asks later.
const INSTRUCTIONS: &str = "Every tool call is checked against the operator's policy before it is sent. \
    A refused call says whether the decision is final or who can approve exactly that call; \
    ask that person instead of trying other ways. \
    Do not split, rephrase or repeat a refused call.";

/// Who asks for a list: the principal, and what his client can be asked.
pub(super) type Who<'a> = (&'a PrincipalId, &'a Declared);

/// A list of one principal at one moment.
#[derive(Debug)]
pub(super) struct List {
    of: Lists,
    entries: Vec<Arc<str>>,
    /// How long it is fresh, in milliseconds.
    ttl: u128,
}

impl List {
    /// Asks for it, for a client that can be asked this.
    pub(super) async fn of(broker: &Broker, (principal, can): Who<'_>, of: Lists) -> Self {
        let entries = broker.list(principal, can, of).await;
        let fresh = broker.fresh_for(of).map(|left| left.as_millis());
        Self {
            of,
            entries,
            ttl: fresh.unwrap_or(LIST_TTL_MS).min(LIST_TTL_MS),
        }
    }

    /// What two equal lists have in common.
    pub(super) fn digest(&self) -> Digest {
        Digest::of_parts(self.entries.iter().map(|entry| entry.as_bytes()))
    }

    /// The result of the method that asks for it.
    pub(super) fn result(&self, client: Client) -> String {
        let (member, ttl) = (self.of.member(), self.ttl);
        match client {
            Client::Legacy => {
                let entries = self.entries.iter().map(|entry| for_legacy(entry));
                let entries: Vec<Cow<'_, str>> = entries.collect();
                format!(r#"{{"{member}":[{}]}}"#, entries.join(","))
            }
            Client::Modern => {
                let entries = self.entries.join(",");
                let meta = value!({"io.modelcontextprotocol/serverInfo": server_info()});
                format!(
                    r#"{{"resultType":"complete","{member}":[{entries}],"ttlMs":{ttl},"cacheScope":"private","_meta":{meta}}}"#
                )
            }
        }
    }
}

/// An entry as revisions before 2026-07-28 can read it: the schema of a tool's
/// results describes an object there, or is left out.
fn for_legacy(entry: &str) -> Cow<'_, str> {
    let Ok(members) = Object::parse(entry) else {
        return entry.into();
    };
    let of_object = |schema: &str| {
        let schema = Object::parse(schema).ok();
        let kind = schema.and_then(|schema| schema.get("type").and_then(json::text));
        kind.as_deref() == Some("object")
    };
    match members.get("outputSchema") {
        Some(schema) if !of_object(schema) => {
            let splice = Splice::new(entry).remove_member(entry, "outputSchema");
            splice.finish().into()
        }
        Some(_) | None => entry.into(),
    }
}

/// The result of `initialize`.
pub(super) fn initialized(requested: &str, has: Has, digest: Option<&str>) -> String {
    value!({
        "protocolVersion": agreed(requested),
        "capabilities": capabilities(has, Client::Legacy),
        "serverInfo": server_info(),
        "instructions": instructions(digest),
    })
    .to_string()
}

/// What every model is told, and where its session stands.
fn instructions(digest: Option<&str>) -> String {
    match digest {
        None => INSTRUCTIONS.to_owned(),
        Some(digest) => format!("{INSTRUCTIONS}\n\n{digest}"),
    }
}

/// The result of `server/discover`.
pub(super) fn discovered(has: Has, digest: Option<&str>) -> String {
    value!({
        "resultType": "complete",
        "supportedVersions": served(),
        "capabilities": capabilities(has, Client::Modern),
        "instructions": instructions(digest),
        // Where a session stands is true for the moment.
        "ttlMs": if digest.is_some() { 0 } else { DISCOVER_TTL_MS },
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": server_info()},
    })
    .to_string()
}

/// What we serve: tools always, and what the servers have besides.
fn capabilities(has: Has, client: Client) -> Value {
    let extensions = [
        (has.tasks && client == Client::Modern, Extension::Tasks),
        (has.apps, Extension::Apps),
    ];
    let extensions = extensions.into_iter().filter(|(there, _)| *there);
    let extensions: Map<String, Value> = extensions
        .map(|(_, extension)| (extension.id().to_owned(), value!({})))
        .collect();
    let asked_tasks = has.asked_tasks && client == Client::Legacy;

    let mut capabilities = value!({"tools": {"listChanged": true}});
    if let Some(members) = capabilities.as_object_mut() {
        let mut say = |there: bool, name: &str, what: Value| {
            if there {
                members.insert(name.to_owned(), what);
            }
        };
        say(has.prompts, "prompts", value!({"listChanged": true}));
        let resources = match has.subscriptions {
            true => value!({"listChanged": true, "subscribe": true}),
            false => value!({"listChanged": true}),
        };
        say(has.resources, "resources", resources);
        say(has.completions, "completions", value!({}));
        say(has.logging, "logging", value!({}));
        let tasks = value!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
        say(asked_tasks, "tasks", tasks);
        say(!extensions.is_empty(), "extensions", extensions.into());
    }
    capabilities
}

/// What a client can hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    Tools,
    Prompts,
    /// Resources and templates.
    Resources,
}

impl Followed {
    /// The notification that it changed; `meta` is the text of an object.
    pub(super) fn changed(self, meta: Option<&str>) -> Outbound {
        let params = meta.map(|meta| format!(r#"{{"_meta":{meta}}}"#));
        let method = match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources => "notifications/resources/list_changed",
        };
        notification(method, params.as_deref())
    }

    async fn digest(self, broker: &Broker, who: Who<'_>) -> Digest {
        let list = async |of| List::of(broker, who, of).await.digest();
        match self {
            Self::Tools => list(Lists::Tools).await,
            Self::Prompts => list(Lists::Prompts).await,
            Self::Resources => {
                let resources = list(Lists::Resources).await;
                let templates = list(Lists::Templates).await;
                Digest::of_parts([resources.as_bytes().as_slice(), templates.as_bytes()])
            }
        }
    }
}

/// That every list that is served may have changed.
pub(super) fn all_changed(has: Has) -> Vec<Outbound> {
    let lists = [
        (true, Followed::Tools),
        (has.prompts, Followed::Prompts),
        (has.resources, Followed::Resources),
    ];
    let served = lists.into_iter().filter(|(served, _)| *served);
    served.map(|(_, list)| list.changed(None)).collect()
}

/// Follows lists for one client, so that it hears of every change and of nothing
/// else.
#[derive(Debug)]
pub(super) struct Follower {
    changes: watch::Receiver<u64>,
    told: Vec<(Followed, Digest)>,
}

impl Follower {
    /// Starts with the lists as they are.
    pub(super) async fn start(
        broker: &Broker,
        who: Who<'_>,
        followed: impl IntoIterator<Item = Followed>,
    ) -> Self {
        // In this order: a change between the two is then seen twice, not never.
        let changes = broker.changes();
        let mut told = Vec::new();
        for list in followed {
            told.push((list, list.digest(broker, who).await));
        }
        Self { changes, told }
    }

    /// Waits until a list may have changed; for ever where nothing changes it
    /// any more.
    pub(super) async fn moved(&mut self) {
        if self.told.is_empty() || self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The client was sent the list of tools of this digest.
    pub(super) fn sent(&mut self, tools: Digest) {
        for (list, told) in &mut self.told {
            if *list == Followed::Tools {
                *told = tools;
            }
        }
    }

    /// The lists that differ from what the client knows. From then on they count
    /// as told.
    pub(super) async fn differing(&mut self, broker: &Broker, who: Who<'_>) -> Vec<Followed> {
        let mut differing = Vec::new();
        for (list, told) in &mut self.told {
            let now = list.digest(broker, who).await;
            if now != *told {
                *told = now;
                differing.push(*list);
            }
        }
        differing
    }
}
