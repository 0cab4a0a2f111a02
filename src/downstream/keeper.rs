//! The process between the broker and a server, whose only work is to see that
//! the server does not outlive the broker.
//!
//! A broker that is killed with SIGKILL can end nothing. A server that reads its
//! input ends by itself then; one that does not would stay for ever, with the
//! credentials it was given. So a server is the child of a keeper:
//!
//! - Keeper and server are one process group, led by the keeper, and share the
//!   three streams. The keeper gives up its own copies of stdin and stdout, so
//!   that each end of those sees the other's end at once.
//! - The keeper's stderr is a pipe whose reading end only the broker has. When
//!   no reader is left, the system says so to whoever polls the writing end.
//!   The broker must therefore read it for as long as the server shall live.
//! - Then the server has a while to end by the end of its input, a while to end
//!   by SIGTERM, and then the group gets SIGKILL, the keeper included.
//!
//! The broker ends a server by signals to the group. The keeper takes SIGTERM
//! and its like with handlers that do nothing, because it must stay until the
//! server is gone. It cannot ignore them: ignoring is inherited by the server,
//! whereas a handler is not.

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::process::kill_current_process_group;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;
use tokio::signal::unix::Signal as Handler;
use tokio::signal::unix::SignalKind;

/// How long a server may take to end by the end of its input, and again by
/// SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long what a server left behind may take to end by SIGTERM.
const GRACE_OF_STRAYS: Duration = Duration::from_millis(500);

/// Runs a command and stays until it has ended, or until the broker is gone and
/// the command was ended. Gives the command's exit code, 128 and the signal
/// where a signal ended it, 126 or 127 where it cannot be run. Call it before
/// any thread exists, with the broker's pipes as the three streams.
pub fn keep(command: &str, args: &[String]) -> ExitCode {
    match run(command, args) {
        Ok(status) => exit_code(status),
        Err(error) => {
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr(), "cannot run `{command}`: {error}");
            ExitCode::from(match error.kind() {
                io::ErrorKind::NotFound => 127,
                _ => 126,
            })
        }
    }
}

fn run(command: &str, args: &[String]) -> io::Result<ExitStatus> {
    // An error says that we lead a session, and so a group, already. Anything
    // else would let the last SIGKILL reach who started us.
    let _ = rustix::process::setpgid(None, None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _handlers = {
        let _inside = runtime.enter();
        take_signals()?
    };
    let mut child = Command::new(command).args(args).spawn()?;
    if let Err(error) = give_up_streams() {
        end(&mut child);
        return Err(error);
    }
    let (child_ended, ending) = mpsc::channel();
    let watch = thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || watch(&ending));
    let watch = match watch {
        Ok(watch) => watch,
        Err(error) => {
            end(&mut child);
            return Err(error);
        }
    };
    let status = child.wait()?;
    // An error says that the watch is over, which it never is before us.
    let _ = child_ended.send(());
    if broker_is_gone(Some(&NOT_AT_ALL)) {
        // The server may have left others in the group; the watch ends them,
        // and us.
        let _ = watch.join();
    }
    Ok(status)
}

/// Without a watch there may be no server.
fn end(child: &mut Child) {
    // Either fails only if the child has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// The handlers stay for the life of the process, whatever becomes of these.
fn take_signals() -> io::Result<Vec<Handler>> {
    [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ]
    .into_iter()
    .map(tokio::signal::unix::signal)
    .collect()
}

fn give_up_streams() -> io::Result<()> {
    let nothing = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(())
}

/// Waits for the end of the broker, then ends the group. `ending` speaks once
/// the server has ended.
fn watch(ending: &mpsc::Receiver<()>) {
    while !broker_is_gone(PATIENCE.as_ref()) {}
    let running = matches!(ending.recv_timeout(GRACE), Err(RecvTimeoutError::Timeout));
    signal_group(Signal::TERM);
    if running {
        // Whether it ended or not: what comes next is for the whole group.
        let _ = ending.recv_timeout(GRACE);
    } else {
        thread::sleep(GRACE_OF_STRAYS);
    }
    signal_group(Signal::KILL);
}

fn signal_group(signal: Signal) {
    // It cannot fail for the whole group: we are in it.
    let _ = kill_current_process_group(signal);
}

const NOT_AT_ALL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Linux tells at once. Of other systems it is not sure that they tell for a
/// pipe of which nothing is asked, so there the parent is looked at as well.
const PATIENCE: Option<Timespec> = if cfg!(target_os = "linux") {
    None
} else {
    Some(Timespec {
        tv_sec: 2,
        tv_nsec: 0,
    })
};

/// Waits so long for the end of the broker, and says whether it came.
fn broker_is_gone(patience: Option<&Timespec>) -> bool {
    let errors = io::stderr();
    let mut polled = [PollFd::new(&errors, PollFlags::empty())];
    match poll(&mut polled, patience) {
        Ok(0) => {
            !cfg!(target_os = "linux")
                && rustix::process::getppid().is_none_or(rustix::process::Pid::is_init)
        }
        Ok(_) => true,
        Err(Errno::INTR | Errno::AGAIN) => false,
        // What cannot be watched must not run.
        Err(_) => true,
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
