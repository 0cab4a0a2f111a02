use super::*;
use crate::escalations::Decision;
use crate::escalations::Stop;
use crate::principal::PrincipalId;
use crate::session::SessionId;
use crate::tool::CallId;
use crate::tool::Digest;
use serde_json::Value;

/// What somebody writes who wants to be more than text.
const HOSTILE: &str = "<!channel> *b* `x` [a](http://evil.example) <at>all</at> \u{1b}[2J\u{202e}\r\nBcc: x@evil.example";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn escalation(body: &str, tool: &str) -> Escalation {
    Escalation {
        id: "esc-4k7m-2qpx-9d3h".parse().unwrap(),
        state: State::Pending,
        call: CallId::from_bytes([1; 16]),
        session: SessionId::from_bytes([2; 16]),
        principal: PrincipalId::parse("alice").unwrap(),
        tool: tool.to_owned(),
        arguments: Digest::of(body.as_bytes()),
        definition: Digest::of(b""),
        body: Some(body.into()),
        roles: vec!["Manager".to_owned()],
        stops: vec![Stop {
            policy: "claims.approve.limit".to_owned(),
            code: "limit".to_owned(),
            message: Some("Limit Exceeded. Escalate to Manager.".to_owned()),
        }],
        asked: at("2026-11-29T12:00:00Z"),
        expires: at("2026-12-02T12:00:00Z"),
        tries: 1,
        decision: None,
        used_by: None,
        ended: None,
    }
}

fn notice<'a>(escalation: &'a Escalation, link: Option<&'a str>) -> Notice<'a> {
    Notice {
        escalation,
        handles: &[],
        state: State::Pending,
        link,
    }
}

/// Every text under a key, wherever it stands.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

