//! Servers as processes: start, end, restart, and that none outlives us.

use crate::world::World;
use countersign::downstream::Downstream;
use countersign::downstream::Era;
use countersign::downstream::News;
use countersign::downstream::Place;
use countersign::downstream::Program;
use countersign::downstream::Settings;
use countersign::downstream::State;
use rustix::process::Pid;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;
use tokio::sync::mpsc;
use tracing_subscriber::fmt::MakeWriter;

const KEEPER: &str = env!("CARGO_BIN_EXE_countersign");
const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers");

fn settings(script: &str, env: &[(&str, &str)]) -> Settings {
    Settings {
        name: "claims".parse().unwrap(),
        place: Place::Child(Program {
            command: "sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            cwd: None,
            keeper: KEEPER.into(),
        }),
        timeout: Duration::from_secs(60),
        start_timeout: Duration::from_secs(30),
        max_message: Settings::MAX_MESSAGE,
        declared: None,
        spread: countersign::downstream::Spread::default(),
        instances: countersign::downstream::Instances::default(),
        keeper: None,
    }
}

/// A script that does this first and then is the server of revision 2025-11-25.
fn and_serves(first: &str) -> String {
    format!("{first}\nexec sh {SERVERS}/legacy.sh")
}

fn starts(settings: Settings) -> (Downstream, mpsc::UnboundedReceiver<News>) {
    let (sender, news) = mpsc::unbounded_channel();
    (Downstream::start(settings, sender), news)
}

/// Waits for what another process does, which nothing announces.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::yield_now();
    }
}

/// The numbers that a script wrote to a file.
fn noted(note: &Path) -> Vec<Pid> {
    eventually("the note", || std::fs::read_to_string(note).ok())
        .split_whitespace()
        .map(|number| Pid::from_raw(number.parse().unwrap()).unwrap())
        .collect()
}

/// True while a process of the group runs. One that only waits to be collected
/// does not run; in a container without an init it may wait for ever.
fn group_runs(group: Pid) -> bool {
    let group = group.as_raw_nonzero().to_string();
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> = match stat.rsplit_once(')') {
            Some((_, fields)) => fields.split_whitespace().collect(),
            None => return false,
        };
        fields.get(2) == Some(&&*group) && fields.first() != Some(&"Z")
    })
}

#[tokio::test]
async fn a_server_becomes_ready_and_lists_its_tools() {
    let (server, mut news) = starts(settings(&and_serves(""), &[]));
    assert_eq!(server.state(), State::Starting);
    server.settled().await;
    assert_eq!(
        server.state(),
        State::Ready {
            era: Era::Legacy("2025-11-25".to_owned()),
            server: "shell 1".to_owned(),
        }
    );
    let Some(News::Tools { definitions, .. }) = news.recv().await else {
        panic!("the tools are not the first news");
    };
    let ids: Vec<String> = definitions.iter().map(|d| d.id.to_string()).collect();
    assert_eq!(ids, ["claims/echo", "claims/die", "claims/wait"]);
    server.stop().await;
    assert_eq!(server.state(), State::Stopped);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let mut settings = settings("", &[("PATH", "/nowhere")]);
    let Place::Child(program) = &mut settings.place else {
        panic!("the server is a child");
    };
    program.command = "no-such-program".to_owned();
    let (server, _news) = starts(settings);
    server.settled().await;
    assert_eq!(
        server.state(),
        State::Failed {
            why: "`no-such-program` was not found on PATH (/nowhere): install it or give the full path".to_owned(),
            attempts: 1,
        }
    );
    server.stop().await;
}

#[tokio::test]
async fn a_killed_server_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("note");
    let script = and_serves("echo $$ >$NOTE");
    let (server, mut news) = starts(settings(&script, &[("NOTE", note.to_str().unwrap())]));
    server.settled().await;
    let first = noted(&note)[0];
    rustix::process::kill_process(first, Signal::KILL).unwrap();
    let mut failures = 0;
    let mut restarted = false;
    while !restarted {
        news.recv().await.unwrap();
        match server.state() {
            State::Failed { why, attempts } => {
                assert_eq!(attempts, 1);
                assert!(why.contains("exit status: 137"), "{why}");
                failures += 1;
            }
            State::Ready { .. } => restarted = failures > 0,
            State::Starting | State::Stopped => panic!("neither failed nor ready"),
        }
    }
    assert_ne!(noted(&note)[0], first);
    server.stop().await;
}

