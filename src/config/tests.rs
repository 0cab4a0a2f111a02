use super::*;
use crate::principal::Principals;

/// A configuration whose servers can be started.
fn config(text: &str) -> Result<Config, String> {
    Config::parse(
        Path::new("/etc/cs/countersign.toml"),
        text,
        Path::new("countersign"),
    )
    .and_then(|config| {
        config.servers.to_start()?;
        Ok(config)
    })
    .map_err(|error| error.to_string())
}

fn principals(text: &str) -> Result<Principals, String> {
    principals::parse(Path::new("principals.toml"), text, 2).map_err(|error| error.to_string())
}

#[test]
fn the_shipped_examples_are_read() {
    let config = config(EXAMPLE).unwrap();
    assert_eq!(config.store, Path::new("/etc/cs/countersign.db"));
    assert_eq!(config.servers.to_start().unwrap().len(), 1);
    let principals = principals(PRINCIPALS_EXAMPLE).unwrap();
    let alice = config.stdio_principal.unwrap();
    assert_eq!(principals.by_id[&alice].limits.call, 1_000_000);
}

#[test]
fn the_example_shows_the_defaults() {
    let shown = config(EXAMPLE).unwrap().broker;
    let default = config("").unwrap().broker;
    assert_eq!(shown.durability, default.durability);
    assert_eq!(shown.idle, default.idle);
    assert_eq!(shown.labels_stick, default.labels_stick);
    assert_eq!(shown.warnings_settle, default.warnings_settle);
    assert_eq!(shown.denials, default.denials);
    assert_eq!(shown.keep, default.keep);
    assert_eq!(shown.money_scale, default.money_scale);
    assert_eq!(shown.naming, default.naming);
    assert_eq!(shown.custody.every, default.custody.every);
    assert_eq!(shown.custody.key, Path::new("/etc/cs/countersign.db-key"));
}

#[test]
fn an_error_of_the_configuration_says_where_it_is_and_what_is_allowed() {
    let table = [
        ("[store]\npaht = \"x\"", "line 2", "`path`"),
        ("[stroe]", "line 1", "`store`"),
        ("[store]\ndurability = \"disk\"", "line 2", "`power`"),
        (
            "[store]\ntime_zone = \"Mars/Olympus\"",
            "store.time_zone",
            "Europe/Berlin",
        ),
        ("[session]\nidle = \"soon\"", "line 2", "idle"),
        ("[session]\nidle = \"-1h\"", "session.idle", "`8h`"),
        ("[names]\nlongest = 80", "names.longest", "24 to 64"),
        ("[policy]\nmoney_scale = 9", "policy.money_scale", "0 to 4"),
        (
            "[stdio]\nprincipal = \"a|b|c\"",
            "stdio.principal",
            "without `|`",
        ),
        (
            "[servers.a__b]\ncommand = \"x\"",
            "servers.a__b",
            "without `__`",
        ),
        ("[servers.a]\nargs = []", "servers.a.command", "`url`"),
        (
            "[servers.a]\ncommand = \"x\"\nurl = \"https://a.example/\"",
            "servers.a.url",
            "not both",
        ),
        (
            "[servers.a]\nurl = \"https://a.example/\"\nargs = [\"x\"]",
            "servers.a.args",
            "`command`",
        ),
        (
            "[servers.a]\nurl = \"https://a.example/\"\nheaders = { X = \"${NO_SUCH_VARIABLE}\" }",
            "servers.a.headers.X",
            "`NO_SUCH_VARIABLE`",
        ),
        (
            "[servers.a]\nurl = \"https://a.example/\"\ntype = \"websocket\"",
            "line 3",
            "`sse`",
        ),
        (
            "[http]\nlisten = \"7420\"",
            "http.listen",
            "`127.0.0.1:7420`",
        ),
        (
            "[http]\norigins = [\"app.example\"]",
            "http.origins",
            "`https://app.example`",
        ),
        ("[servers.a]\ncommand = \" \"", "servers.a.command", "`npx`"),
        (
            "[servers.a]\ncommand = \"x\"\ntimeout = \"0s\"",
            "servers.a.timeout",
            "`60s`",
        ),
        (
            "[servers.a]\ncommand = \"x\"\n[servers.a.tools.t]\naccess = \"none\"",
            "line 4",
            "`read`",
        ),
        (
            "[servers.a]\ncommand = \"x\"\n[servers.a.tools.t]\nmetre = []",
            "line 4",
            "`meter`",
        ),
    ];
    refused(&table);
}

#[test]
fn an_error_of_how_the_journal_is_kept_says_what_is_allowed() {
    let table = [
        ("[journal]\nkeep = \"24h\"", "journal.keep", "`48h`"),
        (
            "[journal]\nkeep = \"2160h\"\ncheckpoint_every = \"0s\"",
            "journal.keep",
            "checkpoint",
        ),
        (
            "[servers.a]\ncommand = \"x\"\n[servers.a.tools.t]\nredact_results = [\"card\"]",
            "servers.a.tools.t.redact_results",
            "JSON pointer",
        ),
        (
            "[journal]\ncheckpoint_every = \"-1m\"",
            "journal.checkpoint_every",
            "`1m`",
        ),
    ];
    refused(&table);
}

