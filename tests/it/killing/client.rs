//! The clients: over stdio and HTTP, of both eras, each with what it has to come back
//! after its broker died.

use super::Point;
use super::Round;
use crate::world::APPROVE;
use crate::world::Wire;
use serde_json::Value;
use serde_json::json;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// How long an answer may take before a client takes its broker for dead.
const ANSWER: Duration = Duration::from_secs(20);

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// What a client knows of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ended {
    /// Executed.
    Paid,
    /// Not executed, and it will not be.
    Refused,
    /// Nobody knows.
    Unknown,
    /// No answer came, or nothing was sent: it may be asked again.
    Lost,
}

/// A client that makes payments.
pub(super) enum Client {
    /// With a broker of its own.
    Stdio(Era, Option<Armed>),
    /// Of the broker that serves HTTP, with its transport session.
    Http(Era, Option<String>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    Legacy,
    Modern,
}

/// A broker process, and the point at which it shall end by itself.
pub(super) struct Armed {
    wire: Wire,
    point: Option<Point>,
}

impl Client {
    /// One of each kind.
    pub(super) fn all() -> [Self; 4] {
        [
            Self::Stdio(Era::Legacy, None),
            Self::Stdio(Era::Modern, None),
            Self::Http(Era::Legacy, None),
            Self::Http(Era::Modern, None),
        ]
    }

    /// Makes one payment once.
    pub(super) fn pays(
        &mut self,
        round: &Round<'_>,
        payment: (&str, i64, &str),
        point: Option<Point>,
    ) -> Ended {
        let came = self.pays_or_asks(round, payment, point);
        came.unwrap_or(Ended::Refused)
    }

    /// The same, or who is asked where somebody must approve it.
    pub(super) fn pays_or_asks(
        &mut self,
        round: &Round<'_>,
        (handle, cents, key): (&str, i64, &str),
        point: Option<Point>,
    ) -> Result<Ended, String> {
        let meta = json!({
            "dev.countersign/session": handle,
            "dev.countersign/idempotency-key": key,
        });
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let mut params = json!({
            "name": APPROVE,
            "arguments": {"claim_id": "99", "payee": "ACME", "amount": 0},
            "_meta": meta,
        });
        let number: serde_json::Number = serde_json::from_str(&amount).unwrap();
        params["arguments"]["amount"] = Value::Number(number);
        let Some(answer) = self.asks(round, params, point) else {
            return Ok(Ended::Lost);
        };
        let decision = &answer["result"]["_meta"]["dev.countersign/decision"];
        match decision["escalation"].as_str() {
            Some(id) => Err(id.to_owned()),
            None => Ok(ended(&answer)),
        }
    }

    /// Calls a tool that moves no meter and has no key. Whatever comes of it, the
    /// record must be right.
    pub(super) fn looks(
        &mut self,
        round: &Round<'_>,
        (handle, tool): (&str, &str),
        point: Option<Point>,
    ) {
        let params = json!({
            "name": tool,
            "arguments": {"claim_id": "99"},
            "_meta": {"dev.countersign/session": handle},
        });
        let _answered = self.asks(round, params, point);
    }

    /// Calls a tool once. None where no answer came.
    fn asks(&mut self, round: &Round<'_>, params: Value, point: Option<Point>) -> Option<Value> {
        match self {
            Self::Stdio(era, armed) => over_stdio(round, (*era, armed), params, point),
            Self::Http(era, transport) => over_http(round, (*era, transport), params),
        }
    }

    /// Ends its broker, where it has one.
    pub(super) fn ends(&mut self) {
        if let Self::Stdio(_, armed) = self {
            *armed = None;
        }
    }
}

fn over_stdio(
    round: &Round<'_>,
    (era, armed): (Era, &mut Option<Armed>),
    mut params: Value,
    point: Option<Point>,
) -> Option<Value> {
    let mut broker = match armed.take() {
        Some(broker) => broker,
        None => {
            let point = point.filter(|_| cfg!(feature = "crash-points"));
            let mut wire = round.world.broker_with(|command| {
                if let Some(Point { name, passage }) = point {
                    command.env("COUNTERSIGN_CRASH", format!("{name}:{passage}"));
                }
                if let Some(mutation) = round.mutation {
                    command.env("COUNTERSIGN_MUTATE", mutation);
                }
            });
            let opened = era == Era::Modern || wire.request_initialize().is_some();
            if !opened {
                died(round, Armed { wire, point });
                return None;
            }
            Armed { wire, point }
        }
    };
    if era == Era::Modern {
        modern(&mut params);
    }
    let id = broker.wire.request("tools/call", params);
    let answer = broker.wire.answer_to(id);
    if answer.is_some() {
        *armed = Some(broker);
    } else {
        died(round, broker);
    }
    answer
}

/// A broker is gone: by itself, or by the hand of the test, which has counted that.
fn died(round: &Round<'_>, mut broker: Armed) {
    let by_itself = broker.wire.was_killed() && broker.point.is_some();
    if let Some(point) = broker.point.filter(|_| by_itself) {
        round.died_at(point);
    }
}

fn over_http(
    round: &Round<'_>,
    (era, transport): (Era, &mut Option<String>),
    mut params: Value,
) -> Option<Value> {
    if era == Era::Legacy && transport.is_none() {
        let params = json!({
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        });
        let (head, _) = post(round, "initialize", &params, &[])?;
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("mcp-session-id: "));
        *transport = Some(line?.trim().to_owned());
    }
    let answered = match (era, &*transport) {
        (Era::Legacy, Some(id)) => {
            let headers = [
                ("mcp-session-id", id.as_str()),
                ("mcp-protocol-version", LEGACY),
            ];
            post(round, "tools/call", &params, &headers)
        }
        _ => {
            modern(&mut params);
            let name = params["name"].as_str().unwrap_or_default().to_owned();
            let headers = [
                ("mcp-protocol-version", MODERN),
                ("mcp-method", "tools/call"),
                ("mcp-name", &name),
            ];
            post(round, "tools/call", &params, &headers)
        }
    };
    answered.map(|(_, answer)| answer)
}

fn modern(params: &mut Value) {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
}

/// One request on a connection of its own: the head and the message that answers it.
/// None where the broker is gone, or said nothing whole.
fn post(
    round: &Round<'_>,
    method: &str,
    params: &Value,
    more: &[(&str, &str)],
) -> Option<(String, Value)> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let (head, body) = send(round.address, ("/mcp", round.key), more, &body)?;
    let whole = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["id"] == 1).then_some(message)
    };
    let lines = body.lines();
    let message = lines
        .filter_map(|line| whole(line.strip_prefix("data: ").unwrap_or(line)))
        .next_back()?;
    Some((head, message))
}

/// A body to one path with somebody's key: the head of the answer, in lower case, and
/// its body. None where the broker is gone.
pub(super) fn send(
    address: &str,
    (path, key): (&str, &str),
    more: &[(&str, &str)],
    body: &str,
) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    let mut text = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
    );
    for (name, value) in more {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_ascii_lowercase(), body.to_owned()))
}

/// What an answer says of the payment.
fn ended(answer: &Value) -> Ended {
    let Some(text) = answer["result"]["content"][0]["text"].as_str() else {
        // Not recorded, so not sent.
        return Ended::Lost;
    };
    if answer["result"]["isError"] != true {
        return Ended::Paid;
    }
    match text {
        text if text.contains("cannot be reached") => Ended::Lost,
        text if text.contains("Nothing was sent now") => Ended::Unknown,
        text if text.contains("may have taken effect") => Ended::Unknown,
        _ => Ended::Refused,
    }
}
