//! `[[session.webhooks]]`: who is told of events from outside.

use super::file::labels;
use super::references;
use crate::broker::Webhooks;
use crate::downstream::Hook;
use crate::downstream::HookError;
use crate::events;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookSection {
    url: Option<String>,
    secret: Option<String>,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    /// Which kinds of events; all where there are none.
    #[serde(default)]
    kinds: Vec<String>,
}

/// A key, and what is wrong with it.
type Wrong = (String, String);

/// Which labels events from outside bring into their sessions.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EventsSection {
    labels: Vec<String>,
    /// Those of some kinds, in the place of the others.
    kinds: BTreeMap<String, Vec<String>>,
}

impl EventsSection {
    /// What is said of them, or the key with what is wrong.
    pub(super) fn labels(&self) -> Result<events::Labels, (String, String)> {
        let read = |key: &str, written: &[String]| {
            labels(written).map_err(|(_labels, problem)| (format!("session.events.{key}"), problem))
        };
        let mut found = events::Labels {
            others: read("labels", &self.labels)?,
            kinds: BTreeMap::new(),
        };
        for (kind, written) in &self.kinds {
            let key = format!("kinds.{kind}");
            check_kind(kind).map_err(|problem| ("session.events.kinds".to_owned(), problem))?;
            found.kinds.insert(kind.clone(), read(&key, written)?);
        }
        Ok(found)
    }
}

fn check_kind(kind: &str) -> Result<(), String> {
    match events::is_kind(kind) {
        true => Ok(()),
        false => Err(format!(
            "`{}`: {}",
            kind.escape_debug(),
            events::Unfit::Kind
        )),
    }
}

/// All of them, with the first key whose reference leads nowhere; or the key with what
/// is wrong. One with such a reference is known by its name, as commands need it, and can
/// be told nothing: no broker starts then.
pub(super) fn webhooks(
    sections: &[WebhookSection],
    folder: &Path,
) -> Result<(Webhooks, Option<Wrong>), Wrong> {
    let (mut webhooks, mut unresolved) = (Webhooks::default(), None);
    for (place, section) in sections.iter().enumerate() {
        let wrong = |(key, problem)| (format!("session.webhooks[{place}].{key}"), problem);
        let posted = (&section.url, &section.secret);
        let told = Told::written(posted, (&section.command, &section.args));
        let name = name(&told);
        if webhooks
            .outbox()
            .targets
            .iter()
            .any(|known| *known.name == *name)
        {
            let problem = "another section names the same: write all its kinds in one".to_owned();
            return Err(wrong(("url".to_owned(), problem)));
        }
        for kind in &section.kinds {
            check_kind(kind).map_err(|problem| wrong(("kinds".to_owned(), problem)))?;
        }
        let hook = match hook(&told, true, folder) {
            Ok(hook) => hook,
            Err((key, problem)) => {
                let is_nowhere = references::lead_nowhere(told.texts(), folder, &problem);
                let problem = wrong((key, problem));
                if !is_nowhere {
                    return Err(problem);
                }
                unresolved.get_or_insert(problem);
                Hook::command(String::new(), Vec::new(), folder.to_owned())
            }
        };
        webhooks.add(&name, section.kinds.clone(), hook);
    }
    Ok((webhooks, unresolved))
}

/// Who is told, as it is written.
pub(super) struct Told<'a> {
    pub(super) url: Option<&'a str>,
    pub(super) secret: Option<&'a str>,
    pub(super) command: Option<&'a str>,
    pub(super) args: &'a [String],
}

impl<'a> Told<'a> {
    /// By a URL with its secret, or by a command with its arguments.
    pub(super) fn written(
        (url, secret): (&'a Option<String>, &'a Option<String>),
        (command, args): (&'a Option<String>, &'a [String]),
    ) -> Self {
        Self {
            url: url.as_deref(),
            secret: secret.as_deref(),
            command: command.as_deref(),
            args,
        }
    }

    /// All in which references may stand.
    pub(super) fn texts(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let one = [self.url, self.secret, self.command].into_iter().flatten();
        one.chain(self.args.iter().map(String::as_str))
    }
}

