//! Tasks towards clients: by ids of ours, and only towards those that know them.

use super::Client;
use super::write::Fault;
use super::write::MISSING_CAPABILITY;
use crate::json;
use crate::json::Object;
use crate::json::Splice;
use crate::tool::Extension;
use serde_json::Value;
use serde_json::json as value;

/// The member of a message's `_meta` that names the task that it belongs to
/// (MCP 2025-11-25, tasks).
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// The result of a call that became a task, under our id. It has a type of its own
/// in 2026-07-28, and none before.
pub(super) fn begun(result: &str, id: &str, client: Client) -> String {
    let own = renamed(result, id);
    match client {
        Client::Legacy => own,
        Client::Modern => {
            let members = Object::parse(&own).ok();
            match members.and_then(|members| members.get("resultType")) {
                Some(_) => own,
                None => Splice::new(&own)
                    .add_member(&own, "resultType", "\"task\"")
                    .finish(),
            }
        }
    }
}

fn part<'a>(of: &'a str, key: &str) -> Option<&'a str> {
    Object::parse(of).ok()?.get(key)
}

/// What is said of one task, under our id, wherever it is named: by itself, as a
/// record, and in `_meta`.
pub(super) fn renamed(result: &str, id: &str) -> String {
    let id = Value::from(id).to_string();
    let mut splice = Splice::new(result);
    let places = [
        part(result, "taskId"),
        part(result, "task").and_then(|task| part(task, "taskId")),
        part(result, "_meta")
            .and_then(|meta| part(meta, RELATED))
            .and_then(|related| part(related, "taskId")),
    ];
    for place in places.into_iter().flatten() {
        if json::text(place).is_some() {
            splice = splice.replace(place, id.clone());
        }
    }
    splice.finish()
}

/// The refusal of a request about a task by a client that did not say that it
/// knows of tasks (ext-tasks, capability negotiation).
pub(super) fn not_declared() -> Fault {
    Fault {
        code: MISSING_CAPABILITY,
        message: format!(
            "declare the extension `{}` in the client's capabilities",
            Extension::Tasks.id()
        ),
        data: Some(value!({"requiredCapabilities": {"extensions": {Extension::Tasks.id(): {}}}})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_our_id_everywhere_and_else_as_it_was() {
        let flat = r#"{ "resultType":"task","taskId":"7", "ttlMs":1e3}"#;
        assert_eq!(
            begun(flat, "task-1", Client::Modern),
            r#"{ "resultType":"task","taskId":"task-1", "ttlMs":1e3}"#
        );
        let nested = r#"{"task":{"taskId":"7","x":1},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"7"}}}"#;
        assert_eq!(
            begun(nested, "task-1", Client::Legacy),
            r#"{"task":{"taskId":"task-1","x":1},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"task-1"}}}"#
        );
        assert_eq!(renamed(r#"{"taskId":7}"#, "task-1"), r#"{"taskId":7}"#);
    }
}
