//! The process of a server: started with exactly the environment it shall
//! have, in a group of its own, under a keeper, and ended as a group.

use super::Program;
use super::last_words::LastWords;
use super::lines::Line;
use super::lines::Lines;
use super::program;
use super::shown;
use crate::tool::ServerName;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;
use rustix::process::kill_process_group;
use rustix::process::test_kill_process_group;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use tokio::process::ChildStderr;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The pause after the end of the input, and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long a group may take to vanish after SIGKILL. Members whose parent does
/// not collect them stay for ever, but only as entries in a table.
const VANISHING: Duration = Duration::from_secs(1);
/// The longest line of stderr that is logged, in bytes.
const MAX_LOG_LINE: usize = 4 << 10;

/// A process group with a keeper and a server in it. Dropped without
/// [`end`](Self::end), it is ended by its keeper, because nobody reads its
/// stderr any more.
pub(super) struct Child {
    group: Pid,
    gone: watch::Receiver<Option<String>>,
    last_words: Arc<LastWords>,
    log: JoinSet<()>,
}

/// The two streams of the protocol.
pub(super) struct Pipes {
    pub(super) input: ChildStdin,
    pub(super) output: ChildStdout,
}

/// Why nothing was started.
pub(super) enum NotStarted {
    /// The command names nothing that can be run.
    Command(String),
    /// The system refused.
    System(String),
}

impl Child {
    /// Starts the server.
    pub(super) fn spawn(
        server: &ServerName,
        program: &Program,
    ) -> Result<(Self, Pipes), NotStarted> {
        let mut command = command(program).map_err(NotStarted::Command)?;
        let refused = |error: io::Error| {
            NotStarted::System(format!(
                "cannot start `{}` to run the server: {error}",
                program.keeper.display()
            ))
        };
        let mut child = command.spawn().map_err(refused)?;
        match Self::adopt(&mut child, server.clone()) {
            Ok((group, pipes, last_words, log)) => {
                let gone = wait_apart(child, group).map_err(refused)?;
                let child = Self {
                    group,
                    gone,
                    last_words,
                    log,
                };
                Ok((child, pipes))
            }
            Err(error) => {
                // Its keeper and it have not begun anything; both may fail only
                // if they ended.
                let _ = child.kill();
                let _ = child.wait();
                Err(refused(error))
            }
        }
    }

    fn adopt(
        child: &mut process::Child,
        server: ServerName,
    ) -> io::Result<(Pid, Pipes, Arc<LastWords>, JoinSet<()>)> {
        let missing = || io::Error::other("a stream is missing");
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pipes = Pipes {
            input: ChildStdin::from_std(child.stdin.take().ok_or_else(missing)?)?,
            output: ChildStdout::from_std(child.stdout.take().ok_or_else(missing)?)?,
        };
        let errors = ChildStderr::from_std(child.stderr.take().ok_or_else(missing)?)?;
        let last_words = Arc::<LastWords>::default();
        let mut log = JoinSet::new();
        log.spawn(log_lines(errors, server, Arc::clone(&last_words)));
        Ok((group.ok_or_else(missing)?, pipes, last_words, log))
    }

    /// Waits until the process has ended by itself, and says how.
    pub(super) async fn gone(&self) -> String {
        let mut gone = self.gone.clone();
        match gone.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "ended".to_owned(),
        }
    }

    /// Ends the group, and says how it ended and what it wrote last. Close the
    /// input first.
    pub(super) async fn end(mut self) -> String {
        let mut ended_by = None;
        for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::KILL, "SIGKILL")] {
            if tokio::time::timeout(GRACE, self.gone()).await.is_ok() {
                break;
            }
            // An error says that the group is gone, which is what is wanted.
            let _ = kill_process_group(self.group, signal);
            ended_by = Some(name);
        }
        let gone = tokio::time::timeout(GRACE + VANISHING, self.gone()).await;
        let how = match (gone, ended_by) {
            (Err(_), _) => "cannot be ended".to_owned(),
            // Its status would be that of the signal, which says nothing to anybody.
            (Ok(_), Some(name)) => {
                format!("so it was ended with {name}")
            }
            (Ok(how), None) => how,
        };
        // What was written before the end is still in the pipe.
        let drained = async { while self.log.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_millis(200), drained).await;
        match self.last_words.told() {
            None => how,
            Some(last) => format!("{how}; its last words: {last}"),
        }
    }
}

fn command(given: &Program) -> Result<Command, String> {
    let environment = program::environment(&given.env);
    let here = std::env::current_dir().map_err(|error| format!("the current folder: {error}"))?;
    let folder = here.join(given.cwd.as_deref().unwrap_or(Path::new("")));
    if !folder.is_dir() {
        let hint = program::of_a_shell(&folder);
        return Err(format!(
            "the folder `{}` does not exist{hint}",
            folder.display()
        ));
    }
    let path = environment.get(OsStr::new("PATH")).map(|path| &**path);
    let program = program::find(&given.command, path, &folder)?;
    let mut command = Command::new(&given.keeper);
    command
        .args(["__keep", "--"])
        .arg(program)
        .args(&given.args)
        .env_clear()
        .envs(environment)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    Ok(command)
}

/// Waits for the end of the keeper on a thread of its own, so that no runtime
/// has to live for it.
fn wait_apart(
    mut child: process::Child,
    group: Pid,
) -> io::Result<watch::Receiver<Option<String>>> {
    let (ended, gone) = watch::channel(None);
    let waiting = thread::Builder::new().name("server".to_owned());
    waiting.spawn(move || {
        // INVARIANT: the group is signalled while the keeper is still to be
        // collected. Until then its number belongs to nobody else.
        while matches!(
            rustix::process::waitid(
                WaitId::Pid(group),
                WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
            ),
            Err(Errno::INTR)
        ) {}
        // The server is gone; what it left in its group goes with it.
        let _ = kill_process_group(group, Signal::KILL);
        let how = match child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => format!("unknown status: {error}"),
        };
        let since = Instant::now();
        while test_kill_process_group(group).is_ok() && since.elapsed() < VANISHING {
            thread::sleep(Duration::from_millis(2));
        }
        // An error says that nobody wants to know.
        let _ = ended.send(Some(how));
    })?;
    Ok(gone)
}

async fn log_lines(errors: ChildStderr, server: ServerName, last_words: Arc<LastWords>) {
    let mut lines = Lines::new(errors, MAX_LOG_LINE);
    // INVARIANT: this ends with the stream and not before. The keeper takes the
    // end of the reading for the end of the broker.
    while let Ok(Some(line)) = lines.next().await {
        let (Line::Whole(line) | Line::Cut(line)) = line;
        let line = shown(&String::from_utf8_lossy(&line), MAX_LOG_LINE);
        if line.is_empty() {
            continue;
        }
        tracing::info!(target: "countersign::server", { server.name = %server }, "{line}");
        last_words.heard(&line);
    }
}
