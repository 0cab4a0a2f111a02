//! `countersign serve` as a process of its own, that can be killed and come
//! back at the same address.

use crate::world::PATIENCE;
use crate::world::World;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

/// A running `countersign serve`.
pub(crate) struct Serving {
    child: Child,
    address: String,
    log: String,
}

impl World {
    /// Starts `countersign serve` at an address of its own.
    pub(crate) fn serve(&self) -> Serving {
        self.serve_with(|_command| ())
    }

    pub(crate) fn serve_with(&self, change: impl FnOnce(&mut Command)) -> Serving {
        self.serve_at("127.0.0.1:0", "serve.log", change)
    }

    /// Starts another one beside it.
    pub(crate) fn serve_beside(&self) -> Serving {
        self.serve_at("127.0.0.1:0", "beside.log", |_command| ())
    }

    /// Makes a key for a principal.
    pub(crate) fn key(&self, principal: &str) -> String {
        let (made, printed) = self.run(&["key", "new", principal]);
        assert!(made, "{printed}");
        let mut words = printed.split_whitespace();
        let key = words.find(|word| word.starts_with("csk_"));
        key.unwrap().to_owned()
    }

    fn serve_at(&self, address: &str, log: &str, change: impl FnOnce(&mut Command)) -> Serving {
        let stderr = std::fs::File::create(self.path(log)).unwrap();
        let mut command = self.command(&["serve", "--listen", address]);
        change(&mut command);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut serving = Serving {
            child,
            address: String::new(),
            log: log.to_owned(),
        };
        let begun = Instant::now();
        while serving.address.is_empty() {
            let ended = serving.child.try_wait().unwrap();
            let text = self.read(log);
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "it never listens: {text}"
            );
            serving.address = listening(&text).unwrap_or_default();
            std::thread::sleep(Duration::from_millis(10));
        }
        serving
    }

    /// Ends one broker at once, and starts the next at its address.
    pub(crate) fn restarted(&self, serving: Serving) -> Serving {
        self.restarted_with(serving, |_command| ())
    }

    pub(crate) fn restarted_with(
        &self,
        mut serving: Serving,
        change: impl FnOnce(&mut Command),
    ) -> Serving {
        serving.kill();
        let log = format!("{}+", serving.log);
        self.serve_at(&serving.address, &log, change)
    }
}

impl Serving {
    /// The URL of this path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Tells it to end.
    pub(crate) fn terminate(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end, and says whether that was orderly.
    pub(crate) fn ended_well(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    pub(crate) fn kill(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The address that a log says it listens at.
pub(crate) fn listening(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("listening"))?;
    let (_, port) = line.split_once("127.0.0.1:")?;
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("127.0.0.1:{port}"))
}
