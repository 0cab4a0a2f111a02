//! What a stranger reads where something is missing or wrong: what it is, and what to do.

use super::Home;
use crate::world::PROGRAM;
use serde_json::json;
use std::path::Path;

const OURS: &str = ".config/countersign/countersign.toml";

/// A home that is set up with these policies, and nothing connected.
pub(super) fn set_up(policies: &str) -> Home {
    let home = Home::new();
    home.does(&["init"]);
    home.does(&["import", "claude-code"]);
    home.does(&["policy", "new", policies]);
    home
}

fn change(home: &Home, from: &str, to: &str) {
    let text = home.read(OURS);
    assert!(text.contains(from), "{text}");
    home.write(OURS, &text.replacen(from, to, 1));
}

#[track_caller]
pub(super) fn fails(home: &Home, args: &[&str], parts: &[&str]) {
    let (done, said) = home.run(args);
    assert!(!done, "{args:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{args:?}: {part}: {said}");
    }
}

#[test]
fn whoever_calls_by_the_configuration_must_be_declared() {
    let home = set_up("--permissive");
    change(
        &home,
        "principal = \"ann\"",
        "principal = \"bob\"\nsession = \"a b\"",
    );
    let told = "`stdio.principal`: `bob` is not in `";
    let session = "`stdio.session`: `a b` is no session handle";
    fails(&home, &["check"], &[told, "or name one of `ann`", session]);
    fails(&home, &["doctor"], &["PROBLEM  `stdio.principal`: `bob`"]);
    change(
        &home,
        "principal = \"bob\"\nsession = \"a b\"",
        "principal = \"ann\"\nsession = \"no|such/claim-1\"",
    );
    let told = "`stdio.session`: `no|such/claim-1` names no session: `no|such` is not in `";
    fails(
        &home,
        &["check"],
        &[told, "by `OWNER/HANDLE`, like `alice/claim-99`"],
    );
    change(&home, "no|such/claim-1", "|/claim-1");
    fails(&home, &["check"], &["`|/claim-1` names no session: "]);
    change(&home, "|/claim-1", "ann/claim-1");
    home.does(&["check"]);
}

