//! Whether what reached the suite through Countersign is what the server behind
//! says directly.

use super::exchange::Exchange;
use super::rewrites::Names;
use serde_json::Value;
use std::collections::BTreeMap;

/// What is asked for, so that the same requests of two runs find each other
/// though some were sent at the same time.
type Kind = (String, String, String);

/// Every difference between two runs that no rewrite explains, one per line, each
/// with the scenarios that have it.
pub(super) fn differences(direct: &[Exchange], through: &[Exchange]) -> Vec<String> {
    let mut grouped: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (scenario, difference) in each_difference(direct, through) {
        grouped.entry(difference).or_default().push(scenario);
    }
    let grouped = grouped.into_iter();
    grouped
        .map(|(difference, scenarios)| match &scenarios[..] {
            [scenario] => format!("{scenario}: {difference}"),
            [scenario, ..] => format!("{scenario} and {} more: {difference}", scenarios.len() - 1),
            [] => difference,
        })
        .collect()
}

fn each_difference(direct: &[Exchange], through: &[Exchange]) -> Vec<(String, String)> {
    let (direct, through) = (by_scenario(direct), by_scenario(through));
    let mut all = Vec::new();
    for (scenario, expected) in &direct {
        let mut found = Vec::new();
        let came = through.get(scenario).cloned().unwrap_or_default();
        for (kind, expected) in expected {
            let came = came.get(kind).cloned().unwrap_or_default();
            let (verb, method, name) = kind;
            let what = format!("{verb} {method} {name}");
            if expected.len() != came.len() {
                let (expected, came) = (expected.len(), came.len());
                found.push(format!(
                    "{what}: {expected} times directly, {came} through us"
                ));
            }
            for (number, (expected, came)) in expected.iter().zip(&came).enumerate() {
                compare(&format!("{what} #{number}"), expected, came, &mut found);
            }
        }
        let unasked = came.keys().filter(|kind| !expected.contains_key(*kind));
        found.extend(
            unasked.map(|(verb, method, name)| format!("{verb} {method} {name}: only through us")),
        );
        all.extend(
            found
                .into_iter()
                .map(|difference| (scenario.clone(), difference)),
        );
    }
    all
}

/// Each exchange as what is compared.
fn by_scenario(exchanges: &[Exchange]) -> BTreeMap<String, BTreeMap<Kind, Vec<Value>>> {
    let mut scenarios: BTreeMap<String, BTreeMap<Kind, Vec<Exchange>>> = BTreeMap::new();
    for exchange in exchanges {
        let kinds = scenarios.entry(exchange.scenario.clone()).or_default();
        let mut exchange = exchange.clone();
        // Log messages come with the answer or on the stream of the session: a
        // client reads both.
        let (logs, rest) = exchange
            .messages
            .into_iter()
            .partition(|message| message["method"] == "notifications/message");
        exchange.messages = rest;
        for log in logs {
            let kind = ("logged".to_owned(), String::new(), String::new());
            kinds.entry(kind).or_default().push(alone(log));
        }
        if exchange.verb == "GET" {
            // An answer whose own stream was ended comes on another one.
            exchange
                .messages
                .retain(|message| !answered(kinds, message));
        }
        // Whether that stream is opened before the session ends again is a race
        // within the suite.
        let opened = exchange.status == 200 && !exchange.messages.is_empty();
        if exchange.verb != "GET" || opened {
            kinds.entry(kind(&exchange)).or_default().push(exchange);
        }
    }
    let rewritten = scenarios.into_iter().map(|(scenario, kinds)| {
        let mut names = Names::default();
        let kinds = kinds.into_iter().map(|(kind, same)| {
            let same = same
                .iter()
                .map(|exchange| names.rewrite(&scenario, exchange));
            let mut same: Vec<Value> = same.collect();
            settle(&kind.1, &mut same);
            (kind, same)
        });
        let kinds = kinds.collect();
        (scenario, kinds)
    });
    rewritten.collect()
}

/// Leaves out what depends on the time that things take.
fn settle(method: &str, same: &mut Vec<Value>) {
    match method {
        // How often a client asks for a task before it is somewhere else.
        "tasks/get" => {
            same.dedup();
            let task = |answer: &Value| answer.pointer("/messages/0/result/taskId").cloned();
            let all = same.clone();
            let mut place = 0;
            same.retain(|answer| {
                place += 1;
                let later = all[place..].iter().any(|later| task(later) == task(answer));
                let status = answer.pointer("/messages/0/result/status");
                !(later && status == Some(&Value::from("working")))
            });
        }
        // How long a stream stays open that the suite reads no further.
        "subscriptions/listen" => {
            for answer in same {
                if let Some(messages) = answer["messages"].as_array_mut() {
                    messages.dedup();
                }
            }
        }
        _ => {}
    }
}

