//! What the configuration takes out of what is kept, held against what tools declare. A
//! misspelt pointer would take nothing out, and the secret would stay.

mod declared;

use super::check::Pins;
use crate::config::Config;
use crate::nearest;
use crate::tool::Pointer;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;
use declared::Place;
use serde_json::Value;

/// The members of a result of `tools/call` (MCP, `CallToolResult`).
const RESULT: [&str; 5] = [
    "content",
    "structuredContent",
    "isError",
    "_meta",
    "resultType",
];

/// How many names are given where none is nearly the written one.
const NAMED: usize = 20;

/// The pointers that name what their tool does not declare, for people.
pub(super) fn astray(config: &Config, pins: &Pins) -> Vec<String> {
    let mut told = Vec::new();
    for (server, rules) in &config.broker.servers {
        for pin in pins.get(server).into_iter().flatten() {
            let tool = &*pin.definition;
            let Some(rules) = rules.tools.get(&*tool.id.name) else {
                continue;
            };
            let keeping = &rules.keeping;
            let arguments = keeping.redact_arguments.iter().filter_map(|pointer| {
                let place = declared::look(&tool.input_schema, pointer.steps());
                Some(("redact_arguments", pointer, why(pointer.steps(), 0, place)?))
            });
            let results = keeping.redact_results.iter();
            let results = results
                .filter_map(|pointer| Some(("redact_results", pointer, of_result(tool, pointer)?)));
            let all = arguments.chain(results);
            told.extend(all.map(|(key, pointer, why)| line((server, tool), key, pointer, &why)));
        }
    }
    told
}

fn line(
    (server, tool): (&ServerName, &ToolDefinition),
    key: &str,
    pointer: &Pointer,
    why: &str,
) -> String {
    format!(
        "`servers.{server}.tools.{}.{key}`: `{}` takes nothing out, so what it is meant for is kept: {why}",
        tool.id.name,
        spelled(pointer.steps())
    )
}

/// Why a pointer into the result of a tool leads nowhere. What the server does not declare
/// is not known.
fn of_result(tool: &ToolDefinition, pointer: &Pointer) -> Option<String> {
    let entry: Value = serde_json::from_str(&tool.json).ok()?;
    let schema = entry.get("outputSchema")?;
    let steps = pointer.steps();
    let (first, inside) = steps.split_first()?;
    if first == "structuredContent" {
        return why(steps, 1, declared::look(schema, inside));
    }
    if first == "*" || RESULT.contains(&first.as_str()) {
        return None;
    }
    Some(match declared::look(schema, steps) {
        Place::There => format!(
            "what its answer says stands in `/structuredContent` (did you mean `/structuredContent{}`?), and as text in `/content`",
            spelled(steps)
        ),
        Place::Nowhere { .. } => format!(
            "a result has only {}{}",
            listed(&RESULT),
            nearest::meant(first, RESULT.into_iter())
        ),
    })
}

/// Why nothing is at this place. `before`: how many of the steps lead to where was looked.
fn why(steps: &[String], before: usize, place: Place<'_>) -> Option<String> {
    let Place::Nowhere { at, known } = place else {
        return None;
    };
    let (led, rest) = steps.split_at_checked(before + at)?;
    let (wrong, rest) = rest.split_first()?;
    let within = match led.is_empty() {
        true => String::new(),
        false => format!(" in `{}`", spelled(led)),
    };
    let none = format!("the tool declares no `{wrong}`{within}");
    let near = nearest::nearest(wrong, known.iter().copied());
    // An array has no members, and only this leads to its elements.
    let meant = near.or_else(|| known.contains("*").then_some("*"));
    Some(match meant {
        Some(meant) => {
            let mut whole = led.to_vec();
            whole.push(meant.to_owned());
            // What the star leads to was not left out then.
            if meant == "*" && near.is_none() && declared::is_name(wrong) {
                whole.push(wrong.clone());
            }
            whole.extend_from_slice(rest);
            format!("{none} (did you mean `{}`?)", spelled(&whole))
        }
        None if known.is_empty() => none,
        None => {
            let known: Vec<&str> = known.into_iter().take(NAMED).collect();
            format!("{none}, but {}", listed(&known))
        }
    })
}

fn listed(names: &[&str]) -> String {
    format!("`{}`", names.join("`, `"))
}

