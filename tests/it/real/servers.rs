//! Servers: all their tools are offered as they are, an allowed call has its
//! effect, and one that policy denies for an argument is never sent.

use super::SENT;
use super::endings;
use super::list_with;
use super::node_tool;
use super::old_python_tool;
use super::python_tool;
use super::section;
use crate::world::Wire;
use crate::world::World;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// Every tool that the server lists to us is in the broker's list under its
/// exposed name, and else unchanged.
fn offers_all(world: &World, broker: &mut Wire, server: &str, direct: Command) {
    let mut direct = Wire::start(direct, &world.path("direct.log")).initialized();
    let own = direct.ask("tools/list", json!({}));
    let mut own = own["result"]["tools"].as_array().unwrap().clone();
    for tool in &mut own {
        let name = format!("{server}__{}", tool["name"].as_str().unwrap());
        tool["name"] = name.into();
    }
    own.sort_by_key(|tool| tool["name"].to_string());
    assert!(!own.is_empty());
    let offered = list_with(broker, server);
    assert_eq!(offered["result"]["tools"], Value::Array(own));
}

/// Calls, expects this message and that nothing of `mark`, which stands in the
/// arguments, was sent.
#[track_caller]
fn is_denied(
    world: &World,
    broker: &mut Wire,
    (tool, arguments): (&str, Value),
    mark: &str,
    message: &str,
) {
    assert!(arguments.to_string().contains(mark));
    let answer = broker.call(tool, arguments);
    assert!(answer.starts_with(&format!("error: {message}")), "{answer}");
    assert!(!world.read(SENT).contains(mark));
}

fn direct(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_filesystem_server_writes_only_below_the_folder_that_policy_names() {
    let program = node_tool("mcp-server-filesystem");
    let world = World::of("", include_str!("../../../fixtures/real/files.cedar"));
    for folder in ["files", "files/out", "files/private"] {
        std::fs::create_dir(world.path(folder)).unwrap();
    }
    world.write("files/private/key", "hidden");
    let root = world.path("files").canonicalize().unwrap();
    let root = root.to_str().unwrap();
    world.append("countersign.toml", &section("files", &program, &[root]));
    world.append(
        "countersign.toml",
        &format!(
            r#"
[servers.files.tools.write_file]
under = {{ path = "{root}/out" }}

[servers.files.tools.read_text_file]
access = "read"
path = ["path"]
"#
        ),
    );
    let mut broker = world.broker().initialized();
    offers_all(&world, &mut broker, "files", direct(&program, &[root]));

    let write = "files__write_file";
    let inside = json!({"path": format!("{root}/out/note"), "content": "good"});
    let answer = broker.call(write, inside);
    assert!(answer.starts_with("Successfully wrote"), "{answer}");
    assert_eq!(world.read("files/out/note"), "good");

    let outside = json!({"path": format!("{root}/out/../stray"), "content": "bad"});
    let message = "Files may be written below the folder `out` only.";
    is_denied(&world, &mut broker, (write, outside), "stray", message);
    assert!(!world.path("files/stray").exists());

    let read = "files__read_text_file";
    let noted = json!({"path": format!("{root}/out/note")});
    assert_eq!(broker.call(read, noted), "good");
    let hidden = json!({"path": format!("{root}/out/.././/private/key")});
    let message = "Private files stay private.";
    is_denied(&world, &mut broker, (read, hidden), "private", message);
    assert_eq!(
        endings(&world),
        [
            "completed files/write_file",
            "denied files/write_file",
            "completed files/read_text_file",
            "denied files/read_text_file",
        ]
    );
}

/// As a client that can be asked everything, which has more tools of a server that
/// asks: directly and through us the same.
#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_everything_server_offers_what_asks_to_whom_it_can_ask() {
    let program = node_tool("mcp-server-everything");
    let policy = "@id(\"all\") permit (principal, action in Broker::Action::\"server:everything\", resource);";
    let world = World::of(&section("everything", &program, &["stdio"]), policy);
    let opened = |wire: &mut Wire| {
        let all = json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}});
        let client = json!({"name": "test", "version": "1"});
        wire.ask(
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": all, "clientInfo": client}),
        );
        wire.tell("notifications/initialized", json!({}));
    };
    let mut broker = world.broker();
    opened(&mut broker);
    list_with(&mut broker, "everything__trigger-elicitation-request");
    let mut own = Wire::start(direct(&program, &["stdio"]), &world.path("direct.log"));
    opened(&mut own);
    let mut own = names(&own.ask("tools/list", json!({})), "everything__");
    let through = names(&broker.ask("tools/list", json!({})), "");
    own.sort_unstable();
    assert_eq!(through, own);
    assert!(own.len() > 13, "{own:?}");
    let asks = broker.request(
        "tools/call",
        json!({"name": "everything__trigger-elicitation-request"}),
    );
    let question = broker
        .wait_for(|message| message["method"] == "elicitation/create")
        .unwrap();
    broker.send_line(
        &json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}})
            .to_string(),
    );
    let answer = broker.answer_to(asks).unwrap();
    assert!(answer.to_string().contains("decline"), "{answer}");
    let mut plain = world.broker().initialized();
    let fewer = names(&list_with(&mut plain, "everything__"), "");
    assert!(fewer.len() + 3 <= through.len(), "{fewer:?} {through:?}");
    assert!(!fewer.contains(&"everything__trigger-elicitation-request".to_owned()));
}

