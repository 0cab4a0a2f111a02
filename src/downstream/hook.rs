//! Somebody outside who is told of something: a webhook, a command, or a reader of
//! mail. They are no tool servers; they stand here because they are reached as those are.

mod mail;

pub use mail::Mail;
pub use mail::MailError;
pub use mail::MailTls;

use super::program;
use super::remote;
use super::remote::Remote;
use super::remote::RemoteError;
use super::remote::Transport;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::Hmac;
use hmac::KeyInit as _;
use hmac::Mac as _;
use jiff::Timestamp;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Child;
use tokio::process::Command;
use tokio::time::timeout;

/// How long telling may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What marks a secret that is written in Base64 (Standard Webhooks, signature
/// scheme).
const BASE64: &str = "whsec_";

/// Somebody who is told.
#[derive(Clone)]
pub struct Hook(Kind);

#[derive(Clone)]
enum Kind {
    Url {
        remote: Box<Remote>,
        /// What posts are signed with, where they are.
        secret: Option<Vec<u8>>,
    },
    Command(Line),
    Mail(Box<Mail>),
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about, on a line, where the way has a place for it.
    pub title: String,
    /// The whole of it.
    pub text: String,
}

/// A command: the program, its arguments, and where it runs.
type Line = (String, Vec<String>, PathBuf);

/// How telling went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The status of HTTP or of the command's exit, where there was one.
    pub status: Option<i32>,
    /// Why it does not count as taken.
    pub problem: Option<String>,
}

/// Why there is nobody to tell. Neither has a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// The URL cannot be used.
    #[error(transparent)]
    Url(RemoteError),
    /// The secret cannot be used.
    #[error(
        "the secret has at least 16 bytes, as they are or after `whsec_` in Base64: `openssl rand -base64 32` makes one"
    )]
    Secret,
    /// No mail can be sent so.
    #[error(transparent)]
    Mail(MailError),
}

/// The secret is for nobody to see, and the URL may have one in it.
impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Url { .. } => "Hook::Url",
            Kind::Command(_) => "Hook::Command",
            Kind::Mail(_) => "Hook::Mail",
        })
    }
}

impl Hook {
    /// A URL that is posted to, and what the posts are signed with, where they are.
    ///
    /// # Errors
    ///
    /// When either cannot be used.
    pub fn url(url: &str, secret: Option<&str>) -> Result<Self, HookError> {
        let none = BTreeMap::new();
        let remote = Remote::new(url, &none, Transport::Streamable).map_err(HookError::Url)?;
        Ok(Self(Kind::Url {
            remote: Box::new(remote),
            secret: secret.map(key).transpose()?,
        }))
    }

    /// Mail to one address.
    ///
    /// # Errors
    ///
    /// When none can be sent so.
    pub fn mail(mail: Mail) -> Result<Self, HookError> {
        let mail = mail.checked().map_err(HookError::Mail)?;
        Ok(Self(Kind::Mail(Box::new(mail))))
    }

    /// A command that reads from its stdin, in this folder.
    pub fn command(command: String, args: Vec<String>, folder: PathBuf) -> Self {
        Self(Kind::Command((command, args, folder)))
    }

    /// Looks whether they could be told, as far as that tells nobody anything: a command
    /// is there, a mail server lets us in.
    ///
    /// # Errors
    ///
    /// In words, where they could not.
    pub async fn probe(&self) -> Result<(), String> {
        match &self.0 {
            Kind::Url { .. } => Ok(()),
            Kind::Command((command, _args, folder)) => {
                let environment = program::environment(&BTreeMap::new());
                let path = environment.get(OsStr::new("PATH")).map(|path| &**path);
                program::find(command, path, folder).map(|_found| ())
            }
            Kind::Mail(mail) => mail.probe().await,
        }
    }

    /// Tells them. `id` is the same however often the same thing is told.
    pub async fn tell(&self, id: &str, note: Note, now: Timestamp) -> Told {
        let told = async {
            match &self.0 {
                Kind::Url { remote, secret } => {
                    let at = now.as_second();
                    let mut headers = vec![
                        ("webhook-id", id.to_owned()),
                        ("webhook-timestamp", at.to_string()),
                    ];
                    if let Some(secret) = secret {
                        let signature = signature(secret, (id, at), &note.text);
                        headers.push(("webhook-signature", signature));
                    }
                    post(remote, headers, note.text.into()).await
                }
                Kind::Command(command) => match run(command, note.text).await {
                    Ok(status) => exited(status),
                    Err(problem) => Told::failed(problem),
                },
                Kind::Mail(mail) => mail.send(id, &note, now).await,
            }
        };
        let seconds = PATIENCE.as_secs();
        timeout(PATIENCE, told)
            .await
            .unwrap_or_else(|_late| Told::failed(format!("nothing within {seconds} seconds")))
    }
}

