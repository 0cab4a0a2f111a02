//! What may differ between an answer and the same answer through Countersign:
//! one table, each entry with its reason. It is as narrow as it can be: a
//! comparison that looks away finds nothing.

use super::exchange::Exchange;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;

/// One thing that may differ.
struct Rewrite {
    /// Where it stands in an exchange (`asked`, `status`, `messages`, `text`):
    /// members separated by `/`, `*` for any one, `**` for any number.
    at: &'static str,
    /// Which exchanges it is for.
    when: fn(&Seen<'_>) -> bool,
    to: To,
    /// Why it may differ.
    #[expect(dead_code, reason = "it is there to be read by people")]
    why: &'static str,
}

/// What both sides are made into.
#[derive(Clone, Copy)]
enum To {
    /// Whatever stands there, and only if something does.
    Anything,
    /// Nothing, and nothing where it was all that there was.
    Nothing,
    /// The same in order.
    Sorted,
    /// The same number for the same value, and another for each other value.
    Number,
}

const REWRITES: &[Rewrite] = &[
    Rewrite {
        at: "messages/*/result/_meta/io.modelcontextprotocol~1serverInfo",
        when: ours,
        to: To::Nothing,
        why: "the client talks to us, and reads our name on whatever we made ourselves",
    },
    Rewrite {
        at: "messages/*/result/serverInfo",
        when: opening,
        to: To::Anything,
        why: "the same in the older era",
    },
    Rewrite {
        at: "messages/*/result/instructions",
        when: opening,
        to: To::Anything,
        why: "ours: how a model is to read that a call was refused",
    },
    Rewrite {
        at: "messages/*/result/ttlMs",
        when: ours,
        to: To::Anything,
        why: "ours: lists are put together from what every server has, and kept",
    },
    Rewrite {
        at: "messages/*/result/supportedVersions",
        when: opening,
        to: To::Sorted,
        why: "a set: the client chooses",
    },
    Rewrite {
        at: "messages/*/error/data/supported",
        when: opening,
        to: To::Sorted,
        why: "the same set",
    },
    Rewrite {
        at: "**/taskId",
        when: always,
        to: To::Number,
        why: "tasks get a new random id in each run",
    },
    Rewrite {
        at: "messages/**/createdAt",
        when: tasks,
        to: To::Anything,
        why: "the time of the run",
    },
    Rewrite {
        at: "messages/**/lastUpdatedAt",
        when: tasks,
        to: To::Anything,
        why: "the time of the run",
    },
    Rewrite {
        at: "messages/*/result/requestState",
        when: continues,
        to: To::Nothing,
        why: "ours: sealed by us for one principal and request, also where the server behind keeps no state",
    },
    Rewrite {
        at: "asked/params/requestState",
        when: continues,
        to: To::Nothing,
        why: "the suite sends back what it got",
    },
    Rewrite {
        at: "messages/*/params/_meta/progressToken",
        when: asks_the_client,
        to: To::Nothing,
        why: "who asks chooses the token, or none: directly the server, else we",
    },
    Rewrite {
        at: "status",
        when: ends_a_session,
        to: To::Anything,
        why: "no revision says which 2xx ends a session",
    },
    Rewrite {
        at: "messages/*/error/message",
        when: refused_by_the_edge,
        to: To::Anything,
        why: "what is wrong with a request is said by whoever reads it first, in its own words",
    },
    Rewrite {
        at: "status",
        when: forged_or_malformed,
        to: To::Anything,
        why: "we refuse, before the server behind sees it, what it would refuse or ask anew for",
    },
    Rewrite {
        at: "messages",
        when: forged_or_malformed,
        to: To::Anything,
        why: "the same",
    },
    Rewrite {
        at: "messages",
        when: no_message,
        to: To::Anything,
        why: "the same, where the answer need not be JSON-RPC",
    },
    Rewrite {
        at: "text",
        when: no_message,
        to: To::Anything,
        why: "the same, where the answer need not be JSON-RPC",
    },
];

/// What an entry decides by.
struct Seen<'a> {
    scenario: &'a str,
    asked: &'a Value,
    verb: &'a str,
    method: &'a str,
    status: u16,
    code: i64,
}

fn always(_: &Seen<'_>) -> bool {
    true
}

fn opening(seen: &Seen<'_>) -> bool {
    matches!(seen.method, "initialize" | "server/discover")
}

/// What we do not pass on but make.
fn ours(seen: &Seen<'_>) -> bool {
    opening(seen) || seen.method.ends_with("/list")
}

fn tasks(seen: &Seen<'_>) -> bool {
    matches!(seen.method, "tools/call" | "tasks/get")
}

/// What may ask in its result, and go on with the answers.
fn continues(seen: &Seen<'_>) -> bool {
    matches!(seen.method, "tools/call" | "prompts/get")
}

/// A state that nobody gave out, and answers that cannot be any.
fn forged_or_malformed(seen: &Seen<'_>) -> bool {
    let params = &seen.asked["params"];
    match seen.scenario {
        "input-required-result-tampered-state" => {
            let state = params["requestState"].as_str();
            state.is_some_and(|state| state.ends_with("-TAMPERED"))
        }
        "input-required-result-validate-input" => {
            let answers = params.get("inputResponses");
            answers.is_some_and(|answers| !answers["user_name"].is_object())
        }
        _ => false,
    }
}