#[tokio::test]
async fn failures_in_a_row_are_counted() {
    let (server, mut news) = starts(settings("exit 9", &[]));
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        news.recv().await.unwrap();
        if let State::Failed { attempts, .. } = server.state() {
            seen.insert(attempts);
        }
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
    server.stop().await;
}

#[tokio::test]
async fn the_environment_is_exactly_what_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("note");
    // What the shell was started with, before it sets anything of its own.
    let script = and_serves("tr '\\0' '\\n' </proc/$$/environ >$NOTE");
    let given = [
        ("NOTE", note.to_str().unwrap()),
        ("TOKEN", "x y"),
        ("TERM", "own"),
    ];
    let (server, _news) = starts(settings(&script, &given));
    server.settled().await;
    let found: BTreeMap<String, String> = std::fs::read_to_string(&note)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let inherited = [
        "HOME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "LOGNAME",
        "PATH",
        "SHELL",
        "SYSTEMROOT",
        "TERM",
        "TMPDIR",
        "TZ",
        "TZDIR",
        "USER",
    ];
    let mut expected: BTreeMap<String, String> = inherited
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect();
    expected.extend(given.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(found, expected);
    assert!(
        std::env::var("CARGO_MANIFEST_DIR").is_ok() && !found.contains_key("CARGO_MANIFEST_DIR")
    );
    server.stop().await;
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn what_a_server_writes_to_stderr_goes_to_the_log_in_bounded_lines() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let script = and_serves(
        "echo 'warming up' >&2; head -c 10000 /dev/zero | tr '\\0' x >&2; echo >&2; printf 'red \\033[31m\\n' >&2",
    );
    let (server, _news) = starts(settings(&script, &[]));
    server.settled().await;
    server.stop().await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("countersign::server"))
        .collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains("INFO") && lines[0].contains("warming up"));
    assert!(lines[0].contains("server.name=claims"), "{}", lines[0]);
    assert_eq!(lines[1].matches('x').count(), 4096);
    assert!(lines[2].contains("red  [31m"), "{}", lines[2]);
}

#[tokio::test]
async fn an_orderly_server_ends_by_the_end_of_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let (note, bye) = (folder.path().join("note"), folder.path().join("bye"));
    let env = [
        ("NOTE", note.to_str().unwrap()),
        ("SAYS_BYE_IN", bye.to_str().unwrap()),
    ];
    let (server, _news) = starts(settings(&and_serves("echo $$ $PPID >$NOTE"), &env));
    server.settled().await;
    server.stop().await;
    assert_eq!(std::fs::read_to_string(&bye).unwrap(), "bye\n");
    assert!(!group_runs(noted(&note)[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_disorderly_server_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("note");
    let script = format!("exec sh {SERVERS}/stubborn.sh");
    let (server, _news) = starts(settings(&script, &[("NOTE", note.to_str().unwrap())]));
    let group = noted(&note)[1];
    assert!(group_runs(group));
    // It is still being probed.
    server.stop().await;
    assert_eq!(server.state(), State::Stopped);
    assert!(!group_runs(group));
}

#[tokio::test]
async fn what_a_server_leaves_behind_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("note");
    let script = and_serves("sleep 1000 </dev/null >/dev/null 2>&1 & echo $! $PPID >$NOTE");
    let (server, _news) = starts(settings(&script, &[("NOTE", note.to_str().unwrap())]));
    server.settled().await;
    server.stop().await;
    assert!(!group_runs(noted(&note)[1]));
}

#[tokio::test]
async fn the_last_handle_takes_the_server_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("note");
    let script = and_serves("echo $$ $PPID >$NOTE");
    let (server, mut news) = starts(settings(&script, &[("NOTE", note.to_str().unwrap())]));
    server.settled().await;
    drop(server);
    // The channel closes when the supervisor has ended.
    while news.recv().await.is_some() {}
    assert!(!group_runs(noted(&note)[1]));
}

