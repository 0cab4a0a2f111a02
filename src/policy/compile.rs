//! A tool's JSON Schema read as the types of its arguments.
//!
//! A schema that constrains a value further than a type does is read as the
//! type: policy then checks a wider value than the tool takes, which is safe.

use super::shape::Fields;
use super::shape::Shape;
use super::shape::Typed;
use serde_json::Map;
use serde_json::Value;
use std::collections::BTreeSet;

impl Fields {
    /// Reads a tool's `inputSchema`. A schema that declares no members leaves
    /// every argument undeclared.
    pub(super) fn of_tool(schema: &Value) -> Self {
        let mut compiler = Compiler {
            root: schema,
            followed: Vec::new(),
            budget: MAX_NODES,
        };
        let mut fields = compiler.fields(schema, 0).unwrap_or_default();
        fields.settle();
        fields
    }
}

const MAX_DEPTH: usize = 8;
const MAX_NODES: usize = 2_000;

struct Compiler<'s> {
    root: &'s Value,
    /// The references that are being followed.
    followed: Vec<&'s str>,
    /// How many schemas may still be read.
    budget: usize,
}

impl<'s> Compiler<'s> {
    /// Counts one schema that is read. References can lead to one schema more
    /// often than there is time to count, so each visit counts.
    fn spend(&mut self) -> Result<(), String> {
        let left = self.budget.checked_sub(1);
        self.budget = left.ok_or("the schema is too large")?;
        Ok(())
    }

    fn typed(&mut self, schema: &'s Value, depth: usize) -> Result<Typed, String> {
        self.spend()?;
        if depth > MAX_DEPTH {
            return Err(format!("it nests deeper than {MAX_DEPTH} levels"));
        }
        let Some(keywords) = schema.as_object() else {
            return Err("it declares no type".to_owned());
        };
        if let Some(reference) = keywords.get("$ref") {
            return self.follow(reference, |compiler, target| {
                compiler.typed(target, depth + 1)
            });
        }
        if let Some(declared) = keywords.get("type") {
            return self.by_type(declared, schema, depth);
        }
        if let Some(values) = keywords.get("enum").and_then(Value::as_array) {
            return by_values(values);
        }
        if let Some(value) = keywords.get("const") {
            return by_values(std::slice::from_ref(value));
        }
        if keywords.contains_key("properties") {
            return self.object(schema, depth).map(certain);
        }
        for union in ["anyOf", "oneOf"] {
            if let Some(branches) = keywords.get(union).and_then(Value::as_array) {
                return self.union(branches, depth);
            }
        }
        match keywords.get("allOf").and_then(Value::as_array) {
            Some(branches) if branches.len() == 1 => match branches.first() {
                Some(only) => self.typed(only, depth + 1),
                None => Err("it declares no type".to_owned()),
            },
            Some(_) => self.object(schema, depth).map(certain),
            None => Err("it declares no type".to_owned()),
        }
    }

    fn by_type(
        &mut self,
        declared: &'s Value,
        schema: &'s Value,
        depth: usize,
    ) -> Result<Typed, String> {
        let mut names: BTreeSet<&str> = match declared {
            Value::String(name) => BTreeSet::from([name.as_str()]),
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => BTreeSet::new(),
        };
        let nullable = names.remove("null");
        if names.contains("number") {
            names.remove("integer");
        }
        let mut names = names.into_iter();
        let shape = match (names.next(), names.next()) {
            (Some("string"), None) => Shape::Text,
            (Some("boolean"), None) => Shape::Flag,
            (Some("integer"), None) => Shape::Whole,
            (Some("number"), None) => Shape::Decimal,
            (Some("object"), None) => self.object(schema, depth)?,
            (Some("array"), None) => self.array(schema, depth)?,
            (Some(_), Some(_)) => return Err("it may have several types".to_owned()),
            (Some(_), None) | (None, _) => return Err("it declares no type".to_owned()),
        };
        Ok(Typed { shape, nullable })
    }

    fn object(&mut self, schema: &'s Value, depth: usize) -> Result<Shape, String> {
        let mut fields = self.fields(schema, depth)?;
        fields.settle();
        if fields.typed.is_empty() && fields.opaque.is_empty() {
            return Err("it is an object without declared properties".to_owned());
        }
        Ok(Shape::Record(fields))
    }

