//! Setting up as a new user does: a home folder, a client's file with servers,
//! and the commands in their order.

mod entries;
mod filters;
mod json;
mod others;
mod rough;
mod scopes;
mod unset;
mod words;

use crate::world::PROGRAM;
use crate::world::Wire;
use crate::world::names_of;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A home folder with a project in it.
struct Home {
    folder: TempDir,
}

impl Home {
    /// A project whose Claude Code has the claims server, twice.
    fn new() -> Self {
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let args = |ledger: &str| json!(["claims-server", "--ledger", home.path(ledger)]);
        let servers = json!({
            "claims": {"command": PROGRAM, "args": args("ledger.jsonl")},
            "old claims": {"command": PROGRAM, "args": args("old.jsonl"), "env": {"KEEP": "${HOME}"}},
            "off": {"command": "x", "disabled": true},
        });
        std::fs::create_dir(home.path("project")).unwrap();
        let text = format!("// mine\n{}\n", json!({ "mcpServers": servers }));
        std::fs::write(home.path("project/.mcp.json"), text).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .current_dir(self.path("project"))
            .env("HOME", self.folder.path())
            .env("USER", "ann")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME")
            .env_remove("CLAUDE_CONFIG_DIR")
            .env_remove("COUNTERSIGN_CONFIG")
            .args(args);
        command
    }

    fn run(&self, args: &[&str]) -> (bool, String) {
        let done = self.command(args).output().unwrap();
        let mut text = String::from_utf8(done.stdout).unwrap();
        text.push_str(&String::from_utf8_lossy(&done.stderr));
        (done.status.success(), text)
    }

    #[track_caller]
    fn does(&self, args: &[&str]) -> String {
        let (well, said) = self.run(args);
        assert!(well, "{args:?}: {said}");
        said
    }

    /// What Claude Code has for this project only.
    fn local(&self) -> Value {
        let project = self.path("project").canonicalize().unwrap();
        let file: Value = serde_json::from_str(&self.read(".claude.json")).unwrap();
        file["projects"][project.to_str().unwrap()]["mcpServers"].clone()
    }

    /// Starts what the client's file says, as the client would.
    fn client(&self) -> Wire {
        let local = self.local();
        let ours = &local["countersign"];
        let mut command = Command::new(ours["command"].as_str().unwrap());
        for arg in ours["args"].as_array().unwrap() {
            command.arg(arg.as_str().unwrap());
        }
        Wire::start(command, &self.path("broker.log")).initialized()
    }
}

#[test]
fn three_servers_of_a_client_are_governed_in_five_commands() {
    let home = Home::new();
    let before = home.read("project/.mcp.json");
    let said = home.does(&["init"]);
    assert!(
        said.contains("claude-code has claims, old claims ("),
        "{said}"
    );
    let said = home.does(&["import", "claude-code"]);
    assert!(
        said.contains("added     claims  (project, ") && said.contains("added     old-claims  ("),
        "{said}"
    );
    assert!(
        said.contains("left out  off: the client has switched it off"),
        "{said}"
    );
    home.does(&["policy", "new", "--permissive"]);
    let said = home.does(&["check"]);
    assert!(said.contains("no problems"), "{said}");
    let said = home.does(&["connect", "claude-code", "--session", "work", "--replace"]);
    assert!(!said.contains("WARNING"), "{said}");

    let mut client = home.client();
    let list = client.ask("tools/list", json!({}));
    let names = names_of(&list);
    assert!(names.contains(&"claims__get_claim") && names.contains(&"old-claims__get_claim"));
    let read = client.call("claims__get_claim", json!({"claim_id": "99"}));
    assert!(read.starts_with("Claim 99"), "{read}");

    // A forbid of their own.
    let policy = "@id(\"mine.no-99\")\n@message(\"Claim 99 is closed.\")\n\
        forbid (principal, action == Broker::Action::\"claims/get_claim\", resource)\n\
        when { context.input.claim_id == \"99\" };\n";
    let mine = home.path(".config/countersign/policies/mine.cedar");
    std::fs::write(mine, policy).unwrap();
    home.does(&["check"]);
    assert!(client.end());
    let mut client = home.client();
    let read = client.call("claims__get_claim", json!({"claim_id": "99"}));
    assert!(read.starts_with("error: Claim 99 is closed."), "{read}");
    assert!(client.end());

    home.does(&["connect", "claude-code", "--undo"]);
    assert_eq!(home.read("project/.mcp.json"), before);
    assert!(!home.path(".claude.json").exists());
}