#[test]
fn no_server_outlives_a_broker_that_was_killed() {
    let world = World::new();
    let note = world.path("note");
    let stubborn = format!(
        "[servers.stubborn]\ncommand = \"sh\"\nargs = [{:?}]\nenv = {{ NOTE = {note:?} }}\n",
        format!("{SERVERS}/stubborn.sh")
    );
    world.write(
        "countersign.toml",
        &(world.read("countersign.toml") + &stubborn),
    );
    let mut broker = world.broker();
    let group = noted(&note)[1];
    assert!(group_runs(group));
    broker.kill();
    eventually("the group ends", || (!group_runs(group)).then_some(()));
}

fn keeps(script: &str) -> Child {
    Command::new(KEEPER)
        .args(["__keep", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap()
}

#[test]
fn a_keeper_ends_as_its_command_ended() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        let status = keeps(script).wait().unwrap();
        assert_eq!(status.code(), Some(code), "{script}");
    }
    let mut absent = Command::new(KEEPER)
        .args(["__keep", "--", "/no/such"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    absent
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(said.starts_with("cannot run `/no/such`"), "{said}");
    assert_eq!(absent.wait().unwrap().code(), Some(127));
}

#[test]
fn a_keeper_outlives_the_sigterm_that_its_command_answers() {
    let mut keeper = keeps("trap 'exit 5' TERM; echo ready; while :; do read line; done");
    let mut output = BufReader::new(keeper.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    let group = Pid::from_child(&keeper);
    rustix::process::kill_process_group(group, Signal::TERM).unwrap();
    assert_eq!(keeper.wait().unwrap().code(), Some(5));
}

#[test]
fn a_keeper_holds_no_end_of_its_commands_streams() {
    // The command closes its output and its input and lives on.
    let mut keeper = keeps("exec >&- <&-; trap '' PIPE; while :; do sleep 1000; done");
    let mut output = String::new();
    let mut stdout = keeper.stdout.take().unwrap();
    stdout.read_to_string(&mut output).unwrap();
    let mut stdin = keeper.stdin.take().unwrap();
    eventually("the input breaks", || {
        io::Write::write(&mut stdin, b"x").err()
    });
    assert!(keeper.try_wait().unwrap().is_none());
    rustix::process::kill_process_group(Pid::from_child(&keeper), Signal::KILL).unwrap();
    keeper.wait().unwrap();
}

/// How long a keeper leaves its command to end by its input.
const GRACE: Duration = Duration::from_secs(2);

#[test]
fn a_command_that_ends_by_its_input_has_the_time_for_it_when_the_broker_goes() {
    let folder = tempfile::tempdir().unwrap();
    let bye: PathBuf = folder.path().join("bye");
    let script = format!(
        "echo ready; while read line; do :; done; echo bye >{}",
        bye.display()
    );
    // On a machine that is busy enough a shell does not come to its turn in the time that
    // it has. Then the time must have been given, and it is tried again.
    for _ in 0..60 {
        let mut keeper = keeps(&script);
        let mut output = BufReader::new(keeper.stdout.take().unwrap());
        output.read_line(&mut String::new()).unwrap();
        let left = Instant::now();
        // What is left of a broker that was killed: no end of any pipe.
        drop((keeper.stdin.take(), keeper.stderr.take(), output));
        let status = keeper.wait().unwrap();
        // What another test begins in this instant has the pipes, too, until it is a program
        // of its own: the broker seemed to live when the command ended.
        if status.code() == Some(0) {
            assert_eq!(std::fs::read_to_string(&bye).unwrap(), "bye\n");
            std::fs::remove_file(&bye).unwrap();
            continue;
        }
        // The keeper goes with what may be left of the group.
        assert_eq!(status.code(), None);
        match std::fs::read_to_string(&bye) {
            Ok(said) if said == "bye\n" => return,
            cut_off => assert!(left.elapsed() >= GRACE, "{cut_off:?}"),
        }
    }
    panic!("the command never came to its turn");
}
