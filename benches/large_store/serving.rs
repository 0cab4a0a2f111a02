//! A broker that serves HTTP, and one connection to it.

use crate::config;
use crate::folder::PROGRAM;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

pub(crate) struct Serving {
    child: Child,
    address: String,
    key: String,
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(config(folder)).args(args);
    command
}

/// A new key of alice's.
pub(crate) fn key(folder: &Path) -> String {
    let output = command(folder, &["key", "new", "alice"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut words = printed.split_whitespace();
    words
        .find(|word| word.starts_with("csk_"))
        .unwrap()
        .to_owned()
}

impl Serving {
    pub(crate) fn start(folder: &Path, key: &str) -> Self {
        let mut child = command(folder, &["serve", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some((_, port)) = line.split_once("127.0.0.1:") {
                let port: String = port.chars().take_while(char::is_ascii_digit).collect();
                break format!("127.0.0.1:{port}");
            }
        };
        // Nobody may wait for room in the pipe of its log.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self {
            child,
            address,
            key: key.to_owned(),
        }
    }

    pub(crate) fn line(&self) -> Line {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        Line {
            stream: BufReader::new(stream),
            host: self.address.clone(),
            key: self.key.clone(),
        }
    }

    /// In MiB.
    pub(crate) fn peak_memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<f64>().unwrap() / 1024.0
    }

    /// Ends it in order, so that the next start has nothing to recover.
    pub(crate) fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// One connection of a client of 2026-07-28.
pub(crate) struct Line {
    stream: BufReader<TcpStream>,
    host: String,
    key: String,
}

impl Line {
    /// Reads a claim in this session, which is opened by that.
    pub(crate) fn call(&mut self, handle: &str) {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"claims__get_claim","arguments":{"claim_id":"99"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
        let head = format!(
            "POST /s/{handle}/mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
             mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\n\
             mcp-name: claims__get_claim\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            self.key,
            body.len()
        );
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let line = line.trim().to_ascii_lowercase();
            if let Some(bytes) = line.strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("Claim 99"), "{answer}");
    }
}
