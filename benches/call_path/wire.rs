//! A process that is spoken to in lines of JSON, as a client does.

use crate::folder::PROGRAM;
use crate::world::World;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

pub(crate) struct Wire {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    next: u64,
    line: String,
}

impl Wire {
    /// The claims server itself.
    pub(crate) fn claims_server(world: &World) -> Self {
        let mut command = Command::new(PROGRAM);
        command
            .arg("claims-server")
            .arg("--ledger")
            .arg(world.path("direct.jsonl"));
        Self::start(command)
    }

    /// A broker for alice on the world's store, with a claims server of its own.
    pub(crate) fn broker(world: &World) -> Self {
        let mut command = Command::new(PROGRAM);
        command
            .env_remove("COUNTERSIGN_CONFIG")
            .env_remove("COUNTERSIGN_LOG")
            .arg("--config")
            .arg(world.path("countersign.toml"))
            .arg("stdio");
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut wire = Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            next: 1,
            line: String::new(),
        };
        wire.ask(
            "initialize",
            r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}"#,
        );
        wire.stdin
            .write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")
            .unwrap();
        wire
    }

    /// Calls a tool and waits for its answer, which must be no error.
    pub(crate) fn call(&mut self, name: &str, arguments: &str) {
        let params = format!(r#"{{"name":"{name}","arguments":{arguments}}}"#);
        self.ask("tools/call", &params);
        let failed = self.line.contains("\"isError\":true") || !self.line.contains("\"content\":[");
        assert!(!failed, "{}", self.line);
    }

    fn ask(&mut self, method: &str, params: &str) {
        let id = self.next;
        self.next += 1;
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n"
        );
        self.stdin.write_all(line.as_bytes()).unwrap();
        let ours = format!("\"id\":{id},");
        loop {
            self.line.clear();
            let read = self.stdout.read_line(&mut self.line).unwrap();
            assert!(read > 0, "the process ended");
            // Notices of changed tools come in between.
            if self.line.contains(&ours) {
                break;
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
