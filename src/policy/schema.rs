//! The Cedar schema: the base part, the attributes of the principals, and one
//! action for each tool.
//!
//! Built as a JSON value, so that no name is escaped by hand, whatever a
//! server calls its tools.

use super::shape::Fact;
use super::shape::Fields;
use super::shape::Shape;
use super::shape::count_attribute;
use crate::principal::Attribute;
use crate::tool::Access;
use crate::tool::Asking;
use crate::tool::ToolId;
use cedar_policy::Schema;
use cedar_policy::SchemaFragment;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;

/// The part that is the same everywhere.
pub(super) const BASE: &str = include_str!("../../policies/broker.cedarschema");

/// The action of opening a session by a new handle.
pub(super) const OPEN: &str = "session/open";

/// The action of calling in a session of somebody else.
pub(super) const JOIN: &str = "session/join";

/// The action of sending an event to a session.
pub(super) const EVENT: &str = "session/event";

/// The server entity that is the broker itself.
pub(super) const BROKER: &str = "countersign";

/// Actions of the base part: no tool may be named like one.
pub(super) const BASE_ACTIONS: [&str; 14] = [
    "tools/call",
    "read",
    "write",
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "completion/complete",
    "tasks/get",
    "tasks/result",
    "tasks/update",
    "tasks/cancel",
    OPEN,
    JOIN,
    EVENT,
];

/// Whether an action is a group of actions, which is the action of no call.
pub(super) fn is_group(action: &str) -> bool {
    let is_own = BASE_ACTIONS.contains(&action) && ![OPEN, JOIN, EVENT].contains(&action);
    is_own || action.starts_with("server:")
}

/// Attributes of users in the base part.
pub(super) const BASE_ATTRIBUTES: [&str; 5] =
    ["role", "limit", "sessionLimit", "dayLimit", "agent"];

/// One tool's part of the schema.
#[derive(Debug)]
pub(super) struct ToolSchema<'a> {
    pub(super) id: &'a ToolId,
    pub(super) access: Access,
    pub(super) fields: &'a Fields,
    pub(super) meters: &'a [String],
    /// The names of the declared meters that count it.
    pub(super) counted: Vec<&'a str>,
}

/// Puts the schema together. Returns it as Cedar uses it and as people read it.
pub(super) fn assemble(
    users: &BTreeMap<String, &Attribute>,
    servers: &[&str],
    tools: &[ToolSchema<'_>],
) -> Result<(Schema, String), String> {
    let unusable = |source: &dyn std::fmt::Display| format!("the schema cannot be built: {source}");
    let (base, _) = SchemaFragment::from_cedarschema_str(BASE).map_err(|e| unusable(&e))?;
    let mut json = base.to_json_value().map_err(|e| unusable(&e))?;
    let attributes = members(&mut json, "/Broker/entityTypes/User/shape/attributes")?;
    for (name, attribute) in users {
        let mut declared = user_attribute(attribute);
        set_required(&mut declared, Presence::Optional);
        attributes.insert(name.clone(), declared);
    }
    let actions = members(&mut json, "/Broker/actions")?;
    for server in servers {
        actions.insert(format!("server:{server}"), json!({}));
    }
    for tool in tools {
        actions.insert(tool.id.to_string(), action(tool));
    }
    let fragment = SchemaFragment::from_json_value(json).map_err(|e| unusable(&e))?;
    let text = fragment.to_cedarschema().map_err(|e| unusable(&e))?;
    let schema = Schema::from_schema_fragments([fragment]).map_err(|e| unusable(&e))?;
    Ok((schema, text))
}

fn members<'v>(json: &'v mut Value, pointer: &str) -> Result<&'v mut Map<String, Value>, String> {
    json.pointer_mut(pointer)
        .and_then(Value::as_object_mut)
        .ok_or_else(|| format!("the base schema has no `{pointer}`"))
}

