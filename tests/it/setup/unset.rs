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

/// As a shell and some clients have it, it is a text like any other.
#[test]
fn a_variable_without_braces_is_a_warning_that_names_the_key_and_not_what_stands_there() {
    let home = Home::new();
    let args = json!(["claims-server", "--ledger", home.path("ledger.jsonl")]);
    let servers = json!({"mcpServers": {
        "claims": {"command": PROGRAM, "args": args, "env": {"API_TOKEN": "$HUNTER2"}},
    }});
    home.write("project/.mcp.json", &servers.to_string());
    home.does(&["init"]);
    let warning = "`servers.claims.env.API_TOKEN`: a name with `$` and without braces is taken as it stands there: is a variable meant, written as `${VAR}`?";
    let said = home.does(&["import", "claude-code"]);
    assert!(said.contains(&format!("WARNING   {warning}")), "{said}");
    home.does(&["policy", "new", "--permissive"]);
    let imported = home.read(OURS);
    let from = home.path("project/.mcp.json");
    let taken = format!("servers_from = {from:?}\n");
    for text in [
        imported.clone(),
        taken + imported.split("[servers.").next().unwrap(),
    ] {
        home.write(OURS, &text);
        for (command, begins) in [("check", "warning: "), ("doctor", "WARNING  ")] {
            let said = home.does(&[command]);
            assert!(
                said.contains(&format!("{begins}{warning}")) && !said.contains("HUNTER2"),
                "{said}"
            );
        }
    }
    home.write(OURS, &imported.replace("$HUNTER2", "${HOME}"));
    let said = home.does(&["check"]);
    assert!(!said.contains("without braces"), "{said}");
    let elsewhere = "[servers.elsewhere]\nurls = [\"http://127.0.0.1:9/mcp\", \"http://127.0.0.1:9/$HUNTER2\"]\nheaders = { Authorization = \"Bearer $HUNTER2\" }\n";
    home.write(OURS, &format!("{imported}\n{elsewhere}"));
    let (_unreachable, said) = home.run(&["check"]);
    for key in ["urls[1]", "headers.Authorization"] {
        let told = format!("`servers.elsewhere.{key}`: a name with `$`");
        assert_eq!(said.matches(&told).count(), 1, "{said}");
    }
}