#[test]
fn the_doctor_names_clients_that_nobody_connected_and_how_to() {
    let home = set_up("--permissive");
    std::fs::create_dir(home.path(".cursor")).unwrap();
    let said = home.does(&["doctor"]);
    for part in [
        "note     claude-code does not start Countersign, and reaches by itself claims, old claims (project, ",
        // They were taken over already.
        "do: `countersign connect claude-code --replace`, if its calls should be governed",
        "note     cursor is on this machine, and does not start Countersign\n         do: `countersign connect cursor`, if it should",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        !said.contains("windsurf") && !said.contains("vscode"),
        "{said}"
    );
    home.does(&["connect", "claude-code", "--replace"]);
    let said = home.does(&["doctor"]);
    assert!(!said.contains("claude-code does not start"), "{said}");
    home.does(&["connect", "claude-code", "--undo"]);
    // What came later is taken over first, and each stands with its own place.
    let of_user = json!({"mcpServers": {"later": {"command": "later"}}});
    home.write(".claude.json", &of_user.to_string());
    let said = home.does(&["doctor"]);
    for part in [
        "note     claude-code does not start Countersign, and reaches by itself claims, old claims (project, ",
        ".mcp.json), later (user, ",
        "do: `countersign import claude-code`, then `countersign connect claude-code --replace` and `countersign connect claude-code --scope user --replace`, if",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn whoever_began_with_reading_is_told_how_to_go_on_with_that() {
    let home = set_up("--read-only");
    let said = home.does(&["check"]);
    let told = "`start.read` permits what you declare as reading; write `access = \"read\"` into `[servers.claims.tools.TOOL]`";
    assert!(
        said.contains(told) && !said.contains("--permissive"),
        "{said}"
    );

    let section = "[servers.claims.tools.get_claim]\n";
    let said = home.does(&["policy", "new", "--read-only", "--force"]);
    assert!(said.contains(section), "{said}");
    let text = home.read(OURS);
    home.write(OURS, &format!("{text}\n{section}risk = \"low\"\n"));
    let said = home.does(&["policy", "new", "--read-only", "--force"]);
    assert!(!said.contains(section), "{said}");
    let told = "into the sections that they have: get_claim";
    assert!(said.contains(told), "{said}");
    home.write(OURS, &format!("{text}\n{section}access = \"read\"\n"));
    let said = home.does(&["policy", "new", "--read-only", "--force"]);
    assert!(
        !said.contains("servers.claims.tools") && !said.contains("that they have"),
        "{said}"
    );
    assert!(
        said.contains("[servers.old-claims.tools.get_claim]"),
        "{said}"
    );
}

#[test]
fn who_has_no_configuration_yet_is_led_to_one_that_works() {
    let home = Home::new();
    fails(
        &home,
        &["check"],
        &["begin with `countersign init`", "--config FILE"],
    );
    let named = home.path("mine/countersign.toml");
    let named = named.to_str().unwrap();
    let at = format!(
        "begin with `countersign init --dir {}`",
        home.path("mine").display()
    );
    fails(
        &home,
        &["--config", named, "check"],
        &["there is no configuration at", &at],
    );
    std::fs::create_dir(home.path("mine")).unwrap();
    let folder = home.path("mine");
    let folder = folder.to_str().unwrap();
    fails(
        &home,
        &["--config", folder, "check"],
        &["is a folder: name the file in it"],
    );

    // By the example, step for step as the messages have it.
    let example = home.does(&["example"]);
    let claims = format!("command = {PROGRAM:?}");
    home.write(
        "mine/countersign.toml",
        &example.replace("command = \"countersign\"", &claims),
    );
    let policies = "`countersign policy new --permissive` (or `--read-only`)";
    fails(
        &home,
        &["--config", named, "check"],
        &["there is no `*.cedar` file in", policies],
    );
    fails(
        &home,
        &["--config", named, "policy", "new", "--permissive"],
        &[
            "`countersign example --principals > ",
            "`policy.principals`",
        ],
    );
    home.write(
        "mine/principals.toml",
        &home.does(&["example", "--principals"]),
    );
    let said = home.does(&["--config", named, "policy", "new", "--permissive"]);
    assert!(
        said.contains("global.cedar") && said.contains("start.cedar"),
        "{said}"
    );
    let said = home.does(&["--config", named, "check"]);
    assert!(said.contains("no problems"), "{said}");
}

#[test]
fn init_proposes_what_leaves_no_server_doubled() {
    let home = Home::new();
    let said = home.does(&["init"]);
    assert!(
        said.contains("  countersign connect claude-code --replace\n"),
        "{said}"
    );
    assert!(!said.contains("COUNTERSIGN_CONFIG"), "{said}");
    home.does(&["import", "claude-code"]);
    home.does(&["policy", "new", "--permissive"]);
    home.does(&["connect", "claude-code", "--replace"]);
    let said = home.does(&["init"]);
    assert!(
        said.contains("  countersign policy new --permissive --add\n"),
        "{said}"
    );
    assert!(
        !said.contains("claude-code has") && !said.contains("You are"),
        "{said}"
    );

    let home = Home::new();
    let servers = home.read("project/.mcp.json");
    std::fs::remove_file(home.path("project/.mcp.json")).unwrap();
    home.write(".claude.json", servers.trim_start_matches("// mine\n"));
    let other = home.path("other");
    let said = home.does(&["init", "--dir", other.to_str().unwrap()]);
    let file = other.join("countersign.toml");
    let export = format!("  export COUNTERSIGN_CONFIG={}\n", file.display());
    let connect = "  countersign connect claude-code --scope user --replace\n";
    assert!(said.contains(&export) && said.contains(connect), "{said}");
}

#[test]
fn nothing_to_undo_says_where_there_is_something() {
    let home = set_up("--permissive");
    let undo = ["connect", "claude-code", "--undo"];
    fails(
        &home,
        &undo,
        &[
            "nothing to undo",
            ".mcp.json`",
            "run it in the folder where it was connected",
            "--file FILE",
        ],
    );
    home.does(&["connect", "claude-code"]);
    let elsewhere = home.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let undone = home
        .command(&undo)
        .current_dir(&elsewhere)
        .output()
        .unwrap();
    let said = String::from_utf8(undone.stderr).unwrap();
    let project = home.path("project").canonicalize().unwrap();
    let told = format!("it has one for `{}`; run it there", project.display());
    assert!(!undone.status.success() && said.contains(&told), "{said}");
    home.does(&undo);
}

#[test]
fn names_that_are_none_are_answered_with_those_that_are() {
    let home = set_up("--permissive");
    fails(
        &home,
        &["key", "new", ""],
        &["no name was given", "principals.toml` has `ann`"],
    );
    let copy = home.path("copy.db");
    fails(
        &home,
        &["store", "backup", copy.to_str().unwrap()],
        &["there is no store at `"],
    );
    assert!(!copy.exists());
    fails(
        &home,
        &["session", "list"],
        &["there is no store at `", "`countersign key new` makes it"],
    );
    home.does(&["key", "new", "ann"]);
    let said = home.does(&["doctor"]);
    assert!(said.contains("1 key for HTTP"), "{said}");
    fails(
        &home,
        &["pin", "accept", "nosuch"],
        &["there is no server `nosuch`: there is `claims`, `old-claims`"],
    );
    fails(
        &home,
        &["pin", "diff", "claims"],
        &["was never seen by a broker", "`countersign check`"],
    );
    let id = "esc-4k7m-2qpx-9d3h";
    let approve = home
        .command(&["escalation", "approve", id])
        .env_remove("COUNTERSIGN_KEY")
        .output();
    let said = String::from_utf8(approve.unwrap().stderr).unwrap();
    assert!(
        said.ends_with("`countersign key new PRINCIPAL` makes one\n"),
        "{said}"
    );
    home.does(&["connect", "claude-code"]);
    let mut client = home.client();
    client.call("claims__get_claim", json!({"claim_id": "99"}));
    assert!(client.end());
    fails(
        &home,
        &["pin", "accept", "claims", "nosuch"],
        &["never had a tool `nosuch`: it has approve_payment, "],
    );
    let said = home.does(&["session", "list"]);
    assert!(said.contains("  open\n"), "{said}");
    fails(
        &home,
        &["session", "show", "nosuch", "--owner", "rot"],
        &[
            "there is no principal `rot`",
            "there is no session `nosuch`",
        ],
    );
}

#[test]
fn the_command_that_undoes_names_the_file_that_was_named() {
    let home = set_up("--permissive");
    let file = home.path("its file.json");
    let file = file.to_str().unwrap();
    let said = home.does(&["connect", "cursor", "--file", file]);
    let undo = format!("`countersign connect cursor --undo --file '{file}'` takes that away");
    assert!(said.contains(&undo), "{said}");
    home.does(&["connect", "cursor", "--undo", "--file", file]);
    assert!(!home.path("its file.json").exists());
}

#[test]
fn an_export_says_what_it_has_and_where_it_cannot_be() {
    let home = set_up("--permissive");
    home.does(&["key", "new", "ann"]);
    let to = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let export = |name: &str| home.run(&["journal", "export", "--out", &to(name)]);
    let (done, said) = export("all.jsonl");
    let verify = format!("`countersign journal verify --export {}`", to("all.jsonl"));
    assert!(
        done && said.contains(" has 0 records") && said.contains(&verify),
        "{said}"
    );
    for (name, told) in [
        ("all.jsonl", "is there already, and nothing is written over"),
        ("absent/all.jsonl", "make it first, `mkdir -p "),
        ("project", "is a folder: name a file in it"),
    ] {
        let (done, said) = export(name);
        assert!(!done && said.contains(told), "{said}");
    }
    assert!(!Path::new(&to("absent")).exists());
    let foreign = to(OURS);
    fails(
        &home,
        &["journal", "verify", "--export", &foreign],
        &[
            &foreign,
            "it is no export of a journal: `countersign journal export --out FILE`",
        ],
    );
    home.does(&["journal", "verify", "--export", &to("all.jsonl")]);
}

/// The only tool of this server writes, and takes an object of whatever shape.
const FREE: &str = r#"
answer() {
    id=${line#*\"id\":}
    printf '{"jsonrpc":"2.0","id":%s,%s}\n' "${id%%,*}" "$1"
}
while IFS= read -r line; do
    case $line in
    *'"method":"initialize"'*)
        answer '"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"free","version":"1"}}' ;;
    *'"method":"tools/list"'*)
        answer '"result":{"tools":[{"name":"file","inputSchema":{"type":"object","properties":{"what":{"type":"object"}}}}]}' ;;
    *'"method":"tools/call"'*)
        answer '"result":{"content":[{"type":"text","text":"filed"}]}' ;;
    *'"method":"notifications/'*) ;;
    *) answer '"error":{"code":-32601,"message":"method not found"}' ;;
    esac