    /// The members that a schema declares itself and through `$ref` and `allOf`.
    fn fields(&mut self, schema: &'s Value, depth: usize) -> Result<Fields, String> {
        self.spend()?;
        if depth > MAX_DEPTH {
            return Err(format!("it nests deeper than {MAX_DEPTH} levels"));
        }
        let nothing = Map::new();
        let keywords = schema.as_object().unwrap_or(&nothing);
        let required: BTreeSet<&str> = keywords
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let mut fields = Fields::default();
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (name, property) in properties {
                let typed = self.typed(property, depth + 1);
                fields.insert(name, required.contains(name.as_str()), typed);
            }
        }
        if let Some(reference) = schema.get("$ref") {
            let inherited = self.follow(reference, |compiler, target| {
                compiler.fields(target, depth + 1)
            })?;
            fields.merge(inherited);
        }
        if let Some(Value::Array(branches)) = schema.get("allOf") {
            for branch in branches {
                let branch = self.fields(branch, depth + 1)?;
                fields.merge(branch);
            }
        }
        fields
            .demanded
            .extend(required.into_iter().map(str::to_owned));
        Ok(fields)
    }

    fn array(&mut self, schema: &'s Value, depth: usize) -> Result<Shape, String> {
        let (None, Some(items @ Value::Object(_))) =
            (schema.get("prefixItems"), schema.get("items"))
        else {
            return Err("it is an array without one type of items".to_owned());
        };
        let element = self
            .typed(items, depth + 1)
            .map_err(|reason| format!("of its items: {reason}"))?;
        match element {
            Typed { nullable: true, .. } => Err("its items may be null".to_owned()),
            Typed {
                shape: Shape::Many(_),
                ..
            } => Err("it is an array of arrays".to_owned()),
            Typed { shape, .. } => Ok(Shape::Many(Box::new(shape))),
        }
    }

    fn union(&mut self, branches: &'s [Value], depth: usize) -> Result<Typed, String> {
        let mut nullable = false;
        let mut shape = None;
        for branch in branches {
            if is_null(branch) {
                nullable = true;
                continue;
            }
            let typed = self.typed(branch, depth + 1)?;
            nullable |= typed.nullable;
            match &shape {
                None => shape = Some(typed.shape),
                Some(known) if *known == typed.shape => {}
                Some(_) => return Err("it may have several types".to_owned()),
            }
        }
        let shape = shape.ok_or("it declares no type")?;
        Ok(Typed { shape, nullable })
    }

    fn follow<T>(
        &mut self,
        reference: &'s Value,
        read: impl FnOnce(&mut Self, &'s Value) -> Result<T, String>,
    ) -> Result<T, String> {
        let unresolved = || "its `$ref` leads nowhere in this schema".to_owned();
        let reference = reference.as_str().ok_or_else(unresolved)?;
        let pointer = reference.strip_prefix('#').ok_or_else(unresolved)?;
        let target = self.root.pointer(pointer).ok_or_else(unresolved)?;
        if self.followed.contains(&reference) {
            return Err("it contains itself".to_owned());
        }
        self.followed.push(reference);
        let read = read(self, target);
        self.followed.pop();
        read
    }
}

fn certain(shape: Shape) -> Typed {
    Typed {
        shape,
        nullable: false,
    }
}

fn by_values(values: &[Value]) -> Result<Typed, String> {
    let mut nullable = false;
    let mut shape = None;
    for value in values {
        let found = match value {
            Value::Null => {
                nullable = true;
                continue;
            }
            Value::String(_) => Shape::Text,
            Value::Bool(_) => Shape::Flag,
            Value::Number(number) if number.is_i64() => Shape::Whole,
            Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                return Err("it lists values that have no type in policy".to_owned());
            }
        };
        match &shape {
            None => shape = Some(found),
            Some(known) if *known == found => {}
            Some(_) => return Err("it may have several types".to_owned()),
        }
    }
    let shape = shape.ok_or("it declares no type")?;
    Ok(Typed { shape, nullable })
}

