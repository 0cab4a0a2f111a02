//! What a client learns of how its call ended. Decided here and nowhere else:
//! every match is total, so that a new outcome cannot slip through as another.
//!
//! An answer that the model should act on is a result with `isError`, because
//! clients keep protocol errors from the model (MCP 2026-07-28, server/tools,
//! error handling). Its text is written for the model: the operator's messages
//! as they are, then what to do. Policy texts, arguments and what a server
//! wrote of its failure stay out of it.

mod absent;
mod again;
mod confirming;
mod decided;
pub(super) mod own_task;
#[cfg(test)]
mod tests;

use super::Client;
use super::MODERN;
use super::eras;
use super::shown;
use super::tasks;
use super::write::Fault;
use super::write::INTERNAL_ERROR;
use super::write::INVALID_PARAMS;
use super::write::MISSING_CAPABILITY;
use super::write::server_info;
use crate::broker::Answer;
use crate::broker::Asked;
use crate::broker::Era;
use crate::broker::Refusal;
use crate::broker::SessionRefusal;
use crate::json::Object;
use crate::json::Splice;
use crate::tool::Asking;
use crate::tool::CallId;
use crate::tool::ServerName;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;

use absent::away;
use absent::not_offered;
use absent::unknown;
use decided::messages;

/// JSON-RPC, by our own word: nobody may be asked this. Outside of the codes that
/// JSON-RPC reserves (MCP 2026-07-28, basic/index, error codes).
const REFUSED: i32 = 403;

const NOT_ASKED: &str =
    "`inputResponses` answer what nobody asked; nothing was sent: make the call without them";

/// Who reads what comes back, and of what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    /// In which era.
    pub(super) client: Client,
    /// What was asked.
    pub(super) asking: Asking,
}

/// The body of a response, the text of an object.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    /// Its `result`.
    Result(String),
    /// Its `error`.
    Error(String),
    /// Its `error`, of a request that could not be made: the client did not say
    /// that it can do what this needs.
    MissingCapability(String),
}

/// What became of one round of a call.
#[derive(Debug)]
pub(super) enum Came {
    /// It ended, and this goes back.
    Ended(Reply),
    /// Its server asks something first.
    Asks(CallId, Asked),
    /// The client took it back, and waits for nothing.
    TakenBack,
}

/// What a call came to.
pub(super) fn answer(came: Answer, reader: Reader) -> Came {
    match came {
        Answer::Result { json, era } => Came::Ended(Reply::Result(match reader.client {
            Client::Modern => typed(&json, reader),
            Client::Legacy => aged(&json, &era),
        })),
        Answer::Replayed {
            earlier,
            answer: kept,
        } => match answer(*kept, reader) {
            Came::Ended(Reply::Result(result)) => {
                Came::Ended(Reply::Result(again::replayed(&result, &earlier)))
            }
            other => other,
        },
        Answer::Joined => Came::Ended(Reply::Result("{}".to_owned())),
        Answer::Task { json, id, .. } => {
            Came::Ended(Reply::Result(tasks::begun(&json, &id, reader.client)))
        }
        Answer::OwnTask(view) => Came::Ended(own_task::told(*view, reader)),
        Answer::ServerError { json } => Came::Ended(server_error(&json, reader)),
        Answer::Asks { call, asked } => Came::Asks(call, asked),
        Answer::Refused(refusal) => Came::Ended(refused(&refusal, reader)),
        Answer::Cancelled => Came::TakenBack,
    }
}

/// What goes back where the session of a call could not be had.
pub(super) fn session_refused(refusal: &SessionRefusal, reader: Reader) -> Reply {
    let lines = match refusal {
        SessionRefusal::NotAHandle { text } => vec![
            format!(
                "`{}` cannot name a session. Nothing was sent.",
                shown(text, 80)
            ),
            "Use 1 to 100 of the characters A-Z a-z 0-9 . _ - (and not `.` or `..`), or the id of a session.".to_owned(),
        ],
        SessionRefusal::Unknown { text } => again::no_session(text).to_vec(),
        SessionRefusal::MayNotOpen { handle, denial } => {
            let mut lines = messages(denial);
            lines.push(format!(
                "There is no session `{}`, and this caller may not open it. Nothing was sent.",
                shown(handle, 80)
            ));
            lines.push("Check its name, or ask the operator to open it.".to_owned());
            lines
        }
        SessionRefusal::NotRecorded => return not_recorded(),
        SessionRefusal::NoRoom => return no_room(),
    };
    failed(&lines, None, reader)
}

