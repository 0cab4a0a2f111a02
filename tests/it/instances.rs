//! Servers with an instance for each session or principal.

use crate::world::Wire;
use crate::world::World;
use countersign::outcome::Outcome;
use serde_json::json;

const POLICY: &str = r#"
@id("all") permit (principal, action, resource);
"#;

fn world(more: &str) -> World {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/keeping.sh");
    let world = World::of("", POLICY);
    let born = world.path("born");
    world.append(
        "countersign.toml",
        &format!(
            "\n[servers.own]\ncommand = \"sh\"\nargs = [{script:?}]\nenv = {{ BORN = {born:?} }}\n{more}\n"
        ),
    );
    world
}

fn broker(world: &World, session: &str) -> Wire {
    let mut broker = world.broker_with(|command| {
        command.args(["--session", session]);
    });
    broker.initialize();
    broker
}

fn keeps(broker: &mut Wire, what: &str) -> String {
    broker.call("own__keep", json!({ "what": what }))
}

/// A request of a client of 2026-07-28 in this session.
fn keeps_in(broker: &mut Wire, session: &str, what: &str) -> String {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "dev.countersign/session": session,
    });
    let arguments = json!({ "what": what });
    let params = json!({"name": "own__keep", "arguments": arguments, "_meta": meta});
    crate::world::text_of(&broker.ask("tools/call", params))
}

#[test]
fn each_session_has_a_process_of_its_own_and_no_other_is_heard_in_it() {
    let world = world("instance = \"per-session\"");
    let mut broker = broker(&world, "claim-99");
    assert_eq!(keeps_in(&mut broker, "one", "a"), " a");
    assert_eq!(keeps_in(&mut broker, "two", "b"), " b");
    assert_eq!(keeps_in(&mut broker, "one", "c"), " a c");
    // And one that is asked for its tools.
    assert_eq!(world.read("born").lines().count(), 3);
    assert!(broker.end());
}

#[test]
fn each_principal_has_a_process_in_all_sessions() {
    let world = world("instance = \"per-principal\"");
    let mut broker = broker(&world, "claim-99");
    assert_eq!(keeps_in(&mut broker, "one", "a"), " a");
    assert_eq!(keeps_in(&mut broker, "two", "b"), " a b");
    assert!(broker.end());
}

#[test]
fn where_every_instance_is_taken_a_call_is_refused_and_says_so() {
    let world = world("instance = \"per-session\"\nmax_instances = 2");
    let mut broker = broker(&world, "claim-99");
    assert_eq!(keeps_in(&mut broker, "one", "a"), " a");
    let refused = keeps_in(&mut broker, "two", "b");
    assert!(
        refused.starts_with("error: ") && refused.contains("every instance"),
        "{refused}"
    );
    assert_eq!(keeps_in(&mut broker, "one", "b"), " a b");
    assert!(broker.end());
}

#[test]
fn an_instance_that_died_is_started_again_and_told_to_resume() {
    let world = world("instance = \"per-session\"\nresume_tool = \"restore\"");
    let mut first = broker(&world, "claim-99");
    assert_eq!(keeps(&mut first, "a"), " a");
    let died = first.call("own__die", json!({}));
    assert!(died.starts_with("error"), "{died}");
    assert_eq!(keeps(&mut first, "b"), "again claim-99 b");
    assert_eq!(keeps(&mut first, "c"), "again claim-99 b c");
    assert!(first.end());
    // So it is where the broker itself was started again.
    let mut second = broker(&world, "claim-99");
    assert_eq!(keeps(&mut second, "d"), "again claim-99 d");
    assert!(second.end());

    let calls = world.calls("claim-99");
    let calls: Vec<_> = calls
        .iter()
        .map(|call| (&*call.tool, &*call.principal, call.outcome))
        .collect();
    let done = Some(Outcome::Completed);
    assert_eq!(
        calls,
        [
            ("own/keep", "alice", done),
            ("own/die", "alice", Some(Outcome::Unknown)),
            // Each is opened in the record before the one that it waits for.
            ("own/keep", "alice", done),
            ("own/restore", "alice", done),
            ("own/keep", "alice", done),
            ("own/keep", "alice", done),
            ("own/restore", "alice", done),
        ]
    );
    let (_, shown) = world.run(&["session", "show", "claim-99"]);
    let revived = shown
        .lines()
        .filter(|line| line.contains("own: started again; restore: done"));
    assert_eq!(revived.count(), 2, "{shown}");
}

#[test]
fn an_instance_that_policy_does_not_let_resume_goes_on_and_the_history_says_so() {
    let world = world("instance = \"per-session\"\nresume_tool = \"restore\"");
    let forbid =
        "@id(\"no\") forbid (principal, action == Broker::Action::\"own/restore\", resource);\n";
    world.write("policies/no.cedar", forbid);
    let mut before = broker(&world, "claim-99");
    assert_eq!(keeps(&mut before, "a"), " a");
    let died = before.call("own__die", json!({}));
    assert!(died.starts_with("error"), "{died}");
    assert_eq!(keeps(&mut before, "b"), " b");
    assert!(before.end());
    let (_, shown) = world.run(&["session", "show", "claim-99"]);
    assert!(
        shown.contains("own: started again; restore: refused"),
        "{shown}"
    );
    let calls = world.calls("claim-99");
    // For whom policy never allows it there is no such tool.
    let refused = calls
        .iter()
        .filter(|call| call.outcome == Some(Outcome::UnknownTool));
    assert_eq!(refused.count(), 1);
}
