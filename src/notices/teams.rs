//! Teams: an Adaptive Card, as the webhook of a workflow takes it.
//!
//! A `TextBlock` reads Markdown, and a `TextRun` does not (Adaptive Cards,
//! `RichTextBlock`): so whatever is not ours stands in runs.

use super::Fact;
use super::Notice;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

pub(super) fn message(notice: &Notice<'_>, now: Timestamp) -> Value {
    let title = json!({
        "type": "TextBlock",
        "text": notice.title(),
        "size": "Large",
        "weight": "Bolder",
        "wrap": true,
    });
    let mut body = vec![title];
    body.extend(notice.facts(now).iter().map(said));
    let actions: Vec<Value> = notice
        .url()
        .map(|url| {
            json!({
                "type": "Action.OpenUrl",
                "title": "Look at it and decide",
                "url": url,
            })
        })
        .into_iter()
        .collect();
    if actions.is_empty() {
        body.push(runs(&[run(&notice.command(), "Monospace")]));
    }
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": notice.title(),
        "msteams": {"width": "Full"},
        "body": body,
        "actions": actions,
    });
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    })
}

fn said(fact: &Fact) -> Value {
    let font = match fact.outside {
        true => "Monospace",
        false => "Default",
    };
    let label = json!({
        "type": "TextRun",
        "text": format!("{}  ", fact.label),
        "weight": "Bolder",
    });
    runs(&[label, run(&fact.text, font)])
}

fn runs(runs: &[Value]) -> Value {
    json!({"type": "RichTextBlock", "inlines": runs})
}

fn run(text: &str, font: &str) -> Value {
    json!({"type": "TextRun", "text": text, "fontType": font})
}