#[test]
fn an_error_of_where_a_server_is_says_what_is_allowed() {
    let table = [
        (
            "[servers.a]\ncommand = \"x\"\nurls = [\"https://a.example/\"]",
            "servers.a.urls",
            "not both",
        ),
        (
            "[servers.a]\nurl = \"https://a.example/\"\nurls = [\"https://a.example/\"]",
            "servers.a.urls",
            "all of them in `urls`",
        ),
        (
            "[servers.a]\nurls = []",
            "servers.a.urls",
            "the URL of each replica",
        ),
        (
            "[servers.a]\nurls = [\"https://a.example\", \"https://a.example/\"]",
            "servers.a.urls[1]",
            "twice",
        ),
        (
            "[servers.a]\nurls = [\"https://a.example\", \"b\"]",
            "servers.a.urls[1]",
            "no URL",
        ),
        (
            "[servers.a]\ncommand = \"x\"\ninstance = \"own\"",
            "line 3",
            "`per-principal`",
        ),
        (
            "[servers.a]\ncommand = \"x\"\nmax_instances = 3",
            "servers.a.max_instances",
            "per-session",
        ),
        (
            "[servers.a]\ncommand = \"x\"\ninstance = \"per-session\"\nmax_instances = 0",
            "servers.a.max_instances",
            "above zero",
        ),
        (
            "[servers.a]\ncommand = \"x\"\ninstance = \"per-session\"\ninstance_idle = \"0s\"",
            "servers.a.instance_idle",
            "above zero",
        ),
        (
            "[servers.a]\ncommand = \"x\"\ninstance = \"per-principal\"\nresume_tool = \"r\"",
            "servers.a.resume_tool",
            "per-session",
        ),
        (
            "[servers.a]\ncommand = \"x\"\nresume_argument = \"id\"",
            "servers.a.resume_argument",
            "`resume_tool`",
        ),
        (
            "[servers.a]\nurl = \"https://a.example/\"\naffinity = \"session\"",
            "servers.a.affinity",
            "two or more `urls`",
        ),
        (
            "[servers.a]\nurls = [\"https://a.example/\", \"https://a.example/b\"]\naffinity = \"sticky\"",
            "line 3",
            "`principal`",
        ),
    ];
    refused(&table);
}

/// Each of these is refused, with the place and what would be right.
fn refused(table: &[(&str, &str, &str)]) {
    for (text, place, allowed) in table {
        let Err(error) = config(text) else {
            panic!("{text} was taken");
        };
        assert!(error.contains("countersign.toml"), "{text}: {error}");
        assert!(error.contains(place), "{text}: {error}");
        assert!(error.contains(allowed), "{text}: {error}");
    }
}

#[test]
fn what_is_nearly_right_is_told_with_what_would_be() {
    refused(&[
        (
            "[servers.a]\ncommand = \"x\"\ntimeout = 60",
            "at `servers.a.timeout`",
            "`\"60s\"`",
        ),
        (
            "[servers.a]\ncommand = \"x\"\ntimeout = \"60\"",
            "at `servers.a.timeout`",
            "`\"60s\"`",
        ),
        ("[session]\nidle = \"soon\"", "line 2", "`\"60s\"`"),
        (
            "[servers.a]\ncommand = \"x\"\nargs = \"y\"",
            "at `servers.a.args`",
            "`[\"x\"]`",
        ),
        (
            "[servers.filesystem]\ncommand = \"x\"\n[servers.filsystem.tools.t]\naccess = \"read\"",
            "servers.filsystem.command",
            "did you mean `[servers.filesystem]`?",
        ),
        (
            "[servers.a]\ncommand = \"x\"\nservers_from = \"y\"",
            "line 3",
            "before the first `[",
        ),
    ]);
    let single = principals("[principals]\nsubject = \"a\"\n[roles]\n").unwrap_err();
    assert!(single.contains("`[[…]]`"), "{single}");
}