done
"#;

#[test]
fn an_argument_that_policy_cannot_see_is_named_to_the_operator_and_to_the_model() {
    let home = Home::new();
    home.write("free.sh", FREE);
    home.does(&["init"]);
    let text = home.read(OURS);
    let server = format!(
        "[servers.free]\ncommand = \"sh\"\nargs = [{:?}]\n",
        home.path("free.sh")
    );
    home.write(OURS, &format!("{text}\n{server}"));
    let said = home.does(&["policy", "new", "--permissive"]);
    let told = "free/file: policies cannot see what (it is an object without declared properties); `global.opaque-write` refuses";
    assert!(said.contains(told), "{said}");
    let said = home.does(&["check"]);
    let told = "warning: `global.opaque-write` refuses calls with arguments that policy cannot see, which these may have: free/file (what). Where you can live with one";
    assert!(said.contains(told), "{said}");

    home.does(&["connect", "claude-code"]);
    let mut client = home.client();
    for (arguments, named) in [
        (
            json!({"what": {"a": 1}}),
            "`what` (it is an object without declared properties)",
        ),
        (
            json!({"memo": "x"}),
            "`memo` (the tool does not declare it)",
        ),
    ] {
        let refused = client.call("free__file", arguments);
        let told = format!("Policy cannot see {named}. Nothing was sent.\nLeave that out");
        assert!(
            refused.contains(&told) && !refused.contains("final"),
            "{refused}"
        );
    }
    assert_eq!(client.call("free__file", json!({})), "filed");
    assert!(client.end());

    // By the advice of the warning.
    let global = ".config/countersign/policies/global.cedar";
    let policy = home.read(global).replace(
        "context.call.opaque.isEmpty()",
        "[\"what\"].containsAll(context.call.opaque)",
    );
    home.write(global, &policy);
    home.does(&["check"]);
    let mut client = home.client();
    assert_eq!(
        client.call("free__file", json!({"what": {"a": 1}})),
        "filed"
    );
    assert!(client.end());
}

