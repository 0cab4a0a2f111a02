//! A small world for tests: an insurer's claims server and a file server.

use crate::policy::Bundle;
use crate::policy::BundleError;
use crate::policy::Facts;
use crate::policy::Gate;
use crate::policy::Inputs;
use crate::policy::PolicyFile;
use crate::policy::PolicyServer;
use crate::policy::PolicyTool;
use crate::policy::Totals;
use crate::policy::Verdict;
use crate::principal::Limits;
use crate::principal::Principal;
use crate::principal::PrincipalId;
use crate::principal::Principals;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::tool::Access;
use crate::tool::CallId;
use crate::tool::Digest;
use crate::tool::Hints;
use crate::tool::Meter;
use crate::tool::ToolDefinition;
use crate::tool::ToolId;
use crate::tool::ToolRules;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Clone)]
pub(super) struct World {
    pub(super) files: Vec<PolicyFile>,
    pub(super) servers: Vec<PolicyServer>,
    pub(super) principals: Principals,
    pub(super) meters: Vec<Arc<Meter>>,
    /// Those of the broker's own tools that policies name.
    own: Vec<PolicyTool>,
}

impl World {
    /// Claims and files, with the shipped policies.
    pub(super) fn shipped() -> Self {
        let mut world = Self::bare();
        world.add(
            "claims.cedar",
            include_str!("../../../policies/claims.cedar"),
        );
        world.with_global()
    }

    /// The same with the shipped rules for every server, and the tools that they name.
    pub(super) fn with_global(mut self) -> Self {
        let rules = ToolRules {
            risk: "reserved".to_owned(),
            ..ToolRules::default()
        };
        let own = |name| {
            let schema = json!({"type": "object"});
            tool("countersign", name, schema, rules.clone())
        };
        self.own = ["escalation_list", "escalation_decide"].map(own).into();
        self.add(
            "global.cedar",
            include_str!("../../../policies/global.cedar"),
        );
        self
    }

    /// The same without policies.
    pub(super) fn bare() -> Self {
        Self {
            files: Vec::new(),
            servers: vec![claims(), files()],
            principals: principals(),
            meters: Vec::new(),
            own: Vec::new(),
        }
    }

    /// One tool `t/x` that everyone may call.
    pub(super) fn of_tool(schema: Value, rules: ToolRules) -> Self {
        let mut world = Self::bare();
        world.servers = vec![server("t", Some(vec![tool("t", "x", schema, rules)]))];
        let all =
            r#"@id("all") permit(principal, action in Broker::Action::"tools/call", resource);"#;
        world.add("all.cedar", all);
        world
    }

    pub(super) fn add(&mut self, name: &str, text: &str) {
        self.files.push(PolicyFile {
            name: name.to_owned(),
            text: text.to_owned(),
        });
    }

    pub(super) fn with(mut self, text: &str) -> Self {
        self.add("own.cedar", text);
        self
    }

    pub(super) fn build(&self) -> Result<Bundle, BundleError> {
        Bundle::build(&Inputs {
            files: &self.files,
            servers: &self.servers,
            own: &self.own,
            principals: &self.principals,
            money_scale: 2,
            meters: &self.meters,
        })
    }

    pub(super) fn gate(&self, tool: &str) -> Arc<Gate> {
        let bundle = self.build().unwrap_or_else(|error| panic!("{error}"));
        Arc::clone(bundle.gate(&tool_id(tool)).unwrap())
    }
}

pub(super) fn tool_id(text: &str) -> ToolId {
    let (server, name) = text.split_once('/').unwrap();
    ToolId {
        server: server.parse().unwrap(),
        name: name.into(),
    }
}

pub(super) fn id(name: &str) -> PrincipalId {
    PrincipalId::parse(name).unwrap()
}

pub(super) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// Quiet facts for a gate: totals are what this call adds.
pub(super) fn facts(gate: &Gate, arguments: &str) -> Facts {
    let reading = gate.read(arguments).unwrap();
    let totals = reading.amounts().iter().map(|amount| Totals {
        session_after: amount.value,
        day_after: amount.value,
    });
    let session = SessionFacts::untouched(SessionId::from_bytes([7; 16]), &id("alice"));
    Facts {
        totals: totals.collect(),
        meters: reading.counts().map(|(_, value)| value).collect(),
        ..Facts::only_of(session)
    }
}

pub(super) fn decide(gate: &Gate, who: &str, arguments: &str, facts: &Facts) -> Verdict {
    let reading = gate.read(arguments).unwrap();
    gate.decide(
        CallId::from_bytes([1; 16]),
        &id(who),
        &reading,
        facts,
        now(),
    )
}