/// Steps as somebody writes them.
fn spelled(steps: &[String]) -> String {
    let steps = steps.iter();
    let steps = steps.map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1")));
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(schema: &Value, pointer: &str) -> Option<String> {
        let pointer: Pointer = pointer.parse().unwrap();
        why(pointer.steps(), 0, declared::look(schema, pointer.steps()))
    }

    #[test]
    fn a_pointer_to_what_a_tool_does_not_declare_is_told() {
        let schema = json!({
            "type": "object",
            "properties": {
                "payee": {"$ref": "#/$defs/payee"},
                "note": {"type": "string"},
                "open": {"type": "object"},
                "items": {"type": "array", "items": {"type": "object", "properties": {"pin": {}}}},
                "card": {"anyOf": [
                    {"properties": {"number": {"type": "string"}}},
                    {"type": "null"},
                ]},
                "either": {"oneOf": [{"properties": {"a": {}}}, {"type": "object"}]},
                "both": {"allOf": [{"properties": {"a": {}}}, {"required": ["a"]}]},
                "extra": {"properties": {"known": {}}, "additionalProperties": true},
                "a/b": {"type": "string"},
            },
            "$defs": {"payee": {"type": "object", "properties": {"iban": {"type": "string"}}}},
        });
        for pointer in [
            "/payee",
            "/payee/iban",
            "/note",
            "/open/any/thing",
            "/items",
            "/items/*/pin",
            "/items/0/pin",
            "/card/number",
            "/either/any",
            "/both/a",
            "/extra/other",
            "/*",
            "/*/iban",
            "/a~1b",
        ] {
            assert_eq!(told(&schema, pointer), None, "{pointer}");
        }
        for (pointer, due) in [
            (
                "/paye",
                "the tool declares no `paye` (did you mean `/payee`?)",
            ),
            (
                "/payee/ibn",
                "the tool declares no `ibn` in `/payee` (did you mean `/payee/iban`?)",
            ),
            (
                "/paye/iban",
                "the tool declares no `paye` (did you mean `/payee/iban`?)",
            ),
            (
                "/a~1c/x",
                "the tool declares no `a/c` (did you mean `/a~1b/x`?)",
            ),
            (
                "/items/pin",
                "the tool declares no `pin` in `/items` (did you mean `/items/*/pin`?)",
            ),
            ("/items/*/pni", "(did you mean `/items/*/pin`?)"),
            ("/card/nummer", "(did you mean `/card/number`?)"),
            (
                "/both/token",
                "the tool declares no `token` in `/both`, but `a`",
            ),
            ("/extra/knwon", "(did you mean `/extra/known`?)"),
            ("/note/secret", "the tool declares no `secret` in `/note`"),
        ] {
            let told = told(&schema, pointer).unwrap_or_default();
            assert!(told.ends_with(due), "{pointer}: {told}");
        }
    }

    #[test]
    fn what_a_schema_leaves_open_may_be_there() {
        for schema in [
            json!({}),
            json!({"type": "object"}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"$ref": "https://example.com/x"}),
            json!({"properties": {"x": {}}, "patternProperties": {"^s": {}}}),
        ] {
            assert_eq!(told(&schema, "/secret"), None, "{schema}");
        }
        let closed = json!({"type": "object", "additionalProperties": false});
        let due = "the tool declares no `secret`";
        assert_eq!(told(&closed, "/secret").as_deref(), Some(due));
        let endless = json!({"properties": {"x": {"$ref": "#"}}, "allOf": [{"$ref": "#"}]});
        assert_eq!(told(&endless, "/x/x/x"), None);
    }

    #[test]
    fn a_pointer_into_a_result_is_held_against_the_output_schema() {
        let server: ServerName = "claims".parse().unwrap();
        let tool = |rest: &str| {
            let entry = format!(r#"{{"name":"pay","inputSchema":{{"type":"object"}}{rest}}}"#);
            crate::pins::definition(&server, &entry).unwrap()
        };
        let typed = tool(r#","outputSchema":{"type":"object","properties":{"iban":{}}}"#);
        let told = |tool: &ToolDefinition, pointer: &str| {
            of_result(tool, &pointer.parse().unwrap()).unwrap_or_default()
        };
        for (pointer, due) in [
            ("/structuredContent/iban", ""),
            ("/content", ""),
            (
                "/structuredContent/ibn",
                "(did you mean `/structuredContent/iban`?)",
            ),
            ("/iban", "(did you mean `/structuredContent/iban`?)"),
            ("/contents", "(did you mean `content`?)"),
        ] {
            let told = told(&typed, pointer);
            assert!(
                told.contains(due) && told.is_empty() == due.is_empty(),
                "{pointer}: {told}"
            );
        }
        assert_eq!(told(&tool(""), "/iban"), "");
    }
}
