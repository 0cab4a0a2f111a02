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

/// Sections with a reference that leads nowhere, and the key of each.
fn sections() -> [(String, &'static str); 7] {
    let told = format!("url = \"${{{VARIABLE}}}\"\nsecret = \"0123456789abcdef\"");
    [
        (
            format!("[[session.webhooks]]\n{told}"),
            "session.webhooks[0].url",
        ),
        (
            format!("[[escalations.notify]]\n{told}"),
            "escalations.notify[0].url",
        ),
        (
            format!(
                "[escalations.smtp]\nhost = \"localhost\"\nfrom = \"c@example.com\"\nuser = \"u\"\npassword = \"${{{VARIABLE}}}\"\n[[escalations.notify]]\nmail = [\"mia@example.com\"]"
            ),
            "escalations.smtp.password",
        ),
        (
            format!("[servers.remote]\ncommand = {PROGRAM:?}\nargs = [\"x\", \"${{{VARIABLE}}}\"]"),
            "servers.remote.args[1]",
        ),
        (
            format!(
                "[servers.remote]\ncommand = {PROGRAM:?}\nenv = {{ TOKEN = \"${{env:{VARIABLE}}}\" }}"
            ),
            "servers.remote.env.TOKEN",
        ),
        (
            format!(
                "[servers.remote]\nurls = [\"http://127.0.0.1:9/mcp\", \"http://${{{VARIABLE}}}/mcp\"]"
            ),
            "servers.remote.urls[1]",
        ),
        (
            format!(
                "[servers.remote]\nurl = \"http://127.0.0.1:9/mcp\"\nheaders = {{ Authorization = \"Bearer ${{{VARIABLE}}}\" }}"
            ),
            "servers.remote.headers.Authorization",
        ),
    ]
}

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
    for (section, key) in sections() {
        home.write(OURS, &format!("{text}\n{section}\n"));
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
        if key.starts_with("session.webhooks") {
            // Who is told by a reference is known by it, and told once it leads somewhere.
            home.does(&["session", "event", "work", "--kind", "mail"]);
            let waits = home.does(&["session", "deliveries", "work"]);
            assert!(waits.contains(VARIABLE), "{waits}");
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
