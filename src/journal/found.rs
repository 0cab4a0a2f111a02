//! How the session of a call was found, as its first record says it. It stands in the
//! detail, so the chain covers it. Records from before say nothing of it.

use super::Subject;
use crate::session::Choice;
use crate::session::Found;
use crate::session::Rule;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// The member of a detail that says it.
const FOUND: &str = "found";

/// The text of a detail, with how the session of the call was found.
pub(super) fn told(subject: &Subject, detail: &Value) -> String {
    let text = serde_json::to_string(detail).unwrap_or_else(|_never| detail.to_string());
    let (Some(found), Some(rest)) = (&subject.found, text.strip_prefix('{')) else {
        return text;
    };
    let found = written(found);
    let comma = if rest == "}" { "" } else { "," };
    format!("{{\"{FOUND}\":{found}{comma}{rest}")
}

fn written(found: &Found) -> Value {
    let mut members = chosen(&found.chosen);
    if !found.agreed.is_empty() {
        let agreed = found.agreed.iter().map(|rule| rule.as_str());
        members.insert("agreed".to_owned(), agreed.collect());
    }
    if let Some(otherwise) = &found.otherwise {
        members.insert("otherwise".to_owned(), Value::Object(chosen(otherwise)));
    }
    Value::Object(members)
}

fn chosen(choice: &Choice) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("by".to_owned(), json!(choice.by.as_str()));
    if let Some(named) = &choice.named {
        members.insert("named".to_owned(), json!(&**named));
    }
    members
}

/// How the session of a call was found, from the detail of its first record. None
/// where that does not say it, or not in words that are known here.
pub fn found(detail: &Value) -> Option<Found> {
    let found = detail.get(FOUND)?;
    let agreed = match found.get("agreed") {
        Some(agreed) => agreed.as_array()?.iter().map(rule).collect::<Option<_>>()?,
        None => Vec::new(),
    };
    let otherwise = match found.get("otherwise") {
        Some(otherwise) => Some(choice(otherwise)?),
        None => None,
    };
    Some(Found {
        chosen: choice(found)?,
        agreed,
        otherwise,
    })
}

fn choice(value: &Value) -> Option<Choice> {
    let by = rule(value.get("by")?)?;
    let named = value.get("named").and_then(Value::as_str);
    let named = named.map(Into::into);
    Some(Choice { by, named })
}

fn rule(word: &Value) -> Option<Rule> {
    word.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::PrincipalId;
    use crate::session::Named;
    use crate::session::SessionId;
    use crate::tool::CallId;
    use crate::tool::Digest;

    #[test]
    fn what_a_record_says_of_it_is_read_back() {
        let subject = |found: Option<Found>| Subject {
            call: CallId::from_bytes([1; 16]),
            session: SessionId::from_bytes([2; 16]),
            principal: PrincipalId::parse("alice").unwrap(),
            tool: "claims/get_claim".to_owned(),
            arguments: Digest::of(b"{}"),
            policies: Digest::of(b""),
            found: found.map(Into::into),
        };
        let request = Named {
            by: vec![Rule::Path, Rule::Header],
            ..Named::new(Rule::Path, "claim-\"1\"")
        };
        let opened = Named::new(Rule::Opening, "claim-2");
        for (found, detail) in [
            (Found::by(Rule::Default), json!({})),
            (Found::by(Rule::Broker), json!({"policies": ["p"]})),
            (
                Found::among(Some(&request), Some(&opened), Rule::Transport),
                json!({"code": "frozen"}),
            ),
        ] {
            let text = told(&subject(Some(found.clone())), &detail);
            let mut read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(super::found(&read), Some(found));
            read.as_object_mut().unwrap().remove(FOUND);
            assert_eq!(read, detail);
        }
        // As records were before.
        assert_eq!(
            told(&subject(None), &json!({"code": "x"})),
            r#"{"code":"x"}"#
        );
        for unknown in [
            json!({}),
            json!({"found": "path"}),
            json!({"found": {"by": "colour"}}),
        ] {
            assert_eq!(super::found(&unknown), None);
        }
    }
}
