//! What is said of what is not there for this caller.

use super::Reader;
use super::Reply;
use super::failed;
use super::reference;
use crate::mcp::Client;
use crate::mcp::eras;
use crate::mcp::shown;
use crate::mcp::tasks;
use crate::mcp::write::Fault;
use crate::mcp::write::INTERNAL_ERROR;
use crate::mcp::write::INVALID_PARAMS;
use crate::mcp::write::METHOD_NOT_FOUND;
use crate::mcp::write::MISSING_CAPABILITY;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::Kind;
use crate::tool::ServerName;
use serde_json::Value;
use serde_json::json;

/// MCP before 2026-07-28: there is no such resource.
const RESOURCE_NOT_FOUND: i32 = -32002;

/// Hidden and absent things have one answer: a list cannot be guessed from it.
pub(super) fn unknown(asking: Asking, name: &str, client: Client) -> Reply {
    let shown_name = shown(name, 128);
    Reply::Error(match (asking, client) {
        (Asking::Tool, _) => {
            Fault::new(INVALID_PARAMS, format!("Unknown tool: {shown_name}")).json()
        }
        (Asking::Prompt, _) => {
            Fault::new(INVALID_PARAMS, format!("Unknown prompt: {shown_name}")).json()
        }
        (Asking::Task(_), _) => {
            Fault::new(INVALID_PARAMS, format!("Unknown task: {shown_name}")).json()
        }
        (Asking::Complete, _) => {
            let message = format!("Nothing of this name can be completed: {shown_name}");
            Fault::new(INVALID_PARAMS, message).json()
        }
        (Asking::Read | Asking::Subscribe, client) => {
            let code = match client {
                Client::Legacy => RESOURCE_NOT_FOUND,
                Client::Modern => INVALID_PARAMS,
            };
            let mut fault = Fault::new(code, format!("Resource not found: {shown_name}"));
            fault.data = Some(json!({"uri": name}));
            fault.json()
        }
    })
}

/// Something that its server offers only to clients that it can ask something
/// (MCP 2026-07-28, basic/index, `MissingRequiredClientCapability`).
pub(super) fn not_offered(name: &str, needs: &Kind, client: Client) -> Reply {
    let capabilities = needs.text();
    let name = shown(name, 128);
    let message = format!(
        "`{name}` is offered to clients that declare the capabilities {capabilities} only; nothing was sent"
    );
    match client {
        Client::Legacy => Reply::Error(Fault::new(INVALID_PARAMS, message).json()),
        Client::Modern => {
            let needed: Value = serde_json::from_str(&capabilities).unwrap_or_default();
            let mut fault = Fault::new(MISSING_CAPABILITY, message);
            fault.data = Some(json!({"requiredCapabilities": needed}));
            Reply::MissingCapability(fault.json())
        }
    }
}

/// A tool that is to be called as a task, for a client that wants none. Servers of
/// 2025-11-25 say that there is no such method (tasks, tool-level negotiation).
pub(super) fn only_as_task(server: &ServerName, client: Client) -> Reply {
    let message = eras::only_as_task(server, client);
    match client {
        Client::Legacy => Reply::Error(Fault::new(METHOD_NOT_FOUND, message).json()),
        Client::Modern => {
            let fault = Fault {
                message,
                ..tasks::not_declared()
            };
            Reply::MissingCapability(fault.json())
        }
    }
}

/// Something of a server that is not there. Nobody refused it, so where it is no
/// tool's result it is a failure of this side (MCP 2026-07-28, server/resources,
/// error handling).
pub(super) fn away(call: &CallId, server: &ServerName, reader: Reader) -> Reply {
    let lines = [
        format!(
            "The server `{server}` cannot be reached. Nothing was sent and nothing counts towards a limit."
        ),
        "The call may be made again later.".to_owned(),
        reference(call),
    ];
    match reader.asking {
        Asking::Tool => failed(&lines, None, reader),
        Asking::Prompt | Asking::Read | Asking::Subscribe | Asking::Complete | Asking::Task(_) => {
            Reply::Error(Fault::new(INTERNAL_ERROR, lines.join("\n")).json())
        }
    }
}