#[test]
fn a_notice_says_who_what_why_how_long_and_where() {
    let handles = ["claim-99".to_owned()];
    let one = escalation(
        r#"{"claim_id":"99","amount":50000}"#,
        "claims/approve_payment",
    );
    let notice = Notice {
        handles: &handles,
        ..notice(&one, None)
    };
    let now = at("2026-11-29T12:00:00Z");
    insta::assert_snapshot!(notice.text(now), @r#"
    A call waits for a decision.

    Escalation: esc-4k7m-2qpx-9d3h
    By: alice in session claim-99
    Tool: claims/approve_payment
    Arguments: {"amount":50000,"claim_id":"99"}
    Stopped by: claims.approve.limit (Limit Exceeded. Escalate to Manager.)
    May decide: Manager
    Open until: 2026-12-02 12:00 UTC (3 days)

    countersign escalation approve esc-4k7m-2qpx-9d3h
    "#);
    let linked = Notice {
        link: Some("https://broker.example/console/"),
        ..notice
    };
    let url = "https://broker.example/console/esc-4k7m-2qpx-9d3h";
    assert_eq!(linked.url().as_deref(), Some(url));
    for told in [linked.for_slack(now), linked.for_teams(now)] {
        for part in [
            "alice in session claim-99",
            "claims/approve_payment",
            "claims.approve.limit",
            "Manager",
            "2026-12-02 12:00 UTC (3 days)",
            url,
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}

#[test]
fn what_was_decided_meanwhile_is_said() {
    let mut one = escalation("{}", "a/b");
    one.state = State::Approved;
    one.decision = Some(Decision {
        by: PrincipalId::parse("mia").unwrap(),
        at: at("2026-11-29T13:00:00Z"),
        reason: Some("seen the invoice".to_owned()),
    });
    let text = notice(&one, None).text(at("2026-11-29T14:00:00Z"));
    assert!(text.contains("Decided by: mia: seen the invoice"), "{text}");
    assert!(text.contains("Meanwhile: approved"), "{text}");
    assert!(text.contains("countersign escalation show esc-"), "{text}");
}

#[test]
fn texts_of_others_stay_texts_in_every_form() {
    let one = escalation(HOSTILE, &format!("s/{HOSTILE}"));
    let now = at("2026-11-29T12:00:00Z");
    let notice = notice(&one, None);
    let hidden = |text: &str| text.contains(visible::hidden);
    assert!(!hidden(&notice.line()), "{}", notice.line());
    assert!(
        notice.text(now).lines().all(|line| !hidden(line)),
        "{}",
        notice.text(now)
    );
    let lines = notice.text(now);
    assert!(!lines.lines().any(|line| line.starts_with("Bcc")));

    let slack: Value = serde_json::from_str(&notice.for_slack(now)).unwrap();
    let mut said = Vec::new();
    texts(&slack, &mut said);
    for text in said {
        // No way out of a text, and none out of the code that it stands in.
        assert!(!text.contains("<!") && !text.contains("<at>"), "{text}");
        assert!(!hidden(&text), "{text}");
        if text.contains("evil") && text.starts_with('*') {
            assert_eq!(text.matches('`').count(), 2, "{text}");
            assert!(text.ends_with('`'), "{text}");
        }
    }

    let teams: Value = serde_json::from_str(&notice.for_teams(now)).unwrap();
    let card = &teams["attachments"][0]["content"];
    for block in card["body"].as_array().unwrap() {
        let mut said = Vec::new();
        texts(block, &mut said);
        let theirs = said.iter().any(|text| text.contains("evil"));
        assert!(!theirs || block["type"] == "RichTextBlock", "{block}");
        assert!(!said.iter().any(|text| hidden(text)), "{block}");
    }
}

#[test]
fn a_long_argument_hides_no_other_and_what_is_missing_is_said() {
    let long = "m".repeat(5_000);
    let body = format!(
        r#"{{"a":"{long}","payee":"\u0041CME","n: 5":1,"big":12345678901234567890123,"amount":5e4}}"#
    );
    let now = at("2026-11-29T12:00:00Z");
    let text = notice(&escalation(&body, "a/b"), None).text(now);
    let shown = "m".repeat(119);
    for line in [
        "Arguments: 5, too long to be shown whole",
        &format!("Argument: a: \"{shown}… (4882 more characters)"),
        "Argument: amount: 5e4",
        "Argument: big: 12345678901234567890123",
        "Argument: \"n: 5\": 1",
        "Argument: payee: \"ACME\"",
    ] {
        assert!(text.lines().any(|said| said == line), "{line}: {text}");
    }
    let many: Vec<String> = (10..40)
        .map(|n| format!(r#""k{n}":"{}""#, "v".repeat(50)))
        .collect();
    let body = format!("{{{}}}", many.join(","));
    let text = notice(&escalation(&body, "a/b"), None).text(now);
    assert!(text.contains("Argument: k25: "), "{text}");
    assert!(text.contains("Arguments: 14 more: k26, k27, "), "{text}");
    assert!(text.contains(", k39\n"), "{text}");
}

#[test]
fn what_is_told_is_bounded() {
    let mut one = escalation(&"<&".repeat(1 << 20), &"t".repeat(10_000));
    let many: Vec<String> = (0..5_000)
        .map(|n| format!(r#""{n}{}":"{}""#, "<".repeat(200), "<&".repeat(200)))
        .collect();
    let stop = Stop {
        policy: "p".repeat(5_000),
        code: "c".to_owned(),
        message: Some("<".repeat(5_000)),
    };
    one.stops = vec![stop; 50];
    one.roles = vec!["R".repeat(3_000)];
    let now = at("2026-11-29T12:00:00Z");
    for body in [
        one.body.clone(),
        Some(format!("{{{}}}", many.join(",")).into()),
    ] {
        one.body = body;
        let notice = notice(&one, None);
        assert!(notice.line().len() < 500);
        assert!(notice.text(now).len() < 12_000);
        // What Teams takes at most is 28 KB.
        assert!(notice.for_teams(now).len() < 24_000);
        let slack: Value = serde_json::from_str(&notice.for_slack(now)).unwrap();
        let blocks = slack["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        for block in blocks {
            assert!(block["text"]["text"].as_str().unwrap().chars().count() <= 3_000);
        }
    }
}