#[test]
fn what_is_no_label_and_no_time_for_one_is_refused() {
    refused(&[
        (
            "[servers.a]\ncommand = \"x\"\nlabels = [\"PII\"]",
            "servers.a.labels",
            "a-z 0-9 . _ -",
        ),
        (
            "[servers.a]\ncommand = \"x\"\n[servers.a.tools.t]\nlabels = [\"\"]",
            "servers.a.tools.t.labels",
            "1 to 64",
        ),
        (
            "[session]\ndenied_lately = \"25h\"",
            "session.denied_lately",
            "at most `24h`",
        ),
        (
            "[session]\nfreeze_after_denials = 0",
            "session.freeze_after_denials",
            "from 1 to 1000",
        ),
        (
            "[session]\nidle = \"4m 59s\"",
            "session.idle",
            "at least `5m`",
        ),
        (
            "[session]\nexpire = \"6s\"",
            "session.expire",
            "at least `5m`",
        ),
        (
            "[session]\nlabels_stick = \"-1h\"",
            "session.labels_stick",
            "`0s`",
        ),
        (
            "[session]\nwarnings_settle = \"11s\"",
            "session.warnings_settle",
            "at most `10s`",
        ),
        (
            "[session]\nwarnings_settle = \"-1s\"",
            "session.warnings_settle",
            "`0s` for none",
        ),
        (
            "[session.events]\nlabels = [\"A B\"]",
            "session.events.labels",
            "a-z 0-9",
        ),
        (
            "[session.events.kinds]\n\"two words\" = []",
            "session.events.kinds",
            "of the characters",
        ),
    ]);
}

#[test]
fn an_error_of_the_principals_says_where_it_is_and_what_is_allowed() {
    let one = |role: &str, limit: &str, more: &str| {
        format!(
            "[roles]\nJunior = []\nSenior = [\"Junior\"]\n{more}\n[[principals]]\nsubject = \"al\"\n\
             role = \"{role}\"\nlimits = {{ call = {limit}, session = \"1\", day = \"1\" }}\n"
        )
    };
    let good = one("Junior", "\"10000.00\"", "");
    assert!(principals(&good).is_ok());
    let table = [
        (one("Boss", "\"1\"", ""), "role", "`Junior`, `Senior`"),
        (
            one("Junior", "\"1.005\"", ""),
            "limits.call",
            "\"10000.00\"",
        ),
        (one("Junior", "\"-1\"", ""), "limits.call", "\"10000.00\""),
        (one("Junior", "\"1e3\"", ""), "limits.call", "\"10000.00\""),
        (
            one("Junior", "\"10,000\"", ""),
            "limits.call",
            "\"10000.00\"",
        ),
        (
            one("Junior", "10000", ""),
            "line 8, column 19, at `principals[0].limits.call`",
            "invalid type: integer, expected an amount in quotes, like \"10000.00\"",
        ),
        (
            one("Junior", "\"1\"", "Chief = [\"Boss\"]"),
            "roles.Chief",
            "`Junior`",
        ),
        (
            one("Junior", "\"1\"", "A = [\"B\"]\nB = [\"A\"]"),
            "roles.A",
            "includes itself",
        ),
        (
            good.clone() + "agent = \"gpt\"\n",
            "agent",
            "none is declared",
        ),
        (
            good.replace("\"al\"", "\"a\u{200b}l\""),
            "subject",
            "cannot be seen",
        ),
        (
            one("Junior", "\"1\"", "\"Juni\u{202e}or\" = []"),
            "roles.",
            "cannot be seen",
        ),
        (
            good.clone() + "attributes = { x = 1.5 }\n",
            "line",
            "whole number",
        ),
        (
            good.clone() + "limit = \"1\"\n",
            "unknown field `limit`",
            "(did you mean `limits`?)",
        ),
        (
            good.clone() + good.split_once("\n\n").unwrap().1,
            "al",
            "two principals",
        ),
    ];
    for (text, place, allowed) in table {
        let Err(error) = principals(&text) else {
            panic!("{text} was taken");
        };
        assert!(error.contains("principals.toml"), "{text}: {error}");
        assert!(error.contains(place), "{text}: {error}");
        assert!(error.contains(allowed), "{text}: {error}");
    }
}

#[test]
fn a_folder_without_policies_is_an_error_and_not_an_empty_set() {
    let folder = tempfile::tempdir().unwrap();
    let rules = RulesAt {
        policies: folder.path().to_owned(),
        principals: folder.path().join("principals.toml"),
        money_scale: 2,
    };
    let error = rules.load().unwrap_err().to_string();
    assert!(error.contains("no `*.cedar` file"), "{error}");
}

#[test]
fn what_may_be_thought_to_be_a_policy_and_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let rules = RulesAt {
        policies: folder.path().join("policies"),
        principals: folder.path().join("principals.toml"),
        money_scale: 2,
    };
    assert_eq!(rules.unread().unwrap(), [] as [&str; 0]);
    std::fs::create_dir_all(rules.policies.join("team")).unwrap();
    for name in [
        "a.cedar",
        "b.cedar.txt",
        "C.CEDAR",
        "d.rego",
        ".hidden",
        "README.md",
        "readme",
        "broker.cedarschema",
        "a.cedar~",
        "start.cedar.old",
    ] {
        std::fs::write(rules.policies.join(name), "").unwrap();
    }
    let unread = rules.unread().unwrap();
    assert_eq!(unread, ["C.CEDAR", "b.cedar.txt", "d.rego", "team/"]);
    let read = rules.policy_files().unwrap();
    assert_eq!(read.len(), 1);
}
