//! What a second look at a set-up needs: servers in every scope of a client, and
//! those that came later.

use super::Home;
use crate::world::PROGRAM;
use serde_json::Value;
use serde_json::json;
use std::path::Path;

#[test]
fn servers_of_every_scope_of_claude_code_are_taken_over_and_none_is_left_unnamed() {
    let home = Home::new();
    let project = home.path("project").canonicalize().unwrap();
    let server = |ledger: &str| {
        json!({
            "type": "stdio",
            "command": PROGRAM,
            "args": ["claims-server", "--ledger", home.path(ledger)],
            "env": {"TOKEN": "hunter2"},
        })
    };
    let own = json!({
        "numStartups": 3,
        "mcpServers": {"notes": server("n.jsonl"), "claims": server("wrong.jsonl")},
        "projects": {
            (project.to_str().unwrap()): {"mcpServers": {"private": server("p.jsonl")}},
            "/elsewhere": {"mcpServers": {"other": server("o.jsonl")}},
        },
    });
    let own = format!("{own:#}");
    std::fs::write(home.path(".claude.json"), &own).unwrap();
    let before = home.read("project/.mcp.json");
    let said = home.does(&["init"]);
    for part in ["claude-code has private (local, ", "has notes (user, "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = home.does(&["import", "claude-code"]);
    for part in [
        "added     private  (local, ",
        "added     claims  (project, ",
        "added     notes  (user, ",
        "left out  claims: the client uses the other one of this name  (user, ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        !said.contains("other:") && !said.contains("added     other"),
        "{said}"
    );
    let ours = home.read(".config/countersign/countersign.toml");
    assert!(!ours.contains("wrong.jsonl"), "{ours}");
    home.does(&["policy", "new", "--permissive"]);

    let said = home.does(&["connect", "claude-code", "--replace"]);
    assert!(
        !said.contains("hunter2") && !said.contains("numStartups"),
        "{said}"
    );
    let warning =
        "WARNING: claude-code still reaches notes, claims by itself, past every policy (user, ";
    assert!(said.contains(warning), "{said}");
    let next = "`countersign connect claude-code --scope user --replace`";
    assert!(said.contains(next), "{said}");
    let once = "Once claims are in `countersign.toml` too, take them out";
    assert!(said.contains(once), "{said}");
    assert_eq!(home.local().as_object().unwrap().len(), 1);
    let said = home.does(&["doctor"]);
    let warning = "WARNING  calls to notes, claims are not governed: claude-code reaches them past every policy";
    assert!(said.contains(warning) && said.contains(next), "{said}");

    // The user's `claims` is another server than that of the project.
    let replace = ["connect", "claude-code", "--scope", "user", "--replace"];
    let (done, said) = home.run(&replace);
    let told = "`[servers.claims]` is another server than the client's `claims` (they differ in args, env.TOKEN)";
    assert!(!done && said.contains(told), "{said}");
    let said = home.does(&["import", "claude-code", "--as", "claims=my-claims"]);
    assert!(said.contains("added     my-claims  (user, "), "{said}");
    let said = home.does(&replace);
    assert!(!said.contains("WARNING"), "{said}");
    let said = home.does(&["doctor"]);
    assert!(!said.contains("not governed"), "{said}");
    let written: Value = serde_json::from_str(&home.read(".claude.json")).unwrap();
    assert_eq!(written["mcpServers"].as_object().unwrap().len(), 1);
    assert_eq!(
        written["projects"]["/elsewhere"]["mcpServers"]["other"]["command"],
        PROGRAM
    );

    home.does(&["connect", "claude-code", "--undo"]);
    assert_eq!(home.read(".claude.json"), own);
    assert_eq!(home.read("project/.mcp.json"), before);
    let state = home.path(".local/state/countersign/clients");
    assert_eq!(std::fs::read_dir(state).unwrap().count(), 0);
}

#[test]
fn the_folder_that_claude_code_was_told_is_where_its_own_file_is() {
    let home = Home::new();
    home.does(&["init"]);
    let mut connect = home.command(&["connect", "claude-code", "--scope", "user"]);
    let done = connect
        .env("CLAUDE_CONFIG_DIR", home.path("cfg"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(home.read("cfg/.claude.json").contains("countersign"));
    assert!(!home.path(".claude.json").exists());
}

#[test]
fn policies_of_a_server_that_came_later_are_added_and_nothing_else_changes() {
    let home = Home::new();
    home.does(&["init"]);
    // Nothing to tell of policies while there is no server.
    let said = home.does(&["check"]);
    assert!(
        said.contains("warning: no server is configured")
            && said.ends_with(" and 1 warning above\n"),
        "{said}"
    );
    home.does(&["import", "claude-code"]);
    let said = home.does(&["policy", "new", "--permissive"]);
    assert!(
        !said.contains("countersign/memory"),
        "not of our own tools: {said}"
    );
    let start = home.path(".config/countersign/policies/start.cedar");
    let mine = std::fs::read_to_string(&start).unwrap() + "// mine\n";
    std::fs::write(&start, &mine).unwrap();
    let said = home.does(&["policy", "new", "--permissive", "--add"]);
    assert!(said.contains("nothing to add"), "{said}");

    let later = json!({"mcpServers": {"later": {
        "command": PROGRAM,
        "args": ["claims-server", "--ledger", home.path("later.jsonl")],
    }}});
    std::fs::write(home.path("later.json"), later.to_string()).unwrap();
    let said = home.does(&["import", home.path("later.json").to_str().unwrap()]);
    assert!(
        said.contains("`countersign policy new --permissive --add`"),
        "{said}"
    );
    let said = home.does(&["check"]);
    let warning = "warning: server later: no permit covers any of its tools for anybody";
    assert!(
        said.contains(warning) && !said.contains("server claims: no permit"),
        "{said}"
    );
    let said = home.does(&["doctor"]);
    assert!(
        said.contains("WARNING  server later: no permit covers"),
        "{said}"
    );

    let (written, said) = home.run(&["policy", "new", "--permissive"]);
    assert!(!written && said.contains("with `--add`"), "{said}");
    let said = home.does(&["policy", "new", "--permissive", "--add"]);
    assert!(said.contains("start-later.cedar"), "{said}");
    let said = home.does(&["check"]);
    assert!(!said.contains("no permit covers"), "{said}");
    assert_eq!(std::fs::read_to_string(&start).unwrap(), mine);

    // What a person made of it is left alone, whatever it permits.
    let added = home.path(".config/countersign/policies/start-later.cedar");
    std::fs::write(&added, "// nothing\n").unwrap();
    let said = home.does(&["policy", "new", "--permissive", "--add"]);
    assert!(
        said.contains("is there already and permits nothing of it"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&added).unwrap(), "// nothing\n");
    std::fs::remove_file(&added).unwrap();
    home.does(&["policy", "new", "--read-only", "--add"]);
    let text = std::fs::read_to_string(&added).unwrap();
    assert!(text.contains("Broker::Action::\"read\", resource in Broker::Server::\"later\""));

    // Whoever begins anew is left with nothing of the earlier beginning.
    let said = home.does(&["policy", "new", "--read-only", "--force"]);
    assert!(said.contains("set aside"), "{said}");
    assert!(!added.exists() && added.with_extension("cedar.old").exists());
    nothing_is_lost_that_somebody_wrote(&home, &added);
}

/// However often somebody begins anew.
fn nothing_is_lost_that_somebody_wrote(home: &Home, added: &Path) {
    home.does(&["policy", "new", "--permissive", "--force"]);
    let start = added.with_file_name("start.cedar");
    let old = |ending: &str| added.with_file_name(format!("start{ending}.cedar.old"));
    // That of before `later` came would not be made again; what is made again is no loss.
    assert!(old("").exists() && !old(".2").exists());
    for (ending, text) in [(".2", "// mine\n"), (".3", "// mine too\n")] {
        std::fs::write(&start, text).unwrap();
        let said = home.does(&["policy", "new", "--permissive", "--force"]);
        let kept = old(ending);
        let told = format!("kept      {}, as `{}` was", kept.display(), start.display());
        assert!(said.contains(&told), "{said}");
        assert_eq!(std::fs::read_to_string(kept).unwrap(), text);
    }
    std::fs::write(added, "// later\n").unwrap();
    home.does(&["policy", "new", "--permissive", "--force"]);
    let (first, second) = (
        added.with_extension("cedar.old"),
        added.with_extension("2.cedar.old"),
    );
    assert!(
        std::fs::read_to_string(first)
            .unwrap()
            .contains("start.later")
    );
    assert_eq!(std::fs::read_to_string(second).unwrap(), "// later\n");
}

#[test]
fn an_escalation_that_nobody_could_lift_is_a_warning_of_check() {
    let home = Home::new();
    home.does(&["init"]);
    home.does(&["import", "claude-code"]);
    let ours = ".config/countersign/countersign.toml";
    let text = home.read(ours);
    home.write(
        ours,
        &text.replace(
            "[servers.claims]\n",
            "[servers.claims]\nlabels = [\"untrusted-web\"]\n",
        ),
    );
    home.does(&["policy", "new", "--permissive"]);
    let said = home.does(&["check"]);
    let warning = "policy `global.tainted-write`: `@escalate` names the role `Manager`, which no principal has";
    assert!(said.contains(warning), "{said}");
    assert!(said.contains("no problems"), "{said}");
    let found = home.does(&["check", "--json"]);
    let found: Value = serde_json::from_str(found.lines().last().unwrap()).unwrap();
    let warnings = found["warnings"].as_array().unwrap();
    let says = |said: &Value| said.as_str().unwrap().contains(warning);
    assert!(warnings.iter().any(says), "{warnings:?}");
}

#[test]
fn a_principal_that_is_none_and_a_name_that_is_empty_are_told_what_there_is() {
    let home = Home::new();
    let mut init = home.command(&["init"]);
    let done = init.env("USER", "").env("LOGNAME", "ann").output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("You are the principal `ann`."), "{said}");
    for args in [
        ["key", "new", "eve"],
        ["connect", "claude-code", "--principal=eve"],
    ] {
        let (done, said) = home.run(&args);
        let told = "or name one of `ann`";
        assert!(
            !done && said.contains("`eve` is not in") && said.contains(told),
            "{said}"
        );
    }
    let (done, said) = home.run(&["key", "new", ""]);
    let told = "no name was given (is `$USER` empty?)";
    assert!(!done && said.contains(told), "{said}");

    let other = home.path("other");
    let mut init = home.command(&["init", "--dir", other.to_str().unwrap()]);
    let done = init.env_remove("USER").env("LOGNAME", "").output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(
        said.contains("You are the principal `me`.\nNeither `USER` nor `LOGNAME` names you"),
        "{said}"
    );
}

#[test]
fn a_server_is_not_taken_over_under_the_name_of_the_broker() {
    let home = Home::new();
    home.does(&["init"]);
    let ours = home.read(".config/countersign/countersign.toml");
    let (done, said) = home.run(&["import", "claude-code", "--as", "claims=countersign"]);
    let told = "`countersign` is the broker's own name: choose another";
    assert!(!done && said.contains(told), "{said}");
    assert_eq!(home.read(".config/countersign/countersign.toml"), ours);
    let other = json!({"mcpServers": {"countersign": {"command": "other"}}});
    home.write("project/.mcp.json", &other.to_string());
    let (_, said) = home.run(&["import", "claude-code"]);
    assert!(
        said.contains("is the broker's own name: take it over with `--as countersign=NAME`"),
        "{said}"
    );
    assert_eq!(home.read(".config/countersign/countersign.toml"), ours);
}
