//! What stands in a configuration or in a client's entry, and would not start or would
//! start something else.

use super::words::fails;
use super::words::set_up;
use crate::world::PROGRAM;
use serde_json::json;
use std::path::Path;

const OURS: &str = ".config/countersign/countersign.toml";

/// What a start refuses, the check and the doctor refuse too; each problem of the policies
/// is a line of its own.
#[test]
fn what_would_not_start_is_told_line_by_line() {
    let home = set_up("--permissive");
    let text = home.read(OURS);
    let open = "[http]\nlisten = \"0.0.0.0:0\"\nanonymous = \"ann\"\n";
    home.write(OURS, &format!("{text}\n{open}"));
    let told = "`http.anonymous` lets everybody in who reaches 0.0.0.0:0";
    for command in ["check", "doctor"] {
        fails(&home, &[command], &[told]);
    }
    home.write(OURS, &text);
    let wrong = "@id(\"w\") @boo forbid(principal, action, resource);\n@id(\"v\") @boo forbid(principal, action, resource);";
    home.write(".config/countersign/policies/wrong.cedar", wrong);
    let (well, said) = home.run(&["doctor"]);
    let lines = said
        .matches("PROBLEM  the policies cannot be used: ")
        .count();
    assert!(!well && lines == 2 && !said.contains("\\n"), "{said}");
}

#[test]
fn an_entry_as_nobody_or_by_no_configuration_is_told() {
    let home = set_up("--permissive");
    home.does(&["connect", "claude-code", "--replace"]);
    let said = home.does(&["doctor"]);
    assert!(!said.contains("claude-code: "), "{said}");
    let entry = |config: &Path, principal: &str| {
        let args = json!(["--config", config, "stdio", "--principal", principal]);
        let ours = json!({"command": PROGRAM, "args": args});
        let file = json!({"mcpServers": {"countersign": ours}});
        home.write(".claude.json", &file.to_string());
    };
    let ours = home.path(OURS);
    entry(&ours, "bob");
    let told = "PROBLEM  claude-code: there is no principal `bob` in the configuration: `";
    fails(
        &home,
        &["doctor"],
        &[told, "do: countersign connect claude-code"],
    );
    let other = home.path("other.toml");
    entry(&other, "ann");
    fails(&home, &["doctor"], &["/other.toml`, which is not there"]);
    home.write("other.toml", &home.read(OURS));
    let said = home.does(&["doctor"]);
    assert!(
        said.contains("note     claude-code: it starts Countersign by another"),
        "{said}"
    );
}