fn asks_the_client(seen: &Seen<'_>) -> bool {
    seen.method == "tools/call" && seen.status == 200
}

fn ends_a_session(seen: &Seen<'_>) -> bool {
    seen.verb == "DELETE" && (200..300).contains(&seen.status)
}

/// A request that is wrong before anybody asks whose it is.
fn refused_by_the_edge(seen: &Seen<'_>) -> bool {
    let wrong = match seen.code {
        -32601 => seen.status == 404,
        -32020 | -32022 => seen.status == 400,
        -32602 => matches!(seen.method, "server/discover" | "tasks/get"),
        -32021 => seen.status == 400 && seen.method.starts_with("tasks/"),
        _ => false,
    };
    wrong && seen.verb == "POST"
}

/// A `Host` that is none of ours, and a session that is over.
fn no_message(seen: &Seen<'_>) -> bool {
    match seen.scenario {
        "dns-rebinding-protection" => seen.status == 403,
        "server-session-lifecycle" => seen.status == 404,
        _ => false,
    }
}

/// Which value got which number, in one scenario of one run.
#[derive(Default)]
pub(super) struct Names {
    known: BTreeMap<(&'static str, String), usize>,
}

impl Names {
    /// The exchange as what is compared.
    pub(super) fn rewrite(&mut self, scenario: &str, exchange: &Exchange) -> Value {
        let mut whole = json!({
            "asked": exchange.asked,
            "status": exchange.status,
            "messages": exchange.messages,
            "text": exchange.text,
        });
        let error = exchange
            .messages
            .iter()
            .find_map(|message| message.get("error"));
        let seen = Seen {
            scenario,
            asked: &exchange.asked,
            verb: &exchange.verb,
            method: exchange.asked["method"].as_str().unwrap_or_default(),
            status: exchange.status,
            code: error.map_or(0, |error| error["code"].as_i64().unwrap_or_default()),
        };
        self.ids(&mut whole);
        for rewrite in REWRITES.iter().filter(|rewrite| (rewrite.when)(&seen)) {
            let path: Vec<String> = rewrite.at.split('/').map(unescaped).collect();
            self.apply(rewrite, &path, &mut whole);
        }
        whole
    }

    /// JSON-RPC ids: what counts is whose answer it is, not which number it has.
    fn ids(&mut self, whole: &mut Value) {
        const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
        let own = whole["asked"].get("id").cloned();
        for message in whole["messages"].as_array_mut().unwrap() {
            let asks = message.get("method").is_some();
            match message.get("id") {
                Some(id) if asks => message["id"] = self.number("request of the server", id),
                id if id == own.as_ref() && own.is_some() => message["id"] = json!("its"),
                _ => {}
            }
            let meta = message
                .get_mut("params")
                .and_then(|params| params.get_mut("_meta"));
            let told = meta.and_then(|meta| meta.get_mut(SUBSCRIPTION));
            match told {
                Some(told) if Some(&*told) == own.as_ref() => *told = json!("its"),
                _ => {}
            }
        }
        if let Some(own) = own {
            let asks = whole["asked"].get("method").is_some();
            whole["asked"]["id"] = match asks {
                true => json!("its"),
                false => self.number("request of the server", &own),
            };
        }
    }

    fn apply(&mut self, rewrite: &Rewrite, path: &[String], value: &mut Value) {
        let Some((first, rest)) = path.split_first() else {
            match rewrite.to {
                To::Anything => *value = json!("…"),
                To::Nothing => *value = Value::Null,
                To::Sorted => value.as_array_mut().unwrap().sort_by_key(Value::to_string),
                To::Number => *value = self.number(rewrite.at, value),
            }
            return;
        };
        if first == "**" {
            self.apply(rewrite, rest, value);
        }
        let members: Vec<(String, &mut Value)> = match value {
            Value::Object(members) => {
                let members = members.iter_mut();
                members.map(|(key, value)| (key.clone(), value)).collect()
            }
            Value::Array(items) => items.iter_mut().map(|item| (String::new(), item)).collect(),
            _ => return,
        };
        let mut emptied = Vec::new();
        for (key, member) in members {
            let before = member.clone();
            match first.as_str() {
                "**" => self.apply(rewrite, path, member),
                name if name == "*" || name == key => self.apply(rewrite, rest, member),
                _ => {}
            }
            if *member != before && (member.is_null() || *member == json!({})) {
                emptied.push(key);
            }
        }
        if let Value::Object(members) = value {
            members.retain(|key, _| !emptied.contains(key));
        }
    }

    /// The same number for the same value.
    fn number(&mut self, kind: &'static str, value: &Value) -> Value {
        let next = self.known.len();
        let known = self.known.entry((kind, value.to_string()));
        json!(format!("{kind} {}", known.or_insert(next)))
    }
}

fn unescaped(part: &str) -> String {
    part.replace("~1", "/")
}
