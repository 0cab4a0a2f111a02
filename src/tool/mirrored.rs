//! Arguments that are repeated in a header of the HTTP request, so that what
//! stands between can route by them: `x-mcp-header` (MCP 2026-07-28,
//! transports/streamable-http, custom headers from tool parameters).

use serde_json::Map;
use serde_json::Value;
use std::collections::BTreeSet;

const KEY: &str = "x-mcp-header";

/// Whole numbers beyond this are not exact in every language (2^53 - 1).
const SAFE: i64 = (1 << 53) - 1;

/// One argument that is repeated in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The header, in lower case: `mcp-param-region`.
    pub header: String,
    path: Vec<String>,
    whole: bool,
}

/// Why a schema's annotations cannot be followed. A client over HTTP must not
/// offer such a tool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MirrorError {
    /// It stands where no argument is reached through `properties` alone.
    #[error(
        "`x-mcp-header` stands where it may not: only on a property that is reached through `properties` alone"
    )]
    Place,
    /// It is no name of a header.
    #[error("`x-mcp-header` must be a text of the characters that the name of a header may have")]
    Name,
    /// Two arguments have one name.
    #[error("`x-mcp-header` gives two arguments the name `{name}`")]
    Twice {
        /// Which, in lower case.
        name: String,
    },
    /// The argument is not of a type that a header can hold.
    #[error("`x-mcp-header` may only stand on a property of the type string, integer or boolean")]
    Type,
}

impl Mirrored {
    /// Every argument of an `inputSchema` that is repeated.
    ///
    /// # Errors
    ///
    /// When one annotation breaks a rule; then all of the tool's count as broken.
    pub fn of(schema: &Value) -> Result<Vec<Self>, MirrorError> {
        let mut found = Vec::new();
        if let Value::Object(schema) = schema {
            if schema.contains_key(KEY) {
                return Err(MirrorError::Place);
            }
            walk(schema, &mut Vec::new(), &mut found)?;
        }
        let mut names = BTreeSet::new();
        for mirrored in &found {
            if !names.insert(&mirrored.header) {
                return Err(MirrorError::Twice {
                    name: mirrored.header.clone(),
                });
            }
        }
        Ok(found)
    }

    /// What the header must say for these arguments; none where it must not be
    /// there.
    pub fn value(&self, arguments: &Value) -> Option<String> {
        let mut value = arguments;
        for key in &self.path {
            value = value.get(key)?;
        }
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(number) => Some(match whole(&number.to_string()) {
                Some(whole) => whole.to_string(),
                None => number.to_string(),
            }),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Whether a header says what the arguments do: whole numbers by their
    /// value, everything else to the letter.
    pub fn agrees(&self, header: &str, body: &str) -> bool {
        header == body || (self.whole && whole(header).is_some() && whole(header) == whole(body))
    }
}

/// The whole number that a text is, in any notation of JSON, where it is exact.
fn whole(text: &str) -> Option<i64> {
    let number: i64 = match text.parse() {
        Ok(number) => number,
        Err(_fraction_or_exponent) => {
            let number: f64 = text.parse().ok()?;
            let plain = number.fract() == 0.0 && number.abs() <= SAFE as f64;
            if !plain {
                return None;
            }
            format!("{number:.0}").parse().ok()?
        }
    };
    (number.abs() <= SAFE).then_some(number)
}

/// Looks through the members of an object's schema that is reached through
/// `properties` alone.
fn walk(
    schema: &Map<String, Value>,
    path: &mut Vec<String>,
    found: &mut Vec<Mirrored>,
) -> Result<(), MirrorError> {
    for (keyword, value) in schema {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    let Value::Object(property) = property else {
                        continue;
                    };
                    path.push(name.clone());
                    if let Some(annotation) = property.get(KEY) {
                        found.push(annotated(annotation, property, path)?);
                    }
                    walk(property, path, found)?;
                    path.pop();
                }
            }
            // What these hold is data, not schemas.
            (
                "default" | "const" | "enum" | "examples" | "required" | "dependentRequired" | KEY,
                _,
            ) => {}
            (_, value) => nowhere(keyword, value)?,
        }
    }
    Ok(())
}

fn annotated(
    annotation: &Value,
    property: &Map<String, Value>,
    path: &[String],
) -> Result<Mirrored, MirrorError> {
    let name = annotation.as_str().filter(|name| is_token(name));
    let name = name.ok_or(MirrorError::Name)?;
    let kind = property.get("type").and_then(Value::as_str);
    if !matches!(kind, Some("string" | "integer" | "boolean")) {
        return Err(MirrorError::Type);
    }
    Ok(Mirrored {
        header: format!("mcp-param-{}", name.to_ascii_lowercase()),
        path: path.to_vec(),
        whole: kind == Some("integer"),
    })
}