/// A client starts the servers of a project in its folder, and so do we.
#[test]
fn a_server_that_lies_in_its_project_is_started_there() {
    let home = Home::new();
    let script = format!("#!/bin/sh\nexec {PROGRAM} claims-server --ledger \"$1\"\n");
    home.write("project/serve.sh", &script);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.path("project/serve.sh"), mode).unwrap();
    std::fs::create_dir(home.path("project/data")).unwrap();
    let option = "--ledger=data/third.jsonl";
    let servers = json!({
        "own": {"command": "./serve.sh", "args": ["ledger.jsonl"]},
        "shell": {"command": "sh", "args": ["serve.sh", "data/ledger.jsonl"]},
        "option": {"command": PROGRAM, "args": ["claims-server", option]},
        "said": {"command": PROGRAM, "args": ["claims-server", "--ledger", "l.jsonl"], "cwd": "data"},
        "remote": {"type": "http", "url": "http://127.0.0.1:1/mcp", "disabled": true},
    });
    home.write(
        "project/.mcp.json",
        &json!({ "mcpServers": servers }).to_string(),
    );
    home.does(&["init"]);
    let told = home.does(&["import", ".mcp.json"]);
    let written = home.read(".config/countersign/countersign.toml");
    let project = home.path("project").canonicalize().unwrap();
    let folders = written.matches(&format!("cwd = {project:?}")).count();
    // Whether a server needs it cannot be seen: one may write where it is started.
    assert_eq!(folders, 3, "{written}");
    let data = project.join("data");
    assert!(written.contains(&format!("cwd = {data:?}")), "{written}");
    for (server, folder) in [("own", &project), ("option", &project), ("said", &data)] {
        let note = format!(
            "note      `{server}` is started in {} (`cwd`)",
            folder.display()
        );
        assert!(told.contains(&note), "{told}");
    }
    let again = home.does(&["import", ".mcp.json"]);
    assert!(again.contains("known     option: it is "), "{again}");
    home.does(&["policy", "new", "--permissive"]);
    let said = home.does(&["check"]);
    assert!(said.contains("no problems"), "{said}");
}

/// There we would start it in the same folder, also where all of it moves.
#[test]
fn a_server_of_a_project_that_is_our_own_folder_gets_none() {
    let home = Home::new();
    let servers = json!({"own": {"command": "sh", "args": ["--version"]}});
    home.does(&["init"]);
    home.write(
        ".config/countersign/.mcp.json",
        &json!({ "mcpServers": servers }).to_string(),
    );
    let file = home.path(".config/countersign/.mcp.json");
    let told = home.does(&["import", file.to_str().unwrap()]);
    assert!(!told.contains("note "), "{told}");
    let written = home.read(".config/countersign/countersign.toml");
    assert!(written.contains("[servers.own]"), "{written}");
    assert!(!written.contains("cwd"), "{written}");
}

#[test]
fn what_is_there_is_never_written_over() {
    let home = Home::new();
    home.does(&["init"]);
    std::fs::write(home.path(".config/countersign/principals.toml"), "# mine\n").unwrap();
    let said = home.does(&["init"]);
    assert!(said.contains("is there already"), "{said}");
    assert_eq!(home.read(".config/countersign/principals.toml"), "# mine\n");
    std::fs::remove_file(home.path(".config/countersign/principals.toml")).unwrap();
    home.does(&["init"]);

    home.does(&["import", ".mcp.json"]);
    let written = home.read(".config/countersign/countersign.toml");
    let said = home.does(&["import", ".mcp.json"]);
    assert!(
        said.contains("known     claims: it is `[servers.claims]`")
            && said.contains("nothing was written: there was nothing to add to "),
        "{said}"
    );
    assert_eq!(home.read(".config/countersign/countersign.toml"), written);

    home.does(&["policy", "new", "--permissive"]);
    let (again, said) = home.run(&["policy", "new", "--read-only"]);
    assert!(!again && said.contains("--force"), "{said}");
    home.does(&["policy", "new", "--read-only", "--force"]);
    assert!(
        home.read(".config/countersign/policies/start.cedar")
            .contains("start.read")
    );
}

