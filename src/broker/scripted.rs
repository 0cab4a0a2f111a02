//! A broker that plays by the name of the tool, for tests of the edges.

use super::Answer;
use super::CallLine;
use super::Carrier;
use super::Era;
use super::Refusal;
use super::SessionRefusal;
use super::ToolCall;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;

/// Has one tool in its list. Plays: `echo` answers with its arguments, `steps` reports progress first,
/// `wait` waits until it is cancelled, `slow` takes a minute.
#[derive(Debug)]
pub struct Broker {
    /// What `tools` answers.
    pub list: Mutex<Vec<Arc<str>>>,
    /// Moves `changes`.
    pub moved: watch::Sender<u64>,
    /// Each carrier that a session was asked for with.
    pub carriers: Mutex<Vec<Carrier>>,
    /// Each call that ended, by name and how.
    pub ended: Mutex<Vec<String>>,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            list: Mutex::new(vec![
                r#"{"name":"echo","inputSchema":{"type":"object"}}"#.into(),
            ]),
            moved: watch::channel(0).0,
            carriers: Mutex::default(),
            ended: Mutex::default(),
        }
    }
}

impl Broker {
    /// Replaces the list and says so.
    pub fn set_list(&self, list: &[&str]) {
        *self.list.lock().unwrap() = list.iter().map(|&tool| tool.into()).collect();
        self.moved.send_modify(|n| *n += 1);
    }

    /// Plays a call.
    pub async fn call_tool(&self, call: ToolCall, line: CallLine) -> Answer {
        let answer = self.play(&call, line).await;
        let how = if matches!(answer, Answer::Cancelled) {
            "cancelled"
        } else {
            "answered"
        };
        self.ended
            .lock()
            .unwrap()
            .push(format!("{} {how}", call.name));
        answer
    }

    async fn play(&self, call: &ToolCall, line: CallLine) -> Answer {
        match &*call.name {
            "echo" => {}
            "steps" => {
                for step in 1..=3 {
                    if let Some(progress) = &line.progress {
                        let params = format!(r#"{{"progressToken":77,"progress":{step}}}"#);
                        progress.send(params.into()).unwrap();
                    }
                    if step == 1 {
                        tokio::task::yield_now().await;
                    }
                }
            }
            "wait" => {
                line.cancelled.cancelled().await;
                return Answer::Cancelled;
            }
            "slow" => tokio::select! {
                () = line.cancelled.cancelled() => return Answer::Cancelled,
                () = tokio::time::sleep(Duration::from_secs(60)) => {}
            },
            name => return Answer::Refused(Refusal::UnknownTool { name: name.into() }),
        }
        let text = serde_json::Value::from(call.arguments.as_deref().unwrap_or("none"));
        Answer::Result {
            json: format!(r#"{{"content":[{{"type":"text","text":{text}}}]}}"#).into(),
            era: Era::Legacy("2025-06-18".to_owned()),
        }
    }

    /// The list.
    pub async fn tools(&self, _principal: &PrincipalId) -> Vec<Arc<str>> {
        self.list.lock().unwrap().clone()
    }

    /// Moves with [`Broker::set_list`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Any session but `nobodys`.
    pub async fn session(
        &self,
        _principal: &PrincipalId,
        carrier: &Carrier,
    ) -> Result<SessionId, SessionRefusal> {
        self.carriers.lock().unwrap().push(carrier.clone());
        match carrier {
            Carrier::Named(text) if text == "nobodys" => {
                Err(SessionRefusal::Unknown { text: text.clone() })
            }
            Carrier::Named(_) | Carrier::New | Carrier::Default => {
                Ok(SessionId::from_bytes([7; 16]))
            }
        }
    }
}
