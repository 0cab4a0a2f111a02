//! `countersign session explain`: which rule found the session of a call, by every
//! way in which a session can be found.

use crate::http::Desk;
use crate::http::initialize;
use crate::http::modern_params;
use crate::http::request;
use crate::http::talk::Talk;
use crate::world::GET;
use crate::world::Wire;
use crate::world::World;
use countersign::journal;
use serde_json::Value;
use serde_json::json;

/// The header of a modern request that names its session.
const HEADER: &str = "countersign-session";

/// What the last call says of how its session was found.
fn last(world: &World) -> Value {
    let any = journal::Filter::default();
    let calls = world.store().read(|tx| journal::calls(tx, &any)).unwrap();
    let call = calls.last().unwrap().call.to_string();
    let (done, printed) = world.run(&["session", "explain", &call, "--json"]);
    assert!(done, "{printed}");
    let explained: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(explained["call"], *call);
    explained["found"].clone()
}

fn found(by: &str, named: Option<&str>, agreed: &[&str], otherwise: Value) -> Value {
    json!({"by": by, "named": named, "agreed": agreed, "otherwise": otherwise})
}

fn other(by: &str, named: Option<&str>) -> Value {
    json!({"by": by, "named": named})
}

fn read(meta: Value) -> Value {
    json!({"name": GET, "arguments": {"claim_id": "99"}, "_meta": meta})
}

fn named(session: &str) -> Value {
    json!({"dev.countersign/session": session})
}

fn modern(session: Option<&str>) -> Value {
    let mut params = modern_params(read(json!({})));
    if let Some(session) = session {
        params["_meta"]["dev.countersign/session"] = session.into();
    }
    params
}

fn done(wire: &mut Wire, params: Value) {
    let answer = wire.ask("tools/call", params);
    assert_ne!(answer["result"]["isError"], true, "{answer}");
}

#[test]
fn the_rule_that_found_a_session_over_stdio_is_known_of_every_call() {
    let world = World::new();
    let mut wire = world.broker().initialized();
    done(&mut wire, read(json!({})));
    let connection = other("connection", None);
    let option = found("option", Some("claim-99"), &[], connection);
    assert_eq!(last(&world), option);
    done(&mut wire, read(named("claim-1")));
    let lost = other("option", Some("claim-99"));
    let meta = found("meta", Some("claim-1"), &[], lost);
    assert_eq!(last(&world), meta);
    done(&mut wire, modern(None));
    let default = other("default", None);
    let option = found("option", Some("claim-99"), &[], default);
    assert_eq!(last(&world), option);
    assert!(wire.end());

    world.edit("countersign.toml", "session = \"claim-99\"", "");
    let mut wire = world.broker().initialized();
    done(&mut wire, read(json!({})));
    assert_eq!(last(&world), found("connection", None, &[], Value::Null));
    done(&mut wire, modern(None));
    assert_eq!(last(&world), found("default", None, &[], Value::Null));
    done(&mut wire, modern(Some("claim-2")));
    let meta = found("meta", Some("claim-2"), &[], other("default", None));
    assert_eq!(last(&world), meta);
    // One that was refused says it too, and so does one that leads nowhere.
    let nowhere = json!({"name": "claims__nowhere", "_meta": named("claim-3")});
    assert!(wire.ask("tools/call", nowhere)["error"].is_object());
    let meta = found("meta", Some("claim-3"), &[], other("connection", None));
    assert_eq!(last(&world), meta);
    assert!(wire.end());
    assert!(world.journal_problems().is_empty());
}

