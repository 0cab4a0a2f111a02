//! Mail, by a real server.

use super::delivered;
use super::stopped;
use crate::real::python_tool;
use crate::world::PATIENCE;
use crate::world::World;
use crate::world::lines_of;
use serde_json::Value;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;

const PASSWORD: &str = "correct horse";

/// A mail server.
struct Mails {
    child: Child,
    lines: mpsc::Receiver<String>,
    port: u16,
}

impl Mails {
    fn start(world: &World, tls: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mail/server.py");
        let mut child = Command::new(python_tool("python3"))
            .arg(script)
            .args([tls, "broker", PASSWORD])
            .arg(world.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(&mut child);
        let port = lines.recv_timeout(PATIENCE).unwrap().parse().unwrap();
        Self { child, lines, port }
    }

    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Mails {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn writing(world: &World, mails: &Mails, tls: &str, password: &str) {
    let login = match tls {
        "none" => String::new(),
        _ => format!("user = \"broker\"\npassword = {password:?}\n"),
    };
    world.append(
        "countersign.toml",
        &format!(
            "\n[escalations.smtp]\nhost = \"localhost\"\nport = {}\ntls = {tls:?}\n{login}from = \"Countersign <broker@example.com>\"\n\
             [[escalations.notify]]\nmail = [\"mia@example.com\", \"later@example.com\"]\n",
            mails.port
        ),
    );
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn a_mail_says_it_by_each_way_and_a_refused_one_comes_later() {
    for tls in ["none", "starttls", "tls"] {
        let world = World::new();
        let mails = Mails::start(&world, tls);
        writing(&world, &mails, tls, PASSWORD);
        let broker = world.broker_with(|command| {
            command.env("SSL_CERT_FILE", world.path("ca.pem"));
        });
        let mut alice = broker.initialized();
        let id = stopped(&mut alice);
        let mut readers = Vec::new();
        for _ in 0..2 {
            let mail = mails.next();
            assert_eq!(mail["from"], "broker@example.com");
            assert_eq!(mail["tls"], tls != "none", "{mail}");
            let let_in = mail["login"].as_bool().unwrap_or_default();
            assert_eq!(let_in, tls != "none", "{mail}");
            let text = mail["mail"].as_str().unwrap();
            let subject = "Subject: A call waits for a decision: claims/approve_payment";
            assert!(text.contains(subject), "{text}");
            assert!(
                text.contains(&format!("<ntf_{id}_pending@example.com>")),
                "{text}"
            );
            assert!(
                text.contains("Limit Exceeded. Escalate to Manager."),
                "{text}"
            );
            assert!(
                text.contains(&format!("countersign escalation approve {id}")),
                "{text}"
            );
            readers.push(mail["to"][0].as_str().unwrap().to_owned());
        }
        readers.sort_unstable();
        assert_eq!(readers, ["later@example.com", "mia@example.com"]);
        let shown = delivered(&world, "later@example.com: delivered");
        assert!(shown.contains("not now"), "{shown}");
        assert!(!shown.contains(PASSWORD));
        assert!(alice.end());
    }
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn who_is_not_let_in_or_not_trusted_sends_nothing_and_doctor_says_so() {
    let world = World::new();
    let mails = Mails::start(&world, "starttls");
    writing(&world, &mails, "starttls", "wrong");
    let mut doctor = world.command(&["doctor"]);
    let doctor = doctor.env("SSL_CERT_FILE", world.path("ca.pem"));
    let told = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
    assert!(
        told.contains("mail mia@example.com cannot be told"),
        "{told}"
    );
    assert!(told.contains("535"), "{told}");
    let trusting = world.broker_with(|command| {
        command.env("SSL_CERT_FILE", world.path("ca.pem"));
    });
    let mut alice = trusting.initialized();
    stopped(&mut alice);
    let shown = delivered(&world, "535");
    assert!(!shown.contains(": delivered"), "{shown}");
    assert!(!shown.contains("wrong"), "{shown}");
    assert!(alice.end());
    assert!(mails.lines.try_recv().is_err());
}

/// The authority of its certificate is nobody to us.
#[test]
#[ignore = "needs the packages that tests/run installs"]
fn a_mail_server_that_nobody_vouches_for_gets_nothing() {
    let world = World::new();
    let mails = Mails::start(&world, "starttls");
    writing(&world, &mails, "starttls", PASSWORD);
    let mut alice = world.broker().initialized();
    stopped(&mut alice);
    let shown = delivered(&world, "ertificate");
    assert!(!shown.contains(": delivered"), "{shown}");
    assert!(alice.end());
    assert!(mails.lines.try_recv().is_err());
}
