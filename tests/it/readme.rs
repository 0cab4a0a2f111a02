//! The README, followed by a newcomer: every block of it is run in a clean copy,
//! with a home of its own, in the order in which it stands there.

use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::names_of;
use countersign::config::Config;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;
use tempfile::TempDir;

/// A block between fences.
#[derive(Debug)]
struct Block {
    language: String,
    text: String,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in markdown.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                open = Some(Block {
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_end), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

/// Somebody who has the repository, the toolchain, and nothing else of ours.
struct Newcomer {
    home: TempDir,
    clone: PathBuf,
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.forget_builds();
        }
    }
}

impl Newcomer {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        // Always at the same place, because cargo would keep what it builds for
        // each place.
        let clone = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
        if clone.exists() {
            std::fs::remove_dir_all(&clone).unwrap();
        }
        let newcomer = Self { home, clone };
        let mut git = newcomer.command("git");
        git.args(["clone", "--quiet", env!("CARGO_MANIFEST_DIR")]);
        let cloned = git.arg(&newcomer.clone).status().unwrap();
        assert!(cloned.success());
        newcomer.forget_builds();
        newcomer
    }

    /// Cargo takes builds of one package from two folders in one target folder
    /// for the same: without this a build here after the test, or of the clone in
    /// it, would be called fresh and be that of the other.
    fn forget_builds(&self) {
        let mut cargo = self.command("cargo");
        cargo.args(["clean", "--quiet", "--release", "--package", "countersign"]);
        assert!(cargo.current_dir(&self.clone).status().unwrap().success());
    }

    /// A program in his environment, with what `cargo install` installs on his
    /// `PATH`, and the dependencies built here reused.
    fn command(&self, program: &str) -> Command {
        let kept = |variable: &str, folder: &str| {
            let usual = || std::env::home_dir().unwrap().join(folder);
            std::env::var_os(variable).map_or_else(usual, PathBuf::from)
        };
        let path = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(self.installed().parent().unwrap().to_owned())
            .chain(std::env::split_paths(&path));
        let mut command = Command::new(program);
        command
            .env("CARGO_HOME", kept("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", kept("RUSTUP_HOME", ".rustup"))
            .env("CARGO_INSTALL_ROOT", self.home.path().join(".cargo"))
            .env(
                "CARGO_TARGET_DIR",
                Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap(),
            )
            .env("HOME", self.home.path())
            .env("USER", "ann")
            .env("TMPDIR", self.home.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME")
            .env_remove("COUNTERSIGN_CONFIG")
            .env_remove("COUNTERSIGN_LOG");
        command
    }

    fn installed(&self) -> PathBuf {
        self.home.path().join(".cargo/bin/countersign")
    }

    fn config(&self, name: &str) -> PathBuf {
        self.home.path().join(".config/countersign").join(name)
    }

    /// Runs a block in the clone, and returns what it printed.
    #[track_caller]
    fn runs(&self, script: &str) -> String {
        let mut shell = self.command("sh");
        shell.args(["-eu", "-c", script]).current_dir(&self.clone);
        let done = shell.output().unwrap();
        let printed = String::from_utf8(done.stdout).unwrap();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{script}\n{printed}\n{errors}");
        printed
    }

    /// Starts what an MCP client would start.
    fn connects(&self, client: &str) -> Wire {
        let client: Value = serde_json::from_str(client).unwrap();
        let server = &client["mcpServers"]["countersign"];
        assert_eq!(server["command"], "/full/path/to/countersign");
        let mut command = self.command(self.installed().to_str().unwrap());
        for arg in server["args"].as_array().unwrap() {
            command.arg(arg.as_str().unwrap());
        }
        command.current_dir("/");
        Wire::start(command, &self.home.path().join("broker.log"))
    }
}

/// The request for one's own names, as the README makes it of the call of one.
fn list_of_tools(call: &str) -> String {
    let lines = call.lines().filter(|line| !line.contains("Mcp-Name: "));
    let list: String = lines.map(|line| format!("{line}\n")).collect();
    let named = r#""name": "claims__get_claim", "arguments": {"claim_id": "99"},"#;
    assert!(list.contains(named) && list.matches("tools/call").count() == 2);
    list.replace(named, "").replace("tools/call", "tools/list")
}

#[test]
#[ignore = "builds a release, as the README says"]
fn every_block_of_the_readme_does_what_it_says() {
    let newcomer = Newcomer::new();
    let readme = std::fs::read_to_string(newcomer.clone.join("README.md")).unwrap();
    let blocks = blocks(&readme);
    let languages: Vec<_> = blocks.iter().map(|block| &*block.language).collect();
    assert_eq!(
        languages,
        [
            "sh", "sh", "sh", "sh", "toml", "toml", "json", "sh", "sh", "cedar", "toml", "sh",
            "sh", "sh"
        ],
        "a new block needs a place in this test"
    );
    let texts: Vec<_> = blocks.iter().map(|block| &*block.text).collect();
    let [
        demo,
        whole,
        install,
        set_up,
        servers,
        example,
        client,
        serve,
        request,
        limit,
        somebody,
        lift,
        after,
        keep,
    ] = texts[..]
    else {
        unreachable!("as many as there are languages");
    };

    let story = newcomer.runs(demo);
    assert!(story.contains("Everything held."), "{story}");

    // It would run this test.
    assert_eq!(whole, "tests/run\n");
    let run = std::fs::metadata(newcomer.clone.join("tests/run")).unwrap();
    assert_eq!(run.permissions().mode() & 0o111, 0o111);

    newcomer.runs(install);
    assert!(newcomer.installed().exists());
    newcomer.sets_up(set_up);
    newcomer.adds(servers);
    newcomer.has_no_server_yet(example);

    let get = ("claims__get_claim", json!({"claim_id": "99"}));
    let mut wire = newcomer.connects(client);
    let opened = wire.initialize();
    assert_eq!(opened["result"]["serverInfo"]["name"], "countersign");
    let list = wire.ask("tools/list", json!({}));
    assert!(names_of(&list).contains(&get.0));
    let answer = wire.call(get.0, get.1.clone());
    assert!(answer.starts_with("Claim 99"), "{answer}");
    assert!(wire.end());

    newcomer.serves(serve, request);
    newcomer.limits(limit, somebody, client);
    newcomer.lifts(lift, client);

    let shown = newcomer.runs(after);
    for part in [
        "claim-99",
        "completed",
        "escalated",
        "records hold",
        "pinned",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let kept = newcomer.runs(keep);
    for part in [
        "`countersign journal verify --export journal.jsonl`",
        "Shown: without the key",
        "it was checked",
        "The store is as it was at the backup",
    ] {
        assert!(kept.contains(part), "{part}: {kept}");
    }
}

impl Newcomer {
    /// The five commands, in a project that has the claims server.
    fn sets_up(&self, commands: &str) {
        let ledger = self.home.path().join("ledger.jsonl");
        let claims = json!({
            "command": self.installed(),
            "args": ["claims-server", "--ledger", ledger],
        });
        let file = self.clone.join(".mcp.json");
        let before = json!({"mcpServers": {"claims": claims}}).to_string();
        std::fs::write(&file, &before).unwrap();
        let said = self.runs(commands);
        for part in ["added     claims", "no problems", "Start claude-code again"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(!written.contains("claims-server"), "{written}");
        let own = std::fs::read_to_string(self.home.path().join(".claude.json")).unwrap();
        assert!(
            own.contains("\"countersign\"") && own.contains("\"work\""),
            "{own}"
        );
        self.runs("countersign connect claude-code --undo");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    }

    /// The README's sections go with what `init` and `import` wrote. The server
    /// elsewhere is not there.
    fn adds(&self, servers: &str) {
        let path = self.config("countersign.toml");
        let tools = servers.find("[servers.claims").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = format!("{text}\n{servers}");
        Config::parse(&path, &whole, Path::new("countersign")).unwrap();
        let text = format!("{text}\n{}", servers.split_at(tools).1);
        std::fs::write(&path, text).unwrap();
    }

    /// The server of the examples alone, in a folder of its own.
    fn has_no_server_yet(&self, section: &str) {
        let folder = self.home.path().join("alone");
        let shown = folder.display();
        self.runs(&format!("countersign init --dir {shown}"));
        let path = folder.join("countersign.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}\n{section}")).unwrap();
        let said = self.runs(&format!(
            "export COUNTERSIGN_CONFIG={shown}/countersign.toml
             countersign policy new --permissive
             countersign check"
        ));
        for tool in ["get_claim", "approve_payment", "close_claim"] {
            assert!(said.contains(&format!("claims__{tool}")), "{said}");
        }
        assert!(said.contains("no problems"), "{said}");
    }

    /// Makes a key and serves, at a port of the test's own; then asks as the README does.
    fn serves(&self, commands: &str, request: &str) {
        let (key, serve) = commands.split_once('\n').unwrap();
        assert_eq!(serve, "countersign serve\n");
        let made = self.runs(key);
        let key = made
            .split_whitespace()
            .find(|word| word.starts_with("csk_"));
        let log = self.home.path().join("serve.log");
        let mut command = self.command(self.installed().to_str().unwrap());
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        let mut broker = command
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let address = loop {
            let text = std::fs::read_to_string(&log).unwrap();
            if let Some(address) = crate::serving::listening(&text) {
                break address;
            }
            assert!(begun.elapsed() < PATIENCE, "{text}");
            std::thread::sleep(Duration::from_millis(20));
        };
        let asked = request
            .replace("csk_that_was_printed", key.unwrap())
            .replace("127.0.0.1:7420", &address);
        let answer = self.runs(&asked);
        let list = self.runs(&list_of_tools(&asked));
        broker.kill().unwrap();
        broker.wait().unwrap();
        assert!(answer.contains("Claim 99: "), "{answer}");
        for tool in ["claims__get_claim", "claims__approve_payment"] {
            assert!(list.contains(&format!("\"name\":\"{tool}\"")), "{list}");
        }
    }

    /// The limit of the README, for somebody whose own limit is 10,000, beside the one
    /// whom it adds.
    fn limits(&self, limit: &str, somebody: &str, client: &str) {
        let principals = self.config("principals.toml");
        let text = std::fs::read_to_string(&principals).unwrap();
        let limits = r#"limits = { call = "10000.00", session = "90000.00", day = "90000.00" }"#;
        let begun = r#"limits = { call = "100.00", session = "500.00", day = "1000.00" }"#;
        assert!(text.contains(begun));
        let text = format!("{}\n{somebody}", text.replace(begun, limits));
        std::fs::write(&principals, text).unwrap();
        std::fs::write(self.config("policies/mine.cedar"), limit).unwrap();
        let found = self.runs("countersign check");
        assert!(found.contains("no problems"), "{found}");
        let mut wire = self.connects(client).initialized();
        let pay = |dollars| json!({"claim_id": "99", "amount": dollars, "payee": "ACME"});
        let paid = wire.call("claims__approve_payment", pay(10_000));
        assert!(paid.starts_with("Paid $10000.00"), "{paid}");
        let denied = wire.call("claims__approve_payment", pay(10_001));
        let message = "error: Limit Exceeded. Escalate to Manager.";
        assert!(denied.starts_with(message), "{denied}");
        assert!(wire.end());
    }
}

impl Newcomer {
    /// What was stopped is approved with the commands of the README, and passes once.
    fn lifts(&self, commands: &str, client: &str) {
        let made = self.runs("countersign key new mia");
        let mut words = made.split_whitespace();
        let key = words.find(|word| word.starts_with("csk_")).unwrap();
        let mut wire = self.connects(client).initialized();
        let pay = json!({"claim_id": "99", "amount": 10_001, "payee": "ACME"});
        let mut call = || wire.call("claims__approve_payment", pay.clone());
        let denied = call();
        let mut words = denied.split([' ', ',', '.']);
        let id = words.find(|word| word.starts_with("esc-"));
        let id = id.unwrap_or_else(|| panic!("nobody is asked: {denied}"));
        let commands = commands
            .replace("esc-4k7m-2qpx-9d3h", id)
            .replace("csk_of_whoever_decides", key);
        let said = self.runs(&commands);
        assert!(said.contains(&format!("{id} is approved by mia")), "{said}");
        assert!(call().starts_with("Paid $10001.00"));
        assert!(call().starts_with("error: Limit Exceeded."));
        assert!(wire.end());
    }
}

#[test]
fn every_command_that_the_readme_names_in_passing_is_one() {
    let readme = include_str!("../../README.md");
    let outside = readme.split("```").step_by(2);
    let named: Vec<&str> = outside
        .flat_map(|text| text.split('`').skip(1).step_by(2))
        .filter_map(|code| code.strip_prefix("countersign "))
        .collect();
    assert!(named.len() > 5, "{named:?}");
    for command in named {
        let mut program = Command::new(crate::world::PROGRAM);
        let done = program.args(command.split(' ')).arg("--help").output();
        let done = done.unwrap();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "`countersign {command}`: {errors}");
    }
}

#[test]
fn blocks_are_found_with_their_language() {
    let found = blocks("text\n```sh\na\nb\n```\nmore\n```\nc\n```\n");
    let found: Vec<_> = found
        .iter()
        .map(|block| (&*block.language, &*block.text))
        .collect();
    assert_eq!(found, [("sh", "a\nb\n"), ("", "c\n")]);
}