fn is_null(schema: &Value) -> bool {
    schema.get("type") == Some(&Value::from("null"))
        || schema.get("const") == Some(&Value::Null)
        || schema.get("enum") == Some(&Value::Array(vec![Value::Null]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn only(schema: Value) -> Result<(Shape, bool), String> {
        let fields = Fields::of_tool(&json!({
            "type": "object",
            "properties": {"x": schema},
            "$defs": {
                "name": {"type": "string"},
                "loop": {"type": "object", "properties": {"next": {"$ref": "#/$defs/loop"}}},
            },
            "definitions": {"age": {"type": "integer"}},
        }));
        match (fields.typed.get("x"), fields.opaque.get("x")) {
            (Some(field), None) => Ok((field.shape.clone(), field.nullable)),
            (None, Some(opaque)) => Err(opaque.reason.clone()),
            both => panic!("{both:?}"),
        }
    }

    #[test]
    fn what_has_a_type_in_cedar_is_seen() {
        let many = |shape| Shape::Many(Box::new(shape));
        for (schema, shape, nullable) in [
            (
                json!({"type": "string", "format": "uri"}),
                Shape::Text,
                false,
            ),
            (json!({"type": ["string", "null"]}), Shape::Text, true),
            (json!({"type": ["integer"]}), Shape::Whole, false),
            (
                json!({"type": ["integer", "number"]}),
                Shape::Decimal,
                false,
            ),
            (json!({"enum": ["a", "b"]}), Shape::Text, false),
            (json!({"enum": ["a", null]}), Shape::Text, true),
            (json!({"const": 1}), Shape::Whole, false),
            (
                json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
                Shape::Flag,
                true,
            ),
            (
                json!({"oneOf": [{"type": "string"}, {"enum": ["a"]}]}),
                Shape::Text,
                false,
            ),
            (json!({"$ref": "#/$defs/name"}), Shape::Text, false),
            (
                json!({"allOf": [{"$ref": "#/definitions/age"}]}),
                Shape::Whole,
                false,
            ),
            (
                json!({"type": "array", "items": {"type": "string"}}),
                many(Shape::Text),
                false,
            ),
        ] {
            assert_eq!(only(schema.clone()), Ok((shape, nullable)), "{schema}");
        }
    }

    #[test]
    fn what_has_no_type_in_cedar_is_opaque_for_a_reason() {
        for (schema, reason) in [
            (json!(true), "no type"),
            (json!({}), "no type"),
            (json!({"type": "null"}), "no type"),
            (json!({"type": ["string", "integer"]}), "several types"),
            (
                json!({"oneOf": [{"type": "string"}, {"type": "integer"}]}),
                "several types",
            ),
            (json!({"type": "object"}), "without declared properties"),
            (
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
                "without",
            ),
            (json!({"type": "array"}), "one type of items"),
            (
                json!({"type": "array", "prefixItems": [{}], "items": {}}),
                "one type of items",
            ),
            (
                json!({"type": "array", "items": {"type": ["string", "null"]}}),
                "null",
            ),
            (
                json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}),
                "arrays",
            ),
            (json!({"$ref": "#/$defs/none"}), "leads nowhere"),
            (
                json!({"$ref": "https://example.com/schema"}),
                "leads nowhere",
            ),
            (json!({"enum": [1.5]}), "no type in policy"),
        ] {
            let found = only(schema.clone()).unwrap_err();
            assert!(found.contains(reason), "{schema}: {found}");
        }
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let (shape, _) = only(json!({"$ref": "#/$defs/loop"})).unwrap();
        let Shape::Record(fields) = shape else {
            panic!("no record");
        };
        assert_eq!(fields.opaque["next"].reason, "it contains itself");
    }

    #[test]
    fn a_schema_that_grows_without_bound_ends() {
        let mut defs = Map::new();
        for level in 0..8 {
            let next = json!({"$ref": format!("#/$defs/{}", level + 1)});
            let properties: Map<_, _> = (0..12).map(|i| (i.to_string(), next.clone())).collect();
            defs.insert(level.to_string(), json!({"properties": properties}));
        }
        defs.insert("8".to_owned(), json!({"type": "string"}));
        let fields = Fields::of_tool(&json!({"$ref": "#/$defs/0", "$defs": defs}));
        assert!(fields.unseen("").len() > 10);
    }

    #[test]
    fn the_parts_of_an_all_of_join() {
        let fields = Fields::of_tool(&json!({"allOf": [
            {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "integer"}, "c": {"type": "boolean"}}},
            {"required": ["c", "d"]},
        ]}));
        assert!(fields.typed["a"].required);
        assert!(fields.typed["c"].required);
        assert_eq!(fields.opaque["b"].reason, "it is declared in two ways");
        assert!(fields.opaque["d"].required);
    }

    #[test]
    fn a_server_cannot_pass_an_argument_off_as_a_derived_fact() {
        let fields = Fields::of_tool(&json!({"properties": {
            "path": {"type": "string"},
            "path#resolved": {"type": "string"},
            "a#b": {"type": "string"},
        }}));
        assert!(fields.opaque.contains_key("path#resolved"));
        assert!(fields.typed.contains_key("a#b"));
    }

    #[test]
    fn references_that_multiply_are_not_followed_for_ever() {
        let many = |target: &str| json!({"allOf": vec![json!({"$ref": target}); 100]});
        let fields = Fields::of_tool(&json!({
            "$ref": "#/$defs/a",
            "$defs": {
                "a": many("#/$defs/b"),
                "b": many("#/$defs/c"),
                "c": many("#/$defs/d"),
                "d": {"properties": {"seen": {"type": "string"}}},
            },
        }));
        assert!(fields.typed.is_empty() && fields.opaque.is_empty());
    }
}
