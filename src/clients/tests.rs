//! Files of clients, changed and changed back.

mod backups;

use super::file::read;
use super::file::write;
use super::*;
use crate::config;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::path::PathBuf;
use tempfile::TempDir;

fn launch() -> Launch {
    Launch {
        program: "/opt/countersign".to_owned(),
        args: vec![
            "--config".to_owned(),
            "/c.toml".to_owned(),
            "stdio".to_owned(),
        ],
    }
}

/// A home folder with a project in it.
fn around(folder: &TempDir) -> Around {
    let home = folder.path().canonicalize().unwrap();
    let here = home.join("project");
    std::fs::create_dir_all(&here).unwrap();
    Around {
        claude: home.clone(),
        state: home.join("state"),
        home,
        here,
    }
}

/// One file of a client, and a home folder elsewhere.
struct Alone {
    home: TempDir,
    folder: TempDir,
    client: Client,
    path: PathBuf,
}

impl Alone {
    fn new(client: Client) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            home: tempfile::tempdir().unwrap(),
            path: folder.path().join(match client {
                Client::Codex => "config.toml",
                _ => "mcp.json",
            }),
            folder,
            client,
        }
    }

    fn holds(self, text: &str) -> Self {
        write(&self.path, text, None).unwrap();
        self
    }

    fn text(&self) -> String {
        read(&self.path).unwrap().unwrap()
    }

    fn connect(&self, others: Others) -> Result<Changes, ClientError> {
        let place = Place::file(self.path.clone());
        let around = around(&self.home);
        let changes = connecting(self.client, &around, &place, &launch(), others)?;
        apply(&changes);
        Ok(changes)
    }

    fn undo(&self, over: Over) -> Result<Changes, ClientError> {
        let changes = disconnecting(self.client, &around(&self.home), (Some(&self.path), over))?;
        apply(&changes);
        Ok(changes)
    }

    /// What is kept of files before they were changed.
    fn kept(&self) -> Vec<PathBuf> {
        let kept = std::fs::read_dir(self.home.path().join("state"));
        let kept = kept.into_iter().flatten().flatten();
        kept.map(|entry| entry.path()).collect()
    }
}

fn apply(changes: &Changes) {
    for change in &changes.files {
        change.apply().unwrap();
    }
}

#[test]
fn connecting_and_undoing_gives_the_bytes_back() {
    let files = [
        None,
        Some(""),
        Some("{}"),
        Some("{\n  \"mcpServers\": {}\n}\n"),
        Some(
            "{\r\n\t// mine\r\n\t\"mcpServers\": {\r\n\t\t\"a\": {\"command\": \"x\"}, // one\r\n\t},\r\n\t\"other\": [1,2,],\r\n}",
        ),
        Some(
            "{\"theme\":\"dark\",\"mcpServers\":{\"a\":{\"command\":\"x\"},\"countersign\":{\"command\":\"old\"}}}",
        ),
    ];
    for client in Client::ALL {
        for text in files {
            let text = match client {
                Client::Codex => text.map(|text| match text.len() {
                    0..=2 => "",
                    _ => "# mine\r\nmodel = \"x\"\r\n\r\n[mcp_servers.a]\r\ncommand = \"x\" # one",
                }),
                _ => text,
            };
            let mut alone = Alone::new(client);
            let path = alone.folder.path().join("deep/er");
            alone.path = path.join(alone.path.file_name().unwrap());
            let path = alone.path.clone();
            if let Some(text) = text {
                write(&path, text, Some(0o640)).unwrap();
            }
            for others in [Others::Stay, Others::Go] {
                // The second time in the place of the first.
                alone.connect(Others::Stay).unwrap();
                alone.connect(others).unwrap();
                let written = read(&path).unwrap().unwrap();
                let imported =
                    config::read_client(&path, &written).unwrap_or_else(|e| panic!("{e}"));
                let ours = imported
                    .iter()
                    // VS Code reads the last of the two members.
                    .rev()
                    .find(|imported| imported.name == OURS)
                    .unwrap();
                assert_eq!(ours.entry.command.as_deref(), Some("/opt/countersign"));
                assert_eq!(ours.entry.args, launch().args);
                if others == Others::Go {
                    let left = entry::entries(client.holder(), &Section::Top, &written).unwrap();
                    let left: Vec<&String> = left.keys().collect();
                    assert_eq!(left, [OURS], "{written}");
                }
                let folder = path.parent().unwrap();
                let beside = std::fs::read_dir(folder).unwrap().count();
                assert_eq!(beside, 1, "something lies beside it: {client}");
                alone.undo(Over::Left).unwrap();
                assert_eq!(read(&path).unwrap().as_deref(), text, "{client} {written}");
                assert_eq!(alone.kept(), [] as [PathBuf; 0], "{client}");
            }
        }
    }
}