/// What the store knows them by: as it is written, so that no secret that is
/// referred to gets there.
pub(super) fn name(told: &Told<'_>) -> String {
    match (told.url, told.command) {
        (Some(url), _) => url.to_owned(),
        (None, command) => {
            let words = command
                .into_iter()
                .chain(told.args.iter().map(String::as_str));
            words.collect::<Vec<_>>().join(" ")
        }
    }
}

/// How they are told, or the key with what is wrong. `signed` where a URL needs a secret.
pub(super) fn hook(told: &Told<'_>, signed: bool, folder: &Path) -> Result<Hook, (String, String)> {
    let wrong = |key: &str, problem: &str| Err((key.to_owned(), problem.to_owned()));
    let text = |key: &str, text: &str| references::expanded(text, folder, key);
    match (told.url, told.command) {
        (Some(_), Some(_)) => wrong(
            "command",
            "a webhook has a `url` or a `command`, not both: leave one out",
        ),
        (None, None) => wrong(
            "url",
            "a webhook needs `url` and `secret`, or `command`, the program that is told",
        ),
        (None, Some(_)) if told.secret.is_some() => wrong(
            "secret",
            "it goes with a `url`: a command is told by us alone",
        ),
        (None, Some(command)) => {
            let mut args = Vec::new();
            for (place, arg) in told.args.iter().enumerate() {
                args.push(text(&format!("args[{place}]"), arg)?);
            }
            let command = text("command", command)?;
            Ok(Hook::command(command, args, folder.to_owned()))
        }
        (Some(_), None) if !told.args.is_empty() => wrong("args", "they go with a `command`"),
        (Some(_), None) if signed && told.secret.is_none() => wrong(
            "secret",
            "a `url` needs a `secret` that its posts are signed with, for example `${WEBHOOK_SECRET}`",
        ),
        (Some(url), None) => {
            let url = text("url", url)?;
            let secret = told
                .secret
                .map(|secret| text("secret", secret))
                .transpose()?;
            Hook::url(&url, secret.as_deref()).map_err(|error| {
                let key = match &error {
                    HookError::Url(_) | HookError::Mail(_) => "url",
                    HookError::Secret => "secret",
                };
                (key.to_owned(), error.to_string())
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Webhooks, (String, String)> {
        #[derive(Deserialize)]
        struct File {
            webhooks: Vec<WebhookSection>,
        }
        let file: File = toml::from_str(text).unwrap();
        let (webhooks, unresolved) = webhooks(&file.webhooks, Path::new("/"))?;
        unresolved.map_or(Ok(webhooks), Err)
    }

    #[test]
    fn a_webhook_is_known_by_what_is_written() {
        let both = read(
            "[[webhooks]]\nurl = \"https://h.example/${HOME}\"\nsecret = \"${ABSENT:-0123456789abcdef}\"\nkinds = [\"a\"]\n\
             [[webhooks]]\ncommand = \"sh\"\nargs = [\"-c\", \"true\"]\n",
        );
        let both = both.unwrap();
        let names = both.outbox().targets.iter().map(|target| &*target.name);
        assert_eq!(
            names.collect::<Vec<_>>(),
            ["https://h.example/${HOME}", "sh -c true"]
        );
    }

    #[test]
    fn what_cannot_be_told_says_which_key_and_what_would_be_right() {
        for (section, key, says) in [
            ("", "url", "needs `url` and `secret`"),
            ("url = \"https://h.example\"", "secret", "needs a `secret`"),
            (
                "url = \"x\"\nsecret = \"0123456789abcdef\"",
                "url",
                "no URL",
            ),
            (
                "url = \"https://h.example\"\nsecret = \"s\"",
                "secret",
                "16 bytes",
            ),
            (
                "url = \"https://h.example\"\ncommand = \"x\"",
                "command",
                "not both",
            ),
            (
                "command = \"x\"\nsecret = \"s\"",
                "secret",
                "goes with a `url`",
            ),
            ("command = \"${ABSENT}\"", "command", "is not set"),
            (
                "command = \"x\"\n[[webhooks]]\ncommand = \"x\"",
                "url",
                "names the same",
            ),
        ] {
            let (found, problem) = read(&format!("[[webhooks]]\n{section}")).unwrap_err();
            assert!(found.ends_with(&format!("].{key}")), "{found}: {problem}");
            assert!(problem.contains(says), "{problem}");
        }
    }
}
