//! All that can be written to a server. Nothing else in the crate makes a
//! [`Frame`] or writes to a server's input.

mod control;
mod params;

pub(super) use control::Control;

use super::Era;
use super::OutgoingCall;
use super::asks::Reply;
use super::meta;
use crate::crash;
use crate::json::Object;
use crate::permit::Permit;
use crate::tool::Asking;
use crate::tool::Mirrored;
use bytes::Bytes;
use params::Params;
use serde_json::Value;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;

/// The revision of the probe and of every message of the modern era.
pub(super) const MODERN: &str = "2026-07-28";
/// The revision that `initialize` asks for.
pub(super) const LEGACY: &str = "2025-11-25";
/// How we name ourselves: the text of an MCP `Implementation`.
pub(super) const CLIENT_INFO: &str = concat!(
    r#"{"name":"countersign","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

/// What is waited for, once a call is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Awaits {
    /// The answer, and until then progress under this token.
    Answer(Option<u64>),
    /// What a modern server says of what the call names, while the request is open.
    Word,
}

/// One message, ready to be written.
pub(super) struct Frame {
    bytes: Bytes,
    method: Option<&'static str>,
    name: Option<Arc<str>>,
    /// Arguments that a header repeats: its name and what it says.
    mirrored: Vec<(String, String)>,
}