/// Makes a call of 2026-07-28.
fn ask(talk: &mut Talk, path: &str, header: Option<&str>, meta: Option<&str>) {
    let mut headers = vec![
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", GET),
    ];
    headers.extend(header.map(|session| (HEADER, session)));
    let answer = talk.post_with(path, &headers, &request(7, "tools/call", &modern(meta)));
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn the_rule_that_found_a_session_over_http_is_known_of_every_call() {
    let desk = Desk::new();
    let mut talk = desk.talk();
    let default = || other("default", None);
    let claim = Some("claim-1");
    for (path, header, meta, due) in [
        ("/mcp", None, None, found("default", None, &[], Value::Null)),
        (
            "/s/claim-1/mcp",
            None,
            None,
            found("path", claim, &[], default()),
        ),
        ("/mcp", claim, None, found("header", claim, &[], default())),
        ("/mcp", None, claim, found("meta", claim, &[], default())),
        (
            "/s/claim-1/mcp",
            claim,
            claim,
            found("path", claim, &["header", "meta"], default()),
        ),
        (
            "/mcp",
            claim,
            claim,
            found("header", claim, &["meta"], default()),
        ),
    ] {
        ask(&mut talk, path, header, meta);
        assert_eq!(last(&desk.world), due, "{path} {header:?} {meta:?}");
    }
    assert!(desk.world.journal_problems().is_empty());
}

/// Makes a call in a transport session.
fn call_in(desk: &Desk, (path, id): (&str, &str), header: Option<&str>) {
    let headers: Vec<_> = header
        .map(|session| (HEADER, session))
        .into_iter()
        .collect();
    let mut talk = desk.talk().with("mcp-session-id", id);
    let body = request(2, "tools/call", &read(json!({})));
    let answer = talk.post_with(path, &headers, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_transport_session_is_told_from_what_a_request_names_also_after_a_restart() {
    let desk = Desk::new();
    let opened = |desk: &Desk, path: &str| {
        let answer = desk.talk().post(path, &initialize("2025-11-25"));
        answer.header("mcp-session-id").unwrap().to_owned()
    };
    let (bare, claim) = (opened(&desk, "/mcp"), opened(&desk, "/s/claim-1/mcp"));
    let check = |desk: &Desk| {
        let transport = || other("transport", None);
        let opening = || other("opening", Some("claim-1"));
        call_in(desk, ("/mcp", &bare), None);
        assert_eq!(
            last(&desk.world),
            found("transport", None, &[], Value::Null)
        );
        call_in(desk, ("/s/claim-2/mcp", &bare), None);
        let path = found("path", Some("claim-2"), &[], transport());
        assert_eq!(last(&desk.world), path);
        call_in(desk, ("/mcp", &claim), None);
        let due = found("opening", Some("claim-1"), &[], transport());
        assert_eq!(last(&desk.world), due);
        call_in(desk, ("/mcp", &claim), Some("claim-2"));
        let header = found("header", Some("claim-2"), &[], opening());
        assert_eq!(last(&desk.world), header);
    };
    check(&desk);
    let desk = desk.restarted();
    check(&desk);
    assert!(desk.world.journal_problems().is_empty());
}

#[test]
fn people_read_which_rule_it_was_and_what_it_went_before() {
    let world = World::new();
    let mut wire = world.broker().initialized();
    done(&mut wire, read(named("claim-1")));
    let any = journal::Filter::default();
    let calls = world.store().read(|tx| journal::calls(tx, &any)).unwrap();
    let call = calls.last().unwrap().call.to_string();
    let (explained, text) = world.run(&["session", "explain", &call]);
    assert!(explained, "{text}");
    for line in [
        "principal  alice\n",
        "session    claim-1 (",
        "owner      alice\n",
        "found by   `dev.countersign/session` in `_meta` of the request: claim-1\n",
        "otherwise  what its broker was started with (`--session` or `stdio.session`): claim-99\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let shown = world.run(&["journal", "show", &call]).1;
    assert!(
        shown.contains("found by   `dev.countersign/session`"),
        "{shown}"
    );
    let unknown = "00000000-0000-4000-8000-000000000000";
    let (explained, text) = world.run(&["session", "explain", unknown]);
    assert!(!explained && text.contains("there is no call"), "{text}");
    assert!(wire.end());
}
