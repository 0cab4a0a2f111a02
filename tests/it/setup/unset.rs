//! Variables that are set where Countersign runs and not in the shell of whoever looks
//! after it.

use super::Home;
use super::words::fails;
use super::words::set_up;
use crate::world::PROGRAM;
use serde_json::Value;
use serde_json::json;

const OURS: &str = ".config/countersign/countersign.toml";

/// No shell has it.
const VARIABLE: &str = "COUNTERSIGN_IS_SET_NOWHERE";

#[test]
fn an_operator_needs_no_variable_of_a_server_that_is_not_started() {
    let home = set_up("--permissive");
    home.does(&["connect", "claude-code", "--session", "work"]);
    let mut client = home.client();
    let read = client.call("claims__get_claim", json!({"claim_id": "99"}));
    assert!(read.starts_with("Claim 99"), "{read}");
    assert!(client.end());
    let text = home.read(OURS);
    let backup = home.path("backup.db");
    for (section, key) in [
        (
            format!("command = {PROGRAM:?}\nargs = [\"x\", \"${{{VARIABLE}}}\"]"),
            "servers.remote.args[1]",
        ),
        (
            format!("command = {PROGRAM:?}\nenv = {{ TOKEN = \"${{env:{VARIABLE}}}\" }}"),
            "servers.remote.env.TOKEN",
        ),
        (
            format!("urls = [\"http://127.0.0.1:9/mcp\", \"http://${{{VARIABLE}}}/mcp\"]"),
            "servers.remote.urls[1]",
        ),
        (
            format!(
                "url = \"http://127.0.0.1:9/mcp\"\nheaders = {{ Authorization = \"Bearer ${{{VARIABLE}}}\" }}"
            ),
            "servers.remote.headers.Authorization",
        ),
    ] {
        home.write(OURS, &format!("{text}\n[servers.remote]\n{section}\n"));
        let frozen = home.does(&["session", "freeze", "work"]);
        assert!(frozen.contains("frozen"), "{frozen}");
        for args in [
            &["session", "list"][..],
            &["session", "thaw", "work"],
            &["journal", "tail"],
            &["journal", "verify"],
            &["escalation", "list"],
            &["meter", "show"],
            &["key", "list"],
            &["pin", "list"],
            &["store", "check"],
            &["store", "backup", backup.to_str().unwrap()],
            &["connect", "claude-code", "--dry-run"],
        ] {
            let said = home.does(args);
            assert!(!said.contains(VARIABLE), "{args:?}: {said}");
        }
        std::fs::remove_file(&backup).unwrap();
        let told = format!("`{key}`: the variable `{VARIABLE}` is not set");
        for args in [
            &["stdio"][..],
            &["serve", "--listen", "127.0.0.1:0"],
            &["check"],
            &["doctor"],
            &["policy", "schema"],
            &["policy", "new", "--permissive", "--force"],
        ] {
            fails(&home, args, &[&told]);
        }
    }
}

/// What leads nowhere in one shell excuses nothing that is wrong in each.
#[test]
fn what_is_wrong_wherever_one_looks_is_told_beside_a_variable_that_is_not_set() {
    let home = set_up("--permissive");
    let text = home.read(OURS);
    let section = format!(
        "[servers.remote]\nurl = \"http://127.0.0.1:9/mcp\"\nargs = [\"${{{VARIABLE}}}\"]\n"
    );
    home.write(OURS, &format!("{text}\n{section}"));
    let told = "`servers.remote.args`: it goes with a `command`";
    fails(&home, &["key", "list"], &[told]);
}

#[test]
fn a_server_whose_variable_is_not_set_is_imported_with_a_warning() {
    let home = Home::new();
    let reference = format!("Bearer ${{{VARIABLE}}}");
    let servers = json!({"mcpServers": {
        "claims": {"command": PROGRAM, "args": ["claims-server"]},
        "remote": {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": reference}},
    }});
    home.write("project/.mcp.json", &servers.to_string());
    home.does(&["init"]);
    let told = format!(
        "`servers.remote.headers.Authorization`: the variable `{VARIABLE}` is not set: set it where Countersign starts"
    );
    let dry = home.does(&["import", "claude-code", "--dry-run", "--json"]);
    let dry: Value = serde_json::from_str(&dry).unwrap();
    let unresolved = dry["unresolved"].as_array().unwrap();
    assert!(
        unresolved.len() == 1 && unresolved[0].as_str().unwrap().starts_with(&told),
        "{dry}"
    );
    let said = home.does(&["import", "claude-code"]);
    for line in ["added     claims", "added     remote", "WARNING   "] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains(&told), "{said}");
    let ours = home.read(OURS);
    assert!(
        ours.contains(&reference) && ours.contains("[servers.claims]"),
        "{ours}"
    );

    // What is there already stands in nobody's way.
    let again = home.does(&["import", "claude-code"]);
    assert!(
        again.contains("known     remote: it is `[servers.remote]`") && !again.contains("WARNING"),
        "{again}"
    );
}