#[test]
fn a_file_that_was_changed_since_only_loses_what_we_did_to_it() {
    for (client, before) in [
        (
            Client::Cursor,
            "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"env\": {\"K\": \"v\"}}, \"b\": {\"command\": \"y\"}}}",
        ),
        (
            Client::Codex,
            "[mcp_servers.a]\ncommand = \"x\"\nenv = { K = \"v\" } # mine\n\n[mcp_servers.b]\ncommand = \"y\"\n",
        ),
    ] {
        let alone = Alone::new(client).holds(before);
        let path = alone.path.clone();
        alone.connect(Others::Go).unwrap();
        let text = alone.text();
        let changed = match client {
            Client::Codex => format!("# new\ntheme = \"dark\"\n{text}"),
            _ => text.replacen('{', "{\n  // new\n  \"theme\": \"dark\",", 1),
        };
        write(&path, &changed, None).unwrap();
        alone.undo(Over::Left).unwrap();
        let left = alone.text();
        assert!(
            left.contains("new") && !left.contains("countersign"),
            "{left}"
        );
        let entries = |text: &str| entry::entries(client.holder(), &Section::Top, text).unwrap();
        assert_eq!(entries(&left), entries(before), "{left}");
        assert_eq!(alone.kept(), [] as [PathBuf; 0]);
        let again = alone.undo(Over::Left).unwrap_err();
        assert!(matches!(again, ClientError::NotConnected { .. }));
    }
}

#[test]
fn a_link_stays_a_link_and_the_mode_stays() {
    let mut alone = Alone::new(Client::Cursor);
    let real = alone.folder.path().join("real.json");
    let link = alone.folder.path().join("link.json");
    write(&real, "{}", Some(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    alone.path.clone_from(&link);
    alone.connect(Others::Stay).unwrap();
    assert!(link.is_symlink());
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&real).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn what_the_client_could_not_read_is_left_as_it_is() {
    for text in ["{", "[]", "{\"mcpServers\": 1}"] {
        let alone = Alone::new(Client::Cursor).holds(text);
        let refused = alone.connect(Others::Stay);
        assert!(matches!(refused, Err(ClientError::Shape { .. })), "{text}");
        assert_eq!(alone.text(), text);
    }
}

#[test]
fn a_file_that_somebody_else_writes_meanwhile_is_left_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let around = around(&folder);
    let place = around.target(Client::ClaudeCode, None).unwrap();
    let changes = connecting(Client::ClaudeCode, &around, &place, &launch(), Others::Stay).unwrap();
    write(&place.path, "{\"numStartups\": 2}", None).unwrap();
    let refused = changes.files[0].apply();
    assert!(matches!(refused, Err(ClientError::Unsteady { .. })));
    assert_eq!(
        read(&place.path).unwrap().as_deref(),
        Some("{\"numStartups\": 2}")
    );
}

/// Claude Code with servers in every scope, `same` in each.
struct Code {
    _folder: TempDir,
    around: Around,
    own: String,
    project: String,
}

impl Code {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let around = around(&folder);
        let of = |place: &str| json!({"command": place, "env": {"K": "secret"}});
        let own = json!({
            "numStartups": 1,
            "mcpServers": {"mine": of("user"), "same": of("user")},
            "projects": {
                (around.here.to_string_lossy()): {
                    "allowedTools": [],
                    "mcpServers": {"loc": of("local"), "same": of("local")},
                    "disabledMcpServers": ["off"],
                    "disabledMcpjsonServers": ["out", "loc"],
                },
                "/elsewhere": {"mcpServers": {"other": of("elsewhere")}},
            },
        });
        let own = format!("{own:#}");
        let project = json!({"mcpServers": {"pro": of("p"), "same": of("p"), "off": of("p"), "out": of("p")}});
        let project = format!("{project:#}\n");
        write(&around.claude.join(".claude.json"), &own, None).unwrap();
        write(&around.here.join(".mcp.json"), &project, None).unwrap();
        let above = json!({"mcpServers": {"above": of("above"), "pro": of("above")}});
        write(&around.home.join(".mcp.json"), &above.to_string(), None).unwrap();
        Self {
            _folder: folder,
            around,
            own,
            project,
        }
    }

    fn files(&self) -> (String, String) {
        let read = |path: &Path| read(path).unwrap().unwrap();
        (
            read(&self.around.claude.join(".claude.json")),
            read(&self.around.here.join(".mcp.json")),
        )
    }

    fn connect(&self, scope: Option<Scope>, others: Others) -> Changes {
        let client = Client::ClaudeCode;
        let target = self.around.target(client, scope).unwrap();
        let changes = connecting(client, &self.around, &target, &launch(), others).unwrap();
        apply(&changes);
        changes
    }

    fn undo(&self) -> Result<(), ClientError> {
        let changes = disconnecting(Client::ClaudeCode, &self.around, (None, Over::Left))?;
        apply(&changes);
        Ok(())
    }

    /// The places with the servers that the client uses there.
    fn used(&self) -> Vec<String> {
        let found = self.around.found(Client::ClaudeCode).into_iter();
        let shown = found.map(|found| {
            let servers = found.servers.ok().unwrap().into_iter();
            let used = servers.filter(|server| server.left_out.is_none() || server.name == OURS);
            let used: Vec<String> = used.map(|server| server.name).collect();
            let scope = found.place.scope.unwrap().name();
            format!("{scope}: {}", used.join(" "))
        });
        shown.collect()
    }
}

