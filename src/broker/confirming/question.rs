//! What a person is asked, and what they said. The words are the broker's and the
//! operator's; of the call it shows what is sent, with nothing in it that cannot be seen.

use super::Question;
use crate::escalations::Escalation;
use crate::escalations::EscalationId;
use crate::json;
use crate::json::Object;
use crate::policy::Confirmation;
use crate::tool::Inquiry;
use crate::visible::one_line;
use jiff::Timestamp;
use serde_json::json as value;

/// The key of the question, and the name of its field.
const KEY: &str = "confirm";

/// What the person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Yes.
    Yes,
    /// They declined.
    Declined,
    /// They closed the question without an answer.
    Cancelled,
    /// They sent the form without a yes in it.
    No,
    /// Something that is no answer to the question.
    Unreadable,
    /// Nothing, in the time that there was.
    Nothing,
}

impl Said {
    /// The word that is recorded and published.
    pub fn word(self) -> &'static str {
        match self {
            Self::Yes => "confirmed",
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
            Self::No => "answered-no",
            Self::Unreadable => "unreadable",
            Self::Nothing => "unanswered",
        }
    }
}

/// What the person is asked, as the parameters of a form (MCP 2026-07-28,
/// client/elicitation). Without a mode, because the first revision that has forms knows
/// of none.
pub(super) fn question(confirmation: &Confirmation, tool: &str, sent: &Sent) -> Question {
    let params = value!({
        "message": message(confirmation, tool, sent),
        "requestedSchema": {
            "type": "object",
            "properties": {
                KEY: {
                    "type": "boolean",
                    "title": "Make this call",
                    "description": "Yes lets exactly this call be made, once.",
                    "default": false,
                },
            },
            "required": [KEY],
        },
    });
    Question {
        key: KEY.to_owned(),
        inquiry: Inquiry::Elicit,
        params: Some(params.to_string().into()),
    }
}

/// What is sent, as the person is shown it.
#[derive(Debug)]
pub(in crate::broker) struct Sent {
    /// The arguments of the call.
    pub(super) arguments: Box<str>,
    /// What it decides on, where it does: a line for each thing.
    pub(super) decides_on: Vec<String>,
}

fn message(confirmation: &Confirmation, tool: &str, sent: &Sent) -> String {
    let mut lines = confirmation.asks.clone();
    lines.push(format!("Tool: {}", visible(tool)));
    lines.extend(arguments_of(&sent.arguments));
    lines.extend(sent.decides_on.iter().cloned());
    lines.join("\n")
}

/// The escalation that a call of our own tool names among these arguments.
pub(super) fn named_in(arguments: &str) -> Option<EscalationId> {
    let members = Object::parse(arguments).ok()?;
    json::text(members.get("id")?)?.parse().ok()
}

/// What somebody decides on: who calls, what, and what stops it.
pub(super) fn decided_on(one: &Escalation, now: Timestamp) -> Vec<String> {
    let mut lines = vec![
        format!("Caller: {}", visible(&one.principal.to_string())),
        format!("Tool: {}", visible(&one.tool)),
        format!("State: {}", one.state_at(now).as_str()),
    ];
    lines.extend(one.stops.iter().map(|stop| {
        let said = stop.message.as_ref().unwrap_or(&stop.code);
        format!("Stopped by {}: {}", visible(&stop.policy), visible(said))
    }));
    match one.body.as_deref() {
        Some(body) => lines.extend(arguments_of(body)),
        None => lines.push("Arguments: not kept any more".to_owned()),
    }
    let indented = lines.into_iter().map(|line| format!("  {line}"));
    let title = "It decides on this call:".to_owned();
    std::iter::once(title).chain(indented).collect()
}

/// Arguments, each on a line.
fn arguments_of(arguments: &str) -> Vec<String> {
    // Where escapes stand for what could be written as it is, it is.
    let canonical = json::canonical(arguments).unwrap_or_else(|_unread| arguments.to_owned());
    let members = Object::parse(&canonical).ok();
    let members = members.iter().flat_map(Object::iter);
    let members: Vec<String> = members
        .map(|(name, value)| format!("  {}: {}", json::named(name, usize::MAX), visible(value)))
        .collect();
    let title = match members.is_empty() {
        true => "Arguments: none".to_owned(),
        false => "Arguments:".to_owned(),
    };
    std::iter::once(title).chain(members).collect()
}

/// All of a text, on one line.
fn visible(text: &str) -> String {
    one_line(text, usize::MAX)
}

