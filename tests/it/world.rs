//! A folder with configuration, policies and store, and brokers on it as
//! processes of their own, spoken to in lines of JSON.

use countersign::app;
use countersign::config::Config;
use countersign::demo::read_ledger;
use countersign::journal;
use countersign::journal::CallView;
use countersign::sessions;
use countersign::store::Store;
use serde_json::Value;
use serde_json::json;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;
use tempfile::TempDir;

/// How long a test waits for another process before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the shipped example says of how long a warning settles, and what most tests say,
/// in which who was warned makes the call again at once.
pub(crate) const SETTLES: &str = "warnings_settle = \"100ms\"";
pub(crate) const SETTLES_AT_ONCE: &str = "warnings_settle = \"0s\"";

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");

/// A folder that a broker can be started in.
pub(crate) struct World {
    folder: TempDir,
}

impl World {
    /// The shipped example, with the claims server of this build. Alice has a
    /// day limit that no test reaches, and who was warned may make the call at once.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::create_dir(folder.path().join("policies")).unwrap();
        for policy in ["claims.cedar", "global.cedar"] {
            std::fs::copy(
                root.join("policies").join(policy),
                folder.path().join("policies").join(policy),
            )
            .unwrap();
        }
        let world = Self { folder };
        world.write(
            "countersign.toml",
            &countersign::config::EXAMPLE
                .replace(
                    "command = \"countersign\"",
                    &format!("command = {PROGRAM:?}"),
                )
                .replace(SETTLES, SETTLES_AT_ONCE),
        );
        world.write(
            "principals.toml",
            &countersign::config::PRINCIPALS_EXAMPLE
                .replace("day = \"60000.00\"", "day = \"9000000000.00\""),
        );
        world
    }

    /// The same, and while the file `hold` exists a payment is executed and not
    /// answered.
    pub(crate) fn holding() -> Self {
        let world = Self::new();
        let ledger = "\"--ledger\", \"ledger.jsonl\"";
        let hold = format!("{ledger}, \"--hold\", \"hold\"");
        world.edit("countersign.toml", ledger, &hold);
        world.write("hold", "");
        world
    }

    /// A folder with these servers, the rules for every server, and this policy.
    pub(crate) fn of(servers: &str, policy: &str) -> Self {
        let world = Self::new();
        std::fs::remove_file(world.path("policies/claims.cedar")).unwrap();
        world.write("policies/own.cedar", policy);
        let stdio = "[stdio]\nprincipal = \"alice\"\nsession = \"claim-99\"\n\n";
        let session = format!("[session]\n{SETTLES_AT_ONCE}\n\n[session.tools]\noffer = false\n");
        world.write("countersign.toml", &format!("{stdio}{session}{servers}"));
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Changes one file by replacing a text that must be there.
    pub(crate) fn edit(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert!(text.contains(old), "{name} has no {old:?}");
        self.write(name, &text.replace(old, new));
    }

    /// Adds to the end of one file.
    pub(crate) fn append(&self, name: &str, text: &str) {
        self.write(name, &(self.read(name) + text));
    }

    pub(crate) fn config(&self) -> Config {
        Config::load(&self.path("countersign.toml"), Path::new(PROGRAM)).unwrap()
    }

    pub(crate) fn store(&self) -> Store {
        app::existing_store(&self.config().store).unwrap()
    }

    /// The program with this configuration.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .env_remove("COUNTERSIGN_CONFIG")
            .env_remove("COUNTERSIGN_LOG")
            .arg("--config")
            .arg(self.path("countersign.toml"))
            .args(args);
        command
    }

    /// Runs one command to its end: whether it succeeded, and what it printed.
    pub(crate) fn run(&self, args: &[&str]) -> (bool, String) {
        let output = self.command(args).output().unwrap();
        let mut text = String::from_utf8(output.stdout).unwrap();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    /// Starts a broker for alice.
    pub(crate) fn broker(&self) -> Wire {
        self.broker_with(|_command| ())
    }

    pub(crate) fn broker_with(&self, change: impl FnOnce(&mut Command)) -> Wire {
        let mut command = self.command(&["stdio"]);
        change(&mut command);
        Wire::start(command, &self.path("broker.log"))
    }

    /// Waits until the claims server executed so many effects.
    pub(crate) fn wait_until_paid(&self, count: usize) {
        let begun = Instant::now();
        while self.paid().len() < count {
            assert!(begun.elapsed() < PATIENCE, "the payment never arrives");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a file has so many lines.
    pub(crate) fn wait_for_lines(&self, name: &str, count: usize) {
        let begun = Instant::now();
        while self.read(name).lines().count() < count {
            assert!(begun.elapsed() < PATIENCE, "{name} stays short");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the log of the brokers has this text.
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.wait_for_text("broker.log", text);
    }

    /// Waits until a file has this text.
    pub(crate) fn wait_for_text(&self, name: &str, text: &str) {
        let begun = Instant::now();
        while !self.read(name).contains(text) {
            assert!(begun.elapsed() < PATIENCE, "{name} never says {text:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until no call of alice's session is in flight.
    pub(crate) fn wait_until_closed(&self) {
        let begun = Instant::now();
        while self
            .calls("claim-99")
            .iter()
            .any(|call| call.outcome.is_none())
        {
            assert!(begun.elapsed() < PATIENCE, "a call never ends");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until no call of any session is in flight.
    pub(crate) fn wait_until_all_closed(&self) {
        let begun = Instant::now();
        let any = journal::Filter::default();
        let store = self.store();
        while store
            .read(|tx| journal::calls(tx, &any))
            .unwrap()
            .iter()
            .any(|call| call.outcome.is_none())
        {
            assert!(begun.elapsed() < PATIENCE, "a call never ends");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the claims server executed, in cents.
    pub(crate) fn paid(&self) -> Vec<i64> {
        let lines = read_ledger(&self.path("ledger.jsonl")).unwrap();
        lines.into_iter().map(|line| line.cents).collect()
    }

    /// The calls of alice's session of this handle.
    pub(crate) fn calls(&self, handle: &str) -> Vec<CallView> {
        self.store()
            .read(|tx| {
                let session = sessions::list(tx, None)?
                    .into_iter()
                    .find(|session| session.handles == [handle]);
                let filter = journal::Filter {
                    session: Some(session.unwrap().id),
                    ..journal::Filter::default()
                };
                journal::calls(tx, &filter)
            })
            .unwrap()
    }

    /// Everything that is wrong with the journal now.
    pub(crate) fn journal_problems(&self) -> Vec<journal::Problem> {
        let store = self.store();
        let living = store.living_writers().unwrap();
        store
            .read(|tx| journal::verify(tx, &living, &journal::Trust::default()))
            .unwrap()
            .problems
    }
}

/// What a process says on its stdout, line by line.
pub(crate) fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    // Ends with the process: its stdout ends then.
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// One broker process, and the client's end of its stdio.
pub(crate) struct Wire {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    next: u64,
    /// Lines that came while another one was waited for.
    aside: Vec<Value>,
    log: PathBuf,
}

impl Wire {
    pub(crate) fn start(mut command: Command, log_path: &Path) -> Self {
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(log_path)
            .unwrap();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let lines = lines_of(&mut child);
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            next: 1,
            aside: Vec::new(),
            log: log_path.to_owned(),
        }
    }

    /// The handshake of a 2025-11-25 client.
    pub(crate) fn initialized(mut self) -> Self {
        self.initialize();
        self
    }

    pub(crate) fn initialize(&mut self) -> Value {
        self.request_initialize().unwrap_or_else(|| {
            let log = std::fs::read_to_string(&self.log).unwrap();
            let last: Vec<&str> = log.lines().rev().take(10).collect();
            panic!("the broker ended; last in its log: {last:#?}")
        })
    }

    /// Sends one line. False where the process is gone.
    pub(crate) fn send_line(&mut self, line: &str) -> bool {
        self.send_bytes(line.as_bytes())
    }

    /// Sends one line that need be no text.
    pub(crate) fn send_bytes(&mut self, line: &[u8]) -> bool {
        self.send_part(&[line, b"\n"].concat())
    }

    /// Sends a part of a line.
    pub(crate) fn send_part(&mut self, part: &[u8]) -> bool {
        let Some(stdin) = &mut self.stdin else {
            return false;
        };
        stdin.write_all(part).and_then(|()| stdin.flush()).is_ok()
    }

    /// The most memory that the process ever held, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<usize>().unwrap() << 10
    }

    /// The handshake with a broker that may be killed in it.
    pub(crate) fn request_initialize(&mut self) -> Option<Value> {
        let id = self.request("initialize", initialize_params());
        let answer = self.answer_to(id)?;
        self.tell("notifications/initialized", json!({}));
        Some(answer)
    }

    pub(crate) fn tell(&mut self, method: &str, params: Value) {
        let line = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.send_line(&line.to_string());
    }

    /// Sends a request and returns its id.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> u64 {
        self.request_text(method, &params.to_string())
    }

    fn request_text(&mut self, method: &str, params: &str) -> u64 {
        let id = self.next;
        self.next += 1;
        self.send_line(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
        ));
        id
    }

    fn receive(&mut self) -> Option<Value> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(serde_json::from_str(&line).expect("stdout carries JSON only")),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the broker says nothing"),
        }
    }

    /// The next line, as it came. None where the process is gone, or says nothing
    /// for so long.
    pub(crate) fn line(&mut self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// The message that fits, whatever else comes before it.
    pub(crate) fn wait_for(&mut self, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        if let Some(place) = self.aside.iter().position(&fits) {
            return Some(self.aside.remove(place));
        }
        loop {
            let message = self.receive()?;
            if fits(&message) {
                return Some(message);
            }
            self.aside.push(message);
        }
    }

    pub(crate) fn answer_to(&mut self, id: u64) -> Option<Value> {
        self.wait_for(|message| message["id"] == id && message.get("method").is_none())
    }

    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params);
        self.answer_to(id).expect("the broker ended")
    }

    /// Asks with parameters of exactly this text.
    pub(crate) fn ask_text(&mut self, method: &str, params: &str) -> Value {
        let id = self.request_text(method, params);
        self.answer_to(id).expect("the broker ended")
    }

    /// Calls a tool and returns the answer's text, marked where it is an error.
    pub(crate) fn call(&mut self, name: &str, arguments: Value) -> String {
        text_of(&self.ask("tools/call", json!({"name": name, "arguments": arguments})))
    }

    /// Kills the process, and returns when it is gone.
    pub(crate) fn kill(&mut self) {
        let _gone_already = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Tells the process to end.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Ends stdin, and waits for the orderly end.
    pub(crate) fn end(mut self) -> bool {
        self.stdin = None;
        while self.receive().is_some() {}
        self.child.wait().unwrap().success()
    }

    /// Waits for the end, and says whether it was SIGKILL.
    pub(crate) fn was_killed(&mut self) -> bool {
        self.stdin = None;
        while self.receive().is_some() {}
        self.child.wait().unwrap().signal() == Some(9)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn initialize_params() -> Value {
    json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}
    })
}

/// What stands before the names of the broker's own tools.
pub(crate) const OWN: &str = "countersign__";

/// The names in an answer to `tools/list`, in its order, without the broker's own.
pub(crate) fn names_of(answer: &Value) -> Vec<&str> {
    let tools = answer["result"]["tools"].as_array().unwrap().iter();
    let names = tools.map(|tool| tool["name"].as_str().unwrap());
    names.filter(|name| !name.starts_with(OWN)).collect()
}

/// The text of an answer to `tools/call`.
pub(crate) fn text_of(answer: &Value) -> String {
    if let Some(error) = answer.get("error") {
        return format!("protocol error {}: {}", error["code"], error["message"]);
    }
    let texts = answer["result"]["content"].as_array().unwrap().iter();
    let texts: Vec<_> = texts.map(|block| block["text"].as_str().unwrap()).collect();
    let mark = if answer["result"]["isError"] == true {
        "error: "
    } else {
        ""
    };
    format!("{mark}{}", texts.join("\n"))
}

pub(crate) const GET: &str = "claims__get_claim";
pub(crate) const CLOSE: &str = "claims__close_claim";
pub(crate) const APPROVE: &str = "claims__approve_payment";

pub(crate) fn payment(dollars: i64) -> Value {
    json!({"claim_id": "99", "amount": dollars, "payee": "ACME"})
}
