//! What is said where one revision cannot say what the other one did. It names
//! both, and what to do.

use super::Client;
use super::MODERN;
use super::shown;
use crate::broker::Has;
use crate::broker::Unbridged;
use crate::tool::Extension;
use crate::tool::ServerName;

/// The newest revision before [`MODERN`].
pub(super) const NEWEST_BEFORE: &str = "2025-11-25";

/// What a client speaks. Of the older ones only the newest is named.
fn spoken(client: Client) -> &'static str {
    match client {
        Client::Legacy => "MCP 2025-11-25 or before",
        Client::Modern => "MCP 2026-07-28",
    }
}

/// Why what a server did cannot be passed on.
pub(super) fn unbridged(server: &ServerName, what: Unbridged, client: Client) -> String {
    let client = spoken(client);
    match what {
        Unbridged::Result => format!(
            "The server `{server}` (MCP {MODERN}) answered with a type of result that this client ({client}) did not ask for. Tell the operator."
        ),
        Unbridged::Question => format!(
            "The server `{server}` (MCP {MODERN}) asked what this client ({client}) did not declare that it can be asked. Use a client that declares it."
        ),
        Unbridged::Answer => format!(
            "The server `{server}` (MCP {NEWEST_BEFORE} or before) asked in the middle of a call that is not open any more, so this client ({client}) cannot answer it."
        ),
    }
}

/// Why a method is not served to this client.
pub(super) fn unserved(method: &str, client: Client) -> String {
    let instead = match (client, method) {
        (Client::Modern, "resources/subscribe" | "resources/unsubscribe") => {
            Some("use `subscriptions/listen`")
        }
        (Client::Modern, "logging/setLevel") => {
            Some("put `io.modelcontextprotocol/logLevel` into `params._meta` of each request")
        }
        (Client::Modern, "tasks/result" | "tasks/list") => Some("use `tasks/get`"),
        (Client::Modern, "initialize") => Some(
            "each request says its own revision, and nothing is opened; or open an older one by `initialize` without `_meta`",
        ),
        (Client::Modern, "ping") => Some("any request shows whether this side is there"),
        (Client::Legacy, "tasks/update") => Some("answer what servers ask by responses"),
        _ => None,
    };
    let method = shown(method, 80);
    match (instead, client) {
        (None, _) => format!("`{method}` is not served"),
        (Some(instead), Client::Modern) => {
            format!("`{method}` is of MCP {NEWEST_BEFORE}, and this request of {MODERN}: {instead}")
        }
        (Some(instead), Client::Legacy) => format!(
            "`{method}` is of MCP {MODERN}, and this client speaks {NEWEST_BEFORE} or before: {instead}"
        ),
    }
}

/// Why a tool is not called for a client that wants no task, and what to do.
pub(super) fn only_as_task(server: &ServerName, client: Client) -> String {
    let instead = match client {
        Client::Modern => format!(
            "did not declare tasks: declare the extension `{}` in the client's capabilities",
            Extension::Tasks.id()
        ),
        Client::Legacy => {
            format!("asked for none: send `task` with the call, as clients of {NEWEST_BEFORE} can")
        }
    };
    format!(
        "the server `{server}` (MCP {NEWEST_BEFORE}) runs this tool as a task only, and this client ({}) {instead}; nothing was sent, and nothing counts towards a limit",
        spoken(client)
    )
}

/// Why there are no tasks for this client.
pub(super) fn no_tasks(has: Has, client: Client) -> String {
    let (servers, theirs) = match client {
        Client::Modern => (has.asked_tasks, NEWEST_BEFORE),
        Client::Legacy => (has.tasks, MODERN),
    };
    match servers {
        true => format!(
            "the servers here have tasks of MCP {theirs} only, and this client speaks {}: call the tool, and its answer comes at once",
            spoken(client)
        ),
        false => "no server here has tasks: call the tool, and its answer comes at once".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_bridged_names_both_revisions() {
        let server: ServerName = "own".parse().unwrap();
        for client in [Client::Legacy, Client::Modern] {
            for what in [Unbridged::Result, Unbridged::Question, Unbridged::Answer] {
                let said = unbridged(&server, what, client);
                assert!(said.matches("MCP 202").count() == 2, "{said}");
            }
        }
        assert_eq!(
            only_as_task(&server, Client::Modern),
            "the server `own` (MCP 2025-11-25) runs this tool as a task only, and this client (MCP 2026-07-28) did not declare tasks: declare the extension `io.modelcontextprotocol/tasks` in the client's capabilities; nothing was sent, and nothing counts towards a limit"
        );
        assert_eq!(
            only_as_task(&server, Client::Legacy),
            "the server `own` (MCP 2025-11-25) runs this tool as a task only, and this client (MCP 2025-11-25 or before) asked for none: send `task` with the call, as clients of 2025-11-25 can; nothing was sent, and nothing counts towards a limit"
        );
        let old = Has {
            asked_tasks: true,
            ..Has::default()
        };
        let said = no_tasks(old, Client::Modern);
        assert!(
            said.contains("2025-11-25") && said.contains(MODERN),
            "{said}"
        );
        assert_eq!(unserved("x", Client::Modern), "`x` is not served");
        let said = unserved("initialize", Client::Modern);
        assert!(said.contains("older one by `initialize`"), "{said}");
    }
}
