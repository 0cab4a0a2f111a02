//! Clients and servers that keep to no rule, and what exactly they get for it,
//! over a real broker and a server that keeps a ledger of what reached it. The
//! tables stand in `snapshots`.
//!
//! What is shown elsewhere is not shown again: messages in `src/mcp/parse/attacks.rs`,
//! servers on a pipe and over HTTP in `src/downstream/tests` and
//! `src/downstream/remote/tests.rs`, states and questions in `rounds.rs`, tasks in
//! `tasks.rs`, requests over HTTP in `http/hostile.rs`.

use crate::world::Wire;
use crate::world::World;
use serde_json::Value;
use serde_json::json;

const POLICY: &str =
    r#"@id("all") permit (principal, action in Broker::Action::"server:own", resource);"#;

/// One server, whose list of tools is of this kind.
fn world(lists: &str) -> World {
    let world = World::of("", POLICY);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/hostile.py");
    let done = world.path("done");
    world.write("done", "");
    world.append(
        "countersign.toml",
        &format!(
            "[servers.own]\ncommand = \"python3\"\nargs = [{script:?}]\nenv = {{ DONE = {done:?}, LISTS = {lists:?} }}\n"
        ),
    );
    for tool in ["other_id", "text_id", "late", "never", "neither"] {
        let section = format!("[servers.own.tools.{tool}]\ntimeout = \"1s\"\n");
        world.append("countersign.toml", &section);
    }
    world
}

fn call(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#)
}

fn modern(params: &str) -> String {
    call(&format!(
        r#"{{{params},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}"#
    ))
}

