//! The opening of a link: which era the server speaks, and what it says of
//! itself.
//!
//! A modern probe goes first. Servers of before 2026 answer it with some error,
//! or not at all, or end; so everything but a clear modern answer leads to
//! `initialize` (2026-07-28, transports/stdio, backward compatibility).
//!
//! A server on a pipe that was slow to start reads the probe nonetheless, and
//! `initialize` behind it. So the probe counts for as long as the link is being
//! opened: a modern server that took it refuses what came after.

use super::Era;
use super::KeptSession;
use super::link::Ended;
use super::message;
use super::message::Answer;
use super::offers::Offers;
use super::reach::Reach;
use super::shown;
use super::wire;
use super::wire::Control;
use crate::json;
use crate::json::Object;
use crate::tool::Declared;
use serde_json::value::RawValue;
use std::pin::pin;
use std::time::Duration;

const LEGACY_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// Errors that only a server of the modern era gives (2026-07-28, basic, error
/// codes): header mismatch, missing capability, unsupported version.
const MODERN_ERRORS: [i64; 3] = [-32020, -32021, -32022];

/// How a link is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// The probe first.
    Probe,
    /// `initialize` at once: the server is known to be of the legacy era.
    Initialize,
}

/// What the server said of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// What it speaks.
    pub(super) era: Era,
    /// Name and version, for display.
    pub(super) server: String,
    /// What it declared that it has.
    pub(super) offers: Offers,
    /// The same as the text of an object.
    pub(super) capabilities: Option<String>,
}

/// Why there was no greeting.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server ended while it was probed: it cannot take an unknown request.
    ProbeKilled,
    /// Anything else, in words.
    Failed(String),
}

/// Opens the link. `probe_time` is how long the probe may go unanswered; the
/// time for all of it is the caller's to keep. A legacy server is told what can
/// be asked.
pub(super) async fn open(
    link: &Reach,
    opening: Opening,
    (probe_time, declared): (Duration, &Declared),
) -> Result<Greeting, Refusal> {
    let greeting = match opening {
        Opening::Initialize => initialize(link, declared).await?,
        Opening::Probe => probe(link, (probe_time, declared)).await?,
    };
    link.settle(greeting.era.clone());
    Ok(greeting)
}

/// Goes on in a transport session that was opened before, by an earlier process or
/// link. None where there can be none.
pub(super) fn carry_on(link: &Reach, kept: &KeptSession) -> Option<Greeting> {
    let Reach::Http(http) = link else {
        return None;
    };
    http.carry_on(&kept.id)?;
    let era = Era::Legacy(kept.revision.clone());
    link.settle(era.clone());
    Some(Greeting {
        era,
        server: kept.says.clone(),
        offers: Offers::read(kept.capabilities.as_deref()),
        capabilities: kept.capabilities.clone(),
    })
}

/// Asks which revisions the server has, and opens it by what it says.
async fn probe(
    link: &Reach,
    (probe_time, declared): (Duration, &Declared),
) -> Result<Greeting, Refusal> {
    let mut asked = Box::pin(link.request(Control::Discover));
    match (tokio::time::timeout(probe_time, &mut asked).await, link) {
        (Ok(answer), _) => match probed(answer)? {
            Some(modern) => Ok(modern),
            None => initialize(link, declared).await,
        },
        (Err(_late), Reach::Pipe(_)) => either(link, asked, (probe_time, declared)).await,
        // No request waits behind another there.
        (Err(_late), Reach::Http(_)) => {
            drop(asked);
            initialize(link, declared).await
        }
    }
}

/// Opens a server that has the probe still to read. What it says to `initialize`
/// decides where it takes that; otherwise the late answer to the probe does. Once
/// one of both is answered, the other is waited for as long as the probe was.
async fn either(
    link: &Reach,
    mut asked: impl Future<Output = Result<Answer, Ended>> + Unpin,
    (patience, declared): (Duration, &Declared),
) -> Result<Greeting, Refusal> {
    let mut opened = pin!(initialize(link, declared));
    tokio::select! {
        biased;
        answer = &mut asked => match probed(answer)? {
            Some(modern) => match tokio::time::timeout(patience, opened).await {
                // A server of both eras, which is in the older one from here on.
                Ok(Ok(legacy)) => Ok(legacy),
                Ok(Err(_)) | Err(_) => Ok(modern),
            },
            None => opened.await,
        },
        opened = &mut opened => match opened {
            Ok(legacy) => Ok(legacy),
            Err(refused) => match tokio::time::timeout(patience, asked).await {
                Ok(answer) => probed(answer)?.ok_or(refused),
                Err(_) => Err(refused),
            },
        },
    }
}