fn refused(refusal: &Refusal, reader: Reader) -> Reply {
    let say = |call: &CallId, lines: &[String]| {
        let mut lines = lines.to_vec();
        lines.push(reference(call));
        failed(&lines, None, reader)
    };
    match refusal {
        Refusal::UnknownTool { asking, name } => unknown(*asking, name, reader.client),
        Refusal::NotOffered { name, needs, .. } => not_offered(name, needs, reader.client),
        Refusal::NotAsked => Reply::Error(Fault::new(INVALID_PARAMS, NOT_ASKED).json()),
        Refusal::OnlyAsTask { call: _, server } => absent::only_as_task(server, reader.client),
        Refusal::InvalidArguments { call, problem } => say(call, &unfit(problem)),
        Refusal::Denied {
            call,
            denial,
            again,
        } => decided::denied(call, (denial, *again), reader),
        Refusal::NotConfirmed { call, denial, why } => {
            confirming::not_confirmed(call, (denial, *why), reader)
        }
        Refusal::Paused(paused) => decided::paused(paused, reader),
        Refusal::Escalated {
            call,
            denial,
            escalation,
            requested,
        } => decided::escalated(call, (denial, escalation), requested, reader),
        Refusal::TurnedDown {
            call,
            id,
            decision,
            until,
        } => decided::turned_down(call, *id, (decision, *until), reader),
        Refusal::EarlierUnknown {
            call,
            earlier,
            tool,
        } => say(call, &told_of(earlier, tool)),
        Refusal::SessionGone { text } => failed(&again::no_session(text), None, reader),
        Refusal::Settled { id, settled } => decided::settled(*id, settled, reader),
        // The broker waits for the first itself, and asks by an answer.
        Refusal::Attempted { .. }
        | Refusal::BeingGiven { .. }
        | Refusal::Replayed { .. }
        | Refusal::Overtaken
        | Refusal::Confirm { .. } => not_recorded(),
        Refusal::EarlierUnread {
            call,
            earlier,
            tool,
            why,
        } => say(call, &again::unread(earlier, tool, *why)),
        Refusal::KeyReused { call } => say(call, &again::key_reused()),
        Refusal::EarlierLost { call, earlier } => say(call, &again::lost(earlier)),
        Refusal::EarlierAsks { call, earlier } => say(call, &again::asks(earlier)),
        Refusal::EarlierOpen { call, earlier, why } => say(call, &again::open(earlier, *why)),
        Refusal::SessionEnded { call, end } => say(call, &again::ended(*end)),
        Refusal::ServerUnavailable { call, server, .. } => away(call, server, reader),
        Refusal::RepeatUnsent {
            call,
            earlier,
            server,
        } => match reader.asking {
            Asking::Tool => say(call, &again::unsent(earlier, server)),
            _ => away(call, server, reader),
        },
        Refusal::ServerBusy { call, server, why } => say(call, &busy(server, why)),
        Refusal::ToolChanged { call } => say(call, &changed()),
        Refusal::OutcomeUnknown { call, server, .. } => unsure(call, unseen(server), reader),
        Refusal::TimedOut {
            call,
            server,
            after,
        } => unsure(call, late(server, *after), reader),
        Refusal::Unbridged { call, server, what } => {
            unsure(call, eras::unbridged(server, *what, reader.client), reader)
        }
        Refusal::InvalidAnswer { call, server, .. } => unsure(call, no_answer(server), reader),
        Refusal::Withheld { call, server } => unsure(call, withheld(server), reader),
        Refusal::NotRecorded => not_recorded(),
        Refusal::NoRoom => no_room(),
    }
}

/// What is said of a tool that is another than the one that was decided on.
fn changed() -> [String; 2] {
    [
        "This tool is no longer what was reviewed. Nothing was sent and nothing counts towards a limit.".to_owned(),
        "Look at the list of tools again; where it is missing there, an operator must review it first.".to_owned(),
    ]
}

