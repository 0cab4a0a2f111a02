//! What others have in their files and write into them: servers of our names that are not
//! ours, names that are more than names, and files that were changed since.

use super::Home;
use crate::world::PROGRAM;
use serde_json::Value;
use serde_json::json;

const OURS: &str = ".config/countersign/countersign.toml";

/// Two projects may each have a server of one name.
#[test]
fn a_server_of_another_project_is_never_taken_for_ours_of_its_name() {
    let home = Home::new();
    home.does(&["init"]);
    home.does(&["import", "claude-code"]);
    home.does(&["policy", "new", "--permissive"]);
    home.does(&["connect", "claude-code", "--replace"]);

    // Beside it, a second one.
    let project = "project/second";
    let servers = json!({"mcpServers": {
        "claims": {
            "command": PROGRAM,
            "args": ["claims-server", "--ledger", home.path("second.jsonl")],
            "env": {"API_TOKEN": "hunter2"},
        },
        "old claims": {
            "command": PROGRAM,
            "args": ["claims-server", "--ledger", home.path("old.jsonl")],
            "env": {"KEEP": home.folder.path()},
            // What is started in another folder is another one too.
            "cwd": home.path("project").canonicalize().unwrap(),
        },
    }});
    std::fs::create_dir(home.path(project)).unwrap();
    let file = format!("{project}/.mcp.json");
    home.write(&file, &servers.to_string());
    let run = |args: &[&str]| {
        let done = home.command(args).current_dir(home.path(project)).output();
        let done = done.unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8(said).unwrap())
    };
    let other = "`[servers.claims]` is another server than the client's `claims` (they differ in args, cwd, env.API_TOKEN): ours is `";
    let advice = "`countersign import claude-code --as claims=NAME`";
    for (args, well) in [
        (&["import", "claude-code"][..], true),
        (&["connect", "claude-code", "--replace"], false),
        (&["doctor"], true),
    ] {
        let (done, said) = run(args);
        assert!(
            done == well && said.contains(other) && said.contains(advice),
            "{args:?}: {said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert_eq!(home.read(&file), servers.to_string(), "nothing was written");
    let (done, said) = run(&["import", "claude-code", "--as", "nosuch=x"]);
    let told = "there is no server `nosuch`: there is claims, old claims";
    assert!(!done && said.contains(told), "{said}");
    let (done, said) = run(&["import", "claude-code", "--as", "claims=a__b"]);
    assert!(!done && said.contains("without `__`"), "{said}");

    let (done, said) = run(&["import", "claude-code", "--as", "claims=second"]);
    assert!(done && said.contains("added     second  ("), "{said}");
    let told = "`servers.second.env.API_TOKEN`. Write `${env:NAME}` or `${file:path}`";
    assert!(said.contains(told) && !said.contains("hunter2"), "{said}");
    let (done, said) = run(&["import", "claude-code"]);
    let told = "known     claims: it is `[servers.second]`";
    assert!(done && said.contains(told), "{said}");
    let mut other: Value = servers.clone();
    other["mcpServers"]["claims"]["env"]["API_TOKEN"] = "hunter3".into();
    home.write(&file, &other.to_string());
    let (done, said) = run(&["import", "claude-code", "--as", "claims=second"]);
    let told = "(they differ in env.API_TOKEN, whose values are not shown)";
    assert!(
        done && said.contains(told) && !said.contains("hunter"),
        "{said}"
    );
    home.write(&file, &servers.to_string());
    let (done, said) = run(&["connect", "claude-code", "--replace"]);
    assert!(done && !said.contains("another server"), "{said}");
}

#[test]
fn a_server_that_nothing_stands_for_goes_with_a_warning() {
    let home = Home::new();
    home.does(&["init"]);
    let said = home.does(&["connect", "claude-code", "--replace"]);
    let told = "WARNING: claims, old claims went, and `countersign.toml` has nothing in that place";
    assert!(said.contains(told), "{said}");
    // Who meant it so says so.
    home.does(&["connect", "claude-code", "--undo"]);
    let text = home.read(OURS) + "\n[servers.claims]\ncommand = \"other\"\n";
    home.write(OURS, &text);
    let replace = ["connect", "claude-code", "--replace"];
    let (done, said) = home.run(&replace);
    assert!(!done && said.contains("add `--force`"), "{said}");
    let said = home.does(&["connect", "claude-code", "--replace", "--force"]);
    assert!(
        said.contains("WARNING: `[servers.claims]` is another"),
        "{said}"
    );
}

/// Nothing of what `connect` keeps lies where git would offer it, and what it keeps is
/// for the file as it left it.
#[test]
fn a_backup_lies_with_the_users_state_and_is_not_used_once_it_is_over() {
    let home = Home::new();
    let before = home.read("project/.mcp.json");
    home.does(&["init"]);
    home.does(&["import", "claude-code"]);
    let said = home.does(&["connect", "claude-code", "--replace"]);
    let state = home.path(".local/state/countersign/clients");
    assert!(said.contains(state.to_str().unwrap()), "{said}");
    assert_eq!(std::fs::read_dir(home.path("project")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 2);

    // As `git checkout` does, and then somebody takes a server out.
    let changed = json!({"mcpServers": {"claims": {"command": "mine"}}}).to_string();
    home.write("project/.mcp.json", &changed);
    let said = home.does(&["connect", "claude-code", "--undo"]);
    let told =
        "what it did there was undone by somebody else, so old claims, off did not come back";
    assert!(said.contains(told), "{said}");
    assert_eq!(home.read("project/.mcp.json"), changed);
    assert!(!home.path(".claude.json").exists());
    let (done, said) = home.run(&["connect", "claude-code", "--undo"]);
    assert!(!done && said.contains("`--undo --force`"), "{said}");
    home.does(&["connect", "claude-code", "--undo", "--force"]);
    let servers: Value = serde_json::from_str(&home.read("project/.mcp.json")).unwrap();
    let mut names: Vec<_> = servers["mcpServers"].as_object().unwrap().keys().collect();
    names.sort_unstable();
    assert_eq!(names, ["claims", "off", "old claims"]);

    // Undoing needs no configuration.
    home.write("project/.mcp.json", &before);
    home.does(&["connect", "claude-code", "--replace"]);
    std::fs::remove_dir_all(home.path(".config")).unwrap();
    home.does(&["connect", "claude-code", "--undo"]);
    assert_eq!(home.read("project/.mcp.json"), before);
}

#[test]
fn a_broken_configuration_is_told_of_without_its_values() {
    let home = Home::new();
    home.does(&["init"]);
    let text = home.read(OURS);
    let line = text.lines().count() + 3;
    for (broken, told) in [
        (
            "[servers.a]\nenv = { TOKEN = \"hunter2 }\n",
            format!("line {line}, column "),
        ),
        (
            "[servers.a]\nenv = \"TOKEN=hunter2\"\n",
            format!(
                "line {line}, column 7, at `servers.a.env`: invalid type: string, expected a map"
            ),
        ),
    ] {
        home.write(OURS, &format!("{text}\n{broken}"));
        for command in ["check", "doctor"] {
            let (done, said) = home.run(&[command]);
            assert!(!done && said.contains(&told), "{command}: {told}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        let (done, said) = home.run(&["import", "claude-code"]);
        assert!(!done && !said.contains("hunter2"), "{said}");
    }
    home.write(OURS, &text);
    std::fs::create_dir(home.path(".codex")).unwrap();
    home.write(
        ".codex/config.toml",
        "[mcp_servers.a]\nenv = { T = \"hunter2 }\n",
    );
    for args in [&["connect", "codex"][..], &["import", "codex"], &["doctor"]] {
        let (_, said) = home.run(args);
        assert!(
            !said.contains("hunter2") && said.contains("line 2"),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn a_name_of_somebody_else_is_one_line_and_a_path_is_one_word() {
    let home = Home::new();
    let name = "x\n\nNext:\n  rm -rf ~\u{1b}[2J";
    let servers = json!({"mcpServers": {name: {"command": PROGRAM}}});
    home.write("project/.mcp.json", &servers.to_string());
    let folder = home.path("my $(config)");
    let said = home.does(&["init", "--dir", folder.to_str().unwrap()]);
    assert!(said.contains("claude-code has x\\n\\nNext:"), "{said}");
    let export = format!(
        "  export COUNTERSIGN_CONFIG='{}/countersign.toml'\n",
        folder.display()
    );
    assert!(said.contains(&export), "{said}");
    home.does(&["init"]);
    for args in [
        &["import", "claude-code"][..],
        &["connect", "claude-code"],
        &["doctor"],
    ] {
        let (_, said) = home.run(args);
        assert!(
            !said.contains("\n  rm -rf") && !said.contains('\u{1b}'),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn what_init_cannot_make_or_be_is_told_with_what_it_can() {
    let home = Home::new();
    let (done, said) = home.run(&["init", "--dir", "/proc/x"]);
    let told = "cannot make the folder `/proc/x`: name one that you may make with `--dir DIR`";
    assert!(!done && said.contains(told), "{said}");
    let mut init = home.command(&["init"]);
    let long = "x".repeat(256);
    let done = init
        .env("USER", &long)
        .env("LOGNAME", "ann")
        .output()
        .unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("You are the principal `ann`."), "{said}");
}