#[test]
fn a_dry_run_writes_nothing_and_shows_what_it_would() {
    let home = Home::new();
    home.does(&["init"]);
    let (file, ours) = ("project/.mcp.json", ".config/countersign/countersign.toml");
    let before = (home.read(file), home.read(ours));
    let said = home.does(&["import", "claude-code", "--dry-run"]);
    assert!(said.contains("added     claims"), "{said}");
    let said = home.does(&["connect", "claude-code", "--dry-run"]);
    assert!(said.contains("\"stdio\"") && said.contains("+ "), "{said}");
    assert_eq!((home.read(file), home.read(ours)), before);
}

#[test]
fn servers_can_be_taken_straight_from_a_clients_file() {
    let home = Home::new();
    home.does(&["init"]);
    let path = home.path(".config/countersign/countersign.toml");
    let from = home.path("project/.mcp.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let tools = "\n[servers.claims.tools.get_claim]\naccess = \"read\"\n";
    let text = format!("servers_from = [{from:?}]\n{text}{tools}");
    std::fs::write(&path, text).unwrap();
    home.does(&["policy", "new", "--read-only"]);
    let said = home.does(&["check"]);
    assert!(
        said.contains("read  unclassified  claims/get_claim"),
        "{said}"
    );
    assert!(
        said.contains("write unclassified  old-claims/get_claim"),
        "{said}"
    );
    std::fs::write(from, "{\"mcpServers\": {\"a\": {\"command\": 1}}}").unwrap();
    let (checked, said) = home.run(&["check"]);
    assert!(
        !checked && said.contains("`mcpServers.a.command`"),
        "{said}"
    );
}

#[test]
fn every_clients_file_is_found_in_its_place() {
    let home = Home::new();
    home.does(&["init"]);
    for (client, file) in [
        (
            "claude-desktop",
            ".config/Claude/claude_desktop_config.json",
        ),
        ("cursor", ".cursor/mcp.json"),
        ("vscode", ".config/Code/User/mcp.json"),
        ("codex", ".codex/config.toml"),
        ("gemini", ".gemini/settings.json"),
        ("windsurf", ".codeium/windsurf/mcp_config.json"),
    ] {
        let file = home.path(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let empty = if client == "codex" { "" } else { "{}" };
        std::fs::write(&file, empty).unwrap();
        home.does(&["connect", client]);
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(
            written.contains("countersign") && written.contains("stdio"),
            "{client}: {written}"
        );
        home.does(&["connect", client, "--undo"]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), empty, "{client}");
    }
    let (known, said) = home.run(&["connect", "emacs"]);
    assert!(!known && said.contains("claude-desktop"), "{said}");
}

#[test]
fn shells_can_complete_our_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let said = home.does(&["completions", shell]);
        assert!(
            said.contains("countersign") && said.contains("journal"),
            "{shell}"
        );
    }
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let home = Home::new();
    let (well, said) = home.run(&["doctor"]);
    assert!(
        !well && said.contains("do: mend the configuration, or begin with `countersign init`"),
        "{said}"
    );
    home.does(&["init"]);
    home.does(&["import", "claude-code"]);
    home.does(&["policy", "new", "--permissive"]);
    home.does(&["connect", "claude-code"]);
    let said = home.does(&["doctor"]);
    assert!(said.contains("ok       server claims (rmcp "), "{said}");
    assert!(said.contains("claude-code starts "), "{said}");
    assert!(
        said.contains("WARNING  calls to claims, old claims are not governed"),
        "{said}"
    );

    let ours = home.path(".config/countersign/countersign.toml");
    let text = std::fs::read_to_string(&ours).unwrap();
    std::fs::write(
        &ours,
        format!("{text}\n[servers.gone]\ncommand = \"no-such-program\"\n"),
    )
    .unwrap();
    let client = home.path(".claude.json");
    let text = std::fs::read_to_string(&client).unwrap();
    std::fs::write(
        &client,
        text.replacen(
            &format!("\"command\": \"{PROGRAM}\""),
            "\"command\": \"/gone\"",
            1,
        ),
    )
    .unwrap();
    let (well, said) = home.run(&["doctor", "--json"]);
    assert!(!well);
    let found: Value =
        serde_json::from_str(said.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    let problems = found["findings"].as_array().unwrap().iter();
    let problems: Vec<&str> = problems
        .filter(|finding| finding["level"] == "problem")
        .map(|finding| finding["what"].as_str().unwrap())
        .collect();
    assert!(
        problems
            .iter()
            .any(|what| what.contains("`no-such-program` was not found on PATH")),
        "{problems:?}"
    );
    assert!(
        problems
            .iter()
            .any(|what| what.contains("claude-code starts `/gone`")),
        "{problems:?}"
    );
}