/// What is said where a server takes no call of this kind now.
fn busy(server: &ServerName, why: &str) -> [String; 2] {
    [
        format!(
            "The server `{server}` takes no such call now: {why}. Nothing was sent and nothing counts towards a limit."
        ),
        "Answer what it asked in other calls, or end them; then call again.".to_owned(),
    ]
}

/// What is said of arguments that do not fit.
fn unfit(problem: &str) -> [String; 2] {
    [
        "The arguments do not fit the tool's schema. Nothing was sent.".to_owned(),
        format!("Correct this and call again: {}", shown(problem, 400)),
    ]
}

/// What is said of an answer that did not come.
fn late(server: &ServerName, after: Duration) -> String {
    let after = seconds(after.as_secs());
    format!("The server `{server}` did not answer within {after}.")
}

/// What is said of a call whose end nobody saw.
fn unseen(server: &ServerName) -> String {
    format!("The call was sent to the server `{server}`, and nobody saw how it ended.")
}

/// What is said of an answer that is none.
fn no_answer(server: &ServerName) -> String {
    format!("The server `{server}` answered with something that is no answer.")
}

/// What is said of an answer that may not be read.
fn withheld(server: &ServerName) -> String {
    format!(
        "The server `{server}` answered, and the answer is withheld because it could not be recorded."
    )
}

/// What is said of the first call that is like one that ended unknown.
fn told_of(earlier: &CallId, tool: &str) -> [String; 3] {
    [
        format!(
            "The same call of `{}` was sent earlier in this session, and nobody saw how it ended. Nothing was sent now.",
            shown(tool, 128)
        ),
        "Find out whether it took effect, or ask a person, before anything else is done about it. If it did not, the same call may be sent once more.".to_owned(),
        format!("Earlier call: {earlier}"),
    ]
}

/// A call that was sent, and of which nobody knows what it did.
fn unsure(call: &CallId, what: String, reader: Reader) -> Reply {
    let lines = [
        format!("{what} The call may have taken effect."),
        "Do not simply repeat it: find out whether it took effect, or ask a person.".to_owned(),
        reference(call),
    ];
    failed(&lines, None, reader)
}

fn not_recorded() -> Reply {
    let message = "the call could not be recorded, so nothing was sent; tell the operator, or call again later";
    Reply::Error(Fault::new(INTERNAL_ERROR, message).json())
}

fn no_room() -> Reply {
    let message = "the broker's disk is full, so the call could not be recorded and nothing was sent; tell the operator, who has to make room";
    Reply::Error(Fault::new(INTERNAL_ERROR, message).json())
}

fn seconds(count: u64) -> String {
    let noun = if count == 1 { "second" } else { "seconds" };
    format!("{count} {noun}")
}

fn reference(call: &CallId) -> String {
    format!("Reference: {call}")
}

/// What tells the model what went wrong: of a tool a result, because clients
/// keep errors from the model; of anything else an error, because its result
/// has no place for it.
pub(super) fn failed(lines: &[String], decision: Option<Value>, reader: Reader) -> Reply {
    if reader.asking != Asking::Tool {
        let mut fault = Fault::new(REFUSED, lines.join("\n"));
        fault.data = decision.map(|decision| json!({"dev.countersign/decision": decision}));
        return Reply::Error(fault.json());
    }
    let mut meta = serde_json::Map::new();
    if let Some(decision) = decision {
        meta.insert("dev.countersign/decision".to_owned(), decision);
    }
    let mut result = json!({
        "content": [{"type": "text", "text": lines.join("\n")}],
        "isError": true,
    });
    if let Some(members) = result.as_object_mut() {
        match reader.client {
            Client::Modern => {
                meta.insert(
                    "io.modelcontextprotocol/serverInfo".to_owned(),
                    server_info(),
                );
                members.insert("resultType".to_owned(), "complete".into());
            }
            Client::Legacy => {}
        }
        if !meta.is_empty() {
            members.insert("_meta".to_owned(), meta.into());
        }
    }
    Reply::Result(result.to_string())
}

