//! Rough edges that newcomers met: clients that are not there, files that cannot be read
//! as one thing, limits that limit nothing.

use super::Home;
use super::words::fails;
use super::words::set_up;
use serde_json::json;
use std::process::Stdio;

const OURS: &str = ".config/countersign/countersign.toml";

#[test]
fn a_client_that_is_not_there_is_told_of_and_nothing_of_it_is_left() {
    let home = set_up("--permissive");
    let said = home.does(&["connect", "cursor", "--dry-run"]);
    let told = "WARNING: cursor was not found on this machine";
    assert!(
        said.contains(told) && !home.path(".cursor").exists(),
        "{said}"
    );
    let said = home.does(&["connect", "cursor"]);
    assert!(
        said.contains(told)
            && said.contains("there was no such file before")
            && said.contains("`countersign connect cursor --undo` takes that away again")
            && !said.contains("what was there"),
        "{said}"
    );
    // By now it is there, as far as one can see.
    assert!(!home.does(&["connect", "cursor"]).contains("not found"));
    home.does(&["connect", "cursor", "--undo"]);
    assert!(!home.path(".cursor").exists());

    // What somebody keeps in a folder of ours keeps the folder.
    home.does(&["connect", "windsurf"]);
    home.write(".codeium/mine", "");
    home.does(&["connect", "windsurf", "--undo"]);
    assert!(!home.path(".codeium/windsurf").exists() && home.path(".codeium/mine").exists());
    // And a folder that was there stays.
    std::fs::create_dir(home.path(".gemini")).unwrap();
    let said = home.does(&["connect", "gemini"]);
    assert!(!said.contains("not found"), "{said}");
    home.does(&["connect", "gemini", "--undo"]);
    assert!(home.path(".gemini").exists() && !home.path(".gemini/settings.json").exists());
}

/// One reader takes the first, another the last.
#[test]
fn a_clients_file_that_can_be_read_in_two_ways_is_left_as_it_is() {
    let home = set_up("--permissive");
    let ours = home.read(OURS);
    for text in [
        "{\"mcpServers\": {\"a\": {\"command\": \"x\"}},\n \"mcpServers\": {\"b\": {\"command\": \"y\"}}}",
        "{\"mcpServers\": {\"a\": {\"command\": \"x\"},\n \"a\": {\"command\": \"y\"}}}",
    ] {
        std::fs::create_dir_all(home.path(".cursor")).unwrap();
        home.write(".cursor/mcp.json", text);
        let told = "stands there twice, on lines 1 and 2";
        for args in [
            &["connect", "cursor"][..],
            &["connect", "cursor", "--replace"],
            &["connect", "cursor", "--undo"],
            &["import", "cursor"],
        ] {
            fails(&home, args, &["is not right", told]);
        }
        assert_eq!(home.read(".cursor/mcp.json"), text);
        assert_eq!(home.read(OURS), ours);
        let said = home.does(&["doctor"]);
        assert!(said.contains(told), "{said}");
    }
}

/// A pipe that nobody writes into is waited for, and a device has no end.
#[test]
fn what_is_no_plain_file_is_refused_at_once() {
    let home = set_up("--permissive");
    let pipe = home.path("pipe.json");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let told = "it is a pipe, and no plain file";
    fails(
        &home,
        &["import", pipe.to_str().unwrap()],
        &["cannot read `", told],
    );
    fails(
        &home,
        &["import", "/dev/zero"],
        &["it is a device, and no plain file"],
    );
    let connect = ["connect", "cursor", "--file", pipe.to_str().unwrap()];
    fails(&home, &connect, &[told]);
    let text = home.read(OURS);
    home.write(OURS, &format!("servers_from = {pipe:?}\n{text}"));
    fails(&home, &["check"], &["`servers_from`: cannot read `", told]);
    home.write(OURS, &text);
    for name in ["policies/pipe.cedar", "principals.toml"] {
        let path = home.path(&format!(".config/countersign/{name}"));
        if path.exists() {
            std::fs::remove_file(&path).unwrap();
        }
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        fails(&home, &["check"], &["cannot read `", told]);
        std::fs::remove_file(&path).unwrap();
    }
    // The configuration is read once, and may come through a pipe.
    let mut check = home.command(&["--config", "/dev/stdin", "policy", "schema"]);
    let mut check = check
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(check.stdin.take());
    check.wait().unwrap();
}

