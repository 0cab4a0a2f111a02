//! Whether a message is of the form that the JSON Schema of its revision gives it. Of
//! JSON Schema it knows what those schemas use.

use super::Era;
use serde_json::Value;
use std::path::Path;

/// Where the schemas are: beside the project, of which they are no part.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/mcp-schema");

/// The schema of one revision.
pub(super) struct Schema(Value);

impl Schema {
    pub(super) fn of(era: Era) -> Self {
        let revision = match era {
            Era::Old => "2025-11-25",
            Era::New => "2026-07-28",
        };
        let path = Path::new(FOLDER).join(format!("{revision}.json"));
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(serde_json::from_str(&text).unwrap())
    }

    fn definition(&self, name: &str) -> &Value {
        let found = &self.0["$defs"][name];
        assert!(found.is_object(), "the schema has no `{name}`");
        found
    }

    /// Looks at one message; a result is one of `method`.
    pub(super) fn check(&self, message: &Value, method: Option<&str>) -> Result<(), String> {
        let is = |name: &str, value| self.fits(self.definition(name), value);
        if let Some(method) = message["method"].as_str() {
            let envelope = match message.get("id") {
                Some(_) => "JSONRPCRequest",
                None => "JSONRPCNotification",
            };
            is(envelope, message)?;
            let all = self.0["$defs"].as_object().unwrap().values();
            let named = |one: &&Value| one["properties"]["method"]["const"] == method;
            let mut own = all.filter(named).peekable();
            if own.peek().is_none() {
                return Err(format!("the revision has no `{method}`"));
            }
            return own.try_for_each(|one| self.fits(one, message));
        }
        if message.get("error").is_some() {
            return is("JSONRPCErrorResponse", message);
        }
        is("JSONRPCResultResponse", message)?;
        let result = &message["result"];
        let of = match (method, result["resultType"].as_str()) {
            (_, Some("input_required")) => "InputRequiredResult",
            (Some("initialize"), _) => "InitializeResult",
            (Some("server/discover"), _) => "DiscoverResult",
            (Some("tools/list"), _) => "ListToolsResult",
            (Some("prompts/list"), _) => "ListPromptsResult",
            (Some("resources/list"), _) => "ListResourcesResult",
            (Some("resources/templates/list"), _) => "ListResourceTemplatesResult",
            (Some("tools/call"), _) => "CallToolResult",
            (Some("resources/read"), _) => "ReadResourceResult",
            (Some("subscriptions/listen"), _) => "SubscriptionsListenResult",
            (Some("elicitation/create"), _) => "ElicitResult",
            (Some("resources/subscribe" | "ping"), _) => "EmptyResult",
            (method, _) => return Err(format!("a result of {method:?}")),
        };
        is(of, result)
    }

    /// Whether a value is as one schema says.
    fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what}: {value}"));
        if let Some(name) = schema["$ref"].as_str() {
            let name = name
                .strip_prefix("#/$defs/")
                .expect("a reference elsewhere");
            let inside = self.fits(self.definition(name), value);
            inside.map_err(|why| format!("{name}: {why}"))?;
        }
        if schema.get("const").is_some_and(|only| only != value) {
            return wrong(&format!("is not {}", schema["const"]));
        }
        if let Some(all) = schema["enum"].as_array()
            && !all.contains(value)
        {
            return wrong("is none of the enumeration");
        }
        let types = match &schema["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|one| is_of(one, value)) {
            return wrong(&format!("is not of the type {types:?}"));
        }
        for one in schema["allOf"].as_array().into_iter().flatten() {
            self.fits(one, value)?;
        }
        if let Some(several) = schema["anyOf"].as_array() {
            let tried: Vec<_> = several.iter().map(|one| self.fits(one, value)).collect();
            if tried.iter().all(Result::is_err) {
                return wrong(&format!("fits none of {tried:?}"));
            }
        }
        if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
            && number < least
        {
            return wrong("is too small");
        }
        if let (Some(most), Some(number)) = (schema["maximum"].as_f64(), value.as_f64())
            && number > most
        {
            return wrong("is too large");
        }
        if let Some(elements) = value.as_array() {
            for element in elements.iter().filter(|_| schema.get("items").is_some()) {
                self.fits(&schema["items"], element)?;
            }
        }
        self.members_fit(schema, value)
    }

    fn members_fit(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let Some(members) = value.as_object() else {
            return Ok(());
        };
        for key in schema["required"].as_array().into_iter().flatten() {
            let key = key.as_str().unwrap();
            if !members.contains_key(key) {
                return Err(format!("has no `{key}`: {value}"));
            }
        }
        let known = schema["properties"].as_object();
        for (key, member) in members {
            let own = known.and_then(|known| known.get(key));
            let more = &schema["additionalProperties"];
            let fits = match (own, more) {
                (Some(own), _) => self.fits(own, member),
                (None, Value::Bool(false)) => Err("may not be there".to_owned()),
                (None, Value::Object(_)) => self.fits(more, member),
                (None, _) => Ok(()),
            };
            fits.map_err(|why| format!("`{key}`: {why}"))?;
        }
        Ok(())
    }
}

fn is_of(one: &str, value: &Value) -> bool {
    match one {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("`{other}` is no type of JSON Schema"),
    }
}

#[test]
#[ignore = "needs the JSON schemas of the revisions, in ../shared/mcp-schema"]
fn what_does_not_fit_is_found() {
    use serde_json::json;
    let (old, new) = (Schema::of(Era::Old), Schema::of(Era::New));
    let called = |result: Value| json!({"jsonrpc": "2.0", "id": 1, "result": result});
    let call = Some("tools/call");
    assert_eq!(old.check(&called(json!({"content": []})), call), Ok(()));
    assert!(new.check(&called(json!({"content": []})), call).is_err());
    for wrong in [
        called(json!({"content": [{"type": "text"}], "resultType": "complete"})),
        called(json!({"content": {}, "resultType": "complete"})),
        json!({"jsonrpc": "2.0", "id": null, "result": {"content": []}}),
        json!({"jsonrpc": "2.0", "method": "notifications/made-up"}),
        json!({"jsonrpc": "2.0", "id": 1, "error": {"code": "x", "message": ""}}),
    ] {
        assert!(new.check(&wrong, call).is_err(), "{wrong}");
        assert!(old.check(&wrong, call).is_err(), "{wrong}");
    }
}
