//! Mail, to one address by one server (SMTP).
//!
//! A connection is made for each mail: they are few, and certificates of the system are
//! then those of the moment.

use super::Note;
use super::Told;
use crate::visible;
use jiff::Timestamp;
use lettre::AsyncSmtpTransport;
use lettre::AsyncTransport as _;
use lettre::Message;
use lettre::Tokio1Executor;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::message::header::Header;
use lettre::message::header::HeaderName;
use lettre::message::header::HeaderValue;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::Tls;
use lettre::transport::smtp::client::TlsParameters;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;

/// How much of what a server said is recorded, in characters.
const SAID: usize = 300;

/// Where mails are handed over, and as whom.
#[derive(Clone)]
pub struct Mail {
    /// The name or address of the server.
    pub host: String,
    /// None for the usual one.
    pub port: Option<u16>,
    /// How the way there is kept from others.
    pub tls: MailTls,
    /// The user and the password, where the server wants to know who we are.
    pub login: Option<(String, String)>,
    /// Who writes.
    pub from: String,
    /// Who reads.
    pub to: String,
}

/// How the way to a mail server is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the first byte (port 465).
    Wrapped,
    /// Begun plain, and TLS before anything is said; no mail without (port 587).
    Upgraded,
    /// Not at all: to this machine only (port 25).
    Plain,
}

/// Why no mail can be sent so. None has a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The server is none.
    #[error("`{host}` is no name or address of a mail server")]
    Host {
        /// What was written.
        host: String,
    },
    /// Plain to another machine.
    #[error(
        "without TLS mail goes to this machine only (`localhost`, 127.0.0.1, ::1): write `starttls` or `tls`"
    )]
    Plain,
    /// The sender is none.
    #[error("`{address}` is no address: write one like `Countersign <broker@example.com>`")]
    From {
        /// What was written.
        address: String,
    },
    /// The recipient is none.
    #[error("`{address}` is no address: write one like `mia@example.com`")]
    To {
        /// What was written.
        address: String,
    },
}