/// A server's result, for a modern client with a type, which that client must
/// find in it (MCP 2026-07-28, basic/index, result responses), and a resource
/// with how long it may be kept (server/utilities/caching): never for others
/// than this caller, because policy decided for this caller.
fn typed(result: &str, reader: Reader) -> String {
    let Ok(members) = Object::parse(result) else {
        return result.to_owned();
    };
    let mut splice = Splice::new(result);
    splice = match members.get("resultType") {
        None => splice.add_member(result, "resultType", "\"complete\""),
        Some("\"complete\"") => splice,
        // Of a legacy server, to which the word means nothing.
        Some(other) => splice.replace(other, "\"complete\""),
    };
    if reader.asking == Asking::Read {
        splice = match members.get("cacheScope") {
            Some(scope) => splice.replace(scope, "\"private\""),
            None => splice.add_member(result, "cacheScope", "\"private\""),
        };
        if members.get("ttlMs").is_none() {
            splice = splice.add_member(result, "ttlMs", "0");
        }
    }
    splice.finish()
}

/// Whether an error names the capabilities that the client lacks (MCP 2026-07-28,
/// `MissingRequiredClientCapabilityError`).
fn says_which(error: &str) -> bool {
    let data = Object::parse(error)
        .ok()
        .and_then(|error| error.get("data"));
    let data = data.and_then(|data| Object::parse(data).ok());
    data.and_then(|data| data.get("requiredCapabilities"))
        .is_some_and(|which| which.starts_with('{'))
}

/// A result as revisions before 2026-07-28 have it: without the members that only
/// the newer one gives a meaning, and with structured content only where that is an
/// object. (The text beside it says the same.)
fn aged(result: &str, era: &Era) -> String {
    let Ok(members) = Object::parse(result) else {
        return result.to_owned();
    };
    let structured = members.get("structuredContent");
    let no_object = structured.is_some_and(|it| !it.starts_with('{'));
    let newer: &[&str] = match era {
        Era::Modern(_) => &["resultType", "ttlMs", "cacheScope"],
        Era::Legacy(_) => &[],
    };
    let newer = newer.iter().filter(|key| members.get(key).is_some());
    let mut aged: Option<String> = None;
    // One after the other: neighbours share a comma.
    for key in newer.chain(no_object.then_some(&"structuredContent")) {
        aged = Some(
            match &aged {
                None => Splice::new(result).remove_from(result, &members, key),
                Some(aged) => Splice::new(aged).remove_member(aged, key),
            }
            .finish(),
        );
    }
    aged.unwrap_or_else(|| result.to_owned())
}

/// A server's error. For a modern client with the codes that revision has:
/// -32002 is -32602 there, and -32042 must not be sent. Codes of -32020 to
/// -32099 speak of the connection they come over, which is ours to the server,
/// not the client's to us (MCP 2026-07-28, basic/index, error codes); but for
/// -32021, because what we declare to a server is what its client declared to us.
fn server_error(error: &str, reader: Reader) -> Reply {
    let client = reader.client;
    let members = Object::parse(error).ok();
    let raw = members.as_ref().and_then(|members| members.get("code"));
    let Some((raw, code)) = raw.and_then(|raw| Some((raw, raw.parse::<f64>().ok()?))) else {
        let message = "the tool's server answered with an error that cannot be read";
        return Reply::Error(Fault::new(INTERNAL_ERROR, message).json());
    };
    let with_code =
        |code: i32| Reply::Error(Splice::new(error).replace(raw, code.to_string()).finish());
    match client {
        Client::Legacy => Reply::Error(error.to_owned()),
        Client::Modern if code == -32002.0 => with_code(INVALID_PARAMS),
        Client::Modern if code == -32042.0 => failed(
            &[
                format!("The tool's server (MCP {}) wants a person to open a web page before it answers. This client (MCP {MODERN}) did not declare that it opens pages, so nothing was done.", eras::NEWEST_BEFORE),
                "Use a client that declares `elicitation.url`, or ask the operator to connect the server to its account.".to_owned(),
            ],
            None,
            reader,
        ),
        Client::Modern if code == f64::from(MISSING_CAPABILITY) && says_which(error) => {
            Reply::MissingCapability(error.to_owned())
        }
        Client::Modern if (-32099.0..=-32020.0).contains(&code) => with_code(INTERNAL_ERROR),
        Client::Modern => Reply::Error(error.to_owned()),
    }
}