impl Told {
    fn failed(problem: String) -> Self {
        Self {
            status: None,
            problem: Some(problem),
        }
    }
}

/// The bytes of a secret.
fn key(secret: &str) -> Result<Vec<u8>, HookError> {
    let key = match secret.strip_prefix(BASE64) {
        Some(coded) => STANDARD.decode(coded).map_err(|_coded| HookError::Secret)?,
        None => secret.as_bytes().to_vec(),
    };
    match key.len() {
        0..16 => Err(HookError::Secret),
        _ => Ok(key),
    }
}

/// The signature of one post (Standard Webhooks, symmetric signatures).
fn signature(secret: &[u8], (id, at): (&str, i64), body: &str) -> String {
    // A key of any length is one.
    let Ok(mut code) = Hmac::<Sha256>::new_from_slice(secret) else {
        return String::new();
    };
    code.update(format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(code.finalize().into_bytes()))
}

async fn post(remote: &Remote, headers: Vec<(&'static str, String)>, body: Bytes) -> Told {
    match remote::tell(remote, headers, body).await {
        Err(problem) => Told::failed(problem),
        Ok(status) => Told {
            status: Some(i32::from(status)),
            problem: (!(200..300).contains(&status)).then(|| format!("it answered {status}")),
        },
    }
}

/// Runs a command with this on its stdin. Dropped, it ends the command.
async fn run((command, args, folder): &Line, json: String) -> Result<ExitStatus, String> {
    let environment = program::environment(&BTreeMap::new());
    let path = environment.get(OsStr::new("PATH")).map(|path| &**path);
    let program = program::find(command, path, folder)?;
    let spawned = Command::new(program)
        .args(args)
        .env_clear()
        .envs(environment)
        .current_dir(folder)
        .stdin(Stdio::piped())
        // Our own stdout may be the wire.
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let child = spawned.map_err(|error| format!("it cannot be started: {error}"))?;
    let ended = feed(child, json).await;
    ended.map_err(|error| format!("nobody knows how it ended: {error}"))
}

async fn feed(mut child: Child, json: String) -> io::Result<ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        // Who does not read it to its end says by its status what that means.
        let _unread = stdin.write_all(json.as_bytes()).await;
    }
    child.wait().await
}

fn exited(status: ExitStatus) -> Told {
    let problem = match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("it ended with status {code}")),
        (None, signal) => Some(format!("it was ended by signal {}", signal.unwrap_or(0))),
    };
    Told {
        status: status.code(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Note {
        Note {
            title: String::new(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_post_is_signed_as_standard_webhooks_has_it() {
        // The example of the specification's libraries.
        let secret = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(
            &secret,
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330),
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_cannot_be_told_is_refused_and_shows_no_secret() {
        let secret = "0123456789abcdef";
        assert!(Hook::url("https://hooks.example/x", Some(secret)).is_ok());
        for (url, secret) in [
            ("ftp://hooks.example", secret),
            ("https://a:b@hooks.example", secret),
            ("https://hooks.example", "short"),
            ("https://hooks.example", "whsec_0123456789abcdef"),
            ("https://hooks.example", "whsec_no base64, and long"),
        ] {
            let refused = Hook::url(url, Some(secret)).unwrap_err().to_string();
            assert!(!refused.contains("0123"), "{refused}");
        }
        let shown = format!("{:?}", Hook::url("https://h.example/s3cret", Some(secret)));
        assert!(
            !shown.contains("s3cret") && !shown.contains("0123"),
            "{shown}"
        );
    }

    #[tokio::test]
    async fn a_command_reads_it_and_its_status_counts() {
        let folder = tempfile::tempdir().unwrap();
        let tell = async |script: &str| {
            let args = vec!["-c".to_owned(), script.to_owned()];
            let hook = Hook::command("sh".to_owned(), args, folder.path().to_owned());
            hook.tell("id", note("{\"a\":1}"), Timestamp::UNIX_EPOCH)
                .await
        };
        let taken = tell("cat > told").await;
        assert_eq!((taken.status, taken.problem), (Some(0), None));
        let told = std::fs::read_to_string(folder.path().join("told")).unwrap();
        assert_eq!(told, "{\"a\":1}");
        let failed = tell("exit 7").await;
        assert_eq!(failed.status, Some(7));
        assert_eq!(failed.problem.as_deref(), Some("it ended with status 7"));
        let ended = tell("kill -9 $$").await;
        assert_eq!(ended.problem.as_deref(), Some("it was ended by signal 9"));
        let hook = Hook::command("no-such-program".to_owned(), Vec::new(), "/".into());
        let absent = hook.tell("id", note(""), Timestamp::UNIX_EPOCH).await;
        assert!(absent.problem.unwrap().contains("was not found"));
    }
}