/// Lines that must not be taken for a call of `own__fine`, or not for one alone.
#[rustfmt::skip]
fn lines() -> Vec<(&'static str, Vec<u8>)> {
    let batch = format!("[{}]", call(r#"{"name":"own__fine"}"#));
    let rows: Vec<(&'static str, String)> = vec![
        ("a key twice in the envelope", call(r#"{"name":"own__fine"}"#).replace(r#""id":7"#, r#""id":7,"method":"ping""#)),
        ("a key twice in params", call(r#"{"name":"own__none","name":"own__fine"}"#)),
        ("a key twice in arguments", call(r#"{"name":"own__fine","arguments":{"a":1,"\u0061":2}}"#)),
        ("a key twice in _meta", call(r#"{"name":"own__fine","_meta":{"x":1,"x":2}}"#)),
        ("a key that folds in the envelope", call(r#"{"name":"own__fine"}"#).replace("\"params\"", "\"Params\"")),
        ("a key that folds in params", call(r#"{"name":"own__none","NAME":"own__fine"}"#)),
        ("a key that folds in _meta", call(r#"{"name":"own__fine","_meta":{"ProgressToken":1}}"#)),
        ("a key that stands for what is beside it", call(r#"{"name":"own__fine","arguments":{"$serde_json::private::RawValue":"{}"}}"#)),
        ("params are an array", call(r#"["own__fine",{}]"#)),
        ("params are null", call("null")),
        ("params are a number", call("7")),
        ("params are a text", call(r#""own__fine""#)),
        ("arguments are an array", call(r#"{"name":"own__fine","arguments":[]}"#)),
        ("no id", call(r#"{"name":"own__fine"}"#).replace(r#""id":7,"#, "")),
        ("a call in a batch", batch),
        ("two messages in a line", format!("{0}{0}", call(r#"{"name":"own__fine"}"#))),
        ("a call with a result", call(r#"{"name":"own__fine"},"result":{}"#)),
        ("NUL after the line", call(r#"{"name":"own__fine"}"#) + "\0"),
        ("NUL in the name", call(r#"{"name":"own__fine\u0000"}"#)),
        ("the name in another width", call(r#"{"name":"own__ｆine"}"#)),
        ("deep arguments", call(&format!(r#"{{"name":"own__fine","arguments":{{"a":{}{}}}}}"#, "[".repeat(99), "]".repeat(99)))),
        ("depth alone", "[".repeat(1 << 20)),
        ("a number out of range", call(r#"{"name":"own__fine","arguments":{"a":-1e999}}"#)),
        ("a state of nobody's", modern(r#""name":"own__fine","requestState":"rs1.AAAA.AAAA""#)),
        ("a line that is too long", call(&format!(r#"{{"name":"own__fine","arguments":{{"a":"{}"}}}}"#, "x".repeat(5 << 20)))),
    ];
    let mut rows: Vec<_> = rows.into_iter().map(|(name, line)| (name, line.into_bytes())).collect();
    let mut broken = call(r#"{"name":"own__fine","arguments":{"a":"?"}}"#).into_bytes();
    let place = broken.iter().position(|&byte| byte == b'?').unwrap();
    broken[place] = 0xff;
    rows.push(("no UTF-8", broken));
    let wide = "{\"jsonrpc\":\"2.0\"}".encode_utf16();
    rows.push(("UTF-16", wide.flat_map(u16::to_le_bytes).collect()));
    rows
}

/// The next message, which must answer something.
fn answer(broker: &mut Wire) -> Value {
    broker
        .wait_for(|message| message.get("method").is_none())
        .expect("the broker ended")
}

/// Whether everything before was taken in, and nothing more is said of it.
fn is_silent(broker: &mut Wire) -> bool {
    broker.send_line(r#"{"jsonrpc":"2.0","id":"after","method":"ping"}"#);
    answer(broker)["id"] == "after"
}

#[test]
fn what_a_client_writes_that_is_no_call_is_answered_and_reaches_no_server() {
    let world = world("");
    let mut broker = world.broker().initialized();
    assert_eq!(broker.call("own__fine", json!({})), "fine");
    let mut table = String::new();
    for (name, line) in lines() {
        broker.send_bytes(&line);
        table.push_str(&format!("{name}\n  {}\n", answer(&mut broker)));
        assert!(is_silent(&mut broker), "{name}");
    }
    insta::assert_snapshot!("hostile_clients", table);
    for silent in [
        r#"{"jsonrpc":"2.0","id":"nobody-asked","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"not-mine"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/own"}"#,
        " \t\r",
    ] {
        broker.send_line(silent);
        assert!(is_silent(&mut broker), "{silent}");
    }
    assert_eq!(broker.call("own__fine", json!({})), "fine");
    assert!(broker.end());
    assert_eq!(world.read("done"), "fine\nfine\n");
    assert_eq!(world.journal_problems(), []);
}

#[test]
fn an_id_in_flight_is_one_id_however_it_is_written() {
    let world = world("");
    let mut broker = world.broker().initialized();
    let hold = call(r#"{"name":"own__hold"}"#).replace(r#""id":7"#, r#""id":"a""#);
    broker.send_line(&hold);
    world.wait_for_lines("done", 1);
    let again = call(r#"{"name":"own__fine"}"#).replace(r#""id":7"#, r#""id":"\u0061""#);
    broker.send_line(&again);
    let refused = answer(&mut broker);
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains("still in flight"), "{said}");
    let back = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        )
    };
    broker.send_line(&back("\"b\""));
    assert!(is_silent(&mut broker));
    let open = world.calls("claim-99");
    assert!(open[0].outcome.is_none());
    broker.send_line(&back(r#""\u0061""#));
    world.wait_until_closed();
    assert!(is_silent(&mut broker));
    assert_eq!(world.read("done"), "hold\n");
    assert!(broker.end());
}

#[test]
fn a_line_without_end_costs_a_client_no_memory_of_ours() {
    let world = world("");
    let mut broker = world.broker().initialized();
    assert_eq!(broker.call("own__fine", json!({})), "fine");
    let before = broker.peak_memory();
    for _ in 0..256 {
        broker.send_part(&[b'x'; 1 << 20]);
    }
    broker.send_line("");
    let refused = answer(&mut broker);
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    let grown = broker.peak_memory() - before;
    assert!(grown < 64 << 20, "{grown}");
    assert_eq!(broker.call("own__fine", json!({})), "fine");
    assert!(broker.end());
}

#[test]
fn what_a_server_answers_that_is_no_answer_is_told_as_what_it_is() {
    let mut table = String::new();
    for tool in [
        "fine",
        "other_id",
        "text_id",
        "twice",
        "late",
        "never",
        "both",
        "neither",
        "unstrict",
        "stands_in",
        "no_utf_8",
        "large",
        "endless",
        "garbage",
        "ahead",
        "asks",
    ] {
        let world = world("");
        let mut broker = world.broker().initialized();
        let said = broker.call(&format!("own__{tool}"), json!({}));
        // The next one is another call, and gets its own answer.
        assert_eq!(broker.call("own__fine", json!({})), "fine", "{tool}");
        let grown = broker.peak_memory();
        assert!(grown < 400 << 20, "{tool}: {grown}");
        assert!(broker.end());
        let outcome = world.calls("claim-99")[0].outcome.unwrap();
        let lines = said.lines().filter(|line| !line.starts_with("Reference: "));
        let said = lines.collect::<Vec<_>>().join("\n  ");
        table.push_str(&format!("{tool}: {outcome}\n  {said}\n"));
        assert_eq!(world.read("done"), format!("{tool}\nfine\n"));
        assert_eq!(world.journal_problems(), []);
    }
    insta::assert_snapshot!("hostile_servers", table);
}

#[test]
fn a_list_without_end_is_given_up_and_others_are_served() {
    for (lists, why) in [("many", "more than"), ("cursors", "more than")] {
        let world = world(lists);
        let mut broker = world.broker().initialized();
        let listed = broker.ask("tools/list", json!({}));
        assert_eq!(listed["result"]["tools"], json!([]), "{lists}");
        world.wait_for_log(why);
        assert!(is_silent(&mut broker));
        assert!(broker.end());
        assert_eq!(world.read("done"), "");
    }
}
