//! Calls that take several rounds, because their server asks something first. A
//! modern client is asked by the result of its request and answers with another
//! request; a legacy client is asked while its request waits (MCP 2026-07-28,
//! basic/patterns/mrtr).

use super::Client;
use super::answer::Came;
use super::answer::Reader;
use super::answer::Reply;
use super::answer::answer;
use super::answer::failed;
use super::answer::session_refused;
use super::connection::Connection;
use super::parse::Answers;
use super::seal;
use super::work::Call;
use super::work::Outgoing;
use super::write::Fault;
use super::write::INVALID_PARAMS;
use super::write::server_info;
use crate::broker::Answer;
use crate::broker::Asked;
use crate::broker::ClientReply;
use crate::broker::Continued;
use crate::broker::Left;
use crate::broker::Question;
use crate::broker::Refusal;
use crate::broker::ServerAsk;
use crate::broker::SessionRefusal;
use crate::broker::ToolCall;
use crate::json;
use crate::json::Object;
use crate::json::Splice;
use crate::tool::CallId;
use crate::tool::Inquiry;
use serde_json::Value;
use serde_json::json as value;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How often a server may ask in one call of a legacy client.
const MOST_ROUNDS: u32 = 32;

/// How long a client, and the person before it, may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How long to wait before a server that only wants to be asked again is.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a call does not go on.
enum Stopped {
    /// The client took it back.
    Cancelled,
    /// In words for the model.
    Because(&'static str),
}

impl Connection {
    /// Has the broker make the call, in as many rounds as it takes. None where
    /// the client took it back.
    pub(super) async fn ask(
        &self,
        mut asked: ToolCall,
        (call, reader): (&Call<'_>, Reader),
        out: &Outgoing,
    ) -> Option<Reply> {
        for round in 0..MOST_ROUNDS {
            let again = asked.clone();
            let came = self.one_round(asked, (call, reader.client), out).await;
            if is_to_be_found_anew(&again, &came) {
                asked = match self.found_anew(again, call).await {
                    Ok(anew) => anew,
                    Err(refusal) => return Some(session_refused(&refusal, reader)),
                };
                continue;
            }
            let (id, what) = match answer(came, reader) {
                Came::Asks(id, what) => (id, what),
                Came::Ended(reply) => return Some(reply),
                Came::TakenBack => return None,
            };
            if reader.client == Client::Modern {
                return Some(self.asks(&again, (id, what), reader));
            }
            let responses = match &what {
                Asked::Confirmation { question, patience } => {
                    self.confirmed((question, *patience), call, out).await
                }
                Asked::Result(_) | Asked::Pages(_) | Asked::Open(_) => {
                    self.relayed(&what, call, out).await
                }
            };
            let responses = match responses {
                Ok(responses) => responses,
                Err(Stopped::Cancelled) => return None,
                Err(Stopped::Because(why)) => return Some(unanswered(why, reader)),
            };
            if responses.is_none() {
                tokio::time::sleep(PAUSE * round).await;
            }
            asked = ToolCall {
                continued: Some(Continued {
                    call: Some(id),
                    left: left_by(&what),
                    responses,
                }),
                ..again
            };
        }
        Some(unanswered("it asked again and again", reader))
    }

    /// The same call in the session that is found now.
    async fn found_anew(
        &self,
        mut asked: ToolCall,
        call: &Call<'_>,
    ) -> Result<ToolCall, SessionRefusal> {
        (asked.session, asked.found) = self.session(&call.meta).await?;
        // Once: where that is over too, its client is told.
        asked.origin.finds_anew = false;
        Ok(asked)
    }

    /// What a request goes on from.
    ///
    /// # Errors
    ///
    /// Where it brings a state that was not given for it.
    pub(super) fn continued(
        &self,
        request: &ToolCall,
        answers: Answers,
    ) -> Result<Continued, Fault> {
        let Answers { responses, state } = answers;
        let Some(state) = state else {
            return Ok(Continued {
                call: None,
                left: Left::State(None),
                responses,
            });
        };
        match seal::open(self.broker.sealing(), request, &state) {
            Some((call, left)) => Ok(Continued {
                call: Some(call),
                left,
                responses,
            }),
            None => Err(Fault::new(
                INVALID_PARAMS,
                "`requestState` was not given for this request, or is too old; nothing was sent: make the call anew, without `requestState` and `inputResponses`",
            )),
        }
    }

    /// The result that asks a modern client.
    fn asks(&self, request: &ToolCall, (call, asked): (CallId, Asked), reader: Reader) -> Reply {
        let left = left_by(&asked);
        let Some(sealed) = seal::seal(self.broker.sealing(), request, (call, &left)) else {
            return unanswered("the question could not be sealed", reader);
        };
        let sealed = Value::from(sealed).to_string();
        let requests = match &asked {
            Asked::Result(result) => {
                let splice = Splice::new(result);
                let members = Object::parse(result).ok();
                let own = members.and_then(|members| members.get("requestState"));
                let splice = match own {
                    Some(own) => splice.replace(own, sealed),
                    None => splice.add_member(result, "requestState", &sealed),
                };
                return Reply::Result(splice.finish());
            }
            Asked::Open(questions) => questions.iter().map(written).collect(),
            Asked::Pages(error) => pages(error),
            Asked::Confirmation { question, .. } => vec![written(question)],
        };
        let requests: Vec<String> = requests;
        let meta = value!({"io.modelcontextprotocol/serverInfo": server_info()});
        Reply::Result(format!(
            r#"{{"resultType":"input_required","inputRequests":{{{}}},"requestState":{sealed},"_meta":{meta}}}"#,
            requests.join(",")
        ))
    }

    /// Asks a legacy client what a modern server wants to know: the text of its
    /// `inputResponses`, none where nothing is asked.
    async fn relayed(
        &self,
        asked: &Asked,
        call: &Call<'_>,
        out: &Outgoing,
    ) -> Result<Option<Box<str>>, Stopped> {
        // In the other ways nobody asks a legacy client.
        let Asked::Result(result) = asked else {
            return Err(Stopped::Because("the client cannot be asked that way"));
        };
        let result = Object::parse(result).ok();
        let requests = result
            .as_ref()
            .and_then(|result| result.get("inputRequests"));
        let Some(Ok(requests)) = requests.map(Object::parse) else {
            return Ok(None);
        };
        let mut open = Vec::new();
        for (key, request) in requests.iter() {
            let request = Object::parse(request).ok();
            let member = |name| request.as_ref().and_then(|request| request.get(name));
            let method = member("method").and_then(json::text);
            let Some(inquiry) = method.as_deref().and_then(Inquiry::of) else {
                return Err(Stopped::Because("it asked what no client can be asked"));
            };
            let (reply, said) = oneshot::channel();
            let params = member("params").map(Into::into);
            let ask = ServerAsk {
                inquiry,
                params,
                reply,
            };
            let id = self.inquire_within(ask, (out, PATIENCE)).await;
            let id = id.ok_or(Stopped::Because("the client takes no question now"))?;
            open.push((key, inquiry, id, said));
        }
        let mut said = Vec::new();
        let mut stopped = None;
        for (key, inquiry, id, reply) in open {
            if stopped.is_none() {
                match self.said(inquiry, reply, (call, PATIENCE)).await {
                    Ok(text) => said.push(format!("{}:{text}", Value::from(key))),
                    Err(why) => stopped = Some(why),
                }
            }
            self.forget(&id, out);
        }
        match stopped {
            Some(why) => Err(why),
            None => Ok(Some(format!("{{{}}}", said.join(",")).into())),
        }
    }

    /// Asks a legacy client whether its call shall be made, for as long as the call may
    /// take: the text of an object with its answer, none where there is none in time.
    async fn confirmed(
        &self,
        (question, patience): (&Question, Duration),
        call: &Call<'_>,
        out: &Outgoing,
    ) -> Result<Option<Box<str>>, Stopped> {
        let (reply, said) = oneshot::channel();
        let ask = ServerAsk {
            inquiry: question.inquiry,
            params: question.params.clone(),
            reply,
        };
        let patience = patience.min(PATIENCE);
        let Some(id) = self.inquire_within(ask, (out, patience)).await else {
            return Ok(None);
        };
        let said = self.said(question.inquiry, said, (call, patience)).await;
        self.forget(&id, out);
        match said {
            Ok(text) => Ok(Some(
                format!("{{{}:{text}}}", Value::from(&*question.key)).into(),
            )),
            Err(Stopped::Because(_)) => Ok(None),
            Err(Stopped::Cancelled) => Err(Stopped::Cancelled),
        }
    }

    /// What the client says to one question, as the result that goes on.
    async fn said(
        &self,
        inquiry: Inquiry,
        reply: oneshot::Receiver<ClientReply>,
        (call, patience): (&Call<'_>, Duration),
    ) -> Result<Box<str>, Stopped> {
        let reply = tokio::select! {
            biased;
            () = call.cancelled.cancelled() => return Err(Stopped::Cancelled),
            () = self.closing.cancelled() => return Err(Stopped::Because("the client went away")),
            reply = timeout(patience, reply) => reply,
        };
        match (reply, inquiry) {
            (Ok(Ok(ClientReply::Result(result))), _) => Ok(result),
            // There is no place for an error; to go no further is what it means.
            (Ok(Ok(ClientReply::Error(_))), Inquiry::Elicit) => Ok(r#"{"action":"cancel"}"#.into()),
            (Ok(Ok(ClientReply::Error(_))), Inquiry::Sample | Inquiry::Roots) => {
                Err(Stopped::Because("the client answered with an error"))
            }
            (Ok(Err(_)) | Err(_), _) => Err(Stopped::Because("the client did not answer")),
        }
    }
}

/// Whether the session was over that a call without a name for one was to go to, and
/// nothing is recorded of that.
fn is_to_be_found_anew(asked: &ToolCall, came: &Answer) -> bool {
    let is_over = matches!(came, Answer::Refused(Refusal::SessionEnded { .. }));
    is_over && asked.origin.finds_anew
}

fn left_by(asked: &Asked) -> Left {
    match asked {
        Asked::Result(result) => {
            let members = Object::parse(result).ok();
            let state = members.and_then(|members| members.get("requestState"));
            Left::State(state.and_then(json::text).map(Into::into))
        }
        Asked::Pages(_) => Left::Nothing,
        Asked::Confirmation { .. } => Left::Confirmation,
        Asked::Open(_) => Left::Open,
    }
}

/// One member of `inputRequests`.
fn written(question: &Question) -> String {
    let (key, method) = (
        Value::from(&*question.key),
        Value::from(question.inquiry.method()),
    );
    match &question.params {
        Some(params) => format!(r#"{key}:{{"method":{method},"params":{params}}}"#),
        None => format!(r#"{key}:{{"method":{method}}}"#),
    }
}

/// The pages that a server of 2025-11-25 wants to be opened, as members of
/// `inputRequests`.
fn pages(error: &str) -> Vec<String> {
    let data = Object::parse(error)
        .ok()
        .and_then(|error| error.get("data"));
    let pages = data
        .and_then(|data| Object::parse(data).ok())
        .and_then(|data| data.get("elicitations"))
        .and_then(|pages| serde_json::from_str::<Vec<&RawValue>>(pages).ok());
    let page = |(place, page): (usize, &RawValue)| {
        let members = Object::parse(page.get()).ok()?;
        let splice = Splice::new(page.get());
        let params = match members.get("mode") {
            Some(_) => splice,
            None => splice.add_member(page.get(), "mode", "\"url\""),
        };
        Some(written(&Question {
            key: format!("q{}", place + 1),
            inquiry: Inquiry::Elicit,
            params: Some(params.finish().into()),
        }))
    };
    let pages = pages.unwrap_or_default();
    pages.into_iter().enumerate().filter_map(page).collect()
}

/// What the model reads of a call whose server asked something in vain.
fn unanswered(why: &str, reader: Reader) -> Reply {
    let lines = [
        format!(
            "The server asked for something before it does this, and {why}. It has not finished the call."
        ),
        "Ask the person whether to try again.".to_owned(),
    ];
    failed(&lines, None, reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_to_open_become_questions_as_they_were_written() {
        let error = r#"{"code":-32042,"message":"m","data":{"elicitations":[
            {"mode":"url","elicitationId":"e1","url":"https://a.example","message":"A","x":1e2},
            {"url":"https://b.example","message":"B"}, 5]}}"#;
        assert_eq!(
            pages(error),
            [
                r#""q1":{"method":"elicitation/create","params":{"mode":"url","elicitationId":"e1","url":"https://a.example","message":"A","x":1e2}}"#,
                r#""q2":{"method":"elicitation/create","params":{"mode":"url","url":"https://b.example","message":"B"}}"#,
            ]
        );
        assert!(pages("{}").is_empty());
    }
}
