//! What was done with the files of MCP clients, for programs.

use crate::clients::Change;
use crate::clients::Changes;
use crate::clients::Client;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::path::PathBuf;

/// What `countersign connect` did, or would do.
pub(in crate::cli) struct Connected<'a> {
    pub(in crate::cli) client: Client,
    pub(in crate::cli) is_undone: bool,
    pub(in crate::cli) is_written: bool,
    pub(in crate::cli) changes: &'a Changes,
    /// Where what was there is kept, for each file.
    pub(in crate::cli) backups: &'a [Option<PathBuf>],
    pub(in crate::cli) warnings: &'a [String],
}

impl Connected<'_> {
    pub(in crate::cli) fn published(&self) -> Value {
        let backups = self.backups.iter().map(Option::as_deref);
        let backups = backups.chain(std::iter::repeat(None));
        let files = self.changes.files.iter().zip(backups);
        let beside = self.changes.beside.iter();
        let beside =
            beside.map(|(place, names)| json!({"place": place.to_string(), "servers": names}));
        json!({
            "client": self.client.name(),
            "what": if self.is_undone { "undo" } else { "connect" },
            "written": self.is_written,
            "files": files.map(file).collect::<Value>(),
            "beside": beside.collect::<Value>(),
            "warnings": self.warnings,
        })
    }
}

fn file((change, backup): (&Change, Option<&Path>)) -> Value {
    let left = change.left.as_ref().map(|left| &left.names);
    json!({
        "path": shown(&change.path),
        "changes": !change.is_none(),
        "new": change.is_new(),
        "shown": change.shown().lines().collect::<Value>(),
        "backup": backup.map(shown),
        "set_aside": change.set_aside().as_deref().map(shown),
        "left": left,
    })
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// One server of a client's file, and what became of it here.
#[derive(Debug)]
pub(in crate::cli) struct Server {
    /// What the client calls it.
    pub(in crate::cli) name: String,
    /// What it is called here, where it is here.
    pub(in crate::cli) server: Option<String>,
    /// Where the client has it.
    pub(in crate::cli) place: String,
    /// `added`, `known`, `left-out` or `another` (ours of its name is another one).
    pub(in crate::cli) what: &'static str,
    /// Why it was not added.
    pub(in crate::cli) why: Option<String>,
}

impl Server {
    pub(in crate::cli) fn published(&self) -> Value {
        json!({
            "name": self.name,
            "server": self.server,
            "place": self.place,
            "what": self.what,
            "why": self.why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_forms_of_clients_files_stay_as_they_are() {
        let changes = Changes {
            files: Vec::new(),
            beside: Vec::new(),
        };
        let connected = Connected {
            client: Client::Cursor,
            is_undone: false,
            is_written: true,
            changes: &changes,
            backups: &[],
            warnings: &["nothing is there".to_owned()],
        };
        assert_eq!(
            connected.published(),
            json!({"client": "cursor", "what": "connect", "written": true, "files": [],
                "beside": [], "warnings": ["nothing is there"]})
        );
        let server = Server {
            name: "a b".to_owned(),
            server: Some("a-b".to_owned()),
            place: "user, /x".to_owned(),
            what: "added",
            why: None,
        };
        assert_eq!(
            server.published(),
            json!({"name": "a b", "server": "a-b", "place": "user, /x", "what": "added", "why": null})
        );
    }
}
