//! The peer of a decision: Cedar as its guide shows it, with every policy, all
//! of the context, and that from JSON. It uses Cedar directly because it is what
//! the `policy` room is compared with.

use crate::folder::CLAIMS_POLICY;
use crate::folder::GLOBAL_POLICY;
use crate::world::World;
use cedar_policy::Authorizer;
use cedar_policy::Context;
use cedar_policy::Decision;
use cedar_policy::Entities;
use cedar_policy::EntityUid;
use cedar_policy::PolicySet;
use cedar_policy::Request;
use cedar_policy::Schema;
use serde_json::Value;
use serde_json::json;
use std::fmt::Write;

const BUILT_IN: &str = include_str!("../../src/policy/builtin.cedar");

pub(crate) struct Naive {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
    schema: Schema,
    asked: [EntityUid; 3],
    context: Value,
}

impl Naive {
    /// The shipped policies and these, asked about a payment that is allowed.
    pub(crate) fn new(world: &World, more: &str) -> Self {
        let texts = [CLAIMS_POLICY, GLOBAL_POLICY, BUILT_IN, more];
        let text = world.broker.catalogue().bundle().schema_text().to_owned();
        let (schema, _warnings) = Schema::from_cedarschema_str(&text).unwrap();
        let entities = Entities::from_json_value(entities(), Some(&schema)).unwrap();
        Self {
            authorizer: Authorizer::new(),
            policies: texts.join("\n").parse().unwrap(),
            entities,
            schema,
            asked: [
                "Broker::User::\"alice\"",
                "Broker::Action::\"claims/approve_payment\"",
                "Broker::Tool::\"claims/approve_payment\"",
            ]
            .map(|uid| uid.parse().unwrap()),
            context: context(world),
        }
    }

    pub(crate) fn allows(&self) -> bool {
        self.ask(None)
    }

    /// With context and request checked against the schema at each call.
    pub(crate) fn allows_checked(&self) -> bool {
        self.ask(Some(&self.schema))
    }

    fn ask(&self, schema: Option<&Schema>) -> bool {
        let [user, action, tool] = self.asked.clone();
        let typed = schema.map(|schema| (schema, &action));
        let context = Context::from_json_value(self.context.clone(), typed).unwrap();
        let request = Request::new(user, action, tool, context, schema).unwrap();
        let answer = self
            .authorizer
            .is_authorized(&request, &self.policies, &self.entities);
        assert_eq!(answer.diagnostics().errors().count(), 0);
        answer.decision() == Decision::Allow
    }
}

/// The amount is in cents already, so the peer is spared the exact reading.
fn context(world: &World) -> Value {
    json!({
        "call": {
            "now": {"__extn": {"fn": "datetime", "arg": "2026-11-22T12:00:00.000Z"}},
            "opaque": [],
        },
        "session": {"id": world.session.to_string(), "labels": [], "frozen": false},
        "input": {
            "claim_id": "99",
            "amount": 1_250,
            "payee": "ACME Ltd",
            "line_items#count": 0,
        },
        "meter": {"amount": {"sessionAfter": 1_250, "dayAfter": 1_250}},
    })
}

fn entities() -> Value {
    let uid = |kind: &str, id: &str| json!({"type": format!("Broker::{kind}"), "id": id});
    let entity = |kind: &str, id: &str, attrs: Value, parents: Vec<Value>| json!({"uid": uid(kind, id), "attrs": attrs, "parents": parents});
    let user = |id: &str, role: &str| {
        let limits = json!({
            "role": role,
            "limit": 1_000_000,
            "sessionLimit": 2_000_000,
            "dayLimit": 6_000_000,
        });
        entity("User", id, limits, vec![uid("Role", role)])
    };
    let tool = |id: &str, risk: &str| {
        let attrs = json!({
            "risk": risk,
            "hints": {"readOnly": false, "destructive": true, "openWorld": false},
            "pinned": true,
        });
        entity("Tool", id, attrs, vec![uid("Server", "claims")])
    };
    json!([
        entity("Role", "Junior", json!({}), vec![]),
        entity("Role", "Senior", json!({}), vec![uid("Role", "Junior")]),
        entity("Role", "Manager", json!({}), vec![uid("Role", "Senior")]),
        entity("Server", "claims", json!({"trust": "internal"}), vec![]),
        entity("Server", "countersign", json!({"trust": "self"}), vec![]),
        tool("claims/get_claim", "low"),
        tool("claims/approve_payment", "high"),
        tool("claims/close_claim", "medium"),
        user("alice", "Junior"),
        user("sam", "Senior"),
        user("mia", "Manager"),
    ])
}

/// Policies of `close_claim`, which no payment can match.
pub(crate) fn policies_of_another_tool(count: usize) -> String {
    let mut policies = String::new();
    for number in 0..count {
        writeln!(
            policies,
            "@id(\"more.{number}\") @reason(\"more\") @message(\"No.\") \
             forbid (principal, action == Broker::Action::\"claims/close_claim\", resource) \
             when {{ context.session.labels.contains(\"label-{number}\") }};"
        )
        .unwrap();
    }
    policies
}
