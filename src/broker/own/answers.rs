//! What the broker's own tools answer.

use super::Own;
use super::decisions;
use crate::broker::ToolCall;
use crate::broker::Units;
use crate::broker::escalations::Ground;
use crate::broker::event_json;
use crate::broker::resume::Standing;
use crate::broker::resume::call_json;
use crate::broker::resume::call_line;
use crate::broker::resume::event_line;
use crate::broker::resume::note_line;
use crate::broker::resume::shows_a_name;
use crate::events;
use crate::journal;
use crate::journal::Filter;
use crate::json::Object;
use crate::json::quoted;
use crate::memory;
use crate::memory::Key;
use crate::memory::Unfit;
use crate::policy::whole;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::sessions;
use crate::sessions::By;
use crate::sessions::Change;
use crate::sessions::What;
use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::CallId;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;

/// How many lines of a list are shown where nobody says how many.
const LINES: u32 = 50;
/// How much of a text of somebody else is shown, in characters.
const SHOWN: usize = 4_000;
/// How large the bodies of listed events are together, in bytes.
const MOST_BODIES: usize = 1 << 20;

/// What one of them answers: a text for the model, and the same for programs.
pub(super) struct Said {
    text: String,
    /// The text of an object.
    pub(super) structured: String,
    failed: bool,
    /// The sessions in which stands what it tells in the words of others.
    pub(super) from: BTreeSet<SessionId>,
}

impl Said {
    pub(super) fn new(text: impl Into<String>, structured: &Value) -> Self {
        Self {
            text: text.into(),
            structured: structured.to_string(),
            failed: false,
            from: BTreeSet::new(),
        }
    }

    /// The same, with words that stand in this session, where there are any.
    fn with_words(mut self, of: SessionId, has_words: bool) -> Self {
        if has_words {
            self.from.insert(of);
        }
        self
    }

    /// Nothing was done, and why.
    pub(super) fn failed(why: impl ToString) -> Self {
        let why = why.to_string();
        Self {
            structured: json!({ "error": why }).to_string(),
            text: why,
            failed: true,
            from: BTreeSet::new(),
        }
    }

