//! Decision rows: a fixture says who calls which tool with which arguments, and
//! exactly what policy answers.

use countersign::pins;
use countersign::policy::Bundle;
use countersign::policy::Facts;
use countersign::policy::Inputs;
use countersign::policy::PolicyFile;
use countersign::policy::PolicyServer;
use countersign::policy::PolicyTool;
use countersign::policy::Totals;
use countersign::policy::Verdict;
use countersign::principal::Agent;
use countersign::principal::Limits;
use countersign::principal::Principal;
use countersign::principal::PrincipalId;
use countersign::principal::Principals;
use countersign::session::SessionFacts;
use countersign::session::SessionId;
use countersign::tool::Access;
use countersign::tool::CallId;
use countersign::tool::Digest;
use countersign::tool::Hints;
use countersign::tool::ServerName;
use countersign::tool::ToolDefinition;
use countersign::tool::ToolId;
use countersign::tool::ToolRules;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

#[test]
fn every_decision_row_of_the_claims_adjuster_holds() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../../fixtures/policy/claims.json")).unwrap();
    let bundle = fixture.bundle();
    assert_eq!(fixture.rows.len(), 13);
    for row in &fixture.rows {
        assert_eq!(row.decided(&bundle), row.expected(), "{}", row.name);
    }
}

