//! The interface for programs is what its document says, also where nobody means well.

use crate::events::read;
use crate::http::talk::Talk;
use crate::real::python_tool;
use crate::world::APPROVE;
use crate::world::GET;
use crate::world::World;
use serde_json::Value;
use serde_json::json;
use std::process::Command;

#[test]
fn the_document_is_served_to_everybody() {
    let world = World::new();
    world.key("mia");
    let broker = world.serve();
    let answer = Talk::new(broker.address()).send("GET", "/api/openapi.json", &[], "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["openapi"], "3.1.0");
    assert!(answer.json()["paths"]["/api/escalations"].is_object());
    let refused = Talk::new(broker.address()).send("GET", "/api/escalations", &[], "");
    assert_eq!(refused.status, 401);
}

/// The id of a call of alice's that waits.
fn waiting(world: &World) -> String {
    let mut alice = world.broker().initialized();
    alice.call(GET, read());
    let much = json!({"claim_id": "99", "amount": 50_000, "payee": "ACME"});
    let call = json!({"name": APPROVE, "arguments": much});
    let answer = alice.ask("tools/call", call);
    assert!(alice.end());
    let decision = &answer["result"]["_meta"]["dev.countersign/decision"];
    decision["escalation"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn whatever_is_asked_the_answer_fits_the_document_and_no_server_fails() {
    let world = World::new();
    let [alice, mia] = ["alice", "mia"].map(|name| world.key(name));
    let id = waiting(&world);
    let broker = world.serve();
    // By somebody whom the session is of, and by somebody who may decide; with names
    // that lead somewhere, and with any.
    let real = format!(
        "[parameters]\n\"path.id\" = {id:?}\n\"path.session\" = \"claim-99\"\n\"path.owner\" = \"alice\"\n\"path.handle\" = \"claim-99\"\n"
    );
    let all = "examples,coverage,fuzzing";
    let some = "examples,fuzzing";
    let real = real.as_str();
    for (key, settings, phases) in [(&mia, "", all), (&alice, real, some), (&mia, real, some)] {
        world.write("schemathesis.toml", settings);
        let output = Command::new(python_tool("schemathesis"))
            .current_dir(world.path(""))
            .args(["--config-file", "schemathesis.toml", "run"])
            .arg(broker.url("/api/openapi.json"))
            .args(["--header", &format!("Authorization: Bearer {key}")])
            .args(["--checks", CHECKS, "--phases", phases])
            .args(["--max-examples", "30", "--seed", "7", "--no-color"])
            .args(["--warnings", "off", "--generation-database", "none"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{failed}");
    }
    // It is all there still.
    let shown = Talk::new(broker.address())
        .with("authorization", &format!("Bearer {mia}"))
        .send("GET", &format!("/api/escalations/{id}"), &[], "");
    let state: Value = shown.json()["state"].take();
    assert!(state.is_string(), "{state}");
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";