/// The verdict in one line: its kind, its code, and what it names.
pub(super) fn told(verdict: &Verdict) -> String {
    let denied = |kind: &str, denial: &crate::policy::Denial| {
        let reasons: Vec<_> = denial.reasons.iter().map(|r| r.policy.as_str()).collect();
        format!("{kind} {} {reasons:?} {:?}", denial.code, denial.errors)
    };
    match verdict {
        Verdict::Allow(allowed) => format!("allow {:?}", allowed.policies()),
        Verdict::Deny(denial) => denied("deny", denial),
        Verdict::Escalate(denial, escalation) => {
            format!("{} to {:?}", denied("escalate", denial), escalation.roles)
        }
        Verdict::Confirm(denial, confirmation) => {
            format!("{} by {:?}", denied("confirm", denial), confirmation.asks)
        }
    }
}

pub(super) fn tool(server: &str, name: &str, schema: Value, rules: ToolRules) -> PolicyTool {
    PolicyTool {
        definition: Arc::new(ToolDefinition {
            id: tool_id(&format!("{server}/{name}")),
            json: "{}".into(),
            digest: Digest::of(schema.to_string().as_bytes()),
            input_schema: schema,
            hints: Hints::default(),
        }),
        rules,
        pinned: true,
    }
}

pub(super) fn server(name: &str, tools: Option<Vec<PolicyTool>>) -> PolicyServer {
    PolicyServer {
        name: name.parse().unwrap(),
        trust: "internal".to_owned(),
        tools,
    }
}

pub(super) fn names(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

fn claims() -> PolicyServer {
    let string = json!({"type": "string"});
    let read = ToolRules {
        access: Access::Read,
        risk: "low".to_owned(),
        ..ToolRules::default()
    };
    let pay = ToolRules {
        risk: "high".to_owned(),
        money: names(&["amount", "line_items[].amount"]),
        meters: names(&["amount"]),
        sums: names(&["line_items[].amount"]),
        ..ToolRules::default()
    };
    let claim =
        json!({"type": "object", "properties": {"claim_id": string}, "required": ["claim_id"]});
    let payment = json!({"type": "object", "properties": {
        "claim_id": string, "amount": {"type": "number"}, "payee": string,
        "memo": {"type": ["string", "null"]},
        "line_items": {"type": "array", "items": {"type": "object",
            "properties": {"code": string, "amount": {"type": "number"}},
            "required": ["code", "amount"]}},
    }, "required": ["claim_id", "amount", "payee"]});
    let close = json!({"type": "object", "properties": {"claim_id": string, "reason": string},
        "required": ["claim_id", "reason"]});
    server(
        "claims",
        Some(vec![
            tool("claims", "get_claim", claim, read),
            tool("claims", "approve_payment", payment, pay),
            tool("claims", "close_claim", close, ToolRules::default()),
        ]),
    )
}

fn files() -> PolicyServer {
    let path = json!({"type": "object", "properties": {"path": {"type": "string"},
        "limit": {"type": "integer"}}, "required": ["path"]});
    let rules = |access| ToolRules {
        access,
        paths: names(&["path"]),
        under: BTreeMap::from([("path".to_owned(), "/srv".to_owned())]),
        ..ToolRules::default()
    };
    let fetching = ToolRules {
        sink: true,
        ..rules(Access::Read)
    };
    server(
        "files",
        Some(vec![
            tool("files", "read-file", path.clone(), fetching),
            tool("files", "write.file \"x\"", path, rules(Access::Write)),
        ]),
    )
}

fn principals() -> Principals {
    let role =
        |name: &str, includes: &[&str]| (name.to_owned(), names(includes).into_iter().collect());
    let user = |name: &str, role: &str, limits: [i64; 3]| {
        let principal = Principal {
            id: id(name),
            role: role.to_owned(),
            teams: BTreeSet::from(["claims-team".to_owned()]),
            limits: Limits {
                call: limits[0],
                session: limits[1],
                day: limits[2],
            },
            named_limits: BTreeMap::from([("refund.limit".to_owned(), 5_000)]),
            attributes: BTreeMap::new(),
            agent: None,
        };
        (principal.id.clone(), principal)
    };
    Principals {
        roles: BTreeMap::from([
            role("Junior", &[]),
            role("Senior", &["Junior"]),
            role("Manager", &["Senior"]),
            role("Auditor", &[]),
        ]),
        by_id: BTreeMap::from([
            user("alice", "Junior", [1_000_000, 2_000_000, 4_000_000]),
            user("mallory", "Senior", [2_500_000, 5_000_000, 10_000_000]),
            user("mia", "Manager", [10_000_000, 100_000_000, 200_000_000]),
            user("audrey", "Auditor", [0, 0, 0]),
        ]),
    }
}