/// The password is for nobody to see.
impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("host", &self.host)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Says that nobody wrote it, so that nothing answers by itself (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_text: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl Mail {
    /// Looks whether mails can be sent so, without asking the server.
    pub(super) fn checked(self) -> Result<Self, MailError> {
        let loopback = |ip: IpAddr| ip.is_loopback();
        if self.host.is_empty() || self.host.contains(|c: char| c == '/' || c.is_whitespace()) {
            return Err(MailError::Host { host: self.host });
        }
        if self.tls == MailTls::Plain
            && self.host != "localhost"
            && !self.host.parse().is_ok_and(loopback)
        {
            return Err(MailError::Plain);
        }
        if self.from.parse::<Mailbox>().is_err() {
            return Err(MailError::From { address: self.from });
        }
        match self.to.parse::<Mailbox>() {
            Ok(_address) => Ok(self),
            Err(_none) => Err(MailError::To { address: self.to }),
        }
    }

    /// Hands a mail over.
    pub(super) async fn send(&self, id: &str, note: &Note, now: Timestamp) -> Told {
        let said = |problem: &dyn fmt::Display| {
            let problem = problem.to_string();
            Told::failed(visible::one_line(&problem, SAID))
        };
        let message = match self.message(id, note, now) {
            Ok(message) => message,
            Err(error) => return said(&error),
        };
        let transport = match self.transport() {
            Ok(transport) => transport,
            Err(error) => return said(&error),
        };
        match transport.send(message).await {
            Ok(answer) => Told {
                status: Some(i32::from(u16::from(answer.code()))),
                problem: None,
            },
            Err(error) => Told {
                status: error.status().map(|code| i32::from(u16::from(code))),
                ..said(&error)
            },
        }
    }

    /// Looks whether the server lets us in.
    pub(super) async fn probe(&self) -> Result<(), String> {
        let said = |error: &smtp::Error| visible::one_line(&error.to_string(), SAID);
        let transport = self.transport().map_err(|error| said(&error))?;
        match transport.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => Err("the mail server takes nothing".to_owned()),
            Err(error) => Err(said(&error)),
        }
    }

    fn message(
        &self,
        id: &str,
        note: &Note,
        now: Timestamp,
    ) -> Result<Message, Box<dyn Error + Send + Sync>> {
        let from: Mailbox = self.from.parse()?;
        let domain = from.email.domain().to_owned();
        let message = Message::builder()
            .from(from)
            .to(self.to.parse()?)
            // A line break would end the header.
            .subject(visible::one_line(&note.title, SAID))
            .date(now.into())
            // The same at each try, so that a reader's program can tell.
            .message_id(Some(format!("<{id}@{domain}>")))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN)
            .body(note.text.clone())?;
        Ok(message)
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, smtp::Error> {
        let parameters = || TlsParameters::new(self.host.clone());
        let (tls, usual) = match self.tls {
            MailTls::Wrapped => (Tls::Wrapper(parameters()?), 465),
            MailTls::Upgraded => (Tls::Required(parameters()?), 587),
            MailTls::Plain => (Tls::None, 25),
        };
        let mut transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(self.host.clone())
                .port(self.port.unwrap_or(usual))
                .tls(tls)
                .timeout(Some(super::PATIENCE));
        if let Some((user, password)) = self.login.clone() {
            transport = transport.credentials(Credentials::new(user, password));
        }
        Ok(transport.build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail() -> Mail {
        Mail {
            host: "mail.example".to_owned(),
            port: None,
            tls: MailTls::Upgraded,
            login: Some(("broker".to_owned(), "s3cret".to_owned())),
            from: "Countersign <broker@example.com>".to_owned(),
            to: "mia@example.com".to_owned(),
        }
    }

    #[test]
    fn a_title_of_somebody_else_adds_no_header() {
        let note = Note {
            title: "Pay\r\nBcc: x@evil.example\r\n\r\nhello ä".to_owned(),
            text: "a line\n.\nBcc: y@evil.example\n".to_owned(),
        };
        let message = mail().message("ntf_1", &note, Timestamp::UNIX_EPOCH);
        let message = String::from_utf8(message.unwrap().formatted()).unwrap();
        let (headers, _body) = message.split_once("\r\n\r\n").unwrap();
        for line in headers.lines() {
            assert!(!line.to_ascii_lowercase().starts_with("bcc"), "{headers}");
        }
        assert!(headers.contains("Message-ID: <ntf_1@example.com>"));
        assert!(headers.contains("Auto-Submitted: auto-generated"));
    }

    #[test]
    fn what_cannot_be_sent_says_why_and_nothing_shows_the_password() {
        assert!(!format!("{:?}", mail()).contains("s3cret"));
        assert!(mail().checked().is_ok());
        type Change = fn(&mut Mail);
        let wrong: [(Change, &str); 5] = [
            (
                |mail| mail.host = "smtp://x/".to_owned(),
                "no name or address",
            ),
            (|mail| mail.tls = MailTls::Plain, "this machine only"),
            (
                |mail| mail.from = "broker".to_owned(),
                "`broker` is no address",
            ),
            (|mail| mail.to = "a@b, c@d".to_owned(), "`a@b, c@d` is no"),
            (
                |mail| mail.to = "a@b\r\nBcc: c@d".to_owned(),
                "is no address",
            ),
        ];
        for (change, says) in wrong {
            let mut mail = mail();
            change(&mut mail);
            let problem = mail.checked().unwrap_err().to_string();
            assert!(problem.contains(says), "{problem}");
        }
        for host in ["localhost", "127.0.0.1", "::1"] {
            let plain = Mail {
                host: host.to_owned(),
                tls: MailTls::Plain,
                ..mail()
            };
            assert!(plain.checked().is_ok(), "{host}");
        }
    }
}
