//! Permits for the tests of the rooms that need one: made the one way there is,
//! of a real decision and a real record.

use super::Permit;
use crate::journal;
use crate::journal::Effect;
use crate::journal::Subject;
use crate::policy::Bundle;
use crate::policy::Facts;
use crate::policy::Inputs;
use crate::policy::PolicyFile;
use crate::policy::PolicyServer;
use crate::policy::PolicyTool;
use crate::policy::Verdict;
use crate::principal::Limits;
use crate::principal::Principal;
use crate::principal::PrincipalId;
use crate::principal::Principals;
use crate::session::SessionFacts;
use crate::session::SessionId;
use crate::store::Durability;
use crate::store::Migration;
use crate::store::Store;
use crate::store::Writer;
use crate::tool::CallId;
use crate::tool::Digest;
use crate::tool::ToolRules;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const ALL: &str =
    r#"@id("all") permit (principal, action in Broker::Action::"tools/call", resource);"#;

const MIGRATIONS: [Migration; 1] = [Migration {
    number: 1,
    sql: &[journal::SCHEMA, journal::SCHEMA_12],
}];

/// The permit of a call of `alice` to the tool `play` of the server `test`.
pub(crate) fn countersigned(call: CallId) -> Permit {
    // On a thread of its own: a test may run on a runtime already.
    let made = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(admit(call))
    });
    made.join().unwrap()
}

async fn admit(call: CallId) -> Permit {
    let alice = alice();
    let entry = r#"{"name":"play","inputSchema":{"type":"object"}}"#;
    let definition = crate::pins::definition(&"test".parse().unwrap(), entry).unwrap();
    let tool = definition.id.clone();
    let bundle = Bundle::build(&Inputs {
        files: &[PolicyFile {
            name: "all.cedar".to_owned(),
            text: ALL.to_owned(),
        }],
        servers: &[PolicyServer {
            name: tool.server.clone(),
            trust: String::new(),
            tools: Some(vec![PolicyTool {
                definition: Arc::new(definition),
                rules: ToolRules::default(),
                pinned: true,
            }]),
        }],
        own: &[],
        principals: &Principals {
            roles: BTreeMap::from([("Junior".to_owned(), Default::default())]),
            by_id: BTreeMap::from([(alice.id.clone(), alice.clone())]),
        },
        money_scale: 2,
        meters: &[],
    })
    .unwrap();
    let gate = bundle.gate(&tool).unwrap();
    let reading = gate.read("{}").unwrap();
    let session = SessionId::from_bytes([7; 16]);
    let facts = Facts::only_of(SessionFacts::untouched(session, &alice.id));
    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    let Verdict::Allow(allowed) = gate.decide(call, &alice.id, &reading, &facts, now) else {
        panic!("everything is allowed here");
    };
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store.db"), &MIGRATIONS).unwrap();
    let enlisted = std::thread::scope(|scope| {
        scope
            .spawn(|| Writer::enlist(&store, now).unwrap())
            .join()
            .unwrap()
    });
    let subject = Subject {
        call,
        session,
        principal: alice.id,
        tool: tool.to_string(),
        arguments: Digest::of(b"{}"),
        policies: bundle.digest(),
        found: None,
    };
    let writer = enlisted.id();
    let opened = store.write("admit", Durability::Process, move |tx| {
        let entry = journal::open(
            tx,
            writer,
            (&subject, Effect::Possible, &json!({})),
            &allowed,
            now,
        )?;
        Ok((allowed, entry))
    });
    let (allowed, entry) = opened.await.unwrap().split(|opened| opened);
    Permit::new(allowed, entry).unwrap()
}

fn alice() -> Principal {
    Principal {
        id: PrincipalId::parse("alice").unwrap(),
        role: "Junior".to_owned(),
        teams: Default::default(),
        limits: Limits {
            call: 0,
            session: 0,
            day: 0,
        },
        named_limits: BTreeMap::new(),
        attributes: BTreeMap::new(),
        agent: None,
    }
}
