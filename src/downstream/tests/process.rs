//! Calls to real processes. The keeper is left out here: it needs our own
//! program, which `tests/it/downstream.rs` has.

use super::super::Downstream;
use super::super::News;
use super::super::Place;
use super::super::Program;
use super::super::Settings;
use super::super::State;
use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

const LEGACY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/legacy.sh");

struct Fixture {
    server: Downstream,
    news: mpsc::UnboundedReceiver<News>,
    _folder: TempDir,
}

const CHANGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/changing.sh");

/// A keeper that only becomes the command.
fn no_keeper(folder: &Path) -> std::path::PathBuf {
    let keeper = folder.join("keeper");
    std::fs::write(&keeper, "#!/bin/sh\nshift 2\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(&keeper, PermissionsExt::from_mode(0o755)).unwrap();
    keeper
}

fn starts(command: &str, args: &[&str], start_timeout: Duration) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let (sender, news) = mpsc::unbounded_channel();
    let settings = Settings {
        name: "claims".parse().unwrap(),
        place: Place::Child(Program {
            command: command.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: BTreeMap::new(),
            cwd: None,
            keeper: no_keeper(folder.path()),
        }),
        timeout: Duration::from_secs(60),
        start_timeout,
        max_message: Settings::MAX_MESSAGE,
        declared: None,
        spread: crate::downstream::Spread::default(),
        instances: crate::downstream::Instances::default(),
    };
    Fixture {
        server: Downstream::start(settings, sender),
        news,
        _folder: folder,
    }
}

async fn sends(server: &Downstream, name: &str) -> Sent {
    server.call(permit(), outgoing(name), line()).await
}

#[tokio::test]
async fn a_call_goes_to_the_process_and_its_answer_comes_back() {
    let mut started = starts("sh", &[LEGACY], Duration::from_secs(30));
    let sent = sends(&started.server, "echo").await;
    let Sent::Result { json, era, .. } = sent else {
        panic!("{sent:?}");
    };
    assert_eq!(era, Era::Legacy("2025-11-25".to_owned()));
    assert!(
        json.contains(r#""params":{"name":"echo","arguments":{}}"#),
        "{json}"
    );
    assert_eq!(
        started.server.state(),
        State::Ready {
            era,
            server: "shell 1".to_owned()
        }
    );
    let Some(News::Tools { definitions, .. }) = soon(started.news.recv()).await else {
        panic!("no tools");
    };
    assert_eq!(definitions.len(), 3);
    started.server.stop().await;
    assert_eq!(started.server.state(), State::Stopped);
    let sent = sends(&started.server, "echo").await;
    assert!(matches!(sent, Sent::NotSent { .. }), "{sent:?}");
}

#[tokio::test]
async fn a_call_that_ends_the_server_is_lost_and_the_next_one_is_answered() {
    let started = starts("sh", &[LEGACY], Duration::from_secs(30));
    let sent = sends(&started.server, "die").await;
    assert!(matches!(sent, Sent::Lost { .. }), "{sent:?}");
    let sent = sends(&started.server, "echo").await;
    assert!(matches!(sent, Sent::Result { .. }), "{sent:?}");
    started.server.stop().await;
}

#[tokio::test]
async fn stopping_loses_what_is_not_answered_by_then() {
    let started = starts("sh", &[LEGACY], Duration::from_secs(30));
    started.server.settled().await;
    let server = started.server.clone();
    let waiting = tokio::spawn(async move { sends(&server, "wait").await });
    // Answered only after the line of the first call was read.
    sends(&started.server, "echo").await;
    started.server.stop().await;
    let sent = waiting.await.unwrap();
    assert!(
        matches!(sent, Sent::Lost { .. } | Sent::NotSent { .. }),
        "{sent:?}"
    );
}

#[tokio::test]
async fn a_call_to_a_program_that_is_not_there_is_answered_without_waiting() {
    let started = starts("no-such-program", &[], Duration::from_secs(600));
    started.server.settled().await;
    let sent = sends(&started.server, "echo").await;
    let Sent::NotSent { why } = sent else {
        panic!("{sent:?}");
    };
    assert!(
        why.starts_with("`no-such-program` was not found on PATH ("),
        "{why}"
    );
    started.server.stop().await;
}

#[tokio::test]
async fn a_call_to_a_server_that_never_becomes_ready_is_not_sent() {
    let started = starts("sh", &["-c", "cat >/dev/null"], Duration::from_millis(300));
    let sent = sends(&started.server, "echo").await;
    assert!(matches!(sent, Sent::NotSent { .. }), "{sent:?}");
    started.server.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_when_it_is_probed_is_opened_without_the_probe() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("probed");
    let script = format!(
        "if [ -e {mark} ]; then exec sh {LEGACY}; fi; read line; echo >{mark}; exit 1",
        mark = mark.display()
    );
    let started = starts("sh", &["-c", &script], Duration::from_secs(30));
    started.server.settled().await;
    assert!(matches!(started.server.state(), State::Ready { .. }));
    started.server.stop().await;
}

#[tokio::test]
async fn the_last_words_of_a_server_are_in_the_reason() {
    let script = "echo 'no licence found' >&2; exit 4";
    let started = starts("sh", &["-c", script], Duration::from_secs(30));
    started.server.settled().await;
    let State::Failed { why, attempts } = started.server.state() else {
        panic!("not failed");
    };
    assert_eq!(attempts, 1);
    assert!(why.contains("exit status: 4"), "{why}");
    assert!(why.contains("`no licence found`"), "{why}");
    started.server.stop().await;
}

#[tokio::test]
async fn tools_that_change_are_listed_again_in_both_eras() {
    for era in ["modern", "legacy"] {
        let script = format!("ERA={era} exec sh {CHANGING}");
        let mut started = starts("sh", &["-c", &script], Duration::from_secs(30));
        let sent = sends(&started.server, "grow").await;
        assert!(matches!(sent, Sent::Result { .. }), "{era}: {sent:?}");
        let mut counts = Vec::new();
        while counts.len() < 2 {
            if let News::Tools { definitions, .. } = soon(started.news.recv()).await.unwrap() {
                counts.push(definitions.len());
            }
        }
        assert_eq!(counts, [1, 2], "{era}");
        started.server.stop().await;
    }
}