/// The greeting of a modern server by its answer to the probe, or none where it is
/// no such server.
fn probed(answer: Result<Answer, Ended>) -> Result<Option<Greeting>, Refusal> {
    match answer {
        Ok(Answer::Result(result)) => Ok(discovered(&result)),
        Ok(Answer::Error(error)) => Ok(modern_by_error(&error)),
        Ok(Answer::Invalid(_)) => Ok(None),
        Err(Ended) => Err(Refusal::ProbeKilled),
    }
}

fn discovered(result: &str) -> Option<Greeting> {
    let result = Object::parse(result).ok()?;
    if !lists_modern(result.get("supportedVersions")?) {
        return None;
    }
    let meta = result
        .get("_meta")
        .and_then(|meta| Object::parse(meta).ok());
    let info = meta.and_then(|meta| meta.get("io.modelcontextprotocol/serverInfo"));
    Some(greeting(
        Era::Modern(wire::MODERN.to_owned()),
        info,
        result.get("capabilities"),
    ))
}

fn modern_by_error(error: &str) -> Option<Greeting> {
    let error = Object::parse(error).ok()?;
    let code = message::error_code(&error)?;
    let data = Object::parse(error.get("data")?).ok()?;
    let stays = MODERN_ERRORS.contains(&code) && lists_modern(data.get("supported")?);
    stays.then(|| Greeting {
        era: Era::Modern(wire::MODERN.to_owned()),
        server: String::new(),
        offers: Offers {
            tools: true,
            ..Offers::default()
        },
        capabilities: None,
    })
}

fn lists_modern(versions: &str) -> bool {
    serde_json::from_str::<Vec<&RawValue>>(versions).is_ok_and(|versions| {
        versions
            .iter()
            .any(|version| json::text(version.get()).as_deref() == Some(wire::MODERN))
    })
}

async fn initialize(link: &Reach, declared: &Declared) -> Result<Greeting, Refusal> {
    let refused = |why: String| Err(Refusal::Failed(why));
    let result = match link.request(Control::Initialize { declared }).await {
        Ok(Answer::Result(result)) => result,
        Ok(Answer::Error(error)) => {
            return refused(format!(
                "`initialize` was answered with {}",
                error_shown(&error)
            ));
        }
        Ok(Answer::Invalid(why)) => return refused(format!("`initialize`: {why}")),
        Err(_) => return refused(link.why()),
    };
    let Ok(result) = Object::parse(&result) else {
        return refused("`initialize`: the result is no JSON object".to_owned());
    };
    let revision = result.get("protocolVersion").and_then(json::text);
    let revision = revision.unwrap_or_default();
    if !LEGACY_REVISIONS.contains(&&*revision) {
        return refused(format!(
            "the server wants to speak the MCP revision `{}`, which is none that can be opened by `initialize`",
            shown(&revision, 40)
        ));
    }
    link.notify(Control::Initialized).await;
    Ok(greeting(
        Era::Legacy(revision.into_owned()),
        result.get("serverInfo"),
        result.get("capabilities"),
    ))
}

fn greeting(era: Era, info: Option<&str>, capabilities: Option<&str>) -> Greeting {
    let info = info.and_then(|info| Object::parse(info).ok());
    let said = |key| {
        let text = info
            .as_ref()
            .and_then(|info| info.get(key))
            .and_then(json::text);
        shown(&text.unwrap_or_default(), 100)
    };
    Greeting {
        era,
        server: format!("{} {}", said("name"), said("version"))
            .trim()
            .to_owned(),
        offers: Offers::read(capabilities),
        capabilities: capabilities.map(str::to_owned),
    }
}

/// An error object in words, short.
pub(super) fn error_shown(error: &str) -> String {
    let Ok(error) = Object::parse(error) else {
        return "an error".to_owned();
    };
    let message = error.get("message").and_then(json::text);
    format!(
        "the error {}: {}",
        error.get("code").unwrap_or_default(),
        shown(&message.unwrap_or_default(), 200)
    )
}
