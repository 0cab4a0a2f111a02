//! What a server wrote to stderr before it ended: mostly the reason, and mostly not
//! in its last line.

use super::shown;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

/// How many lines are kept. A stack trace stands between an error and the end.
const KEPT: usize = 32;
/// How many of them are told.
const TOLD: usize = 5;
/// The characters of a line that are told.
const WIDTH: usize = 160;
/// How a line reads that says what went wrong, in small letters: `Error: …`,
/// `TypeError [CODE]: …`, `error: …`, `thread 'main' panicked at …`.
const TELLING: [&str; 5] = ["error:", "error [", "exception:", "panic", "fatal:"];

/// The last lines of a server, oldest first.
#[derive(Default)]
pub(super) struct LastWords {
    lines: Mutex<VecDeque<String>>,
}

impl LastWords {
    /// One more line, which is not empty.
    pub(super) fn heard(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(shown(line, WIDTH));
    }

    /// The last few lines, each in backticks; before them the first that says what went
    /// wrong, where none of them does. None where nothing was heard.
    pub(super) fn told(&self) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let telling = |line: &&String| {
            let line = line.to_lowercase();
            TELLING.iter().any(|word| line.contains(word))
        };
        let last = |count: usize| lines.iter().skip(lines.len().saturating_sub(count));
        let before = match last(TOLD).any(|line| telling(&line)) {
            true => None,
            false => lines.iter().find(telling),
        };
        let told: Vec<String> = match before {
            Some(before) => std::iter::once(before).chain(last(TOLD - 1)).collect(),
            None => last(TOLD).collect::<Vec<_>>(),
        }
        .into_iter()
        .map(|line| format!("`{line}`"))
        .collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let words = LastWords::default();
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.for_each(|line| words.heard(line));
        words.told().unwrap_or_default()
    }

    #[test]
    fn the_line_that_says_what_went_wrong_is_told() {
        let node = "node:internal/modules/cjs/loader:1228
  throw err;
  ^

Error: Cannot find module '/srv/server.js'
    at Module._resolveFilename (node:internal/modules/cjs/loader:1225:15)
    at Module._load (node:internal/modules/cjs/loader:1051:27)
    at TracingChannel.traceSync (node:diagnostics_channel:322:14)
    at node:internal/main/run_main_module:28:49 {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}

Node.js v20.20.2
";
        let clap = "error: unexpected argument '--foo' found

  tip: to pass '--foo' as a value, use '-- --foo'

Usage: server [OPTIONS]

For more information, try '--help'.
";
        let python = "Traceback (most recent call last):
  File \"/srv/errors.py\", line 3, in <module>
    import nothing
ModuleNotFoundError: No module named 'nothing'
";
        let rust = "starting
thread 'main' (7) panicked at src/main.rs:4:5:
no licence
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
";
        let quiet = "one\ntwo\nthree\nfour\nfive\nsix\n";
        let all = [node, clap, python, rust, quiet, ""];
        insta::assert_snapshot!(all.map(told).join("\n"), @r#"
        `Error: Cannot find module '/srv/server.js'`, `code: 'MODULE_NOT_FOUND',`, `requireStack: []`, `}`, `Node.js v20.20.2`
        `error: unexpected argument '--foo' found`, `tip: to pass '--foo' as a value, use '-- --foo'`, `Usage: server [OPTIONS]`, `For more information, try '--help'.`
        `Traceback (most recent call last):`, `File "/srv/errors.py", line 3, in <module>`, `import nothing`, `ModuleNotFoundError: No module named 'nothing'`
        `starting`, `thread 'main' (7) panicked at src/main.rs:4:5:`, `no licence`, `note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace`
        `two`, `three`, `four`, `five`, `six`
        "#);
    }

    #[test]
    fn what_is_told_is_bounded_and_of_one_line() {
        let words = LastWords::default();
        words.heard("Error: \u{1b}[31mred");
        for _ in 0..1000 {
            words.heard(&"x".repeat(10_000));
        }
        let told = words.told().unwrap();
        assert!(told.len() < 1000, "{}", told.len());
        assert!(!told.contains(char::is_control));
        assert!(words.lines.lock().unwrap().len() == KEPT);
    }
}
