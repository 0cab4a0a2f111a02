//! `[escalations]`: who is told that a call waits for a decision, and how.

use super::file::File;
use super::references;
use super::webhooks;
use super::webhooks::Told;
use crate::broker::Webhooks;
use crate::broker::notify::Notices;
use crate::broker::notify::Reader;
use crate::downstream::Hook;
use crate::downstream::HookError;
use crate::downstream::Mail;
use crate::downstream::MailError;
use crate::downstream::MailTls;
use crate::escalations::State;
use crate::notices::Form;
use serde::Deserialize;
use std::path::Path;
use url::Url;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EscalationsSection {
    /// Where people look at escalations, before the id.
    link: Option<String>,
    smtp: Option<SmtpSection>,
    notify: Vec<NotifySection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SmtpSection {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    tls: TlsWord,
    user: Option<String>,
    password: Option<String>,
    from: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TlsWord {
    #[default]
    Starttls,
    Tls,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NotifySection {
    url: Option<String>,
    secret: Option<String>,
    template: Option<TemplateWord>,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    /// Addresses.
    #[serde(default)]
    mail: Vec<String>,
    /// What became of an escalation that is told.
    #[serde(default = "asked")]
    on: Vec<OnWord>,
    /// Of which roles one must be able to lift it; any where there are none.
    #[serde(default)]
    roles: Vec<String>,
    /// Whether they are told the arguments.
    #[serde(default = "shown")]
    arguments: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TemplateWord {
    Json,
    Slack,
    Teams,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnWord {
    Asked,
    Approved,
    Used,
    Refused,
    Expired,
    Withdrawn,
    Void,
}

fn shown() -> bool {
    true
}

fn asked() -> Vec<OnWord> {
    vec![OnWord::Asked]
}

impl OnWord {
    fn state(self) -> State {
        match self {
            Self::Asked => State::Pending,
            Self::Approved => State::Approved,
            Self::Used => State::Used,
            Self::Refused => State::Refused,
            Self::Expired => State::Expired,
            Self::Withdrawn => State::Withdrawn,
            Self::Void => State::Void,
        }
    }
}

/// A key below a section, and what is wrong with it.
type Wrong = (String, String);

/// Everybody who is told of something, with the first key whose reference leads nowhere;
/// or the key with what is wrong.
pub(super) fn told(file: &File, folder: &Path) -> Result<(Webhooks, Option<Wrong>), Wrong> {
    let (webhooks, nowhere) = webhooks::webhooks(&file.session.webhooks, folder)?;
    let (notices, besides) = file.escalations.notices(folder)?;
    Ok((webhooks.with(notices), nowhere.or(besides)))
}

impl EscalationsSection {
    /// Who is told, or the key with what is wrong. Whoever cannot be told because a
    /// reference leads nowhere is none of them, and the first such key comes along.
    pub(super) fn notices(&self, folder: &Path) -> Result<(Notices, Option<Wrong>), Wrong> {
        let mut unresolved = None;
        let mut unless_nowhere = |texts: Vec<&str>, wrong: Wrong| match references::lead_nowhere(
            texts.into_iter(),
            folder,
            &wrong.1,
        ) {
            true => {
                unresolved.get_or_insert(wrong);
                Ok(())
            }
            false => Err(wrong),
        };
        let mut notices = Notices {
            readers: Vec::new(),
            link: None,
        };
        match self.link(folder) {
            Ok(link) => notices.link = link,
            Err(wrong) => unless_nowhere(self.link.as_deref().into_iter().collect(), wrong)?,
        }
        let smtp = self.smtp.as_ref();
        let of_smtp = || smtp.into_iter().flat_map(SmtpSection::texts);
        if let Some(smtp) = smtp {
            // Looked at also where nobody is written to.
            let nobody = "nobody@example.invalid";
            if let Err((key, problem)) = smtp.mail(nobody, folder) {
                let wrong = (format!("escalations.smtp.{key}"), problem);
                unless_nowhere(of_smtp().collect(), wrong)?;
            }
        }
        for (place, section) in self.notify.iter().enumerate() {
            let wrong = |(key, problem)| (format!("escalations.notify[{place}].{key}"), problem);
            let readers = match section.readers(smtp, folder) {
                Ok(readers) => readers,
                Err(other) => {
                    let texts = section.texts().chain(of_smtp());
                    unless_nowhere(texts.collect(), wrong(other))?;
                    continue;
                }
            };
            for reader in readers {
                let mut others = notices.readers.iter();
                if others.any(|known| known.name == reader.name) {
                    let problem =
                        "another section names the same: write all that they are told of in one";
                    return Err(wrong((section.key().to_owned(), problem.to_owned())));
                }
                notices.readers.push(reader);
            }
        }
        Ok((notices, unresolved))
    }

    fn link(&self, folder: &Path) -> Result<Option<Box<str>>, Wrong> {
        let Some(link) = &self.link else {
            return Ok(None);
        };
        let key = "escalations.link";
        let link = references::expanded(link, folder, key)?;
        let url = Url::parse(&link).ok();
        match url.filter(|url| matches!(url.scheme(), "http" | "https")) {
            Some(url) if url.query().is_none() && url.fragment().is_none() => {
                Ok(Some(url.as_str().into()))
            }
            _ => {
                let problem = "write the address that stands before the id, like `https://broker.example/escalations`";
                Err((key.to_owned(), problem.to_owned()))
            }
        }
    }
}

impl SmtpSection {
    /// All in which references may stand.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let named = [&self.user, &self.password].into_iter().flatten();
        let named = named.map(String::as_str);
        named.chain([self.host.as_str(), self.from.as_str()])
    }

    /// A mail to somebody, or the key with what is wrong.
    fn mail(&self, to: &str, folder: &Path) -> Result<Hook, Wrong> {
        let text = |key: &str, text: &str| references::expanded(text, folder, key);
        let login = match (&self.user, &self.password) {
            (Some(user), Some(password)) => {
                Some((text("user", user)?, text("password", password)?))
            }
            (None, None) => None,
            (Some(_), None) => {
                let problem = "`user` needs a `password`, for example `${SMTP_PASSWORD}`";
                return Err(("password".to_owned(), problem.to_owned()));
            }
            (None, Some(_)) => {
                let problem = "a `password` needs the `user` whose it is";
                return Err(("user".to_owned(), problem.to_owned()));
            }
        };
        let mail = Mail {
            host: text("host", &self.host)?,
            port: self.port,
            tls: match self.tls {
                TlsWord::Starttls => MailTls::Upgraded,
                TlsWord::Tls => MailTls::Wrapped,
                TlsWord::None => MailTls::Plain,
            },
            login,
            from: text("from", &self.from)?,
            to: to.to_owned(),
        };
        Hook::mail(mail).map_err(|error| {
            let key = match &error {
                HookError::Mail(MailError::Host { .. }) => "host",
                HookError::Mail(MailError::From { .. }) => "from",
                HookError::Mail(MailError::To { .. }) => "mail",
                HookError::Mail(MailError::Plain) | HookError::Url(_) | HookError::Secret => "tls",
            };
            (key.to_owned(), error.to_string())
        })
    }
}

impl NotifySection {
    fn told(&self) -> Told<'_> {
        Told::written((&self.url, &self.secret), (&self.command, &self.args))
    }

    /// All in which references may stand.
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.told()
            .texts()
            .chain(self.mail.iter().map(String::as_str))
    }

    /// By which way they are told.
    fn key(&self) -> &'static str {
        match (&self.url, &self.command) {
            (Some(_), _) => "url",
            (None, Some(_)) => "command",
            (None, None) => "mail",
        }
    }

    /// Those of the section: of mail one for each address, so that nobody is written to
    /// twice because somebody else's is wrong.
    fn readers(&self, smtp: Option<&SmtpSection>, folder: &Path) -> Result<Vec<Reader>, Wrong> {
        let wrong = |key: &str, problem: &str| (key.to_owned(), problem.to_owned());
        if self.on.is_empty() {
            let problem = "they would be told of nothing: name `asked`, `approved`, `refused`, `used`, `expired`, `withdrawn` or `void`";
            return Err(wrong("on", problem));
        }
        if self.url.is_none() && self.template.is_some() {
            return Err(wrong("template", "it goes with a `url`"));
        }
        if self.mail.is_empty() {
            let told = self.told();
            if self.url.is_none() && self.command.is_none() {
                let problem = "they need a `url`, a `command`, or `mail`, a list of addresses";
                return Err(wrong("url", problem));
            }
            let form = match self.template {
                None | Some(TemplateWord::Json) => Form::Json,
                Some(TemplateWord::Slack) => Form::Slack,
                Some(TemplateWord::Teams) => Form::Teams,
            };
            // Slack and Teams look at no signature: their URL is the secret.
            let signed = form == Form::Json;
            let hook = webhooks::hook(&told, signed, folder)?;
            return Ok(vec![self.reader(&webhooks::name(&told), form, hook)]);
        }
        if self.url.is_some() || self.command.is_some() || self.secret.is_some() {
            let problem = "a section has a `url`, a `command` or `mail`: write a section for each";
            return Err(wrong("mail", problem));
        }
        let Some(smtp) = smtp else {
            let problem = "mail needs `[escalations.smtp]`, with `host` and `from`";
            return Err(wrong("mail", problem));
        };
        let readers = self.mail.iter().map(|address| {
            let to = references::expanded(address, folder, "mail")?;
            let hook = smtp.mail(&to, folder)?;
            Ok(self.reader(&format!("mail {address}"), Form::Mail, hook))
        });
        readers.collect()
    }

    fn reader(&self, name: &str, form: Form, hook: Hook) -> Reader {
        Reader {
            name: name.into(),
            states: self.on.iter().map(|word| word.state()).collect(),
            roles: self.roles.clone(),
            arguments: self.arguments,
            form,
            hook,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Notices, Wrong> {
        #[derive(Deserialize)]
        struct File {
            escalations: EscalationsSection,
        }
        let file: File = toml::from_str(&format!("[escalations]\n{text}")).unwrap();
        let (notices, unresolved) = file.escalations.notices(Path::new("/"))?;
        unresolved.map_or(Ok(notices), Err)
    }

    const SMTP: &str = "[escalations.smtp]\nhost = \"localhost\"\nfrom = \"c@example.com\"\n";

    #[test]
    fn each_reader_has_a_name_without_secrets_and_a_form() {
        let read = read(&format!(
            "link = \"https://c.example/escalations\"\n{SMTP}\
             [[escalations.notify]]\nurl = \"${{ABSENT:-https://hooks.slack.example/s3cret}}\"\ntemplate = \"slack\"\nroles = [\"Manager\"]\n\
             [[escalations.notify]]\nmail = [\"mia@example.com\", \"max@example.com\"]\non = [\"asked\", \"expired\"]\n\
             [[escalations.notify]]\ncommand = \"notify\"\nargs = [\"-x\"]\n"
        ));
        let read = read.unwrap();
        let told = read.readers.iter();
        let told: Vec<_> = told.map(|one| (&*one.name, one.form)).collect();
        assert_eq!(
            told,
            [
                ("${ABSENT:-https://hooks.slack.example/s3cret}", Form::Slack),
                ("mail mia@example.com", Form::Mail),
                ("mail max@example.com", Form::Mail),
                ("notify -x", Form::Json),
            ]
        );
        assert_eq!(read.readers[0].states, [State::Pending]);
        assert_eq!(read.readers[1].states, [State::Pending, State::Expired]);
        assert_eq!(read.link.as_deref(), Some("https://c.example/escalations"));
    }

    #[test]
    fn whoever_is_named_by_a_reference_that_leads_nowhere_is_left_out() {
        let smtp = SMTP.replace("\"localhost\"", "\"${ABSENT_HOST}\"");
        let text = format!(
            "[escalations]\nlink = \"${{ABSENT}}/x\"\n{smtp}\
             [[escalations.notify]]\nurl = \"${{ABSENT_URL}}\"\nsecret = \"0123456789abcdef\"\n\
             [[escalations.notify]]\nmail = [\"mia@example.com\"]\n\
             [[escalations.notify]]\ncommand = \"notify\"\n"
        );
        #[derive(Deserialize)]
        struct File {
            escalations: EscalationsSection,
        }
        let file: File = toml::from_str(&text).unwrap();
        let (notices, first) = file.escalations.notices(Path::new("/")).unwrap();
        let left: Vec<&str> = notices.readers.iter().map(|one| &*one.name).collect();
        assert_eq!((left, notices.link), (vec!["notify"], None));
        let (key, problem) = first.unwrap();
        assert_eq!(key, "escalations.link");
        assert!(problem.contains("`ABSENT` is not set"), "{problem}");
    }

    #[test]
    fn what_cannot_be_told_says_which_key_and_what_would_be_right() {
        let one = |section: &str| format!("[[escalations.notify]]\n{section}");
        let plain = SMTP.replace("localhost", "mail.example");
        for (text, key, says) in [
            ("link = \"ftp://x\"".to_owned(), "link", "before the id"),
            (
                "link = \"https://x/?a=1\"".to_owned(),
                "link",
                "before the id",
            ),
            (one(""), "url", "need a `url`, a `command`, or `mail`"),
            (
                one("url = \"https://h.example\""),
                "secret",
                "needs a `secret`",
            ),
            (
                one("command = \"x\"\ntemplate = \"slack\""),
                "template",
                "goes with a `url`",
            ),
            (one("command = \"x\"\non = []"), "on", "`asked`"),
            (
                one("mail = [\"a@b.example\"]"),
                "mail",
                "needs `[escalations.smtp]`",
            ),
            (
                one("mail = [\"a@b.example\"]\ncommand = \"x\""),
                "mail",
                "a section for each",
            ),
            (
                format!("{SMTP}{}", one("mail = [\"nobody\"]")),
                "mail",
                "`nobody` is no address",
            ),
            (
                format!("{plain}tls = \"none\""),
                "smtp.tls",
                "this machine only",
            ),
            (
                format!("{SMTP}user = \"u\""),
                "smtp.password",
                "needs a `password`",
            ),
            (
                format!("{SMTP}password = \"p\""),
                "smtp.user",
                "needs the `user`",
            ),
            (
                one("command = \"x\"\n[[escalations.notify]]\ncommand = \"x\""),
                "command",
                "names the same",
            ),
        ] {
            let (found, problem) = read(&text).unwrap_err();
            assert!(
                found.starts_with("escalations.") && found.ends_with(key),
                "{found}"
            );
            assert!(problem.contains(says), "{problem}");
        }
    }
}
