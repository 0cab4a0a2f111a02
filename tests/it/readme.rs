//! The README, followed by a newcomer: every block of it is run in a clean copy,
//! with a home of its own, in the order in which it stands there.

use crate::world::Wire;
use crate::world::names_of;
use countersign::config::Config;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
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
            .env("TMPDIR", self.home.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env_remove("XDG_CONFIG_HOME")
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
            "sh", "sh", "sh", "toml", "cedar", "sh", "json", "cedar", "sh"
        ],
        "a new block needs a place in this test"
    );
    let texts: Vec<_> = blocks.iter().map(|block| &*block.text).collect();
    let [
        demo,
        whole,
        install,
        server,
        reading,
        look,
        client,
        limit,
        after,
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
    newcomer.takes(server);
    std::fs::write(newcomer.config("policies/mine.cedar"), reading).unwrap();
    let found = newcomer.runs(look);
    for part in ["no problems", "mine.read", "action \"claims/get_claim\""] {
        assert!(found.contains(part), "{part}: {found}");
    }

    let get = ("claims__get_claim", json!({"claim_id": "99"}));
    let mut wire = newcomer.connects(client);
    let opened = wire.initialize();
    assert_eq!(opened["result"]["serverInfo"]["name"], "countersign");
    let list = wire.ask("tools/list", json!({}));
    assert_eq!(names_of(&list), [get.0]);
    let answer = wire.call(get.0, get.1.clone());
    assert!(answer.starts_with("Claim 99"), "{answer}");
    assert!(wire.end());

    newcomer.limits(limit, client);

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
}

impl Newcomer {
    /// The README's section of a server is one that a configuration takes.
    fn takes(&self, server: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("countersign.toml");
        let config = Config::parse(&path, server, Path::new("countersign")).unwrap();
        assert_eq!(config.servers.len(), 1);
    }

    /// The limit of the README, beside a permit for what it limits.
    fn limits(&self, limit: &str, client: &str) {
        let approve = r#"
@id("mine.payments")
permit (
  principal in Broker::Role::"Junior",
  action == Broker::Action::"claims/approve_payment",
  resource
);
"#;
        std::fs::write(self.config("policies/limit.cedar"), limit).unwrap();
        std::fs::write(self.config("policies/payments.cedar"), approve).unwrap();
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

#[test]
fn blocks_are_found_with_their_language() {
    let found = blocks("text\n```sh\na\nb\n```\nmore\n```\nc\n```\n");
    let found: Vec<_> = found
        .iter()
        .map(|block| (&*block.language, &*block.text))
        .collect();
    assert_eq!(found, [("sh", "a\nb\n"), ("", "c\n")]);
}
