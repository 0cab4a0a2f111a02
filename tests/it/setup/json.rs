//! `--json`: one document, or an error; never what it would be without.

use super::Home;
use super::words::fails;
use super::words::set_up;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;

/// The commands that have a document, each with arguments under which it prints it. They
/// are run in this order in one home.
const FACTS: [&[&str]; 41] = [
    &["import", "claude-code", "--dry-run"],
    &["import", "claude-code"],
    &["connect", "claude-code", "--dry-run"],
    &["connect", "claude-code"],
    &["connect", "claude-code", "--undo"],
    &["check"],
    &["doctor"],
    &["policy", "schema"],
    &["key", "new", "ann"],
    &["key", "list"],
    &["key", "revoke", "KEY"],
    &["session", "list"],
    &["session", "show", "work"],
    &["session", "name", "work", "also"],
    &["session", "pause", "work"],
    &["session", "event", "work", "--kind", "k"],
    &["session", "events", "work"],
    &["session", "deliveries"],
    &["session", "resume", "work"],
    &["session", "freeze", "work"],
    &["session", "freeze", "work"],
    &["session", "thaw", "work"],
    &["session", "label", "work", "--add", "mine"],
    &["session", "explain", "CALL"],
    &["journal", "tail"],
    &["journal", "show", "CALL"],
    &["journal", "verify"],
    &["journal", "export", "--out", "all.jsonl"],
    &["journal", "key"],
    &["meter", "show"],
    &["escalation", "list"],
    &["escalation", "deliveries"],
    &["pin", "list"],
    &["pin", "diff"],
    &["pin", "accept", "claims"],
    &["store", "check"],
    &["store", "backup", "copy.db"],
    &["store", "restore", "copy.db"],
    &["session", "end", "work"],
    &["session", "end", "work"],
    &["check"],
];

/// The commands of an escalation, which need one: `tests/it/escalations` runs them.
const OF_AN_ESCALATION: [&[&str]; 3] = [
    &["escalation", "show"],
    &["escalation", "approve"],
    &["escalation", "refuse"],
];

/// The commands that have none.
const NONE: [&[&str]; 9] = [
    &["init"],
    &["policy", "new", "--permissive", "--force"],
    &["demo"],
    &["stdio"],
    &["serve"],
    &["completions", "bash"],
    &["example"],
    &["journal", "export"],
    &["claims-server", "--ledger", "l"],
];

/// Every command that the help names, down to the last word.
fn commands(home: &Home, before: &[String]) -> BTreeSet<Vec<String>> {
    let mut args: Vec<&str> = before.iter().map(String::as_str).collect();
    args.push("--help");
    let help = home.does(&args);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let mut found = BTreeSet::new();
    for name in names.filter(|name| *name != "help") {
        let whole = [before, &[name.to_owned()]].concat();
        let inner = commands(home, &whole);
        match inner.is_empty() {
            true => drop(found.insert(whole)),
            false => found.extend(inner),
        }
    }
    found
}

#[test]
fn every_command_has_a_document_or_says_that_it_has_none() {
    let home = Home::new();
    let all = commands(&home, &[]);
    assert!(all.len() > 40, "{all:?}");
    let known: Vec<&[&str]> = FACTS
        .iter()
        .chain(&OF_AN_ESCALATION)
        .chain(&NONE)
        .copied()
        .collect();
    for command in all {
        let is_it = |args: &&[&str]| command.iter().zip(*args).all(|(one, other)| one == other);
        assert!(
            known.iter().any(is_it),
            "{command:?} is in none of the lists"
        );
    }
}

#[test]
fn whoever_asks_for_json_gets_one_document() {
    let home = Home::new();
    home.does(&["init"]);
    let ids = std::cell::RefCell::new((String::new(), String::new()));
    for args in FACTS {
        if args[0] == "check" && ids.borrow().1.is_empty() {
            home.does(&["policy", "new", "--permissive"]);
            home.does(&["connect", "claude-code", "--session", "work"]);
            let mut client = home.client();
            client.call("claims__get_claim", json!({"claim_id": "99"}));
            assert!(client.end());
            let tail = home.does(&["journal", "tail", "--json"]);
            let tail: Value = serde_json::from_str(&tail).unwrap();
            ids.borrow_mut().1 = tail["calls"][0]["id"].as_str().unwrap().to_owned();
            home.does(&["connect", "claude-code", "--undo"]);
        }
        let (key, call) = ids.borrow().clone();
        let args = args.iter().map(|arg| match *arg {
            "KEY" => key.as_str(),
            "CALL" => call.as_str(),
            other => other,
        });
        let args: Vec<&str> = args.chain(["--json"]).collect();
        let done = home.command(&args).output().unwrap();
        let printed = String::from_utf8(done.stdout).unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{args:?}: {printed}{said}");
        let document: Result<Value, _> = serde_json::from_str(&printed);
        let document = document.unwrap_or_else(|error| panic!("{args:?}: {error}: {printed}"));
        assert!(document.is_object(), "{args:?}: {printed}");
        if args[..2] == ["key", "new"] {
            ids.borrow_mut().0 = document["id"].as_str().unwrap().to_owned();
        }
    }
}

#[test]
fn a_command_without_a_document_refuses_to_be_asked_for_one() {
    let home = set_up("--permissive");
    for args in NONE {
        let args = [args, &["--json"]].concat();
        fails(
            &home,
            &args,
            &["`--json` is for commands that print facts, and `"],
        );
    }
    assert!(!home.path("project/l").exists());
}

#[test]
fn what_import_and_connect_did_is_told_to_programs() {
    let home = Home::new();
    home.does(&["init"]);
    let read = |args: &[&str]| -> Value {
        let printed = home.does(&[args, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap()
    };
    let dry = read(&["import", "claude-code", "--dry-run"]);
    assert_eq!(dry["written"], false);
    let mut servers: Vec<(&str, &str)> = dry["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["what"].as_str().unwrap()))
        .collect();
    servers.sort_unstable();
    let added = [
        ("claims", "added"),
        ("off", "left-out"),
        ("old claims", "added"),
    ];
    assert_eq!(servers, added);
    let done = read(&["import", "claude-code"]);
    assert_eq!(
        (&done["written"], &done["servers"]),
        (&json!(true), &dry["servers"])
    );
    let again = read(&["import", "claude-code"]);
    assert_eq!(again["written"], false);
    assert_eq!(again["servers"][0]["what"], "known");

    home.does(&["policy", "new", "--permissive"]);
    let dry = read(&["connect", "claude-code", "--replace", "--dry-run"]);
    assert_eq!(
        (&dry["written"], &dry["what"]),
        (&json!(false), &json!("connect"))
    );
    assert!(!home.path(".claude.json").exists());
    let done = read(&["connect", "claude-code", "--replace"]);
    let files = done["files"].as_array().unwrap();
    let new: Vec<bool> = files
        .iter()
        .map(|file| file["new"].as_bool().unwrap())
        .collect();
    assert_eq!((new.len(), new.iter().filter(|new| **new).count()), (2, 1));
    let undone = read(&["connect", "claude-code", "--undo"]);
    assert_eq!(
        (&undone["what"], &undone["warnings"]),
        (&json!("undo"), &json!([]))
    );
}