fn names(list: &Value, prefix: &str) -> Vec<String> {
    let names = crate::world::names_of(list).into_iter();
    names.map(|name| format!("{prefix}{name}")).collect()
}

fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(args);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_git_server_makes_branches_in_the_repository_that_policy_names_only() {
    let program = python_tool("mcp-server-git");
    let world = World::of("", include_str!("../../../fixtures/real/git.cedar"));
    for folder in ["mine", "theirs"] {
        std::fs::create_dir(world.path(folder)).unwrap();
        git(&world.path(folder), &["init", "-q"]);
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let commit = ["commit", "-q", "--allow-empty", "-m", "one"];
        git(&world.path(folder), &[&identity[..], &commit[..]].concat());
    }
    let mine = world.path("mine");
    let mine = mine.to_str().unwrap();
    let theirs = world.path("theirs");
    world.append("countersign.toml", &section("git", &program, &[]));
    world.append(
        "countersign.toml",
        &format!("[servers.git.tools.git_create_branch]\nunder = {{ repo_path = {mine:?} }}\n"),
    );
    let mut broker = world.broker().initialized();
    offers_all(&world, &mut broker, "git", direct(&program, &[]));

    let create = "git__git_create_branch";
    let allowed = json!({"repo_path": mine, "branch_name": "good"});
    let answer = broker.call(create, allowed);
    assert!(answer.contains("Created branch"), "{answer}");
    assert!(git(Path::new(mine), &["branch"]).contains("good"));

    let denied = json!({"repo_path": theirs, "branch_name": "bad"});
    let message = "Branches may be made in your own repositories only.";
    is_denied(&world, &mut broker, (create, denied), "theirs", message);
    assert!(!git(&theirs, &["branch"]).contains("bad"));
    assert_eq!(
        endings(&world),
        [
            "completed git/git_create_branch",
            "denied git/git_create_branch"
        ]
    );
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_time_server_tells_the_time_of_the_zones_that_policy_names_only() {
    let program = python_tool("mcp-server-time");
    let policy = include_str!("../../../fixtures/real/time.cedar");
    let world = World::of(&section("time", &program, &[]), policy);
    let mut broker = world.broker().initialized();
    offers_all(&world, &mut broker, "time", direct(&program, &[]));

    let now = "time__get_current_time";
    let answer = broker.call(now, json!({"timezone": "Europe/Zurich"}));
    assert!(answer.contains("datetime"), "{answer}");
    let denied = json!({"timezone": "America/New_York"});
    let message = "Only the time of Europe is your business.";
    is_denied(&world, &mut broker, (now, denied), "New_York", message);
    assert_eq!(
        endings(&world),
        [
            "completed time/get_current_time",
            "denied time/get_current_time"
        ]
    );
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_everything_server_gets_only_the_texts_and_numbers_that_policy_lets_through() {
    let program = node_tool("mcp-server-everything");
    let policy = include_str!("../../../fixtures/real/everything.cedar");
    let world = World::of(&section("everything", &program, &["stdio"]), policy);
    let mut broker = world.broker().initialized();
    offers_all(
        &world,
        &mut broker,
        "everything",
        direct(&program, &["stdio"]),
    );

    let echo = "everything__echo";
    let answer = broker.call(echo, json!({"message": "hello"}));
    assert_eq!(answer, "Echo: hello");
    let denied = json!({"message": "it is bluebird"});
    let message = "The codename must not leave.";
    is_denied(&world, &mut broker, (echo, denied), "bluebird", message);

    let sum = "everything__get-sum";
    let answer = broker.call(sum, json!({"a": 99.5, "b": 2}));
    assert_eq!(answer, "The sum of 99.5 and 2 is 101.5.");
    let denied = json!({"a": 100.0625, "b": 2});
    let message = "Sums end at one hundred.";
    is_denied(&world, &mut broker, (sum, denied), "100.0625", message);
    assert_eq!(
        endings(&world),
        [
            "completed everything/echo",
            "denied everything/echo",
            "completed everything/get-sum",
            "denied everything/get-sum",
        ]
    );
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_memory_server_takes_no_more_entities_at_a_time_than_policy_says() {
    let program = node_tool("mcp-server-memory");
    let policy = include_str!("../../../fixtures/real/memory.cedar");
    let world = World::of(&section("memory", &program, &[]), policy);
    let file = world.path("memory.jsonl");
    world.append(
        "countersign.toml",
        &format!("env = {{ MEMORY_FILE_PATH = {file:?} }}\n"),
    );
    let mut broker = world.broker().initialized();
    offers_all(&world, &mut broker, "memory", direct(&program, &[]));

    let create = "memory__create_entities";
    let entity = |name: &str| json!({"name": name, "entityType": "t", "observations": ["o"]});
    let answer = broker.call(create, json!({"entities": [entity("good")]}));
    assert!(answer.contains("good"), "{answer}");
    assert!(world.read("memory.jsonl").contains("good"));
    let many = json!({"entities": [entity("bad1"), entity("bad2"), entity("bad3")]});
    let message = "At most two entities at a time.";
    is_denied(&world, &mut broker, (create, many), "bad2", message);
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_sqlite_server_reads_only_what_policy_lets_through() {
    let program = old_python_tool("mcp-server-sqlite");
    let policy = include_str!("../../../fixtures/real/sqlite.cedar");
    let world = World::of("", policy);
    let file = world.path("data.db");
    let args = ["--db-path", file.to_str().unwrap()];
    world.append("countersign.toml", &section("sqlite", &program, &args));
    let mut broker = world.broker().initialized();
    offers_all(&world, &mut broker, "sqlite", direct(&program, &args));

    let read = "sqlite__read_query";
    let answer = broker.call(read, json!({"query": "SELECT 41 + 1 AS n"}));
    assert!(answer.contains("42"), "{answer}");
    let denied = json!({"query": "SELECT salary FROM people"});
    let message = "Salaries are not for agents.";
    is_denied(&world, &mut broker, (read, denied), "salary", message);
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn policy_sees_into_the_records_of_a_fastmcp_server() {
    let program = python_tool("python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/typed.py");
    let policy = include_str!("../../../fixtures/real/typed.cedar");
    let world = World::of(&section("typed", &program, &[script]), policy);
    world.append(
        "countersign.toml",
        "[servers.typed.tools.bill]\nmoney = [\"items[].amount\"]\nsum = [\"items[].amount\"]\n",
    );
    let mut broker = world.broker().initialized();
    offers_all(&world, &mut broker, "typed", direct(&program, &[script]));

    let bill = |country: &str, amount: f64| {
        let home = json!({"street": "s", "zip": 1, "country": country});
        let items = json!([{"text": "a", "amount": amount}, {"text": "b", "amount": 0.5}]);
        json!({"person": {"name": "Eva", "home": home}, "items": items})
    };
    let answer = broker.call("typed__bill", bill("DE", 99.5));
    assert_eq!(answer, "billed Eva for 2 items in EUR");
    let message = "Bills go to Germany only.";
    let french = ("typed__bill", bill("FR", 1.0));
    is_denied(&world, &mut broker, french, "FR", message);
    let dear = ("typed__bill", bill("DE", 99.75));
    is_denied(
        &world,
        &mut broker,
        dear,
        "99.75",
        "No bill above a hundred.",
    );
}

/// Every argument of these servers that policy cannot see, and why.
#[test]
#[ignore = "needs the packages that tests/run installs"]
fn policy_sees_nearly_every_argument_of_real_servers() {
    let world = World::of(
        "",
        "@id(\"all\") permit (principal, action in Broker::Action::\"tools/call\", resource);",
    );
    let root = world.path("").canonicalize().unwrap();
    let root = root.to_str().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/typed.py");
    let data = world.path("data.db");
    let servers: [(&str, _, Vec<&str>); 7] = [
        (
            "everything",
            node_tool("mcp-server-everything"),
            vec!["stdio"],
        ),
        ("files", node_tool("mcp-server-filesystem"), vec![root]),
        ("memory", node_tool("mcp-server-memory"), vec![]),
        ("git", python_tool("mcp-server-git"), vec![]),
        (
            "sqlite",
            old_python_tool("mcp-server-sqlite"),
            vec!["--db-path", data.to_str().unwrap()],
        ),
        ("time", python_tool("mcp-server-time"), vec![]),
        ("typed", python_tool("python"), vec![script]),
    ];
    for (name, program, args) in &servers {
        world.append("countersign.toml", &section(name, program, args));
    }
    let (_well, report) = world.run(&["check"]);
    let lines = report.lines().map(str::trim);
    let opaque: Vec<&str> = lines
        .filter(|line| line.starts_with("policy cannot see"))
        .collect();
    insta::assert_snapshot!(opaque.join("\n"), @r"
    policy cannot see `groups`: it is an array of arrays
    policy cannot see `labels`: it is an object without declared properties
    policy cannot see `reference`: it may have several types
    ");
    let mut broker = world.broker().initialized();
    for (name, ..) in &servers {
        list_with(&mut broker, name);
    }
    let list = broker.ask("tools/list", json!({}));
    let tools = list["result"]["tools"].as_array().unwrap();
    let arguments = tools.iter().map(|tool| {
        let properties = tool["inputSchema"]["properties"].as_object();
        properties.map_or(0, serde_json::Map::len)
    });
    let arguments: usize = arguments.sum();
    assert!(
        tools.len() >= 50 && arguments >= 60,
        "{} {arguments}",
        tools.len()
    );
    assert!(
        opaque.len() * 20 <= arguments,
        "{} of {arguments}",
        opaque.len()
    );
}