impl Frame {
    /// A message that needs no permit. Those that are no requests of ours leave
    /// `id` unused.
    pub(super) fn control(id: u64, control: Control<'_>) -> Self {
        let meta = format!("{{{}}}", meta::modern_members(MODERN, "{}"));
        match control {
            Control::Discover => request(id, "server/discover", &format!("{{\"_meta\":{meta}}}")),
            Control::Initialize { declared } => {
                let can = declared.json();
                request(
                    id,
                    "initialize",
                    &format!(
                        r#"{{"protocolVersion":"{LEGACY}","capabilities":{can},"clientInfo":{CLIENT_INFO}}}"#
                    ),
                )
            }
            Control::Initialized => Self::of(
                "notifications/initialized",
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned(),
            ),
            Control::List {
                of,
                cursor,
                era,
                declared,
            } => {
                let cursor = cursor.map(|cursor| format!("\"cursor\":{}", Value::from(cursor)));
                let meta = meta::modern_members(MODERN, &declared.json());
                let meta = matches!(era, Era::Modern(_)).then(|| format!("\"_meta\":{{{meta}}}"));
                let members: Vec<String> = cursor.into_iter().chain(meta).collect();
                request(id, of.method(), &format!("{{{}}}", members.join(",")))
            }
            Control::Listen { offers } => {
                let wanted = [
                    (offers.tools, "toolsListChanged"),
                    (offers.prompts, "promptsListChanged"),
                    (offers.resources, "resourcesListChanged"),
                ];
                let wanted = wanted.iter().filter(|(offered, _)| *offered);
                let wanted: Vec<String> =
                    wanted.map(|(_, name)| format!("\"{name}\":true")).collect();
                let wanted = wanted.join(",");
                request(
                    id,
                    "subscriptions/listen",
                    &format!(r#"{{"notifications":{{{wanted}}},"_meta":{meta}}}"#),
                )
            }
            Control::Unsubscribe { uri } => {
                let uri = Value::from(uri);
                request(id, "resources/unsubscribe", &format!(r#"{{"uri":{uri}}}"#))
            }
            Control::SetLevel { level } => request(
                id,
                "logging/setLevel",
                &format!("{{\"level\":\"{}\"}}", level.as_str()),
            ),
            Control::Cancelled { request, reason } => Self::of(
                "notifications/cancelled",
                format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{request},"reason":{}}}}}"#,
                    Value::from(reason)
                ),
            ),
            Control::Pong { id } => {
                Self::line(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#))
            }
            Control::Replied { id, reply } => match reply {
                Reply::Result(result) => Self::line(format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
                )),
                Reply::Error(error) => {
                    Self::line(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
                }
            },
            Control::Refused { id } => Self::line(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"method not found: the client did not declare this capability"}}}}"#
            )),
        }
    }

    /// The call that the permit is for.
    ///
    /// # Errors
    ///
    /// Where arguments or `_meta` are no JSON object; in words.
    pub(super) fn permitted(
        permit: Permit,
        id: u64,
        call: &OutgoingCall,
        awaits: Awaits,
        era: &Era,
    ) -> Result<Self, String> {
        tracing::debug!(call.id = %permit.call(), request = id, "sending the call");
        let modern = matches!(era, Era::Modern(_));
        let (listens, progress_token) = match awaits {
            Awaits::Answer(progress) => (false, progress),
            Awaits::Word => (true, None),
        };
        let mut params = Params::default();
        // Each text stands inside ours: one that is no object of its own could
        // close ours and go on with anything.
        let arguments = match &call.arguments {
            Some(text) => Some(Object::parse(text).map_err(|error| format!("arguments: {error}"))?),
            None => None,
        };
        match call.asking {
            Asking::Tool | Asking::Prompt => {
                params.string("name", &call.name);
                if let Some(arguments) = &call.arguments {
                    params.member("arguments", arguments);
                }
            }
            // One resource or task for each request, so that each is under a permit of its
            // own (2026-07-28, patterns/subscriptions).
            Asking::Subscribe | Asking::Task(_) if listens => {
                let name = Value::from(&*call.name);
                let of = match call.asking {
                    Asking::Task(_) => "taskIds",
                    _ => "resourceSubscriptions",
                };
                params.member("notifications", &format!("{{\"{of}\":[{name}]}}"));
            }
            // The client knows the task by an id of ours.
            Asking::Task(_) => params.string("taskId", &call.name),
            // What policy read as the arguments are the parameters themselves.
            Asking::Read | Asking::Subscribe | Asking::Complete => {
                for (key, value) in arguments.iter().flat_map(Object::iter) {
                    params.member(key, value);
                }
            }
        }
        if let (true, Some(answers)) = (modern, &call.answers) {
            if let Some(responses) = &answers.responses {
                Object::parse(responses).map_err(|error| format!("answers: {error}"))?;
                params.member("inputResponses", responses);
            }
            if let Some(state) = &answers.state {
                params.string("requestState", state);
            }
        }
        if let (false, Some(task)) = (modern, &call.task) {
            Object::parse(task).map_err(|error| format!("task: {error}"))?;
            params.member("task", task);
        }
        // What else was said to one method means something else to another.
        for (key, value) in call.rest.iter().filter(|_| !listens) {
            params.member(key, value);
        }
        let meta = meta::outgoing(
            call.meta.as_deref(),
            progress_token,
            (era, &call.declared, call.log),
        )
        .map_err(|error| format!("`_meta`: {error}"))?;
        if let Some(meta) = meta {
            params.member("_meta", &meta);
        }
        let params = params.finish();
        if listens {
            return Ok(request(id, "subscriptions/listen", &params));
        }
        let mut frame = request(id, call.asking.method(), &params);
        frame.name = Some(Arc::clone(&call.name));
        frame.mirrored = mirrored(call);
        Ok(frame)
    }

    /// The method, where it is no answer.
    pub(super) fn method(&self) -> Option<&'static str> {
        self.method
    }

    /// What is called by the method, where that has a name.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The headers that repeat an argument, and what they say.
    pub(super) fn mirrored(&self) -> &[(String, String)] {
        &self.mirrored
    }

    /// The message as it is sent, with a line break at its end.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// INVARIANT: a frame has exactly one line break, its last byte. In JSON
    /// one can only stand between tokens, where a space means the same; left
    /// as it was it would end the message, and what follows would be another.
    fn line(text: String) -> Self {
        let mut bytes = text.into_bytes();
        if memchr::memchr2(b'\n', b'\r', &bytes).is_some() {
            for byte in &mut bytes {
                if matches!(byte, b'\n' | b'\r') {
                    *byte = b' ';
                }
            }
        }
        bytes.push(b'\n');
        Self {
            bytes: bytes.into(),
            method: None,
            name: None,
            mirrored: Vec::new(),
        }
    }

    fn of(method: &'static str, text: String) -> Self {
        Self {
            method: Some(method),
            ..Self::line(text)
        }
    }
}

fn mirrored(call: &OutgoingCall) -> Vec<(String, String)> {
    if call.mirrored.is_empty() {
        return Vec::new();
    }
    let arguments = call.arguments.as_deref().unwrap_or("{}");
    let arguments = serde_json::from_str(arguments).unwrap_or(Value::Null);
    let said = |mirrored: &Mirrored| Some((mirrored.header.clone(), mirrored.value(&arguments)?));
    call.mirrored.iter().filter_map(said).collect()
}

fn request(id: u64, method: &'static str, params: &str) -> Frame {
    Frame::of(method, params::request(id, method, params))
}

/// A frame on its way. It knows whether a byte of it was written, which is what
/// decides whether a call may be said not to have been sent.
pub(super) struct Slot {
    stage: Mutex<Stage>,
    _room: Option<OwnedSemaphorePermit>,
}

enum Stage {
    Waiting(Frame),
    Started,
    Withdrawn,
}

/// The bytes of a frame, and how many of them were written.
type Begun = (Bytes, usize);

