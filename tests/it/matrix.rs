//! Principals × tools as one snapshot: an edit of a policy shows its reach here.

use crate::world::World;
use countersign::app;
use countersign::broker::Catalogue;
use countersign::policy::Facts;
use countersign::policy::Gate;
use countersign::policy::Totals;
use countersign::policy::Verdict;
use countersign::principal::PrincipalId;
use countersign::session::SessionFacts;
use countersign::session::SessionId;
use countersign::tool::CallId;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// What each tool is asked for.
const ASKED: [(&str, &[&str]); 3] = [
    ("get_claim", &[r#"{"claim_id":"99"}"#]),
    (
        "approve_payment",
        &[
            r#"{"claim_id":"99","amount":0,"payee":"ACME"}"#,
            r#"{"claim_id":"99","amount":10000,"payee":"ACME"}"#,
            r#"{"claim_id":"99","amount":10000.01,"payee":"ACME"}"#,
            r#"{"claim_id":"99","amount":25000.01,"payee":"ACME"}"#,
            r#"{"claim_id":"99","amount":100000.01,"payee":"ACME"}"#,
        ],
    ),
    ("close_claim", &[r#"{"claim_id":"99","reason":"done"}"#]),
];

fn catalogue(world: &World) -> Catalogue {
    // A start of the broker pins the tools of the claims server.
    let mut broker = world.broker().initialized();
    broker.ask("tools/list", json!({}));
    assert!(broker.end());
    app::catalogue(&world.config(), &world.store()).unwrap()
}

fn decision(gate: &Arc<Gate>, principal: &PrincipalId, arguments: &str, labels: &[&str]) -> String {
    let reading = gate.read(arguments).unwrap();
    let totals = reading.amounts().iter().map(|amount| Totals {
        session_after: amount.value,
        day_after: amount.value,
    });
    let facts = Facts {
        session: SessionFacts {
            id: SessionId::from_bytes([1; 16]),
            owner: principal.clone(),
            labels: labels
                .iter()
                .map(|label| (*label).to_owned())
                .collect::<BTreeSet<_>>(),
            frozen: false,
            paused: false,
        },
        totals: totals.collect(),
        meters: Vec::new(),
        denied_lately: 0,
        approval: None,
        confirmed: false,
    };
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    match gate.decide(
        CallId::from_bytes([1; 16]),
        principal,
        &reading,
        &facts,
        now,
    ) {
        Verdict::Allow(allowed) => format!("allow     {}", allowed.policies().join(" ")),
        Verdict::Deny(denial) => format!("deny      {}", denial.code),
        Verdict::Escalate(denial, escalation) => {
            format!(
                "escalate  {} to {}",
                denial.code,
                escalation.roles.join(" or ")
            )
        }
        Verdict::Confirm(denial, _) => format!("confirm   {}", denial.code),
    }
}

#[test]
fn principals_by_tools() {
    let world = World::new();
    let catalogue = catalogue(&world);
    let bundle = catalogue.bundle();
    let principals = world.config().rules.principals().unwrap();
    let mut table = String::new();
    for principal in principals.by_id.keys() {
        for (tool, asked) in ASKED {
            let tool = countersign::tool::ToolId {
                server: "claims".parse().unwrap(),
                name: tool.into(),
            };
            let seen = if bundle.lists(principal, &tool) {
                "listed"
            } else {
                "hidden"
            };
            writeln!(table, "{principal} {tool} {seen}").unwrap();
            let gate = bundle.gate(&tool).unwrap();
            for arguments in asked {
                let plain = decision(gate, principal, arguments, &[]);
                let tainted = decision(gate, principal, arguments, &["untrusted-web"]);
                writeln!(table, "  {arguments}\n    {plain}").unwrap();
                if tainted != plain {
                    writeln!(table, "    {tainted} (session has seen untrusted-web)").unwrap();
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn who_sees_the_same_tools_stands_together_on_lines_that_can_be_read() {
    let world = World::new();
    world.append(
        "principals.toml",
        "\n[[principals]]\nsubject = \"bob\"\nrole = \"Junior\"\nlimits = { call = \"1.00\", session = \"1.00\", day = \"1.00\" }\n",
    );
    world.write(
        "policies/nothing.cedar",
        "@id(\"x\") forbid (principal == Broker::User::\"sam\", action, resource);",
    );
    let (_good, printed) = world.run(&["check"]);
    let (before, rows) = printed.split_once("who may see which tool\n").unwrap();
    assert!(!before.contains("warning:"), "{printed}");
    let rows: Vec<&str> = rows
        .lines()
        .take_while(|row| row.starts_with("  "))
        .collect();
    let who = rows.iter().filter(|row| !row.starts_with("    "));
    assert_eq!(
        who.collect::<Vec<_>>(),
        [&"  alice, bob:", &"  mia:", &"  sam:"],
        "{printed}"
    );
    assert!(
        rows.contains(&"    nothing: `x` (nothing.cedar:1) forbids all that they could call"),
        "{printed}"
    );
    let of_tools = rows.iter().filter(|row| row.contains("__"));
    assert!(of_tools.clone().all(|row| row.len() <= 96), "{printed}");
    assert!(of_tools.count() > 4, "{printed}");
}