/// Refuses an annotation anywhere in what is no chain of `properties`.
fn nowhere(keyword: &str, value: &Value) -> Result<(), MirrorError> {
    match value {
        Value::Object(members) => {
            // The keys of these are names that a server chose, not keywords.
            let named = matches!(
                keyword,
                "$defs"
                    | "definitions"
                    | "properties"
                    | "patternProperties"
                    | "dependentSchemas"
                    | "dependencies"
            );
            for (key, member) in members {
                match key.as_str() {
                    _ if named => nowhere("", member)?,
                    KEY => return Err(MirrorError::Place),
                    "default" | "const" | "enum" | "examples" | "required"
                    | "dependentRequired" => {}
                    key => nowhere(key, member)?,
                }
            }
            Ok(())
        }
        Value::Array(members) => members.iter().try_for_each(|member| nowhere("", member)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let mark = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || mark(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(properties: Value) -> Result<Vec<Mirrored>, MirrorError> {
        Mirrored::of(&json!({"type": "object", "properties": properties}))
    }

    #[test]
    fn arguments_at_any_depth_of_properties_are_repeated() {
        let found = of(json!({
            "region": {"type": "string", "x-mcp-header": "Region"},
            "place": {"type": "object", "properties": {
                "floor": {"type": "integer", "x-mcp-header": "Floor"},
                "inside": {"type": "boolean", "x-mcp-header": "Inside"},
            }},
            "x-mcp-header": {"type": "string", "default": {"x-mcp-header": "no schema"}},
        }))
        .unwrap();
        let arguments = json!({"region": "é", "place": {"floor": 3.0, "inside": true}, "floor": 9});
        let values: Vec<_> = found
            .iter()
            .map(|m| (m.header.as_str(), m.value(&arguments)))
            .collect();
        let expected = [
            ("mcp-param-floor", Some("3".to_owned())),
            ("mcp-param-inside", Some("true".to_owned())),
            ("mcp-param-region", Some("é".to_owned())),
        ];
        for wanted in expected {
            assert!(values.contains(&wanted), "{values:?}");
        }
        let none = json!({"region": null});
        assert!(found.iter().all(|m| m.value(&none).is_none()));
    }

    #[test]
    fn whole_numbers_agree_by_value_and_texts_to_the_letter() {
        let found = of(json!({"n": {"type": "integer", "x-mcp-header": "N"}})).unwrap();
        let [n] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(n.agrees("42.0", "42") && n.agrees("42", "42"));
        assert!(!n.agrees("42.5", "42") && !n.agrees("", "42") && !n.agrees("x", "42"));
        assert!(!n.agrees("9007199254740993", "9007199254740992"));
        let found = of(json!({"s": {"type": "string", "x-mcp-header": "S"}})).unwrap();
        let [s] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(!s.agrees("42.0", "42"));
    }

    #[test]
    fn an_annotation_that_breaks_a_rule_is_an_error() {
        for (properties, error) in [
            (
                json!({"a": {"type": "string", "x-mcp-header": ""}}),
                MirrorError::Name,
            ),
            (
                json!({"a": {"type": "string", "x-mcp-header": "a b"}}),
                MirrorError::Name,
            ),
            (
                json!({"a": {"type": "string", "x-mcp-header": 1}}),
                MirrorError::Name,
            ),
            (
                json!({"a": {"type": "number", "x-mcp-header": "A"}}),
                MirrorError::Type,
            ),
            (
                json!({"a": {"type": ["string", "null"], "x-mcp-header": "A"}}),
                MirrorError::Type,
            ),
            (json!({"a": {"x-mcp-header": "A"}}), MirrorError::Type),
            (
                json!({"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}}),
                MirrorError::Twice {
                    name: "mcp-param-a".to_owned(),
                },
            ),
            (
                json!({"a": {"items": {"type": "string", "x-mcp-header": "A"}}}),
                MirrorError::Place,
            ),
            (
                json!({"a": {"anyOf": [{"type": "string", "x-mcp-header": "A"}]}}),
                MirrorError::Place,
            ),
        ] {
            assert_eq!(of(properties.clone()), Err(error), "{properties}");
        }
        for schema in [
            json!({"x-mcp-header": "A"}),
            json!({"$defs": {"default": {"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}}}),
            json!({"if": {"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}}),
        ] {
            assert_eq!(Mirrored::of(&schema), Err(MirrorError::Place), "{schema}");
        }
        assert_eq!(Mirrored::of(&json!(true)), Ok(Vec::new()));
    }
}
