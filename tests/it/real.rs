//! MCP servers and clients that others wrote, as npm and PyPI have them today.
//! `tests/run` installs them and says where; without it these tests are ignored.

mod clients;
mod remote;
mod servers;

use crate::world::Wire;
use crate::world::World;
use crate::world::names_of;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::path::PathBuf;

/// A program from npm.
fn node_tool(name: &str) -> PathBuf {
    tool("COUNTERSIGN_NODE_TOOLS", name)
}

/// A program from PyPI.
pub(crate) fn python_tool(name: &str) -> PathBuf {
    tool("COUNTERSIGN_PY_TOOLS", name)
}

/// A program from PyPI that needs version 1 of the Python SDK.
fn old_python_tool(name: &str) -> PathBuf {
    tool("COUNTERSIGN_OLD_PY_TOOLS", name)
}

fn tool(folder: &str, name: &str) -> PathBuf {
    let found = std::env::var_os(folder);
    let found = found.unwrap_or_else(|| panic!("{folder} is not set: run `tests/run`"));
    let program = PathBuf::from(found).join(name);
    assert!(program.exists(), "{} is missing", program.display());
    program
}

/// The file, inside a world, of every line that was sent to a server that
/// [`section`] describes.
const SENT: &str = "sent.jsonl";

/// The section of a server, every line to which goes to [`SENT`] as well.
fn section(name: &str, program: &Path, args: &[&str]) -> String {
    let mut whole = vec!["-c", "tee -a sent.jsonl | \"$0\" \"$@\""];
    whole.push(program.to_str().unwrap());
    whole.extend(args);
    format!("\n[servers.{name}]\ncommand = \"sh\"\nargs = {whole:?}\n")
}

/// The list of tools once the server `name` is in it, however slow its start is.
fn list_with(broker: &mut Wire, name: &str) -> Value {
    loop {
        let list = broker.ask("tools/list", json!({}));
        if names_of(&list).iter().any(|tool| tool.starts_with(name)) {
            return list;
        }
        let told = |message: &Value| message["method"] == "notifications/tools/list_changed";
        assert!(broker.wait_for(told).is_some(), "{name} never came");
    }
}

/// How each call of the session ended, with its tool, the oldest first.
fn endings(world: &World) -> Vec<String> {
    let calls = world.calls("claim-99").into_iter();
    calls
        .map(|call| format!("{} {}", call.outcome.unwrap(), call.tool))
        .collect()
}