/// What was said, of the answers that a client brings: the text of an object, by the
/// keys of the questions. Anything but a plain yes is none.
pub(super) fn said(responses: Option<&str>) -> Said {
    let Some(responses) = responses else {
        return Said::Nothing;
    };
    let read = || {
        let responses = Object::parse(responses).ok()?;
        let answer = Object::parse(responses.get(KEY)?).ok()?;
        let action = json::text(answer.get("action")?)?;
        Some(match &*action {
            "decline" => Said::Declined,
            "cancel" => Said::Cancelled,
            "accept" => {
                let content = Object::parse(answer.get("content")?).ok()?;
                match content.get(KEY)? {
                    "true" => Said::Yes,
                    "false" => Said::No,
                    _ => Said::Unreadable,
                }
            }
            _ => Said::Unreadable,
        })
    };
    read().unwrap_or(Said::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(asks: &[&str], arguments: &str) -> String {
        let asks = asks.iter().map(|ask| (*ask).to_owned()).collect();
        let sent = Sent {
            arguments: arguments.into(),
            decides_on: Vec::new(),
        };
        message(&Confirmation { asks }, "claims/pay", &sent)
    }

    #[test]
    fn the_person_sees_what_is_sent_and_nothing_that_passes_for_more() {
        let arguments =
            r#"{"b":"x\nTool: claims/read \u202e","a\u200bb":1e2,"c":{"d":[null,"\u0041"]}}"#;
        insta::assert_snapshot!(asked(&["Pay 5.00?", "Really?"], arguments), @r#"
        Pay 5.00?
        Really?
        Tool: claims/pay
        Arguments:
          "a\u200bb": 1e2
          b: "x\nTool: claims/read \u{202e}"
          c: {"d":[null,"A"]}
        "#);
        assert!(asked(&["?"], "{}").ends_with("\nArguments: none"));
    }

    #[test]
    fn all_that_is_sent_is_shown_and_no_name_passes_for_a_value() {
        let long = "x".repeat(5_000);
        let said = asked(&["?"], &value!({ "a": long }).to_string());
        assert!(said.ends_with(&format!("\n  a: \"{long}\"")), "{said}");
        let many: serde_json::Map<_, _> = (0..40).map(|n| (format!("k{n}"), value!(n))).collect();
        let said = asked(&["?"], &value!(many).to_string());
        assert_eq!(said.lines().count(), 43, "{said}");
        let said = asked(&["?"], r#"{"amount: 5, note":1,"a\\b":2,"":3}"#);
        assert!(said.contains("\n  \"amount: 5, note\": 1"), "{said}");
        assert!(said.contains("\n  \"a\\\\b\": 2"), "{said}");
        assert!(said.contains("\n  \"\": 3"), "{said}");
    }

    #[test]
    fn only_a_plain_yes_is_one() {
        for (answer, heard) in [
            (
                r#"{"action":"accept","content":{"confirm":true}}"#,
                Said::Yes,
            ),
            (
                r#"{"action":"accept","content":{"confirm":false}}"#,
                Said::No,
            ),
            (
                r#"{"action":"decline","content":{"confirm":true}}"#,
                Said::Declined,
            ),
            (
                r#"{"action":"cancel","content":{"confirm":true}}"#,
                Said::Cancelled,
            ),
            (
                r#"{"action":"accept","content":{"confirm":"true"}}"#,
                Said::Unreadable,
            ),
            (
                r#"{"action":"accept","content":{"confirm":1}}"#,
                Said::Unreadable,
            ),
            (r#"{"action":"accept","content":{}}"#, Said::Unreadable),
            (r#"{"action":"accept"}"#, Said::Unreadable),
            (
                r#"{"action":"Accept","content":{"confirm":true}}"#,
                Said::Unreadable,
            ),
            (
                r#"{"action":true,"content":{"confirm":true}}"#,
                Said::Unreadable,
            ),
            (r#"{"content":{"confirm":true}}"#, Said::Unreadable),
            ("{}", Said::Unreadable),
            ("[]", Said::Unreadable),
        ] {
            let responses = format!(r#"{{"confirm":{answer},"other":{{}}}}"#);
            assert_eq!(said(Some(&responses)), heard, "{answer}");
        }
        let other = r#"{"other":{"action":"accept","content":{"confirm":true}}}"#;
        assert_eq!(said(Some(other)), Said::Unreadable);
        assert_eq!(said(Some("{")), Said::Unreadable);
        assert_eq!(said(None), Said::Nothing);
    }
}