fn named(beside: &[(Place, Vec<String>)]) -> Vec<String> {
    let named = beside
        .iter()
        .map(|(place, names)| format!("{}: {}", place.scope.unwrap().name(), names.join(" ")));
    named.collect()
}

#[test]
fn of_one_name_the_local_server_goes_before_the_projects_and_that_before_the_users() {
    let code = Code::new();
    assert_eq!(
        code.used(),
        [
            "local: loc same",
            "project: pro",
            "project: above",
            "user: mine"
        ]
    );
}

#[test]
fn an_entry_goes_to_the_scope_that_was_named_and_takes_the_place_of_what_it_covers() {
    for (scope, used, beside) in [
        (
            None,
            vec![
                "local: countersign",
                "project: ",
                "project: above pro",
                "user: mine same",
            ],
            vec!["project: above pro", "user: mine same"],
        ),
        (
            Some(Scope::Project),
            vec![
                "local: ",
                "project: countersign",
                "project: above pro",
                "user: mine same",
            ],
            vec!["project: above pro", "user: mine same"],
        ),
        (
            Some(Scope::User),
            vec![
                "local: ",
                "project: ",
                "project: above pro",
                "user: countersign",
            ],
            vec!["project: above pro"],
        ),
    ] {
        let code = Code::new();
        let changes = code.connect(scope, Others::Go);
        assert_eq!(code.used(), used);
        assert_eq!(named(&changes.beside), beside);
        let own: Value = serde_json::from_str(&code.files().0).unwrap();
        assert_eq!(
            own["projects"]["/elsewhere"]["mcpServers"]["other"]["command"],
            "elsewhere"
        );
        for change in &changes.files {
            let shown = change.shown();
            assert!(
                !shown.contains("secret") && !shown.contains("numStartups"),
                "{shown}"
            );
            assert!(shown.contains("\"K\": \"…\""), "{shown}");
        }
        code.undo().unwrap();
        assert_eq!(code.files(), (code.own.clone(), code.project.clone()));
        assert!(code.undo().is_err());
    }
}

#[test]
fn one_scope_after_the_other_comes_back_whole() {
    let code = Code::new();
    code.connect(None, Others::Go);
    code.connect(Some(Scope::User), Others::Go);
    code.connect(None, Others::Stay);
    assert_eq!(
        code.used(),
        [
            "local: countersign",
            "project: ",
            "project: above pro",
            "user: countersign"
        ]
    );
    code.undo().unwrap();
    assert_eq!(code.files(), (code.own.clone(), code.project.clone()));
}

#[test]
fn what_the_client_wrote_meanwhile_stays_and_every_server_comes_back() {
    let code = Code::new();
    code.connect(Some(Scope::User), Others::Go);
    let (own, _) = code.files();
    let own = own.replace("\"numStartups\": 1", "\"numStartups\": 2");
    write(&code.around.claude.join(".claude.json"), &own, None).unwrap();
    code.undo().unwrap();
    let after: Value = serde_json::from_str(&code.files().0).unwrap();
    let mut before: Value = serde_json::from_str(&code.own).unwrap();
    before["numStartups"] = 2.into();
    assert_eq!(after, before);
    assert_eq!(code.files().1, code.project);
}

#[test]
fn what_is_local_in_a_repository_is_local_to_its_first_worktree() {
    let folder = tempfile::tempdir().unwrap();
    let mut around = around(&folder);
    let root = around.here.clone();
    let other = around.home.join("other");
    std::fs::create_dir_all(root.join(".git/worktrees/other")).unwrap();
    std::fs::create_dir_all(root.join("deep/er")).unwrap();
    std::fs::create_dir_all(other.join("deep")).unwrap();
    let own = root.join(".git/worktrees/other");
    write(&own.join("commondir"), "../..\n", None).unwrap();
    write(
        &other.join(".git"),
        &format!("gitdir: {}\n", own.display()),
        None,
    )
    .unwrap();
    for here in [root.join("deep/er"), other.join("deep"), root.clone()] {
        around.here = here;
        let place = around.target(Client::ClaudeCode, None).unwrap();
        let project = root.to_string_lossy().into_owned();
        assert_eq!(place.section, Section::Project(project));
    }
    let alone = around.home.join("alone");
    std::fs::create_dir_all(&alone).unwrap();
    around.here = alone.clone();
    let place = around.target(Client::ClaudeCode, None).unwrap();
    assert_eq!(
        place.section,
        Section::Project(alone.to_string_lossy().into_owned())
    );
}

#[test]
fn a_client_says_which_scopes_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let around = around(&folder);
    let of = |client, scope| around.target(client, Some(scope));
    assert_eq!(
        of(Client::Cursor, Scope::Local).unwrap_err(),
        "cursor has no scope `local`: there are project and user"
    );
    assert!(
        of(Client::Codex, Scope::User)
            .unwrap_err()
            .contains("one file only")
    );
    let users = of(Client::Cursor, Scope::User).unwrap();
    assert_eq!(users.path, around.home.join(".cursor/mcp.json"));
}