fn action(tool: &ToolSchema<'_>) -> Value {
    let group = match (tool.id.asking(), tool.access) {
        // What they change is in the session of the call, and nowhere else.
        (Asking::Tool, _) if tool.id.server.as_str() == BROKER => "tools/call",
        (Asking::Tool, Access::Read) => "read",
        (Asking::Tool, Access::Write) => "write",
        (other, Access::Read | Access::Write) => other.method(),
    };
    let mut context = Map::new();
    context.insert("call".to_owned(), named("Call"));
    context.insert("session".to_owned(), named("Session"));
    context.insert("input".to_owned(), record(tool.fields));
    if !tool.meters.is_empty() {
        let meters: Map<_, _> = tool
            .meters
            .iter()
            .map(|meter| (meter.clone(), named("Meter")))
            .collect();
        let meters = json!({"type": "Record", "attributes": meters});
        context.insert("meter".to_owned(), meters);
    }
    if !tool.counted.is_empty() {
        let counted = tool.counted.iter();
        let counted: Map<_, _> = counted
            .map(|name| ((*name).to_owned(), named("Long")))
            .collect();
        let counted = json!({"type": "Record", "attributes": counted});
        context.insert("meters".to_owned(), counted);
    }
    let mut action = json!({
        "memberOf": [{"id": group}, {"id": format!("server:{}", tool.id.server)}],
        "appliesTo": {
            "principalTypes": ["User"],
            "resourceTypes": ["Tool"],
            "context": {"type": "Record", "attributes": context},
        },
    });
    let unseen = tool.fields.unseen("");
    if let (false, Value::Object(members)) = (unseen.is_empty(), &mut action) {
        let unseen = unseen
            .iter()
            .map(|(place, why)| format!("`{place}`: {why}"));
        let unseen = unseen.collect::<Vec<_>>().join("; ");
        let doc = json!({"doc": format!("Policy cannot see {unseen}.")});
        members.insert("annotations".to_owned(), doc);
    }
    action
}

/// A type by the name that people write.
fn named(name: &str) -> Value {
    json!({"type": "EntityOrCommon", "name": name})
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Always,
    Optional,
}

/// The type of a record with these members and what is derived from them.
fn record(fields: &Fields) -> Value {
    let mut attributes = Map::new();
    for (name, field) in &fields.typed {
        let presence = if field.is_always_there() {
            Presence::Always
        } else {
            Presence::Optional
        };
        let mut insert = |name: String, mut declared: Value, presence: Presence| {
            set_required(&mut declared, presence);
            attributes.insert(name, declared);
        };
        insert(name.clone(), shape(&field.shape), presence);
        let many = matches!(field.shape, Shape::Many(_));
        if many {
            insert(count_attribute(name), named("Long"), Presence::Always);
        }
        for fact in &field.facts {
            let text = named("String");
            let (declared, presence) = match fact {
                Fact::Sum(_) => (named("Long"), Presence::Always),
                Fact::Under(_) => (named("Bool"), Presence::Always),
                Fact::Resolved | Fact::Host | Fact::Scheme | Fact::Path if many => {
                    (json!({"type": "Set", "element": text}), presence)
                }
                Fact::Resolved | Fact::Host | Fact::Scheme | Fact::Path => (text, presence),
            };
            insert(fact.attribute(name), declared, presence);
        }
    }
    json!({"type": "Record", "attributes": attributes})
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Text => named("String"),
        Shape::Flag => named("Bool"),
        Shape::Whole | Shape::Money(_) => named("Long"),
        Shape::Decimal => named("decimal"),
        Shape::Record(fields) => record(fields),
        Shape::Many(element) => json!({"type": "Set", "element": self::shape(element)}),
    }
}

fn user_attribute(attribute: &Attribute) -> Value {
    match attribute {
        Attribute::Text(_) => named("String"),
        Attribute::Flag(_) => named("Bool"),
        Attribute::Number(_) => named("Long"),
        Attribute::Texts(_) => json!({"type": "Set", "element": named("String")}),
    }
}

fn set_required(declared: &mut Value, presence: Presence) {
    if let Value::Object(members) = declared {
        members.insert(
            "required".to_owned(),
            Value::Bool(presence == Presence::Always),
        );
    }
}