#[test]
fn what_would_only_fail_later_and_what_is_no_address_is_refused_with_what_would_be_right() {
    let home = set_up("--permissive");
    fails(
        &home,
        &["connect", "claude-code", "--session", "a b"],
        &["`a b` is no session handle: write 1 to 100"],
    );
    assert!(!home.path(".claude.json").exists());
    fails(
        &home,
        &["serve", "--listen", "8080"],
        &["write one like `127.0.0.1:7420`"],
    );
    let text = home.read(OURS);
    home.write(OURS, &format!("servers_from = \"nosuch.json\"\n{text}"));
    fails(
        &home,
        &["check"],
        &["`servers_from`: cannot read `", "name a client's file"],
    );
}

/// What a broker that was killed left is folded before a store is looked into, also where
/// tasks run.
#[test]
fn a_check_after_a_kill_does_not_panic() {
    let home = set_up("--permissive");
    home.does(&["connect", "claude-code"]);
    for command in [&["check"][..], &["doctor"], &["policy", "schema"]] {
        let mut client = home.client();
        client.call("claims__get_claim", json!({"claim_id": "99"}));
        client.kill();
        home.does(command);
    }
}

/// A server that does not start is told of once, with why, and not at every try.
#[test]
fn a_check_says_once_why_a_server_does_not_start() {
    let home = set_up("--permissive");
    let text = home.read(OURS);
    home.write(
        OURS,
        &format!("{text}\n[servers.gone]\ncommand = \"no-such-program\"\n"),
    );
    let (well, said) = home.run(&["check"]);
    assert!(
        !well && said.matches("`no-such-program` was not found").count() == 1,
        "{said}"
    );
}
