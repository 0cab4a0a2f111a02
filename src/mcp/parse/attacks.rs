//! Messages that two readers would take in two ways, or that are no messages,
//! with the exact answer to each.

use super::*;
use crate::tool::Asking;

/// The answer has no id.
const NONE: &str = "";

/// The name of an attack, its bytes, and the code, the id and the message of
/// the answer.
type Attack = (&'static str, Vec<u8>, i32, &'static str, &'static str);

fn attack(
    name: &'static str,
    bytes: impl Into<Vec<u8>>,
    code: i32,
    id: &'static str,
    message: &'static str,
) -> Attack {
    (name, bytes.into(), code, id, message)
}

/// A call with these params.
fn call(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#)
}

fn check(attacks: Vec<Attack>) {
    for (name, bytes, code, id, message) in attacks {
        let answer = match parse(&bytes) {
            Err(refused) => refused.answer(),
            Ok(read) => panic!("{name} was read as {read:?}"),
        };
        let message = serde_json::Value::from(message);
        let id = if id == NONE {
            String::new()
        } else {
            format!(r#""id":{id},"#)
        };
        let due =
            format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":{code},"message":{message}}}}}"#);
        assert_eq!(answer.text(), due, "{name}");
    }
}

#[test]
#[rustfmt::skip]
fn what_is_no_json_of_one_reading_is_refused() {
    let twice = "this is no JSON message: the key `name` stands twice in one object at line 1 column 73";
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    let huge = "[".repeat(1 << 20);
    check(vec![
        attack("nothing", "", PARSE_ERROR, NONE, "this is no JSON message: EOF while parsing a value at line 1 column 0"),
        attack("duplicate name", call(r#"{"name":"a","name":"b"}"#), PARSE_ERROR, "7", twice),
        attack("escaped duplicate", call(r#"{"name":"a","\u006eame":"b"}"#), PARSE_ERROR, "7", "this is no JSON message: the key `name` stands twice in one object at line 1 column 78"),
        attack("duplicate in arguments", call(r#"{"name":"a","arguments":{"x":1,"x":2}}"#), PARSE_ERROR, "7", "this is no JSON message: the key `x` stands twice in one object at line 1 column 89"),
        attack("duplicate method", r#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call"}"#, PARSE_ERROR, NONE, "this is no JSON message: the key `method` stands twice in one object at line 1 column 48"),
        attack("deep nesting", deep, PARSE_ERROR, NONE, "this is no JSON message: values nest deeper than 64 levels at line 1 column 70"),
        attack("huge nesting", huge, PARSE_ERROR, NONE, "this is no JSON message: values nest deeper than 64 levels at line 1 column 65"),
        attack("trailing garbage", r#"{"jsonrpc":"2.0","id":7,"method":"ping"}x"#, PARSE_ERROR, NONE, "this is no JSON message: trailing characters at line 1 column 41"),
        attack("two messages", r#"{"jsonrpc":"2.0","id":7,"method":"ping"}{}"#, PARSE_ERROR, NONE, "this is no JSON message: trailing characters at line 1 column 41"),
        attack("invalid UTF-8", b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}", PARSE_ERROR, NONE, "this is no JSON message: invalid utf-8 sequence of 1 bytes from index 23"),
        attack("byte order mark", b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}", PARSE_ERROR, NONE, "this is no JSON message: expected value at line 1 column 1"),
        attack("lone surrogate", call(r#"{"name":"\ud800"}"#), PARSE_ERROR, "7", "this is no JSON message: unexpected end of hex escape at line 1 column 71"),
        attack("number out of range", call(r#"{"name":"a","arguments":{"n":1e999}}"#), PARSE_ERROR, "7", "this is no JSON message: number out of range at line 1 column 89"),
        attack("bare NUL", "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"pi\0ng\"}", PARSE_ERROR, NONE, "this is no JSON message: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 37"),
        attack("NaN", call(r#"{"name":"a","arguments":{"n":NaN}}"#), PARSE_ERROR, NONE, "this is no JSON message: expected value at line 1 column 85"),
        attack("comment", r#"{"jsonrpc":"2.0",/**/"id":7,"method":"ping"}"#, PARSE_ERROR, NONE, "this is no JSON message: key must be a string at line 1 column 18"),
    ]);
}

#[test]
#[rustfmt::skip]
fn what_is_no_json_rpc_request_is_refused() {
    let id = "`id` must be an integer or a string of at most 256 bytes";
    let with_id = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    check(vec![
        attack("batch", r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#, INVALID_REQUEST, NONE, "batches are not served: send each message by itself"),
        attack("string", r#""tools/call""#, INVALID_REQUEST, NONE, "a message must be a JSON object"),
        attack("null", "null", INVALID_REQUEST, NONE, "a message must be a JSON object"),
        attack("empty object", "{}", INVALID_REQUEST, NONE, "`jsonrpc` must be \"2.0\""),
        attack("jsonrpc 1.0", r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, INVALID_REQUEST, "7", "`jsonrpc` must be \"2.0\""),
        attack("jsonrpc number", r#"{"jsonrpc":2.0,"id":7,"method":"ping"}"#, INVALID_REQUEST, "7", "`jsonrpc` must be \"2.0\""),
        attack("id null", with_id("null"), INVALID_REQUEST, NONE, id),
        attack("id true", with_id("true"), INVALID_REQUEST, NONE, id),
        attack("id float", with_id("7.0"), INVALID_REQUEST, NONE, id),
        attack("id exponent", with_id("7e0"), INVALID_REQUEST, NONE, id),
        attack("id minus zero", with_id("-0"), INVALID_REQUEST, NONE, id),
        attack("id beyond 64 bits", with_id("9223372036854775808"), INVALID_REQUEST, NONE, id),
        attack("id object", with_id("{}"), INVALID_REQUEST, NONE, id),
        attack("id array", with_id("[7]"), INVALID_REQUEST, NONE, id),
        attack("id long", with_id(&format!("\"{}\"", "x".repeat(257))), INVALID_REQUEST, NONE, id),
        attack("id beside Id", r#"{"jsonrpc":"2.0","id":7,"Id":8,"method":"ping"}"#, INVALID_REQUEST, NONE, "the key `Id` could be read as `id`: write it exactly, or leave it out"),
        attack("METHOD", r#"{"jsonrpc":"2.0","id":7,"METHOD":"tools/call"}"#, INVALID_REQUEST, NONE, "the key `METHOD` could be read as `method`: write it exactly, or leave it out"),
        attack("fullwidth params", r#"{"jsonrpc":"2.0","id":7,"method":"ping","ｐarams":{}}"#, INVALID_REQUEST, NONE, "the key `ｐarams` could be read as `params`: write it exactly, or leave it out"),
        attack("method with NUL", r#"{"jsonrpc":"2.0","id":7,"method\u0000":"ping"}"#, INVALID_REQUEST, NONE, "the key `method\u{fffd}` could be read as `method`: write it exactly, or leave it out"),
        attack("method number", r#"{"jsonrpc":"2.0","id":7,"method":5}"#, INVALID_REQUEST, "7", "`method` must be a string"),
        attack("method null", r#"{"jsonrpc":"2.0","id":"a","method":null}"#, INVALID_REQUEST, "\"a\"", "`method` must be a string"),
        attack("no method", r#"{"jsonrpc":"2.0","id":7}"#, INVALID_REQUEST, "7", "a message needs a `method`"),
        attack("method and result", r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","result":{}}"#, INVALID_REQUEST, "7", "a message has a `method` or a `result` or `error`, not both"),
        attack("method and error", r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","error":null}"#, INVALID_REQUEST, "7", "a message has a `method` or a `result` or `error`, not both"),
        attack("call without id", r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#, INVALID_REQUEST, NONE, "`tools/call` is a request and needs an `id`"),
    ]);
}

#[test]
#[rustfmt::skip]
fn what_is_called_a_call_and_is_none_is_refused() {
    let name = "`name` must be the name of a tool, 1 to 256 bytes";
    let text = "`name` must be a string, or left out";
    let arguments = "`arguments` must be an object, or left out";
    let lookalike = |params: &str, message| attack("lookalike", call(params), INVALID_PARAMS, "7", message);
    check(vec![
        attack("no params", r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#, INVALID_PARAMS, "7", name),
        attack("array params", call(r#"["a",{}]"#), INVALID_PARAMS, "7", "`params` must be an object, or left out"),
        attack("null params", call("null"), INVALID_PARAMS, "7", "`params` must be an object, or left out"),
        attack("no name", call("{}"), INVALID_PARAMS, "7", name),
        attack("empty name", call(r#"{"name":""}"#), INVALID_PARAMS, "7", name),
        attack("long name", call(&format!(r#"{{"name":"{}"}}"#, "n".repeat(257))), INVALID_PARAMS, "7", name),
        attack("null name", call(r#"{"name":null}"#), INVALID_PARAMS, "7", text),
        attack("array name", call(r#"{"name":["a"]}"#), INVALID_PARAMS, "7", text),
        attack("array arguments", call(r#"{"name":"a","arguments":[1]}"#), INVALID_PARAMS, "7", arguments),
        attack("string arguments", call(r#"{"name":"a","arguments":"{}"}"#), INVALID_PARAMS, "7", arguments),
        attack("null arguments", call(r#"{"name":"a","arguments":null}"#), INVALID_PARAMS, "7", arguments),
        lookalike(r#"{"name":"a","Name":"b"}"#, "the key `Name` could be read as `name`: write it exactly, or leave it out"),
        lookalike(r#"{"Name":"b"}"#, "the key `Name` could be read as `name`: write it exactly, or leave it out"),
        lookalike(r#"{"name":"a","name\u0000x":"b"}"#, "the key `name\u{fffd}x` could be read as `name`: write it exactly, or leave it out"),
        lookalike(r#"{"name":"a","ｎａｍｅ":"b"}"#, "the key `ｎａｍｅ` could be read as `name`: write it exactly, or leave it out"),
        lookalike("{\"name\":\"a\",\"tas\u{212a}\":{}}", "the key `tas\u{212a}` could be read as `task`: write it exactly, or leave it out"),
        lookalike("{\"name\":\"a\",\"argument\u{17f}\":{}}", "the key `argument\u{17f}` could be read as `arguments`: write it exactly, or leave it out"),
        lookalike(r#"{"name":"a","_META":{}}"#, "the key `_META` could be read as `_meta`: write it exactly, or leave it out"),
        lookalike(r#"{"name":"a","_meta":{"progresstoken":1}}"#, "the key `progresstoken` could be read as `progressToken`: write it exactly, or leave it out"),
        lookalike(r#"{"name":"a","_meta":{"Dev.countersign/session":"x"}}"#, "the key `Dev.countersign/session` could be read as `dev.countersign/session`: write it exactly, or leave it out"),
        lookalike(r#"{"name":"a","_meta":{"io.modelcontextprotocol/ProtocolVersion":"2026-07-28"}}"#, "the key `io.modelcontextprotocol/ProtocolVersion` could be read as `io.modelcontextprotocol/protocolVersion`: write it exactly, or leave it out"),
        attack("null _meta", call(r#"{"name":"a","_meta":null}"#), INVALID_PARAMS, "7", "`params._meta` must be an object, or left out"),
        attack("float token", call(r#"{"name":"a","_meta":{"progressToken":1.5}}"#), INVALID_PARAMS, "7", "`progressToken` must be an integer or a string of at most 256 bytes"),
        attack("session number", call(r#"{"name":"a","_meta":{"dev.countersign/session":5}}"#), INVALID_PARAMS, "7", "`dev.countersign/session` must be a string, or left out"),
        attack("request state", call(r#"{"name":"a","requestState":"x"}"#), INVALID_PARAMS, "7", "`inputResponses` and `requestState` belong to requests of MCP 2026-07-28, and this one is of a revision before it: leave them out, and answer what servers ask by responses"),
        attack("input responses", call(r#"{"name":"a","inputResponses":{}}"#), INVALID_PARAMS, "7", "`inputResponses` and `requestState` belong to requests of MCP 2026-07-28, and this one is of a revision before it: leave them out, and answer what servers ask by responses"),
        attack("state number", call(r#"{"name":"a","requestState":5,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}"#), INVALID_PARAMS, "7", "`requestState` must be a string, or left out"),
        attack("response text", call(r#"{"name":"a","inputResponses":{"q":"x"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}"#), INVALID_PARAMS, "7", "`inputResponses.q` must be an object"),
        attack("version number", call(r#"{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":1}}"#), INVALID_PARAMS, "7", "`io.modelcontextprotocol/protocolVersion` must be a string, or left out"),
        attack("capabilities missing", call(r#"{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#), INVALID_PARAMS, "7", "`params._meta` needs `io.modelcontextprotocol/clientCapabilities`: {} where the client has none"),
        attack("version missing", call(r#"{"name":"a","_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}"#), INVALID_PARAMS, "7", "`params._meta` needs `io.modelcontextprotocol/protocolVersion`: \"2026-07-28\""),
    ]);
}

#[test]
fn a_name_that_only_looks_like_a_method_is_never_that_method() {
    for method in [
        "Tools/Call",
        "tools/call\\u0000",
        "tools/call ",
        "ｔools/call",
        "",
    ] {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{"name":"a"}}}}"#);
        let read = parse(text.as_bytes()).unwrap();
        assert!(
            matches!(
                &read,
                Message::Request(Request {
                    body: Body::Unknown { .. },
                    ..
                })
            ),
            "{method}: {read:?}"
        );
    }
}

#[test]
fn what_nobody_waits_for_is_passed_over() {
    for text in [
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":[7]}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"RequestId":8}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
    ] {
        let read = parse(text.as_bytes()).unwrap();
        assert!(
            matches!(read, Message::Notification(Notification::Ignored)),
            "{text}"
        );
    }
    let answer = parse(br#"{"jsonrpc":"2.0","id":null,"result":{}}"#);
    assert!(answer.is_err(), "an id is checked wherever it stands");
    let answer = parse(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#).unwrap();
    assert!(matches!(answer, Message::Response(_)));
}

#[test]
fn a_call_is_read_with_every_byte_of_its_arguments() {
    let text = call(
        r#"{"task":{},"name":"a\u0062","arguments": { "n" : 1e3 } ,"_meta":{ "progressToken" : "t\u0031", "x":1}}"#,
    );
    let Message::Request(Request { id, meta, body }) = parse(text.as_bytes()).unwrap() else {
        panic!("a request");
    };
    assert_eq!(id.as_str(), "7");
    assert_eq!(
        meta.text.as_deref(),
        Some(r#"{ "progressToken" : "t\u0031", "x":1}"#)
    );
    let token = meta.progress.unwrap();
    assert_eq!((token.as_str(), token.key()), (r#""t\u0031""#, r#""t1""#));
    assert_eq!(
        body,
        Body::Ask(Box::new(Ask {
            asking: Asking::Tool,
            name: "ab".into(),
            arguments: Some(r#"{ "n" : 1e3 }"#.into()),
            answers: None,
            task: Some("{}".into()),
            rest: Vec::new(),
        }))
    );
}