/// Puts an answer to the request that it is for, where that has none yet.
fn answered(kinds: &mut BTreeMap<Kind, Vec<Exchange>>, message: &Value) -> bool {
    let (None, Some(id)) = (message.get("method"), message.get("id")) else {
        return false;
    };
    let mut asked = kinds.values_mut().flatten().filter(|exchange| {
        let asks = exchange.asked.get("method").is_some() && exchange.messages.is_empty();
        asks && exchange.asked.get("id") == Some(id)
    });
    let asked = asked.next();
    asked
        .map(|exchange| exchange.messages.push(message.clone()))
        .is_some()
}

/// A message that was taken out of the answer it came in.
fn alone(message: Value) -> Exchange {
    Exchange {
        scenario: String::new(),
        order: 0,
        verb: String::new(),
        asked: Value::Null,
        status: 200,
        messages: vec![message],
        text: String::new(),
    }
}

fn kind(exchange: &Exchange) -> Kind {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let params = &exchange.asked["params"];
    let name = match params["name"].as_str() {
        Some(name) => name.to_owned(),
        None => word(&params["uri"]),
    };
    (exchange.verb.clone(), word(&exchange.asked["method"]), name)
}

/// Adds each place where two values differ.
fn compare(at: &str, direct: &Value, through: &Value, found: &mut Vec<String>) {
    match (direct, through) {
        (Value::Object(one), Value::Object(other)) => {
            for (key, value) in one {
                match other.get(key) {
                    Some(came) => compare(&format!("{at}/{key}"), value, came, found),
                    None => found.push(format!(
                        "{at}/{key}: not there through us, directly {value}"
                    )),
                }
            }
            let added = other.iter().filter(|(key, _)| !one.contains_key(*key));
            found.extend(added.map(|(key, value)| format!("{at}/{key}: only through us, {value}")));
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (value, came)) in one.iter().zip(other).enumerate() {
                compare(&format!("{at}/{index}"), value, came, found);
            }
        }
        _ if direct != through => {
            found.push(format!("{at}: directly {direct}, through us {through}"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(order: u64, id: u64, method: &str, result: Value) -> Exchange {
        Exchange {
            scenario: "some".to_owned(),
            order,
            verb: "POST".to_owned(),
            asked: json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}}),
            status: 200,
            messages: vec![json!({"jsonrpc": "2.0", "id": id, "result": result})],
            text: String::new(),
        }
    }

    #[test]
    fn a_changed_text_is_found_and_a_new_id_is_not() {
        let said = |text: &str| json!({"content": [{"type": "text", "text": text}]});
        let direct = [
            asked(0, 1, "tools/call", said("a")),
            asked(1, 2, "tools/call", said("b")),
        ];
        let through = [
            asked(0, 8, "tools/call", said("a")),
            asked(1, 9, "tools/call", said("c")),
        ];
        assert_eq!(
            differences(&direct, &through),
            [
                "some: POST tools/call  #1/messages/0/result/content/0/text: directly \"b\", through us \"c\""
            ]
        );
        assert_eq!(differences(&direct, &through[..1]).len(), 1);
    }

    #[test]
    fn an_answer_with_the_id_of_another_request_is_found() {
        let direct = [asked(0, 1, "ping", json!({}))];
        let mut through = direct.clone();
        through[0].messages[0]["id"] = json!(2);
        assert_eq!(differences(&direct, &through).len(), 1);
    }

    #[test]
    fn tasks_may_be_asked_for_more_often_and_are_told_apart() {
        let task = |id: &str, status: &str| json!({"taskId": id, "status": status});
        let direct = [
            asked(0, 1, "tasks/get", task("a", "working")),
            asked(1, 2, "tasks/get", task("a", "done")),
        ];
        let mut through = vec![
            asked(0, 1, "tasks/get", task("x", "working")),
            asked(1, 2, "tasks/get", task("x", "working")),
            asked(2, 3, "tasks/get", task("x", "done")),
        ];
        assert_eq!(differences(&direct, &through), [""; 0]);
        assert_eq!(differences(&direct, &through[2..]), [""; 0]);
        assert!(!differences(&direct, &through[..2]).is_empty());
        through[2].messages[0]["result"]["taskId"] = json!("y");
        assert!(!differences(&direct, &through).is_empty());
    }
}