    /// Whether it is a refusal.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// A `CallToolResult`.
    pub(super) fn result(&self) -> Box<str> {
        let content = json!([{"type": "text", "text": self.text}]);
        let structured = &self.structured;
        let failed = self.failed;
        format!(r#"{{"content":{content},"structuredContent":{structured},"isError":{failed}}}"#)
            .into()
    }
}

/// Answers what only reads.
pub(super) fn look(
    tx: &Tx<'_>,
    own: Own,
    call: &ToolCall,
    units: Units<'_>,
) -> Result<Said, StoreError> {
    let arguments = Arguments::of(call);
    let session = call.session;
    let numbers = arguments.number("limit").and_then(|limit| {
        let before = arguments.number("before")?;
        Ok((before, limit.unwrap_or(LINES)))
    });
    let (before, newest) = match numbers {
        Ok(numbers) => numbers,
        Err(unfit) => return Ok(unfit),
    };
    match own {
        Own::Status => Ok(match Standing::read(tx, session, Timestamp::now())? {
            Some(standing) => Said::new(standing.text(units), &standing.json())
                .with_words(session, standing.has_words()),
            None => Said::failed("there is no such session any more"),
        }),
        Own::History => history(tx, session, newest),
        Own::Get => get(tx, session, &arguments),
        Own::List => values(tx, session, &arguments.text("prefix").unwrap_or_default()),
        Own::Notes => notes(tx, session, newest),
        Own::Events => events(tx, session, (before, newest)),
        Own::Wait | Own::Escalations => Ok(Said::failed("this is asked for elsewhere")),
        Own::Pause
        | Own::Resume
        | Own::Put
        | Own::Delete
        | Own::AddNote
        | Own::Withdraw
        | Own::Decide => Ok(Said::failed(
            "this changes something, and was asked to read",
        )),
        Own::Page
        | Own::Follow
        | Own::TaskGet
        | Own::TaskResult
        | Own::TaskUpdate
        | Own::TaskCancel => Ok(Said::failed("this is no tool")),
    }
}

fn history(tx: &Tx<'_>, session: SessionId, newest: u32) -> Result<Said, StoreError> {
    let filter = Filter {
        session: Some(session),
        newest: Some(newest),
        ..Filter::default()
    };
    let calls = journal::calls(tx, &filter)?;
    let changes = sessions::history(tx, session, newest)?;
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    lines.extend(calls.iter().map(|call| (call.at, call_line(call))));
    lines.extend(changes.iter().map(|change| {
        let detail = change.detail.as_deref();
        let detail = detail.map_or_else(String::new, |text| format!(" {}", quoted(text, SHOWN)));
        let at = change.at.strftime("%Y-%m-%d %H:%M:%SZ");
        let (what, by) = (change.what.as_str(), quoted(&change.by, SHOWN));
        (change.at, format!("- {at} {what} by {by}{detail}"))
    }));
    let arrived = events::last(tx, session)? > 0;
    let noted = |change: &Change| change.detail.is_some() && change.what != What::Labelled;
    let has_words = arrived || changes.iter().any(noted) || calls.iter().any(shows_a_name);
    lines.sort_by_key(|(at, _)| *at);
    let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    let changes = changes.iter().map(|change| {
        json!({
            "at": change.at.to_string(),
            "what": change.what.as_str(),
            "by": change.by,
            "detail": change.detail,
        })
    });
    let changes: Vec<Value> = changes.collect();
    let calls: Vec<Value> = calls.iter().map(call_json).collect();
    let structured = json!({"calls": calls, "changes": changes});
    Ok(Said::new(lines.join("\n"), &structured).with_words(session, has_words))
}

fn get(tx: &Tx<'_>, session: SessionId, arguments: &Arguments<'_>) -> Result<Said, StoreError> {
    let key = match arguments.key() {
        Ok(key) => key,
        Err(unfit) => return Ok(Said::failed(unfit)),
    };
    let Some((value, version)) = memory::get(tx, session, &key)? else {
        let key = quoted(key.as_str(), SHOWN);
        let why = format!("there is no value under {key}: `memory_list` names the keys");
        return Ok(Said::failed(why));
    };
    let name = Value::from(key.as_str());
    Ok(Said {
        structured: format!(r#"{{"key":{name},"version":{version},"value":{value}}}"#),
        text: value,
        failed: false,
        from: BTreeSet::from([session]),
    })
}

/// What is in the memory under keys that begin like this.
pub(super) fn values(tx: &Tx<'_>, session: SessionId, prefix: &str) -> Result<Said, StoreError> {
    let entries = memory::list(tx, session, prefix)?;
    let lines = entries.iter().map(|entry| {
        let at = entry.at.strftime("%Y-%m-%d %H:%M:%SZ");
        let key = quoted(&entry.key, SHOWN);
        let (bytes, version, by) = (entry.bytes, entry.version, &entry.by);
        format!("{key}: {bytes} bytes, version {version}, written {at} by {by}")
    });
    let text = match entries.is_empty() {
        true => "no values".to_owned(),
        false => lines.collect::<Vec<_>>().join("\n"),
    };
    let has_words = !entries.is_empty();
    let entries = entries.iter().map(|entry| {
        json!({
            "key": entry.key,
            "bytes": entry.bytes,
            "version": entry.version,
            "at": entry.at.to_string(),
            "by": entry.by,
        })
    });
    let values: Vec<Value> = entries.collect();
    let said = Said::new(text, &json!({ "values": values }));
    Ok(said.with_words(session, has_words))
}

/// The last notes.
pub(super) fn notes(tx: &Tx<'_>, session: SessionId, newest: u32) -> Result<Said, StoreError> {
    let notes = memory::notes(tx, session, newest)?;
    let lines: Vec<String> = notes.iter().map(note_line).collect();
    let has_words = !notes.is_empty();
    let notes = notes.iter().map(|note| {
        json!({
            "number": note.number,
            "at": note.at.to_string(),
            "by": note.by,
            "text": note.text,
        })
    });
    let notes: Vec<Value> = notes.collect();
    let said = Said::new(lines.join("\n"), &json!({ "notes": notes }));
    Ok(said.with_words(session, has_words))
}

/// What arrived, the last before a number; less of it where it is much.
pub(super) fn events(
    tx: &Tx<'_>,
    session: SessionId,
    (before, newest): (Option<u32>, u32),
) -> Result<Said, StoreError> {
    let mut found = events::list(tx, session, before, newest)?;
    let mut room = MOST_BODIES;
    let fitting = found.iter().rev().take_while(|event| {
        let fits = event.body.len() <= room;
        room = room.saturating_sub(event.body.len());
        fits
    });
    let found = found.split_off(found.len() - fitting.count());
    let more = found.first().is_some_and(|event| event.number > 1);
    let mut lines: Vec<String> = Vec::new();
    if let (true, Some(first)) = (more, found.first()) {
        let number = first.number;
        lines.push(format!("earlier ones: `before` {number}"));
    }
    lines.extend(found.iter().map(|event| event_line(event, SHOWN)));
    if found.is_empty() {
        lines.push("nothing arrived".to_owned());
    }
    let events: Vec<String> = found.iter().map(event_json).collect();
    let events = events.join(",");
    let said = Said {
        text: lines.join("\n"),
        structured: format!(r#"{{"events":[{events}],"more":{more}}}"#),
        failed: false,
        from: BTreeSet::new(),
    };
    Ok(said.with_words(session, !found.is_empty()))
}

/// Does what changes something.
pub(super) fn change(
    tx: &Tx<'_>,
    (own, ground, id): (Own, Ground<'_>, CallId),
    call: &ToolCall,
    now: Timestamp,
) -> Result<Said, StoreError> {
    let arguments = Arguments::of(call);
    let session = call.session;
    let pen = (&call.principal, now);
    let by = (By::Principal(&call.principal), now);
    Ok(match own {
        Own::Pause => {
            let waiting_for = arguments.text("waiting_for");
            match sessions::pause(tx, session, waiting_for.as_deref(), by)? {
                true => Said::new("This session is paused.", &json!({"paused": true})),
                false => Said::failed("this session is over"),
            }
        }
        Own::Resume => match sessions::resume(tx, session, by)? {
            true => Said::new("This session goes on.", &json!({"paused": false})),
            false => Said::new("This session was not paused.", &json!({"paused": false})),
        },
        Own::Put => put(tx, session, &arguments, pen)?,
        Own::Delete => match arguments.key() {
            Ok(key) => match memory::delete(tx, session, &key, pen)? {
                true => Said::new("Deleted.", &json!({"deleted": true})),
                false => Said::new("There was no such value.", &json!({"deleted": false})),
            },
            Err(unfit) => Said::failed(unfit),
        },
        Own::AddNote => {
            let text = arguments.text("text").unwrap_or_default();
            match memory::add_note(tx, session, &text, pen)? {
                Ok(number) => Said::new(format!("Note {number}."), &json!({ "number": number })),
                Err(unfit) => Said::failed(unfit),
            }
        }
        Own::Withdraw => decisions::withdrawn(tx, ground, (call, id), now)?,
        Own::Decide => decisions::decided(tx, ground, (call, id), now)?,
        Own::Status
        | Own::History
        | Own::Get
        | Own::List
        | Own::Notes
        | Own::Events
        | Own::Wait
        | Own::Escalations
        | Own::Page
        | Own::Follow
        | Own::TaskGet
        | Own::TaskResult
        | Own::TaskUpdate
        | Own::TaskCancel => Said::failed("this reads, and was asked to change something"),
    })
}

fn put(
    tx: &Tx<'_>,
    session: SessionId,
    arguments: &Arguments<'_>,
    pen: (&PrincipalId, Timestamp),
) -> Result<Said, StoreError> {
    let value = arguments.raw("value").unwrap_or("null");
    let expected = match arguments.number("if_version") {
        Ok(expected) => expected,
        Err(unfit) => return Ok(unfit),
    };
    let written = match arguments.key() {
        Ok(key) => memory::put(tx, session, (&key, value), expected, pen)?,
        Err(unfit) => Err(unfit),
    };
    Ok(match written {
        Ok(version) => Said::new(
            format!("Kept, as version {version}."),
            &json!({ "version": version }),
        ),
        Err(unfit) => Said::failed(unfit),
    })
}

/// The arguments of a call, which fit the schema.
pub(super) struct Arguments<'a>(Option<Object<'a>>);

impl<'a> Arguments<'a> {
    pub(super) fn of(call: &'a ToolCall) -> Self {
        let text = call.arguments.as_deref().unwrap_or("{}");
        Self(Object::parse(text).ok())
    }

    /// As it was written.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.as_ref()?.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.raw(name).and_then(crate::json::text).map(Into::into)
    }

    /// A whole number that is no less than 0. None where it is left out.
    ///
    /// # Errors
    ///
    /// When it is something else: it is not the same as leaving it out.
    pub(super) fn number(&self, name: &str) -> Result<Option<u32>, Said> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let number = whole(raw).and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| {
            let most = u32::MAX;
            Said::failed(format!(
                "`{name}` is a whole number from 0 to {most}, or left out: nothing was done"
            ))
        })
    }

    fn key(&self) -> Result<Key, Unfit> {
        Key::read(&self.text("key").unwrap_or_default())
    }
}