/// What a row compares.
#[derive(Debug, PartialEq)]
struct Outcome {
    verdict: String,
    reasons: Vec<String>,
    errors: usize,
    roles: Vec<String>,
    expires: Option<SignedDuration>,
    asks: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    roles: BTreeMap<String, BTreeSet<String>>,
    principals: Vec<PrincipalEntry>,
    server: ServerEntry,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrincipalEntry {
    name: String,
    role: String,
    /// Per call, session and day, in cents.
    limits: [i64; 3],
    agent: Option<AgentEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentEntry {
    name: String,
    client: String,
    trusted: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerEntry {
    name: String,
    trust: String,
    tools: Vec<ToolEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ToolEntry {
    name: String,
    access: String,
    risk: String,
    hints: HintsEntry,
    #[serde(default)]
    money: Vec<String>,
    #[serde(default)]
    meters: Vec<String>,
    input_schema: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HintsEntry {
    read_only: bool,
    destructive: bool,
    open_world: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    principal: String,
    tool: String,
    arguments: Box<RawValue>,
    /// Of each meter: session and day, in cents, this call included.
    #[serde(default)]
    totals: Vec<[i64; 2]>,
    approval: Option<String>,
    /// Whether the person in front of the client said yes.
    #[serde(default)]
    confirmed: bool,
    verdict: String,
    reasons: Vec<String>,
    errors: usize,
    #[serde(default)]
    roles: Vec<String>,
    expires: Option<SignedDuration>,
    /// What the person in front of the client is asked.
    #[serde(default)]
    asks: Vec<String>,
}

impl Fixture {
    fn bundle(&self) -> Bundle {
        let file = |name: &str, text: &str| PolicyFile {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let files = [
            file("claims.cedar", include_str!("../../policies/claims.cedar")),
            file("global.cedar", include_str!("../../policies/global.cedar")),
        ];
        let name: ServerName = self.server.name.parse().unwrap();
        let server = PolicyServer {
            trust: self.server.trust.clone(),
            tools: Some(
                self.server
                    .tools
                    .iter()
                    .map(|tool| tool.tool(&name))
                    .collect(),
            ),
            name,
        };
        let principals = Principals {
            roles: self.roles.clone(),
            by_id: self
                .principals
                .iter()
                .map(|entry| (id(&entry.name), entry.principal()))
                .collect(),
        };
        let built = Bundle::build(&Inputs {
            files: &files,
            servers: &[server],
            own: &own(),
            principals: &principals,
            money_scale: 2,
            meters: &[],
        });
        built.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// The broker's own tools that the shipped policies name.
fn own() -> Vec<PolicyTool> {
    let names = ["escalation_list", "escalation_decide"];
    let own = names.map(|name| {
        let server = "countersign".parse().unwrap();
        let entry = json!({"name": name, "inputSchema": {"type": "object"}});
        PolicyTool {
            definition: pins::definition(&server, &entry.to_string())
                .unwrap()
                .into(),
            rules: ToolRules::default(),
            pinned: true,
        }
    });
    own.into()
}

impl PrincipalEntry {
    fn principal(&self) -> Principal {
        Principal {
            id: id(&self.name),
            role: self.role.clone(),
            teams: BTreeSet::new(),
            limits: Limits {
                call: self.limits[0],
                session: self.limits[1],
                day: self.limits[2],
            },
            named_limits: BTreeMap::new(),
            attributes: BTreeMap::new(),
            agent: self.agent.as_ref().map(|agent| Agent {
                name: agent.name.clone(),
                client: agent.client.clone(),
                trusted: agent.trusted,
            }),
        }
    }
}

impl ToolEntry {
    fn tool(&self, server: &ServerName) -> PolicyTool {
        PolicyTool {
            definition: Arc::new(ToolDefinition {
                id: ToolId {
                    server: server.clone(),
                    name: self.name.as_str().into(),
                },
                json: "{}".into(),
                input_schema: self.input_schema.clone(),
                hints: Hints {
                    read_only: self.hints.read_only,
                    destructive: self.hints.destructive,
                    open_world: self.hints.open_world,
                },
                digest: Digest::of(self.name.as_bytes()),
            }),
            rules: ToolRules {
                access: match self.access.as_str() {
                    "read" => Access::Read,
                    _ => Access::Write,
                },
                risk: self.risk.clone(),
                money: self.money.clone(),
                meters: self.meters.clone(),
                ..ToolRules::default()
            },
            pinned: true,
        }
    }
}

impl Row {
    fn expected(&self) -> Outcome {
        Outcome {
            verdict: self.verdict.clone(),
            reasons: self.reasons.clone(),
            errors: self.errors,
            roles: self.roles.clone(),
            expires: self.expires,
            asks: self.asks.clone(),
        }
    }

    fn decided(&self, bundle: &Bundle) -> Outcome {
        let (server, name) = self.tool.split_once('/').unwrap();
        let tool = ToolId {
            server: server.parse().unwrap(),
            name: name.into(),
        };
        let gate = bundle.gate(&tool).unwrap();
        let reading = gate.read(self.arguments.get()).unwrap();
        let facts = Facts {
            session: SessionFacts {
                id: SessionId::from_bytes([7; 16]),
                owner: id(&self.principal),
                labels: BTreeSet::new(),
                frozen: false,
                paused: false,
            },
            meters: Vec::new(),
            totals: self
                .totals
                .iter()
                .map(|[session_after, day_after]| Totals {
                    session_after: *session_after,
                    day_after: *day_after,
                })
                .collect(),
            denied_lately: 0,
            approval: self.approval.as_deref().map(id),
            confirmed: self.confirmed,
        };
        let call = CallId::from_bytes([1; 16]);
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let verdict = gate.decide(call, &id(&self.principal), &reading, &facts, now);
        outcome(&verdict)
    }
}

fn outcome(verdict: &Verdict) -> Outcome {
    let (mut lifts, mut asks) = (None, Vec::new());
    let (name, denial) = match verdict {
        Verdict::Allow(allowed) => {
            return Outcome {
                verdict: "allow".to_owned(),
                reasons: allowed.policies().to_vec(),
                errors: 0,
                roles: Vec::new(),
                expires: None,
                asks: Vec::new(),
            };
        }
        Verdict::Deny(denial) => ("deny", denial),
        Verdict::Escalate(denial, escalation) => {
            lifts = Some(escalation);
            ("escalate", denial)
        }
        Verdict::Confirm(denial, confirmation) => {
            asks.clone_from(&confirmation.asks);
            ("confirm", denial)
        }
    };
    Outcome {
        verdict: name.to_owned(),
        reasons: denial
            .reasons
            .iter()
            .map(|reason| reason.policy.clone())
            .collect(),
        errors: denial.errors.len(),
        roles: lifts.map(|e| e.roles.clone()).unwrap_or_default(),
        expires: lifts.map(|e| e.expires),
        asks,
    }
}

fn id(name: &str) -> PrincipalId {
    PrincipalId::parse(name).unwrap()
}