impl Slot {
    /// A frame that waits. `room` is given back when it was written.
    pub(super) fn new(frame: Frame, room: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            stage: Mutex::new(Stage::Waiting(frame)),
            _room: room,
        }
    }

    /// Takes the frame back. True if not one byte of it was or will be written.
    pub(super) fn withdraw(&self) -> bool {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*stage, Stage::Started) {
            return false;
        }
        *stage = Stage::Withdrawn;
        true
    }

    /// True once a byte was written.
    pub(super) fn has_started(&self) -> bool {
        let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*stage, Stage::Started)
    }

    /// Writes the first bytes, if the frame still waits. The lock is held over
    /// the write itself, so that it cannot be withdrawn between the write and
    /// the note of it.
    fn poll_start<W: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        out: &mut W,
    ) -> Poll<io::Result<Option<Begun>>> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let Stage::Waiting(Frame { bytes, .. }) = &mut *stage else {
            return Poll::Ready(Ok(None));
        };
        let written = ready!(Pin::new(out).poll_write(cx, bytes))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let bytes = std::mem::take(bytes);
        *stage = Stage::Started;
        Poll::Ready(Ok(Some((bytes, written))))
    }
}

/// Writes frames in their order until no more can come, then closes the output.
///
/// # Errors
///
/// Where the output takes no more. The frame it happened to knows whether it
/// was started.
pub(super) async fn write_frames<W: AsyncWrite + Unpin>(
    mut out: W,
    mut queue: mpsc::UnboundedReceiver<Arc<Slot>>,
) -> io::Result<()> {
    while let Some(slot) = queue.recv().await {
        crash::point("send.before-write");
        let started = poll_fn(|cx| slot.poll_start(cx, &mut out)).await?;
        if let Some((bytes, written)) = started {
            out.write_all(bytes.get(written..).unwrap_or_default())
                .await?;
            out.flush().await?;
            crash::point("send.after-write");
        }
    }
    out.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::permit::testing::countersigned;
    use crate::session::SessionId;
    use crate::tool::CallId;
    use crate::tool::Digest;

    fn call_line(arguments: &str, meta: Option<&str>) -> Result<String, String> {
        let permit = countersigned(CallId::from_bytes([1; 16]));
        let call = OutgoingCall {
            asking: Asking::Tool,
            pinned: "pay \"x\"".into(),
            name: "pay \"x\"".into(),
            definition: Digest::of(b""),
            mirrored: Arc::default(),
            arguments: Some(arguments.into()),
            rest: Vec::new(),
            answers: None,
            task: None,
            caller: crate::principal::PrincipalId::parse("alice").unwrap(),
            session: SessionId::from_bytes([0; 16]),
            task_of: None,
            declared: Arc::default(),
            log: None,
            meta: meta.map(Into::into),
            deadline: None,
        };
        let era = Era::Legacy(LEGACY.to_owned());
        Frame::permitted(permit, 7, &call, Awaits::Answer(None), &era)
            .map(|f| String::from_utf8(f.bytes.to_vec()).unwrap())
    }

    #[test]
    fn the_arguments_are_in_the_line_as_they_were() {
        assert_eq!(
            call_line(r#"{ "a" : 1e3,"b":"é\u0041" }"#, Some(r#"{"t":1}"#)).unwrap(),
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"pay \\\"x\\\"\",\"arguments\":{ \"a\" : 1e3,\"b\":\"é\\u0041\" },\"_meta\":{\"t\":1}}}\n"
        );
    }

    #[test]
    fn a_line_break_in_arguments_or_meta_cannot_begin_another_message() {
        let injected = "{\"x\":\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}\r\n}";
        let line = call_line(injected, Some(injected)).unwrap();
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        assert!(!line.contains('\r'));
        json::check(line.as_bytes()).unwrap();
    }

    #[test]
    fn arguments_that_would_close_the_params_are_refused() {
        for bad in [r#"{},"name":"other""#, "{}}", "", "[]", "{", "null"] {
            assert!(call_line(bad, None).is_err(), "{bad}");
            assert!(call_line("{}", Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_frame_is_withdrawn_only_while_no_byte_of_it_was_written() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let slot = Slot::new(Frame::line("{}".to_owned()), None);
        let mut out = Vec::new();
        assert!(slot.poll_start(&mut cx, &mut out).is_ready());
        assert!(slot.has_started() && !slot.withdraw());
        assert_eq!(out, b"{}\n");

        let slot = Slot::new(Frame::line("{}".to_owned()), None);
        assert!(slot.withdraw() && !slot.has_started());
        let written = slot.poll_start(&mut cx, &mut out);
        assert!(matches!(written, Poll::Ready(Ok(None))));
        assert_eq!(out.len(), 3);
    }
}