#[test]
fn what_is_no_clients_file_is_not_imported_and_nothing_is_written() {
    let home = set_up("--permissive");
    let ours = home.read(OURS);
    let file = home.path("file.json");
    let is_none = "it is no client's file with servers: that is an object of JSON";
    for (content, told) in [
        (
            &[0x7f, b'E', b'L', b'F', 0xff][..],
            "as a client's file: it is no text in UTF-8",
        ),
        (&b"\0\0\0\0"[..], is_none),
        (&b"mcpServers:\n  x: {}\n"[..], is_none),
        (&b"{\"mcpServers\": {\"x\": "[..], "is not right: "),
        (&b"{\"mcpServers\": {}} more"[..], "is not right: "),
    ] {
        std::fs::write(&file, content).unwrap();
        fails(&home, &["import", file.to_str().unwrap()], &[told]);
        assert_eq!(home.read(OURS), ours);
    }
    // What only looks like an object has no servers.
    home.write("file.json", "{\"other\": 1}");
    let said = home.does(&["import", file.to_str().unwrap()]);
    assert!(said.contains("there are no servers in "), "{said}");
    assert_eq!(home.read(OURS), ours);
}

#[test]
fn who_has_just_begun_is_warned_of_nothing() {
    let home = set_up("--permissive");
    let said = home.does(&["check"]);
    assert!(said.ends_with("no problems\n"), "{said}");
    for note in [
        "note: no principal has the role `Manager`, so nobody could lift what `global.private-to-sink` and `global.tainted-write` stop; that matters once `labels` are declared",
        "note: no policy reads `limits.call`, `limits.session`, `limits.day` of ann of `principals.toml`, so nothing is limited by that",
    ] {
        assert!(said.contains(note), "{note}: {said}");
    }
    let found = home.does(&["check", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["warnings"], json!([]));
    assert_eq!(found["notes"].as_array().unwrap().len(), 2);
}

#[test]
fn who_has_no_server_yet_is_told_so_and_how_to_have_one() {
    let home = Home::new();
    home.does(&["init"]);
    let told = "no server is configured, so there is nothing to call: take over those of a client with `countersign import CLIENT`, or write a section `[servers.NAME]`";
    for how in ["--permissive", "--read-only"] {
        fails(
            &home,
            &["policy", "new", how],
            &["nothing was written: ", told],
        );
    }
    assert!(
        !home
            .path(".config/countersign/policies/start.cedar")
            .exists()
    );
    let said = home.does(&["check"]);
    assert!(
        said.contains(&format!("warning: {told}")) && said.ends_with("and 1 warning above\n"),
        "{said}"
    );
    let said = home.does(&["doctor"]);
    assert_eq!(said.matches(told).count(), 1, "{said}");
    home.does(&["import", "claude-code"]);
    home.does(&["policy", "new", "--permissive"]);
    assert!(!home.does(&["check"]).contains("no server is configured"));
}

#[test]
fn files_beside_policies_that_are_none_are_named_also_where_there_is_no_other() {
    let home = set_up("--permissive");
    let folder = ".config/countersign/policies";
    home.write(&format!("{folder}/mine.cedar.txt"), "");
    home.write(&format!("{folder}/README.md"), "");
    let told =
        "policies: `mine.cedar.txt`; policies are the files there whose names end in `.cedar`";
    let said = home.does(&["check"]);
    assert!(
        said.contains("note: not read in ")
            && said.contains(told)
            && said.ends_with("no problems\n"),
        "{said}"
    );
    for name in ["global", "start"] {
        std::fs::remove_file(home.path(&format!("{folder}/{name}.cedar"))).unwrap();
    }
    fails(&home, &["check"], &[told, "there is no `*.cedar` file in"]);
}

#[test]
fn a_home_as_a_shell_writes_it_is_told_with_the_whole_path() {
    let home = set_up("--permissive");
    let text = home.read(OURS);
    let told = |key: &str, path: &str| {
        let whole = home.path(path);
        format!(
            "`{key}`: `~/{path}` begins with `~`, which only a shell reads: write the whole path, `{}`",
            whole.display()
        )
    };
    for (section, key, path) in [
        (
            "[store]\npath = \"~/mine/calls.db\"\n",
            "store.path",
            "mine/calls.db",
        ),
        ("[journal]\nkey = \"~/key\"\n", "journal.key", "key"),
        (
            "[policy]\nfolder = \"~/policies\"\n",
            "policy.folder",
            "policies",
        ),
        (
            "[policy]\nprincipals = \"~/who.toml\"\n",
            "policy.principals",
            "who.toml",
        ),
    ] {
        home.write(OURS, &format!("{text}\n{section}"));
        fails(&home, &["check"], &[&told(key, path)]);
    }
    home.write(OURS, &format!("servers_from = \"~/.mcp.json\"\n{text}"));
    fails(&home, &["check"], &[&told("servers_from", ".mcp.json")]);
    for started in [
        "command = \"~/bin/x\"",
        "command = \"sh\"\ncwd = \"~/bin/x\"",
    ] {
        home.write(OURS, &format!("{text}\n[servers.mine]\n{started}\n"));
        let told =
            "~/bin/x` does not exist: only a shell reads `~` as a home, so write the whole path";
        fails(&home, &["check"], &["PROBLEM server mine: ", told]);
    }
    assert!(!home.path(".config/countersign/~").exists());
    let told = [
        "there is no configuration at `~/mine.toml`: `~/mine.toml` begins with `~`",
        "write the whole path, `",
    ];
    fails(&home, &["--config=~/mine.toml", "check"], &told);
}

#[test]
fn a_limit_that_limits_nothing_is_a_warning_once_there_is_an_amount() {
    let home = set_up("--permissive");
    let text = home.read(OURS);
    let pay =
        "[servers.claims.tools.approve_payment]\nmoney = [\"amount\"]\nmeter = [\"amount\"]\n";
    home.write(OURS, &format!("{text}\n{pay}"));
    let said = home.does(&["check"]);
    let warning = "warning: no policy reads `limits.call`, `limits.session`, `limits.day` of ann of `principals.toml`, so nothing is limited by that: write what shall hold, like `";
    assert!(said.contains(warning), "{said}");
    // What it proposes is right.
    let proposed = said.split("like `").nth(1).unwrap();
    let proposed = proposed.split("};`").next().unwrap();
    let policy = ".config/countersign/policies/mine.cedar";
    home.write(policy, &format!("{proposed}}};\n"));
    let said = home.does(&["check"]);
    assert!(
        said.contains("no policy reads `limits.session`, `limits.day` of ann"),
        "{said}"
    );
    home.does(&["connect", "claude-code"]);
    let mut client = home.client();
    let pays = |amount: u32| json!({"claim_id": "99", "amount": amount, "payee": "x"});
    let paid = client.call("claims__approve_payment", pays(101));
    assert!(paid.starts_with("error: "), "{paid}");
    assert!(client.end());
}

#[test]
fn a_path_that_is_compared_as_it_is_written_and_a_misspelt_argument_are_told_by_name() {
    let home = Home::new();
    home.write("files.sh", FILES);
    home.does(&["init"]);
    let text = home.read(OURS);
    let server = format!(
        "[servers.files]\ncommand = \"sh\"\nargs = [{:?}]\n",
        home.path("files.sh")
    );
    home.write(OURS, &format!("{text}\n{server}"));
    home.does(&["policy", "new", "--permissive"]);
    let forbid = |condition: &str| {
        let policy = format!(
            "@id(\"mine\")\nforbid (principal, action == Broker::Action::\"files/read\", resource)\nwhen {{ {condition} }};\n"
        );
        home.write(".config/countersign/policies/mine.cedar", &policy);
    };
    forbid("context.input.path like \"/srv/private/*\"");
    let said = home.does(&["check"]);
    let told = "warning: mine.cedar:1: policy `mine`: it compares `context.input.path` of `files/read` as it is written";
    assert!(said.contains(told), "{said}");
    let declared = "[servers.files.tools.read]\npath = [\"path\"]\n";
    home.write(OURS, &format!("{text}\n{server}{declared}"));
    forbid("context.input[\"path#resolved\"] like \"/srv/private/*\"");
    assert!(!home.does(&["check"]).contains("warning"));
    forbid("context.input.pth == \"x\"");
    fails(
        &home,
        &["check"],
        &[
            "mine.cedar:3: policy `mine`: `context.input.pth`: the tool `files/read` has no argument `pth`; policy sees `path`, `path#resolved`",
        ],
    );
}

/// The only tool of this server reads a file.
const FILES: &str = r#"
answer() {
    id=${line#*\"id\":}
    printf '{"jsonrpc":"2.0","id":%s,%s}\n' "${id%%,*}" "$1"
}
while IFS= read -r line; do
    case $line in
    *'"method":"initialize"'*)
        answer '"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"files","version":"1"}}' ;;
    *'"method":"tools/list"'*)
        answer '"result":{"tools":[{"name":"read","inputSchema":{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}}]}' ;;
    *'"method":"notifications/'*) ;;
    *) answer '"error":{"code":-32601,"message":"method not found"}' ;;
    esac
done
"#;
