//! Tasks of the broker's own, as each revision has them: the extension of 2026-07-28
//! (ext-tasks), and what 2025-11-25 had in its core.

use super::Came;
use super::Reader;
use super::Reply;
use super::answer;
use crate::broker::BegunTask;
use crate::broker::TaskStands;
use crate::broker::TaskView;
use crate::escalations::EscalationId;
use crate::escalations::waiting::KEPT;
use crate::json::Object;
use crate::json::Splice;
use crate::mcp::Client;
use crate::mcp::write::Fault;
use crate::mcp::write::INVALID_PARAMS;
use crate::mcp::write::server_info;
use crate::tool::Asking;
use crate::tool::TaskAsk;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

/// How soon a client should ask again, in milliseconds.
const POLL_MS: u32 = 5_000;

/// What a host may tell its model before the task has ended (MCP 2025-11-25, tasks).
const IMMEDIATE: &str = "io.modelcontextprotocol/model-immediate-response";

/// The task to which its result belongs.
const RELATED: &str = "io.modelcontextprotocol/related-task";

const OVER: &str = "the task has ended: nothing of it can be taken back";
const WORKING: &str = "the task has not ended, and the broker is about to: ask again";

/// The result of a call that waits for a decision.
pub(super) fn begun(
    (task, escalation): (&BegunTask, EscalationId),
    (lines, decision): (&[String], Value),
    reader: Reader,
) -> Reply {
    let view = Shown {
        id: &task.id,
        status: "working",
        message: lines.join("\n"),
        times: (task.at, task.at),
    };
    let mut meta = json!({"dev.countersign/decision": decision});
    let members = view.members(reader.client);
    let mut result = match reader.client {
        Client::Modern => {
            add(
                &mut meta,
                "io.modelcontextprotocol/serverInfo",
                server_info(),
            );
            let mut result = members;
            add(&mut result, "resultType", "task".into());
            result
        }
        Client::Legacy => {
            let text = format!("{}\nReference: {escalation}", lines.join("\n"));
            add(&mut meta, IMMEDIATE, text.into());
            json!({ "task": members })
        }
    };
    add(&mut result, "_meta", meta);
    Reply::Result(result.to_string())
}

/// What is told of one that is asked after.
pub(in crate::mcp) fn told(view: TaskView, reader: Reader) -> Reply {
    let Asking::Task(asked) = reader.asking else {
        return invalid(WORKING);
    };
    let client = reader.client;
    let message = message(&view);
    let TaskView {
        id,
        begun,
        changed,
        before,
        stands,
        ..
    } = view;
    let working = stands.is_working();
    let ended = match stands {
        TaskStands::Ended(end) => {
            let asking = Asking::Tool;
            match answer(*end, Reader { client, asking }) {
                Came::Ended(reply) => Some(reply),
                Came::Asks(..) | Came::TakenBack => None,
            }
        }
        TaskStands::Waits(_) | TaskStands::Approved | TaskStands::Runs | TaskStands::Withdrawn => {
            None
        }
    };
    let shown = Shown {
        id: &id,
        status: match &ended {
            Some(reply) => status(reply, client),
            None if working => "working",
            None => "cancelled",
        },
        message,
        times: (begun, changed),
    };
    match (asked, client) {
        (TaskAsk::Update | TaskAsk::Cancel, Client::Modern) => {
            Reply::Result("{\"resultType\":\"complete\"}".to_owned())
        }
        (TaskAsk::Cancel, Client::Legacy) if before => invalid(OVER),
        (TaskAsk::Result, _) => match ended {
            Some(reply) => related(reply, &id),
            None if working => invalid(WORKING),
            None => invalid("the task was taken back, and has no result"),
        },
        (TaskAsk::Get | TaskAsk::Update | TaskAsk::Cancel, _) => {
            let members = shown.members(client).to_string();
            let mut splice = Splice::new(&members);
            if client == Client::Modern {
                splice = splice.add_member(&members, "resultType", "\"complete\"");
                splice = match &ended {
                    Some(Reply::Result(result)) => splice.add_member(&members, "result", result),
                    Some(Reply::Error(error) | Reply::MissingCapability(error)) => {
                        splice.add_member(&members, "error", error)
                    }
                    None => splice,
                };
            }
            Reply::Result(splice.finish())
        }
    }
}

/// What both revisions say of a task.
struct Shown<'a> {
    id: &'a str,
    status: &'static str,
    message: String,
    times: (Timestamp, Timestamp),
}

impl Shown<'_> {
    fn members(&self, client: Client) -> Value {
        let (begun, changed) = self.times;
        let kept = KEPT.as_secs().saturating_mul(1_000);
        let mut members = json!({
            "taskId": self.id,
            "status": self.status,
            "statusMessage": self.message,
            "createdAt": begun.to_string(),
            "lastUpdatedAt": changed.to_string(),
        });
        let (ttl, poll) = match client {
            Client::Modern => ("ttlMs", "pollIntervalMs"),
            Client::Legacy => ("ttl", "pollInterval"),
        };
        add(&mut members, ttl, kept.into());
        add(&mut members, poll, POLL_MS.into());
        members
    }
}

fn message(view: &TaskView) -> String {
    let id = view.escalation;
    match &view.stands {
        TaskStands::Waits(until) => format!(
            "Waiting for a decision: {id}, open until {}.",
            until.strftime("%Y-%m-%d %H:%MZ")
        ),
        TaskStands::Approved => format!("Approved: {id}. The call is about to be made."),
        TaskStands::Runs => format!("Approved: {id}. The call is being made."),
        TaskStands::Withdrawn => format!("Taken back: {id}."),
        TaskStands::Ended(_) => format!("Ended: {id}."),
    }
}

/// The word for how it ended: what a tool calls its own failure is one to clients of
/// 2025-11-25 only (ext-tasks, task status).
fn status(reply: &Reply, client: Client) -> &'static str {
    match reply {
        Reply::Error(_) | Reply::MissingCapability(_) => "failed",
        Reply::Result(result) => {
            let members = Object::parse(result).ok();
            let failed = members.and_then(|members| members.get("isError"));
            match (client, failed) {
                (Client::Legacy, Some("true")) => "failed",
                _ => "completed",
            }
        }
    }
}

/// A result that says to which task it belongs.
fn related(reply: Reply, id: &str) -> Reply {
    let Reply::Result(result) = reply else {
        return reply;
    };
    let related = json!({ "taskId": id }).to_string();
    let splice = Splice::new(&result);
    let members = Object::parse(&result).ok();
    let meta = members.and_then(|members| members.get("_meta"));
    let splice = match meta {
        Some(meta) => {
            let with = Splice::new(meta).add_member(meta, RELATED, &related);
            splice.replace(meta, with.finish())
        }
        None => splice.add_member(&result, "_meta", &format!("{{\"{RELATED}\":{related}}}")),
    };
    Reply::Result(splice.finish())
}

fn invalid(problem: &str) -> Reply {
    Reply::Error(Fault::new(INVALID_PARAMS, problem).json())
}

fn add(to: &mut Value, key: &str, value: Value) {
    if let Some(members) = to.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}
