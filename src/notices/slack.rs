//! Slack: blocks for an incoming webhook.
//!
//! Only `&`, `<` and `>` lead out of a text there (mentions and links stand between the
//! latter), and nothing is marked up between backticks.

use super::Fact;
use super::Notice;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

pub(super) fn message(notice: &Notice<'_>, now: Timestamp) -> Value {
    let header = json!({
        "type": "header",
        "text": {"type": "plain_text", "text": notice.title(), "emoji": false},
    });
    let mut blocks = vec![header];
    blocks.extend(notice.facts(now).iter().map(|fact| section(&said(fact))));
    blocks.push(match notice.url() {
        // The base is the operator's, and what follows it an id.
        Some(url) => section(&format!("<{}|Look at it and decide>", escaped(&url))),
        None => section(&code(&notice.command())),
    });
    json!({"text": escaped(&notice.line()), "blocks": blocks})
}

fn section(text: &str) -> Value {
    json!({
        "type": "section",
        "text": {"type": "mrkdwn", "text": text, "verbatim": true},
    })
}

fn said(fact: &Fact) -> String {
    let text = match fact.outside {
        true => code(&fact.text),
        false => escaped(&fact.text),
    };
    format!("*{}*  {text}", fact.label)
}

/// A text on which nothing is marked up.
fn code(text: &str) -> String {
    // There is no way to write a backtick between backticks.
    format!("`{}`", escaped(text).replace('`', "\u{2cb}"))
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}
